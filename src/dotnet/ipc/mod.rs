//! The runtime's diagnostic protocol: what can be asked, what it answers, and one connection per command.
//!
//! Source: dotnet/diagnostics `documentation/design-docs/ipc-protocol.md`, checked against 3.1.23, 8.0.15 and 9.0.1. Little-endian throughout: a header of 20
//! bytes (`"DOTNET_IPC_V1\0"`, u16 size of the whole, u8 set, u8 command, u16 0), then the payload.
//!
//! Owns the bytes on the socket. Leaves to others: which socket (`find`), what the events of a session mean, what becomes of a dump.
//!
//! Invariants: some messages that are well within the header's rules end the runtime with SIGSEGV (a dump without a name, a session without buffer or with an
//! unknown format, anything cut short), so a message is made of types that cannot say any of it, and of nothing else. The server of a runtime is one thread
//! that takes one command per connection: one of ours is under way at a time per process, and a dump holds the others up. An older command is tried only
//! when the runtime says that it does not know the newer one: after any other answer the newer one may be at work.

mod client;
mod config;
mod dump_path;
mod reply;
mod request;
mod target;
mod turn;

pub use client::{collect_tracing, process_info, stop_tracing};
pub use config::{Invalid, Provider, SessionConfig};
pub use dump_path::DumpPath;
pub use reply::{Malformed, ProcessInfo, Reply};
pub use request::{DumpCommand, InfoCommand, Request, SessionId};
pub use target::Target;

pub(super) use client::{Asked, ask, poll_for, unless_unknown};
pub(super) use target::Place;
