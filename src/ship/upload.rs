//! Puts an object together from frames and sends it in parts, with a bounded number of them in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use md5::{Digest as _, Md5};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use zeekstd::seek_table::SeekTable;

use crate::model::{ObjectKey, Sha256, Upload};
use crate::store::{self, Expected, Md5s, Operation, Part, Problem, PutMode, Store, Verified};

/// The memory for parts, shared by all uploads.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Semaphore>);

/// Memory is counted in these, since a semaphore counts to 2^32 only where the machine does.
const UNIT: u64 = 64 << 10;

/// How long giving up an upload may take before it is left to the next start.
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

/// An object in the making.
pub(super) struct ObjectWriter {
    target: Target,
    filling: Vec<u8>,
    permit: OwnedSemaphorePermit,
    upload: Option<Upload>,
    sending: JoinSet<store::Result<Part>>,
    parts: Vec<Part>,
    sent_parts: u32,
    stored_bytes: u64,
    crc: Crc,
    table: SeekTable,
}

/// An object that is stored and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) stored_bytes: u64,
    pub(super) verified: Verified,
}

/// Why an upload did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the seek table cannot be made")]
    Table(#[source] zeekstd::Error),
}

impl ObjectWriter {
    pub(super) async fn new(target: Target) -> Self {
        let permit = target.memory.part(target.part_bytes).await;
        Self {
            filling: Vec::new(),
            permit,
            upload: None,
            sending: JoinSet::new(),
            parts: Vec::new(),
            sent_parts: 0,
            stored_bytes: 0,
            crc: Crc::new(CrcAlgorithm::Crc64Nvme),
            table: SeekTable::new(),
            target,
        }
    }

    /// Whether the next bytes make a multipart upload necessary.
    pub(super) fn needs_upload(&self, more: usize) -> bool {
        self.upload.is_none() && self.room() < more
    }

    /// Begins the multipart upload.
    pub(super) async fn begin(&mut self) -> Result<Upload, UploadError> {
        let upload = self
            .target
            .store
            .begin(&self.target.key, self.target.part_bytes)
            .await?;
        Ok(self.upload.insert(upload).clone())
    }

    /// Adds one frame, `raw_bytes` of the dump.
    pub(super) async fn frame(
        &mut self,
        packed: &[u8],
        raw_bytes: u32,
        whole: &mut Sha256,
    ) -> Result<(), UploadError> {
        let packed_bytes = u32::try_from(packed.len()).unwrap_or(u32::MAX);
        self.table
            .log_frame(packed_bytes, raw_bytes)
            .map_err(UploadError::Table)?;
        self.bytes(packed, whole).await
    }

    /// Bytes of the seek table that the object still needs.
    pub(super) fn table_bytes(&self) -> usize {
        self.table.clone().into_serializer().encoded_len()
    }

    async fn bytes(&mut self, mut more: &[u8], whole: &mut Sha256) -> Result<(), UploadError> {
        self.crc.update(more);
        whole.update(more);
        self.stored_bytes += more.len() as u64;
        while !more.is_empty() {
            if self.room() == 0 {
                self.send_filled().await?;
            }
            if self.filling.capacity() == 0 {
                self.filling.reserve_exact(self.part_len());
            }
            let (now, later) = more.split_at(more.len().min(self.room()));
            self.filling.extend_from_slice(now);
            more = later;
        }
        Ok(())
    }

    fn part_len(&self) -> usize {
        usize::try_from(self.target.part_bytes).unwrap_or(usize::MAX)
    }

    fn room(&self) -> usize {
        self.part_len() - self.filling.len()
    }

