//! Sends the artifacts of a crash, one after the other, and goes on where an earlier attempt or an earlier agent came to.
//!
//! ```text
//! Beginning ──list, abort──► none ──NoteBeginning, Begin, BeginJournal, NoteBegun──► Begun ──parts, each to the journal──► Whole ──Complete──► NoteObject
//!                             ▲                                                        │
//!                             └──── forgotten by the store, other encoder or file ─────┘        (Whole after a stop: HEAD decides before anything is sent)
//! ```

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::confirm::{Object, complete, is_there};
use super::frames::{Content, Pending, Reader};
use super::manifest::artifact;
use super::metrics::Stage;
use super::resume::{Began, Cut, Record, Resumed, encoder};
use super::steps::{Next, Run, StepError};
use super::upload::{Log, ObjectWriter, Target};
use crate::decide::{PartPlan, plan_parts};
use crate::model::{ArtifactName, Mark, Missing, ObjectKey, Step, Volume, artifact_key};
use crate::spool::{Choice, Loss, OpenError, Phase, Piece, Progress, Sent, Uploading};
use crate::store::Verified;
use crate::sys::{RunningSha256, Stat};

/// Frames between the reader and the sender; the pool's buffers bound them anyway.
const FRAMES_WAITING: usize = 4;

/// A dump that changes while it is read is read again this often before it is kept as it was read.
const READS: u32 = 3;

/// The artifact that is being sent.
pub(super) struct Sending {
    piece: Piece,
    name: ArtifactName,
    file: Arc<File>,
    pub(super) stat: Stat,
    pub(super) plan: PartPlan,
}

impl Run {
    /// Sends the next artifact, or writes the manifest if there is none.
    pub(super) async fn send(&mut self) -> Result<Next, StepError> {
        let Some((pieces, choice, progress)) = self.shipping() else {
            return Ok(Next::Again);
        };
        let index = progress.sent.len();
        let (Some(piece), Some(name)) = (pieces.get(index), choice.artifacts.get(index)) else {
            return self.note_manifest().await;
        };
        let (piece, name) = (piece.clone(), *name);
        if let Some(Uploading::Beginning(key)) = &progress.upload {
            let key = key.clone();
            self.abort_unknown(&key).await?;
            return Ok(Next::Again);
        }
        let began = Instant::now();
        let file = match self.open(piece.kept.clone()).await {
            Ok(file) => Arc::new(file),
            Err(OpenError::Gone) => return self.go_on_without(index).await,
            Err(error) => return Err(error.into()),
        };
        let stat = Stat::of(&*file).map_err(StepError::Read)?;
        let sending = Sending {
            piece,
            name,
            stat,
            plan: plan_parts(stat.size, self.inner.part_limits()),
            file,
        };
        self.send_artifact(sending).await?;
        self.inner.metrics.took(Stage::Upload, began.elapsed());
        Ok(Next::Again)
    }

    fn shipping(&self) -> Option<(&Vec<Piece>, &Choice, &Progress)> {
        match &self.entry.phase {
            Phase::Shipping {
                pieces,
                choice,
                progress,
            } => Some((pieces, choice, progress)),
            _ => None,
        }
    }

    fn shipping_mut(&mut self) -> Option<(&mut Vec<Piece>, &mut Choice, &mut Progress)> {
        match &mut self.entry.phase {
            Phase::Shipping {
                pieces,
                choice,
                progress,
            } => Some((pieces, choice, progress)),
            _ => None,
        }
    }

    pub(super) fn progress(&self) -> Progress {
        let progress = self.shipping().map(|(_, _, progress)| progress.clone());
        progress.unwrap_or_default()
    }

    fn change(&mut self, change: impl FnOnce(&mut Progress)) {
        if let Some((_, _, progress)) = self.shipping_mut() {
            change(progress);
        }
    }

    /// Changes how far the sending has come, and writes it. What cannot be written has not come so far.
    pub(super) async fn note(
        &mut self,
        as_step: Step,
        change: impl FnOnce(&mut Progress),
    ) -> Result<(), StepError> {
        let before = self.progress();
        self.change(change);
        if let Err(error) = self.save(as_step).await {
            self.change(|progress| *progress = before);
            return Err(error.into());
        }
        Ok(())
    }

    /// A file that is gone is missing from its crash; a crash without any file is lost.
    async fn go_on_without(&mut self, index: usize) -> Result<Next, StepError> {
        self.give_up_upload().await?;
        let told_otherwise = self.entry.death.is_some() || self.entry.told.is_some();
        let only_one = self
            .shipping()
            .is_some_and(|(pieces, ..)| pieces.len() == 1);
        if only_one && !told_otherwise {
            return self.lost_or(OpenError::Gone).await;
        }
        let Some((pieces, choice, progress)) = self.shipping_mut() else {
            return Ok(Next::Again);
        };
        pieces.remove(index);
        let name = choice.artifacts.remove(index);
        choice.missing.push(Missing {
            role: name.role,
            why: "lost".to_owned(),
        });
        progress.volumes.clear();
        progress.next = None;
        self.save(Step::NoteChoice).await?;
        self.inner.spool.count_lost(&self.entry, Loss::Vanished);
        Ok(Next::Again)
    }

