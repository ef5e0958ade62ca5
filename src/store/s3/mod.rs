//! `s3://`: a bucket of an S3-compatible store, by aws-sdk-s3.
//!
//! ```text
//! mod      the calls and what is checked of each answer      verify   pure: from HEAD to a verdict
//! client   where to, as whom, how often the SDK tries        errors   from codes and statuses to a Problem
//! transfer bodies and the watch over what stands still       listing  names of a bucket, which anybody may have chosen
//! probe    tries everything once, fills `known`              known    what later calls may rely on
//! ```
//!
//! Rules: before a probe nothing is used that not every store has: no `If-None-Match`, no checksum but `Content-MD5`. A put or part
//! counts only with an ETag, and where ETags are MD5s only with ours. HEAD answered with 403 means that we may not look, or, for an
//! identity that may get but not list, that nothing is there; it is never taken for the content being right.

mod client;
mod errors;
mod known;
mod listing;
mod probe;
mod transfer;
mod verify;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
    EncodingType, ServerSideEncryption,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};

use self::client::{LazyClient, Ready};
use self::known::Known;
use self::transfer::{Limits, Progress, watched};
use self::verify::{Head, bare, write_crc};
use super::sums::Sums;
use super::{
    Credentials, Error, Expected, InvalidStore, ListQuery, Operation, PAGE, Page, Part, Probe,
    Problem, PutMode, Result, Store, StoreConfig, Upload, Verified, check_parts,
};
use crate::model::ObjectKey;

