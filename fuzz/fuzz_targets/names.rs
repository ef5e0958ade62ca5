//! Words that stand in keys, configurations and on command lines: one that is accepted prints as a word that means the same, and
//! those of a key print as they were written.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use salvage::fetch::NamePattern;
use salvage::model::{
    ByteSize, CrashId, CrashKey, CrashKeyParts, IdPrefix, Layout, ObjectKey, Reason, Span,
    crash_key_of,
};
use salvage::store::StoreUrl;

libfuzzer_sys::fuzz_target!(|written: &str| {
    has_one_spelling::<CrashId>(written);
    has_one_spelling::<CrashKey>(written);
    has_one_spelling::<ObjectKey>(written);
    has_one_spelling::<Layout>(written);
    means_the_same::<Reason>(written);
    means_the_same::<ByteSize>(written);
    means_the_same::<Span>(written);
    means_the_same::<StoreUrl>(written);
    let _ = written.parse::<NamePattern>();
    if let Ok(prefix) = written.parse::<IdPrefix>() {
        let (from, until) = prefix.time_range();
        assert!(from <= until, "{written}");
    }
    check_raw_names(written);
});

fn has_one_spelling<T: FromStr + Display>(written: &str) {
    if let Ok(word) = written.parse::<T>() {
        assert_eq!(word.to_string(), written);
    }
}

fn means_the_same<T: FromStr<Err: Debug + PartialEq> + Display + Debug + PartialEq>(written: &str) {
    if let Ok(word) = written.parse::<T>() {
        assert_eq!(word.to_string().parse().as_ref(), Ok(&word), "{written}");
    }
}

/// Names that somebody else chose enter a key whatever they are, and the key can be read.
fn check_raw_names(written: &str) {
    let mut names = written.split('\n');
    let (cluster, namespace, pod, container) = (
        names.next().unwrap_or_default(),
        names.next(),
        names.next(),
        names.next(),
    );
    let id: CrashId = "01m7yrrt800000000000000000".parse().expect("an id");
    let key = crash_key_of(CrashKeyParts {
        cluster,
        namespace,
        pod,
        container,
        reason: Reason::Unknown,
        stored_bytes: u64::MAX,
        id,
    });
    assert_eq!(key.to_string().parse().as_ref(), Ok(&key));
    assert!(key.to_object_key().file_name().len() <= 240, "{key}");
}
