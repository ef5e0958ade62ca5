//! Stores: one suite that every implementation passes, the faults of S3 stores, and every way to credentials.

mod bench;
mod credentials;
mod faults;
mod suite;
mod unfinished;
mod verifying;
