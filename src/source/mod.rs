//! Watched places: finds dumps that nobody writes any more and hands them to a [`Taker`].
//!
//! ```text
//!  notify ──wake──► worker thread, one per source:  open root → watch → scan → settle → Taker::take
//!  every 10 s ────►                                   (the scan is the truth, an event only wakes)
//! ```
//!
//! Owns looking: which directories, which files, whether somebody still writes. Leaves to the taker what is done with a settled dump. Nothing is
//! ever written below a source from here, but for the levels of one that is managed (see `managed`), and everything is opened beneath the source's own descriptor. A file that is no dump (a link, a
//! FIFO, an empty file, one beyond the limits) is left where it is, counted once and named once in the log.

mod managed;
mod metrics;
mod reported;
mod scan;
mod settle;
mod shape;
mod watch;
mod worker;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::decide::Refusal;
use crate::model::{FileId, Mark, Names};
use crate::sys::{Dir, Stat};

pub use metrics::Metrics;
pub use scan::MAX_WATCHES;
pub use shape::Shape;
pub use worker::{Handle, Status, spawn};

/// A dump directory and how to look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory.
    pub path: PathBuf,
    /// What the levels below it mean.
    pub shape: Shape,
    /// Whether the directory is made and kept usable for pods, and what gone pods left empty in it is removed.
    pub managed: bool,
    /// Where the file system has no leases: how long a file must stay as it is to count as settled.
    pub quiet_period: Duration,
    /// How long a file that is complete by its own headers may be held open by a writer before it is taken all the same.
    pub settle_limit: Duration,
    /// Largest apparent size of a dump, in bytes.
    pub max_dump_size: u64,
    /// Most bytes of a dump that are not holes.
    pub max_dump_data: u64,
}

/// The root of a source, as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Root<'a> {
    /// What the operator calls it.
    pub path: &'a std::path::Path,
    /// Whether its directories are the kubelet's: they may vanish with their pod at any moment, and nothing of ours is made there.
    pub kubelets: bool,
    /// The directory itself.
    pub dir: &'a Dir,
}

/// A settled dump.
#[derive(Debug)]
pub struct Found<'a> {
    /// The source it was found in.
    pub root: Root<'a>,
    /// The directory it is in.
    pub dir: &'a Dir,
    /// The levels from the root to that directory.
    pub levels: &'a [OsString],
    /// Its name there.
    pub name: &'a OsStr,
    /// What it was when it was found settled.
    pub stat: Stat,
    /// Its bytes that are not holes.
    pub data_bytes: u64,
    /// What the levels say.
    pub names: Names,
    /// When it was first seen.
    pub seen: Timestamp,
    /// When it was found settled.
    pub settled: Timestamp,
    /// What a reader should know.
    pub marks: Vec<Mark>,
    /// Whether a lease must prove once more, at the very moment of taking, that nobody writes.
    pub leased: bool,
}

/// What came of taking a dump.
#[derive(Debug)]
pub enum Taken {
    /// It is held now.
    Claimed,
    /// A writer came back, or it is no longer the file it was: look again later.
    Unsettled,
    /// It was gone before it could be taken.
    Gone,
    /// There is no room for it: it stays where it is.
    NoRoom(Refusal),
    /// Its pod is not collected from: it stays where it is.
    NotSelected,
    /// The source does not let us take files away.
    NotWritable(std::io::Error),
    /// The state could not be kept: it stays where it is.
    Failed(std::io::Error),
}

/// Takes settled dumps away from their source. The spool is one.
pub trait Taker: Send + Sync {
    /// Called whenever a source's root is opened for the first time or was made anew, before it is scanned.
    ///
    /// # Errors
    /// Why nothing may be taken from it now, for people.
    fn prepare(&self, root: Root<'_>) -> Result<(), String>;

    /// Whether this very file is held or being taken already.
    fn knows(&self, file: FileId) -> bool;

    /// Whether this name directly below a root is the taker's own and must not be looked into.
    fn owns(&self, name: &OsStr) -> bool;

    /// Whether the pod with this UID is certainly gone from this node.
    fn is_gone(&self, uid: &str) -> bool;

    /// Takes a dump.
    fn take(&self, found: &Found<'_>) -> Taken;
}
