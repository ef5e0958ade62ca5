//! Heap dumps made in code, after the format's description. Real ones are in `tests/it/formats/hprof.rs`.

use std::time::Instant;

use proptest::prelude::*;

use super::super::identify_from;
use super::super::strange::{BadFrom, Endless, PATIENCE, every_beginning, facts};
use super::*;

/// 2025-11-21T01:52:31.359Z.
const WRITTEN: u64 = 1_763_689_951_359;

struct Dump(Vec<u8>);

impl Dump {
    fn of(version: &str, id_size: u32, written: u64) -> Self {
        let mut bytes = format!("JAVA PROFILE {version}\0").into_bytes();
        bytes.extend(id_size.to_be_bytes());
        bytes.extend(written.to_be_bytes());
        Self(bytes)
    }

    fn record(mut self, tag: u8, body: &[u8]) -> Self {
        self = self.head(tag, body.len() as u32);
        self.0.extend(body);
        self
    }

    /// A record's head alone, promising a body.
    fn head(mut self, tag: u8, length: u32) -> Self {
        self.0.push(tag);
        self.0.extend([0; 4]);
        self.0.extend(length.to_be_bytes());
        self
    }

    /// Strings, a class, a trace: what comes before the heap.
    fn preamble(self) -> Self {
        self.record(0x01, b"\0\0\0\x01java/lang/String")
            .record(0x01, b"\0\0\0\x02")
            .record(0x02, &[0; 24])
            .record(0x05, &[0; 12])
    }
}

fn segmented() -> Dump {
    Dump::of("1.0.2", 8, WRITTEN)
        .preamble()
        .record(0x1c, &[0x20; 300])
        .record(0x1c, &[0x21; 10])
        .record(0x2c, &[])
}

#[test]
fn a_dump_in_segments_tells_everything() {
    let found = facts(&segmented().0);
    let expected = Facts {
        completeness: Completeness::Complete,
        format_version: Some("1.0.2".to_owned()),
        identifier_bytes: Some(8),
        written: Some("2025-11-21T01:52:31.359Z".parse().expect("a time")),
        runtime: Some(Runtime {
            name: Some("JVM".to_owned()),
            ..Runtime::default()
        }),
        ..Facts::of(Format::Hprof)
    };
    assert_eq!(found, expected);
}

#[test]
fn a_dump_in_segments_cut_anywhere_is_not_complete() {
    let bytes = segmented().0;
    let segments_at = bytes.len() - 9 - 19 - 309;
    every_beginning(&bytes, Format::Hprof, |cut, found| {
        // Between the records before the first segment nothing tells it from a file of samples.
        let doubtful = found.completeness == Completeness::Unknown;
        assert!(!doubtful || cut <= segments_at, "cut to {cut}: {found:?}");
        assert_eq!(doubtful, !found.unread.is_empty() && cut >= 31, "{found:?}");
    });
}

#[test]
fn a_heap_in_one_record_ends_the_file() {
    let bytes = Dump::of("1.0.1", 4, WRITTEN)
        .preamble()
        .record(0x0c, &[0x20; 300])
        .0;
    let whole = facts(&bytes);
    assert_eq!(whole.completeness, Completeness::Complete);
    assert_eq!(whole.identifier_bytes, Some(4));
    assert_eq!(whole.unread, Vec::<String>::new());
    every_beginning(&bytes, Format::Hprof, |cut, found| {
        if cut >= bytes.len() - 300 {
            let expected = Some(bytes.len() as u64);
            assert_eq!(found.completeness, Completeness::Truncated { expected });
        }
    });
    // The length of a heap above 4 GiB lost its upper bits, or samples follow.
    let longer = [bytes.as_slice(), &[0x21]].concat();
    let found = facts(&longer);
    assert_eq!(found.completeness, Completeness::Unknown);
    assert_eq!(found.unread.len(), 1, "{:?}", found.unread);
}

#[test]
fn a_heap_whose_length_was_never_filled_in_is_unfinished() {
    for tag in [0x0c, 0x1c] {
        for rest in [0, 1, 5_000] {
            let mut dump = Dump::of("1.0.1", 8, WRITTEN).preamble().head(tag, 0);
            dump.0.extend(vec![0x21; rest]);
            let found = facts(&dump.0);
            assert_eq!(
                found.completeness,
                Completeness::Truncated { expected: None },
                "{tag:#x} {rest}"
            );
        }
    }
}