    /// Sends the filled part in the background and gets room for the next.
    async fn send_filled(&mut self) -> Result<(), UploadError> {
        let upload = match &self.upload {
            Some(upload) => upload.clone(),
            None => self.begin().await?,
        };
        let body = Bytes::from(std::mem::take(&mut self.filling));
        self.sent_parts += 1;
        let (store, number) = (Arc::clone(&self.target.store), self.sent_parts);
        // Parts that are done first: a refused one ends the upload before more is read for it.
        while let Some(done) = self.sending.try_join_next() {
            self.parts.push(joined(done)?);
        }
        let Some(next) = self.target.memory.part_now(self.target.part_bytes) else {
            // No room for a second one: this part goes out before the next is filled.
            let part = store.put_part(&upload, number, body).await?;
            self.parts.push(part);
            return Ok(());
        };
        // The permit goes with the part and comes back when that is there.
        let permit = std::mem::replace(&mut self.permit, next);
        self.sending.spawn(async move {
            let part = store.put_part(&upload, number, body).await;
            drop(permit);
            part
        });
        Ok(())
    }

    /// Ends the object with its seek table, completes it and makes sure that it is there.
    pub(super) async fn finish(&mut self, whole: &mut Sha256) -> Result<Object, UploadError> {
        let mut serializer = std::mem::take(&mut self.table).into_serializer();
        let mut piece = vec![0; 64 << 10];
        loop {
            let n = serializer.write_into(&mut piece);
            if n == 0 {
                break;
            }
            self.bytes(&piece[..n], whole).await?;
        }
        let crc64nvme = self.crc.finalize();
        let store = Arc::clone(&self.target.store);
        let key = self.target.key.clone();
        let body = Bytes::from(std::mem::take(&mut self.filling));
        let (expected, answer) = match self.upload.clone() {
            None => {
                let md5s = Md5s::Whole(hex::encode(Md5::digest(&body)));
                let expected = Expected {
                    bytes: self.stored_bytes,
                    crc64nvme,
                    md5s,
                };
                let answer = put_own(&*store, &key, body, &expected).await;
                (expected, answer)
            }
            Some(upload) => {
                let last = store.put_part(&upload, self.sent_parts + 1, body).await?;
                self.parts.push(last);
                while let Some(done) = self.sending.join_next().await {
                    self.parts.push(joined(done)?);
                }
                self.parts.sort_by_key(|part| part.number);
                let md5s = Md5s::Parts(self.parts.iter().map(|part| part.md5.clone()).collect());
                let expected = Expected {
                    bytes: self.stored_bytes,
                    crc64nvme,
                    md5s,
                };
                let answer = store
                    .complete(&upload, &self.parts, &expected, PutMode::Overwrite)
                    .await;
                (expected, answer)
            }
        };
        let verified = confirm(&*store, &key, &expected, answer).await?;
        self.upload = None;
        Ok(Object {
            stored_bytes: self.stored_bytes,
            verified,
        })
    }

    /// Gives up what was sent. Whatever keeps that from working leaves it to the next start, which finds it in the state.
    pub(super) async fn give_up(mut self) {
        self.sending.shutdown().await;
        if let Some(upload) = self.upload.take() {
            let aborted =
                tokio::time::timeout(ABORT_PATIENCE, self.target.store.abort(&upload)).await;
            if !matches!(aborted, Ok(Ok(()))) {
                tracing::warn!(key = %upload.key, "a multipart upload could not be aborted now; the next attempt does it");
            }
        }
    }
}

/// Puts an object whose key is ours alone: what is found there already is an earlier try of ours, whole or of no use.
pub(super) async fn put_own(
    store: &dyn Store,
    key: &ObjectKey,
    body: Bytes,
    expected: &Expected,
) -> store::Result<()> {
    match store.put(key, body.clone(), PutMode::Create).await {
        Err(error) if *error.problem() == Problem::AlreadyExists => {
            match store.verify(key, expected).await {
                Ok(Verified::Content) => Ok(()),
                _ => store.put(key, body, PutMode::Overwrite).await,
            }
        }
        other => other,
    }
}

/// Turns a store's answer into certainty: an error may hide a success, and a success may be no more than a word.
pub(super) async fn confirm(
    store: &dyn Store,
    key: &ObjectKey,
    expected: &Expected,
    answer: store::Result<()>,
) -> store::Result<Verified> {
    let seen = store.verify(key, expected).await;
    match (answer, seen) {
        (Ok(()), seen) => seen,
        // The answer was lost on the way, the object was not.
        (Err(_), Ok(verified @ (Verified::Content | Verified::Length))) => Ok(verified),
        (Err(error), _) => Err(error),
    }
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
