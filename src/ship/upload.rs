//! Puts an object together from frames and sends it in parts, with a bounded number of them in memory.
//!
//! The journal learns of a part once the store has it. Where it cannot be written, the upload goes on: only a stop then costs what was sent since.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc, checksum_combine};
use md5::{Digest as _, Md5};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use zeekstd::seek_table::SeekTable;

use super::FRAME_BYTES;
use super::confirm::{Object, complete, confirm, put_own};
use super::resume::{Cut, Record, Resumed, SentPart, Whole};
use crate::model::{ObjectKey, Step, Upload};
use crate::spool::{Position, Sent};
use crate::store::{self, Expected, Md5s, Operation, Part, Problem, Store};
use crate::sys::{Journal, RunningSha256, step, step_of};

/// The memory for parts, shared by all uploads.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Semaphore>);

/// Memory is counted in these, since a semaphore counts to 2^32 only where the machine does.
const UNIT: u64 = 64 << 10;

/// How long giving up an upload may take before it is left to the next attempt.
const ABORT_PATIENCE: Duration = Duration::from_secs(10);

impl Memory {
    pub(super) fn new(bytes: u64) -> Self {
        Self(Arc::new(Semaphore::new(
            usize::try_from(bytes / UNIT).unwrap_or(Semaphore::MAX_PERMITS),
        )))
    }

    /// Waits for room for one part. A part being filled needs no second one to be finished, so this always ends.
    async fn part(&self, bytes: u64) -> OwnedSemaphorePermit {
        Arc::clone(&self.0)
            .acquire_many_owned(units(bytes))
            .await
            .expect("the memory for parts is never closed")
    }

    /// Room for one more part, if there is any now.
    fn part_now(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0)
            .try_acquire_many_owned(units(bytes))
            .ok()
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// Where an object goes and how it is cut.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) store: Arc<dyn Store>,
    pub(super) memory: Memory,
    pub(super) key: ObjectKey,
    pub(super) part_bytes: u64,
}

/// The journal of an upload, as several tasks write it; nothing once it could not be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Arc<Mutex<Option<Journal>>>);

impl Log {
    pub(super) fn new(journal: Journal) -> Self {
        Self(Arc::new(Mutex::new(Some(journal))))
    }

    async fn add(&self, as_step: Step, record: Record) {
        let journal = Arc::clone(&self.0);
        // A panic or a runtime that ends costs a record, which is sent again.
        let _ = tokio::task::spawn_blocking(move || {
            let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(open) = journal.as_mut() else { return };
            if let Err(error) = step(as_step, || open.append(&record)) {
                tracing::warn!(%error, "the journal of an upload cannot be written; a stop now costs what is sent from here on");
                *journal = None;
            }
        })
        .await;
    }
}

/// An object in the making.
pub(super) struct ObjectWriter {
    target: Target,
    filling: Vec<u8>,
    permit: OwnedSemaphorePermit,
    upload: Option<Upload>,
    log: Log,
    sending: JoinSet<store::Result<Part>>,
    parts: BTreeMap<u32, Part>,
    last_part: u32,
    stored_bytes: u64,
    crc: RunningCrc,
    stored: RunningSha256,
    table: SeekTable,
    /// Where the file was read to before the frame that is being added.
    read: Position,
    /// What was added of that frame, or of the seek table.
    within: Within,
    /// Bytes of the next frame that an earlier attempt sent, and their CRC-32C.
    skip: (u64, u32),
    /// Stored lengths of the frames since the last cut.
    frames: Vec<u32>,
}

/// Why an upload did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the seek table cannot be made")]
    Table(#[source] zeekstd::Error),
    #[error("what is encoded again differs from what was sent before")]
    Differs,
}

/// The beginning of a frame.
#[derive(Debug)]
struct Within {
    bytes: u64,
    crc: Crc,
}

impl Within {
    fn update(&mut self, more: &[u8]) {
        self.bytes += more.len() as u64;
        self.crc.update(more);
    }

