//! The diagnostics of a living .NET runtime, asked for from the node: what it is, dumps, event sessions.
//!
//! ```text
//! find: host pid → /proc → verified socket = Target
//! ipc:  Target + command → one connection → reply
//! dump: Target → FIFO in the target's temp directory → Sink
//! session: Target + providers (profiles, gcdump, counters) → nettrace → Sink, watched by eventpipe as it flows by
//! ```
//!
//! Owns the runtime's protocol and how a process and its socket are found. Leaves to others: which pod is asked for, whether a capture is wise, where the
//! bytes go ([`Sink`]), and whether what arrived is whole. Everything here blocks, with a deadline on each step, and runs on threads of its caller.
//!
//! Invariants: no message that ends a runtime can be built (`ipc`); nothing is sent before the process at the other end is known to be the one that was
//! found; one command at a time per process; a symlink of the target's never leads out of the target's own root; whatever ends a dump early closes our end
//! of it, and with that lets the target run on. The environment of a target is looked at for the names in `find` only, and none of it is kept but where its
//! temp directory is.

pub mod counters;
mod dump;
mod error;
pub mod eventpipe;
#[cfg(test)]
mod fake;
pub mod find;
pub mod gcdump;
pub mod ipc;
pub mod profiles;
pub mod session;
mod sink;

pub use dump::{Dumped, How, Leftover, dump, dumps_ending, remove_leftover};
pub use error::{Error, Resumed};
pub use sink::{Limits, Refused, Sink};
