//! The start of an agent on what a stop left: a state file in the first line of the input, an upload's journal in the rest, and a dump
//! of that id. It starts whatever they say, the dump stays and is of an entry, and a second start finds the same.
#![no_main]

use std::fs;
use std::path::Path;

use prometheus::Registry;
use salvage::decide::{Holding, Limits};
use salvage::model::CrashId;
use salvage::spool::{Config, Metrics, Spool};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let end = input
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(input.len());
    let (state, journal) = input.split_at(end);
    let Some(id) = id_of(state) else {
        return;
    };
    let place = tempfile::tempdir().expect("a directory");
    let put = |directory: &str, name: &str, content: &[u8]| {
        let directory = place.path().join(directory);
        fs::create_dir_all(&directory).expect("made");
        fs::write(directory.join(name), content).expect("written");
    };
    put("entries", &format!("{id}.json"), state);
    put(
        "uploads",
        &id.to_string(),
        journal.get(1..).unwrap_or_default(),
    );
    put("dumps", &id.to_string(), b"a dump");
    let found = start(place.path(), id);
    assert!(found.entries > 0, "the dump is of no entry");
    assert_eq!(
        fs::read_dir(place.path().join("dumps"))
            .expect("readable")
            .count(),
        1,
        "the dump stays"
    );
    assert_eq!(
        start(place.path(), id),
        found,
        "a second start finds the same"
    );
});

/// The id that a state file is about, whatever else it says: under another's name it is refused at once.
fn id_of(state: &[u8]) -> Option<CrashId> {
    serde_json::from_slice::<Value>(state)
        .ok()?
        .get("id")?
        .as_str()?
        .parse()
        .ok()
}

fn start(state_dir: &Path, id: CrashId) -> Holding {
    let limits = Limits {
        max_use: u64::MAX,
        keep_free: u64::MAX,
        keep_free_inodes: 0,
        max_entries: 10_000,
    };
    let config = Config {
        state_dir: state_dir.to_owned(),
        limits,
        about: String::new(),
    };
    let metrics = Metrics::register(&Registry::new()).expect("registered");
    let spool = Spool::open(config, metrics).expect("starts");
    let _ = spool.open_journal::<Value>(id);
    spool.holding()
}
