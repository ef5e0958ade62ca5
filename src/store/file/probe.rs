//! Tries everything once, as for a bucket, and clears what a stop left behind.

use bytes::Bytes;
use jiff::Timestamp;

use super::FileStore;
use super::staging::{STAGING, clear_left_behind};
use crate::model::ObjectKey;
use crate::store::probe::{PROBE_BODY, find_part, find_upload};
use crate::store::{
    Expected, ListQuery, Operation, Probe, ProbeStep, Problem, PutMode, Result, Store,
};

/// Probes at `key`. Only a first put that fails ends it early: the other steps say more.
pub(super) async fn run(store: &FileStore, key: &ObjectKey) -> Probe {
    let mut probe = Probe {
        // Verifying reads the content.
        full_checksums: true,
        ..Probe::default()
    };
    let body = Bytes::from_static(PROBE_BODY);
    let expected = Expected::of(&body);
    let mut step = |operation, needed, outcome: Result<()>| {
        probe.steps.push(ProbeStep {
            operation,
            needed,
            outcome,
        });
    };
    let put = store.put(key, body.clone(), PutMode::Overwrite).await;
    let failed = put.is_err();
    step(Operation::Put, true, put);
    if failed {
        return probe;
    }
    let looked = store.verify(key, &expected).await;
    step(Operation::Head, true, looked.map(|_| ()));
    match store.begin(key, expected.bytes).await {
        Err(error) => step(Operation::Begin, true, Err(error)),
        Ok(upload) => {
            step(Operation::Begin, true, Ok(()));
            match store.put_part(&upload, 1, body.clone()).await {
                Err(error) => step(Operation::PutPart, true, Err(error)),
                Ok(part) => {
                    step(Operation::PutPart, true, Ok(()));
                    let found = find_part(store, &upload, &part).await;
                    step(Operation::ListParts, false, found);
                }
            }
            let found = find_upload(store, &upload).await;
            step(Operation::ListUploads, false, found);
            step(Operation::Abort, true, store.abort(&upload).await);
        }
    }
    let read = store.get(key, 0..expected.bytes).await;
    step(Operation::Get, false, read.map(|_| ()));
    let listed = store.list(&ListQuery::default()).await;
    step(Operation::List, false, listed.map(|_| ()));
    let again = store.put(key, body, PutMode::Create).await;
    step(Operation::Delete, false, store.delete(key).await);
    let cleared = store
        .run(Operation::Delete, STAGING, |root| {
            clear_left_behind(root, Timestamp::now())
        })
        .await;
    step(Operation::Delete, false, cleared);
    probe.honours_create = again.is_err_and(|error| *error.problem() == Problem::AlreadyExists);
    probe
}
