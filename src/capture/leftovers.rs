//! What a dump may leave in a container if the agent is killed at the wrong moment: a FIFO or a file with a name of ours.
//!
//! `<state_dir>/captures/<id>.json` says where, durable before it is made, and goes when that is gone; `<state_dir>/captures/identity` is beside them. The next start removes what they name, if the process is
//! still the same.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use crate::dotnet::{Leftover, remove_leftover};
use crate::model::{CrashId, escaped};
use crate::sys::{Dir, write_durably};

const DIRECTORY: &str = "captures";

/// The file that has the identity of the state directory.
const IDENTITY: &str = "identity";

/// Largest record that is read.
const FILE_MAX: u64 = 64 << 10;

/// Most records that are looked at: there are as many as captures were under way.
const RECORDS_MAX: usize = 64;

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    leftover: Leftover,
}

/// The records.
#[derive(Debug)]
pub(super) struct Leftovers(Dir);

impl Leftovers {
    /// Opens the directory of records, and makes it first.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        let state = Dir::open(&state_dir.canonicalize()?)?;
        match state.create_dir(DIRECTORY.as_ref()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        Ok(Self(state.open_dir(DIRECTORY.as_ref())?))
    }

    /// What tells this state directory from every other: drawn once, and kept in it.
    pub(super) fn identity(&self) -> io::Result<String> {
        let name = std::ffi::OsStr::new(IDENTITY);
        let known = self.0.open_file(name).and_then(|file| {
            let mut text = String::new();
            file.take(FILE_MAX).read_to_string(&mut text)?;
            Ok(text)
        });
        let is_one =
            |text: &String| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match known {
            Ok(text) if is_one(&text) => Ok(text),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => {
                let drawn = format!("{:016x}", fastrand::u64(..));
                write_durably(&self.0, name, drawn.as_bytes())?;
                Ok(drawn)
            }
        }
    }

    /// Notes what is about to be made. Until this has returned nothing of it is there.
    pub(super) fn note(&self, id: CrashId, leftover: &Leftover) -> io::Result<()> {
        let record = Record {
            version: VERSION,
            leftover: leftover.clone(),
        };
        let json = serde_json::to_vec(&record).map_err(io::Error::other)?;
        write_durably(&self.0, &name(id), &json)
    }

    /// Nothing of it is there any more.
    pub(super) fn forget(&self, id: CrashId) {
        // One that stays leads the next start to something that is not there.
        let _ = self.0.remove_file(&name(id));
    }

    /// Removes what an earlier start has left, each on a thread of its own: a process that is still held is let go at once, and that may take its time.
    pub(super) fn remove_all(&self, proc: &Path) -> io::Result<Vec<JoinHandle<()>>> {
        let mut all = Vec::new();
        for name in self.names()? {
            let name = name?;
            let (own, proc) = (Self(self.0.reopen()?), proc.to_owned());
            let removing = std::thread::Builder::new().name("leftover".to_owned());
            all.push(removing.spawn(move || own.remove(&proc, &name))?);
        }
        Ok(all)
    }

    /// Whether there is a record.
    pub(super) fn has_any(&self) -> io::Result<bool> {
        Ok(self.names()?.next().is_some())
    }

    fn names(&self) -> io::Result<impl Iterator<Item = io::Result<OsString>>> {
        let entries = self.0.entries()?.take(RECORDS_MAX);
        let names = entries.into_iter().map(|entry| Ok(entry?.name));
        let is_record = |name: &io::Result<OsString>| !matches!(name, Ok(name) if name == IDENTITY);
        Ok(names.filter(is_record))
    }

    fn remove(&self, proc: &Path, name: &std::ffi::OsStr) {
        let removed = self.read(name).and_then(|record| match record {
            Some(record) => remove_leftover(proc, &record.leftover),
            None => Ok(()),
        });
        match removed {
            Ok(()) => {
                let _ = self.0.remove_file(name);
            }
            Err(error) => {
                tracing::warn!(record = %escaped(name), %error, "what a capture left in a container cannot be removed now; the next start tries again");
            }
        }
    }

    /// Reads a record; nothing of one that a stop has torn or that is none.
    fn read(&self, name: &std::ffi::OsStr) -> io::Result<Option<Record>> {
        let mut json = Vec::new();
        let file = self.0.open_file(name)?;
        file.take(FILE_MAX).read_to_end(&mut json)?;
        let record = serde_json::from_slice::<Record>(&json).ok();
        Ok(record.filter(|record| record.version == VERSION))
    }
}

fn name(id: CrashId) -> OsString {
    format!("{id}.json").into()
}
