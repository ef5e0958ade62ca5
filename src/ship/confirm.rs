//! Turns what a store answers into certainty: an answer may be lost while the object is there, and a success may be no more than a word.

use bytes::Bytes;

use super::resume::Whole;
use crate::model::{ObjectKey, Step, Upload};
use crate::spool::Sent;
use crate::store::{self, Expected, Part, Problem, PutMode, Store, Verified};
use crate::sys::step_of;

/// An object that is stored and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) stored_bytes: u64,
    pub(super) verified: Verified,
    /// How far the file is sent with it.
    pub(super) sent: Sent,
}

/// The object, if a completion that nobody heard of made it.
pub(super) async fn is_there(store: &dyn Store, key: &ObjectKey, whole: &Whole) -> Option<Object> {
    let seen = step_of(Step::VerifyArtifact, store.verify(key, &whole.expected)).await;
    match seen {
        Ok(verified @ (Verified::Content | Verified::Length)) => Some(Object {
            stored_bytes: whole.expected.bytes,
            verified,
            sent: whole.sent.clone(),
        }),
        _ => None,
    }
}

/// Completes an upload whose parts are all there, and makes sure that the object is.
pub(super) async fn complete(
    store: &dyn Store,
    upload: &Upload,
    parts: &[Part],
    whole: Whole,
) -> store::Result<Object> {
    let Whole { expected, sent } = whole;
    let answer = step_of(
        Step::Complete,
        store.complete(upload, parts, &expected, PutMode::Overwrite),
    )
    .await;
    let verified = step_of(
        Step::VerifyArtifact,
        confirm(store, &upload.key, &expected, answer),
    )
    .await?;
    Ok(Object {
        stored_bytes: expected.bytes,
        verified,
        sent,
    })
}

/// Puts an object whose key is ours alone: what is found there already is an earlier try of ours, whole or of no use.
pub(super) async fn put_own(
    store: &dyn Store,
    key: &ObjectKey,
    body: Bytes,
    expected: &Expected,
) -> store::Result<()> {
    // Within a step.
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
