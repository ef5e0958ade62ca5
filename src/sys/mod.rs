//! What the kernel offers and the standard library does not: directories that cannot be left, leases, durable files, locks, limits.
//!
//! Thin and without policy. Everything below a source is opened through [`Dir`]; every `unsafe` of the project is in `lease`, `peer`, `process` and `sha256`.

mod copy;
mod dir;
mod durable;
mod extents;
mod fault;
mod foreign;
mod journal;
mod lease;
mod lock;
mod peer;
mod process;
mod sha256;
mod space;

pub use copy::{CopyError, copy_sparse};
pub use dir::{Dir, DirEntry, FileKind, Stat};
pub use durable::write_durably;
pub use extents::{Extents, data_bytes, read_leaving_cache_as_found};
pub use fault::{small_objects, step, step_of};
pub use foreign::{Fifo, Root};
pub use journal::Journal;
pub use lease::{Lease, ReadLease, read_lease};
pub use lock::{Lock, LockError};
pub use peer::{Peer, connect_to, peer_of};
pub use process::{
    cgroup_memory_limit, ignore_lease_signal, is_ignored, is_scarce, private_files,
    raise_open_files, return_large_buffers, this_host,
};
pub use sha256::{RunningSha256, Sha256State};
pub use space::{Space, space};
