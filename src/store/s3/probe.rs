//! Tries everything once, at a key where nobody looks for crashes, and notes what the store does.
//!
//! Some seventeen small requests at start. The steps stop where going on says nothing new: when the first put failed for another reason than
//! a permission, or when the store answered success and kept something else.

use bytes::Bytes;

use super::S3Store;
use super::known::Known;
use super::verify::{Told, etag_of, judge, read_crc};
use crate::model::ObjectKey;
use crate::store::probe::{PROBE_BODY, find_part, find_upload};
use crate::store::sums::Sums;
use crate::store::{
    Error, Expected, ListQuery, Md5s, Operation, Part, Probe, ProbeStep, Problem, Result, Store,
    Upload, bare,
};

/// Probes and lets `store` know what came of it.
pub(super) async fn run(store: &S3Store, key: &ObjectKey) -> Probe {
    let mut run = Run {
        store,
        key,
        body: Bytes::from_static(PROBE_BODY),
        sums: Sums::of(PROBE_BODY),
        known: Known::NOTHING,
        steps: Vec::new(),
    };
    let seen = run.all().await;
    if seen {
        store.learn(run.known);
    }
    Probe {
        steps: run.steps,
        honours_create: run.known.create_by_put,
        full_checksums: run.known.crc_of_puts && run.known.crc_of_uploads,
    }
}

struct Run<'a> {
    store: &'a S3Store,
    key: &'a ObjectKey,
    body: Bytes,
    sums: Sums,
    known: Known,
    steps: Vec<ProbeStep>,
}

