//! Writes the status of a `Capture`: of one version of the object, or not at all, so that of several writers one wins.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use tokio::time::timeout;

use super::status::Board;
use crate::kube::Capture;
use crate::telemetry::chain;

/// An API server that takes longer is asked again.
pub(super) const ANSWERS: Duration = Duration::from_secs(10);

/// What became of a write.
pub(super) enum Written {
    Done(Box<Capture>),
    /// Somebody else has changed it meanwhile.
    Changed,
    /// It is deleted, and another object may have its name.
    Gone,
    /// It may be tried again; why not now.
    Not(String),
}

/// How often an object that others change is written anew.
const WRITES: u32 = 5;

/// Writes a status, of the version that is there now: it is ours, and nobody else writes it.
pub(super) async fn write(
    captures: &Api<Capture>,
    name: &str,
    uid: &str,
    board: &Board,
) -> Written {
    let mut last = Written::Changed;
    for _ in 0..WRITES {
        let version = match timeout(ANSWERS, captures.get_opt(name)).await {
            Ok(Ok(Some(capture))) if capture.uid().as_deref() == Some(uid) => {
                capture.resource_version().unwrap_or_default()
            }
            Ok(Ok(_)) => return Written::Gone,
            Ok(Err(error)) => return Written::Not(chain(&error)),
            Err(_) => return Written::Not("no answer in time".to_owned()),
        };
        last = write_version(captures, name, board, &version).await;
        if !matches!(last, Written::Changed) {
            return last;
        }
    }
    match last {
        Written::Changed => Written::Not("somebody changes it again and again".to_owned()),
        other => other,
    }
}

/// Writes a status of this version of an object, or not at all.
pub(super) async fn write_version(
    captures: &Api<Capture>,
    name: &str,
    board: &Board,
    version: &str,
) -> Written {
    let (params, patch) = (PatchParams::default(), board.patch(version));
    let patch = Patch::Merge(&patch);
    match timeout(ANSWERS, captures.patch_status(name, &params, &patch)).await {
        Ok(Ok(capture)) => Written::Done(Box::new(capture)),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Written::Gone,
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Written::Changed,
        Ok(Err(error)) => Written::Not(chain(&error)),
        Err(_) => Written::Not("no answer in time".to_owned()),
    }
}
