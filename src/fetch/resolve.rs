//! From the characters of an id that somebody typed to the one crash that is meant.
//!
//! An id begins with its time, so even a few characters name the days to look at: six leave a quarter of an hour, ten a millisecond.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use jiff::ToSpan;

use super::error::{Error, Result};
use super::filter::Filter;
use super::list::list;
use crate::model::{CrashKey, IdPrefix};
use crate::store::Store;

/// Most candidates an ambiguous id is answered with.
const CANDIDATES: usize = 5;

/// The crash whose id begins with `prefix`.
pub async fn resolve(store: &dyn Store, prefix: &IdPrefix) -> Result<CrashKey> {
    let (first, last) = prefix.time_range();
    let filter = Filter {
        id: Some(prefix.clone()),
        since: Some(first),
        // The last id possible has a time that jiff cannot add to; no end then means the same.
        until: last.checked_add(1.millisecond()).ok(),
        limit: NonZeroUsize::new(CANDIDATES),
        ..Filter::default()
    };
    let mut found = Vec::new();
    let listed = list(store, &filter, |batch| {
        found.extend(batch);
        ControlFlow::Continue(())
    })
    .await?;
    match found.len() {
        0 => Err(Error::NotFound {
            prefix: prefix.clone(),
            store: store.url(),
        }),
        1 => Ok(found.remove(0)),
        _ => Err(Error::Ambiguous {
            prefix: prefix.clone(),
            found,
            more: listed.may_be_more,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::memory::MemoryStore;
    use crate::model::{CrashId, CrashKeyParts, Reason, crash_key_of};
    use jiff::Timestamp;

    fn store(page: usize, count: u128) -> (MemoryStore, Vec<CrashKey>) {
        let store = MemoryStore::with_pages_of(page);
        let time: Timestamp = "2026-11-21T10:00:00.123Z".parse().expect("time");
        let crash = |n: u128| {
            crash_key_of(CrashKeyParts {
                cluster: "c",
                namespace: None,
                pod: None,
                container: None,
                reason: Reason::Unknown,
                stored_bytes: 0,
                id: CrashId::new(time, n << 70),
            })
        };
        let crashes: Vec<_> = (0..count).map(crash).collect();
        for key in &crashes {
            store.insert(&key.to_string(), b"{}");
        }
        (store, crashes)
    }

    #[tokio::test]
    async fn an_id_may_be_shortened_while_it_means_one_crash() {
        for page in [1, 1_000] {
            let (store, crashes) = store(page, 8);
            for key in &crashes {
                for length in [12, 26] {
                    let prefix = key.id().to_string()[..length].parse().expect("prefix");
                    assert_eq!(&resolve(&store, &prefix).await.expect("found"), key);
                }
            }
        }
    }

    #[tokio::test]
    async fn an_ambiguous_id_is_answered_with_candidates() {
        for page in [1, 1_000] {
            let (store, crashes) = store(page, 8);
            let prefix = crashes[0].id().to_string()[..8].parse().expect("prefix");
            let error = resolve(&store, &prefix).await.expect_err("eight fit");
            let text = error.to_string();
            let Error::Ambiguous { found, more, .. } = error else {
                panic!("{text}");
            };
            assert_eq!((found.len(), more), (CANDIDATES, true));
            assert!(
                text.contains(&crashes[7].id().to_string()) && text.ends_with("..."),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn an_id_nobody_has_is_not_found() {
        for page in [1, 1_000] {
            let (store, _) = store(page, 3);
            for prefix in [
                "0",
                "8",
                "zzzzzzzzzzzzzzzzzzzzzzzzzz",
                "01arz3ndektsv4rrffq69g5fav",
            ] {
                let found = resolve(&store, &prefix.parse().expect("prefix")).await;
                let is_right = match prefix {
                    "0" => matches!(found, Err(Error::Ambiguous { .. })),
                    _ => matches!(found, Err(Error::NotFound { .. })),
                };
                assert!(is_right, "{prefix}: {found:?}");
            }
        }
    }
}