#[test]
fn a_dump_without_a_heap_or_with_other_records_is_doubtful() {
    let samples = Dump::of("1.0.1", 8, WRITTEN)
        .preamble()
        .record(0x0d, &[0; 8]);
    let strange = Dump::of("1.0.2", 8, WRITTEN)
        .preamble()
        .record(0x33, &[0; 8])
        .record(0x2c, &[]);
    for dump in [samples, strange] {
        let found = facts(&dump.0);
        assert_eq!(found.completeness, Completeness::Unknown);
        assert!(
            found.unread[0].starts_with("records: "),
            "{:?}",
            found.unread
        );
    }
}

#[test]
fn an_end_that_is_not_the_last_record_is_none() {
    let more = segmented().record(0x1c, &[0x21; 5]);
    let found = facts(&more.0);
    assert_eq!(
        found.completeness,
        Completeness::Truncated { expected: None }
    );
}

#[test]
fn odd_headers_are_said_and_survived() {
    for id_size in [0, 1, 5, 16, u32::MAX] {
        let found = facts(&Dump::of("1.0.2", id_size, WRITTEN).record(0x2c, &[]).0);
        assert_eq!(found.identifier_bytes, None);
        assert!(
            found.unread[0].contains("size of an id"),
            "{:?}",
            found.unread
        );
        assert_eq!(found.completeness, Completeness::Complete);
    }
    for time in [0, u64::MAX, i64::MAX as u64] {
        assert_eq!(facts(&Dump::of("1.0.2", 8, time).0).written, None);
    }
    let android = facts(&Dump::of("1.0.3", 4, WRITTEN).0);
    assert_eq!(android.runtime, None);
    assert_eq!(android.format_version.as_deref(), Some("1.0.3"));
}

#[test]
fn an_endless_dump_is_walked_for_512_mebibytes() {
    let head = Dump::of("1.0.2", 8, WRITTEN).0;
    let tiny = Dump(Vec::new()).head(0x2c, 0).0.repeat(4_096);
    let far = Dump(Vec::new()).record(0x1c, &[0; 70_000]).0;
    for tile in [tiny, far] {
        let found = Endless::new(head.clone(), tile).bounded(513, Format::Hprof);
        assert_eq!(found.completeness, Completeness::Unknown);
        assert!(found.unread[0].contains("131,072"), "{:?}", found.unread);
    }
    let huge = Dump(Vec::new()).head(0x1c, u32::MAX).0;
    let bytes = [head.as_slice(), &huge].concat();
    let found = identify_from(&bytes, u64::MAX);
    assert_eq!(
        found.completeness,
        Completeness::Truncated { expected: None }
    );
}

#[test]
fn an_unreadable_place_is_said() {
    let bytes = segmented().0;
    for bad in 20..bytes.len() as u64 {
        let found = identify_from(&BadFrom(&bytes, bad), bytes.len() as u64);
        assert_eq!(found.completeness, Completeness::Unknown, "from {bad}");
        assert!(found.unread[0].contains("os error 5"), "{:?}", found.unread);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_bytes_behind_the_header_are_survived(
        tail in proptest::collection::vec(any::<u8>(), 0..4_096),
        len in prop_oneof![Just(None), any::<u64>().prop_map(Some)],
    ) {
        let bytes = [b"JAVA PROFILE 1.0.2\0".as_slice(), &tail].concat();
        let begun = Instant::now();
        let found = identify_from(&bytes, len.unwrap_or(bytes.len() as u64));
        prop_assert!(begun.elapsed() < PATIENCE);
        prop_assert!(found.unread.len() <= 2);
    }

    #[test]
    fn records_of_any_kind_and_length_are_survived(
        records in proptest::collection::vec((any::<u8>(), prop_oneof![any::<u32>(), 0u32..64]), 0..64),
    ) {
        let mut dump = Dump::of("1.0.2", 8, WRITTEN);
        for (tag, length) in records {
            dump = dump.head(tag, length);
            dump.0.extend(vec![0; length.min(64) as usize]);
        }
        let found = facts(&dump.0);
        if found.completeness == Completeness::Complete {
            // A dump in one record, or in segments with an end behind them, whatever length that says it has.
            prop_assert!(dump.0.contains(&0x2c) || dump.0.contains(&0x0c));
        }
    }
}
