//! The checksums a store can be held to.

use crc_fast::CrcAlgorithm;
use md5::{Digest, Md5};

/// Length and checksums of one body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) bytes: u64,
    pub(super) md5: [u8; 16],
    pub(super) crc64nvme: u64,
}

impl Sums {
    pub(super) fn of(content: &[u8]) -> Self {
        Self {
            bytes: content.len() as u64,
            md5: Md5::digest(content).into(),
            crc64nvme: crc64nvme(content),
        }
    }

    pub(super) fn md5_hex(&self) -> String {
        hex::encode(self.md5)
    }
}

/// CRC-64/NVME of a whole content.
fn crc64nvme(content: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, content)
}

/// CRC-64/NVME of a content that arrives in pieces.
pub(super) fn crc64nvme_digest() -> crc_fast::Digest {
    crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)
}

/// The ETag that most stores give an object made of parts: MD5 of the parts' MD5s and their number. Absent if one is no MD5.
pub(super) fn etag_of_parts(md5s: &[String]) -> Option<String> {
    let mut all = Md5::new();
    for md5 in md5s {
        let mut bytes = [0; 16];
        hex::decode_to_slice(md5, &mut bytes).ok()?;
        all.update(bytes);
    }
    Some(format!("{}-{}", hex::encode(all.finalize()), md5s.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of CRC-64/NVME, and MD5 of the same text by `md5sum`.
    #[test]
    fn checksums_are_the_published_ones() {
        let sums = Sums::of(b"123456789");
        assert_eq!(sums.crc64nvme, 0xae8b_1486_0a79_9888);
        assert_eq!(sums.md5_hex(), "25f9e794323b453885f5181f1b624d0b");
        let mut digest = crc64nvme_digest();
        digest.update(b"1234");
        digest.update(b"56789");
        assert_eq!(digest.finalize(), sums.crc64nvme);
    }

    /// As `md5sum` and `xxd` make it of the parts `a` and `b`.
    #[test]
    fn the_etag_of_parts_is_the_md5_of_their_md5s() {
        let parts = [Sums::of(b"a").md5_hex(), Sums::of(b"b").md5_hex()];
        let expected = "96e024ba2074fe77e8e965ba43a704be-2";
        let made = etag_of_parts(&parts).expect("etag");
        assert_eq!(made, expected);
        assert_eq!(etag_of_parts(&["no md5".to_owned()]), None);
    }
}
