//! Advances one entry, a step at a time, until it is stored or has to wait.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::Inner;
use super::frames::{Pending, Reader};
use super::manifest::{Sent, manifest};
use super::metrics::Step;
use super::retry::next_attempt;
use super::upload::{ObjectWriter, Target, UploadError, confirm, put_own};
use crate::decide::{attribute_without_kubernetes, plan_parts, reason_of};
use crate::identify::identify;
use crate::model::{
    ArtifactName, CrashId, CrashKeyParts, Manifest, Mark, ObjectKey, Sha256, Upload, Volume,
    artifact_key, crash_key_of, escaped,
};
use crate::spool::{self, Choice, Claim, Copied, Entry, Loss, OpenError, Phase};
use crate::store::{self, Expected, Retry, Verified};
use crate::sys::Stat;
use crate::telemetry::chain;

/// Frames between the reader and the sender; the pool's buffers bound them anyway.
const FRAMES_WAITING: usize = 4;

/// A dump that changes while it is read is read again this often before it is kept as it was read.
const READS: u32 = 3;

/// Wait for a thing of the node that is not there now: a mount, room, a directory.
const NODE_WAIT: Retry = Retry::Transient;

/// How long a dump rests that made us panic.
const AFTER_PANIC: SignedDuration = SignedDuration::from_mins(10);

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("the store did not take it")]
    Store(#[from] store::Error),
    #[error("it could not be sent")]
    Upload(#[source] UploadError),
    #[error("it cannot be opened")]
    Open(#[from] OpenError),
    #[error("it cannot be read")]
    Read(#[source] std::io::Error),
    #[error("the state cannot be kept")]
    State(#[from] spool::Error),
    #[error("the node did not let it be moved")]
    Node(#[source] std::io::Error),
    #[error("there is no room to copy it: {0} is reached")]
    NoRoom(crate::decide::Refusal),
    #[error("it changed while it was read")]
    Changed,
}

impl From<UploadError> for StepError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Store(error) => Self::Store(error),
            other => Self::Upload(other),
        }
    }
}

impl StepError {
    fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => error.retry(),
            Self::Changed => Retry::After(Duration::from_secs(1)),
            Self::Upload(_) | Self::Read(_) => Retry::Permanent,
            Self::Open(_) | Self::State(_) | Self::Node(_) | Self::NoRoom(_) => NODE_WAIT,
        }
    }
}

/// One entry being advanced.
pub(super) struct Run {
    inner: Arc<Inner>,
    entry: Entry,
}

impl Drop for Run {
    /// A panic is a fault of ours that another dump may not meet: this one rests and is kept, and nobody waits for it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let again = Timestamp::now().saturating_add(AFTER_PANIC);
            self.inner
                .spool
                .set_aside(self.entry.id, again.unwrap_or(Timestamp::MAX));
            tracing::error!(crash = %self.entry.id, phase = self.entry.phase.name(), "shipping a dump panicked; it is kept and tried again");
        }
    }
}

/// What a step leads to.
enum Next {
    Again,
    Stored,
    Over,
}

impl Run {
    pub(super) fn new(inner: Arc<Inner>, entry: Entry) -> Self {
        Self { inner, entry }
    }

    pub(super) async fn run(mut self) -> Option<CrashId> {
        let id = self.entry.id;
        let stored = loop {
            match self.step().await {
                Ok(Next::Again) => {}
                Ok(Next::Stored) => break Some(id),
                Ok(Next::Over) => break None,
                Err(error) => {
                    self.wait_after(&error).await;
                    break None;
                }
            }
        };
        self.inner.spool.check_in(id);
        stored
    }

    async fn step(&mut self) -> Result<Next, StepError> {
        match self.entry.phase.clone() {
            Phase::Claiming { .. } => self.resolve_claim().await,
            Phase::Held {
                place: spool::Place::Source(_),
                ..
            } => self.copy_in().await,
            Phase::Copied { .. } => self.remove_original().await,
            Phase::Held { .. } => self.choose().await,
            Phase::Shipping { choice, upload, .. } => {
                if let Some(left) = upload {
                    self.abort(&left).await?;
                }
                self.send(&choice).await
            }
            Phase::Announcing { manifest, .. } => self.announce(&manifest).await,
            Phase::Stored { .. } => self.discard().await,
        }
    }

