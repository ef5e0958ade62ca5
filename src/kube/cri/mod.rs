//! The last lines of a container's log, from the files the runtime wrote.
//!
//! ```text
//! files, the newest last ── tail: blocks, from the end ── line: CRI or json-file ── joined: parts of one line, within the limits ── Tail
//! ```
//!
//! Owns both formats and the bound on what a log costs: a file of 10 GiB is read as far back as its last lines go. Leaves to its caller which files
//! belong to a start of a container, and unpacking those that were rotated long ago. Bytes stay bytes: a log need not be text.

mod joined;
mod line;
mod tail;
#[cfg(test)]
mod tests;

pub use tail::{Limits, Tail, last_lines};
