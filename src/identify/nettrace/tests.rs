//! Traces made in code, after the format's description. Real ones are in `tests/it/formats/nettrace.rs`.

use std::time::Instant;

use proptest::prelude::*;

use super::super::identify_from;
use super::super::strange::{BadFrom, Endless, PATIENCE, every_beginning, facts};
use super::*;
use crate::model::{Completeness, Runtime};

/// 2025-11-21 01:52:31.359, a Friday.
fn time() -> Vec<u8> {
    let numbers = [2025u16, 11, 5, 21, 1, 52, 31, 359];
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

const WRITTEN: &str = "2025-11-21T01:52:31.359Z";

/// A stream of version 4.
struct Objects(Vec<u8>);

impl Objects {
    fn new() -> Self {
        Self(b"Nettrace\x14\0\0\0!FastSerialization.1".to_vec())
    }

    fn begin(mut self, name: &str, version: u32) -> Self {
        self.0.extend(b"\x05\x05\x01");
        self.0.extend(version.to_le_bytes());
        self.0.extend(version.to_le_bytes());
        self.0.extend((name.len() as u32).to_le_bytes());
        self.0.extend(name.as_bytes());
        self.0.push(6);
        self
    }

    fn trace(self, version: u32, pid: i32) -> Self {
        let mut this = self.begin("Trace", version);
        this.0.extend(time());
        this.0.extend([0; 16]);
        this.0.extend(8u32.to_le_bytes());
        this.0.extend(pid.to_le_bytes());
        this.0.extend([0; 8]);
        this.0.push(6);
        this
    }

    fn block(self, name: &str, body: &[u8]) -> Self {
        let mut this = self.begin(name, 2).size(body.len() as u32);
        this.0.extend(body);
        this.0.push(6);
        this
    }

    fn size(mut self, size: u32) -> Self {
        self.0.extend(size.to_le_bytes());
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push(1);
        self.0
    }
}

fn whole() -> Vec<u8> {
    Objects::new()
        .trace(4, 4711)
        .block("MetadataBlock", &[1; 30])
        .block("EventBlock", &[6; 101])
        .block("StackBlock", &[5; 3])
        .block("SPBlock", &[])
        .block("EventBlock", &[1; 10_000])
        .end()
}

/// A stream of version 6.
struct Blocks(Vec<u8>);

impl Blocks {
    fn new(major: u32, minor: u32) -> Self {
        let mut bytes = b"Nettrace\0\0\0\0".to_vec();
        bytes.extend(major.to_le_bytes());
        bytes.extend(minor.to_le_bytes());
        Self(bytes)
    }

    fn block(mut self, kind: u8, body: &[u8]) -> Self {
        let size = (body.len() as u32).to_le_bytes();
        self.0.extend([size[0], size[1], size[2], kind]);
        self.0.extend(body);
        self
    }

    fn trace(self, pairs: &[(&str, &str)]) -> Self {
        let mut body = time();
        body.extend([0; 20]);
        body.extend((pairs.len() as u32).to_le_bytes());
        for text in pairs.iter().flat_map(|(key, value)| [key, value]) {
            assert!(text.len() < 300);
            if text.len() > 127 {
                body.extend([(text.len() & 127 | 128) as u8, (text.len() >> 7) as u8]);
            } else {
                body.push(text.len() as u8);
            }
            body.extend(text.as_bytes());
        }
        self.block(1, &body)
    }
}

fn whole_of_blocks() -> Vec<u8> {
    let long = "x".repeat(200);
    Blocks::new(6, 0)
        .trace(&[
            ("HardwareThreadCount", "4"),
            ("Name", &long),
            ("ProcessId", "4711"),
        ])
        .block(3, &[1; 30])
        .block(2, &[0; 70_000])
        .block(200, &[9; 7])
        .block(0, &[])
        .0
}

#[test]
fn a_trace_of_objects_tells_everything() {
    for version in [4, 5] {
        let bytes = Objects::new()
            .trace(version, 4711)
            .block("EventBlock", &[0; 10])
            .end();
        let expected = Facts {
            completeness: Completeness::Complete,
            format_version: Some(version.to_string()),
            written: Some(WRITTEN.parse().expect("a time")),
            process: process(Some(4711)),
            runtime: Some(Runtime {
                name: Some(".NET".to_owned()),
                ..Runtime::default()
            }),
            ..Facts::of(Format::Nettrace)
        };
        assert_eq!(facts(&bytes), expected);
    }
    assert_eq!(facts(&whole()).completeness, Completeness::Complete);
}

#[test]
fn a_trace_of_blocks_tells_when_and_on_whom() {
    let expected = Facts {
        completeness: Completeness::Complete,
        format_version: Some("6.0".to_owned()),
        written: Some(WRITTEN.parse().expect("a time")),
        process: process(Some(4711)),
        ..Facts::of(Format::Nettrace)
    };
    assert_eq!(facts(&whole_of_blocks()), expected);
    // A later minor version may give the last block bytes.
    let later = Blocks::new(6, 3).trace(&[]).block(0, &[1, 2]).0;
    assert_eq!(facts(&later).completeness, Completeness::Complete);
}

#[test]
fn a_trace_cut_anywhere_is_truncated() {
    for bytes in [whole(), whole_of_blocks()] {
        every_beginning(&bytes, Format::Nettrace, |cut, found| {
            assert_eq!(
                found.completeness,
                Completeness::Truncated { expected: None },
                "cut to {cut}"
            );
            assert_eq!(found.unread, Vec::<String>::new(), "cut to {cut}");
        });
    }
}

#[test]
fn bytes_behind_the_end_are_said() {
    for mut bytes in [whole(), whole_of_blocks()] {
        bytes.push(1);
        let found = facts(&bytes);
        assert_eq!(found.completeness, Completeness::Unknown);
        assert!(
            found.unread[0].contains("before the file does"),
            "{:?}",
            found.unread
        );
    }
}

#[test]
fn what_is_not_known_is_doubtful() {
    let streams = [
        Objects::new().trace(7, 1).end(),
        Objects::new().block("EventBlock", &[0; 8]).end(),
        Objects::new()
            .trace(4, 1)
            .block("LaterBlock", &[0; 8])
            .end(),
        Objects::new()
            .trace(4, 1)
            .begin("EventBlock", 2)
            .size(u32::MAX)
            .end(),
        Objects::new().trace(4, 1).begin(&"x".repeat(65), 2).end(),
        b"Nettrace\x14\0\0\0!FastSerialization.2 and so on".to_vec(),
        Blocks::new(7, 0).trace(&[]).block(0, &[]).0,
        Blocks::new(6, 0).block(2, &[0; 50]).block(0, &[]).0,
    ];
    for bytes in streams {
        let found = facts(&bytes);
        assert_eq!(found.completeness, Completeness::Unknown, "{found:?}");
        assert_eq!(found.unread.len(), 1, "{found:?}");
    }
}

#[test]
fn odd_times_and_process_ids_are_left_out() {
    for at in [0, 2, 6, 8, 10, 12, 14] {
        let mut bytes = whole();
        // The payload of the trace object.
        let payload = 32 + 15 + 5 + 1;
        bytes[payload + at..payload + at + 2].copy_from_slice(&u16::MAX.to_le_bytes());
        let found = facts(&bytes);
        assert_eq!(found.written, None, "{at}");
        assert_eq!(found.completeness, Completeness::Complete);
    }
    for pid in [0, -1, i32::MIN] {
        let bytes = Objects::new().trace(4, pid).end();
        assert_eq!(facts(&bytes).process, None);
    }
    for pid in ["", "-4", "4711 ", "99999999999", "x"] {
        let bytes = Blocks::new(6, 0)
            .trace(&[("ProcessId", pid)])
            .block(0, &[])
            .0;
        assert_eq!(facts(&bytes).process, None, "{pid}");
    }
}

#[test]
fn pairs_that_promise_too_much_are_survived() {
    for tail in [
        &[0xff; 9][..],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[5, 1],
        &[],
    ] {
        let mut body = time();
        body.extend([0; 20]);
        body.extend(u32::MAX.to_le_bytes());
        body.extend(tail);
        let found = facts(&Blocks::new(6, 0).block(1, &body).block(0, &[]).0);
        assert_eq!(found.completeness, Completeness::Complete);
        assert_eq!(found.process, None);
    }
}

#[test]
fn endless_traces_are_walked_for_512_mebibytes() {
    let head = Objects::new().trace(4, 1).0;
    // Sizes are padded up to a multiple of 4 in the file, so tiles that are one keep their step. These bodies make them so.
    let step = |body: usize, count: usize| {
        let mut stream = Objects(head.clone());
        for _ in 0..count {
            stream = stream.block("EventBlock", &vec![0; body]);
        }
        stream.0.split_off(head.len())
    };
    let blocks = Blocks(Vec::new()).block(2, &[]).0.repeat(4_096);
    let far = Blocks(Vec::new()).block(2, &[0; 60_000]).0;
    let six = Blocks::new(6, 0).trace(&[]).0;
    for (head, tile) in [
        (head.clone(), step(1, 100)),
        (head.clone(), step(40_001, 1)),
        (six.clone(), blocks),
        (six, far),
    ] {
        assert_eq!(tile.len() % 4, 0);
        let found = Endless::new(head, tile).bounded(513, Format::Nettrace);
        assert_eq!(found.completeness, Completeness::Unknown);
        assert!(found.unread[0].contains("131,072"), "{:?}", found.unread);
    }
}

#[test]
fn an_unreadable_place_is_said() {
    for bytes in [whole(), whole_of_blocks()] {
        for bad in 10..bytes.len() as u64 {
            let found = identify_from(&BadFrom(&bytes, bad), bytes.len() as u64);
            assert_eq!(found.completeness, Completeness::Unknown, "from {bad}");
            assert!(found.unread[0].contains("os error 5"), "{:?}", found.unread);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_bytes_behind_the_magic_are_survived(
        tail in proptest::collection::vec(any::<u8>(), 0..4_096),
        six in any::<bool>(),
        len in prop_oneof![Just(None), any::<u64>().prop_map(Some)],
    ) {
        let head = if six { Blocks::new(6, 0).0 } else { Objects::new().0 };
        let bytes = [head.as_slice(), &tail].concat();
        let begun = Instant::now();
        let found = identify_from(&bytes, len.unwrap_or(bytes.len() as u64));
        prop_assert!(begun.elapsed() < PATIENCE);
        prop_assert!(found.unread.len() <= 1);
    }

    #[test]
    fn a_trace_with_any_bytes_changed_is_survived(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..16),
        six in any::<bool>(),
    ) {
        let mut bytes = if six { whole_of_blocks() } else { whole() };
        for (index, value) in changes {
            let range = 400.min(bytes.len());
            bytes[index.index(range)] = value;
        }
        facts(&bytes);
    }
}
