//! `salvage` keeps what a crash leaves behind: see the README for what it does and `docs` for its formats.
//!
//! The library exists for the binary, the tests and the benches of this repository; it promises no stable interface.

pub mod agent;
pub mod capture;
pub mod cli;
pub mod config;
pub mod decide;
pub mod doctor;
pub mod dotnet;
pub mod fetch;
pub mod identify;
pub mod kube;
pub mod model;
pub mod ship;
pub mod source;
pub mod spool;
pub mod store;
pub mod sys;
pub mod telemetry;