    async fn send_artifact(&mut self, sending: Sending) -> Result<(), StepError> {
        let before = sending.stat;
        let done = self.send_volumes(&sending).await?;
        let after = Stat::of(&*sending.file).map_err(StepError::Read)?;
        let changed = (before.size, before.modified) != (after.size, after.modified)
            || done.read.bytes != before.size;
        if changed && self.entry.attempts + 1 < READS {
            self.note(Step::NoteObject, |progress| {
                progress.volumes.clear();
                progress.next = None;
            })
            .await?;
            return Err(StepError::Changed);
        }
        let mut piece = sending.piece;
        if changed || before.size != piece.bytes {
            piece.origin.mark(Mark::ChangedWhileRead);
        }
        let artifact = artifact(&piece, sending.name, done);
        self.note(Step::NoteObject, |progress| {
            progress.sent.push(artifact);
            progress.volumes.clear();
            progress.next = None;
        })
        .await?;
        self.remove_journal().await;
        Ok(())
    }

    /// Sends the objects that one artifact is made of.
    async fn send_volumes(
        &mut self,
        sending: &Sending,
    ) -> Result<super::manifest::Done, StepError> {
        let mut resumed = self.resumable(sending).await?;
        let progress = self.progress();
        let start = progress.next.unwrap_or_else(Sent::nothing);
        let from = resumed
            .as_ref()
            .map_or(&start, |resumed| match &resumed.whole {
                Some(whole) => &whole.sent,
                None => &resumed.cut().sent,
            });
        let mut reader = Reader::new(
            Arc::clone(&sending.file),
            sending.stat.size,
            &from.read,
            Arc::clone(&self.inner),
            tokio::runtime::Handle::current(),
        );
        let mut sent = start;
        // Stopped when the last object was noted: there is no further one. One that is gone on with is not done, although all of the file is read.
        let mut ended = resumed.is_none() && reader.is_done() && !progress.volumes.is_empty();
        while !ended {
            let begun_at = sent.read.at;
            let key = self.key_of(sending);
            let object;
            (reader, object) = match resumed.take() {
                Some(resumed) => self.finish_upload(sending, reader, resumed).await?,
                None => self.send_volume(sending, reader, &key, &sent).await?,
            };
            sent = object.sent;
            let volume = Volume {
                key,
                bytes: sent.read.at - begun_at,
                stored_bytes: object.stored_bytes,
            };
            if object.verified != Verified::Content {
                tracing::debug!(crash = %self.entry.id, verified = ?object.verified, "the store lets us verify no more than this");
            }
            ended = reader.is_done();
            let next = sent.clone();
            let change = |progress: &mut Progress| {
                progress.volumes.push(volume);
                progress.next = Some(next);
                progress.upload = None;
            };
            match ended {
                // With the last one the whole artifact is noted, by the caller.
                true => self.change(change),
                false => {
                    self.note(Step::NoteObject, change).await?;
                    self.remove_journal().await;
                }
            }
        }
        Ok(super::manifest::Done {
            read: reader.finish(),
            volumes: self.progress().volumes,
            stored_sha256: RunningSha256::resume(&sent.stored).finish_hex(),
        })
    }

    /// The key of the next object of an artifact.
    pub(super) fn key_of(&self, sending: &Sending) -> ObjectKey {
        let (done, namespace) = self.shipping().map_or((0, None), |(_, choice, progress)| {
            (progress.volumes.len(), choice.scope.as_deref())
        });
        let volume = u32::try_from(done).unwrap_or(u32::MAX);
        let name = ArtifactName {
            volume: (sending.plan.volumes > 1).then_some(volume),
            ..sending.name
        };
        // Its own id only: where two files were joined they are artifacts of one crash.
        artifact_key(&self.inner.config.cluster, namespace, self.entry.id, name)
    }

    fn target(&self, key: &ObjectKey, part_bytes: u64) -> Target {
        Target {
            store: Arc::clone(&self.inner.store),
            memory: self.inner.memory.clone(),
            key: key.clone(),
            part_bytes,
        }
    }

    async fn send_volume(
        &mut self,
        sending: &Sending,
        reader: Reader,
        key: &ObjectKey,
        from: &Sent,
    ) -> Result<(Reader, Object), StepError> {
        let target = self.target(key, sending.plan.part_bytes);
        let writer = ObjectWriter::new(target, from).await;
        self.send_rest(sending, reader, writer, from).await
    }

