//! Captures that are taken in, refused, dropped and left behind by a stop.

use prometheus::Registry;

use super::*;
use crate::decide::Limits;
use crate::model::{
    Attribution, CaptureKind, Confidence, Container, DumpType, Pod, Taken, Trigger,
};
use crate::spool::{Config, Metrics, Work};

fn open(directory: &std::path::Path, max_use: u64) -> Arc<Spool> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let config = Config {
        state_dir: directory.join("state"),
        limits: Limits {
            max_use,
            keep_free: 0,
            keep_free_inodes: 0,
            max_entries: 100,
        },
        about: "a test".into(),
    };
    let metrics = Metrics::register(&Registry::new()).expect("metrics");
    Arc::new(Spool::open(config, metrics).expect("open"))
}

fn id(random: u128) -> CrashId {
    CrashId::new(Timestamp::now(), random)
}

fn received() -> Received {
    let attribution = Attribution {
        confidence: Confidence::Exact,
        evidence: Vec::new(),
        conflicts: Vec::new(),
        candidates: None,
    };
    let taken = Taken {
        kind: CaptureKind::Dump,
        dump_type: Some(DumpType::Mini),
        trigger: Trigger::Request,
        request: None,
        started: Timestamp::now(),
        took_ms: 1,
        pause_ms: None,
        complete: None,
        note: None,
        providers: Vec::new(),
        memory: None,
        types: Vec::new(),
    };
    Received {
        captured: Captured {
            taken,
            pod: Pod::default(),
            container: Container::default(),
            attribution,
        },
        name: "dump.core".into(),
        uid: 12345,
    }
}

fn files_in(directory: &std::path::Path) -> usize {
    std::fs::read_dir(directory.join("state/dumps"))
        .expect("dumps")
        .count()
}

#[test]
fn what_was_taken_in_is_an_entry_with_its_bytes() {
    let temp = tempfile::tempdir().expect("temp dir");
    let spool = open(temp.path(), 1 << 20);
    let mut receiving = spool.receive(id(1), 100).expect("room");
    receiving.write(b"a dump ").expect("written");
    receiving.write(b"of seven words").expect("written");
    let id = receiving.finish(received()).expect("finished");
    assert!(spool.holds(id));
    assert_eq!(spool.holding().bytes, 21);
    let entry = spool.check_out(Work::Ship, Timestamp::now());
    let entry = entry.expect("an entry to ship");
    assert_eq!((entry.id, entry.phase.name()), (id, "held"));
    let mut text = String::new();
    let mut file = spool.open_file(&entry.files()[0]).expect("its file");
    std::io::Read::read_to_string(&mut file, &mut text).expect("read");
    assert_eq!(text, "a dump of seven words");
    // Another start finds it as it was.
    drop((entry, spool));
    assert!(open(temp.path(), 1 << 20).holds(id));
}

#[test]
fn what_is_dropped_or_cut_by_a_stop_leaves_nothing() {
    let temp = tempfile::tempdir().expect("temp dir");
    let spool = open(temp.path(), 1 << 20);
    let mut receiving = spool.receive(id(1), 1_000).expect("room");
    receiving.write(b"half").expect("written");
    assert_eq!((spool.holding().bytes, files_in(temp.path())), (1_000, 1));
    drop(receiving);
    assert_eq!((spool.holding().bytes, files_in(temp.path())), (0, 0));
    // Killed, and not dropped.
    let mut receiving = spool.receive(id(2), 1_000).expect("room");
    receiving.write(b"half").expect("written");
    std::mem::forget(receiving);
    assert_eq!(files_in(temp.path()), 1);
    std::fs::remove_file(temp.path().join("state/lock")).expect("the lock of the dead");
    let spool = open(temp.path(), 1 << 20);
    assert_eq!((spool.holding().entries, files_in(temp.path())), (0, 0));
}

#[test]
fn two_at_once_are_not_promised_the_same_room() {
    let temp = tempfile::tempdir().expect("temp dir");
    let spool = open(temp.path(), 100 << 20);
    let first = spool.receive(id(1), 60 << 20).expect("room");
    let refused = spool.receive(id(2), 60 << 20).expect_err("no room");
    assert!(
        matches!(
            &refused,
            ReceiveError::NoRoom {
                refusal: Refusal::MaxUse,
                ..
            }
        ),
        "{refused}"
    );
    assert!(spool.room_to_receive() <= 40 << 20);
    drop(first);
    let free = spool.dumps.space().expect("space").free_bytes;
    let spool = {
        drop(spool);
        open(temp.path(), u64::MAX)
    };
    // Of the disk as well: what is promised is as good as written.
    let _first = spool.receive(id(3), free / 3 * 2).expect("room");
    let refused = spool.receive(id(4), free / 3 * 2).expect_err("no room");
    assert!(
        matches!(
            &refused,
            ReceiveError::NoRoom {
                refusal: Refusal::KeepFree,
                ..
            }
        ),
        "{refused}"
    );
}

#[test]
fn more_than_was_expected_is_taken_as_long_as_there_is_room() {
    let temp = tempfile::tempdir().expect("temp dir");
    let spool = open(temp.path(), 40 << 20);
    let mut receiving = spool.receive(id(1), 10).expect("room");
    let piece = vec![7; 1 << 20];
    let mut taken = 0;
    let refused = loop {
        match receiving.write(&piece) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!((20..=40).contains(&taken), "{taken} MiB of 40");
    assert_eq!(receiving.written(), taken << 20);
    assert!(refused.to_string().contains("spool.max_use"), "{refused}");
    drop(receiving);
    assert_eq!(spool.holding().bytes, 0);
}
