//! Runs the real binary.

#[path = "../support/bucket.rs"]
mod bucket;
mod cli;
#[path = "../support/stored.rs"]
mod stored;
