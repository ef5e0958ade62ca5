//! Objects in parts: begun, sent, completed, given up, and what a store still holds of them.
//!
//! A token is the store's upload id behind a mark that says whether the upload carries checksums of the whole: every request for it must
//! agree with how it was begun, whatever a later probe finds. Giving up and listing ask for the id alone.

use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, EncodingType,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use super::call::Call;
use super::transfer::{self, Progress};
use super::unfinished::{self, Marker};
use super::verify::{self, Told, is_own_key, write_crc};
use super::{S3Store, sums_of};
use crate::model::ObjectKey;
use crate::store::{
    Expected, Md5s, Operation, PAGE, PARTS_MAX, Part, PartInfo, Problem, Result, UPLOADS_MAX,
    Upload, check_parts,
};

/// Upload ids are a few hundred bytes; this one goes into our state.
const UPLOAD_ID_MAX: usize = 4_096;
/// Marks the token of an upload that carries checksums of the whole.
const WITH_CRC: &str = "crc64nvme:";
const PLAIN: &str = "plain:";
/// Most pages of uploads that are looked at: keys that only begin like ours may be anybody's.
const PAGES_MAX: usize = 100;

/// An upload's token, read.
struct Token<'a> {
    id: &'a str,
    with_crc: bool,
}

impl<'a> Token<'a> {
    /// None for a token of another kind of store: this one has no such upload.
    fn of(upload: &'a Upload) -> Option<Self> {
        let marked = |mark, with_crc| {
            let id = upload.token.strip_prefix(mark)?;
            Some(Self { id, with_crc })
        };
        marked(WITH_CRC, true).or_else(|| marked(PLAIN, false))
    }

    fn write(id: &str, with_crc: bool) -> String {
        format!("{}{id}", if with_crc { WITH_CRC } else { PLAIN })
    }
}

impl Call<'_> {
    fn token<'t>(&self, upload: &'t Upload) -> Result<Token<'t>> {
        Token::of(upload).ok_or_else(|| self.error(Problem::NoSuchUpload))
    }
}

/// Whether both are one upload, one as it was begun and the other as it is listed.
pub(super) fn is_same(one: &Upload, other: &Upload) -> bool {
    let ids = (Token::of(one), Token::of(other));
    one.key == other.key && matches!(ids, (Some(one), Some(other)) if one.id == other.id)
}

fn is_upload_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= UPLOAD_ID_MAX
}

impl S3Store {
    pub(super) async fn begin_as(
        &self,
        key: &ObjectKey,
        part_bytes: u64,
        with_crc: bool,
    ) -> Result<Upload> {
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
        if !is_upload_id(id) {
            let why = "it answered success without an upload id that can be kept";
            return Err(call.error(Problem::Failed(why.to_owned())));
        }
        Ok(Upload {
            key: key.clone(),
            token: Token::write(id, with_crc),
            part_bytes,
        })
    }

    pub(super) async fn send_part(
        &self,
        upload: &Upload,
        number: u32,
        body: Bytes,
    ) -> Result<Part> {
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
        let told = Told {
            etag: Some(etag.clone()),
            crc64nvme: answer.checksum_crc64_nvme().map(str::to_owned),
            own_key: is_own_key(
                answer.server_side_encryption(),
                answer.sse_customer_algorithm(),
            ),
        };
        let md5 = sums.md5_hex();
        verify::compare(sums.crc64nvme, &Md5s::Whole(md5.clone()), &told, known)
            .map_err(|problem| call.error(problem))?;
        Ok(Part {
            number,
            bytes: sums.bytes,
            etag,
            md5,
        })
    }

    pub(super) async fn complete_as(
        &self,
        upload: &Upload,
        parts: &[Part],
        expected: &Expected,
        create: bool,
    ) -> Result<Told> {
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
        let told = Told {
            etag: Some(call.etag(answer.e_tag())?),
            crc64nvme: answer.checksum_crc64_nvme().map(str::to_owned),
            own_key: is_own_key(answer.server_side_encryption(), None),
        };
        verify::compare(expected.crc64nvme, &expected.md5s, &told, self.known())
            .map_err(|problem| call.error(problem))?;
        Ok(told)
    }

    pub(super) async fn give_up(&self, upload: &Upload) -> Result<()> {
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

    /// What is open at a key. The prefix asked for matches longer keys as well.
    pub(super) async fn open_uploads(&self, key: &ObjectKey) -> Result<Vec<Upload>> {
        let call = self.call(Operation::ListUploads, key).await?;
        let mut found = Vec::new();
        let mut marker: Option<Marker> = None;
        for _ in 0..PAGES_MAX {
            let (after_key, after_id) = marker.clone().unzip();
            let request = call
                .ready
                .sdk
                .list_multipart_uploads()
                .bucket(&self.bucket)
                .prefix(&call.name)
                .set_key_marker(after_key)
                .set_upload_id_marker(after_id)
                // As in a listing of objects: one name must not make the others unreadable.
                .encoding_type(EncodingType::Url)
                .max_uploads(PAGE as i32);
            let answer = call.send(self.limits.stall, request.send()).await?;
            let page = unfinished::uploads(&call.name, marker.as_ref(), &answer)
                .map_err(|problem| call.error(problem))?;
            let open = page.open.into_iter().filter(|open| is_upload_id(open.id));
            found.extend(open.map(|open| Upload {
                key: key.clone(),
                token: Token::write(open.id, open.with_crc),
                part_bytes: 0,
            }));
            if found.len() >= UPLOADS_MAX || page.next.is_none() {
                found.truncate(UPLOADS_MAX);
                return Ok(found);
            }
            marker = page.next;
        }
        let why = format!("its listing of uploads has more than {PAGES_MAX} pages");
        Err(call.error(Problem::Failed(why)))
    }

    /// What has arrived of an upload.
    pub(super) async fn sent_parts(&self, upload: &Upload) -> Result<Vec<PartInfo>> {
        let call = self.call(Operation::ListParts, &upload.key).await?;
        let token = call.token(upload)?;
        let mut parts: Vec<PartInfo> = Vec::new();
        loop {
            let last = parts.last().map(|part| part.number);
            let request = call
                .ready
                .sdk
                .list_parts()
                .bucket(&self.bucket)
                .key(&call.name)
                .upload_id(token.id)
                .set_part_number_marker(last.map(|number| number.to_string()))
                .max_parts(PAGE as i32);
            let answer = call.send(self.limits.stall, request.send()).await?;
            let more =
                unfinished::parts(&mut parts, &answer).map_err(|problem| call.error(problem))?;
            if !more {
                return Ok(parts);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(key: &str, token: &str) -> Upload {
        Upload {
            key: key.parse().expect("key"),
            token: token.to_owned(),
            part_bytes: 8,
        }
    }

    #[test]
    fn an_upload_is_known_by_its_id_and_key_alone() {
        let begun = upload("x", "crc64nvme:id:1");
        assert!(is_same(&begun, &upload("x", "plain:id:1")));
        assert!(is_same(
            &begun,
            &Upload {
                part_bytes: 0,
                ..begun.clone()
            }
        ));
        assert!(!is_same(&begun, &upload("x", "plain:id:2")));
        assert!(!is_same(&begun, &upload("y", "plain:id:1")));
        let foreign = upload("x", "0123456789abcdef");
        assert!(!is_same(&foreign, &foreign), "of no use here");
    }
}
