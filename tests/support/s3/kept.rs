//! What the store holds.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use crc_fast::CrcAlgorithm::Crc64Nvme;
use md5::{Digest, Md5};

/// Objects and uploads, in the order of keys and upload ids.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) objects: BTreeMap<String, Object>,
    pub(super) uploads: BTreeMap<String, Upload>,
    uploads_begun: u64,
    /// Keys at which an upload was forgotten.
    pub(super) forgotten: BTreeSet<String>,
}

impl Kept {
    /// Begins an upload; its id.
    pub(super) fn begin(&mut self, key: &str) -> String {
        self.uploads_begun += 1;
        let id = format!("upload-{:08}", self.uploads_begun);
        let upload = Upload {
            key: key.to_owned(),
            parts: BTreeMap::new(),
        };
        self.uploads.insert(id.clone(), upload);
        id
    }
}

/// One object.
#[derive(Clone)]
pub(super) struct Object {
    pub(super) content: Content,
    pub(super) etag: String,
    /// Whether a checksum is given out for it.
    pub(super) checksum: bool,
    /// Whether it is encrypted under a key of its own.
    pub(super) own_key: bool,
}

/// One upload.
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) parts: BTreeMap<i32, Content>,
}

/// Bytes, or what is remembered of them.
#[derive(Clone)]
pub(super) struct Content {
    kept: Option<Bytes>,
    length: u64,
    crc64nvme: u64,
    md5: [u8; 16],
}

impl Object {
    pub(super) fn of(bytes: Bytes) -> Self {
        let mut arriving = Arriving::new(usize::MAX);
        arriving.push(bytes);
        let content = arriving.end();
        Self {
            etag: content.md5_hex(),
            content,
            checksum: true,
            own_key: false,
        }
    }
}

impl Content {
    pub(super) fn bytes(&self) -> Option<Bytes> {
        self.kept.clone()
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn md5_hex(&self) -> String {
        hex::encode(self.md5)
    }

    pub(super) fn md5_base64(&self) -> String {
        BASE64.encode(self.md5)
    }

    pub(super) fn crc64nvme(&self) -> String {
        BASE64.encode(self.crc64nvme.to_be_bytes())
    }

    /// The same length, other bytes.
    pub(super) fn corrupted(self) -> Self {
        let mut bytes = self.kept.expect("not in lean mode").to_vec();
        if let Some(first) = bytes.first_mut() {
            *first ^= 1;
        }
        Object::of(bytes.into()).content
    }

    /// All of them as one, and the ETag that S3 gives to it.
    pub(super) fn joined(parts: &[&Self], keep_up_to: usize) -> (Self, String) {
        let mut md5s = Md5::new();
        let mut whole = Self {
            kept: None,
            length: 0,
            crc64nvme: crc_fast::checksum(Crc64Nvme, b""),
            md5: [0; 16],
        };
        let mut bytes = Some(BytesMut::new());
        for part in parts {
            md5s.update(part.md5);
            whole.crc64nvme =
                crc_fast::checksum_combine(Crc64Nvme, whole.crc64nvme, part.crc64nvme, part.length);
            whole.length += part.length;
            bytes = match (bytes, &part.kept) {
                (Some(mut bytes), Some(more)) if bytes.len() + more.len() <= keep_up_to => {
                    bytes.extend_from_slice(more);
                    Some(bytes)
                }
                _ => None,
            };
        }
        whole.kept = bytes.map(BytesMut::freeze);
        let etag = format!("{}-{}", hex::encode(md5s.finalize()), parts.len());
        (whole, etag)
    }
}

/// A content on its way in.
pub(super) struct Arriving {
    kept: Option<BytesMut>,
    keep_up_to: usize,
    length: u64,
    crc64nvme: crc_fast::Digest,
    md5: Md5,
}

impl Arriving {
    pub(super) fn new(keep_up_to: usize) -> Self {
        Self {
            kept: Some(BytesMut::new()),
            keep_up_to,
            length: 0,
            crc64nvme: crc_fast::Digest::new(Crc64Nvme),
            md5: Md5::new(),
        }
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        self.length += bytes.len() as u64;
        self.crc64nvme.update(&bytes);
        self.md5.update(&bytes);
        self.kept = match self.kept.take() {
            Some(mut kept) if kept.len().saturating_add(bytes.len()) <= self.keep_up_to => {
                kept.extend_from_slice(&bytes);
                Some(kept)
            }
            _ => None,
        };
    }

    pub(super) fn end(self) -> Content {
        Content {
            kept: self.kept.map(BytesMut::freeze),
            length: self.length,
            crc64nvme: self.crc64nvme.finalize(),
            md5: self.md5.finalize().into(),
        }
    }
}
