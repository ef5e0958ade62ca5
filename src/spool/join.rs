//! Bringing together what one death left: an entry that was looked into waits for the files that belong to it, and joins theirs or takes them in.
//!
//! The older entry takes in the younger: it keeps its id, names the younger one's files in its own state first, and only then the younger entry goes. Stopped in
//! between, the next start sees from the older one that the younger was joined. What is waited for is bounded: whatever a tenant leaves in the directory, a crash
//! is shipped a little later and no more.

use std::ffi::OsStr;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::entry::{Entry, Phase, Piece};
use super::steps::open_levels;
use super::{Error, Slot, Spool, Stage, state_file};
use crate::decide::{KIN_GAP, Written, dump_of_report, may_have_kin};
use crate::model::{CrashId, Step};
use crate::sys::{Dir, FileKind, Stat};

/// Until then the files of a death are found by whoever waits; a kernel core of a large process takes its time.
const WINDOW: SignedDuration = SignedDuration::from_secs(30);

/// A report waits so long for the dump that is being written beside it: 100 GB to a slow disk.
const LONG_WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// When to look again for what may be about to come, at least and at most: two entries that find each other busy must not meet again.
const LOOK_AGAIN: std::ops::Range<i64> = 100..300;

/// Most files of one crash: a dump, one by the kernel, one written twice, the reports.
const MOST_PIECES: usize = 8;

/// Most names of a source that are looked at; beyond it what is looked for counts as not there.
const MOST_NAMES: usize = 4_096;

/// Whether all that a death left is together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinship {
    /// It is, as far as it will be waited for.
    Settled,
    /// Something may still come: look again then.
    Wait(Timestamp),
    /// The entry's files went to that older one, and the entry is gone.
    JoinedTo(CrashId),
}

/// What was found beside an entry.
enum Beside {
    /// An entry of the same death, now ours to work on.
    Kin(CrashId),
    /// One that somebody works on or that was not looked into yet.
    Perhaps,
    Nothing,
}

impl Spool {
    /// Whether an entry with these pieces must wait at all: for what belongs to it, or because another waits that it may belong to.
    pub fn has_kin_to_wait_for(&self, entry: &Entry, own: &Piece) -> bool {
        if may_have_kin(&own.facts) {
            return true;
        }
        let inner = self.inner();
        let mut slots = inner.slots.iter();
        slots.any(|(id, slot)| {
            *id != entry.id && is_near(slot, own) && matches!(slot.near.stage, Stage::Waiting(_))
        })
    }

    /// Joins a waiting entry with those of the same death, as far as they are there.
    ///
    /// # Errors
    /// A state cannot be written now; nothing is lost by asking again.
    pub fn join_kin(&self, entry: &mut Entry, now: Timestamp) -> Result<Kinship, Error> {
        loop {
            let Phase::Waiting { pieces } = &entry.phase else {
                return Ok(Kinship::Settled);
            };
            let Some(own) = pieces.iter().find(|piece| !piece.is_log()).cloned() else {
                return Ok(Kinship::Settled);
            };
            let room = pieces.len() < MOST_PIECES;
            match self.beside(entry, &own, room) {
                Beside::Kin(other) if other < entry.id => return self.hand_over(entry, other, now),
                Beside::Kin(other) => self.take_in(entry, other)?,
                Beside::Perhaps if is_before(now, own.origin.ended, WINDOW) => {
                    return Ok(Kinship::Wait(later(now)));
                }
                Beside::Perhaps | Beside::Nothing => return Ok(self.wait_for_source(&own, now)),
            }
        }
    }

    /// Looks for an entry of the same death, and makes it ours if nobody else works on it.
    fn beside(&self, entry: &Entry, own: &Piece, room: bool) -> Beside {
        let kinship = own.kin();
        let mut perhaps = false;
        let mut inner = self.inner();
        for (id, slot) in &mut inner.slots {
            if *id == entry.id || !is_near(slot, own) {
                continue;
            }
            match &slot.near.stage {
                Stage::Decided => {}
                Stage::Unknown => perhaps = true,
                Stage::Waiting(kin) if !room || !kinship.is_of_one_death(kin) => {}
                Stage::Waiting(_) if slot.busy => perhaps = true,
                Stage::Waiting(_) => {
                    slot.busy = true;
                    return Beside::Kin(*id);
                }
            }
        }
        if perhaps {
            Beside::Perhaps
        } else {
            Beside::Nothing
        }
    }

    /// Adds the entry's files to the older one, which is ours for that long.
    fn hand_over(
        &self,
        entry: &mut Entry,
        older: CrashId,
        now: Timestamp,
    ) -> Result<Kinship, Error> {
        let joined = match self.read_waiting(older) {
            Some(mut older) => self.join(&mut older, entry).map(|()| true),
            // Its state cannot be read now: it says so itself when it is worked on.
            None => Ok(false),
        };
        self.check_in(older);
        Ok(match joined? {
            true => Kinship::JoinedTo(older),
            false => Kinship::Wait(later(now)),
        })
    }

