//! Points in time as people write them.

use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::model::Span;

/// A point in time: `2h` (ago), `2026-11-21` (a day in UTC) or RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Ago(Span),
    Day(Date),
    At(Timestamp),
}

/// A text that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no time: write 30m, 2h or 7d for so long ago, a day such as 2026-11-21, or 2026-11-21T10:00:00Z"
)]
pub(super) struct InvalidWhen(String);

impl FromStr for When {
    type Err = InvalidWhen;

    fn from_str(written: &str) -> Result<Self, InvalidWhen> {
        let is_day = |date: &Date| date.to_string() == written;
        if let Some(date) = written.parse().ok().filter(is_day) {
            return Ok(Self::Day(date));
        }
        if let Ok(time) = written.parse() {
            return Ok(Self::At(time));
        }
        let ago = written.parse().map(Self::Ago);
        ago.map_err(|_| InvalidWhen(written.chars().take(64).collect()))
    }
}

impl When {
    /// The first instant of it.
    pub(super) fn start(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => SignedDuration::try_from(span.duration())
                .ok()
                .and_then(|ago| now.checked_sub(ago).ok())
                .unwrap_or(Timestamp::MIN),
            Self::Day(date) => midnight(date),
            Self::At(time) => time,
        }
    }

    /// The first instant after it: the next midnight for a day, so that a range of days includes the last.
    pub(super) fn end(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Day(date) => date.checked_add(1.day()).map_or(Timestamp::MAX, midnight),
            Self::Ago(_) | Self::At(_) => self.start(now),
        }
    }
}

fn midnight(date: Date) -> Timestamp {
    // Fails only for the first day there is.
    let start = date.at(0, 0, 0, 0);
    Offset::UTC.to_timestamp(start).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::changes::changed;
    use proptest::prelude::*;

    #[test]
    fn people_write_times_in_three_ways() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().expect("time");
        for (written, start, end) in [
            ("2h", "2026-11-21T08:00:00Z", "2026-11-21T08:00:00Z"),
            ("7d", "2026-11-14T10:00:00Z", "2026-11-14T10:00:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"),
            (
                "2026-11-20T01:02:03+01:00",
                "2026-11-20T00:02:03Z",
                "2026-11-20T00:02:03Z",
            ),
            (
                "2026-11-20 01:02:03Z",
                "2026-11-20T01:02:03Z",
                "2026-11-20T01:02:03Z",
            ),
        ] {
            let when: When = written.parse().expect(written);
            assert_eq!(when.start(now).to_string(), start, "{written}");
            assert_eq!(when.end(now).to_string(), end, "{written}");
        }
    }

    #[test]
    fn a_time_that_is_none_is_answered_with_examples() {
        for written in [
            "",
            "yesterday",
            "2",
            "2026-13-01",
            "20261121",
            "2026-11-21T10:00:00",
        ] {
            let error = written.parse::<When>().expect_err(written).to_string();
            assert!(error.contains("2026-11-21T10:00:00Z"), "{error}");
        }
    }

    #[test]
    fn times_beyond_the_calendar_are_its_ends() {
        let now = Timestamp::MIN;
        let long: When = "9999999d".parse().expect("a span");
        assert_eq!(long.start(now), Timestamp::MIN);
        let last: When = "9999-12-31".parse().expect("a day");
        assert_eq!(last.end(now), Timestamp::MAX);
    }

    proptest! {
        #[test]
        fn whatever_is_taken_for_a_time_has_a_start_and_no_earlier_end(
            written in prop_oneof![changed("2026-11-20T01:02:03+01:00"), changed("9999-12-31"), changed("2h")],
            now in prop_oneof![Just(Timestamp::MIN), Just(Timestamp::MAX), Just(Timestamp::UNIX_EPOCH)],
        ) {
            if let Ok(when) = written.parse::<When>() {
                prop_assert!(when.start(now) <= when.end(now), "{:?}", when);
            }
        }
    }
}
