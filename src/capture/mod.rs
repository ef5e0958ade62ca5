//! Captures: what is taken of a living process on demand, and what decides whether it may be.
//!
//! ```text
//! annotation, rule ── memory: a container near its limit ──┐
//! a person's request ──────────────────────────────────────┴── plan: what it costs the process ── ...
//! ```

pub mod memory;
pub mod plan;
