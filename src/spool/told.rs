//! Crashes that are stored, as far as something more may be learnt of them: a death whose dump was there first, a dump that comes late, a pod that the API
//! server names when it is back.
//!
//! `<state_dir>/told/<id>.json` holds each for [`KEPT`], [`MOST`] at the most. Forgetting one loses nothing that is stored: what is learnt then is a crash of
//! its own, or not told.

use std::io::{self, Read};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::deaths::slim;
use super::entry::{DumpSays, Entry, Phase, Piece};
use super::join::later;
use super::meeting::Met;
use super::{Error, Spool, state_file};
use crate::decide::{Dumped, Fit};
use crate::model::{CrashId, Death, Kind, Manifest, ObjectKey, Role, Step};
use crate::sys::write_durably;

/// How long a stored crash may learn something more: as long as pods outlive their deletion.
const KEPT: SignedDuration = SignedDuration::from_hours(6);

/// Most that are remembered: each costs a few kilobytes of disk and some hundred bytes of memory.
const MOST: usize = 2_048;

/// Largest file read.
const FILE_MAX: u64 = 8 << 20;

const VERSION: u32 = 1;

/// A stored crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    version: u32,
    /// Its manifest as it was stored last.
    pub manifest: Manifest,
    /// Where that is. A revision goes to the same key, whatever it says.
    pub key: ObjectKey,
    /// What its dump said, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump: Option<DumpSays>,
    /// The container's end, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub death: Option<Death>,
    /// When it was stored.
    pub at: Timestamp,
}

impl Told {
    /// A crash that was stored at `at`.
    pub fn new(
        manifest: Manifest,
        key: ObjectKey,
        dump: Option<DumpSays>,
        death: Option<Death>,
        at: Timestamp,
    ) -> Self {
        Self {
            version: VERSION,
            manifest,
            key,
            dump,
            death,
            at,
        }
    }

    fn summary(&self) -> Summary {
        let pod = self.manifest.pod.clone().unwrap_or_default();
        let container = self.manifest.container.clone().unwrap_or_default();
        let has_dump = self
            .manifest
            .artifacts
            .iter()
            .any(|artifact| artifact.role == Role::Dump);
        Summary {
            dumped: self
                .dump
                .as_ref()
                .and_then(|dump| dump.dumped(&pod, &container))
                .map(Box::new),
            death: self.death.as_ref().map(|death| Box::new(slim(death))),
            has_dump,
            // A pod has an owner at least by its own name; without one the index has never said who it is.
            lacks_pod: pod.owner.is_none() && self.manifest.kind != Kind::Capture,
            at: self.at,
        }
    }
}

/// What is kept in memory of one.
#[derive(Debug)]
pub(super) struct Summary {
    dumped: Option<Box<Dumped>>,
    death: Option<Box<Death>>,
    has_dump: bool,
    lacks_pod: bool,
    at: Timestamp,
}

impl Summary {
    pub(super) fn death(&self) -> Option<&Death> {
        self.death.as_deref()
    }

    /// How well its death fits that dump, if it has none yet.
    pub(super) fn awaits(&self, dumped: &Dumped, window: SignedDuration) -> Option<Fit> {
        let death = self.death.as_deref().filter(|_| !self.has_dump)?;
        dumped.fits(death, window)
    }

    /// How well that death fits its dump, if it has no death yet.
    pub(super) fn left_by(&self, death: &Death, window: SignedDuration) -> Option<Fit> {
        let dumped = self.dumped.as_deref().filter(|_| self.death.is_none())?;
        dumped.fits(death, window)
    }
}

impl Spool {
    /// Remembers a stored crash.
    pub(super) fn tell(&self, told: &Told) -> io::Result<()> {
        let id = told.manifest.id;
        let json = serde_json::to_vec(told).map_err(io::Error::other)?;
        // Within a step.
        write_durably(&self.told, &state_file(id), &json)?;
        self.inner().told.insert(id, told.summary());
        self.forget_told(told.at);
        Ok(())
    }

    /// Reads all that is remembered.
    pub(super) fn load_told(&self) -> io::Result<()> {
        for entry in self.told.entries()? {
            let name = entry?.name;
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            let id = id.and_then(|id| id.parse::<CrashId>().ok());
            match id.and_then(|id| Some((id, self.read_told(id)?))) {
                Some((id, told)) => {
                    self.inner().told.insert(id, told.summary());
                }
                // No step of a dump's way. Staged when the agent was stopped, or unreadable: nothing that is stored hangs on it.
                None => self.told.remove_file(&name)?,
            }
        }
        self.forget_told(Timestamp::now());
        Ok(())
    }

