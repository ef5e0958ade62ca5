//! Taking a dump away from its writer, before the next crash overwrites it.
//!
//! The intent is durable before the file moves. With a lease: open → lease → rename → is the new name the leased file? → lease off. The lease is
//! held for that long only, since a writer that opens the file meanwhile waits for it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::entry::{Entry, Origin, Phase, Place, SourceDir, VERSION};
use super::holding::{self, Holding};
use super::{Slot, Spool, Way, holding_of};
use crate::decide::{Demand, Refusal, admit, crash_time};
use crate::model::{CrashId, FileId, Step, escaped};
use crate::source::{Found, Root, Taken, Taker};
use crate::sys::{Dir, FileKind, Lease, Stat, read_lease, step};

impl Taker for Spool {
    fn prepare(&self, root: Root<'_>) -> Result<(), String> {
        let way = self.way_for(root).map_err(|error| match error {
            Unusable::Taken => format!("{}: another agent takes dumps from it; it has to stop first", escaped(root.path)),
            Unusable::Io(error) => {
                format!("{}: files cannot be taken away: {error}; mount it writable and let the agent write there", escaped(root.path))
            }
        })?;
        self.inner()
            .ways
            .insert(root.path.as_os_str().to_owned(), way);
        Ok(())
    }

    fn knows(&self, file: FileId) -> bool {
        self.knows_file(file)
    }

    fn owns(&self, name: &OsStr) -> bool {
        name == holding::NAME
    }

    /// The spool alone knows no pods.
    fn is_gone(&self, _: &str) -> bool {
        false
    }

    fn take(&self, found: &Found<'_>) -> Taken {
        let way = self
            .inner()
            .ways
            .get(found.root.path.as_os_str())
            .cloned()
            .unwrap_or(Way::Copy);
        let entry = self.intend(found, &way);
        if let Err(no) = self.reserve(&entry, matches!(way, Way::Copy)) {
            return no;
        }
        let id = entry.id;
        let taken = match self.save(Step::Intend, &entry) {
            Ok(()) => self.carry_out(found, &way, entry),
            Err(error) => Taken::Failed(io::Error::other(error)),
        };
        if !matches!(taken, Taken::Claimed) {
            // Where the removal fails too, the entry is found to be about nothing when it is worked on.
            if let Err(error) = self.remove(Step::RemoveEntry, id) {
                tracing::warn!(error = %error, "an abandoned claim could not be removed");
            }
        }
        self.check_in(id);
        taken
    }
}

/// Why nothing can be taken from a source.
enum Unusable {
    Taken,
    Io(io::Error),
}

impl Spool {
    fn way_for(&self, root: Root<'_>) -> Result<Way, Unusable> {
        let (here, there) = (
            self.dumps.stat_self().map_err(Unusable::Io)?,
            root.dir.stat_self().map_err(Unusable::Io)?,
        );
        let one_mount = here.mount != 0 && here.mount == there.mount;
        if root.kubelets {
            return Ok(if one_mount { Way::Rename } else { Way::Copy });
        }
        if one_mount && root.dir.stat(OsStr::new(holding::NAME)).is_err() {
            return Ok(Way::Rename);
        }
        match self.holding_at(root.path, root.dir).map_err(Unusable::Io)? {
            Holding::Taken => Err(Unusable::Taken),
            Holding::Usable(dir) => {
                let place = Place::Holding(root.path.into());
                self.adopt(&dir, &place).map_err(Unusable::Io)?;
                Ok(if one_mount {
                    Way::Rename
                } else {
                    Way::Hold(dir)
                })
            }
            Holding::Untrusted(why) if one_mount => {
                tracing::warn!(source = %escaped(root.path), why, "holding directory not used; dumps are renamed into the state directory");
                Ok(Way::Rename)
            }
            Holding::Untrusted(why) => {
                tracing::warn!(source = %escaped(root.path), why, "holding directory not used; dumps are copied");
                Ok(Way::Copy)
            }
        }
    }

    /// The holding directory of the source at `path`, whose root is open.
    pub(super) fn holding_at(&self, path: &Path, root: &Dir) -> io::Result<Holding> {
        let mut known = self.holdings.lock().unwrap_or_else(PoisonError::into_inner);
        let found = holding::open(root, known.get(path.as_os_str()))?;
        match &found {
            Holding::Usable(dir) => known.insert(path.as_os_str().to_owned(), Arc::clone(dir)),
            Holding::Untrusted(_) | Holding::Taken => known.remove(path.as_os_str()),
        };
        Ok(found)
    }

    /// Decides whether there is room and takes it in one step: other sources ask at the same time, and each would get the same room.
    fn reserve(&self, entry: &Entry, copied: bool) -> Result<(), Taken> {
        let room = self.room().map_err(Taken::Failed)?;
        let demand = Demand {
            bytes: entry.origin.as_ref().map_or(0, |origin| origin.data_bytes),
            copied,
        };
        let mut inner = self.inner();
        admit(self.config.limits, holding_of(&inner), room, demand).map_err(Taken::NoRoom)?;
        inner.slots.insert(entry.id, Slot::of(entry, true));
        self.show(&inner);
        Ok(())
    }

