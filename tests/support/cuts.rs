//! Real files cut short, as a full disk or a killed writer leaves them.
//!
//! Owns where the cuts are and what holds of every format: no panic, and never complete. What else must hold of a cut, its test says.

use std::fs::File;
use std::path::Path;

use salvage::identify::identify;
use salvage::model::{Completeness, Facts, Format};

/// Pieces a file is cut into.
const PIECES: u64 = 64;

/// Calls `check` with the length and the facts of `path` cut after each 1/64 of it, the empty file first and the whole one left out.
///
/// The cut is made by the length that the reader is given, beyond which it reads nothing.
pub(crate) fn every_64th(path: &Path, check: impl Fn(u64, &Facts)) {
    let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let len = file.metadata().expect("of an open file").len();
    assert!(
        len >= PIECES,
        "{} has {len} bytes: too few to cut",
        path.display()
    );
    for piece in 0..PIECES {
        // Divided first: a dump may have more bytes than 2^64 / 64.
        let cut = len / PIECES * piece + len % PIECES * piece / PIECES;
        check(cut, &identify(&file, cut));
    }
}

/// Ensures of every such cut that it is the same format or unknown, and not complete unless it has all but the last `padding` bytes.
pub(crate) fn never_complete(path: &Path, format: Format, padding: u64) {
    let len = std::fs::metadata(path).expect("it is there").len();
    every_64th(path, |cut, facts| {
        let at = || format!("{} cut to {cut} of {len}: {facts:?}", path.display());
        assert!(
            facts.format == format || facts.format == Format::Unknown,
            "{}",
            at()
        );
        let only_padding_is_cut = cut >= len.saturating_sub(padding);
        assert!(
            facts.completeness != Completeness::Complete || only_padding_is_cut,
            "{}",
            at()
        );
        if let Completeness::Truncated {
            expected: Some(expected),
        } = facts.completeness
        {
            assert!(expected > cut, "{}", at());
        }
    });
}
