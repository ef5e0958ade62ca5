//! Sizes and durations as people write them: `64MiB`, `30s`. The unit is part of the value, so a bare number is refused.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::text::stored_as_text;

/// A size in bytes, written with a binary or decimal unit: `0B`, `512KiB`, `64MiB`, `10GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(u64);

/// A size or duration that has no meaning, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{written:?} is not a {what}: write it as {example}")]
pub struct InvalidUnit {
    written: String,
    what: &'static str,
    example: &'static str,
}

impl InvalidUnit {
    fn new(written: &str, what: &'static str, example: &'static str) -> Self {
        Self {
            written: written.chars().take(64).collect(),
            what,
            example,
        }
    }
}

const SIZE_UNITS: [(&str, u64); 11] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("B", 1),
];

impl ByteSize {
    /// A size of `bytes` bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of `n` binary megabytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// A size of `n` binary gigabytes.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The size rounded for people, with one decimal: `83.7 MiB`.
    pub fn rounded(self) -> String {
        let units = [
            (1u64 << 40, "TiB"),
            (1 << 30, "GiB"),
            (1 << 20, "MiB"),
            (1 << 10, "KiB"),
        ];
        for (unit, name) in units {
            if self.0 >= unit {
                return format!("{:.1} {name}", self.0 as f64 / unit as f64);
            }
        }
        format!("{} B", self.0)
    }
}

impl FromStr for ByteSize {
    type Err = InvalidUnit;

    fn from_str(written: &str) -> Result<Self, InvalidUnit> {
        let example = "a number and a unit, for example 64MiB";
        number_of(written, &SIZE_UNITS)
            .map(Self)
            .ok_or_else(|| InvalidUnit::new(written, "size", example))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = [
            (1u64 << 40, "TiB"),
            (1 << 30, "GiB"),
            (1 << 20, "MiB"),
            (1 << 10, "KiB"),
        ]
        .into_iter()
        .find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        match exact {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// A length of time, written with a unit: `500ms`, `30s`, `10m`, `6h`, `14d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(Duration);

const SPAN_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

impl Span {
    /// A span of `n` seconds.
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// The span as the standard library's type.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = InvalidUnit;

    fn from_str(written: &str) -> Result<Self, InvalidUnit> {
        let example = "a number and a unit, for example 30s, 10m or 6h";
        let millis = number_of(written, &SPAN_UNITS).map(Duration::from_millis);
        millis
            .map(Self)
            .ok_or_else(|| InvalidUnit::new(written, "duration", example))
    }
}

/// A whole number and one of `units`, multiplied.
fn number_of(written: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = written.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis() as u64;
        let (name, unit) = SPAN_UNITS
            .into_iter()
            .rev()
            .find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit))
            .unwrap_or(("ms", 1));
        write!(f, "{}{name}", millis / unit)
    }
}

stored_as_text!(ByteSize => InvalidUnit, Span => InvalidUnit);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_and_spans_survive_being_written_and_read() {
        for text in ["0B", "1B", "64MiB", "10GiB", "1025B", "512KiB", "2TiB"] {
            assert_eq!(text.parse::<ByteSize>().expect(text).to_string(), text);
        }
        for text in ["500ms", "30s", "10m", "6h", "14d", "90s"] {
            assert_eq!(text.parse::<Span>().expect(text).to_string(), text);
        }
        assert_eq!(
            "10GB".parse::<ByteSize>().map(ByteSize::bytes),
            Ok(10_000_000_000)
        );
    }

    #[test]
    fn a_number_without_a_unit_is_refused_with_an_example() {
        for text in [
            "64",
            "",
            "MiB",
            "-1MiB",
            "1.5GiB",
            "64 mib",
            "99999999999TiB",
        ] {
            let error = text.parse::<ByteSize>().expect_err(text).to_string();
            assert!(error.contains("for example 64MiB"), "{error}");
        }
        for text in ["30", "s", "1w", "99999999999999999999d"] {
            assert!(
                text.parse::<Span>()
                    .expect_err(text)
                    .to_string()
                    .contains("for example 30s")
            );
        }
    }

    proptest! {
        #[test]
        fn any_size_and_span_survives_being_written_and_read(bytes: u64, ms: u64, shift in 0..64u32) {
            let size = ByteSize::new(bytes >> shift << shift);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
            let span = Span(Duration::from_millis(ms >> shift));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn what_is_taken_for_a_size_or_span_is_written_as_the_same(written in " {0,1}[0-9]{1,21} {0,1}[A-Za-z]{0,3}") {
            if let Ok(size) = written.parse::<ByteSize>() {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
            if let Ok(span) = written.parse::<Span>() {
                prop_assert_eq!(span.to_string().parse(), Ok(span));
            }
        }
    }
}