    fn intend(&self, found: &Found<'_>, way: &Way) -> Entry {
        let (time, time_source) = crash_time(found.stat.changed, found.seen);
        let place = match way {
            Way::Rename => Place::Spool,
            Way::Hold(_) => Place::Holding(found.root.path.into()),
            Way::Copy => Place::Source(SourceDir {
                root: found.root.path.into(),
                levels: found.levels.iter().map(Into::into).collect(),
            }),
        };
        Entry {
            version: VERSION,
            id: CrashId::new(time, fastrand::u128(..)),
            time,
            time_source,
            origin: Some(Origin {
                source: found.root.path.into(),
                levels: found.levels.iter().map(Into::into).collect(),
                name: found.name.into(),
                names: found.names.clone(),
                uid: found.stat.uid,
                data_bytes: found.data_bytes,
                began: found.stat.began(),
                ended: found.stat.changed,
                seen: found.seen,
                settled: found.settled,
                marks: found.marks.clone(),
            }),
            death: None,
            told: None,
            capture: None,
            phase: Phase::Claiming {
                file: found.stat.file,
                place,
            },
            attempts: 0,
            not_before: None,
        }
    }

    fn carry_out(&self, found: &Found<'_>, way: &Way, mut entry: Entry) -> Taken {
        let to = match way {
            Way::Rename => &self.dumps,
            Way::Hold(dir) => dir,
            Way::Copy => found.dir,
        };
        let Phase::Claiming { file, place } = entry.phase.clone() else {
            return Taken::Unsettled;
        };
        let name = held_name(entry.id, &place);
        if let Some(taken) = self.rename_settled(found, to, &name) {
            return taken;
        }
        entry.phase = Phase::Held { file, place };
        // The file has moved: from here on it is ours whatever happens. A state that cannot be written is repaired from `Claiming`.
        if let Err(error) = self.save(Step::NoteHeld, &entry) {
            tracing::warn!(crash = %entry.id, error = %error, "the state of a claimed dump could not be written; it will be found again");
        }
        tracing::info!(crash = %entry.id, dump = %escaped(found.name), source = %escaped(found.root.path), bytes = found.stat.size, way = way.name(), "dump claimed");
        Taken::Claimed
    }

    /// Renames the very file that was found; says what went wrong, if anything did.
    fn rename_settled(&self, found: &Found<'_>, to: &Dir, name: &OsStr) -> Option<Taken> {
        let file = match found.dir.open_file(found.name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(Taken::Gone),
            Err(_) => return Some(Taken::Unsettled),
        };
        if !is_as_found(&file, found) {
            return Some(Taken::Unsettled);
        }
        let lease = match read_lease(&file) {
            Ok(Lease::Held(lease)) => Some(lease),
            Ok(_) if !found.leased => None,
            Ok(_) | Err(_) => return Some(Taken::Unsettled),
        };
        let renamed = step(Step::Take, || found.dir.rename(found.name, to, name));
        let outcome = match renamed {
            Ok(()) if is_the_file(to, name, found.stat.file) => None,
            Ok(()) => {
                put_back(to, name, found);
                Some(Taken::Unsettled)
            }
            Err(error) => Some(self.rename_failed(found, error)),
        };
        drop(lease);
        if outcome.is_none() {
            self.sync_rename(found.dir, to);
        }
        outcome
    }

    /// Both directories: a name that comes back after a power cut would be a second crash.
    fn sync_rename(&self, from: &Dir, to: &Dir) {
        for dir in [to, from] {
            if let Err(error) = dir.sync() {
                tracing::warn!(error = %error, "a directory could not be synced after a claim");
            }
        }
    }

    fn rename_failed(&self, found: &Found<'_>, error: io::Error) -> Taken {
        match error.raw_os_error() {
            Some(libc::ENOENT) => Taken::Gone,
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => Taken::NotWritable(error),
            Some(libc::ENOSPC | libc::EDQUOT) => Taken::NoRoom(Refusal::KeepFree),
            Some(libc::EXDEV) => {
                // One mount by its number and yet two for rename (some overlays): copying always works.
                self.inner()
                    .ways
                    .insert(found.root.path.as_os_str().to_owned(), Way::Copy);
                Taken::Unsettled
            }
            _ => Taken::Failed(error),
        }
    }
}

impl Way {
    fn name(&self) -> &'static str {
        match self {
            Self::Rename => "rename",
            Self::Hold(_) => "hold",
            Self::Copy => "copy",
        }
    }
}

/// The name of a held dump where it is.
pub(super) fn held_name(id: CrashId, place: &Place) -> OsString {
    match place {
        Place::Spool | Place::Holding(_) => id.to_string().into(),
        Place::Source(_) => format!(".salvage-{id}").into(),
    }
}

fn is_as_found(file: &File, found: &Found<'_>) -> bool {
    Stat::of(file).is_ok_and(|now| {
        now.file.same_file(&found.stat.file)
            && now.kind == FileKind::File
            && now.links == 1
            && now.size == found.stat.size
    })
}

fn is_the_file(dir: &Dir, name: &OsStr, file: FileId) -> bool {
    dir.stat(name).is_ok_and(|stat| {
        stat.file.same_file(&file) && stat.kind == FileKind::File && stat.links == 1
    })
}

/// Something else had the name at the moment of the rename: it goes back where it was, under a name of ours if its own is taken again. It may
/// be somebody's dump, which the next scan finds there. Where neither works, a file is left for [`Spool::adopt`] and what is no file is
/// removed from among ours. It undoes a step.
fn put_back(dir: &Dir, name: &OsStr, found: &Found<'_>) {
    // No step of a dump's way: one is undone.
    let mut ours = OsString::from(".salvage-");
    ours.push(name);
    if dir.rename(name, found.dir, found.name).is_ok() || dir.rename(name, found.dir, &ours).is_ok()
    {
        return;
    }
    if dir
        .stat(name)
        .is_ok_and(|stat| stat.kind != FileKind::File && stat.kind != FileKind::Dir)
    {
        let _ = dir.remove_file(name);
    }
    tracing::warn!(dump = %escaped(found.name), source = %escaped(found.root.path), "a name was swapped while its file was taken");
}
