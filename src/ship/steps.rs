//! Advances one entry, a step at a time, until it is stored or has to wait.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::Inner;
use super::confirm::{confirm, put_own};
use super::manifest::manifest;
use super::metrics::Stage;
use super::retry::next_attempt;
use super::upload::UploadError;
use crate::model::{CrashId, CrashKeyParts, Manifest, ObjectKey, Step, crash_key_of, escaped};
use crate::spool::{self, Claim, Copied, Entry, Kept, Loss, OpenError, Phase};
use crate::spool::{DumpSays, Told, Work};
use crate::store::{self, Expected, Retry};
use crate::sys::step_of;
use crate::telemetry::chain;

/// Wait for a thing of the node that is not there now: a mount, room, a directory.
const NODE_WAIT: Retry = Retry::Transient;

/// How long a dump rests that made us panic.
const AFTER_PANIC: SignedDuration = SignedDuration::from_mins(10);

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
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
    /// An entry that says neither of a dump nor of a death: no agent wrote that.
    pub(super) fn nothing_known() -> Self {
        Self::Read(std::io::Error::other(
            "its state tells of no dump and of no death",
        ))
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => error.retry(),
            Self::Changed | Self::Upload(UploadError::Differs) => {
                Retry::After(Duration::from_secs(1))
            }
            Self::Upload(_) | Self::Read(_) => Retry::Permanent,
            Self::Open(_) | Self::State(_) | Self::Node(_) | Self::NoRoom(_) => NODE_WAIT,
        }
    }
}

/// One entry being advanced.
pub(super) struct Run {
    pub(super) inner: Arc<Inner>,
    pub(super) entry: Entry,
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
pub(super) enum Next {
    Again,
    /// Nothing to do before then.
    At(Timestamp),
    Stored,
    Over,
}

impl Run {
    pub(super) fn new(inner: Arc<Inner>, entry: Entry) -> Self {
        Self { inner, entry }
    }

