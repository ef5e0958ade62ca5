//! A dump that does not go on.

use std::time::{Duration, Instant};

/// How long nothing may come while nothing shows that it will. A process that was stopped or hangs would hold its place for the whole time that a dump may take.
pub(super) const STALL: Duration = Duration::from_secs(60);

/// How long a target may be held without a byte: `createdump` is gathering then, or another tool holds it.
const HELD: Duration = Duration::from_secs(600);

/// How far a dump was when it was looked at last.
#[derive(Debug)]
pub(super) struct Stall {
    began: Instant,
    bytes: u64,
    since: Instant,
}

impl Stall {
    /// Of one that has just been asked for.
    pub(super) fn new() -> Self {
        let began = Instant::now();
        Self {
            began,
            bytes: 0,
            since: began,
        }
    }

    /// Whether it has stalled, with so many bytes. Before the first, a target that is held (`is_held`) is being gathered, which may take its time; once bytes
    /// flow, there is no reason to wait.
    pub(super) fn is_over(
        &mut self,
        now: Instant,
        bytes: u64,
        is_held: impl FnOnce() -> bool,
    ) -> bool {
        if bytes != self.bytes {
            (self.bytes, self.since) = (bytes, now);
        }
        if now.saturating_duration_since(self.since) < STALL {
            return false;
        }
        let may_be_held = now.saturating_duration_since(self.began) < HELD;
        if self.bytes == 0 && may_be_held && is_held() {
            self.since = now;
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_has_stalled_when_nothing_comes_and_nothing_is_gathered() {
        let mut stall = Stall::new();
        let began = stall.since;
        let after = |seconds| began + Duration::from_secs(seconds);
        assert!(!stall.is_over(after(59), 0, || unreachable!("not yet")));
        // While it is gathered it may take its time, which then begins anew.
        assert!(!stall.is_over(after(60), 0, || true));
        assert!(!stall.is_over(after(119), 0, || false));
        assert!(stall.is_over(after(120), 0, || false));
        let mut held = Stall::new();
        let began = held.since;
        let over = (0..)
            .step_by(60)
            .find(|seconds| held.is_over(began + Duration::from_secs(*seconds), 0, || true));
        assert_eq!(over, Some(600), "not for ever");
        // Bytes are progress, held or not; a writer that stops writing is none.
        assert!(!stall.is_over(after(121), 7, || false));
        assert!(!stall.is_over(after(180), 7, || true));
        assert!(stall.is_over(after(181), 7, || true));
    }
}
