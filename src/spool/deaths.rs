//! Containers that ended: each death is an entry of its own until the dump that it left takes it in, or until none has come.
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

use jiff::{SignedDuration, Timestamp};

use super::entry::{Entry, Kept, Origin, Phase, Piece, Place, VERSION};
use super::join::later;
use super::{Error, Inner, Slot, Spool, state_file};
use crate::decide::{Demand, Dumped, Fit, admit, container_time};
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

/// What a death may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// This entry is of the dump that it left.
    Dump(CrashId),
    /// Its dump is about to be told as a crash without an end.
    Told,
    /// A dump of that time of which nobody knows yet whose it is.
    Perhaps,
    /// None.
    Nothing,
}

/// Whether a dump met its death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// The entry has it now.
    Taken,
    /// Its crash is stored already: the entry went on as a revision of that.
    Reopened,
    /// Look again then: somebody works on it.
    Wait(Timestamp),
    /// There is none.
    None,
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

    /// Lets those look again that may have waited for this death.
    fn wake_for(&self, entry: &Entry) {
        let Some(death) = entry.death.as_deref() else {
            return;
        };
        let mut inner = self.inner();
        for slot in inner.slots.values_mut() {
            let dumped = slot.dumped.as_deref();
            if dumped.is_some_and(|dumped| dumped.uid == death.start.uid) && slot.attempts == 0 {
                slot.not_before = None;
            }
        }
    }

    /// Notes what an entry's dump was attributed to, so that its death can be found.
    pub fn note_dumped(&self, id: CrashId, dumped: Option<Dumped>) {
        if let Some(slot) = self.inner().slots.get_mut(&id) {
            slot.dumped = dumped.map(Box::new);
        }
    }

    /// Gives a dump's entry the death that left it, or gives the dump to the stored crash that this death is, if either is here.
    ///
    /// # Errors
    /// A state cannot be written now; nothing is lost by asking again.
    pub fn take_death(
        &self,
        entry: &mut Entry,
        dumped: &Dumped,
        window: SignedDuration,
        closing: bool,
        now: Timestamp,
    ) -> Result<Met, Error> {
        let met = self.take_held_death(entry, dumped, window, closing, now)?;
        if met != Met::None {
            return Ok(met);
        }
        let told = {
            let inner = self.inner();
            let fits = inner.told.iter().filter_map(|(id, told)| {
                let fit = told.awaits(dumped, window)?;
                (closing || matches!(fit, Fit::Followed(_))).then_some((fit, *id))
            });
            fits.min().map(|(_, id)| id)
        };
        told.map_or(Ok(Met::None), |told| self.reopen(entry, told, now))
    }

    /// Gives a dump's entry the death that left it, if it is not stored yet: the one that fits best. One that came before the dump's end only when `closing`.
    ///
    /// # Errors
    /// A state cannot be written now; nothing is lost by asking again.
    pub fn take_held_death(
        &self,
        entry: &mut Entry,
        dumped: &Dumped,
        window: SignedDuration,
        closing: bool,
        now: Timestamp,
    ) -> Result<Met, Error> {
        if let Some(death) = entry.death.as_deref() {
            self.remove_alone(death)?;
            return Ok(Met::Taken);
        }
        let held = {
            let mut inner = self.inner();
            let fits = inner.slots.iter().filter_map(|(id, slot)| {
                let waiting = slot.death.as_deref()?;
                let fit = dumped.fits(&waiting.death, window)?;
                let now_or_never = closing || matches!(fit, Fit::Followed(_));
                (waiting.alone && *id != entry.id && now_or_never).then_some((fit, *id))
            });
            let best = fits.min().map(|(_, id)| id);
            best.and_then(|id| {
                let slot = inner.slots.get_mut(&id)?;
                Some((id, std::mem::replace(&mut slot.busy, true)))
            })
        };
        match held {
            Some((_, true)) => Ok(Met::Wait(later(now))),
            Some((id, false)) => self.take_in_death(entry, id, now),
            None => Ok(Met::None),
        }
    }

    /// Moves the death and its log into `entry`, while the death's own entry is ours.
    fn take_in_death(&self, entry: &mut Entry, id: CrashId, now: Timestamp) -> Result<Met, Error> {
        let taken = match self.read_state(&state_file(id), &id.to_string()) {
            Ok(alone) if alone.is_death_alone() && matches!(alone.phase, Phase::Waiting { .. }) => {
                self.absorb(entry, &alone).map(|()| Met::Taken)
            }
            // It was decided meanwhile: it is told soon.
            _ if matches!(entry.phase, Phase::Waiting { .. }) => Ok(Met::Wait(later(now))),
            _ => Ok(Met::None),
        };
        self.check_in(id);
        taken
    }

    /// Moves the death `alone`, which is ours, into the entry `id` of its dump, if nobody works on that: a dump that is long on its way meets its death so.
    ///
    /// # Errors
    /// A state cannot be written now; nothing is lost by asking again.
    pub fn give_death(&self, alone: &Entry, id: CrashId, now: Timestamp) -> Result<Met, Error> {
        match self.inner().slots.get_mut(&id) {
            Some(slot) if !slot.busy => slot.busy = true,
            _ => return Ok(Met::Wait(later(now))),
        }
        let given = match self.read_state(&state_file(id), &id.to_string()) {
            Ok(mut dump) if dump.death.is_none() && dump.is_open() => {
                self.absorb(&mut dump, alone).map(|()| Met::Taken)
            }
            _ => Ok(Met::Wait(later(now))),
        };
        self.check_in(id);
        given
    }

    fn absorb(&self, entry: &mut Entry, alone: &Entry) -> Result<(), Error> {
        let before = (entry.death.clone(), entry.phase.clone());
        entry.death.clone_from(&alone.death);
        let Phase::Waiting { pieces: logs } = &alone.phase else {
            return Ok(());
        };
        match &mut entry.phase {
            Phase::Waiting { pieces } => pieces.extend(logs.iter().cloned()),
            Phase::Shipping { pieces, choice, .. } => {
                pieces.extend(logs.iter().cloned());
                choice.name_artifacts(logs.iter().map(|log| log.facts.format));
                if let Some(death) = alone.death.as_deref() {
                    choice.learn_of(death);
                }
            }
            _ => {}
        }
        // What it waited for is here.
        entry.not_before = None;
        if let Err(error) = self.save(Step::Join, entry) {
            (entry.death, entry.phase) = before;
            return Err(error);
        }
        self.remove(Step::ForgetJoined, alone.id)?;
        tracing::info!(crash = %entry.id, death = %alone.id, "a dump met the death that left it");
        Ok(())
    }

    /// Removes the entry of a death that another entry has, where only the removal failed before.
    fn remove_alone(&self, death: &Death) -> Result<(), Error> {
        let left = {
            let inner = self.inner();
            let mut slots = inner.slots.iter();
            let left = slots.find(|(_, slot)| {
                let waiting = slot.death.as_deref();
                !slot.busy && waiting.is_some_and(|its| its.alone && is_one(&its.death, death))
            });
            left.map(|(id, _)| *id)
        };
        left.map_or(Ok(()), |id| self.remove(Step::ForgetJoined, id))
    }

    /// What a death that no dump has taken in may wait for.
    pub fn dump_of(&self, id: CrashId, death: &Death, window: SignedDuration) -> Awaited {
        let inner = self.inner();
        let others = || inner.slots.iter().filter(|(other, _)| **other != id);
        let fits = others().filter_map(|(other, slot)| {
            let dumped = slot.dumped.as_deref().filter(|_| slot.death.is_none())?;
            let fit = dumped.fits(death, window)?;
            // The first process's goes before others.
            Some((!dumped.may_be_first(), fit, *other, slot.is_open))
        });
        if let Some((_, _, dump, is_open)) = fits.min() {
            return match is_open {
                true => Awaited::Dump(dump),
                false => Awaited::Told,
            };
        }
        let near = |slot: &Slot| slot.is_unattributed && slot.is_within(death.time(), window);
        match others().any(|(_, slot)| near(slot)) {
            true => Awaited::Perhaps,
            false => Awaited::Nothing,
        }
    }
    /// The stored crash whose dump this death left.
    pub fn told_dump_of(&self, death: &Death, window: SignedDuration) -> Option<CrashId> {
        let inner = self.inner();
        let told = inner.told.iter();
        let fits = told.filter_map(|(id, told)| Some((told.left_by(death, window)?, *id)));
        fits.min().map(|(_, id)| id)
    }
}

impl Slot {
    fn is_within(&self, time: Timestamp, window: SignedDuration) -> bool {
        self.near.written.ended.duration_since(time).abs() <= window
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