    async fn resolve_claim(&mut self) -> Result<Next, StepError> {
        let claim = self
            .on_node(|spool, entry| spool.resolve_claim(entry))
            .await
            .map_err(StepError::Node)?;
        Ok(if claim == Claim::Held {
            Next::Again
        } else {
            Next::Over
        })
    }

    async fn copy_in(&mut self) -> Result<Next, StepError> {
        match self.on_node(|spool, entry| spool.copy_in(entry)).await {
            Ok(Copied::Done) => Ok(Next::Again),
            Ok(Copied::Changed) => Err(StepError::Changed),
            Ok(Copied::NoRoom(refusal)) => Err(StepError::NoRoom(refusal)),
            Err(error) => self.gone_or(error).await,
        }
    }

    async fn remove_original(&mut self) -> Result<Next, StepError> {
        self.on_node(|spool, entry| spool.remove_original(entry))
            .await
            .map_err(StepError::Node)?;
        Ok(Next::Again)
    }

    async fn discard(&mut self) -> Result<Next, StepError> {
        self.on_node(|spool, entry| spool.discard(entry))
            .await
            .map_err(StepError::Node)?;
        Ok(Next::Stored)
    }

    /// Finds out what it is and fixes everything that its keys are made of.
    async fn choose(&mut self) -> Result<Next, StepError> {
        let began = Instant::now();
        let file = match self.open().await {
            Ok(file) => file,
            Err(error) => return self.gone_or(error).await,
        };
        let names = self.entry.origin.names.clone();
        let choice = blocking(move || -> std::io::Result<Choice> {
            let bytes = Stat::of(&file)?.size;
            let facts = identify(&file, bytes);
            let named = attribute_without_kubernetes(&names, &facts);
            let reason = reason_of(&facts);
            let artifact = ArtifactName {
                role: facts.format.role(),
                number: 0,
                format: facts.format,
                volume: None,
            };
            let (pod, container, attribution) = (named.pod, named.container, named.attribution);
            Ok(Choice {
                facts,
                bytes,
                reason,
                pod,
                container,
                attribution,
                artifact,
            })
        })
        .await
        .map_err(StepError::Read)?;
        let Phase::Held { file, place } = self.entry.phase.clone() else {
            return Ok(Next::Again);
        };
        self.advance(Phase::Shipping {
            file,
            place,
            choice: Box::new(choice),
            upload: None,
        })
        .await?;
        self.inner.metrics.took(Step::Identify, began.elapsed());
        Ok(Next::Again)
    }

    /// Encodes, sends and verifies the dump.
    async fn send(&mut self, choice: &Choice) -> Result<Next, StepError> {
        let began = Instant::now();
        let file = match self.open().await {
            Ok(file) => Arc::new(file),
            Err(error) => return self.gone_or(error).await,
        };
        let before = Stat::of(&*file).map_err(StepError::Read)?;
        let sent = self.send_volumes(choice, &file, before.size).await?;
        let after = Stat::of(&*file).map_err(StepError::Read)?;
        let changed = (before.size, before.modified) != (after.size, after.modified)
            || sent.read.bytes != before.size;
        if changed && self.entry.attempts + 1 < READS {
            return Err(StepError::Changed);
        }
        if changed || before.size != choice.bytes {
            self.entry.origin.mark(Mark::ChangedWhileRead);
        }
        let manifest = manifest(
            &self.inner.config,
            &self.inner.host,
            &self.entry,
            choice,
            sent,
            Timestamp::now(),
        );
        let Phase::Shipping { file, place, .. } = self.entry.phase.clone() else {
            return Ok(Next::Again);
        };
        self.advance(Phase::Announcing {
            file,
            place,
            manifest: Box::new(manifest),
        })
        .await?;
        self.inner.metrics.took(Step::Upload, began.elapsed());
        Ok(Next::Again)
    }

