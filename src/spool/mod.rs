//! What the agent holds on the node: one [`Entry`] for each dump from the moment it is taken until it is stored.
//!
//! ```text
//! <state_dir>/lock               flock: one agent
//! <state_dir>/entries/<id>.json  an entry; written beside, synced, renamed, directory synced
//! <state_dir>/dumps/<id>         a dump that was renamed or copied here; <id>.part while it is copied
//! <state_dir>/told/<id>.json     a stored crash that may learn more (see `told`)
//! <state_dir>/uploads/<id>       the journal of an entry's multipart upload (see `sys::Journal`)
//! <state_dir>/ballast            room for state files when the disk is full
//! <source>/.salvage/<id>         a dump on another mount that could be renamed there (see `holding`)
//! <source>/.../.salvage-<id>     a dump that has to be copied from where it is
//! ```
//!
//! What survives a stop, at each step:
//! - before `Claiming` is durable: nothing has happened, the dump is in its source;
//! - `Claiming` durable: the dump is at its old or its new name, and looking tells which;
//! - file moved, entry `Held`: the dump is ours, and a scan does not see it as new;
//! - copied: the copy is durable before `Copied` is, and `Copied` before the original goes;
//! - a capture: whole and durable before its entry is, and named by the entry before it gets its name;
//! - joined: the older entry names the younger one's file before the younger entry goes; one that is still there then is dropped at the next start;
//! - from `Shipping` on the held files stay until `Stored` is durable, and the entry until the files are gone.
//!
//! What never happens: an entry without its dump being reported lost, a dump taken twice, a file in `dumps` or `.salvage` that no entry
//! names being given an old id (anyone may have planted it; it becomes a new entry, marked).

mod ballast;
mod claim;
mod deaths;
mod entry;
mod holding;
mod join;
mod load;
mod meeting;
mod metrics;
mod raw;
mod receive;
mod steps;
#[cfg(test)]
mod tests;
mod told;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use self::ballast::Ballast;
use crate::decide::{Dumped, Holding, Kin, Limits, Room, Written, left};
use crate::model::{CrashId, FileId, Step, escaped};
use crate::sys::{Dir, Journal, Lock, LockError, step, write_durably};

pub use deaths::Recorded;
pub use entry::{
    Captured, Choice, DumpSays, Entry, Kept, Origin, Phase, Piece, Place, Position, Progress, Sent,
    Uploading, Work,
};
pub use holding::{NAME as HOLDING, distrust};
pub use join::Kinship;
pub use meeting::{Awaited, Met};
use metrics::Pending;
pub use metrics::{Loss, Metrics};
pub use raw::RawName;
pub use receive::{ReceiveError, Received, Receiving};
pub use steps::{Claim, Copied, OpenError};
pub use told::Told;

/// Where and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The state directory; made if it is not there.
    pub state_dir: PathBuf,
    /// What the agent may hold.
    pub limits: Limits,
    /// Who we are, for another agent that finds the lock taken.
    pub about: String,
}

/// Trouble with the state directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another agent works there.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// Others could change the state.
    #[error("state_dir {}: {problem}; give it to the agent's user with mode 0700", path.display())]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It cannot be used.
    #[error("state_dir {}: cannot {operation}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The entries and their files. Shared by the sources, which add, and by shipping, which takes away. All calls block on the disk.
#[derive(Debug)]
pub struct Spool {
    config: Config,
    entries: Dir,
    dumps: Dir,
    uploads: Dir,
    told: Dir,
    ballast: Ballast,
    metrics: Metrics,
    inner: Mutex<Inner>,
    /// The holding directories in use, by their source's path: each is opened, and so locked, once.
    holdings: Mutex<HashMap<OsString, Arc<Dir>>>,
    /// One for each kind of work.
    changed: [Arc<Notify>; 2],
    _lock: Lock,
}

