//! The id of a crash: a lower-case ULID.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::digest::Sha256;
use super::text::stored_as_text;

/// The id of one crash: 26 characters of lower-case Crockford base 32 (`ulid/spec`). The first ten hold the crash's time in
/// milliseconds, so ids sort by time; the rest is drawn at random for a dump.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CrashId(Ulid);

/// A text that is no crash id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{written:?} is not a crash id: it has 26 characters of 0-9 and a-z without i, l, o and u, as `salvage ls` shows it"
)]
pub struct InvalidId {
    written: String,
}

const LENGTH: usize = 26;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl CrashId {
    /// Draws an id for a crash at `time`; `random` gives the 80 random bits (its upper 48 bits are ignored).
    pub fn new(time: Timestamp, random: u128) -> Self {
        let millis = u64::try_from(time.as_millisecond()).unwrap_or(0);
        Self(Ulid::from_parts(millis, random))
    }

    /// The id of what somebody asked for by an object of this UID, the same whenever it is asked for: who meets the object again, meets what came of it.
    pub fn of_request(cluster: &str, uid: &str, created: Timestamp) -> Self {
        Self::of_text(created, &format!("{cluster}\0{uid}"))
    }

    /// The id that a text has at a time: 80 bits of its SHA-256.
    pub(super) fn of_text(time: Timestamp, text: &str) -> Self {
        let digest = Sha256::of(text.as_bytes());
        let random = digest
            .iter()
            .take(10)
            .fold(0, |sum: u128, byte| sum << 8 | u128::from(*byte));
        Self::new(time, random)
    }

    /// The time part, to the millisecond.
    pub fn time(self) -> Timestamp {
        // 48 bits of milliseconds reach the year 10889, jiff the year 9999; a forged id must not panic.
        i64::try_from(self.0.timestamp_ms())
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .unwrap_or(Timestamp::MAX)
    }
}

impl FromStr for CrashId {
    type Err = InvalidId;

    fn from_str(written: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId {
            written: written.chars().take(64).collect(),
        };
        // The crate also takes upper case and look-alikes (I, L, O); an object key must have one spelling only.
        if written.len() != LENGTH || !written.bytes().all(|b| ALPHABET.contains(&b)) {
            return Err(invalid());
        }
        let id = Self(Ulid::from_string(written).map_err(|_| invalid())?);
        if id.to_string() == written {
            Ok(id)
        } else {
            Err(invalid())
        }
    }
}

impl fmt::Display for CrashId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string().to_ascii_lowercase())
    }
}

impl fmt::Debug for CrashId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first characters of an id, as people type it; case does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdPrefix(String);

impl IdPrefix {
    /// Whether `id` begins with this.
    pub fn matches(&self, id: CrashId) -> bool {
        id.to_string().starts_with(&self.0)
    }

    /// The earliest and the latest instant an id with this beginning can have, both inclusive.
    pub fn time_range(&self) -> (Timestamp, Timestamp) {
        let fill = |c: char| -> CrashId {
            let text: String = self
                .0
                .chars()
                .chain(std::iter::repeat(c))
                .take(LENGTH)
                .collect();
            // Past the first character's range ("8...") no id exists; the bound stays valid for comparing.
            text.parse()
                .unwrap_or(CrashId(Ulid::from_parts(u64::MAX >> 16, u128::MAX >> 48)))
        };
        (fill('0').time(), fill('z').time())
    }

    /// The characters typed, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdPrefix {
    type Err = InvalidId;

    fn from_str(written: &str) -> Result<Self, InvalidId> {
        let lower = written.to_ascii_lowercase();
        if lower.is_empty() || lower.len() > LENGTH || !lower.bytes().all(|b| ALPHABET.contains(&b))
        {
            return Err(InvalidId {
                written: written.chars().take(64).collect(),
            });
        }
        Ok(Self(lower))
    }
}

stored_as_text!(CrashId => InvalidId);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::changes::changed;
    use proptest::prelude::*;

    #[test]
    fn an_id_has_one_spelling() {
        let time: Timestamp = "2026-11-21T10:00:00.123Z".parse().expect("time");
        let id = CrashId::new(time, 42);
        assert_eq!(id.to_string().len(), 26);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.time(), time);
        assert!(id.to_string().to_uppercase().parse::<CrashId>().is_err());
        for bad in [
            "",
            "01",
            "0000000000000000000000000i",
            "zzzzzzzzzzzzzzzzzzzzzzzzzz",
            "../../../../../../etc/passw",
        ] {
            assert!(bad.parse::<CrashId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_shortened_id_bounds_the_time() {
        let time: Timestamp = "2026-11-21T10:00:00Z".parse().expect("time");
        let id = CrashId::new(time, 7);
        for length in 1..=26 {
            let prefix: IdPrefix = id.to_string()[..length].parse().expect("prefix");
            let (from, to) = prefix.time_range();
            assert!(prefix.matches(id) && from <= time && time <= to, "{length}");
        }
        let ten: IdPrefix = id.to_string()[..10].parse().expect("prefix");
        assert_eq!(ten.time_range(), (time, time));
    }

    proptest! {
        #[test]
        fn any_id_survives_being_written_and_is_found_by_its_beginnings(ms in 0..1i64 << 47, random: u128, length in 1..=LENGTH) {
            let id = CrashId::new(Timestamp::from_millisecond(ms).expect("in range"), random);
            let written = id.to_string();
            prop_assert_eq!(written.parse(), Ok(id));
            let prefix: IdPrefix = written[..length].to_ascii_uppercase().parse().expect("a beginning");
            let (from, until) = prefix.time_range();
            prop_assert!(prefix.matches(id) && from <= id.time() && id.time() <= until);
        }

        #[test]
        fn what_is_taken_for_an_id_is_spelt_like_one(written in changed("01m7yrrt800000000000000000")) {
            if let Ok(id) = written.parse::<CrashId>() {
                prop_assert_eq!(id.to_string(), written.clone());
            }
            if let Ok(prefix) = written.parse::<IdPrefix>() {
                let (from, until) = prefix.time_range();
                prop_assert!(from <= until);
            }
        }
    }
}
