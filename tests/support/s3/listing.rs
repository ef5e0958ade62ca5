//! What is listed, a page at a time.

use std::ops::Bound;
use std::time::SystemTime;

use s3s::dto::*;

use super::BUCKET;
use super::kept::{Content, Kept, Upload};

/// S3's largest page.
const PAGE: usize = 1_000;

pub(super) fn length_of(content: &Content) -> i64 {
    i64::try_from(content.length()).expect("fits")
}

/// Entries of a page: as many as were asked for, S3's own limit, and that of a store with smaller ones.
fn limit(asked: Option<i32>, page: Option<usize>) -> usize {
    let asked = asked.map_or(PAGE, |asked| usize::try_from(asked).unwrap_or(0));
    asked.min(PAGE).min(page.unwrap_or(PAGE))
}

/// How names are written.
fn shown(encoding: Option<&EncodingType>) -> impl Fn(&str) -> String + use<> {
    let encoded = encoding.is_some();
    move |name| match encoded {
        true => encode(name),
        false => name.to_owned(),
    }
}

/// A page of objects, in the order of their keys.
pub(super) fn objects(
    kept: &Kept,
    input: ListObjectsV2Input,
    page: Option<usize>,
) -> ListObjectsV2Output {
    let prefix = input.prefix.clone().unwrap_or_default();
    let show = shown(input.encoding_type.as_ref());
    let limit = limit(input.max_keys, page);
    // The token is the last name given out, key or prefix; its meaning is nobody's business.
    let token = input.continuation_token.as_deref();
    let after = token
        .map(|token| token.strip_prefix("after:").unwrap_or(token).to_owned())
        .or(input.start_after.clone())
        .unwrap_or_default();
    let mut contents = Vec::new();
    let mut folders: Vec<String> = Vec::new();
    let mut last = None;
    let mut truncated = false;
    let from = (Bound::Included(prefix.clone()), Bound::Unbounded);
    for (key, object) in kept.objects.range::<String, _>(from) {
        let Some(rest) = key.strip_prefix(&prefix) else {
            break;
        };
        let folder = input
            .delimiter
            .as_ref()
            .and_then(|delimiter| Some(rest.find(delimiter.as_str())? + delimiter.len()))
            .map(|end| format!("{prefix}{}", &rest[..end]));
        let name = folder.as_ref().unwrap_or(key);
        if *name <= after || folders.last() == Some(name) {
            continue;
        }
        if contents.len() + folders.len() == limit {
            truncated = true;
            break;
        }
        last = Some(name.clone());
        match folder {
            Some(folder) => folders.push(folder),
            None => contents.push(Object {
                key: Some(show(key)),
                size: Some(length_of(&object.content)),
                e_tag: Some(ETag::Strong(object.etag.clone())),
                last_modified: Some(SystemTime::now().into()),
                ..Default::default()
            }),
        }
    }
    let shown = |prefix: &String| CommonPrefix {
        prefix: Some(show(prefix)),
    };
    ListObjectsV2Output {
        name: Some(BUCKET.to_owned()),
        prefix: Some(show(&prefix)),
        key_count: i32::try_from(contents.len() + folders.len()).ok(),
        max_keys: i32::try_from(limit).ok(),
        common_prefixes: Some(folders.iter().map(shown).collect()),
        contents: Some(contents),
        delimiter: input.delimiter,
        encoding_type: input.encoding_type,
        is_truncated: Some(truncated),
        next_continuation_token: last.filter(|_| truncated).map(|n| format!("after:{n}")),
        ..Default::default()
    }
}

/// A page of uploads that are under way, in the order of their keys and then of their beginning.
pub(super) fn uploads(
    kept: &Kept,
    input: ListMultipartUploadsInput,
    page: Option<usize>,
) -> ListMultipartUploadsOutput {
    let show = shown(input.encoding_type.as_ref());
    let limit = limit(input.max_uploads, page);
    let prefix = input.prefix.unwrap_or_default();
    let mut open: Vec<(&String, &String)> = kept
        .uploads
        .iter()
        .map(|(id, upload)| (&upload.key, id))
        .filter(|(key, _)| key.starts_with(&prefix))
        .collect();
    open.sort();
    if let Some(after) = &input.key_marker {
        let id = input.upload_id_marker.as_ref();
        open.retain(|(key, own)| *key > after || *key == after && id.is_some_and(|id| *own > id));
    }
    let truncated = open.len() > limit;
    open.truncate(limit);
    let last = open.last().filter(|_| truncated);
    ListMultipartUploadsOutput {
        bucket: Some(BUCKET.to_owned()),
        prefix: Some(show(&prefix)),
        next_key_marker: last.map(|(key, _)| show(key)),
        next_upload_id_marker: last.map(|(_, id)| (*id).clone()),
        uploads: Some(
            open.iter()
                .map(|(key, id)| MultipartUpload {
                    key: Some(show(key)),
                    upload_id: Some((*id).clone()),
                    ..Default::default()
                })
                .collect(),
        ),
        max_uploads: i32::try_from(limit).ok(),
        encoding_type: input.encoding_type,
        is_truncated: Some(truncated),
        ..Default::default()
    }
}

/// A page of an upload's parts, in the order of their numbers.
pub(super) fn parts(
    upload: &Upload,
    input: ListPartsInput,
    page: Option<usize>,
    etag: impl Fn(&Content) -> String,
) -> ListPartsOutput {
    let limit = limit(input.max_parts, page);
    let after = input.part_number_marker.unwrap_or(0);
    let from = (Bound::Excluded(after), Bound::Unbounded);
    let mut parts: Vec<Part> = upload
        .parts
        .range(from)
        .map(|(number, content)| Part {
            part_number: Some(*number),
            size: Some(length_of(content)),
            e_tag: Some(ETag::Strong(etag(content))),
            ..Default::default()
        })
        .collect();
    let truncated = parts.len() > limit;
    parts.truncate(limit);
    let last = parts.last().filter(|_| truncated);
    ListPartsOutput {
        bucket: Some(BUCKET.to_owned()),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        next_part_number_marker: last.and_then(|part| part.part_number),
        max_parts: i32::try_from(limit).ok(),
        parts: Some(parts),
        is_truncated: Some(truncated),
        ..Default::default()
    }
}

/// Percent-encodes a name as S3 does where it is asked to.
fn encode(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'*' | b'/');
    let mut encoded = String::new();
    for byte in name.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            byte if plain(byte) => encoded.push(char::from(byte)),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
