//! When it crashed: fixed once, when the crash is first recorded.

use jiff::{SignedDuration, Timestamp};

use crate::model::{Death, TimeSource};

/// How far a dump's own time may be from the node's clock before the clock is believed instead.
const BELIEVED: SignedDuration = SignedDuration::from_hours(24);

/// The time of a crash whose dump was last changed at `changed` and first seen at `seen`.
pub fn crash_time(changed: Timestamp, seen: Timestamp) -> (Timestamp, TimeSource) {
    if changed.duration_since(seen).abs() <= BELIEVED {
        (changed, TimeSource::DumpWritten)
    } else {
        (seen, TimeSource::FirstSeen)
    }
}

/// The time of a crash that is known by its container's end.
pub fn container_time(death: &Death) -> (Timestamp, TimeSource) {
    let told = death.terminated.as_ref().and_then(|end| end.finished_at);
    match told {
        Some(at) if at.duration_since(death.seen).abs() <= BELIEVED => {
            (at, TimeSource::ContainerFinished)
        }
        _ => (death.seen, TimeSource::FirstSeen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dumps_time_is_believed_within_a_day() {
        let seen: Timestamp = "2026-11-21T10:00:00Z".parse().expect("time");
        let hours = |n| {
            seen.checked_add(SignedDuration::from_hours(n))
                .expect("in range")
        };
        assert_eq!(
            crash_time(hours(-3), seen),
            (hours(-3), TimeSource::DumpWritten)
        );
        assert_eq!(
            crash_time(hours(3), seen),
            (hours(3), TimeSource::DumpWritten)
        );
        assert_eq!(crash_time(hours(-25), seen), (seen, TimeSource::FirstSeen));
        assert_eq!(
            crash_time(Timestamp::MAX, seen),
            (seen, TimeSource::FirstSeen)
        );
        assert_eq!(
            crash_time(Timestamp::MIN, seen),
            (seen, TimeSource::FirstSeen)
        );
    }
}