    async fn send_volumes(
        &mut self,
        choice: &Choice,
        file: &Arc<File>,
        len: u64,
    ) -> Result<Sent, StepError> {
        let plan = plan_parts(len, self.inner.part_limits());
        let mut reader = Reader::new(
            Arc::clone(file),
            len,
            Arc::clone(&self.inner),
            tokio::runtime::Handle::current(),
        );
        let mut stored_digest = Sha256::new();
        let mut volumes = Vec::new();
        for volume in 0..plan.volumes {
            let name = ArtifactName {
                volume: (plan.volumes > 1).then_some(volume),
                ..choice.artifact
            };
            let key = artifact_key(
                &self.inner.config.cluster,
                choice.pod.namespace.as_deref(),
                self.entry.id,
                name,
            );
            let target = Target {
                store: Arc::clone(&self.inner.store),
                memory: self.inner.memory.clone(),
                key: key.clone(),
                part_bytes: plan.part_bytes,
            };
            let mut writer = ObjectWriter::new(target).await;
            let outcome = self
                .send_volume(reader, plan.volume_bytes, &mut writer, &mut stored_digest)
                .await;
            let (read_on, bytes, stored_bytes) = match outcome {
                Ok(sent) => sent,
                Err(error) => {
                    writer.give_up().await;
                    return Err(error);
                }
            };
            reader = read_on;
            self.remember_upload(None).await?;
            volumes.push(Volume {
                key,
                bytes,
                stored_bytes,
            });
            if reader.is_done() {
                break;
            }
        }
        Ok(Sent {
            read: reader.finish(),
            volumes,
            stored_sha256: stored_digest.finish_hex(),
        })
    }

    /// Sends one object; gives the reader back, and the bytes of the dump and of the object.
    async fn send_volume(
        &mut self,
        mut reader: Reader,
        volume_bytes: u64,
        writer: &mut ObjectWriter,
        digest: &mut Sha256,
    ) -> Result<(Reader, u64, u64), StepError> {
        let (frames, mut pending) = mpsc::channel::<Pending>(FRAMES_WAITING);
        // Dropping `pending` on an error ends the reading: nobody takes its frames any more.
        let reading = tokio::task::spawn_blocking(move || {
            reader.read_volume(volume_bytes, &frames).map(|()| reader)
        });
        let mut bytes = 0u64;
        while let Some(frame) = pending.recv().await {
            bytes += u64::from(self.send_frame(frame, writer, digest).await?);
        }
        let reader = reading
            .await
            .map_err(|error| StepError::Read(error.into()))?
            .map_err(StepError::Read)?;
        self.make_room(writer, writer.table_bytes()).await?;
        let object = writer.finish(digest).await?;
        if object.verified != Verified::Content {
            tracing::debug!(crash = %self.entry.id, verified = ?object.verified, "the store lets us verify no more than this");
        }
        Ok((reader, bytes, object.stored_bytes))
    }

    async fn send_frame(
        &mut self,
        frame: Pending,
        writer: &mut ObjectWriter,
        digest: &mut Sha256,
    ) -> Result<u32, StepError> {
        match frame {
            Pending::Zeros => {
                let zeros = self.inner.pool.zeros();
                self.make_room(writer, zeros.len()).await?;
                writer.frame(&zeros, super::FRAME_BYTES, digest).await?;
                Ok(super::FRAME_BYTES)
            }
            Pending::Packing(packing) => {
                let packed = packing
                    .await
                    .map_err(|error| StepError::Read(std::io::Error::other(error)))?
                    .map_err(StepError::Read)?;
                self.make_room(writer, packed.bytes().len()).await?;
                writer
                    .frame(packed.bytes(), packed.raw_bytes, digest)
                    .await?;
                Ok(packed.raw_bytes)
            }
        }
    }

    /// Begins a multipart upload where the next bytes need one, and remembers it before its first part goes out.
    async fn make_room(&mut self, writer: &mut ObjectWriter, more: usize) -> Result<(), StepError> {
        if writer.needs_upload(more) {
            let upload = writer.begin().await?;
            self.remember_upload(Some(upload)).await?;
        }
        Ok(())
    }

    async fn remember_upload(&mut self, begun: Option<Upload>) -> Result<(), StepError> {
        let Phase::Shipping { upload, .. } = &mut self.entry.phase else {
            return Ok(());
        };
        if *upload == begun {
            return Ok(());
        }
        *upload = begun;
        Ok(self.save().await?)
    }