impl Run<'_> {
    fn step(&mut self, operation: Operation, needed: bool, outcome: Result<()>) {
        self.steps.push(ProbeStep {
            operation,
            needed,
            outcome,
        });
    }

    /// Whether anything was seen of the store.
    async fn all(&mut self) -> bool {
        match self.put().await {
            Ok(()) => {
                self.step(Operation::Put, true, Ok(()));
                // Later steps must agree with what the store accepted.
                self.store.learn(self.known);
                if !self.look().await {
                    return true;
                }
                self.create().await;
            }
            Err(error) => {
                let only_a_permission = matches!(error.problem(), Problem::Denied(_));
                self.step(Operation::Put, true, Err(error));
                if !only_a_permission {
                    return false;
                }
            }
        }
        self.upload_and_abort().await;
        self.read_list_delete().await;
        true
    }

    /// Puts with as many checksums as the store accepts.
    async fn put(&mut self) -> Result<()> {
        let most = Known {
            crc_of_puts: true,
            ..Known::NOTHING
        };
        let none = Known {
            content_md5: false,
            ..Known::NOTHING
        };
        let mut refusal = None;
        for with in [most, Known::NOTHING, none] {
            match self.put_with(false, with).await {
                Ok(stored) => {
                    let crc = with.crc_of_puts && self.is_our_crc(stored.crc64nvme.as_deref());
                    self.known = Known {
                        crc_of_puts: crc,
                        md5_etags: is(&stored, Some(self.sums.md5_hex())),
                        ..with
                    };
                    return Ok(());
                }
                Err(error) if refused(&error) => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        match refusal {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    async fn put_with(&self, create: bool, with: Known) -> Result<Told> {
        self.store
            .put_as(self.key, self.body.clone(), &self.sums, create, with)
            .await
    }

    /// Looks at what was put; false if the store keeps something else.
    async fn look(&mut self) -> bool {
        let outcome = match self.store.head(self.key).await {
            Ok(head) => {
                self.known.may_look = true;
                self.known.crc_of_puts = self.is_our_crc(head.told.crc64nvme.as_deref());
                judge(&self.expected(), &head, self.known)
                    .map(|_| ())
                    .map_err(|problem| Error::new(Operation::Head, self.about(), problem))
            }
            Err(error) => Err(error),
        };
        let lies = matches!(
            outcome.as_ref().map_err(Error::problem),
            Err(Problem::NotFound | Problem::Mismatch(_))
        );
        // Not being allowed to look is fine. What is seen must be right.
        self.step(Operation::Head, lies, outcome);
        !lies
    }

    /// Puts where something is.
    async fn create(&mut self) {
        let outcome = match self.put_with(true, self.known).await {
            Ok(_) => Ok(()),
            Err(error) if *error.problem() == Problem::AlreadyExists => {
                self.known.create_by_put = true;
                Ok(())
            }
            Err(error) if refused(&error) => Ok(()),
            Err(error) => Err(error),
        };
        self.step(Operation::Put, false, outcome);
    }

    /// Gives up what an earlier probe of this node left when it was stopped. The key is this node's own, and one agent at a time probes there; where the
    /// listing is not allowed it is left to the bucket's lifecycle rule.
    async fn abort_leftovers(&self) {
        for left in self.store.uploads(self.key).await.unwrap_or_default() {
            if let Err(error) = self.store.abort(&left).await {
                tracing::debug!(key = %self.key, %error, "what an earlier probe began cannot be given up");
            }
        }
    }

    async fn upload_and_abort(&mut self) {
        self.abort_leftovers().await;
        let mut with_crc = true;
        let (upload, part) = loop {
            match self.first_part(with_crc).await {
                Ok(sent) => break sent,
                Err((_, error)) if with_crc && refused(&error) => with_crc = false,
                Err((operation, error)) => {
                    if operation != Operation::Begin {
                        self.step(Operation::Begin, true, Ok(()));
                    }
                    self.step(operation, true, Err(error));
                    return;
                }
            }
        };
        self.step(Operation::Begin, true, Ok(()));
        self.step(Operation::PutPart, true, Ok(()));
        let found = find_part(self.store, &upload, &part).await;
        self.step(Operation::ListParts, false, found);
        let found = find_upload(self.store, &upload).await;
        self.step(Operation::ListUploads, false, found);
        let conditional = self.complete(&upload, &part, true).await;
        self.known.create_by_upload = matches!(
            conditional.as_ref().map_err(Error::problem),
            Err(Problem::AlreadyExists)
        );
        let open = match &conditional {
            // Nothing kept it from replacing what was there; for the abort something must be open.
            Ok(_) => self.first_part(with_crc).await.map(|(upload, _)| upload),
            Err(_) => Ok(upload),
        };
        let aborted = match open {
            Ok(open) => self.store.abort(&open).await,
            Err((_, error)) => Err(error),
        };
        self.step(Operation::Abort, true, aborted);

        let mut completed = match conditional {
            Ok(stored) => self.look_at_upload(&stored, &part, with_crc).await,
            Err(_) => self.whole_upload(with_crc).await,
        };
        if with_crc && completed.as_ref().is_err_and(refused) {
            completed = self.whole_upload(false).await;
        } else if completed.as_ref().is_err_and(forgotten) {
            // The answer was lost, and the request repeated: only another upload tells.
            completed = self.whole_upload(with_crc).await;
        }
        self.step(Operation::Complete, true, completed);
    }

    async fn first_part(
        &self,
        with_crc: bool,
    ) -> std::result::Result<(Upload, Part), (Operation, Error)> {
        let upload = self
            .store
            .begin_as(self.key, self.sums.bytes, with_crc)
            .await
            .map_err(|error| (Operation::Begin, error))?;
        match self.store.put_part(&upload, 1, self.body.clone()).await {
            Ok(part) => Ok((upload, part)),
            Err(error) => {
                self.give_up(&upload).await;
                Err((Operation::PutPart, error))
            }
        }
    }

    async fn complete(&self, upload: &Upload, part: &Part, create: bool) -> Result<Told> {
        let expected = self.expected_of(part);
        self.store
            .complete_as(upload, std::slice::from_ref(part), &expected, create)
            .await
    }

    async fn whole_upload(&mut self, with_crc: bool) -> Result<()> {
        let (upload, part) = self
            .first_part(with_crc)
            .await
            .map_err(|(_, error)| error)?;
        match self.complete(&upload, &part, false).await {
            Ok(stored) => self.look_at_upload(&stored, &part, with_crc).await,
            Err(error) => {
                self.give_up(&upload).await;
                Err(error)
            }
        }
    }

    /// Notes what the checksums of a completed upload turned out to be.
    async fn look_at_upload(&mut self, stored: &Told, part: &Part, with_crc: bool) -> Result<()> {
        let expected = self.expected_of(part);
        self.known.md5_part_etags = is(stored, etag_of(&expected.md5s));
        let mut crc = stored.crc64nvme.clone();
        if self.known.may_look {
            let head = self.store.head(self.key).await?;
            judge(&expected, &head, self.known)
                .map_err(|problem| Error::new(Operation::Complete, self.about(), problem))?;
            crc = head.told.crc64nvme;
        }
        self.known.crc_of_uploads = with_crc && self.is_our_crc(crc.as_deref());
        Ok(())
    }

    /// Nothing of a failed try is left; if that fails too, the step that tries an abort says so.
    async fn give_up(&self, upload: &Upload) {
        let _ = self.store.abort(upload).await;
    }

    async fn read_list_delete(&mut self) {
        let read = match self.store.get(self.key, 0..self.sums.bytes).await {
            Ok(content) if content == self.body => Ok(()),
            Ok(_) => {
                let what = "it reads back as something else".to_owned();
                Err(Error::new(
                    Operation::Get,
                    self.about(),
                    Problem::Mismatch(what),
                ))
            }
            Err(error) => Err(error),
        };
        self.step(Operation::Get, false, read);
        let query = ListQuery {
            prefix: self.key.to_string(),
            ..ListQuery::default()
        };
        let listed = self.store.list(&query).await.map(|_| ());
        self.step(Operation::List, false, listed);
        let deleted = self.store.delete(self.key).await;
        self.step(Operation::Delete, false, deleted);
    }

    fn is_our_crc(&self, written: Option<&str>) -> bool {
        written.and_then(read_crc) == Some(self.sums.crc64nvme)
    }

    fn expected(&self) -> Expected {
        Expected::of(&self.body)
    }

    fn expected_of(&self, part: &Part) -> Expected {
        Expected {
            md5s: Md5s::Parts(vec![part.md5.clone()]),
            ..self.expected()
        }
    }

    fn about(&self) -> String {
        format!("{}/{}", self.store.url(), self.key)
    }
}

/// Whether a store's ETag is this one.
fn is(told: &Told, etag: Option<String>) -> bool {
    let (Some(told), Some(etag)) = (told.etag.as_deref(), etag) else {
        return false;
    };
    bare(told).eq_ignore_ascii_case(&etag)
}

/// Whether trying with less can help.
fn refused(error: &Error) -> bool {
    matches!(error.problem(), Problem::Refused(_))
}

fn forgotten(error: &Error) -> bool {
    *error.problem() == Problem::NoSuchUpload
}