    fn take_in(&self, entry: &mut Entry, younger: CrashId) -> Result<(), Error> {
        let taken = match self.read_waiting(younger) {
            Some(younger) => self.join(entry, &younger),
            None => Ok(()),
        };
        self.check_in(younger);
        taken
    }

    fn read_waiting(&self, id: CrashId) -> Option<Entry> {
        let entry = self.read_state(&state_file(id), &id.to_string()).ok()?;
        matches!(entry.phase, Phase::Waiting { .. }).then_some(entry)
    }

    pub(super) fn join(&self, older: &mut Entry, younger: &Entry) -> Result<(), Error> {
        let (Phase::Waiting { pieces }, Phase::Waiting { pieces: more }) =
            (&mut older.phase, &younger.phase)
        else {
            return Ok(());
        };
        let before = pieces.len();
        let death = older.death.clone();
        // Where only the removal failed the last time, they are here already.
        for piece in more {
            if !pieces.iter().any(|known| known.kept.id == piece.kept.id) {
                pieces.push(piece.clone());
            }
        }
        older.death = death.clone().or_else(|| younger.death.clone());
        // What was waited for is here; what else comes is looked for at once.
        older.not_before = None;
        if let Err(error) = self.save(Step::Join, older) {
            if let Phase::Waiting { pieces } = &mut older.phase {
                pieces.truncate(before);
            }
            older.death = death;
            return Err(error);
        }
        self.remove(Step::ForgetJoined, younger.id)?;
        tracing::info!(crash = %older.id, joined = %younger.id, "two files of one crash");
        Ok(())
    }

    /// With nothing more among the entries: whether the source may still bring something.
    fn wait_for_source(&self, own: &Piece, now: Timestamp) -> Kinship {
        let ended = own.origin.ended;
        if may_have_kin(&own.facts) && is_before(now, ended, KIN_GAP) {
            return Kinship::Wait(ended.saturating_add(KIN_GAP).unwrap_or(now));
        }
        let window = match self.arriving(own) {
            Arriving::Named => LONG_WINDOW,
            Arriving::Near if may_have_kin(&own.facts) => WINDOW,
            Arriving::Near | Arriving::Nothing => return Kinship::Settled,
        };
        match is_before(now, ended, window) {
            true => Kinship::Wait(later(now)),
            false => Kinship::Settled,
        }
    }

    /// Whether a file of the same death may be about to be claimed where this one was. What cannot be looked at is not waited for.
    fn arriving(&self, own: &Piece) -> Arriving {
        let root = Path::new(own.origin.source.as_os_str());
        let Ok(dir) = open_levels(root, &own.origin.levels) else {
            return Arriving::Nothing;
        };
        let near = |stat: &Stat| {
            stat.kind == FileKind::File && stat.links == 1 && {
                let written = Written {
                    began: stat.began(),
                    ended: stat.changed,
                };
                written.gap(&own.origin.written()) <= KIN_GAP
            }
        };
        let is_near = |name: &OsStr| dir.stat(name).is_ok_and(|stat| near(&stat));
        if dump_of_report(own.origin.name.as_os_str()).is_some_and(is_near) {
            return Arriving::Named;
        }
        match any_near(&dir, near) {
            true => Arriving::Near,
            false => Arriving::Nothing,
        }
    }
}

/// What a source holds beside a claimed file.
enum Arriving {
    /// The very file that it announces.
    Named,
    /// A file of its time.
    Near,
    Nothing,
}

fn any_near(dir: &Dir, near: impl Fn(&Stat) -> bool) -> bool {
    let Ok(names) = dir.entries() else {
        return false;
    };
    let mut names = names.take(MOST_NAMES).flatten();
    names.any(|entry| {
        // One of ours waits to be copied: it is an entry.
        !entry.name.as_encoded_bytes().starts_with(b".salvage")
            && dir.stat(&entry.name).is_ok_and(|stat| near(&stat))
    })
}

fn is_near(slot: &Slot, own: &Piece) -> bool {
    slot.near.directory == own.origin.directory()
        && slot.near.written.gap(&own.origin.written()) <= KIN_GAP
}

/// Whether `now` is within `window` of `ended`. A time ahead of the clock is none to wait for.
fn is_before(now: Timestamp, ended: Timestamp, window: SignedDuration) -> bool {
    let since = now.duration_since(ended);
    since < window && since > -window
}

pub(super) fn later(now: Timestamp) -> Timestamp {
    let wait = SignedDuration::from_millis(fastrand::i64(LOOK_AGAIN));
    now.saturating_add(wait).unwrap_or(now)
}
