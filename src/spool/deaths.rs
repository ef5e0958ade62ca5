//! Containers that ended: each death is an entry of its own until the dump that it left takes it in (`meeting`), or until none has come.
//!
//! ```text
//! record ──► entry (Waiting, no files but the log) ──dump of it here?──► take_death: the dump's entry has it, this one goes
//!                                        │
//!                                        └──none in time──► shipped as a crash without a dump ──► told ──a dump comes late──► reopen: a revision
//! ```
//!
//! The dump's entry names the death and its log first, and only then the death's entry goes; stopped in between, the next start sees from the one that the
//! other was taken in. A death that is met again, whatever was stopped when, is the same entry: its id comes from the start that ended.

use std::collections::HashMap;
use std::io::{self, Write};

use super::entry::{Entry, Kept, Origin, Phase, Piece, Place, VERSION};
use super::{Error, Inner, Spool};
use crate::decide::{Demand, admit, container_time};
use crate::model::{
    Completeness, CrashId, Death, Facts, FileId, Format, LastLines, Names, Start, Step,
};
use crate::sys::{Stat, step};

/// What came of recording a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is an entry now, and durable.
    New(CrashId),
    /// It was recorded before.
    Known(CrashId),
}

/// What of a death others look at.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// Without pod and container.
    pub(super) death: Death,
    /// Whether nothing else of the crash is known.
    pub(super) alone: bool,
}

impl Waiting {
    pub(super) fn of(entry: &Entry) -> Option<Box<Self>> {
        let death = entry.death.as_deref()?;
        Some(Box::new(Self {
            death: slim(death),
            alone: entry.is_death_alone(),
        }))
    }
}

/// What meeting needs of a death.
pub(super) fn slim(death: &Death) -> Death {
    Death {
        start: death.start.clone(),
        pod: Default::default(),
        container: Default::default(),
        terminated: death.terminated.clone(),
        ..*death
    }
}

/// Whether both are the end of one start. A number may begin anew, when a runtime has lost its containers: then the ids differ, or the times.
pub(super) fn is_one(one: &Death, other: &Death) -> bool {
    let (Some(a), Some(b)) = (&one.terminated, &other.terminated) else {
        return one.start == other.start && one.terminated.is_none() == other.terminated.is_none();
    };
    let same = match (&a.id, &b.id) {
        (Some(a), Some(b)) => a == b,
        _ => a.finished_at == b.finished_at,
    };
    one.start == other.start && same
}

/// Entries of deaths that another entry has taken in already.
pub(super) fn joined(inner: &Inner) -> Vec<CrashId> {
    let (mut taken, mut alone) = (HashMap::<&Start, Vec<&Death>>::new(), Vec::new());
    for (id, slot) in &inner.slots {
        match slot.death.as_deref() {
            Some(waiting) if waiting.alone => alone.push((*id, &waiting.death)),
            Some(waiting) => taken
                .entry(&waiting.death.start)
                .or_default()
                .push(&waiting.death),
            None => {}
        }
    }
    let is_taken = |death: &Death| {
        let same = taken.get(&death.start).into_iter().flatten();
        same.into_iter().any(|other| is_one(death, other))
    };
    alone
        .into_iter()
        .filter(|(_, death)| is_taken(death))
        .map(|(id, _)| id)
        .collect()
}

impl Spool {
    /// Makes an entry of a death, durable when this returns. The log is left out where there is no room for it.
    ///
    /// # Errors
    /// The state cannot be written, or the agent holds as much as it may: nothing has happened, and the death may be told again.
    pub fn record(
        &self,
        cluster: &str,
        death: Death,
        log: Option<LastLines>,
    ) -> Result<Recorded, Error> {
        if let Some(known) = self.crash_of(&death) {
            return Ok(Recorded::Known(known));
        }
        let (time, time_source) = container_time(&death);
        let id = death.start.crash_id(cluster, time);
        self.check_entries(id)?;
        let log = log.and_then(|log| self.stage_log(&log, &death));
        let entry = Entry {
            version: VERSION,
            id,
            time,
            time_source,
            origin: None,
            death: Some(Box::new(death)),
            told: None,
            capture: None,
            phase: Phase::Waiting {
                pieces: log.iter().cloned().collect(),
            },
            attempts: 0,
            not_before: None,
        };
        if let Err(error) = self.save(Step::NoteDeath, &entry) {
            if let Some(piece) = &log {
                // No step of a dump's way: it has no entry.
                let _ = self.dumps.remove_file(&Self::partial_name(piece.kept.id));
            }
            return Err(error);
        }
        if let Some(piece) = log {
            let named = step(Step::NameLog, || {
                let whole = super::claim::held_name(piece.kept.id, &Place::Spool);
                let partial = Self::partial_name(piece.kept.id);
                self.dumps.rename(&partial, &self.dumps, &whole)?;
                self.dumps.sync()
            });
            if let Err(error) = named {
                tracing::warn!(crash = %id, %error, "the log of a container that ended could not be kept");
            }
        }
        self.wake_for(&entry);
        self.check_in(id);
        Ok(Recorded::New(id))
    }