    pub(super) async fn run(mut self, work: Work) -> Option<CrashId> {
        let id = self.entry.id;
        let stored = loop {
            if work == Work::Copy && self.entry.work() != work {
                break None;
            }
            match self.step().await {
                Ok(Next::Again) => {}
                Ok(Next::At(then)) => {
                    self.inner.spool.set_aside(id, then);
                    return None;
                }
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
        match &self.entry.phase {
            Phase::Claiming { .. } => self.resolve_claim().await,
            Phase::Held {
                place: spool::Place::Source(_),
                ..
            } => self.copy_in().await,
            Phase::Copied { .. } => self.remove_original().await,
            Phase::Held { .. } => self.look_into().await,
            Phase::Waiting { .. } => self.wait().await,
            Phase::Shipping { .. } => self.send().await,
            Phase::Announcing { manifest, key, .. } => {
                let (manifest, key) = (manifest.clone(), key.clone());
                self.announce(&manifest, key).await
            }
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
            Err(error) => self.lost_or(error).await,
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

    /// Sends and verifies the manifest: from then on the crash exists.
    async fn announce(&mut self, manifest: &Manifest, key: ObjectKey) -> Result<Next, StepError> {
        let began = Instant::now();
        let mut json =
            serde_json::to_vec(manifest).map_err(|error| StepError::Node(error.into()))?;
        json.push(b'\n');
        let body = Bytes::from(json);
        let expected = Expected::of(&body);
        let store = &*self.inner.store;
        let answer = step_of(Step::PutManifest, put_own(store, &key, body, &expected)).await;
        step_of(
            Step::VerifyManifest,
            confirm(store, &key, &expected, answer),
        )
        .await?;
        let files = self.entry.files();
        let told = self.told(manifest, &key);
        self.advance(Step::NoteStored, Phase::Stored { files, told })
            .await?;
        self.inner.metrics.took(Stage::Announce, began.elapsed());
        self.count(manifest);
        let kubernetes = self.inner.kubernetes.as_ref();
        if let Some(teller) = kubernetes.and_then(|kubernetes| kubernetes.teller.as_ref())
            && manifest.revision == 1
        {
            teller.tell(manifest);
        }
        tracing::info!(crash = %self.entry.id, key = %key, reason = %manifest.reason, revision = manifest.revision, "crash stored");
        Ok(Next::Again)
    }

    /// What is remembered of the crash, if something more may be learnt of it.
    fn told(&self, manifest: &Manifest, key: &ObjectKey) -> Option<Box<Told>> {
        self.inner.kubernetes.as_ref()?;
        let Phase::Announcing { dump, .. } = &self.entry.phase else {
            return None;
        };
        let before = self.entry.told.as_deref();
        let dump = dump
            .as_deref()
            .or(before.and_then(|told| told.dump.as_ref()));
        let death = self.entry.death.as_deref();
        let death = death.or(before.and_then(|told| told.death.as_ref()));
        Some(Box::new(Told::new(
            manifest.clone(),
            key.clone(),
            dump.cloned(),
            death.cloned(),
            Timestamp::now(),
        )))
    }

    /// Writes the manifest of what was sent into the state.
    pub(super) async fn note_manifest(&mut self) -> Result<Next, StepError> {
        if let Some(next) = self.gather().await? {
            return Ok(next);
        }
        let Phase::Shipping {
            pieces,
            choice,
            progress,
        } = &self.entry.phase
        else {
            return Ok(Next::Again);
        };
        let manifest = manifest(
            &self.inner.config,
            &self.inner.host,
            &self.entry,
            choice,
            progress.sent.clone(),
            Timestamp::now(),
        );
        let announcing = Phase::Announcing {
            files: self.entry.files(),
            // A revision goes where the crash is, whatever it says now.
            key: match &self.entry.told {
                Some(told) => told.key.clone(),
                None => crash_key(&manifest, choice.scope.as_deref()),
            },
            manifest: Box::new(manifest),
            // What was taken of a living process meets no death.
            dump: DumpSays::of(pieces)
                .filter(|_| self.entry.capture.is_none())
                .map(Box::new),
        };
        self.advance(Step::NoteManifest, announcing).await?;
        Ok(Next::Again)
    }

    fn count(&self, manifest: &Manifest) {
        let now = Timestamp::now();
        let since = Duration::try_from(now.duration_since(manifest.time)).unwrap_or_default();
        let before = self.entry.told.as_deref();
        let before = before.map_or(0, |told| told.manifest.artifacts.len());
        let new = manifest.artifacts.get(before..).unwrap_or_default();
        self.inner
            .metrics
            .stored(manifest, new, since, now.as_second());
    }

    pub(super) async fn open(&mut self, kept: Kept) -> Result<File, OpenError> {
        self.on_node(move |spool, _| spool.open_file(&kept)).await
    }

    /// An entry whose only file is gone is lost; one that cannot be reached is waited for.
    pub(super) async fn lost_or(&mut self, error: OpenError) -> Result<Next, StepError> {
        if !matches!(error, OpenError::Gone) {
            return Err(error.into());
        }
        self.on_node(|spool, entry| spool.lose(entry, Loss::Vanished))
            .await
            .map_err(StepError::Node)?;
        Ok(Next::Over)
    }

    pub(super) async fn advance(
        &mut self,
        as_step: Step,
        phase: Phase,
    ) -> Result<(), spool::Error> {
        let before = std::mem::replace(&mut self.entry.phase, phase);
        let attempts = std::mem::take(&mut self.entry.attempts);
        let saved = self.save(as_step).await;
        if saved.is_err() {
            self.entry.phase = before;
            self.entry.attempts = attempts;
        }
        saved
    }

    pub(super) async fn save(&mut self, as_step: Step) -> Result<(), spool::Error> {
        self.on_node(move |spool, entry| spool.save(as_step, entry))
            .await
    }

    async fn wait_after(&mut self, error: &StepError) {
        let retry = error.retry();
        self.inner.metrics.tried_in_vain(retry);
        let at = next_attempt(Timestamp::now(), retry, self.entry.attempts);
        let cause = chain(error);
        tracing::warn!(
            crash = %self.entry.id,
            dump = self.entry.origin.as_ref().map(|origin| escaped(origin.name.as_os_str()).to_string()),
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
    pub(super) async fn on_node<T: Send + 'static>(
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
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The crash's own key, made of what its manifest says.
fn crash_key(manifest: &Manifest, scope: Option<&str>) -> ObjectKey {
    let pod = manifest.pod.as_ref();
    let parts = CrashKeyParts {
        cluster: &manifest.cluster,
        namespace: scope,
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
