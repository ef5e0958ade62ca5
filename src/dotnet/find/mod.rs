//! From a process on the host to its runtime's socket.
//!
//! The name of the socket follows from the process: `<TMPDIR or /tmp>/dotnet-diagnostic-<inner pid>-<start time>-socket`, the start time being field 22 of
//! `/proc/<pid>/stat`, which is the same inside and outside of a container. So nothing is searched: one name is looked at, in the process's own root.
//!
//! Owns: which processes there are, what `/proc` says of them, and whether one has a runtime that can be asked. Leaves to others: which container is meant,
//! and asking (`ipc`).
//!
//! Invariants: everything of another process is read with a bound and may be forged. A name is used only if it is a socket, not a symlink, and the kernel
//! says that this very process listens there. Of the environment, only where the temp directory is and whether diagnostics are switched off is looked at, and
//! of that only the temp directory is kept.

mod environ;
mod inspect;
mod outcome;
mod process;

pub use inspect::inspect;
pub use outcome::{Found, Needs, NoSocket};
pub use process::{Process, process, processes_of};

pub(super) use process::{Stat, Status, read};
