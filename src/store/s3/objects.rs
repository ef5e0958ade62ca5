//! Whole objects: put, looked at, read, listed, removed.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::types::{ChecksumMode, ChecksumType, EncodingType};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};

use super::call::Call;
use super::known::Known;
use super::transfer::{self, Progress};
use super::verify::{Head, Told, is_own_key, write_crc};
use super::{S3Store, errors, listing, verify};
use crate::model::ObjectKey;
use crate::store::sums::Sums;
use crate::store::{ListQuery, Md5s, Operation, PAGE, Page, Problem, Result};

impl S3Store {
    pub(super) async fn put_as(
        &self,
        key: &ObjectKey,
        body: Bytes,
        sums: &Sums,
        create: bool,
        with: Known,
    ) -> Result<Told> {
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
        let told = Told {
            etag: Some(call.etag(answer.e_tag())?),
            crc64nvme: answer.checksum_crc64_nvme().map(str::to_owned),
            own_key: is_own_key(
                answer.server_side_encryption(),
                answer.sse_customer_algorithm(),
            ),
        };
        let md5 = Md5s::Whole(sums.md5_hex());
        verify::compare(sums.crc64nvme, &md5, &told, with)
            .map_err(|problem| call.error(problem))?;
        Ok(told)
    }

    pub(super) async fn head(&self, key: &ObjectKey) -> Result<Head> {
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
        Ok(Head {
            bytes: answer.content_length(),
            told: Told {
                etag: answer.e_tag().map(str::to_owned),
                crc64nvme: answer
                    .checksum_crc64_nvme()
                    .filter(|_| full)
                    .map(str::to_owned),
                own_key: is_own_key(
                    answer.server_side_encryption(),
                    answer.sse_customer_algorithm(),
                ),
            },
        })
    }

    /// Reads the part of an object that lies within `range`.
    pub(super) async fn range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
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
        let past_the_end = AtomicBool::new(false);
        let noting = async {
            let answer = request.send().await;
            if let Err(error) = &answer {
                let past = errors::status_of(error) == Some(416);
                past_the_end.store(past, Ordering::Relaxed);
            }
            answer
        };
        match call.send(self.limits.stall, noting).await {
            Ok(answer) => self.read(&call, range, answer).await,
            Err(_) if past_the_end.into_inner() => Ok(Bytes::new()),
            Err(error) => Err(error),
        }
    }

    /// Reads an answer's bytes within `wanted` and no more.
    async fn read(
        &self,
        call: &Call<'_>,
        wanted: Range<u64>,
        answer: GetObjectOutput,
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

    pub(super) async fn page(&self, query: &ListQuery) -> Result<Page> {
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

    pub(super) async fn remove(&self, key: &ObjectKey) -> Result<()> {
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
}

/// `bytes FIRST-LAST/TOTAL` as a half-open range.
fn content_range(text: &str) -> Option<Range<u64>> {
    let (first, rest) = text.strip_prefix("bytes ")?.split_once('-')?;
    let (last, _) = rest.split_once('/')?;
    let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
    (first <= last).then_some(first..last.checked_add(1)?)
}

/// `Range` of a request (RFC 9110, 14.1.2). Positions beyond what a signed number holds are refused by some stores: such a range is one to the end.
fn range_header(range: &Range<u64>) -> String {
    match i64::try_from(range.end) {
        Ok(end) => format!("bytes={}-{}", range.start, end - 1),
        Err(_) => format!("bytes={}-", range.start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::changes::changed;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn a_changed_content_range_is_a_range_or_none(text in changed("bytes 5-9/10")) {
            if let Some(range) = content_range(&text) {
                prop_assert!(range.start < range.end);
            }
        }
    }
}
