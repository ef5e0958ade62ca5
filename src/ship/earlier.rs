//! What an earlier attempt, or an earlier agent, left of an upload: gone on with if it is still ours and the store still has it, else given up, so that none stays open.
//!
//! Leaves to [`super::resume`] what the journal says, and to [`super::send`] the sending.

use std::sync::Arc;

use super::resume::{Began, Record, Resumed, encoder, resume};
use super::send::Sending;
use super::steps::{Run, StepError};
use super::upload::{ObjectWriter, UploadError};
use crate::model::{FileId, ObjectKey, Step, Upload};
use crate::spool::{Sent, Uploading};
use crate::store::{self, Problem, Retry};
use crate::sys::step_of;
use crate::telemetry::chain;

/// After so many failures in a row an upload is begun anew: it may be what fails.
const STUBBORN: u32 = 5;

impl Run {
    /// Keeps an upload that failed if it can be gone on with, else gives it up. What keeps even that from being noted is found by the next attempt.
    pub(super) async fn after_failure(
        &mut self,
        writer: Option<ObjectWriter>,
        error: StepError,
    ) -> StepError {
        let keep = goes_on(&error) && !(self.entry.attempts + 1).is_multiple_of(STUBBORN);
        if keep {
            if let Some(writer) = writer {
                writer.leave().await;
            }
            return error;
        }
        if let Some(writer) = writer {
            writer.give_up().await;
        }
        if let Err(also) = self.give_up_upload().await {
            tracing::debug!(
                error = chain(&also),
                "an upload is given up by the next attempt"
            );
        }
        error
    }

    /// What can be gone on with of the upload that the state names; an upload that cannot be gone on with is given up.
    pub(super) async fn resumable(
        &mut self,
        sending: &Sending,
    ) -> Result<Option<Resumed>, StepError> {
        let Some(Uploading::Begun(upload)) = self.progress().upload else {
            return Ok(None);
        };
        let read = self
            .on_node(|spool, entry| spool.open_journal::<Record>(entry.id))
            .await;
        let records = match read {
            Ok(read) => read.map(|(_, records)| records),
            Err(error) => {
                tracing::warn!(crash = %self.entry.id, %error, "the journal of an upload cannot be read; it is begun anew");
                None
            }
        };
        let resumed = records
            .and_then(resume)
            .filter(|resumed| self.is_ours(resumed, &upload, sending));
        let Some(mut resumed) = resumed else {
            self.give_up_upload().await?;
            return Ok(None);
        };
        if resumed.whole.is_some() {
            return Ok(Some(resumed));
        }
        match self.inner.store.parts(&upload).await {
            Ok(there) => resumed.keep_what_is_there(&there),
            Err(error) if *error.problem() == Problem::NoSuchUpload => {
                self.give_up_upload().await?;
                return Ok(None);
            }
            Err(error) if error.retry() != Retry::Permanent => return Err(error.into()),
            // We may not ask: what the store answered to each part is all there is, and the completion decides.
            Err(_) => {}
        }
        Ok(Some(resumed))
    }

    /// Whether the journal is of this upload, and the bytes to come are those that would have come then.
    fn is_ours(&self, resumed: &Resumed, upload: &Upload, sending: &Sending) -> bool {
        let Began {
            upload: begun,
            encoder: by,
            file,
            bytes,
            modified,
            ..
        } = &resumed.began;
        let same_file = FileId::same_file(file, &sending.stat.file)
            && (*bytes, *modified) == (sending.stat.size, sending.stat.modified);
        let start = self.progress().next.unwrap_or_else(Sent::nothing);
        begun == upload
            && resumed.began.start.sent == start
            && same_file
            && *by == encoder(&self.inner.config)
            && upload.part_bytes == sending.plan.part_bytes
            && upload.key == self.key_of(sending)
    }

    /// Gives up the upload that the state names, if it names one. A store that will never allow that must not keep the dump from being sent anew.
    pub(super) async fn give_up_upload(&mut self) -> Result<(), StepError> {
        let Some(uploading) = self.progress().upload else {
            return Ok(());
        };
        match uploading {
            Uploading::Beginning(key) => return self.abort_unknown(&key).await,
            Uploading::Begun(upload) => self.abort(&upload).await?,
        }
        self.note(Step::NoteAborted, |progress| progress.upload = None)
            .await?;
        self.remove_journal().await;
        Ok(())
    }

    async fn abort(&mut self, upload: &Upload) -> Result<(), StepError> {
        let store = Arc::clone(&self.inner.store);
        match step_of(Step::Abort, store.abort(upload)).await {
            Err(error) if error.retry() != Retry::Permanent => Err(error.into()),
            Err(error) => {
                tracing::warn!(key = %upload.key, error = chain(&error), "a multipart upload is left to the bucket's lifecycle rule");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Gives up what was begun for this very key and never learnt of. Nobody else ever begins one there: the key has our crash's id in it.
    pub(super) async fn abort_unknown(&mut self, key: &ObjectKey) -> Result<(), StepError> {
        match self.inner.store.uploads(key).await {
            Ok(uploads) => {
                for upload in uploads {
                    self.abort(&upload).await?;
                }
            }
            Err(error) if error.retry() != Retry::Permanent => return Err(error.into()),
            Err(error) => {
                tracing::info!(key = %key, error = chain(&error), "whether a multipart upload is open cannot be asked; one would be left to the bucket's lifecycle rule");
            }
        }
        self.note(Step::NoteAborted, |progress| progress.upload = None)
            .await
    }

    /// A journal that stays is of no upload that the state names, and is replaced by the next.
    pub(super) async fn remove_journal(&mut self) {
        let removed = self
            .on_node(|spool, entry| spool.remove_journal(entry.id))
            .await;
        if let Err(error) = removed {
            tracing::debug!(crash = %self.entry.id, %error, "a journal could not be removed");
        }
    }
}

/// Whether an upload that failed like this may still be gone on with.
fn goes_on(error: &StepError) -> bool {
    let problem = match error {
        StepError::Store(error) => error.problem(),
        StepError::Upload(UploadError::Store(error)) => store::Error::problem(error),
        StepError::State(_) | StepError::Node(_) | StepError::Open(_) => return true,
        _ => return false,
    };
    !matches!(
        problem,
        Problem::NoSuchUpload
            | Problem::Refused(_)
            | Problem::Mismatch(_)
            | Problem::NotFound
            | Problem::AlreadyExists
    )
}
