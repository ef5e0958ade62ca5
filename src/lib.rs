//! `salvage` keeps what a crash leaves behind: see the README for what it does and `docs` for its formats.
//!
//! The library exists for the binary, the tests and the benches of this repository; it promises no stable interface.

pub mod model;
pub mod store;
pub mod sys;