    /// The crash that this death is, as far as it is held or remembered.
    fn crash_of(&self, death: &Death) -> Option<CrashId> {
        let inner = self.inner();
        let held = inner.slots.iter().find(|(_, slot)| {
            let waiting = slot.death.as_deref();
            waiting.is_some_and(|waiting| is_one(&waiting.death, death))
        });
        let told = || {
            let mut told = inner.told.iter();
            let told = told.find(|(_, told)| told.death().is_some_and(|its| is_one(its, death)));
            told.map(|(id, _)| *id)
        };
        held.map(|(id, _)| *id).or_else(told)
    }

    /// The highest number of a start of this container whose end is held or remembered.
    pub fn last_recorded(&self, uid: &str, container: &str) -> Option<u32> {
        let inner = self.inner();
        let held = inner
            .slots
            .values()
            .filter_map(|slot| Some(&slot.death.as_deref()?.death));
        let told = inner.told.values().filter_map(|told| told.death());
        held.chain(told)
            .filter(|death| death.start.uid == uid && death.start.container == container)
            .map(|death| death.start.number)
            .max()
    }

    fn check_entries(&self, id: CrashId) -> Result<(), Error> {
        let most = self.config.limits.max_entries;
        if self.inner().slots.len() < most {
            return Ok(());
        }
        let full = io::Error::other(format!("{most} crashes are held already"));
        Err(self.failed("write the state of", id)(full))
    }

    /// Writes the log under a name that the next start clears away, until an entry names it.
    fn stage_log(&self, log: &LastLines, death: &Death) -> Option<Piece> {
        let bytes = u64::try_from(log.text.len()).unwrap_or(u64::MAX);
        let room = self.room().ok()?;
        let demand = Demand {
            bytes,
            copied: true,
        };
        if let Err(refusal) = admit(self.config.limits, self.holding(), room, demand) {
            tracing::warn!(%refusal, "no room for the log of a container that ended");
            return None;
        }
        let id = CrashId::new(death.seen, fastrand::u128(..));
        match self.write_log(&Self::partial_name(id), &log.text) {
            Ok(file) => Some(log_piece(id, file, log, death)),
            Err(error) => {
                // No step of a dump's way: it has no entry.
                let _ = self.dumps.remove_file(&Self::partial_name(id));
                tracing::warn!(%error, "the log of a container that ended could not be kept");
                None
            }
        }
    }

    fn write_log(&self, name: &std::ffi::OsStr, text: &[u8]) -> io::Result<FileId> {
        // No step of a dump's way: the name means nothing yet.
        let mut file = self.dumps.create_file(name)?;
        file.write_all(text)?;
        file.sync_all()?;
        Ok(Stat::of(&file)?.file)
    }
}

fn log_piece(id: CrashId, file: FileId, log: &LastLines, death: &Death) -> Piece {
    let bytes = u64::try_from(log.text.len()).unwrap_or(u64::MAX);
    let end = death.terminated.as_ref();
    let began = end.and_then(|end| end.started_at);
    let directory = log.path.parent().unwrap_or(&log.path);
    let kept = Kept {
        id,
        file,
        place: Place::Spool,
        data_bytes: bytes,
    };
    Piece {
        kept,
        origin: Origin {
            source: directory.into(),
            levels: Vec::new(),
            name: log.path.file_name().unwrap_or_default().into(),
            names: Names::default(),
            uid: 0,
            data_bytes: bytes,
            began: began.unwrap_or(death.seen),
            ended: death.time(),
            seen: death.seen,
            settled: death.seen,
            marks: Vec::new(),
        },
        facts: Facts {
            completeness: match log.whole {
                true => Completeness::Complete,
                false => Completeness::Unknown,
            },
            ..Facts::of(Format::ContainerLog)
        },
        bytes,
    }
}
