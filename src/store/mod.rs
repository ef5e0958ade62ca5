//! Object storage: where crashes end up, and where people find them.
//!
//! Owns the [`Store`] trait, its implementations ([`open()`] picks one by URL) and the meaning of their answers. Leaves to `ship` when
//! something is stored and to `fetch` how it is found. Keys are relative to the store's URL; an implementation puts the URL's own
//! prefix before them and takes it off again.
//!
//! Invariants: an object is visible under its key whole or not at all; no call creates a bucket; an answer of success is checked
//! by [`Store::verify`] before anything is deleted on its strength; no error, `Debug` or log holds a credential.

mod credentials;
mod error;
mod file;
mod metered;
mod open;
mod probe;
mod s3;
mod sums;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::ObjectKey;
pub use crate::model::Upload;

pub use credentials::Credentials;
pub use error::{Error, Operation, Problem, Retry};
pub use metered::{Metered, Metrics};
pub use open::{InvalidStore, StoreConfig, StoreUrl, open, open_with};
pub use probe::{Probe, ProbeStep};

/// Result of a store's call.
pub type Result<T> = std::result::Result<T, Error>;

/// What happens when a put finds an object under its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// The put fails with [`Problem::AlreadyExists`], if the store was seen to honour that; otherwise it overwrites.
    Create,
    /// The object is replaced.
    Overwrite,
}

/// The store's receipt for one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Number of the part, from 1.
    pub number: u32,
    /// Bytes in it.
    pub bytes: u64,
    /// The store's name for its content, to be given back at completion.
    pub etag: String,
    /// MD5 of the part, lower hex: from these the ETag that most stores give the whole can be recomputed.
    pub md5: String,
}

/// A part as the store lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartInfo {
    /// Number of the part, from 1.
    pub number: u32,
    /// Bytes in it.
    pub bytes: u64,
    /// The store's name for its content, as its listing writes it.
    pub etag: String,
}

impl PartInfo {
    /// Whether `part` is the receipt for it: the same number, length and content as the store names it.
    pub fn is(&self, part: &Part) -> bool {
        (self.number, self.bytes) == (part.number, part.bytes)
            && bare(&self.etag) == bare(&part.etag)
    }
}

/// An ETag without its quotes, which not every answer has.
fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}

/// What a stored object must turn out to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Its length.
    pub bytes: u64,
    /// CRC-64/NVME of its content.
    pub crc64nvme: u64,
    /// MD5 of the content where it went up in one put, of each part in order where it was a multipart upload; lower hex.
    pub md5s: Md5s,
}

impl Expected {
    /// What an object that goes up in one put must turn out to be.
    pub fn of(content: &[u8]) -> Self {
        let sums = sums::Sums::of(content);
        Self {
            bytes: sums.bytes,
            crc64nvme: sums.crc64nvme,
            md5s: Md5s::Whole(sums.md5_hex()),
        }
    }
}

/// MD5 digests as lower hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Md5s {
    /// Of the whole content.
    Whole(String),
    /// Of each part, in order.
    Parts(Vec<String>),
}

/// How far the store let us look at what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// The object is there, has our length, and its full-object checksum or recomputed ETag is ours.
    Content,
    /// The object is there and has our length; the store gives nothing to compare the content with.
    Length,
    /// We may not look (no permission to read); the store's answer to the put, which was checked, is all there is.
    Answer,
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: ObjectKey,
    /// Its length.
    pub bytes: u64,
}

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Keys must begin with this; relative to the store's URL, need not end at a component.
    pub prefix: String,
    /// Fold what follows the prefix up to the next `/` into one entry of [`Page::folders`].
    pub folders: bool,
    /// Continue a listing at [`Page::next`].
    pub next: Option<String>,
}

/// A rule of a bucket by which the store itself aborts multipart uploads that nobody completes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortRule {
    /// What keys begin with that it is for, relative to the bucket and not to the store's URL.
    pub prefix: String,
    /// After how many days.
    pub days: u32,
}

/// Most entries of a page.
const PAGE: usize = 1_000;

/// Most parts of an upload: S3's own limit, and everywhere the same, so that what works here works there.
const PARTS_MAX: u32 = 10_000;

/// Most uploads that one call tells of. Whoever gives those up and asks again sees the rest.
const UPLOADS_MAX: usize = 1_000;

/// One page of a listing, at most 1,000 entries, in byte order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Objects. Names in the bucket that are no key of ours are left out and counted in `foreign`.
    pub objects: Vec<ObjectInfo>,
    /// With [`ListQuery::folders`]: what is below, each as a whole prefix ending in `/`.
    pub folders: Vec<String>,
    /// Names left out.
    pub foreign: usize,
    /// Where the listing goes on, if it does.
    pub next: Option<String>,
}