#[derive(Debug, Default)]
struct Inner {
    slots: BTreeMap<CrashId, Slot>,
    told: BTreeMap<CrashId, told::Summary>,
    /// What captures under way are promised.
    receiving: BTreeMap<CrashId, receive::Promise>,
    /// How files are taken from each source's root.
    ways: HashMap<OsString, Way>,
}

/// What is remembered of an entry that nobody works on. The rest stays in its state file: the facts of ten thousand dumps that wait for a store
/// would be hundreds of megabytes.
#[derive(Debug)]
struct Slot {
    files: Vec<Kept>,
    original: Option<FileId>,
    near: Near,
    work: Work,
    /// What its dump was attributed to.
    dumped: Option<Box<Dumped>>,
    /// The container's end that it has.
    death: Option<Box<deaths::Waiting>>,
    /// Its manifest is not made: a death can still be taken in.
    is_open: bool,
    /// It has a dump.
    has_dump: bool,
    /// It stays on the node until it is known whose it is.
    is_held: bool,
    /// It has a dump, and nobody has said yet whose it is.
    is_unattributed: bool,
    attempts: u32,
    not_before: Option<Timestamp>,
    /// Somebody works on it.
    busy: bool,
}

/// What of an entry others look at that may be of the same crash.
#[derive(Debug)]
struct Near {
    /// Stands for the directory it came from.
    directory: u64,
    written: Written,
    stage: Stage,
}

/// How far an entry has come, as far as others must know.
#[derive(Debug)]
enum Stage {
    /// What it is will be known.
    Unknown,
    /// It waits for what else the crash left.
    Waiting(Box<Kin>),
    /// It is decided.
    Decided,
}

impl Slot {
    fn of(entry: &Entry, busy: bool) -> Self {
        let origin = entry.origin.as_ref();
        let nowhen = Written {
            began: entry.time,
            ended: entry.time,
        };
        let stage = match &entry.phase {
            _ if origin.is_none() || entry.told.is_some() || entry.capture.is_some() => {
                Stage::Decided
            }
            Phase::Claiming { .. } | Phase::Held { .. } | Phase::Copied { .. } => Stage::Unknown,
            Phase::Waiting { pieces } => pieces
                .first()
                .map_or(Stage::Decided, |own| Stage::Waiting(Box::new(own.kin()))),
            _ => Stage::Decided,
        };
        Self {
            files: entry.files(),
            original: entry.phase.original(),
            near: Near {
                directory: origin.map_or(0, Origin::directory),
                written: origin.map_or(nowhen, Origin::written),
                stage,
            },
            work: entry.work(),
            dumped: entry.dumped().map(Box::new),
            death: deaths::Waiting::of(entry),
            is_open: entry.is_open(),
            has_dump: origin.is_some(),
            is_held: false,
            is_unattributed: origin.is_some()
                && entry.capture.is_none()
                && !matches!(
                    entry.phase,
                    Phase::Shipping { .. } | Phase::Announcing { .. } | Phase::Stored { .. }
                ),
            attempts: entry.attempts,
            not_before: entry.not_before,
            busy,
        }
    }

    fn data_bytes(&self) -> u64 {
        let bytes = self.files.iter().map(|kept| kept.data_bytes);
        bytes.fold(0, u64::saturating_add)
    }

    /// No wait is longer than [`LONGEST_WAIT`]: a later time was written by a clock that has been set back since.
    fn is_due(&self, now: Timestamp) -> bool {
        let waits = |at: Timestamp| at > now && at.duration_since(now) <= LONGEST_WAIT;
        !self.busy && !self.not_before.is_some_and(waits)
    }
}

/// Above every wait that is ever asked for.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// When a state file that could not be read is read again.
const STATE_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// How files are taken away from a source.
#[derive(Clone, Debug)]
enum Way {
    /// By rename into the state directory.
    Rename,
    /// By rename into the source's holding directory.
    Hold(Arc<Dir>),
    /// By rename within their directory, then by copy.
    Copy,
}

/// The file in a state directory that its user holds a lock on.
pub const LOCK: &str = "lock";
const ENTRIES: &str = "entries";
const DUMPS: &str = "dumps";
const UPLOADS: &str = "uploads";
const TOLD: &str = "told";