    fn crc(&self) -> u32 {
        // A CRC of 32 bits.
        self.crc.finalize() as u32
    }
}

impl Default for Within {
    fn default() -> Self {
        Self {
            bytes: 0,
            crc: Crc::new(CrcAlgorithm::Crc32Iscsi),
        }
    }
}

/// A CRC-64/NVME that can be gone on with.
struct RunningCrc {
    before: u64,
    since: Crc,
    bytes: u64,
}

impl RunningCrc {
    fn resume(before: u64) -> Self {
        Self {
            before,
            since: Crc::new(CrcAlgorithm::Crc64Nvme),
            bytes: 0,
        }
    }

    fn update(&mut self, more: &[u8]) {
        self.since.update(more);
        self.bytes += more.len() as u64;
    }

    fn value(&self) -> u64 {
        let since = self.since.finalize();
        checksum_combine(CrcAlgorithm::Crc64Nvme, self.before, since, self.bytes)
    }
}

impl ObjectWriter {
    /// An object that begins where the file was sent to.
    pub(super) async fn new(target: Target, from: &Sent) -> Self {
        Self::at(target, &Cut::start(from)).await
    }

    async fn at(target: Target, cut: &Cut) -> Self {
        let permit = target.memory.part(target.part_bytes).await;
        Self {
            filling: Vec::new(),
            permit,
            upload: None,
            log: Log::default(),
            sending: JoinSet::new(),
            parts: BTreeMap::new(),
            last_part: 0,
            stored_bytes: 0,
            crc: RunningCrc::resume(cut.crc64nvme),
            stored: RunningSha256::resume(&cut.sent.stored),
            table: SeekTable::new(),
            read: cut.sent.read.clone(),
            within: Within::default(),
            skip: (cut.within, cut.within_crc),
            frames: Vec::new(),
            target,
        }
    }

    /// Goes on with an upload of an earlier attempt.
    pub(super) async fn resume(
        target: Target,
        resumed: &Resumed,
        log: Log,
    ) -> Result<Self, UploadError> {
        let mut writer = Self::at(target, resumed.cut()).await;
        let start = resumed.began.start.sent.read.at;
        for (n, packed) in resumed.frames().enumerate() {
            // Only the last frame of a file is shorter.
            let at = start.saturating_add(n as u64 * u64::from(FRAME_BYTES));
            let raw = u64::from(FRAME_BYTES).min(resumed.began.bytes.saturating_sub(at));
            writer
                .table
                .log_frame(packed, raw as u32)
                .map_err(UploadError::Table)?;
        }
        for sent in &resumed.parts {
            writer.stored_bytes = writer.stored_bytes.saturating_add(sent.part.bytes);
            writer.last_part = sent.part.number;
            writer.parts.insert(sent.part.number, sent.part.clone());
        }
        writer.upload = Some(resumed.began.upload.clone());
        writer.log = log;
        Ok(writer)
    }

    /// Whether the next bytes make a multipart upload necessary.
    pub(super) fn needs_upload(&self, more: usize) -> bool {
        self.upload.is_none() && self.room() < more
    }

    /// Begins the multipart upload.
    pub(super) async fn begin(&mut self) -> store::Result<Upload> {
        let Target {
            store,
            key,
            part_bytes,
            ..
        } = &self.target;
        let upload = step_of(Step::Begin, store.begin(key, *part_bytes)).await?;
        Ok(self.upload.insert(upload).clone())
    }

    /// Gives it the journal in which its parts are noted.
    pub(super) fn log_to(&mut self, log: Log) {
        self.log = log;
    }

