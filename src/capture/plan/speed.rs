//! How fast captures go on this node: assumed until it is known, then learnt from each.

use std::time::Duration;

/// Bytes per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed {
    bytes_per_second: u64,
    assumed: u64,
}

/// Less than this says how long it takes to begin, not how fast it goes.
const TELLING: u64 = 16 << 20;

/// Slower than the slowest disk of a node, and faster than memory is copied: measurements beyond are none.
const SLOWEST: u64 = 1_000_000;
const FASTEST: u64 = 20_000_000_000;

impl Speed {
    /// A dump through a pipe: 127 to 284 MB/s were measured on busy CPUs, 245 MB/s and more on idle ones.
    pub const DUMP: Self = Self::assumed(150_000_000);

    /// A heap walked with an event for each object, by `RssAnon`: 160 MB of 4,000,000 small objects took 1.0 s, and larger ones take less for their bytes.
    pub const HEAP_WALK: Self = Self::assumed(100_000_000);

    /// A speed that nobody has measured.
    pub const fn assumed(bytes_per_second: u64) -> Self {
        let bytes_per_second = if bytes_per_second < SLOWEST {
            SLOWEST
        } else if bytes_per_second > FASTEST {
            FASTEST
        } else {
            bytes_per_second
        };
        Self {
            bytes_per_second,
            assumed: bytes_per_second,
        }
    }

    /// The speed.
    pub const fn bytes_per_second(self) -> u64 {
        self.bytes_per_second
    }

    /// Learns from a capture of so many bytes that took so long. One that was slower than thought counts for a half, one that was faster for a quarter: the next
    /// target should not have to bear that this one was lucky.
    pub fn learn(&mut self, bytes: u64, took: Duration) {
        let millis = took.as_millis();
        if bytes < TELLING || millis == 0 {
            return;
        }
        let seen = u128::from(bytes).saturating_mul(1_000) / millis;
        let seen = u64::try_from(seen)
            .unwrap_or(FASTEST)
            .clamp(SLOWEST, FASTEST)
            // A runtime that is none may be as slow or as fast as it likes: it must neither have everybody else's dumps refused nor all of them seem harmless.
            .clamp(self.assumed / 4, self.assumed.saturating_mul(4));
        let old = self.bytes_per_second;
        self.bytes_per_second = if seen < old {
            old / 2 + seen / 2
        } else {
            old - old / 4 + seen / 4
        };
    }

    /// How long so many bytes take.
    pub fn time_for(self, bytes: u64) -> Duration {
        let millis = u128::from(bytes).saturating_mul(1_000) / u128::from(self.bytes_per_second);
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_slow_node_is_believed_sooner_than_a_fast_one() {
        let mut slower = Speed::DUMP;
        slower.learn(100_000_000, Duration::from_secs(2));
        assert_eq!(slower.bytes_per_second(), 100_000_000);
        let mut faster = Speed::DUMP;
        faster.learn(350_000_000, Duration::from_secs(1));
        assert_eq!(faster.bytes_per_second(), 200_000_000);
    }

    #[test]
    fn a_small_dump_says_nothing_of_the_speed() {
        let mut speed = Speed::DUMP;
        speed.learn(6_000_000, Duration::from_millis(450));
        speed.learn(u64::MAX, Duration::ZERO);
        assert_eq!(speed, Speed::DUMP);
    }

    #[test]
    fn time_follows_from_the_speed() {
        assert_eq!(Speed::DUMP.time_for(300_000_000), Duration::from_secs(2));
        assert_eq!(
            Speed::assumed(0).time_for(u64::MAX).as_secs(),
            u64::MAX / SLOWEST
        );
    }

    proptest! {
        #[test]
        fn what_is_learnt_lies_between_what_was_thought_and_what_was_seen(old: u64, bytes in TELLING.., millis in 1..1_000_000u64) {
            let mut speed = Speed::assumed(old);
            let before = speed.bytes_per_second();
            speed.learn(bytes, Duration::from_millis(millis));
            let after = speed.bytes_per_second();
            let seen = (u128::from(bytes) * 1_000 / u128::from(millis)).clamp(SLOWEST.into(), FASTEST.into()) as u64;
            let seen = seen.clamp(before / 4, before.saturating_mul(4));
            // Halves and quarters are rounded.
            prop_assert!(after + 4 >= before.min(seen) && after <= before.max(seen) + 4);
        }
    }
}
