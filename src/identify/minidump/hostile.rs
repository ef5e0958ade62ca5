//! Minidumps that promise the impossible: what they may cost, and that all are survived.

use std::time::Instant;

use proptest::prelude::*;

use super::super::identify_from;
use super::super::strange::{BadFrom, Endless, PATIENCE, facts};
use super::synth::*;
use super::tests::{COMPLETE, of, process, put, says_nothing_else};
use crate::model::{Completeness, Format};

#[test]
fn thousands_of_modules_that_share_one_long_name_cost_little() {
    let mut dump = Synth::new(2);
    dump.stream(SYSTEM, &system(AMD64, LINUX));
    let name = dump.text(&"x".repeat(4_000_000));
    let fitting = dump.text(&"y".repeat(4_096));
    let debug = dump.put(&elf(&vec![1; 4_000_000]));
    for (name, line) in [(name, "4,096 characters"), (fitting, "are not listed")] {
        let mut dump = dump.clone();
        dump.list(MODULES, &vec![module(name, debug); 70_000]);
        let bytes = dump.build();
        let begun = Instant::now();
        let found = facts(&bytes);
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        assert!(found.unread.join(" ").contains(line), "{:?}", found.unread);
        assert!(found.unread.len() < 4);
        assert_ne!(found.completeness, COMPLETE, "not all was looked at");
        assert!(process(&found).modules.len() <= 1);
    }
}

#[test]
fn pathological_directories_are_survived() {
    // More streams than are looked at, all of one type and all the same: half a million.
    let mut dump = Synth::new(500_000);
    dump.stream(SYSTEM, &system(AMD64, LINUX));
    let place = dump.place(SYSTEM);
    dump.streams = vec![(SYSTEM, place); 500_000];
    let begun = Instant::now();
    let found = of(&dump);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(found.completeness, Completeness::Unknown);
    assert!(found.unread[0].contains("499744 beyond"), "{found:?}");

    // Every stream is the header, the directory, or itself.
    for kind in [
        THREADS,
        MODULES,
        MEMORY,
        EXCEPTION,
        SYSTEM,
        MEMORY64,
        MISC,
        STATUS,
        ENVIRON,
        THREAD_NAMES,
    ] {
        for place in [
            (0, u32::MAX),
            (0, 32),
            (8, 4),
            (32, 12),
            (u32::MAX, u32::MAX),
        ] {
            let mut dump = Synth::linux();
            for stream in &mut dump.streams {
                if stream.0 == kind {
                    stream.1 = place;
                }
            }
            if dump.streams.iter().all(|(k, _)| *k != kind) {
                dump.streams[6] = (kind, place);
            }
            let found = of(&dump);
            assert_eq!(found.format, Format::Minidump);
        }
    }
    // The directory is the header.
    let mut bytes = Synth::linux().build();
    put(&mut bytes, 12, 0);
    assert_ne!(facts(&bytes).completeness, COMPLETE);
    for (count, at) in [(u32::MAX, 32), (10, u32::MAX), (u32::MAX, u32::MAX)] {
        put(&mut bytes, 8, count);
        put(&mut bytes, 12, at);
        assert_ne!(facts(&bytes).completeness, COMPLETE);
    }
}

#[test]
fn endless_lists_are_walked_for_64_mebibytes() {
    for (kind, record) in [
        (THREADS, thread(1, (0, 9), (0, 9))),
        (MODULES, module(40, (0, 90))),
        (MEMORY, memory(0, (0, 9))),
        (THREAD_NAMES, Bytes::default().u32(1).u64(40).0),
    ] {
        let mut dump = Synth::new(2);
        dump.stream(SYSTEM, &system(AMD64, WINDOWS));
        let at = dump.out.len() as u32;
        for bytes in [60u32 << 20, 65 << 20, 1 << 31] {
            let count = bytes / record.len() as u32;
            let mut dump = dump.clone();
            dump.streams.push((kind, (at, u32::MAX)));
            let head = [dump.build(), count.to_le_bytes().to_vec()].concat();
            let found = Endless::new(head, record.clone()).bounded(130, Format::Minidump);
            let refused = found.unread.join(" ").contains("64 MiB");
            assert_eq!(refused, bytes > 64 << 20, "{kind} {bytes} {found:?}");
        }
    }
}

#[test]
fn an_unreadable_place_costs_only_what_is_there() {
    let bytes = Synth::linux().build();
    let whole = facts(&bytes);
    for bad in 8..bytes.len() as u64 {
        let found = identify_from(&BadFrom(&bytes, bad), bytes.len() as u64);
        assert_eq!(found.completeness, Completeness::Unknown, "from {bad}");
        assert!(
            found.unread.iter().any(|why| why.contains("os error 5")),
            "from {bad}: {found:?}"
        );
        says_nothing_else(&found, &whole);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_bytes_behind_the_header_are_survived(
        tail in proptest::collection::vec(any::<u8>(), 0..8_192),
        count in prop_oneof![0u32..20, any::<u32>()],
    ) {
        let mut bytes = Synth::new(0).build();
        put(&mut bytes, 8, count);
        bytes.extend(tail);
        prop_assert_eq!(facts(&bytes).format, Format::Minidump);
    }

    #[test]
    fn a_dump_with_any_bytes_changed_is_survived(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..64),
        windows in any::<bool>(),
        len in prop_oneof![3 => Just(None), 1 => any::<u64>().prop_map(Some)],
    ) {
        let mut bytes = if windows { Synth::windows() } else { Synth::linux() }.build();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let begun = Instant::now();
        identify_from(&bytes, len.unwrap_or(bytes.len() as u64));
        prop_assert!(begun.elapsed() < PATIENCE);
    }

    #[test]
    fn streams_of_any_type_anywhere_are_survived(
        streams in proptest::collection::vec((
            prop_oneof![0u32..30, 0x4767_0000u32..0x4767_000b, any::<u32>()],
            prop_oneof![0u32..4_000, any::<u32>()],
            prop_oneof![0u32..4_000, any::<u32>()],
        ), 0..40),
    ) {
        let mut dump = Synth::linux();
        let filler = dump.out.len();
        // Behind the dump, a directory of its own.
        dump.out.extend(vec![0; 12 * streams.len()]);
        let mut bytes = dump.build();
        put(&mut bytes, 8, streams.len() as u32);
        put(&mut bytes, 12, filler as u32);
        for (n, (kind, size, at)) in streams.into_iter().enumerate() {
            let entry = (filler + 12 * n) as u32;
            put(&mut bytes, entry, kind);
            put(&mut bytes, entry + 4, size);
            put(&mut bytes, entry + 8, at);
        }
        prop_assert_eq!(facts(&bytes).format, Format::Minidump);
    }

    #[test]
    fn exceptions_of_any_kind_are_survived(
        record in proptest::collection::vec(any::<u8>(), 160..200),
        code in prop_oneof![0u32..40, Just(0xc000_0005), Just(0xc000_0006), Just(0xc000_0409), any::<u32>()],
        flags in any::<u32>(),
        machine in 0u16..16,
        platform in prop_oneof![0u32..4, 0x8101u32..0x8103, 0x8201u32..0x8206],
    ) {
        let mut dump = Synth::new(2);
        dump.stream(SYSTEM, &system(machine, platform));
        let mut record = record;
        put(&mut record, 8, code);
        put(&mut record, 12, flags);
        dump.stream(EXCEPTION, &record);
        let found = of(&dump);
        let kind = found.exception.and_then(|e| e.kind).unwrap_or_default();
        prop_assert!(kind.len() < 512, "{kind}");
    }
}
