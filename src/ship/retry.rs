//! When to try again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::{SignedDuration, Timestamp};

use crate::store::Retry;

/// First wait after something that may be over soon.
const TRANSIENT_FIRST: Duration = Duration::from_secs(1);
/// Longest one: a store that is well again should not wait for us.
const TRANSIENT_LAST: Duration = Duration::from_secs(60);
/// First wait after something that somebody has to mend.
const PERMANENT_FIRST: Duration = Duration::from_secs(15);
/// Longest one.
const PERMANENT_LAST: Duration = Duration::from_secs(300);

/// The wait before attempt number `attempts + 1` (the first wait has `attempts` 0). Jittered, so that a thousand nodes do not come back at once: a wait of
/// `d` lasts between `d` and `2 d`, the longest one included.
pub(super) fn wait(retry: Retry, attempts: u32) -> Duration {
    let (first, last) = match retry {
        Retry::After(wait) => return wait.min(PERMANENT_LAST),
        Retry::Transient => (TRANSIENT_FIRST, TRANSIENT_LAST),
        Retry::Permanent => (PERMANENT_FIRST, PERMANENT_LAST),
    };
    let steps = usize::try_from(attempts).unwrap_or(usize::MAX).min(32);
    let mut backoff = ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_delay(last)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build();
    backoff.nth(steps).unwrap_or(last)
}

/// The same as an instant.
pub(super) fn next_attempt(now: Timestamp, retry: Retry, attempts: u32) -> Timestamp {
    let wait =
        SignedDuration::try_from(wait(retry, attempts)).unwrap_or(SignedDuration::from_secs(60));
    now.saturating_add(wait).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_grow_and_stay_within_their_bounds(attempts in 0u32..10_000) {
            for (retry, first, last) in [(Retry::Transient, TRANSIENT_FIRST, TRANSIENT_LAST), (Retry::Permanent, PERMANENT_FIRST, PERMANENT_LAST)] {
                let wait = wait(retry, attempts);
                prop_assert!(wait >= first && wait <= 2 * last, "{:?} {} {:?}", retry, attempts, wait);
            }
        }
    }

    #[test]
    fn a_store_that_names_a_wait_gets_it_within_reason() {
        assert_eq!(
            wait(Retry::After(Duration::from_secs(7)), 9),
            Duration::from_secs(7)
        );
        assert_eq!(
            wait(Retry::After(Duration::from_secs(86_400)), 0),
            PERMANENT_LAST
        );
    }
}
