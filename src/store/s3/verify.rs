//! Whether what a store keeps is what was sent.
//!
//! Pure: from what HEAD or an answer says to a verdict. The checksum of the whole counts most, for the store made or checked it from the
//! content. ETags are compared only where the probe saw that they are MD5s, and never where the object is encrypted under a key of its own,
//! which makes them something else.

use aws_sdk_s3::types::ServerSideEncryption;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::known::Known;
use crate::model::Escaped;
use crate::store::sums::etag_of_parts;
use crate::store::{Expected, Md5s, Problem, Verified, bare};

/// What HEAD says of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub(super) bytes: Option<i64>,
    pub(super) told: Told,
}

/// What a store says of a content: in HEAD, or in its answer to a put, part or completion.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) etag: Option<String>,
    /// CRC-64/NVME of the whole, as the store writes it.
    pub(super) crc64nvme: Option<String>,
    /// Whether it is encrypted under a key of its own (KMS, or one that the client sends).
    pub(super) own_key: bool,
}

/// Whether an answer speaks of a key of the object's own. What S3 does to every object (`AES256`) leaves ETags as they are.
pub(super) fn is_own_key(by_store: Option<&ServerSideEncryption>, by_client: Option<&str>) -> bool {
    by_client.is_some() || !matches!(by_store, None | Some(ServerSideEncryption::Aes256))
}

/// Compares an object.
pub(super) fn judge(expected: &Expected, head: &Head, known: Known) -> Result<Verified, Problem> {
    let Some(bytes) = head.bytes.and_then(|bytes| u64::try_from(bytes).ok()) else {
        return Err(Problem::Mismatch("its length is not told".to_owned()));
    };
    if bytes != expected.bytes {
        return Err(Problem::Mismatch(format!(
            "it has {bytes} bytes, and {} were sent",
            expected.bytes
        )));
    }
    match compare(expected.crc64nvme, &expected.md5s, &head.told, known)? {
        true => Ok(Verified::Content),
        false => Ok(Verified::Length),
    }
}

/// Compares a content; false where nothing is told that could be.
pub(super) fn compare(
    crc64nvme: u64,
    md5s: &Md5s,
    told: &Told,
    known: Known,
) -> Result<bool, Problem> {
    if let Some(crc) = told.crc64nvme.as_deref().and_then(read_crc) {
        if crc == crc64nvme {
            return Ok(true);
        }
        return Err(Problem::Mismatch(format!(
            "its CRC-64/NVME is {crc:016x}, and that of what was sent {crc64nvme:016x}"
        )));
    }
    let by_etag = match md5s {
        Md5s::Whole(_) => known.md5_etags,
        Md5s::Parts(_) => known.md5_part_etags,
    };
    let etags = (told.etag.as_deref(), etag_of(md5s));
    let (true, false, (Some(kept), Some(sent))) = (by_etag, told.own_key, etags) else {
        return Ok(false);
    };
    if bare(kept).eq_ignore_ascii_case(&sent) {
        return Ok(true);
    }
    Err(Problem::Mismatch(format!(
        "its ETag is {}, and that of what was sent {sent}",
        Escaped::bytes(bare(kept).as_bytes())
    )))
}

/// The ETag that a store with MD5 ETags gives to this content.
pub(super) fn etag_of(md5s: &Md5s) -> Option<String> {
    match md5s {
        Md5s::Whole(md5) => Some(md5.clone()),
        Md5s::Parts(parts) => etag_of_parts(parts),
    }
}

/// A CRC-64/NVME as S3 writes it.
pub(super) fn write_crc(crc: u64) -> String {
    BASE64.encode(crc.to_be_bytes())
}

/// A CRC-64/NVME as S3 writes it, read. What is none is as good as absent.
pub(super) fn read_crc(written: &str) -> Option<u64> {
    let bytes = BASE64.decode(written).ok()?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Known = Known {
        md5_etags: true,
        md5_part_etags: true,
        ..Known::NOTHING
    };

    fn head(expected: &Expected, told: Told) -> Head {
        Head {
            bytes: Some(expected.bytes as i64),
            told,
        }
    }

    fn crc(crc64nvme: u64) -> Told {
        Told {
            crc64nvme: Some(write_crc(crc64nvme)),
            ..Told::default()
        }
    }

    fn mismatch(verdict: Result<Verified, Problem>) -> bool {
        matches!(verdict, Err(Problem::Mismatch(_)))
    }

    #[test]
    fn the_length_decides_first() {
        let expected = Expected::of(b"content");
        for bytes in [None, Some(-1), Some(0), Some(8), Some(i64::MAX)] {
            let told = crc(expected.crc64nvme);
            let head = Head { bytes, told };
            assert!(mismatch(judge(&expected, &head, ALL)), "{bytes:?}");
        }
    }

    #[test]
    fn a_checksum_of_the_whole_is_believed_before_an_etag() {
        let expected = Expected::of(b"content");
        let judge = |told, known| judge(&expected, &head(&expected, told), known);
        let right = Told {
            etag: Some("\"something else\"".to_owned()),
            ..crc(expected.crc64nvme)
        };
        assert_eq!(judge(right, ALL), Ok(Verified::Content));
        let wrong = crc(expected.crc64nvme ^ 1);
        assert!(mismatch(judge(wrong, Known::NOTHING)));
        let garbage = Told {
            crc64nvme: Some("garbage".to_owned()),
            ..Told::default()
        };
        assert_eq!(judge(garbage, ALL), Ok(Verified::Length));
    }

    #[test]
    fn etags_count_only_where_they_are_known_to_be_md5() {
        let whole = Expected::of(b"ab");
        let parts = Expected {
            md5s: Md5s::Parts(vec![
                "0cc175b9c0f1b6a831c399e269772661".to_owned(),
                "92eb5ffee6ae2fec3ad71c777531578f".to_owned(),
            ]),
            ..whole.clone()
        };
        for (expected, etag) in [
            (&whole, "\"187EF4436122D1CC2F40DC2B92F0EBA0\""),
            (&parts, "96e024ba2074fe77e8e965ba43a704be-2"),
        ] {
            let judge = |told: &Told, known| judge(expected, &head(expected, told.clone()), known);
            let right = Told {
                etag: Some(etag.to_owned()),
                ..Told::default()
            };
            let wrong = Told {
                etag: Some(etag.replace('e', "f").replace('E', "F")),
                ..Told::default()
            };
            let own_key = Told {
                own_key: true,
                ..wrong.clone()
            };
            assert_eq!(judge(&right, ALL), Ok(Verified::Content));
            assert!(mismatch(judge(&wrong, ALL)));
            assert_eq!(judge(&wrong, Known::NOTHING), Ok(Verified::Length));
            assert_eq!(judge(&own_key, ALL), Ok(Verified::Length));
        }
    }

    #[test]
    fn what_s3_does_to_every_object_is_no_key_of_its_own() {
        use ServerSideEncryption::{Aes256, AwsKms, AwsKmsDsse};
        assert!(!is_own_key(None, None) && !is_own_key(Some(&Aes256), None));
        assert!(is_own_key(Some(&AwsKms), None) && is_own_key(Some(&AwsKmsDsse), None));
        assert!(is_own_key(Some(&"something:new".into()), None));
        assert!(is_own_key(None, Some("AES256")));
    }
}