/// S3's own limit.
const KEY_MAX: usize = 1_024;
/// S3's own limit.
const PARTS_MAX: u32 = 10_000;
/// Upload ids are a few hundred bytes; this one goes into our state.
const UPLOAD_ID_MAX: usize = 4_096;
/// Bodies up to this are summed where they are: faster than a thread's wake-up.
const SUM_HERE: usize = 64 << 10;
/// Marks the token of an upload that carries checksums of the whole, which every later request for it must then agree with.
const WITH_CRC: &str = "crc64nvme:";
const PLAIN: &str = "plain:";

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

    async fn put_as(
        &self,
        key: &ObjectKey,
        body: Bytes,
        sums: &Sums,
        create: bool,
        with: Known,
    ) -> Result<Stored> {
        let call = self.call(Operation::Put, key).await?;
        let progress = Progress::of(sums.bytes);
        let request = call
            .ready
            .sdk
            .put_object()
            .bucket(&self.bucket)
            .key(&call.name)
            .set_if_none_match(create.then(|| "*".to_owned()))
            .set_content_md5(with.content_md5.then(|| BASE64.encode(sums.md5)))
            .set_checksum_crc64_nvme(with.crc_of_puts.then(|| write_crc(sums.crc64nvme)))
            .content_length(call.length(sums.bytes)?)
            .body(transfer::body(body, &progress));
        let answer = call
            .watch(
                &progress,
                self.limits.stall,
                self.limits.answer,
                request.send(),
            )
            .await?;
        let etag = call.etag(answer.e_tag())?;
        call.check_etag(&etag, sums, with)?;
        Ok(Stored {
            etag,
            crc64nvme: answer.checksum_crc64_nvme().map(str::to_owned),
        })
    }

    async fn begin_as(&self, key: &ObjectKey, part_bytes: u64, with_crc: bool) -> Result<Upload> {
        let call = self.call(Operation::Begin, key).await?;
        if part_bytes == 0 {
            return Err(call.error(Problem::Refused("parts of 0 bytes".to_owned())));
        }
        let request = call
            .ready
            .sdk
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(&call.name)
            .set_checksum_algorithm(with_crc.then_some(ChecksumAlgorithm::Crc64Nvme))
            .set_checksum_type(with_crc.then_some(ChecksumType::FullObject));
        let answer = call.send(self.limits.stall, request.send()).await?;
        let id = answer.upload_id().unwrap_or_default();
        if id.is_empty() || id.len() > UPLOAD_ID_MAX {
            let why = "it answered success without an upload id that can be kept";
            return Err(call.error(Problem::Failed(why.to_owned())));
        }
        Ok(Upload {
            key: key.clone(),
            token: format!("{}{id}", if with_crc { WITH_CRC } else { PLAIN }),
            part_bytes,
        })
    }

    async fn complete_as(
        &self,
        upload: &Upload,
        parts: &[Part],
        expected: &Expected,
        create: bool,
    ) -> Result<Stored> {
        let call = self.call(Operation::Complete, &upload.key).await?;
        check_parts(upload, parts, expected).map_err(|problem| call.error(problem))?;
        let token = call.token(upload)?;
        let named = parts
            .iter()
            .map(|part| {
                CompletedPart::builder()
                    .part_number(part.number as i32)
                    .e_tag(&part.etag)
                    .build()
            })
            .collect();
        let length = call.length(expected.bytes)?;
        let request = call
            .ready
            .sdk
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(&call.name)
            .upload_id(token.id)
            .multipart_upload(
                CompletedMultipartUpload::builder()
                    .set_parts(Some(named))
                    .build(),
            )
            .set_if_none_match(create.then(|| "*".to_owned()))
            .set_checksum_crc64_nvme(token.with_crc.then(|| write_crc(expected.crc64nvme)))
            .set_checksum_type(token.with_crc.then_some(ChecksumType::FullObject))
            .set_mpu_object_size(token.with_crc.then_some(length));
        let answer = call.send(self.limits.completion, request.send()).await?;
        Ok(Stored {
            etag: call.etag(answer.e_tag())?,
            crc64nvme: answer.checksum_crc64_nvme().map(str::to_owned),
        })
    }

    async fn head(&self, key: &ObjectKey) -> Result<Head> {
        let call = self.call(Operation::Head, key).await?;
        let request = call
            .ready
            .sdk
            .head_object()
            .bucket(&self.bucket)
            .key(&call.name)
            .checksum_mode(ChecksumMode::Enabled);
        let answer = call.send(self.limits.stall, request.send()).await?;
        let full = !matches!(answer.checksum_type(), Some(ChecksumType::Composite));
        let own_key = answer.sse_customer_algorithm().is_some()
            || matches!(
                answer.server_side_encryption(),
                Some(ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse)
            );
        Ok(Head {
            bytes: answer.content_length(),
            etag: answer.e_tag().map(str::to_owned),
            crc64nvme: answer
                .checksum_crc64_nvme()
                .filter(|_| full)
                .map(str::to_owned),
            own_key,
        })
    }

    /// Reads an answer's bytes within `wanted` and no more.
    async fn read(
        &self,
        call: &Call<'_>,
        wanted: Range<u64>,
        answer: aws_sdk_s3::operation::get_object::GetObjectOutput,
    ) -> Result<Bytes> {
        // A store that ignores the range sends the whole object from its beginning.
        let (from, promised) = match answer.content_range() {
            None => (0, None),
            Some(text) => match content_range(text) {
                Some(sent) if sent.start == wanted.start && sent.end <= wanted.end => {
                    (sent.start, Some(sent.end - sent.start))
                }
                _ => {
                    let why = "it answered with another range than the one asked for";
                    return Err(call.error(Problem::Failed(why.to_owned())));
                }
            },
        };
        let mut skip = wanted.start - from;
        let mut left = wanted.end - wanted.start;
        let mut content = BytesMut::new();
        let mut body = answer.body;
        while left > 0 {
            let next = tokio::time::timeout(self.limits.stall, body.next());
            let mut piece = match next.await {
                Ok(None) => break,
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(error))) => {
                    let why = format!("{}: {error}", call.ready.address);
                    return Err(call.error(Problem::Unreachable(why)));
                }
                Err(_) => {
                    let why = format!(
                        "{}: nothing came for {:?} after {} bytes",
                        call.ready.address,
                        self.limits.stall,
                        content.len()
                    );
                    return Err(call.error(Problem::Unreachable(why)));
                }
            };
            let skipped = skip.min(piece.len() as u64);
            let piece = piece.split_off(skipped as usize);
            skip -= skipped;
            let taken = left.min(piece.len() as u64);
            content.extend_from_slice(&piece[..taken as usize]);
            left -= taken;
        }
        match promised {
            Some(promised) if content.len() as u64 != promised => {
                let why = format!(
                    "{}: the answer ended after {} of {promised} bytes",
                    call.ready.address,
                    content.len()
                );
                Err(call.error(Problem::Unreachable(why)))
            }
            _ => Ok(content.freeze()),
        }
    }
}

