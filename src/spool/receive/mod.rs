//! Taking in what is not there yet: the bytes of a capture, as they come.
//!
//! They go to a file with a name that means nothing, which the next start removes. Whole and durable it is named by an entry first and gets its name then, as
//! a log does. What it is expected to take is reserved at once, so that two at the same time are not promised the same room; what it takes beyond
//! that is asked for bit by bit. The source of the bytes may stand still as long as they are not taken: this never waits for anything but the disk.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use jiff::Timestamp;

use super::entry::{Captured, Entry, Origin, Phase, Place, VERSION};
use super::{Error, Inner, Spool, holding_of, is_full};
use crate::decide::{Demand, Refusal, Room, admit};
use crate::model::{CrashId, FileId, Names, Step, TimeSource};
use crate::sys::{Stat, step};

/// Room is asked for in pieces of this many bytes.
const STRIDE: u64 = 16 << 20;

/// Why no more is taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// A limit of the spool is reached.
    #[error("{refusal} is reached: {wanted} bytes do not fit beside what is held")]
    NoRoom {
        /// The limit.
        refusal: Refusal,
        /// What would be held of this one.
        wanted: u64,
    },
    /// The disk refused.
    #[error("the spool cannot be written")]
    Io(#[source] io::Error),
    /// The state cannot be kept.
    #[error("the state cannot be kept")]
    State(#[source] Error),
}

/// What a capture under way is promised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    /// Bytes in all.
    pub(super) bytes: u64,
    /// Those of them that were written when it was last asked.
    written: u64,
}

/// A capture that is being taken in. Dropped before its end, it leaves nothing.
#[derive(Debug)]
pub struct Receiving {
    spool: Arc<Spool>,
    id: CrashId,
    file: File,
    written: u64,
    reserved: u64,
}

/// What a capture is, once all of it is here.
#[derive(Clone, Debug)]
pub struct Received {
    /// Who it is of, and how it was taken.
    pub captured: Captured,
    /// The name that a file of it would have had.
    pub name: String,
    /// User of the process.
    pub uid: u32,
}

impl Spool {
    /// Begins to take in a capture that is expected to have so many bytes. Its id is drawn by whoever asks.
    ///
    /// # Errors
    /// There is no room for so much, or the disk refuses.
    pub fn receive(
        self: &Arc<Self>,
        id: CrashId,
        expected: u64,
    ) -> Result<Receiving, ReceiveError> {
        self.reserve_received(id, 0, expected)?;
        let name = Self::partial_name(id);
        // No step of a dump's way: the name means nothing yet. Another of this id can only be left by an attempt that ended.
        let _ = self.dumps.remove_file(&name);
        match self.dumps.create_file(&name) {
            Ok(file) => Ok(Receiving {
                spool: Arc::clone(self),
                id,
                file,
                written: 0,
                reserved: expected,
            }),
            Err(error) => {
                self.inner().receiving.remove(&id);
                Err(ReceiveError::Io(error))
            }
        }
    }

    /// The room that may be promised to one more capture, in bytes.
    pub fn room_to_receive(&self) -> u64 {
        let Ok(room) = self.room() else { return 0 };
        let promised = promised(&self.inner(), None);
        let free = Room {
            bytes: room.bytes.saturating_sub(promised),
            ..room
        };
        crate::decide::left(self.config.limits, self.holding(), free)
    }

    /// Whether an entry with this id is held.
    pub fn holds(&self, id: CrashId) -> bool {
        self.inner().slots.contains_key(&id)
    }

    /// How often shipping this entry has failed so far, if it is held.
    pub fn attempts(&self, id: CrashId) -> Option<u32> {
        self.inner().slots.get(&id).map(|slot| slot.attempts)
    }

    fn forget_received(&self, id: CrashId) {
        if let Err(error) = self.remove(Step::RemoveEntry, id) {
            tracing::warn!(capture = %id, %error, "the state of a capture that failed could not be removed");
        }
    }

