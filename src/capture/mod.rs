//! Captures: what is taken of a living process because somebody asks, or because its container is about to run out of memory.
//!
//! ```text
//! Capture (API server) ──► reconcile ──┐
//! memory near its limit ──► guard ─────┼──► Capturer: whom → plan → dotnet → spool ──► ship, as a crash is shipped
//! salvage capture --pid ──► local ─────┘
//! ```
//!
//! Owns what may be asked for, whether it is wise, and what whoever asked is told. Leaves the runtime's protocol to `dotnet`, and the way to the store to the
//! spool and `ship`. Never leaves a process standing still: whatever ends a capture, the process goes on.

mod counters;
mod events;
mod failure;
mod guard;
mod leftovers;
mod local;
pub mod memory;
mod metrics;
pub mod plan;
mod reconcile;
mod request;
mod spooled;
mod take;
mod under_way;
mod whom;

use std::path::Path;
use std::thread::JoinHandle;

use self::leftovers::Leftovers;
use crate::kube::{CaptureSpec, CaptureStatus};

/// What all captures that are taken at once may hold in memory, whatever the processes send: a heap with as many types as are told apart takes 10 MiB, an event session
/// with as many kinds of events, or counters, 3 MiB.
pub const MEMORY: u64 = {
    let dumps = reconcile::AT_ONCE + guard::AT_ONCE;
    (10 << 20) * dumps as u64 + (3 << 20) * (reconcile::SESSIONS_AT_ONCE + dumps) as u64
};

/// Where the node's processes are: the agent is in the node's pid namespace.
pub const PROC: &str = "/proc";

pub use failure::{Failure, Reason};
pub use guard::{Config as GuardConfig, Guard};
pub use local::{Error as LocalError, Local, PREFIX as LOCAL_PREFIX, take_here};
pub use metrics::Metrics;
pub use reconcile::{Config as ReconcilerConfig, Reconciler};
pub use request::{Request, What};
pub use take::{Begun, Capturer, Config, Done, Job, Progress};
pub use whom::{Candidate, Whom};

/// Lets go of processes that an earlier start of the agent was dumping when it was killed, and removes what that has left in their containers.
///
/// Each is let go on a thread of its own, which ends when that is done.
///
/// # Errors
/// The records cannot be read.
pub fn remove_leftovers(state_dir: &Path) -> std::io::Result<Vec<JoinHandle<()>>> {
    Leftovers::open(state_dir)?.remove_all(Path::new(PROC))
}

/// Whether something of it is still to be removed.
fn has_records(state_dir: &Path) -> std::io::Result<bool> {
    Leftovers::open(state_dir)?.has_any()
}

/// What a `Capture` under way would say.
pub fn shown(progress: &Progress) -> CaptureStatus {
    reconcile::shown(progress)
}

/// Whether this can be asked for.
///
/// # Errors
/// What is wrong with it, as the agent would say it.
pub fn check(spec: &CaptureSpec) -> Result<(), Failure> {
    request::Request::of(spec)?;
    request::ttl(spec).map(|_| ())
}
