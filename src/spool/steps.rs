//! The steps of an entry's life that touch only the node. Each can be done again.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::claim::held_name;
use super::entry::{Entry, Kept, Origin, Phase, Place, SourceDir};
use super::holding::Holding;
use super::metrics::Loss;
use super::raw::RawName;
use super::{Spool, Way};
use crate::decide::{Demand, Refusal, admit};
use crate::model::{FileId, Mark, Step, escaped};
use crate::sys::{CopyError, Dir, Stat, copy_sparse, step};

/// Copies that changed under the copying are made again this often before they are kept and marked.
const COPIES: u32 = 3;

/// What became of a claim that was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The dump is ours.
    Held,
    /// The file was never moved, and the entry is gone: the source is scanned again.
    Abandoned,
}

/// What came of copying a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// A durable copy is in the spool.
    Done,
    /// There is no room for it now.
    NoRoom(Refusal),
    /// It changed meanwhile: once more.
    Changed,
}

/// Why a held dump cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is no longer there, although nobody but the agent should reach it.
    #[error("the held dump is gone")]
    Gone,
    /// It cannot be reached now: a directory or mount is missing.
    #[error("the held dump cannot be reached")]
    Io(#[source] io::Error),
}

impl Spool {
    /// Finds out whether an interrupted claim moved its file.
    ///
    /// # Errors
    /// The place cannot be looked at now, or the state cannot be written.
    pub fn resolve_claim(&self, entry: &mut Entry) -> io::Result<Claim> {
        let Phase::Claiming { file, place } = entry.phase.clone() else {
            return Ok(Claim::Held);
        };
        let there = match self.dir_of(&place) {
            Ok(dir) => dir.stat(&held_name(entry.id, &place)),
            Err(error) if is_gone(&place, &error) => Err(error),
            Err(error) => return Err(error),
        };
        let moved = match there {
            Ok(stat) => stat.file.same_file(&file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if moved {
            entry.phase = Phase::Held { file, place };
            self.save(Step::NoteHeld, entry).map_err(io::Error::other)?;
            return Ok(Claim::Held);
        }
        self.remove(Step::RemoveEntry, entry.id)
            .map_err(io::Error::other)?;
        Ok(Claim::Abandoned)
    }

    /// Copies a dump that could not be renamed into the spool, within the quota.
    ///
    /// # Errors
    /// Why it cannot be opened, read or written now.
    pub fn copy_in(&self, entry: &mut Entry) -> Result<Copied, OpenError> {
        let Phase::Held {
            file,
            place: Place::Source(at),
        } = entry.phase.clone()
        else {
            return Ok(Copied::Done);
        };
        let whole = held_name(entry.id, &Place::Spool);
        if let Ok(copy) = self.dumps.stat(&whole) {
            // An earlier attempt came this far, but not to its state: only whole copies have this name.
            return self.copied(entry, copy.file, file, at);
        }
        let data_bytes = entry.origin.as_ref().map_or(0, |origin| origin.data_bytes);
        let original = self.open_file(&Kept {
            id: entry.id,
            file,
            place: Place::Source(at.clone()),
            data_bytes,
        })?;
        let before = Stat::of(&original).map_err(OpenError::Io)?;
        let demand = Demand {
            bytes: data_bytes,
            copied: true,
        };
        let mut others = self.holding();
        others.bytes = others.bytes.saturating_sub(data_bytes);
        others.entries = others.entries.saturating_sub(1);
        if let Err(refusal) = admit(
            self.config.limits,
            others,
            self.room().map_err(OpenError::Io)?,
            demand,
        ) {
            return Ok(Copied::NoRoom(refusal));
        }
        let partial = Self::partial_name(entry.id);
        let copied = step(Step::Copy, || {
            self.copy_to(&partial, &original, before.size)
        });
        let copy = match copied {
            Ok(copy) => copy,
            Err(stopped) => {
                let _ = self.dumps.remove_file(&partial);
                return stopped;
            }
        };
        let after = Stat::of(&original).map_err(OpenError::Io)?;
        if (after.size, after.modified) != (before.size, before.modified) {
            if entry.attempts + 1 < COPIES {
                let _ = self.dumps.remove_file(&partial);
                return Ok(Copied::Changed);
            }
            if let Some(origin) = &mut entry.origin {
                origin.mark(Mark::ChangedWhileRead);
            }
        }
        step(Step::NameCopy, || {
            self.dumps.rename(&partial, &self.dumps, &whole)
        })
        .map_err(OpenError::Io)?;
        self.copied(entry, copy, file, at)
    }

    /// Notes that the copy is whole. Until that is durable the original stays.
    fn copied(
        &self,
        entry: &mut Entry,
        copy: FileId,
        original: FileId,
        at: SourceDir,
    ) -> Result<Copied, OpenError> {
        self.dumps.sync().map_err(OpenError::Io)?;
        let copied = Phase::Copied {
            file: copy,
            original,
            at,
        };
        let before = std::mem::replace(&mut entry.phase, copied);
        let attempts = std::mem::take(&mut entry.attempts);
        self.save(Step::NoteCopied, entry).map_err(|error| {
            entry.phase = before;
            entry.attempts = attempts;
            OpenError::Io(io::Error::other(error))
        })?;
        Ok(Copied::Done)
    }

    /// Makes the durable copy; the `Err` holds what the copying ends with.
    fn copy_to(
        &self,
        partial: &OsString,
        original: &File,
        len: u64,
    ) -> Result<FileId, Result<Copied, OpenError>> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Ok(Copied::NoRoom(Refusal::KeepFree))
            }
            _ => Err(OpenError::Io(error)),
        };
        // Within a step. Left by an attempt that was cut short.
        let _ = self.dumps.remove_file(partial);
        let copy = self.dumps.create_file(partial).map_err(failed)?;
        let keep_free = self.config.limits.keep_free;
        let go_on = |bytes: u64| match self.room() {
            Ok(room) if room.bytes < keep_free.saturating_add(bytes) => Err(Refusal::KeepFree),
            _ => Ok(()),
        };
        match copy_sparse(original, &copy, len, go_on) {
            Ok(_) => Ok(Stat::of(&copy).map_err(failed)?.file),
            Err(CopyError::Stopped(refusal)) => Err(Ok(Copied::NoRoom(refusal))),
            Err(CopyError::Write(error) | CopyError::Read(error)) => Err(failed(error)),
        }
    }

    /// Removes the original of a copied dump, and notes that the copy is all there is now.
    ///
    /// # Errors
    /// It cannot be removed now, or the state cannot be written.
    pub fn remove_original(&self, entry: &mut Entry) -> io::Result<()> {
        let Phase::Copied { file, original, at } = entry.phase.clone() else {
            return Ok(());
        };
        let place = Place::Source(at);
        match self.dir_of(&place) {
            Ok(dir) => step(Step::RemoveOriginal, || {
                remove_if_same(&dir, &held_name(entry.id, &place), original)
            })?,
            // And the original with it.
            Err(error) if is_gone(&place, &error) => {}
            Err(error) => return Err(error),
        }
        entry.phase = Phase::Held {
            file,
            place: Place::Spool,
        };
        self.save(Step::NoteOriginalGone, entry)
            .map_err(io::Error::other)
    }

    /// Opens a held file for reading.
    ///
    /// # Errors
    /// [`OpenError::Gone`] if it is certainly not there any more.
    pub fn open_file(&self, kept: &Kept) -> Result<File, OpenError> {
        let Kept {
            id, file, place, ..
        } = kept;
        let dir = self.dir_of(place).map_err(|error| {
            if is_gone(place, &error) {
                OpenError::Gone
            } else {
                OpenError::Io(error)
            }
        })?;
        let opened = match dir.open_file(&held_name(*id, place)) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(OpenError::Gone),
            Err(error) => return Err(OpenError::Io(error)),
        };
        // Only in a directory that others may write can another file have taken its name.
        let same = Stat::of(&opened)
            .map_err(OpenError::Io)?
            .file
            .same_file(file);
        if matches!(place, Place::Source(_)) && !same {
            return Err(OpenError::Gone);
        }
        Ok(opened)
    }

    /// Removes the files of a crash that is stored, then its entry.
    ///
    /// # Errors
    /// They cannot be removed now.
    pub fn discard(&self, entry: &Entry) -> io::Result<()> {
        for Kept {
            id, file, place, ..
        } in entry.files()
        {
            let dir = self.dir_of(&place)?;
            let name = held_name(id, &place);
            step(Step::RemoveDump, || match place {
                Place::Source(_) => remove_if_same(&dir, &name, file),
                Place::Spool | Place::Holding(_) => remove_if_there(&dir, &name),
            })?;
        }
        if let Phase::Stored {
            told: Some(told), ..
        } = &entry.phase
        {
            step(Step::NoteTold, || self.tell(told)).map_err(io::Error::other)?;
        }
        self.remove(Step::RemoveEntry, entry.id)
            .map_err(io::Error::other)
    }

    /// Counts and logs a file that is gone although it was held.
    pub fn count_lost(&self, entry: &Entry, loss: Loss) {
        self.metrics.lost(loss);
        let name = |of: fn(&Origin) -> &RawName| {
            entry
                .origin
                .as_ref()
                .map(|origin| escaped(of(origin).as_os_str()).to_string())
        };
        tracing::error!(
            crash = %entry.id,
            dump = name(|origin| &origin.name),
            source = name(|origin| &origin.source),
            reason = loss.name(),
            "a held dump is lost"
        );
    }

    /// Gives up an entry whose dump is gone; counted and logged as what it is.
    ///
    /// # Errors
    /// The state cannot be removed now.
    pub fn lose(&self, entry: &Entry, loss: Loss) -> io::Result<()> {
        self.remove(Step::RemoveEntry, entry.id)
            .map_err(io::Error::other)?;
        self.count_lost(entry, loss);
        Ok(())
    }

    /// The directory of a place, as it is now.
    fn dir_of(&self, place: &Place) -> io::Result<Arc<Dir>> {
        match place {
            Place::Spool => Ok(Arc::new(self.dumps.reopen()?)),
            Place::Holding(root) => self.holding_dir(Path::new(root.as_os_str())),
            Place::Source(at) => open_below(at).map(Arc::new),
        }
    }

    /// The holding directory of a source, also of one that is no longer configured.
    fn holding_dir(&self, root: &Path) -> io::Result<Arc<Dir>> {
        if let Some(Way::Hold(dir)) = self.inner().ways.get(root.as_os_str()) {
            return Ok(Arc::clone(dir));
        }
        match self.holding_at(root, &Dir::open(root)?)? {
            Holding::Usable(dir) => Ok(dir),
            Holding::Taken => Err(io::Error::other("another agent uses the holding directory")),
            Holding::Untrusted(why) => Err(io::Error::other(why)),
        }
    }
}

