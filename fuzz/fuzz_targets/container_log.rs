//! The log of a container: any bytes, of which the last lines are taken within their limits, over a rotation anywhere.
#![no_main]

use std::cell::LazyCell;
use std::fs::File;

use salvage::kube::{Limits, last_lines};
use tempfile::TempDir;

thread_local! {
    static PLACE: LazyCell<TempDir> = LazyCell::new(|| tempfile::tempdir().expect("a directory"));
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((&cut, log)) = input.split_first() else {
        return;
    };
    let (older, newer) = log.split_at(log.len() * usize::from(cut) / 256);
    let limits = Limits {
        lines: usize::from(cut % 16) + 1,
        bytes: 1 << (cut % 12),
    };
    PLACE.with(|place| {
        let file = |name: &str, content: &[u8]| -> File {
            let path = place.path().join(name);
            std::fs::write(&path, content).expect("written");
            File::open(path).expect("opens")
        };
        let files = [file("older", older), file("newer", newer)];
        let tail = last_lines(&files, limits).expect("a file of this disk is read");
        assert!(tail.text.len() <= limits.bytes && tail.lines <= limits.lines);
    });
});
