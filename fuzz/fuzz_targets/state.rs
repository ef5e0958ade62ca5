//! What a stop leaves: a state file in the first line, an upload's journal in the rest. Both are read whole or refused, survive being
//! written again, and a digest goes on from wherever they say it was.
#![no_main]

use std::cell::LazyCell;
use std::ffi::OsStr;

use salvage::model::Upload;
use salvage::spool::{Entry, Phase, Sent};
use salvage::sys::{Dir, Journal, RunningSha256};
use serde_json::Value;
use tempfile::TempDir;

thread_local! {
    static PLACE: LazyCell<TempDir> = LazyCell::new(|| tempfile::tempdir().expect("a directory"));
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let end = input
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(input.len());
    let (state, journal) = input.split_at(end);
    check_state(state);
    PLACE.with(|place| check_journal(place, journal.get(1..).unwrap_or_default()));
});

fn check_state(state: &[u8]) {
    if let Ok(upload) = serde_json::from_slice::<Upload>(state) {
        let written = serde_json::to_string(&upload).expect("it can be written");
        assert_eq!(upload, serde_json::from_str(&written).expect("and read"));
    }
    let Ok(entry) = serde_json::from_slice::<Entry>(state) else {
        return;
    };
    let written = serde_json::to_string(&entry).expect("it can be written");
    assert_eq!(entry, serde_json::from_str(&written).expect("and read"));
    let _ = entry.files();
    if let Phase::Shipping { progress, .. } = &entry.phase
        && let Some(Sent { read, stored }) = &progress.next
    {
        for state in [&read.digest, stored] {
            let mut digest = RunningSha256::resume(state);
            assert_eq!(digest.state(), *state);
            digest.update(&written.as_bytes()[..100]);
            digest.finish_hex();
        }
    }
}

/// A journal's records are the same when it is opened again, and one more is behind them.
fn check_journal(place: &TempDir, journal: &[u8]) {
    let name = OsStr::new("journal");
    std::fs::write(place.path().join(name), journal).expect("written");
    let dir = Dir::open(place.path()).expect("opens");
    let open = || {
        Journal::open::<Value>(&dir, name)
            .ok()
            .map(|found| found.expect("is there"))
    };
    let Some((mut journal, mut records)) = open() else {
        return;
    };
    let more = Value::from("more");
    journal.append(&more).expect("appended");
    records.push(more);
    let (_, again) = open().expect("what was written can be read");
    assert_eq!(records, again);
}