/// Parts must be numbered from 1 without a gap, all but the last of the upload's size, and add up to what is expected. Some stores would take
/// others; what they then hold is not what was meant.
fn check_parts(
    upload: &Upload,
    parts: &[Part],
    expected: &Expected,
) -> std::result::Result<(), Problem> {
    let refused = |why: String| Err(Problem::Refused(why));
    let Some((last, full)) = parts.split_last() else {
        return refused("an upload without parts cannot be completed".to_owned());
    };
    if let Some(index) = (0..parts.len()).find(|i| parts[*i].number as usize != i + 1) {
        return refused(format!("part {} is missing", index + 1));
    }
    if let Some(odd) = full.iter().find(|part| part.bytes != upload.part_bytes) {
        return refused(format!(
            "part {} has {} bytes, and every part but the last must have {}",
            odd.number, odd.bytes, upload.part_bytes
        ));
    }
    if last.bytes > upload.part_bytes {
        return refused(format!(
            "the last part is larger than {}",
            upload.part_bytes
        ));
    }
    let sum = (full.len() as u64)
        .checked_mul(upload.part_bytes)
        .and_then(|sum| sum.checked_add(last.bytes));
    match sum == Some(expected.bytes) {
        true => Ok(()),
        false => refused(format!(
            "the parts do not add up to the {} bytes expected",
            expected.bytes
        )),
    }
}

/// An object store. Every call is one logical operation; an implementation may repeat a request briefly inside its own time limit,
/// and longer retries belong to the caller, who asks [`Error::retry`].
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The store's URL, for people: no credentials in it.
    fn url(&self) -> String;

    /// Stores `body` under `key` in one request.
    async fn put(&self, key: &ObjectKey, body: Bytes, mode: PutMode) -> Result<()>;

    /// Begins an upload in parts of `part_bytes` each, the last one shorter.
    async fn begin(&self, key: &ObjectKey, part_bytes: u64) -> Result<Upload>;

    /// Sends part `number` (from 1) of `upload`. Sending a number again replaces that part.
    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part>;

    /// Makes the parts, in order, into the object. [`Problem::NoSuchUpload`] may also mean that an earlier completion, whose answer was
    /// lost, succeeded: [`Store::verify`] decides.
    async fn complete(
        &self,
        upload: &Upload,
        parts: &[Part],
        expected: &Expected,
        mode: PutMode,
    ) -> Result<()>;

    /// Gives up an upload and everything sent for it. An upload that does not exist is no error.
    async fn abort(&self, upload: &Upload) -> Result<()>;

    /// The uploads that are open at exactly `key`, whoever began them, at most 1,000. They can be listed by [`Store::parts`] and given up
    /// by [`Store::abort`], no more: not every store says how its parts are cut (`part_bytes` is 0 then) or that it carries checksums, so
    /// an upload of one's own is gone on with as it was begun, and found among these by [`Store::is_same`]. [`Problem::Denied`] and
    /// [`Problem::Refused`] mean that this store does not tell; shipping does not need it.
    async fn uploads(&self, key: &ObjectKey) -> Result<Vec<Upload>>;

    /// The parts that the store holds of an upload, in order of their numbers. [`Problem::NoSuchUpload`] if it does not know the upload (any
    /// more), [`Problem::Denied`] and [`Problem::Refused`] as for [`Store::uploads`].
    async fn parts(&self, upload: &Upload) -> Result<Vec<PartInfo>>;

    /// Whether both are one upload of this store, one as it was begun and the other as it is listed.
    fn is_same(&self, one: &Upload, other: &Upload) -> bool {
        one.key == other.key && one.token == other.token
    }

    /// Looks whether `key` holds what was sent. Errors: [`Problem::NotFound`] if nothing is there, [`Problem::Mismatch`] if it is
    /// something else.
    async fn verify(&self, key: &ObjectKey, expected: &Expected) -> Result<Verified>;

    /// Reads the part of an object that lies within `range`; shorter only where the object ends. [`Problem::NotFound`] if it is not there.
    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes>;

    /// Lists one page.
    async fn list(&self, query: &ListQuery) -> Result<Page>;

    /// Removes an object. An object that does not exist is no error.
    async fn delete(&self, key: &ObjectKey) -> Result<()>;

    /// The rules in force by which the store aborts uploads that nobody completes. Absent where a store needs none.
    async fn abort_rules(&self) -> Result<Option<Vec<AbortRule>>> {
        Ok(None)
    }

    /// Tries, at `key`, what shipping will need, and learns what the store can do. What it finds is used by later calls.
    async fn probe(&self, key: &ObjectKey) -> Probe;
}
