//! Which parts of the bucket a search has to look at: pure.
//!
//! A crash's date is the UTC date of its time, and a key that says otherwise is refused when it is read, so the days of a time range
//! need no margin.

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan};

use crate::model::ObjectKey;

/// What every crash's key begins with.
pub(super) const ROOT: &str = "crashes/";
/// Up to so many days are looked at by name; listing which days there are would cost as much as it saves.
const FEW: usize = 2;

/// The days a search can touch, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Days {
    first: Date,
    last: Date,
}

impl Days {
    /// The days of crashes at `since` or later and before `until`; nothing where there are none.
    pub(super) fn of(since: Option<Timestamp>, until: Option<Timestamp>) -> Option<Self> {
        let (since, last_instant) = instants(since, until)?;
        Some(Self {
            first: date_of(since),
            last: date_of(last_instant),
        })
    }

    pub(super) fn contains(self, date: Date) -> bool {
        self.first <= date && date <= self.last
    }

    /// The days, newest first, if they are few.
    pub(super) fn few(self) -> Option<Vec<Date>> {
        let mut days = vec![self.last];
        while let Some(day) = days.last().copied().filter(|day| *day > self.first) {
            if days.len() == FEW {
                return None;
            }
            days.push(day.checked_sub(1.day()).ok()?);
        }
        Some(days)
    }
}

/// The prefix of one day's crashes, narrowed to the hour, minute or second where the whole time range shares it.
pub(super) fn day_prefix(
    scope: &str,
    date: Date,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> String {
    let shared = match instants(since, until) {
        Some((from, to)) if date_of(from) == date_of(to) => {
            let (from, to) = (second_of(from), second_of(to));
            let same = from.bytes().zip(to.bytes()).take_while(|(a, b)| a == b);
            from[..same.count()].to_owned()
        }
        _ => String::new(),
    };
    format!("{scope}date={date}/{shared}")
}

/// The name that `folder` gives to `level` (`cluster=`, `namespace=`) right below `parent`, if salvage may have made it.
pub(super) fn level<'a>(folder: &'a str, parent: &str, level: &str) -> Option<&'a str> {
    let below = folder.strip_prefix(parent)?.strip_suffix('/')?;
    let name = below
        .strip_prefix(level)
        .filter(|name| !name.is_empty() && !below.contains('/'))?;
    below.parse::<ObjectKey>().is_ok().then_some(name)
}

/// The date that `folder` gives right below `scope`.
pub(super) fn date_level(folder: &str, scope: &str) -> Option<Date> {
    let written = level(folder, scope, "date=")?;
    let date: Date = written.parse().ok()?;
    (date.to_string() == written).then_some(date)
}

/// The first and the last instant of a range that excludes its end.
fn instants(since: Option<Timestamp>, until: Option<Timestamp>) -> Option<(Timestamp, Timestamp)> {
    let first = since.unwrap_or(Timestamp::MIN);
    let last = match until {
        Some(until) => until.checked_sub(1.nanosecond()).ok()?,
        None => Timestamp::MAX,
    };
    (first <= last).then_some((first, last))
}

fn date_of(time: Timestamp) -> Date {
    Offset::UTC.to_datetime(time).date()
}

fn second_of(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Option<Timestamp> {
        Some(text.parse().expect("time"))
    }

    fn date(text: &str) -> Date {
        text.parse().expect("date")
    }

    #[test]
    fn a_range_touches_the_days_it_overlaps() {
        let days = Days::of(time("2026-11-20T23:59:59.9Z"), time("2026-11-22T00:00:00Z"))
            .expect("not empty");
        assert_eq!(
            days.few(),
            Some(vec![date("2026-11-21"), date("2026-11-20")])
        );
        assert!(days.contains(date("2026-11-21")) && !days.contains(date("2026-11-22")));
        assert_eq!(
            Days::of(time("2026-11-21T00:00:00Z"), time("2026-11-21T00:00:00Z")),
            None
        );
        assert_eq!(Days::of(None, None).expect("all").few(), None);
        assert_eq!(Days::of(None, Some(Timestamp::MIN)), None);
    }

    #[test]
    fn a_narrow_range_needs_a_narrow_prefix_only() {
        let scope = "crashes/cluster=c/namespace=n/";
        let prefix = |since, until| day_prefix(scope, date("2026-11-21"), time(since), time(until));
        assert_eq!(
            prefix("2026-11-21T10:00:00Z", "2026-11-21T10:00:00.001Z"),
            "crashes/cluster=c/namespace=n/date=2026-11-21/20261121T100000Z"
        );
        assert_eq!(
            prefix("2026-11-21T10:00:00Z", "2026-11-21T10:20:00Z"),
            "crashes/cluster=c/namespace=n/date=2026-11-21/20261121T10"
        );
        assert_eq!(
            prefix("2026-11-20T10:00:00Z", "2026-11-21T10:20:00Z"),
            "crashes/cluster=c/namespace=n/date=2026-11-21/"
        );
    }

    #[test]
    fn only_folders_of_ours_are_entered() {
        assert_eq!(level("crashes/cluster=a/", ROOT, "cluster="), Some("a"));
        for foreign in [
            "crashes/cluster=/",
            "crashes/Cluster=a/",
            "crashes/cluster=a b/",
            "crashes/cluster=a/x/",
            "crashes/cluster=a",
            "elsewhere/cluster=a/",
        ] {
            assert_eq!(level(foreign, ROOT, "cluster="), None, "{foreign}");
        }
        let scope = "crashes/cluster=a/namespace=b/";
        let folder = |date: &str| format!("{scope}date={date}/");
        assert_eq!(
            date_level(&folder("2026-11-21"), scope),
            Some(date("2026-11-21"))
        );
        for foreign in ["20261121", "2026-13-01", "2026-11-21T10", "+002026-11-21"] {
            assert_eq!(date_level(&folder(foreign), scope), None, "{foreign}");
        }
    }
}