/// Whether a directory that cannot be opened went with its pod. A source that is not there itself may come back: a mount that is late.
fn is_gone(place: &Place, error: &io::Error) -> bool {
    let Place::Source(at) = place else {
        return false;
    };
    error.kind() == io::ErrorKind::NotFound && Dir::open(Path::new(at.root.as_os_str())).is_ok()
}

fn open_below(at: &SourceDir) -> io::Result<Dir> {
    open_levels(Path::new(at.root.as_os_str()), &at.levels)
}

/// Opens a directory of a source, level by level.
pub(super) fn open_levels(root: &Path, levels: &[RawName]) -> io::Result<Dir> {
    let mut dir = Dir::open(root)?;
    for level in levels {
        dir = dir.open_dir(level.as_os_str())?;
    }
    Ok(dir)
}

fn remove_if_there(dir: &Dir, name: &std::ffi::OsStr) -> io::Result<()> {
    // Within a step.
    match dir.remove_file(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => dir.sync(),
    }
}

/// Removes a name in a directory that others may write, if it still stands for the file it should. Between the look and the removal
/// its owner can put another file there only by using our name for it, which no crash does.
fn remove_if_same(dir: &Dir, name: &std::ffi::OsStr, file: FileId) -> io::Result<()> {
    match dir.stat(name) {
        Ok(stat) if stat.file.same_file(&file) => remove_if_there(dir, name),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
