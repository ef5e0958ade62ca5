//! `s3://`: a bucket of an S3-compatible store, by aws-sdk-s3.
//!
//! ```text
//! mod        the store: its state, and its calls handed on    verify   pure: from HEAD to a verdict
//! call       one request and what makes its answer a receipt  errors   from codes and statuses to a Problem
//! objects    whole objects                                    listing  names of a bucket, which anybody may have chosen
//! uploads    objects in parts                                 unfinished  the same of uploads and their parts
//! client     where to, as whom, how often the SDK tries       known    what later calls may rely on
//! transfer   bodies and the watch over what stands still      probe    tries everything once, fills `known`
//! lifecycle  what the bucket does by itself
//! ```
//!
//! Rules: before a probe nothing is used that not every store has: no `If-None-Match`, no checksum but `Content-MD5`. A put or part
//! counts only with an ETag, and where ETags are MD5s only with ours. HEAD answered with 403 means that we may not look, or, for an
//! identity that may get but not list, that nothing is there; it is never taken for the content being right.

mod call;
mod client;
mod errors;
mod known;
mod lifecycle;
mod listing;
mod objects;
mod probe;
mod transfer;
mod unfinished;
mod uploads;
mod verify;

use std::fmt;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;

use self::call::Call;
use self::client::LazyClient;
use self::known::Known;
use self::transfer::Limits;
use super::sums::Sums;
use super::{
    AbortRule, Credentials, Error, Expected, InvalidStore, ListQuery, Operation, Page, Part,
    PartInfo, Probe, Problem, PutMode, Result, Store, StoreConfig, Upload, Verified,
};
use crate::model::ObjectKey;

/// S3's own limit.
const KEY_MAX: usize = 1_024;
/// Bodies up to this are summed where they are: faster than a thread's wake-up.
const SUM_HERE: usize = 64 << 10;

/// A bucket.
pub(super) struct S3Store {
    bucket: String,
    /// Empty, or ending in `/`.
    prefix: String,
    url: String,
    client: LazyClient,
    known: RwLock<Known>,
    limits: Limits,
}

impl S3Store {
    pub(super) fn new(
        bucket: &str,
        prefix: &str,
        config: &StoreConfig,
        credentials: Option<Credentials>,
    ) -> std::result::Result<Self, InvalidStore> {
        let prefix = match prefix {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix,
            url: config.url.to_string(),
            client: LazyClient::new(config, credentials)?,
            known: RwLock::new(Known::NOTHING),
            limits: Limits::default(),
        })
    }

    fn known(&self) -> Known {
        *self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, known: Known) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    async fn call<'a>(&'a self, operation: Operation, key: &ObjectKey) -> Result<Call<'a>> {
        let about = format!("{}/{key}", self.url);
        let name = format!("{}{key}", self.prefix);
        if name.len() > KEY_MAX {
            let why = format!(
                "the key with the store's prefix is longer than {KEY_MAX} bytes; shorten the prefix"
            );
            return Err(Error::new(operation, about, Problem::Refused(why)));
        }
        Ok(Call {
            operation,
            about,
            name,
            ready: self.client.get().await,
        })
    }
}

/// Sums a body without holding up the runtime.
async fn sums_of(body: &Bytes) -> Sums {
    if body.len() <= SUM_HERE {
        return Sums::of(body);
    }
    let shared = body.clone();
    match tokio::task::spawn_blocking(move || Sums::of(&shared)).await {
        Ok(sums) => sums,
        // The runtime is being shut down.
        Err(_) => Sums::of(body),
    }
}

#[async_trait]
impl Store for S3Store {
    fn url(&self) -> String {
        self.url.clone()
    }

    async fn put(&self, key: &ObjectKey, body: Bytes, mode: PutMode) -> Result<()> {
        let known = self.known();
        let sums = sums_of(&body).await;
        let create = mode == PutMode::Create && known.create_by_put;
        self.put_as(key, body, &sums, create, known).await?;
        Ok(())
    }

    async fn begin(&self, key: &ObjectKey, part_bytes: u64) -> Result<Upload> {
        self.begin_as(key, part_bytes, self.known().crc_of_uploads)
            .await
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        self.send_part(upload, number, body).await
    }

    async fn complete(
        &self,
        upload: &Upload,
        parts: &[Part],
        expected: &Expected,
        mode: PutMode,
    ) -> Result<()> {
        let create = mode == PutMode::Create && self.known().create_by_upload;
        self.complete_as(upload, parts, expected, create).await?;
        Ok(())
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        self.give_up(upload).await
    }

    async fn uploads(&self, key: &ObjectKey) -> Result<Vec<Upload>> {
        self.open_uploads(key).await
    }

    async fn parts(&self, upload: &Upload) -> Result<Vec<PartInfo>> {
        self.sent_parts(upload).await
    }

    fn is_same(&self, one: &Upload, other: &Upload) -> bool {
        uploads::is_same(one, other)
    }

    async fn verify(&self, key: &ObjectKey, expected: &Expected) -> Result<Verified> {
        let known = self.known();
        match self.head(key).await {
            Ok(head) => {
                let call = self.call(Operation::Head, key).await?;
                verify::judge(expected, &head, known).map_err(|problem| call.error(problem))
            }
            Err(error) if !matches!(error.problem(), Problem::Denied(_)) => Err(error),
            // Nobody may look: what the store answered is all there is.
            Err(_) if !known.may_look => Ok(Verified::Answer),
            // We may look at what is there. Without s3:ListBucket a store says 403 for what is not.
            Err(_) => {
                let call = self.call(Operation::Head, key).await?;
                let lacks = "s3:ListBucket (or s3:GetObject, if that was taken away: the store does not say whether the object is missing)";
                Err(call.error(Problem::Denied(lacks)))
            }
        }
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.range(key, range).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        self.page(query).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.remove(key).await
    }

    async fn abort_rules(&self) -> Result<Option<Vec<AbortRule>>> {
        self.rules().await.map(Some)
    }

    async fn probe(&self, key: &ObjectKey) -> Probe {
        probe::run(self, key).await
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("url", &self.url)
            .field("known", &self.known())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn store_at(address: std::net::SocketAddr) -> S3Store {
        let config = StoreConfig {
            url: "s3://bucket".parse().expect("url"),
            endpoint: Some(format!("http://{address}").parse().expect("endpoint")),
            region: Some("test-1".to_owned()),
            path_style: None,
        };
        let mut store = S3Store::new(
            "bucket",
            "",
            &config,
            Some(Credentials::new("id", "hunter2")),
        )
        .expect("store");
        store.limits = Limits {
            stall: Duration::from_millis(200),
            answer: Duration::from_millis(200),
            completion: Duration::from_millis(200),
        };
        store
    }

    /// A peer that takes connections and neither reads nor answers, as a dead one behind a NAT seems to.
    #[tokio::test]
    async fn a_store_that_hangs_is_given_up_while_sending_and_while_waiting() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bind");
        let store = store_at(listener.local_addr().expect("address")).await;
        let hold = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        let key: ObjectKey = "crashes/x.json".parse().expect("key");
        let large = Bytes::from(vec![1; 32 << 20]);
        for (body, told) in [
            (Bytes::from_static(b"small"), "no answer for 200ms"),
            (large, "nothing moved for 200ms"),
        ] {
            let error = store
                .put(&key, body, PutMode::Overwrite)
                .await
                .expect_err("hangs");
            assert!(
                matches!(error.problem(), Problem::Unreachable(why) if why.contains(told)),
                "{error}"
            );
            assert!(!format!("{error} {error:?} {store:?}").contains("hunter2"));
        }
        hold.abort();
    }
}
