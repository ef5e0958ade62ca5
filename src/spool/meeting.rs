//! Dumps meet the deaths that left them, whichever is here first.
//!
//! The dump's entry has both in the end: it names the death and its log first, and only then the death's own entry goes. Where one of them is stored already,
//! the other goes on as a revision of that. Of several that would do, the one that fits best is taken.

use jiff::{SignedDuration, Timestamp};

use super::deaths::is_one;
use super::entry::{Entry, Phase};
use super::join::later;
use super::{Error, Slot, Spool, state_file};
use crate::decide::{Dumped, Fit};
use crate::model::{CrashId, Death, Step};

/// What a death may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// This entry is of the dump that it left.
    Dump(CrashId),
    /// Its dump is about to be told as a crash without an end.
    Told,
    /// A dump of that time of which nobody knows yet whose it is, or that may be the next start's.
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

impl Spool {
    /// Lets those look again that may have waited for this death.
    pub(super) fn wake_for(&self, entry: &Entry) {
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
    pub fn dump_of(
        &self,
        id: CrashId,
        death: &Death,
        window: SignedDuration,
        now: Timestamp,
    ) -> Awaited {
        let inner = self.inner();
        let others = || inner.slots.iter().filter(|(other, _)| **other != id);
        let fits = others().filter_map(|(other, slot)| {
            let dumped = slot.dumped.as_deref().filter(|_| slot.death.is_none())?;
            let fit = dumped.fits(death, window)?;
            // The first process's goes before others.
            let is_its = dumped.is_of(fit, window, now);
            Some((!dumped.may_be_first(), fit, *other, slot.is_open, is_its))
        });
        if let Some((_, _, dump, is_open, is_its)) = fits.min() {
            return match (is_open, is_its) {
                (true, true) => Awaited::Dump(dump),
                (true, false) => Awaited::Perhaps,
                (false, _) => Awaited::Told,
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
