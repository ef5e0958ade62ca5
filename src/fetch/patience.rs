//! Asking a store again in the middle of a download.
//!
//! A store's implementation repeats a request briefly, and somebody who waits for a first answer wants no more than that. A download of
//! hours needs more patience than one request has; what cannot change within seconds (no permission, no such key) ends it at once.

use std::ops::Range;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;

use crate::model::ObjectKey;
use crate::store::{Error, Problem, Result, Retry, Store};

/// Longest pause before asking again, also where the store asks for a longer one.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How often to ask again: with the pauses below about half a minute of trouble.
const AGAIN: usize = 6;
/// The first pause; each one after it is twice as long, plus jitter. Tests have nobody to wait for.
const PAUSE_FIRST: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 500 });

/// Reads a range of an object.
pub(super) async fn get(store: &dyn Store, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
    let ask = || store.get(key, range.clone());
    ask.retry(pauses())
        .sleep(tokio::time::sleep)
        .when(is_passing)
        .adjust(as_asked)
        .await
}

fn pauses() -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(PAUSE_FIRST)
        .with_max_delay(PAUSE_MAX)
        .with_max_times(AGAIN)
        .with_jitter()
}

/// Whether the trouble is likely to pass within seconds. That an object is missing passes only for a writer that waits for its own
/// write to show.
fn is_passing(error: &Error) -> bool {
    !matches!(error.problem(), Problem::NotFound) && error.retry() != Retry::Permanent
}

fn as_asked(error: &Error, pause: Option<Duration>) -> Option<Duration> {
    match error.retry() {
        Retry::After(asked) => pause.map(|_| asked.min(PAUSE_MAX)),
        Retry::Transient | Retry::Permanent => pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::memory::MemoryStore;

    #[tokio::test]
    async fn passing_trouble_is_sat_out_and_lasting_trouble_is_not() {
        let store = MemoryStore::default();
        let key: ObjectKey = "a/b".parse().expect("key");
        store.insert("a/b", b"hello");
        store.fail_next(3, Problem::Unreachable("connection reset".into()));
        assert_eq!(
            &get(&store, &key, 1..3).await.expect("in the end")[..],
            b"el"
        );
        assert_eq!(store.gets(), 4);

        store.fail_next(1, Problem::Denied("s3:GetObject"));
        get(&store, &key, 0..1).await.expect_err("at once");
        let missing: ObjectKey = "a/c".parse().expect("key");
        get(&store, &missing, 0..1).await.expect_err("at once");
        assert_eq!(store.gets(), 6);
    }
}
