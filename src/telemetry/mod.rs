//! What operators see: logs, readiness, and the server for `/metrics`, `/healthz` and `/readyz`.
//!
//! Owns the means, not the content: each component has its own metrics and its own part of the readiness.

mod chain;
mod logs;
mod readiness;
mod server;

pub use chain::chain;
pub use logs::{LogFormat, init_logs};
pub use readiness::{Part, Readiness};
pub use server::{ServeError, Server};
