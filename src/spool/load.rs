//! What a start finds: entries, leftovers of a stop, and files that no entry names.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};

use jiff::Timestamp;

use super::claim::held_name;
use super::entry::{Entry, Origin, Phase, Place, VERSION};
use super::{Slot, Spool};
use crate::decide::crash_time;
use crate::model::{CrashId, Mark, Names, Step, escaped};
use crate::sys::{Dir, FileKind, Stat, data_bytes};

/// Largest state file read; one with the facts of a process with hundreds of libraries has some 100 KiB.
const STATE_MAX: u64 = 8 << 20;

const PARTIAL: &str = ".part";

impl Spool {
    /// Reads all entries, removes what a stop left half made, and takes in what no entry names.
    pub(super) fn load(&self) -> io::Result<()> {
        for entry in self.entries.entries()? {
            self.load_one(&entry?.name)?;
        }
        self.forget_joined()?;
        // No step of a dump's way, like all that a start clears away.
        self.remove_stray_journals()?;
        for entry in self.dumps.entries()? {
            let name = entry?.name;
            if let Some(id) = name.to_string_lossy().strip_suffix(PARTIAL) {
                match self.dumps.stat(&name) {
                    // A log that was whole before the entry named it.
                    Ok(stat) if self.names_part(id, &stat) => {
                        self.dumps.rename(&name, &self.dumps, OsStr::new(id))?;
                    }
                    _ => self.dumps.remove_file(&name)?,
                }
            }
        }
        self.adopt(&self.dumps, &Place::Spool)?;
        self.show(&self.inner());
        Ok(())
    }

    /// Whether an entry names the very file that still has the name of a part.
    fn names_part(&self, id: &str, stat: &Stat) -> bool {
        let inner = self.inner();
        let mut files = inner.slots.values().flat_map(|slot| &slot.files);
        files.any(|kept| {
            kept.id.to_string() == id
                && kept.place == Place::Spool
                && kept.file.same_file(&stat.file)
        })
    }

    /// Drops the entries whose files an older entry names: they were joined, and the agent was stopped before they went.
    fn forget_joined(&self) -> io::Result<()> {
        let joined: Vec<CrashId> = {
            let inner = self.inner();
            let slots = inner.slots.iter();
            slots
                .flat_map(|(id, slot)| slot.files.iter().map(move |kept| (*id, kept.id)))
                .filter(|(id, file)| id != file && inner.slots.contains_key(file))
                .map(|(_, file)| file)
                .chain(super::deaths::joined(&inner))
                .collect()
        };
        for id in joined {
            self.remove(Step::ForgetJoined, id)
                .map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn remove_stray_journals(&self) -> io::Result<()> {
        for entry in self.uploads.entries()? {
            let name = entry?.name;
            let id = name.to_str().and_then(|name| name.parse::<CrashId>().ok());
            if !id.is_some_and(|id| self.inner().slots.contains_key(&id)) {
                // No step of a dump's way: its entry is gone.
                self.uploads.remove_file(&name)?;
            }
        }
        Ok(())
    }

    fn load_one(&self, name: &OsStr) -> io::Result<()> {
        let text = name.to_string_lossy();
        if text.starts_with('.') {
            // No step of a dump's way. Staged when the agent was stopped; what it was to replace is still there.
            return self.entries.remove_file(name);
        }
        let Some(id) = text.strip_suffix(".json") else {
            return Ok(());
        };
        match self.read_state(name, id) {
            Ok(entry) => {
                self.inner().slots.insert(entry.id, Slot::of(&entry, false));
                Ok(())
            }
            Err(why) => {
                // Its dump is found as one that no entry names: nothing is lost but what was known of it.
                let mut aside = name.to_owned();
                aside.push(".unreadable");
                tracing::error!(state = %escaped(name), why, "a state file cannot be read and is put aside; its dump is taken in anew");
                self.entries.rename_over(name, &self.entries, &aside)
            }
        }
    }

    pub(super) fn read_state(&self, name: &OsStr, id: &str) -> Result<Entry, String> {
        let mut json = Vec::new();
        let file = self
            .entries
            .open_file(name)
            .map_err(|error| error.to_string())?;
        file.take(STATE_MAX)
            .read_to_end(&mut json)
            .map_err(|error| error.to_string())?;
        let entry: Entry = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        if entry.version != VERSION {
            return Err(format!("version {} is not {VERSION}", entry.version));
        }
        if entry.id.to_string() != id {
            return Err(format!("it is about {}", entry.id));
        }
        Ok(entry)
    }

    /// Makes an entry of each file in `dir` that no entry names. Never under the id it is named by: anyone may have chosen that.
    pub(super) fn adopt(&self, dir: &Dir, place: &Place) -> io::Result<()> {
        for found in dir.entries()? {
            let name = found?.name;
            if self.names_file(&name, place) {
                continue;
            }
            let Ok(stat) = dir.stat(&name) else { continue };
            if stat.kind != FileKind::File || stat.links != 1 || self.knows_file(stat.file) {
                tracing::warn!(name = %escaped(&name), "left alone among held dumps: it is no file of ours");
                continue;
            }
            // One that cannot be taken in now (a full disk) must not keep the others, or the agent, from working.
            if let Err(error) = self.adopt_one(dir, place, &name, &stat) {
                tracing::error!(name = %escaped(&name), %error, "a held dump without a record cannot be taken in now; the next start tries again");
            }
        }
        Ok(())
    }

    /// Whether an entry names this file. In the spool that is so by its id alone: beside the dump itself it is the copy of one that is still
    /// known by its original, which [`Spool::copy_in`] goes on with. As a new dump it would be stored twice.
    fn names_file(&self, name: &OsStr, place: &Place) -> bool {
        let Some(id) = name.to_str().and_then(|name| name.parse::<CrashId>().ok()) else {
            return false;
        };
        let inner = self.inner();
        let mut files = inner.slots.values().flat_map(|slot| &slot.files);
        files.any(|kept| kept.id == id && (*place == Place::Spool || kept.place == *place))
    }

    fn adopt_one(&self, dir: &Dir, place: &Place, name: &OsStr, stat: &Stat) -> io::Result<()> {
        let now = Timestamp::now();
        let (time, time_source) = crash_time(stat.changed, now);
        let entry = Entry {
            version: VERSION,
            id: CrashId::new(time, fastrand::u128(..)),
            time,
            time_source,
            origin: Some(Origin {
                source: match place {
                    Place::Holding(root) => root.clone(),
                    _ => self.config.state_dir.as_path().into(),
                },
                levels: Vec::new(),
                name: name.into(),
                names: Names::default(),
                uid: stat.uid,
                data_bytes: data_bytes(&dir.open_file(name)?, stat.size),
                began: stat.began(),
                ended: stat.changed,
                seen: now,
                settled: now,
                marks: vec![Mark::FoundWithoutRecord],
            }),
            death: None,
            told: None,
            capture: None,
            phase: Phase::Held {
                file: stat.file,
                place: place.clone(),
            },
            attempts: 0,
            not_before: None,
        };
        // No step of its way: it has none yet. Renamed first: stopped in between, it is again a file that no entry names.
        dir.rename(name, dir, &held_name(entry.id, place))?;
        dir.sync()?;
        self.save(Step::NoteHeld, &entry)
            .map_err(io::Error::other)?;
        self.check_in(entry.id);
        tracing::warn!(crash = %entry.id, name = %escaped(name), bytes = stat.size, "a held dump without a record is taken in as a new one");
        Ok(())
    }

    pub(super) fn partial_name(id: CrashId) -> OsString {
        format!("{id}{PARTIAL}").into()
    }
}
