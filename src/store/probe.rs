//! What a start-up probe reports, and the steps that are the same for every kind of store.

use super::{Error, Operation, Part, Problem, Result, Store, Upload};

/// What stands in the store while a probe runs, and after it where deleting is not allowed.
pub(super) const PROBE_BODY: &[u8] =
    b"salvage tries here what it may do; this object means nothing\n";

/// What a start-up probe found: every step that was tried, in order, with its outcome.
#[derive(Debug, Default)]
pub struct Probe {
    /// The steps.
    pub steps: Vec<ProbeStep>,
    /// Whether the store refuses to overwrite when asked to.
    pub honours_create: bool,
    /// Whether the store keeps and returns CRC-64/NVME checksums of whole objects.
    pub full_checksums: bool,
}

/// One step of a probe.
#[derive(Debug)]
pub struct ProbeStep {
    /// What was tried.
    pub operation: Operation,
    /// Whether shipping needs it; what people or verification only profit from is not needed.
    pub needed: bool,
    /// What came of it.
    pub outcome: Result<()>,
}

impl Probe {
    /// The first needed step that failed: why nothing can be shipped.
    pub fn into_failure(self) -> Option<Error> {
        let needed = self.steps.into_iter().filter(|step| step.needed);
        needed.filter_map(|step| step.outcome.err()).next()
    }

    /// The same, while the rest is of interest.
    pub fn failure(&self) -> Option<&Error> {
        self.steps
            .iter()
            .filter(|step| step.needed)
            .find_map(|step| step.outcome.as_ref().err())
    }
}

/// Whether the store lists an upload that was just begun.
pub(super) async fn find_upload(store: &dyn Store, upload: &Upload) -> Result<()> {
    let open = store.uploads(&upload.key).await?;
    if open.iter().any(|open| store.is_same(open, upload)) {
        return Ok(());
    }
    let why = "its listing of uploads does not show the one that was just begun";
    Err(odd(store, Operation::ListUploads, upload, why))
}

/// Whether the store lists a part that was just sent.
pub(super) async fn find_part(store: &dyn Store, upload: &Upload, part: &Part) -> Result<()> {
    let parts = store.parts(upload).await?;
    if parts.iter().any(|listed| listed.is(part)) {
        return Ok(());
    }
    let why = "its listing of parts does not show the one that was just sent";
    Err(odd(store, Operation::ListParts, upload, why))
}

fn odd(store: &dyn Store, operation: Operation, upload: &Upload, why: &str) -> Error {
    let about = format!("{}/{}", store.url(), upload.key);
    Error::new(operation, about, Problem::Failed(why.to_owned()))
}
