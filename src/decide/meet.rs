//! Which dump was left by which death: both are one crash.

use jiff::{SignedDuration, Timestamp};

use super::ends::signal_of;
use crate::model::Death;

const SIGABRT: u8 = 6;
const SIGSEGV: u8 = 11;

/// A container's end is told in whole seconds.
const RESOLUTION: SignedDuration = SignedDuration::from_secs(1);

/// What of a dump tells whose death left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dumped {
    /// UID of the pod it was attributed to.
    pub uid: String,
    /// Name of the container it was attributed to.
    pub container: String,
    /// When its writing ended.
    pub ended: Timestamp,
    /// The process, as it saw itself; 1 is the container's first.
    pub pid: Option<i32>,
    /// The signal that ended the process.
    pub signal: Option<u8>,
}

/// How a death fits a dump; the better one is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// It came after the dump, as it does where the process itself or the kernel wrote it: of several the first, so long after it. A second before it may be
    /// the same second.
    Followed(SignedDuration),
    /// It came before the dump's end, which somebody must have written or touched afterwards: only where no other one comes.
    Preceded(SignedDuration),
}

impl Dumped {
    /// Whether the dump shows the container's first process, or does not say which.
    pub fn may_be_first(&self) -> bool {
        self.pid.is_none_or(|pid| pid == 1)
    }

    /// How well that death fits as the one that left it: pod and container agree, the death is within `window` of the dump's end, the start that died had begun
    /// by then, and the signals are compatible.
    pub fn fits(&self, death: &Death, window: SignedDuration) -> Option<Fit> {
        let end = death.terminated.as_ref()?;
        let finished = end.finished_at?;
        let same = self.uid == death.start.uid && self.container == death.start.container;
        let after = finished.duration_since(self.ended);
        let latest_begin = self.ended.saturating_add(RESOLUTION);
        let begun = end
            .started_at
            .is_none_or(|started| latest_begin.is_ok_and(|latest| started <= latest));
        let fits = same && begun && after.abs() <= window && self.compatible(signal_of(end));
        fits.then(|| match after + RESOLUTION >= SignedDuration::ZERO {
            true => Fit::Followed(after),
            false => Fit::Preceded(after.abs()),
        })
    }

    /// Whether a death that fits it so left it, as far as is known by then. One that came before its end did only if none follows: until its window closes, one may.
    pub fn is_of(&self, fit: Fit, window: SignedDuration, now: Timestamp) -> bool {
        match fit {
            Fit::Followed(_) => true,
            Fit::Preceded(_) => now.duration_since(self.ended) >= window,
        }
    }

    /// `abort()` of a container's first process ends it with SIGSEGV, while `createdump` says SIGABRT. A dump without a signal, a heap dump say, fits any end.
    fn compatible(&self, died_of: Option<u8>) -> bool {
        let Some(own) = self.signal else { return true };
        if died_of == Some(own) {
            return true;
        }
        let either = |signal: u8| matches!(signal, SIGABRT | SIGSEGV);
        self.may_be_first() && either(own) && died_of.is_some_and(either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Container, Pod, Start, Terminated};

    const WINDOW: SignedDuration = SignedDuration::from_secs(30);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).expect("in range")
    }

    fn death(exit_code: i32) -> Death {
        Death {
            start: Start {
                uid: "u".into(),
                container: "app".into(),
                number: 2,
            },
            pod: Pod::default(),
            container: Container::default(),
            terminated: Some(Terminated {
                exit_code,
                started_at: Some(at(0)),
                finished_at: Some(at(100)),
                ..Terminated::default()
            }),
            count: 1,
            seen: at(101),
            has_source: true,
        }
    }

    fn dump(pid: Option<i32>, signal: Option<u8>) -> Dumped {
        Dumped {
            uid: "u".into(),
            container: "app".into(),
            ended: at(99),
            pid,
            signal,
        }
    }

    #[test]
    fn a_dump_and_a_death_of_one_container_and_time_are_one() {
        let dump = dump(Some(1), Some(11));
        assert!(matches!(
            dump.fits(&death(139), WINDOW),
            Some(Fit::Followed(_))
        ));
        for (change, ended) in [
            ("too early", 69),
            ("too late", 131),
            ("before the start", -2),
        ] {
            let other = Dumped {
                ended: at(ended),
                ..dump.clone()
            };
            assert!(other.fits(&death(139), WINDOW).is_none(), "{change}");
        }
        let other = Dumped {
            container: "sidecar".into(),
            ..dump.clone()
        };
        assert!(other.fits(&death(139), WINDOW).is_none());
        let other = Dumped {
            uid: "v".into(),
            ..dump
        };
        assert!(other.fits(&death(139), WINDOW).is_none());
    }

    #[test]
    fn signals_are_compatible_not_equal() {
        let fits = |pid, signal, code| dump(pid, signal).fits(&death(code), WINDOW).is_some();
        assert!(
            fits(Some(1), Some(6), 139) && fits(None, Some(6), 139) && fits(Some(1), Some(11), 134)
        );
        assert!(!fits(Some(7), Some(6), 139));
        assert!(fits(Some(7), Some(11), 139));
        assert!(!fits(Some(1), Some(11), 1) && !fits(Some(1), Some(8), 139));
        assert!(fits(Some(9), None, 137) && fits(None, None, 1));
    }

    #[test]
    fn a_death_that_nobody_saw_left_no_dump_that_could_be_told() {
        let unseen = Death {
            terminated: None,
            ..death(0)
        };
        assert_eq!(dump(None, None).fits(&unseen, WINDOW), None);
    }

    #[test]
    fn a_death_before_the_dump_waits_for_one_after_it() {
        let dump = dump(Some(1), Some(11));
        let fit = |second: i64| {
            let mut death = death(139);
            if let Some(end) = &mut death.terminated {
                end.finished_at = Some(at(second));
            }
            dump.fits(&death, WINDOW).expect("it fits")
        };
        // The start before ended at 95, the dump was written at 99, and the end of its own start is not told yet.
        assert!(!dump.is_of(fit(95), WINDOW, at(100)));
        assert!(dump.is_of(fit(95), WINDOW, at(129)));
        assert!(dump.is_of(fit(100), WINDOW, at(100)));
    }

    #[test]
    fn of_two_deaths_the_one_that_follows_the_dump_left_it() {
        let ended = |second: i64| {
            let mut death = death(139);
            if let Some(end) = &mut death.terminated {
                end.finished_at = Some(at(second));
            }
            dump(Some(1), Some(11)).fits(&death, WINDOW)
        };
        // The dump ended at 99: the death of that second, of a later one, and the one before.
        let (own, next, previous) = (ended(99), ended(104), ended(97));
        assert!(own < next && next < previous && own.is_some());
        // Told in whole seconds, the end of the same second may seem to be earlier; one after it is still the next.
        assert!(matches!(ended(98), Some(Fit::Followed(_))));
        assert!(ended(98) < ended(99));
    }
}