impl Spool {
    /// Opens the state directory, takes its lock and loads what it holds.
    ///
    /// # Errors
    /// [`Error::Locked`] while another agent works there, else what is wrong with the directory.
    pub fn open(config: Config, metrics: Metrics) -> Result<Self, Error> {
        let path = config.state_dir.clone();
        let failed = |operation: &'static str| {
            let path = path.clone();
            move |source: io::Error| Error::Io {
                operation,
                path,
                source,
            }
        };
        std::fs::create_dir_all(&path).map_err(failed("make the directory"))?;
        // The operator may have put a symlink here; what it leads to is what counts.
        let real = path.canonicalize().map_err(failed("open the directory"))?;
        let state = Dir::open(&real).map_err(failed("open the directory"))?;
        check_private(&state, &path)?;
        let lock = Lock::take(&real.join(LOCK), &config.about)?;
        let entries = sub_directory(&state, ENTRIES).map_err(failed("make entries/ in"))?;
        let dumps = sub_directory(&state, DUMPS).map_err(failed("make dumps/ in"))?;
        let uploads = sub_directory(&state, UPLOADS).map_err(failed("make uploads/ in"))?;
        let told = sub_directory(&state, TOLD).map_err(failed("make told/ in"))?;
        let ballast = Ballast::new(state);
        let spool = Self {
            config,
            entries,
            dumps,
            uploads,
            told,
            ballast,
            metrics,
            inner: Mutex::default(),
            holdings: Mutex::default(),
            changed: Default::default(),
            _lock: lock,
        };
        spool.ballast.renew(spool.config.limits.keep_free);
        spool.load().map_err(failed("read the entries of"))?;
        spool.load_told().map_err(failed("read told/ in"))?;
        Ok(spool)
    }

    /// The state directory.
    pub fn state_dir(&self) -> &Path {
        &self.config.state_dir
    }

    /// Wakes whoever waits for this work to do.
    pub fn changed(&self, work: Work) -> Arc<Notify> {
        let [copy, ship] = &self.changed;
        Arc::clone(match work {
            Work::Copy => copy,
            Work::Ship => ship,
        })
    }

    fn wake(&self) {
        self.changed.iter().for_each(|changed| changed.notify_one());
    }

    /// The oldest entry with this work to do that may be worked on at `now`; it is ours until [`Spool::check_in`].
    pub fn check_out(&self, work: Work, now: Timestamp) -> Option<Entry> {
        loop {
            let id = {
                let mut inner = self.inner();
                let mut slots = inner.slots.iter_mut();
                let (id, slot) = slots.find(|(_, slot)| slot.work == work && slot.is_due(now))?;
                slot.busy = true;
                *id
            };
            match self.read_state(&state_file(id), &id.to_string()) {
                Ok(mut entry) => {
                    if let Some(slot) = self.inner().slots.get(&id) {
                        entry.attempts = slot.attempts;
                        entry.not_before = slot.not_before;
                    }
                    return Some(entry);
                }
                Err(why) => {
                    tracing::error!(crash = %id, why, "the state of a held dump cannot be read now; it is kept");
                    self.set_aside(id, now.saturating_add(STATE_AGAIN).unwrap_or(now));
                }
            }
        }
    }

    /// Gives an entry back that is not to be worked on before `until`, without touching its state.
    pub fn set_aside(&self, id: CrashId, until: Timestamp) {
        // A longer wait would be taken for one that a wrong clock has written.
        let most = Timestamp::now()
            .saturating_add(LONGEST_WAIT)
            .unwrap_or(until);
        if let Some(slot) = self.inner().slots.get_mut(&id) {
            slot.not_before = Some(until.min(most));
            slot.busy = false;
        }
        self.wake();
    }

    /// When the next entry with this work to do that nobody works on may be worked on.
    pub fn next_due(&self, work: Work) -> Option<Timestamp> {
        let inner = self.inner();
        let slots = inner.slots.values();
        let idle = slots.filter(|slot| slot.work == work && !slot.busy);
        idle.map(|slot| slot.not_before.unwrap_or(Timestamp::MIN))
            .min()
    }

    /// Notes whether an entry stays on the node until it is known whose it is. Tells whether that is news.
    pub fn note_held(&self, id: CrashId, held: bool) -> bool {
        let mut inner = self.inner();
        let Some(slot) = inner.slots.get_mut(&id) else {
            return false;
        };
        let is_news = std::mem::replace(&mut slot.is_held, held) != held;
        if is_news {
            self.show(&inner);
        }
        is_news
    }

    /// Gives an entry back.
    pub fn check_in(&self, id: CrashId) {
        if let Some(slot) = self.inner().slots.get_mut(&id) {
            slot.busy = false;
        }
        self.wake();
    }

    /// Makes an entry's present form durable, as a step of its way.
    ///
    /// # Errors
    /// Those of the disk; the entry's last durable form stands.
    pub fn save(&self, as_step: Step, entry: &Entry) -> Result<(), Error> {
        step(as_step, || self.write_state(entry))
    }

    fn write_state(&self, entry: &Entry) -> Result<(), Error> {
        let json = serde_json::to_vec(entry)
            .map_err(|error| self.failed("write the state of", entry.id)(error.into()))?;
        let name = state_file(entry.id);
        // Within a step.
        let first = write_durably(&self.entries, &name, &json);
        let written = match first {
            // A full disk must not keep what fills it from being shipped: the ballast gives its room.
            Err(error) if is_full(&error) && self.ballast.drop_it() => {
                write_durably(&self.entries, &name, &json)
            }
            other => other,
        };
        written.map_err(self.failed("write the state of", entry.id))?;
        let mut inner = self.inner();
        let old = inner.slots.remove(&entry.id);
        let busy = old.as_ref().is_none_or(|slot| slot.busy);
        let mut slot = Slot::of(entry, busy);
        if slot.dumped.is_none() {
            slot.dumped = old.and_then(|old| old.dumped);
        }
        inner.slots.insert(entry.id, slot);
        self.show(&inner);
        Ok(())
    }

    /// Begins the journal of an entry's multipart upload with its first record, in place of an earlier one.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn begin_journal(&self, id: CrashId, first: &impl Serialize) -> io::Result<Journal> {
        step(Step::BeginJournal, || {
            let mut journal = Journal::begin(&self.uploads, &journal_file(id))?;
            journal.append(first)?;
            Ok(journal)
        })
    }

    /// Opens the journal of an entry's multipart upload and reads its records.
    ///
    /// # Errors
    /// Those of the disk, and [`io::ErrorKind::InvalidData`] for records that are none of `R`.
    pub fn open_journal<R: DeserializeOwned>(
        &self,
        id: CrashId,
    ) -> io::Result<Option<(Journal, Vec<R>)>> {
        Journal::open(&self.uploads, &journal_file(id))
    }

    /// Removes an entry's journal, if there is one.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn remove_journal(&self, id: CrashId) -> io::Result<()> {
        let name = journal_file(id);
        if self.uploads.stat(&name).is_err() {
            return Ok(());
        }
        step(Step::RemoveJournal, || self.uploads.remove_file(&name))
    }

    /// Notes a failed attempt and when the next one may be. Kept in memory even where the disk refuses it.
    pub fn postpone(&self, entry: &mut Entry, not_before: Timestamp) {
        entry.attempts = entry.attempts.saturating_add(1);
        entry.not_before = Some(not_before);
        // No step of its way: without it the next attempt only comes sooner.
        if self.write_state(entry).is_err()
            && let Some(slot) = self.inner().slots.get_mut(&entry.id)
        {
            slot.attempts = entry.attempts;
            slot.not_before = entry.not_before;
        }
    }

    /// Number of entries and their bytes.
    pub fn holding(&self) -> Holding {
        holding_of(&self.inner())
    }

    fn room(&self) -> io::Result<Room> {
        let space = self.dumps.space()?;
        Ok(Room {
            bytes: space.free_bytes,
            inodes: space.free_inodes,
        })
    }

    /// Removes an entry's state file and what is left of its journal, and forgets it.
    fn remove(&self, as_step: Step, id: CrashId) -> Result<(), Error> {
        self.remove_journal(id)
            .map_err(self.failed("remove the journal of", id))?;
        let removed = step(as_step, || {
            match self.entries.remove_file(&state_file(id)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => self.entries.sync(),
            }
        });
        removed.map_err(self.failed("remove the state of", id))?;
        let mut inner = self.inner();
        inner.slots.remove(&id);
        self.show(&inner);
        drop(inner);
        self.ballast.renew(self.config.limits.keep_free);
        Ok(())
    }

    fn knows_file(&self, file: FileId) -> bool {
        let is_it = |known: &FileId| known.same_file(&file);
        let inner = self.inner();
        let mut slots = inner.slots.values();
        slots.any(|slot| {
            slot.files.iter().any(|kept| is_it(&kept.file))
                || slot.original.as_ref().is_some_and(is_it)
        })
    }

    fn show(&self, inner: &Inner) {
        let dumps = || inner.slots.iter().filter(|(_, slot)| slot.has_dump);
        // Ids are in the order of their crashes.
        let oldest = dumps().find(|(_, slot)| !slot.is_held);
        self.metrics.pending(Pending {
            dumps: dumps().count(),
            held: inner.slots.values().filter(|slot| slot.is_held).count(),
            bytes: holding_of(inner).bytes,
            oldest: oldest.map(|(id, _)| id.time()),
        });
    }

    /// Looks how much may still be taken, and shows it. Others fill the disk too, so it is looked at again and again.
    pub fn show_room(&self) {
        // Where it cannot be told nothing is copied either.
        let room = self.room().unwrap_or(Room {
            bytes: 0,
            inodes: 0,
        });
        let limits = self.config.limits;
        self.metrics
            .quota(limits.max_use, left(limits, self.holding(), room));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic while it was held left at worst one slot unchanged; every entry is durable on its own.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(
        &self,
        operation: &'static str,
        id: CrashId,
    ) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = self.config.state_dir.join(ENTRIES).join(state_file(id));
        move |source| Error::Io {
            operation,
            path,
            source,
        }
    }
}