    /// Adds one frame, behind which the file is read to `after`.
    pub(super) async fn frame(
        &mut self,
        packed: &[u8],
        raw_bytes: u32,
        after: Position,
    ) -> Result<(), UploadError> {
        let packed_bytes = u32::try_from(packed.len()).unwrap_or(u32::MAX);
        self.table
            .log_frame(packed_bytes, raw_bytes)
            .map_err(UploadError::Table)?;
        self.bytes(packed).await?;
        // The whole frame was sent before: it is among those of the cut.
        if self.skip.0 > 0 {
            return Err(UploadError::Differs);
        }
        self.frames.push(packed_bytes);
        self.within = Within::default();
        self.read = after;
        Ok(())
    }

    /// Bytes of the seek table that the object still needs.
    pub(super) fn table_bytes(&self) -> usize {
        self.table.clone().into_serializer().encoded_len()
    }

    async fn bytes(&mut self, mut more: &[u8]) -> Result<(), UploadError> {
        more = self.pass_what_was_sent(more)?;
        while !more.is_empty() {
            if self.room() == 0 {
                self.send_filled().await?;
            }
            if self.filling.capacity() == 0 {
                self.filling.reserve_exact(self.part_len());
            }
            let (now, later) = more.split_at(more.len().min(self.room()));
            self.filling.extend_from_slice(now);
            self.crc.update(now);
            self.stored.update(now);
            self.within.update(now);
            self.stored_bytes += now.len() as u64;
            more = later;
        }
        Ok(())
    }