    /// A stored crash, if it is remembered.
    pub fn read_told(&self, id: CrashId) -> Option<Told> {
        let file = self.told.open_file(&state_file(id)).ok()?;
        let mut json = Vec::new();
        file.take(FILE_MAX).read_to_end(&mut json).ok()?;
        let told: Told = serde_json::from_slice(&json).ok()?;
        (told.version == VERSION && told.manifest.id == id).then_some(told)
    }

    fn forget_told(&self, now: Timestamp) {
        let mut inner = self.inner();
        let old = |at: Timestamp| now.duration_since(at) > KEPT;
        let mut gone: Vec<CrashId> = inner
            .told
            .iter()
            .filter(|(_, told)| old(told.at))
            .map(|(id, _)| *id)
            .collect();
        // The oldest crash first; ids sort by time.
        let left = inner.told.len() - gone.len();
        let more = left.saturating_sub(MOST);
        let young = inner.told.iter().filter(|(_, told)| !old(told.at));
        gone.extend(young.map(|(id, _)| *id).take(more).collect::<Vec<_>>());
        for id in &gone {
            inner.told.remove(id);
        }
        drop(inner);
        for id in gone {
            // No step of a dump's way: one that stays is forgotten by the next start.
            let _ = self.told.remove_file(&state_file(id));
        }
    }

    /// Stored crashes of which no pod index has said whose they are.
    pub fn told_without_pod(&self) -> Vec<CrashId> {
        let inner = self.inner();
        let lacking = inner.told.iter().filter(|(_, told)| told.lacks_pod);
        lacking.map(|(id, _)| *id).collect()
    }

    /// Goes on with an entry as a revision of the stored crash `id`: the entry's files and its death are that crash's.
    ///
    /// # Errors
    /// A state cannot be written now; nothing is lost by asking again.
    pub fn reopen(&self, entry: &Entry, id: CrashId, now: Timestamp) -> Result<Met, Error> {
        let (Phase::Waiting { pieces }, false) = (&entry.phase, self.is_held(id)) else {
            return Ok(Met::Wait(later(now)));
        };
        let Some(mut revision) = self.revision_of(id, pieces.clone()) else {
            self.inner().told.remove(&id);
            return Ok(Met::None);
        };
        revision.origin.clone_from(&entry.origin);
        revision.death.clone_from(&entry.death);
        self.save(Step::Join, &revision)?;
        // Whether the other one goes or not, this one goes on: at the next start it would be seen that the other was joined.
        self.check_in(id);
        self.remove(Step::ForgetJoined, entry.id)?;
        tracing::info!(crash = %id, joined = %entry.id, "a stored crash learns more and gets a revision");
        Ok(Met::Reopened)
    }

    /// Makes an entry that says a stored crash once more, with what the pod index says now.
    ///
    /// # Errors
    /// The state cannot be written now.
    pub fn revise(&self, id: CrashId) -> Result<(), Error> {
        if self.is_held(id) {
            return Ok(());
        }
        if let Some(revision) = self.revision_of(id, Vec::new()) {
            self.save(Step::Join, &revision)?;
            self.check_in(id);
        }
        Ok(())
    }

    fn revision_of(&self, id: CrashId, pieces: Vec<Piece>) -> Option<Entry> {
        let told = self.read_told(id)?;
        Some(Entry {
            version: super::entry::VERSION,
            id,
            time: told.manifest.time,
            time_source: told.manifest.time_source,
            origin: None,
            death: None,
            told: Some(Box::new(told)),
            capture: None,
            phase: Phase::Waiting { pieces },
            attempts: 0,
            not_before: None,
        })
    }

    /// Drops an entry that would have said nothing new.
    ///
    /// # Errors
    /// The state cannot be removed now.
    pub fn forget(&self, entry: &Entry) -> io::Result<()> {
        self.remove(Step::RemoveEntry, entry.id)
            .map_err(io::Error::other)
    }

    fn is_held(&self, id: CrashId) -> bool {
        self.inner().slots.contains_key(&id)
    }
}