/// One call: what it is about, and the client it goes through.
struct Call<'a> {
    operation: Operation,
    about: String,
    /// The key with the store's prefix.
    name: String,
    ready: &'a Ready,
}

/// A store's answer to a put, part or completion.
struct Stored {
    etag: String,
    crc64nvme: Option<String>,
}

/// An upload's token, read.
struct Token<'a> {
    id: &'a str,
    with_crc: bool,
}

impl Call<'_> {
    fn error(&self, problem: Problem) -> Error {
        Error::new(self.operation, &self.about, problem)
    }

    async fn send<T, E>(
        &self,
        answer: Duration,
        request: impl Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.watch(&Progress::of(0), answer, answer, request).await
    }

    async fn watch<T, E>(
        &self,
        progress: &Progress,
        stall: Duration,
        answer: Duration,
        request: impl Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        // The SDK's futures are tens of kilobytes.
        let request = Box::pin(request);
        match watched(progress, stall, answer, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(errors::error_of(
                self.operation,
                &self.about,
                self.ready,
                &error,
            )),
            Err(stalled) => {
                let why = format!("{}: {stalled}", self.ready.address);
                Err(self.error(Problem::Unreachable(why)))
            }
        }
    }

    /// A length as S3 counts it.
    fn length(&self, bytes: u64) -> Result<i64> {
        i64::try_from(bytes)
            .map_err(|_| self.error(Problem::Refused(format!("{bytes} bytes are too many"))))
    }

    /// Without an ETag an answer is no receipt: a proxy's or a captive portal's 200, for example.
    fn etag(&self, answered: Option<&str>) -> Result<String> {
        match answered {
            Some(etag) if !bare(etag).is_empty() => Ok(etag.to_owned()),
            _ => {
                let why = "it answered success without an ETag";
                Err(self.error(Problem::Failed(why.to_owned())))
            }
        }
    }

    /// Holds a receipt against what was sent, where the store's ETags allow it.
    fn check_etag(&self, etag: &str, sums: &Sums, known: Known) -> Result<()> {
        if !known.md5_etags || bare(etag).eq_ignore_ascii_case(&sums.md5_hex()) {
            return Ok(());
        }
        let what = "the ETag it answered with is not the MD5 of what was sent";
        Err(self.error(Problem::Mismatch(what.to_owned())))
    }

    fn token<'t>(&self, upload: &'t Upload) -> Result<Token<'t>> {
        let with_crc = upload.token.strip_prefix(WITH_CRC);
        let plain = upload.token.strip_prefix(PLAIN);
        match (with_crc, plain) {
            (Some(id), _) => Ok(Token { id, with_crc: true }),
            (None, Some(id)) => Ok(Token {
                id,
                with_crc: false,
            }),
            // From another kind of store: this one has no such upload.
            (None, None) => Err(self.error(Problem::NoSuchUpload)),
        }
    }
}