    /// Goes on with an upload that an earlier attempt began.
    async fn finish_upload(
        &mut self,
        sending: &Sending,
        reader: Reader,
        resumed: Resumed,
    ) -> Result<(Reader, Object), StepError> {
        let upload = resumed.began.upload.clone();
        tracing::info!(crash = %self.entry.id, key = %upload.key, parts = resumed.parts.len(), "a multipart upload is gone on with");
        if let Some(whole) = resumed.whole {
            let parts: Vec<_> = resumed.parts.into_iter().map(|sent| sent.part).collect();
            let store = Arc::clone(&self.inner.store);
            // What was completed and not heard of is there; whatever else a look says, completing tells more.
            let object = match is_there(&*store, &upload.key, &whole).await {
                Some(object) => Ok(object),
                None => complete(&*store, &upload, &parts, whole).await,
            };
            return match object {
                Ok(object) => Ok((reader, object)),
                Err(error) => Err(self.after_failure(None, error.into()).await),
            };
        }
        let log = match self
            .on_node(|spool, entry| spool.open_journal::<Record>(entry.id))
            .await
        {
            Ok(Some((journal, _))) => Log::new(journal),
            _ => Log::default(),
        };
        let from = resumed.began.start.sent.clone();
        let target = self.target(&upload.key, upload.part_bytes);
        let writer = ObjectWriter::resume(target, &resumed, log).await?;
        self.send_rest(sending, reader, writer, &from).await
    }

    /// Sends the rest of one object; gives the reader back.
    async fn send_rest(
        &mut self,
        sending: &Sending,
        reader: Reader,
        mut writer: ObjectWriter,
        from: &Sent,
    ) -> Result<(Reader, Object), StepError> {
        let end = from.read.at.saturating_add(sending.plan.volume_bytes);
        match self.pump(sending, reader, &mut writer, from, end).await {
            Ok(done) => Ok(done),
            Err(error) => Err(self.after_failure(Some(writer), error).await),
        }
    }

    async fn pump(
        &mut self,
        sending: &Sending,
        mut reader: Reader,
        writer: &mut ObjectWriter,
        from: &Sent,
        end: u64,
    ) -> Result<(Reader, Object), StepError> {
        let (frames, mut pending) = mpsc::channel::<Pending>(FRAMES_WAITING);
        // Dropping `pending` on an error ends the reading: nobody takes its frames any more.
        let reading =
            tokio::task::spawn_blocking(move || reader.read_to(end, &frames).map(|()| reader));
        while let Some(frame) = pending.recv().await {
            self.add(sending, frame, writer, from).await?;
        }
        let reader = reading
            .await
            .map_err(|error| StepError::Read(error.into()))?
            .map_err(StepError::Read)?;
        let table = writer.table_bytes();
        self.make_room(sending, writer, table, from).await?;
        let object = writer.finish().await?;
        Ok((reader, object))
    }

    async fn add(
        &mut self,
        sending: &Sending,
        frame: Pending,
        writer: &mut ObjectWriter,
        from: &Sent,
    ) -> Result<(), StepError> {
        match frame.content {
            Content::Zeros => {
                let zeros = self.inner.pool.zeros();
                self.make_room(sending, writer, zeros.len(), from).await?;
                writer
                    .frame(&zeros, super::FRAME_BYTES, frame.after)
                    .await?;
            }
            Content::Packing(packing) => {
                let packed = packing
                    .await
                    .map_err(|error| StepError::Read(std::io::Error::other(error)))?
                    .map_err(StepError::Read)?;
                let bytes = packed.bytes();
                self.make_room(sending, writer, bytes.len(), from).await?;
                writer.frame(bytes, packed.raw_bytes, frame.after).await?;
            }
        }
        Ok(())
    }

    /// Begins a multipart upload where the next bytes need one. That it may exist is durable before it does, and which one it is before its first part goes out.
    async fn make_room(
        &mut self,
        sending: &Sending,
        writer: &mut ObjectWriter,
        more: usize,
        from: &Sent,
    ) -> Result<(), StepError> {
        if !writer.needs_upload(more) {
            return Ok(());
        }
        let key = self.key_of(sending);
        self.note(Step::NoteBeginning, |progress| {
            progress.upload = Some(Uploading::Beginning(key));
        })
        .await?;
        let upload = writer.begin().await?;
        let began = Began {
            upload: upload.clone(),
            encoder: encoder(&self.inner.config),
            file: sending.stat.file,
            bytes: sending.stat.size,
            modified: sending.stat.modified,
            start: Cut::start(from),
        };
        let journal = self
            .on_node(move |spool, entry| spool.begin_journal(entry.id, &Record::Began(began)))
            .await;
        match journal {
            Ok(journal) => writer.log_to(Log::new(journal)),
            Err(error) => {
                tracing::warn!(%error, "an upload has no journal; a stop now costs what is sent of it");
            }
        }
        self.note(Step::NoteBegun, |progress| {
            progress.upload = Some(Uploading::Begun(upload));
        })
        .await
    }
}