    /// Passes over what an earlier attempt sent of this frame, if it is the same.
    fn pass_what_was_sent<'a>(&mut self, more: &'a [u8]) -> Result<&'a [u8], UploadError> {
        let (left, crc) = self.skip;
        if left == 0 {
            return Ok(more);
        }
        let passed = more.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let (before, rest) = more.split_at(passed);
        self.within.update(before);
        self.skip = (left - passed as u64, crc);
        if self.skip.0 == 0 && self.within.crc() != crc {
            return Err(UploadError::Differs);
        }
        Ok(rest)
    }

    fn part_len(&self) -> usize {
        usize::try_from(self.target.part_bytes).unwrap_or(usize::MAX)
    }

    fn room(&self) -> usize {
        self.part_len() - self.filling.len()
    }

    fn sent(&self) -> Sent {
        Sent {
            read: self.read.clone(),
            stored: self.stored.state(),
        }
    }

    /// Ends the part being filled here: its number, its bytes, and what to send and note it with.
    fn cut_part(&mut self) -> (u32, Bytes, Cut) {
        self.last_part += 1;
        let cut = Cut {
            sent: self.sent(),
            within: self.within.bytes,
            within_crc: self.within.crc(),
            frames: std::mem::take(&mut self.frames),
            crc64nvme: self.crc.value(),
        };
        let body = Bytes::from(std::mem::take(&mut self.filling));
        (self.last_part, body, cut)
    }

    /// Sends the filled part in the background and gets room for the next.
    async fn send_filled(&mut self) -> Result<(), UploadError> {
        let upload = match &self.upload {
            Some(upload) => upload.clone(),
            None => self.begin().await?,
        };
        let (number, body, cut) = self.cut_part();
        // Parts that are done first: a refused one ends the upload before more is read for it.
        while let Some(done) = self.sending.try_join_next() {
            self.done(done)?;
        }
        let (store, log) = (Arc::clone(&self.target.store), self.log.clone());
        let sending = send_part(store, upload, number, body, cut, log);
        let Some(next) = self.target.memory.part_now(self.target.part_bytes) else {
            // No room for a second one: this part goes out before the next is filled.
            let part = sending.await?;
            self.parts.insert(number, part);
            return Ok(());
        };
        // The permit goes with the part and comes back when that is there.
        let permit = std::mem::replace(&mut self.permit, next);
        self.sending.spawn(async move {
            let part = sending.await;
            drop(permit);
            part
        });
        Ok(())
    }

    fn done(
        &mut self,
        done: Result<store::Result<Part>, tokio::task::JoinError>,
    ) -> store::Result<()> {
        let part = joined(done)?;
        self.parts.insert(part.number, part);
        Ok(())
    }

    /// Ends the object with its seek table, completes it and makes sure that it is there.
    pub(super) async fn finish(&mut self) -> Result<Object, UploadError> {
        let mut serializer = std::mem::take(&mut self.table).into_serializer();
        let mut piece = vec![0; 64 << 10];
        loop {
            let n = serializer.write_into(&mut piece);
            if n == 0 {
                break;
            }
            self.bytes(&piece[..n]).await?;
        }
        match self.upload.clone() {
            None => self.put().await,
            Some(upload) => self.complete(&upload).await,
        }
    }

    async fn put(&mut self) -> Result<Object, UploadError> {
        let (store, key) = (Arc::clone(&self.target.store), self.target.key.clone());
        let body = Bytes::from(std::mem::take(&mut self.filling));
        let expected = Expected {
            bytes: self.stored_bytes,
            crc64nvme: self.crc.value(),
            md5s: Md5s::Whole(hex::encode(Md5::digest(&body))),
        };
        let answer = step_of(Step::PutArtifact, put_own(&*store, &key, body, &expected)).await;
        let verified = step_of(
            Step::VerifyArtifact,
            confirm(&*store, &key, &expected, answer),
        )
        .await?;
        Ok(Object {
            stored_bytes: self.stored_bytes,
            verified,
            sent: self.sent(),
        })
    }

    async fn complete(&mut self, upload: &Upload) -> Result<Object, UploadError> {
        // An object that ends where a part does has no further one; there is always one.
        if !self.filling.is_empty() || self.last_part == 0 {
            let (number, body, cut) = self.cut_part();
            let (store, log) = (Arc::clone(&self.target.store), self.log.clone());
            let part = send_part(store, upload.clone(), number, body, cut, log).await?;
            self.parts.insert(number, part);
        }
        while let Some(done) = self.sending.join_next().await {
            self.done(done)?;
        }
        let parts: Vec<Part> = self.parts.values().cloned().collect();
        let md5s = parts.iter().map(|part| part.md5.clone()).collect();
        let whole = Whole {
            expected: Expected {
                bytes: self.stored_bytes,
                crc64nvme: self.crc.value(),
                md5s: Md5s::Parts(md5s),
            },
            sent: self.sent(),
        };
        let record = Record::Whole(whole.clone());
        self.log.add(Step::JournalWhole, record).await;
        let object = complete(&*self.target.store, upload, &parts, whole).await?;
        self.upload = None;
        Ok(object)
    }

    /// Stops sending and leaves the upload as it is, to be gone on with.
    pub(super) async fn leave(mut self) {
        self.sending.shutdown().await;
    }

    /// Gives up what was sent. Whatever keeps that from working leaves it to the next attempt, which finds it in the state.
    pub(super) async fn give_up(mut self) {
        self.sending.shutdown().await;
        if let Some(upload) = self.upload.take() {
            let abort = step_of(Step::Abort, self.target.store.abort(&upload));
            let aborted = tokio::time::timeout(ABORT_PATIENCE, abort).await;
            if !matches!(aborted, Ok(Ok(()))) {
                tracing::warn!(key = %upload.key, "a multipart upload could not be aborted now; the next attempt does it");
            }
        }
    }
}

async fn send_part(
    store: Arc<dyn Store>,
    upload: Upload,
    number: u32,
    body: Bytes,
    cut: Cut,
    log: Log,
) -> store::Result<Part> {
    let part = step_of(Step::SendPart, store.put_part(&upload, number, body)).await?;
    let record = Record::Part(SentPart {
        part: part.clone(),
        cut,
    });
    log.add(Step::JournalPart, record).await;
    Ok(part)
}

fn joined(done: Result<store::Result<Part>, tokio::task::JoinError>) -> store::Result<Part> {
    done.unwrap_or_else(|error| {
        Err(store::Error::new(
            Operation::PutPart,
            "a part",
            Problem::Failed("its task ended".into()),
        )
        .because(error))
    })
}