fn holding_of(inner: &Inner) -> Holding {
    let received = inner.receiving.values().map(|promise| promise.bytes);
    let bytes = inner
        .slots
        .values()
        .map(Slot::data_bytes)
        .chain(received)
        .fold(0, u64::saturating_add);
    Holding {
        bytes,
        entries: inner.slots.len(),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn state_file(id: CrashId) -> OsString {
    format!("{id}.json").into()
}

fn journal_file(id: CrashId) -> OsString {
    id.to_string().into()
}

fn sub_directory(state: &Dir, name: &str) -> io::Result<Dir> {
    match state.create_dir(OsStr::new(name)) {
        Ok(()) => state.sync()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    state.open_dir(OsStr::new(name))
}

/// Dumps hold every secret of their process, and the state decides what is deleted: nobody else may write here.
fn check_private(state: &Dir, path: &Path) -> Result<(), Error> {
    let io_failed = |source| Error::Io {
        operation: "look at",
        path: path.to_owned(),
        source,
    };
    let stat = state.stat_self().map_err(io_failed)?;
    let own_uid = rustix::process::geteuid().as_raw();
    let problem = if stat.uid != own_uid {
        format!(
            "it belongs to uid {}, the agent runs as uid {own_uid}",
            stat.uid
        )
    } else if stat.mode & 0o022 != 0 {
        format!("others may write there (mode {:04o})", stat.mode)
    } else {
        return Ok(());
    };
    tracing::debug!(path = %escaped(path), problem, "state directory refused");
    Err(Error::Unsafe {
        path: path.to_owned(),
        problem,
    })
}
