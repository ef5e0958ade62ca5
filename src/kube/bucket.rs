//! So much at once, and then one in a while.

use std::time::{Duration, Instant};

/// A bucket of tokens that fills by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    most: f64,
    one_in: Duration,
    /// Tokens left, as of then.
    left: Option<(f64, Instant)>,
}

impl Bucket {
    /// A full bucket of `most` tokens that gets one more each `one_in`.
    pub(super) const fn new(most: f64, one_in: Duration) -> Self {
        Self {
            most,
            one_in,
            left: None,
        }
    }

    fn left(&self, now: Instant) -> f64 {
        self.left.map_or(self.most, |(left, then)| {
            let since = now.saturating_duration_since(then);
            (left + since.as_secs_f64() / self.one_in.as_secs_f64()).min(self.most)
        })
    }

    /// Takes a token, if one is left.
    pub(super) fn lets_through(&mut self, now: Instant) -> bool {
        let left = self.left(now);
        // A token that came in ten parts is whole as well.
        let passes = left >= 1.0 - f64::EPSILON * 64.0;
        self.left = Some((if passes { left - 1.0 } else { left }, now));
        passes
    }

    /// Whether nothing was taken for long.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.left(now) >= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Bucket = Bucket::new(3.0, Duration::from_secs(300));

    #[test]
    fn so_much_passes_at_once_and_then_one_in_a_while() {
        let mut bucket = THREE;
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let passed: Vec<u64> = (0..1_000)
            .step_by(10)
            .filter(|second| bucket.lets_through(at(*second)))
            .collect();
        assert_eq!(passed, [0, 10, 20, 300, 600, 900]);
    }
}