    /// Gives up an upload that an earlier attempt left behind. A store that will never allow that must not keep the dump from being sent anew.
    async fn abort(&mut self, left: &Upload) -> Result<(), StepError> {
        match self.inner.store.abort(left).await {
            Err(error) if error.retry() != Retry::Permanent => return Err(error.into()),
            Err(error) => {
                tracing::warn!(key = %left.key, error = chain(&error), "a multipart upload is left to the bucket's lifecycle rule")
            }
            Ok(()) => {}
        }
        self.remember_upload(None).await
    }

    /// Sends and verifies the manifest: from then on the crash exists.
    async fn announce(&mut self, manifest: &Manifest) -> Result<Next, StepError> {
        let began = Instant::now();
        let key = crash_key(manifest);
        let mut json =
            serde_json::to_vec(manifest).map_err(|error| StepError::Node(error.into()))?;
        json.push(b'\n');
        let body = Bytes::from(json);
        let expected = Expected::of(&body);
        let answer = put_own(&*self.inner.store, &key, body, &expected).await;
        confirm(&*self.inner.store, &key, &expected, answer).await?;
        let (file, place) = self.entry.phase.dump();
        self.advance(Phase::Stored { file, place }).await?;
        self.inner.metrics.took(Step::Announce, began.elapsed());
        self.count(manifest);
        tracing::info!(crash = %self.entry.id, key = %key, reason = %manifest.reason, "crash stored");
        Ok(Next::Again)
    }

    fn count(&self, manifest: &Manifest) {
        let now = Timestamp::now();
        let since = Duration::try_from(now.duration_since(manifest.time)).unwrap_or_default();
        self.inner.metrics.stored(manifest, since, now.as_second());
    }

    async fn open(&mut self) -> Result<File, OpenError> {
        self.on_node(|spool, entry| spool.open_dump(entry)).await
    }

    /// A dump that is gone is lost; one that cannot be reached is waited for.
    async fn gone_or(&mut self, error: OpenError) -> Result<Next, StepError> {
        if !matches!(error, OpenError::Gone) {
            return Err(error.into());
        }
        self.on_node(|spool, entry| spool.lose(entry, Loss::Vanished))
            .await
            .map_err(StepError::Node)?;
        Ok(Next::Over)
    }

    async fn advance(&mut self, phase: Phase) -> Result<(), spool::Error> {
        let before = std::mem::replace(&mut self.entry.phase, phase);
        let attempts = std::mem::take(&mut self.entry.attempts);
        let saved = self.save().await;
        if saved.is_err() {
            self.entry.phase = before;
            self.entry.attempts = attempts;
        }
        saved
    }

    async fn save(&mut self) -> Result<(), spool::Error> {
        self.on_node(|spool, entry| spool.save(entry)).await
    }

    async fn wait_after(&mut self, error: &StepError) {
        let retry = error.retry();
        let at = next_attempt(Timestamp::now(), retry, self.entry.attempts);
        let cause = chain(error);
        tracing::warn!(
            crash = %self.entry.id,
            dump = %escaped(self.entry.origin.name.as_os_str()),
            phase = self.entry.phase.name(),
            attempt = self.entry.attempts + 1,
            next_attempt = %at,
            error = cause,
            "a step failed; the dump is kept"
        );
        self.on_node(move |spool, entry| spool.postpone(entry, at))
            .await;
    }

    /// Runs something of the spool where it may block.
    async fn on_node<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&spool::Spool, &mut Entry) -> T + Send + 'static,
    ) -> T {
        let spool = Arc::clone(&self.inner.spool);
        let mut entry = self.entry.clone();
        let (entry, result) = blocking(move || {
            let result = work(&spool, &mut entry);
            (entry, result)
        })
        .await;
        self.entry = entry;
        result
    }
}

/// Runs blocking work on its own thread. A panic there goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The crash's own key, made of what its manifest says.
fn crash_key(manifest: &Manifest) -> ObjectKey {
    let pod = manifest.pod.as_ref();
    let parts = CrashKeyParts {
        cluster: &manifest.cluster,
        namespace: pod.and_then(|pod| pod.namespace.as_deref()),
        pod: pod.and_then(|pod| pod.name.as_deref()),
        container: manifest
            .container
            .as_ref()
            .and_then(|container| container.name.as_deref()),
        reason: manifest.reason,
        stored_bytes: manifest
            .artifacts
            .iter()
            .map(|artifact| artifact.stored_bytes)
            .sum(),
        id: manifest.id,
    };
    crash_key_of(parts).to_object_key()
}
