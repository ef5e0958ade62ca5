//! What holds of every report, whole, cut and broken.

use proptest::prelude::*;

use super::samples::{DOTNET, HS_ERR, NODE};
use crate::identify::identify_from;
use crate::model::{Completeness, Facts, Format};

const REPORTS: [(Format, &str); 3] = [
    (Format::DotnetCrashReport, DOTNET),
    (Format::NodeReport, NODE),
    (Format::HsErr, HS_ERR),
];

/// A hundred frames of 512 characters, each an escape of 8 bytes, and what else there is.
const MOST: usize = 600 << 10;

fn facts(bytes: &[u8]) -> Facts {
    let bytes = bytes.to_vec();
    identify_from(&bytes, bytes.len() as u64)
}

fn json(facts: &Facts) -> String {
    serde_json::to_string(facts).expect("serialises")
}

#[test]
fn a_whole_report_is_complete_and_its_secrets_stay_in_it() {
    for (format, text) in REPORTS {
        assert!(format == Format::DotnetCrashReport || text.contains("hunter2"));
        for end in ["", "\n", " \r\n\t"] {
            let facts = facts(format!("{text}{end}").as_bytes());
            assert_eq!(facts.format, format);
            assert_eq!(facts.completeness, Completeness::Complete, "{format:?}");
            assert!(facts.unread.is_empty(), "{:?}", facts.unread);
            assert!(!json(&facts).contains("hunter2"), "{}", json(&facts));
        }
    }
}

#[test]
fn a_report_cut_at_any_byte_says_less_and_nothing_else() {
    for (format, text) in REPORTS {
        let whole = facts(text.as_bytes());
        let process = whole.process.clone().expect("each has one");
        let stack = &whole.exception.as_ref().expect("each has one").stack;
        for cut in 0..text.trim_end().len() {
            let part = facts(&text.as_bytes()[..cut]);
            let case = || format!("{format:?} cut at {cut}: {part:?}");
            assert_ne!(part.completeness, Completeness::Complete, "{}", case());
            if part.format == Format::Unknown {
                assert!(cut < 80, "{}", case());
                continue;
            }
            assert_eq!(part.format, format, "{}", case());
            assert_eq!(
                part.completeness,
                Completeness::Truncated { expected: None },
                "{}",
                case()
            );
            assert!(part.unread.is_empty(), "{}", case());
            assert!(!json(&part).contains("hunter2"), "{}", case());
            let found = part.process.clone().unwrap_or_default();
            assert!(
                found.pid.is_none_or(|pid| Some(pid) == process.pid),
                "{}",
                case()
            );
            assert!(
                found
                    .crashing_tid
                    .is_none_or(|tid| Some(tid) == process.crashing_tid),
                "{}",
                case()
            );
            assert!(
                part.written.is_none_or(|time| Some(time) == whole.written),
                "{}",
                case()
            );
            assert!(
                found.threads.is_none_or(|n| Some(n) == process.threads),
                "{}",
                case()
            );
            let exception = part.exception.clone().unwrap_or_default();
            for line in &exception.stack {
                assert!(stack.contains(line), "{}", case());
            }
        }
    }
}

#[test]
fn a_file_shorter_than_its_reader_was_told_is_not_complete() {
    for (format, text) in REPORTS {
        let bytes = text.as_bytes().to_vec();
        let cut = identify_from(&bytes[..bytes.len() / 2].to_vec(), bytes.len() as u64);
        assert_eq!(cut.format, format);
        assert_ne!(cut.completeness, Completeness::Complete, "{format:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_report_changed_anywhere_never_panics_and_stays_bounded(
        which in 0..REPORTS.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..12),
    ) {
        let (_, text) = REPORTS[which];
        let mut bytes = text.as_bytes().to_vec();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                // What steers the parsers.
                2 => bytes[at] = b"\"{}[],:\\\n# 0\x00\xff^"[usize::from(byte) % 15],
                _ => {
                    let end = (at + usize::from(byte)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        let facts = facts(&bytes);
        prop_assert!(json(&facts).len() < MOST);
    }

    #[test]
    fn anything_behind_a_known_beginning_never_panics_and_stays_bounded(
        which in 0..4usize,
        rest in prop::collection::vec(any::<u8>(), 0..2_048),
    ) {
        let beginnings: [&[u8]; 4] = [
            b"{\"payload\":{\"protocol_version\":\"1\",\"threads\":[{\"crashed\":\"true\",\"stack_frames\":[{\"method_name\":\"",
            b"{\"header\":{\"reportVersion\":4},\"javascriptStack\":{\"message\":\"x\",\"stack\":[\"at ",
            b"#\n# A fatal error has been detected by the Java Runtime Environment:\n#\n#  SIG",
            b"{\"snapshot\":{\"meta\":",
        ];
        let facts = facts(&[beginnings[which], &rest].concat());
        prop_assert!(json(&facts).len() < MOST);
    }
}