/// `bytes FIRST-LAST/TOTAL` as a half-open range.
fn content_range(text: &str) -> Option<Range<u64>> {
    let (first, rest) = text.strip_prefix("bytes ")?.split_once('-')?;
    let (last, _) = rest.split_once('/')?;
    let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
    (first <= last).then_some(first..last.checked_add(1)?)
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

/// `Range` of a request (RFC 9110, 14.1.2). Positions beyond what a signed number holds are refused by some stores: such a range is one to the end.
fn range_header(range: &Range<u64>) -> String {
    match i64::try_from(range.end) {
        Ok(end) => format!("bytes={}-{}", range.start, end - 1),
        Err(_) => format!("bytes={}-", range.start),
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
        let call = self.call(Operation::PutPart, &upload.key).await?;
        if !(1..=PARTS_MAX).contains(&number) {
            let why = format!("part {number}: parts are numbered from 1 to {PARTS_MAX}");
            return Err(call.error(Problem::Refused(why)));
        }
        let token = call.token(upload)?;
        let known = self.known();
        let sums = sums_of(&body).await;
        let progress = Progress::of(sums.bytes);
        let request = call
            .ready
            .sdk
            .upload_part()
            .bucket(&self.bucket)
            .key(&call.name)
            .upload_id(token.id)
            .part_number(number as i32)
            .set_content_md5(known.content_md5.then(|| BASE64.encode(sums.md5)))
            .set_checksum_crc64_nvme(token.with_crc.then(|| write_crc(sums.crc64nvme)))
            .content_length(call.length(sums.bytes)?)
            .body(transfer::body(body, &progress));
        let answer = call
            .watch(
                &progress,
                self.limits.stall,
                self.limits.answer,
                request.send(),
            )
            .await?;
        let etag = call.etag(answer.e_tag())?;
        call.check_etag(&etag, &sums, known)?;
        Ok(Part {
            number,
            bytes: sums.bytes,
            etag,
            md5: sums.md5_hex(),
        })
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
        let call = self.call(Operation::Abort, &upload.key).await?;
        let Ok(token) = call.token(upload) else {
            return Ok(());
        };
        let request = call
            .ready
            .sdk
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(&call.name)
            .upload_id(token.id);
        match call.send(self.limits.stall, request.send()).await {
            Ok(_) => Ok(()),
            Err(error) if *error.problem() == Problem::NoSuchUpload => Ok(()),
            Err(error) => Err(error),
        }
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
        if range.is_empty() {
            // S3 has no empty ranges; a missing object is missing all the same.
            self.head(key).await?;
            return Ok(Bytes::new());
        }
        let call = self.call(Operation::Get, key).await?;
        let request = call
            .ready
            .sdk
            .get_object()
            .bucket(&self.bucket)
            .key(&call.name)
            .range(range_header(&range));
        let past_the_end = std::sync::atomic::AtomicBool::new(false);
        let noting = async {
            let answer = request.send().await;
            if let Err(error) = &answer {
                let past = errors::status_of(error) == Some(416);
                past_the_end.store(past, std::sync::atomic::Ordering::Relaxed);
            }
            answer
        };
        match call.send(self.limits.stall, noting).await {
            Ok(answer) => self.read(&call, range, answer).await,
            Err(_) if past_the_end.into_inner() => Ok(Bytes::new()),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        let about = format!("{}/{}", self.url, query.prefix);
        let call = Call {
            operation: Operation::List,
            about,
            name: format!("{}{}", self.prefix, query.prefix),
            ready: self.client.get().await,
        };
        let request = call
            .ready
            .sdk
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(&call.name)
            .set_delimiter(query.folders.then(|| "/".to_owned()))
            .set_continuation_token(query.next.clone())
            // A name that XML cannot carry would make the whole page unreadable.
            .encoding_type(EncodingType::Url)
            .max_keys(PAGE as i32);
        let answer = call.send(self.limits.stall, request.send()).await?;
        listing::page(&self.prefix, query, &answer).map_err(|problem| call.error(problem))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        let call = self.call(Operation::Delete, key).await?;
        let request = call
            .ready
            .sdk
            .delete_object()
            .bucket(&self.bucket)
            .key(&call.name);
        match call.send(self.limits.stall, request.send()).await {
            Ok(_) => Ok(()),
            Err(error) if *error.problem() == Problem::NotFound => Ok(()),
            Err(error) => Err(error),
        }
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
    use super::*;

    #[test]
    fn content_ranges_are_read_or_refused() {
        assert_eq!(content_range("bytes 0-9/10"), Some(0..10));
        assert_eq!(content_range("bytes 5-5/*"), Some(5..6));
        for text in [
            "",
            "bytes */10",
            "bytes 9-5/10",
            "bytes 0-18446744073709551615/1",
            "0-9/10",
            "bytes -1-9/10",
        ] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }

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
