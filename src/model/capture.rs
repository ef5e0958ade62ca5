//! What can be taken of a living process.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::stored_as_text;

/// The kind of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CaptureKind {
    /// A memory image.
    Dump,
    /// The objects of the managed heap, their types and references, without their contents.
    Gcdump,
    /// Events over a time.
    Trace,
    /// Values over a time.
    Counters,
}

/// How much of a process's memory a dump holds, as .NET's `createdump` knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DumpType {
    /// Stacks and modules.
    Mini,
    /// The managed heap besides.
    Heap,
    /// As mini, with some personal data left out. The environment and exception texts are in it all the same.
    Triage,
    /// All memory of the process.
    Full,
}

/// A word that names none of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{written:?} is no {what}: use one of {words}")]
pub struct InvalidCapture {
    written: String,
    what: &'static str,
    words: &'static str,
}

impl CaptureKind {
    /// Every kind, for metrics that show zero and for messages.
    pub const ALL: [Self; 4] = [Self::Dump, Self::Gcdump, Self::Trace, Self::Counters];

    /// Its word in requests, manifests and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dump => "dump",
            Self::Gcdump => "gcdump",
            Self::Trace => "trace",
            Self::Counters => "counters",
        }
    }
}

impl DumpType {
    /// Every type, from the smallest to the largest.
    pub const ALL: [Self; 4] = [Self::Mini, Self::Triage, Self::Heap, Self::Full];

    /// Its word in requests and manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mini => "mini",
            Self::Heap => "heap",
            Self::Triage => "triage",
            Self::Full => "full",
        }
    }
}

fn invalid(written: &str, what: &'static str, words: &'static str) -> InvalidCapture {
    InvalidCapture {
        written: written.chars().take(64).collect(),
        what,
        words,
    }
}

impl FromStr for CaptureKind {
    type Err = InvalidCapture;

    fn from_str(written: &str) -> Result<Self, InvalidCapture> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == written);
        found.ok_or_else(|| invalid(written, "kind of capture", "dump, gcdump, trace, counters"))
    }
}

impl FromStr for DumpType {
    type Err = InvalidCapture;

    fn from_str(written: &str) -> Result<Self, InvalidCapture> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == written);
        found.ok_or_else(|| invalid(written, "type of dump", "mini, triage, heap, full"))
    }
}

impl fmt::Display for CaptureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for DumpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

stored_as_text!(CaptureKind => InvalidCapture);
stored_as_text!(DumpType => InvalidCapture);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        for kind in CaptureKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        for kind in DumpType::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
    }

    #[test]
    fn other_words_are_refused_with_those_that_there_are() {
        let refused = "Heap".parse::<DumpType>().expect_err("refused");
        assert_eq!(
            refused.to_string(),
            "\"Heap\" is no type of dump: use one of mini, triage, heap, full"
        );
        let refused = "heap".parse::<CaptureKind>().expect_err("refused");
        assert_eq!(
            refused.to_string(),
            "\"heap\" is no kind of capture: use one of dump, gcdump, trace, counters"
        );
    }
}