    /// Promises a capture so many bytes in all, of which it has written some: neither is promised to another.
    fn reserve_received(&self, id: CrashId, written: u64, bytes: u64) -> Result<(), ReceiveError> {
        let room = self.room().map_err(ReceiveError::Io)?;
        let mut inner = self.inner();
        let mut others = holding_of(&inner);
        let own = inner.receiving.get(&id).map_or(0, |own| own.bytes);
        others.bytes = others.bytes.saturating_sub(own);
        let promised = promised(&inner, Some(id));
        // What is written already has its room on the disk, but counts as use.
        let use_of = Demand {
            bytes,
            copied: false,
        };
        let grows = Demand {
            bytes: bytes.saturating_sub(written),
            copied: true,
        };
        let limits = self.config.limits;
        let free = Room {
            bytes: room.bytes.saturating_sub(promised),
            ..room
        };
        let refused = |refusal| ReceiveError::NoRoom {
            refusal,
            wanted: bytes,
        };
        admit(limits, others, room, use_of).map_err(refused)?;
        admit(limits, others, free, grows).map_err(refused)?;
        inner.receiving.insert(id, Promise { bytes, written });
        Ok(())
    }
}

/// Bytes that captures under way are promised and have not written yet, without one of them.
fn promised(inner: &Inner, without: Option<CrashId>) -> u64 {
    let others = inner.receiving.iter();
    let others = others.filter(|(id, _)| Some(**id) != without);
    let open = others.map(|(_, promise)| promise.bytes.saturating_sub(promise.written));
    open.fold(0, u64::saturating_add)
}

impl Receiving {
    /// The id that it will have.
    pub fn id(&self) -> CrashId {
        self.id
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// There is no more room, or the disk refuses. What was written stays until this is dropped.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ReceiveError> {
        let after = self
            .written
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if after > self.reserved {
            let wanted = after.saturating_add(STRIDE);
            self.spool.reserve_received(self.id, self.written, wanted)?;
            self.reserved = wanted;
        } else if self.written / STRIDE != after / STRIDE {
            // Others fill the disk as well.
            self.spool
                .reserve_received(self.id, self.written, self.reserved)?;
        }
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.written = after;
                Ok(())
            }
            Err(error) if is_full(&error) => Err(ReceiveError::NoRoom {
                refusal: Refusal::KeepFree,
                wanted: after,
            }),
            Err(error) => Err(ReceiveError::Io(error)),
        }
    }

    /// Makes an entry of what was written, durable when this returns.
    ///
    /// # Errors
    /// The disk refuses; nothing is left then.
    pub fn finish(self, received: Received) -> Result<CrashId, ReceiveError> {
        self.file.sync_all().map_err(ReceiveError::Io)?;
        let file = Stat::of(&self.file).map_err(ReceiveError::Io)?.file;
        let (id, spool) = (self.id, Arc::clone(&self.spool));
        let entry = self.entry(file, received);
        if let Err(error) = spool.save(Step::NoteCapture, &entry) {
            // It may have been written all the same, and would name a file that is not there.
            spool.forget_received(id);
            return Err(ReceiveError::State(error));
        }
        let named = step(Step::NameCapture, || {
            let whole = super::claim::held_name(id, &Place::Spool);
            spool
                .dumps
                .rename(&Spool::partial_name(id), &spool.dumps, &whole)?;
            spool.dumps.sync()
        });
        if let Err(error) = named {
            // The entry names a file that is not there: it must not be taken for one that was lost. And one that is there, for a dump without a record.
            spool.forget_received(id);
            // No step of a dump's way: one is undone.
            let whole = super::claim::held_name(id, &Place::Spool);
            let _ = spool.dumps.remove_file(&whole);
            return Err(ReceiveError::Io(error));
        }
        drop(self);
        spool.check_in(id);
        Ok(id)
    }

    fn entry(&self, file: FileId, received: Received) -> Entry {
        let Received {
            captured,
            name,
            uid,
        } = received;
        let (began, now) = (captured.taken.started, Timestamp::now());
        Entry {
            version: VERSION,
            id: self.id,
            time: self.id.time(),
            time_source: TimeSource::CaptureTaken,
            origin: Some(Origin {
                source: self.spool.config.state_dir.as_path().into(),
                levels: Vec::new(),
                name: std::ffi::OsStr::new(&name).into(),
                names: Names::default(),
                uid,
                data_bytes: self.written,
                began,
                ended: now,
                seen: began,
                settled: now,
                marks: Vec::new(),
            }),
            death: None,
            told: None,
            capture: Some(Box::new(captured)),
            phase: Phase::Held {
                file,
                place: Place::Spool,
            },
            attempts: 0,
            not_before: None,
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        // No step of a dump's way: it means nothing, or has another name by now.
        let _ = self.spool.dumps.remove_file(&Spool::partial_name(self.id));
        self.spool.inner().receiving.remove(&self.id);
    }
}
