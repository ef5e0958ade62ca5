//! The operations.

use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt;
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use s3s::dto::*;
use s3s::region::Region;
use s3s::{Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::faults::{Checksums, Conditions, Faults};
use super::kept::{Arriving, Content, Object as Stored, Upload};
use super::listing::length_of;
use super::{BUCKET, REGION, State, listing, lock};

/// S3's smallest part but for the last.
const PART_MIN: u64 = 5 << 20;

pub(super) struct Api(pub(super) Arc<State>);

impl Api {
    fn faults(&self) -> Faults {
        lock(&self.0.faults).clone()
    }

    async fn receive(&self, body: Option<StreamingBlob>) -> S3Result<Content> {
        let mut arriving = Arriving::new(self.0.keep_up_to);
        if let Some(mut body) = body {
            while let Some(bytes) = body.next().await {
                let broken = |_| s3_error!(IncompleteBody, "the body ended early");
                arriving.push(bytes.map_err(broken)?);
            }
        }
        Ok(arriving.end())
    }

    fn object(&self, key: &str) -> S3Result<Stored> {
        if let Some(object) = lock(&self.0.kept).objects.get(key) {
            return Ok(object.clone());
        }
        match self.faults().absent_is_denied {
            true => Err(s3_error!(AccessDenied, "Access Denied")),
            false => Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
        }
    }
}

fn is_here(bucket: &str, region: Option<&Region>) -> S3Result<()> {
    if region.is_some_and(|region| region.as_str() != REGION) {
        let text = format!("The authorization header is malformed; expecting '{REGION}'");
        let mut error = S3Error::with_message(S3ErrorCode::AuthorizationHeaderMalformed, text);
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-bucket-region", HeaderValue::from_static(REGION));
        error.set_headers(headers);
        return Err(error);
    }
    match bucket {
        BUCKET => Ok(()),
        _ => Err(s3_error!(
            NoSuchBucket,
            "The specified bucket does not exist"
        )),
    }
}

fn may_write(taken: Conditions, there: bool, condition: Option<&IfNoneMatch>) -> S3Result<()> {
    match (condition, taken) {
        (None, _) | (Some(_), Conditions::Ignored) => Ok(()),
        (Some(_), Conditions::Refused) => Err(s3_error!(
            NotImplemented,
            "A header you provided implies functionality that is not implemented"
        )),
        (Some(_), Conditions::Honoured) if there => Err(s3_error!(
            PreconditionFailed,
            "At least one of the pre-conditions you specified did not hold"
        )),
        (Some(_), Conditions::Honoured) => Ok(()),
    }
}

fn check_sums(
    faults: &Faults,
    content: &Content,
    md5: Option<&str>,
    crc: Option<&str>,
) -> S3Result<()> {
    if md5.is_some_and(|md5| md5 != content.md5_base64()) {
        return Err(s3_error!(
            BadDigest,
            "The Content-MD5 you specified did not match what we received."
        ));
    }
    match (crc, faults.checksums) {
        (None, _) | (Some(_), Checksums::Ignored) => Ok(()),
        (Some(_), Checksums::Refused) => Err(s3_error!(
            NotImplemented,
            "A header you provided implies functionality that is not implemented"
        )),
        (Some(crc), Checksums::Kept) if crc != content.crc64nvme() => Err(s3_error!(
            BadDigest,
            "The CRC64NVME you specified did not match the calculated checksum."
        )),
        (Some(_), Checksums::Kept) => Ok(()),
    }
}

fn etag_for(faults: &Faults, md5: &str) -> Option<ETag> {
    match faults.no_etags {
        true => None,
        false => Some(ETag::Strong(stored_etag(faults, md5))),
    }
}

fn stored_etag(faults: &Faults, md5: &str) -> String {
    match faults.odd_etags {
        true => md5.chars().rev().collect(),
        false => md5.to_owned(),
    }
}

/// What is kept of a content that arrived, and what is said of it.
fn received(faults: &Faults, content: Content) -> (Content, Content) {
    match (faults.corrupt, faults.owns_up) {
        (false, _) => (content.clone(), content),
        (true, false) => (content.clone().corrupted(), content),
        (true, true) => (content.clone().corrupted(), content.corrupted()),
    }
}

fn own_key() -> ServerSideEncryption {
    ServerSideEncryption::from_static(ServerSideEncryption::AWS_KMS)
}

fn encryption(faults: &Faults) -> Option<ServerSideEncryption> {
    faults.own_key.then(own_key)
}

fn lean() -> S3Error {
    s3_error!(InternalError, "lean mode kept no bytes of it")
}

fn no_upload() -> S3Error {
    s3_error!(NoSuchUpload, "The specified upload does not exist.")
}

#[async_trait::async_trait]
impl S3 for Api {
    async fn put_object(
        &self,
        req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        is_here(&input.bucket, req.region.as_ref())?;
        let faults = self.faults();
        let content = self.receive(input.body).await?;
        let (md5, crc) = (input.content_md5, input.checksum_crc64nvme);
        check_sums(&faults, &content, md5.as_deref(), crc.as_deref())?;
        let mut kept = lock(&self.0.kept);
        let there = kept.objects.contains_key(&input.key);
        may_write(faults.conditions.0, there, input.if_none_match.as_ref())?;
        let (content, told) = received(&faults, content);
        let checksum = faults.checksums == Checksums::Kept;
        let output = PutObjectOutput {
            e_tag: etag_for(&faults, &told.md5_hex()),
            checksum_crc64nvme: checksum.then(|| told.crc64nvme()),
            server_side_encryption: encryption(&faults),
            ..Default::default()
        };
        if !faults.swallow {
            let object = Stored {
                etag: stored_etag(&faults, &content.md5_hex()),
                content,
                checksum,
                own_key: faults.own_key,
            };
            kept.objects.insert(input.key, object);
        }
        Ok(S3Response::new(output))
    }

    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        is_here(&input.bucket, req.region.as_ref())?;
        let object = self.object(&input.key)?;
        let bytes = object.content.bytes().ok_or_else(lean)?;
        let length = bytes.len() as u64;
        let (bytes, content_range) = match input.range {
            None => (bytes, None),
            Some(range) => {
                let range = range.check(length).map_err(|_| {
                    s3_error!(InvalidRange, "The requested range is not satisfiable")
                })?;
                let told = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                let part = bytes.slice(range.start as usize..range.end as usize);
                (part, Some(told))
            }
        };
        let partial = content_range.is_some();
        let output = GetObjectOutput {
            content_length: i64::try_from(bytes.len()).ok(),
            body: Some(StreamingBlob::from(Body::from(bytes))),
            content_range,
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(SystemTime::now().into()),
            ..Default::default()
        };
        Ok(match partial {
            true => S3Response::with_status(output, hyper::StatusCode::PARTIAL_CONTENT),
            false => S3Response::new(output),
        })
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        is_here(&input.bucket, req.region.as_ref())?;
        let object = self.object(&input.key)?;
        let asked = input.checksum_mode.is_some();
        let checksum = (asked && object.checksum).then(|| object.content.crc64nvme());
        let full = ChecksumType::from_static(ChecksumType::FULL_OBJECT);
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(length_of(&object.content)),
            checksum_type: checksum.is_some().then_some(full),
            checksum_crc64nvme: checksum,
            e_tag: Some(ETag::Strong(object.etag)),
            server_side_encryption: object.own_key.then(own_key),
            last_modified: Some(SystemTime::now().into()),
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        is_here(&req.input.bucket, req.region.as_ref())?;
        lock(&self.0.kept).objects.remove(&req.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        is_here(&req.input.bucket, req.region.as_ref())?;
        let page = self.faults().page;
        let listed = listing::objects(&lock(&self.0.kept), req.input, page);
        Ok(S3Response::new(listed))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = req.input;
        is_here(&input.bucket, req.region.as_ref())?;
        if input.checksum_algorithm.is_some() && self.faults().checksums == Checksums::Refused {
            return Err(s3_error!(NotImplemented, "no checksums here"));
        }
        let id = lock(&self.0.kept).begin(&input.key);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..Default::default()
        }))
    }

    async fn upload_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = req.input;
        is_here(&input.bucket, req.region.as_ref())?;
        let faults = self.faults();
        let content = self.receive(input.body).await?;
        let (md5, crc) = (input.content_md5, input.checksum_crc64nvme);
        check_sums(&faults, &content, md5.as_deref(), crc.as_deref())?;
        let mut kept = lock(&self.0.kept);
        let upload = kept.uploads.get_mut(&input.upload_id);
        let upload = upload
            .filter(|upload| upload.key == input.key)
            .ok_or_else(no_upload)?;
        let output = UploadPartOutput {
            e_tag: etag_for(&faults, &content.md5_hex()),
            server_side_encryption: encryption(&faults),
            ..Default::default()
        };
        upload.parts.insert(input.part_number, content);
        Ok(S3Response::new(output))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        is_here(&input.bucket, req.region.as_ref())?;
        let faults = self.faults();
        let mut kept = lock(&self.0.kept);
        if faults.forgets_first && kept.forgotten.insert(input.key.clone()) {
            kept.uploads.remove(&input.upload_id);
        }
        let there = kept.objects.contains_key(&input.key);
        let upload = kept.uploads.get(&input.upload_id);
        let upload = upload
            .filter(|upload| upload.key == input.key)
            .ok_or_else(no_upload)?;
        may_write(faults.conditions.1, there, input.if_none_match.as_ref())?;
        let named = input.multipart_upload.and_then(|upload| upload.parts);
        let parts = named_parts(&faults, upload, &named.unwrap_or_default())?;
        let (content, etag) = Content::joined(&parts, self.0.keep_up_to);
        let crc = input.checksum_crc64nvme.as_deref();
        check_sums(&faults, &content, None, crc)?;
        let promised = input.mpu_object_size;
        if promised.is_some_and(|promised| promised != length_of(&content)) {
            return Err(s3_error!(InvalidRequest, "the object has another size"));
        }
        if faults.late_completions {
            // The status went out long ago: the error is all that is left to say.
            let late = async {
                Err(s3_error!(
                    InternalError,
                    "We encountered an internal error."
                ))
            };
            return Ok(S3Response::new(CompleteMultipartUploadOutput {
                future: Some(Box::pin(late)),
                ..Default::default()
            }));
        }
        let checksum = faults.checksums == Checksums::Kept;
        let (content, told) = received(&faults, content);
        let output = CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key.clone()),
            e_tag: etag_for(&faults, &etag),
            checksum_crc64nvme: checksum.then(|| told.crc64nvme()),
            server_side_encryption: encryption(&faults),
            ..Default::default()
        };
        kept.uploads.remove(&input.upload_id);
        if !faults.swallow {
            let object = Stored {
                content,
                etag: stored_etag(&faults, &etag),
                checksum,
                own_key: faults.own_key,
            };
            kept.objects.insert(input.key, object);
        }
        Ok(S3Response::new(output))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        is_here(&req.input.bucket, req.region.as_ref())?;
        let removed = lock(&self.0.kept).uploads.remove(&req.input.upload_id);
        removed.ok_or_else(no_upload)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_parts(
        &self,
        req: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let input = req.input;
        is_here(&input.bucket, req.region.as_ref())?;
        let faults = self.faults();
        let kept = lock(&self.0.kept);
        let upload = kept.uploads.get(&input.upload_id);
        let upload = upload
            .filter(|upload| upload.key == input.key)
            .ok_or_else(no_upload)?;
        let etag = |content: &Content| stored_etag(&faults, &content.md5_hex());
        let listed = listing::parts(upload, input, faults.page, etag);
        Ok(S3Response::new(listed))
    }

    async fn get_bucket_lifecycle_configuration(
        &self,
        req: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
        is_here(&req.input.bucket, req.region.as_ref())?;
        let prefix = self.faults().lifecycle.unwrap_or(Some(String::new()));
        let Some(prefix) = prefix else {
            return Err(s3_error!(
                NoSuchLifecycleConfiguration,
                "The lifecycle configuration does not exist"
            ));
        };
        let filter = LifecycleRuleFilter {
            prefix: Some(prefix),
            ..Default::default()
        };
        let rule = LifecycleRule {
            abort_incomplete_multipart_upload: Some(AbortIncompleteMultipartUpload {
                days_after_initiation: Some(7),
            }),
            expiration: None,
            filter: Some(filter),
            id: Some("abort".to_owned()),
            noncurrent_version_expiration: None,
            noncurrent_version_transitions: None,
            prefix: None,
            status: ExpirationStatus::from_static(ExpirationStatus::ENABLED),
            transitions: None,
        };
        Ok(S3Response::new(GetBucketLifecycleConfigurationOutput {
            rules: Some(vec![rule]),
            ..Default::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        is_here(&req.input.bucket, req.region.as_ref())?;
        let page = self.faults().page;
        let listed = listing::uploads(&lock(&self.0.kept), req.input, page);
        Ok(S3Response::new(listed))
    }
}

/// The parts that a completion names, as strictly as S3 takes them.
fn named_parts<'a>(
    faults: &Faults,
    upload: &'a Upload,
    named: &[CompletedPart],
) -> S3Result<Vec<&'a Content>> {
    let invalid = || {
        s3_error!(
            InvalidPart,
            "One or more of the specified parts could not be found."
        )
    };
    let mut parts: Vec<&Content> = Vec::new();
    let mut before = 0;
    for part in named {
        let number = part.part_number.unwrap_or_default();
        if number <= before {
            return Err(s3_error!(InvalidPartOrder, "not in ascending order"));
        }
        before = number;
        let content = upload.parts.get(&number).ok_or_else(invalid)?;
        let etag = part.e_tag.as_ref().map(ETag::value);
        if etag != Some(stored_etag(faults, &content.md5_hex()).as_str()) {
            return Err(invalid());
        }
        parts.push(content);
    }
    let Some((last, full)) = parts.split_last() else {
        return Err(s3_error!(MalformedXML, "no parts"));
    };
    if full.iter().any(|part| part.length() < PART_MIN) {
        return Err(s3_error!(
            EntityTooSmall,
            "Your proposed upload is smaller than the minimum allowed object size."
        ));
    }
    let first = full.first().map_or(last.length(), |part| part.length());
    let unequal = full.iter().any(|part| part.length() != first) || last.length() > first;
    if faults.equal_parts && unequal {
        return Err(s3_error!(
            InvalidPart,
            "All non-trailing parts must have the same length."
        ));
    }
    Ok(parts)
}
