//! The chart, rendered by real Helm: what it makes, and what it refuses.
