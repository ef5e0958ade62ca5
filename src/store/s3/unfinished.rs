//! What a store tells of uploads that are not complete, any name of which anybody may have chosen.
//!
//! Pure: from a page to what is on it and where the listing goes on. A page that does not advance is an error: going on would read it
//! for ever, stopping would hide the rest.

use aws_sdk_s3::operation::list_multipart_uploads::ListMultipartUploadsOutput;
use aws_sdk_s3::operation::list_parts::ListPartsOutput;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, EncodingType};

use super::listing::decode;
use crate::store::{PARTS_MAX, PartInfo, Problem};

/// ETags are some tens of bytes; these go into a state file and into the request that completes.
const ETAG_MAX: usize = 1_024;

/// Where a listing of uploads goes on: after a name and an upload id.
pub(super) type Marker = (String, String);

/// One page of uploads.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct UploadsPage<'a> {
    pub(super) open: Vec<Open<'a>>,
    pub(super) next: Option<Marker>,
}

/// One upload that is open at the name asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Open<'a> {
    pub(super) id: &'a str,
    /// Whether the store says that it carries a CRC-64/NVME of the whole. Many do not say.
    pub(super) with_crc: bool,
}

/// Reads the page after `before`. Only what is open at exactly `name` gets out.
pub(super) fn uploads<'a>(
    name: &str,
    before: Option<&Marker>,
    answer: &'a ListMultipartUploadsOutput,
) -> Result<UploadsPage<'a>, Problem> {
    let encoded = matches!(answer.encoding_type(), Some(EncodingType::Url));
    let read = |text: &'a str| match encoded {
        true => decode(text),
        false => Some(text.into()),
    };
    let mut page = UploadsPage::default();
    for upload in answer.uploads() {
        let is_here = upload.key().and_then(read).is_some_and(|key| key == name);
        if let (true, Some(id)) = (is_here, upload.upload_id()) {
            let with_crc = matches!(
                (upload.checksum_algorithm(), upload.checksum_type()),
                (
                    Some(ChecksumAlgorithm::Crc64Nvme),
                    Some(ChecksumType::FullObject)
                )
            );
            page.open.push(Open { id, with_crc });
        }
    }
    if answer.is_truncated().unwrap_or(false) {
        let key = answer.next_key_marker().and_then(read);
        let id = answer.next_upload_id_marker().unwrap_or_default();
        let next = key.map(|key| (key.into_owned(), id.to_owned()));
        if next.is_none() || next.as_ref() == before {
            let why = "its listing of uploads says that it goes on, and not where";
            return Err(Problem::Failed(why.to_owned()));
        }
        page.next = next;
    }
    Ok(page)
}

/// Adds the parts of a page, which comes after the last of `parts`; says whether there are more.
pub(super) fn parts(parts: &mut Vec<PartInfo>, answer: &ListPartsOutput) -> Result<bool, Problem> {
    let before = parts.len();
    for part in answer.parts() {
        let last = parts.last().map_or(0, |part| part.number);
        let number = part.part_number().and_then(|n| u32::try_from(n).ok());
        let number = number.filter(|number| (last + 1..=PARTS_MAX).contains(number));
        let bytes = part.size().and_then(|bytes| u64::try_from(bytes).ok());
        let etag = part.e_tag().filter(|etag| etag.len() <= ETAG_MAX);
        let (Some(number), Some(bytes), Some(etag)) = (number, bytes, etag) else {
            let why = format!("its listing of parts cannot be right after part {last}");
            return Err(Problem::Failed(why));
        };
        parts.push(PartInfo {
            number,
            bytes,
            etag: etag.to_owned(),
        });
    }
    let more = answer.is_truncated().unwrap_or(false);
    if more && parts.len() == before {
        let why = "its listing of parts says that it goes on, and does not";
        return Err(Problem::Failed(why.to_owned()));
    }
    Ok(more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::{MultipartUpload, Part};

    fn open(key: &str, id: &str) -> MultipartUpload {
        MultipartUpload::builder().key(key).upload_id(id).build()
    }

    fn part(number: i32, size: i64, etag: &str) -> Part {
        Part::builder()
            .part_number(number)
            .size(size)
            .e_tag(etag)
            .build()
    }

    #[test]
    fn only_uploads_of_the_very_key_get_out_of_a_listing() {
        let answer = ListMultipartUploadsOutput::builder()
            .encoding_type(EncodingType::Url)
            .uploads(open("p/cluster%3Da/x", "first"))
            .uploads(open("p/cluster%3Da/x.more", "longer"))
            .uploads(open("p/cluster%3Da", "shorter"))
            .uploads(open("p/cluster%3Da/x%0A", "with a line feed"))
            .uploads(open("p/cluster%3Da/x%zz", "wrongly encoded"))
            .uploads(open("p/cluster%253Da/x", "encoded twice"))
            .uploads(MultipartUpload::builder().upload_id("no key").build())
            .uploads(MultipartUpload::builder().key("p/cluster%3Da/x").build())
            .uploads(
                MultipartUpload::builder()
                    .key("p/cluster%3Da/x")
                    .upload_id("second")
                    .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
                    .checksum_type(ChecksumType::FullObject)
                    .build(),
            )
            .build();
        let page = uploads("p/cluster=a/x", None, &answer).expect("page");
        let found: Vec<_> = page.open.iter().map(|o| (o.id, o.with_crc)).collect();
        assert_eq!(found, [("first", false), ("second", true)]);
        assert_eq!(page.next, None);
        let plain = ListMultipartUploadsOutput::builder()
            .uploads(open("p/cluster=a/x", "a"))
            .uploads(open("p/cluster%3Da/x", "b"))
            .build();
        let page = uploads("p/cluster=a/x", None, &plain).expect("page");
        assert_eq!(page.open.len(), 1);
    }

    #[test]
    fn a_listing_of_uploads_that_does_not_advance_is_an_error() {
        let truncated = |key: Option<&str>, id: &str| {
            ListMultipartUploadsOutput::builder()
                .is_truncated(true)
                .encoding_type(EncodingType::Url)
                .set_next_key_marker(key.map(str::to_owned))
                .next_upload_id_marker(id)
                .build()
        };
        let before = ("a=b".to_owned(), "1".to_owned());
        let after = |answer: &ListMultipartUploadsOutput| {
            uploads("a", Some(&before), answer).map(|page| page.next)
        };
        assert!(after(&truncated(None, "2")).is_err());
        assert!(after(&truncated(Some("a%3Db"), "1")).is_err());
        assert!(after(&truncated(Some("%FF"), "2")).is_err());
        let next = Some(("a=b".to_owned(), "2".to_owned()));
        assert_eq!(after(&truncated(Some("a%3Db"), "2")), Ok(next));
    }

    #[test]
    fn parts_come_in_order_and_within_limits_or_not_at_all() {
        let page = |parts: &[Part], more: bool| {
            ListPartsOutput::builder()
                .set_parts(Some(parts.to_vec()))
                .is_truncated(more)
                .build()
        };
        let mut found = Vec::new();
        let first = page(&[part(1, 8, "\"a\""), part(3, 0, "b")], true);
        assert_eq!(parts(&mut found, &first), Ok(true));
        let second = page(&[part(10_000, i64::MAX, "c")], false);
        assert_eq!(parts(&mut found, &second), Ok(false));
        let numbers: Vec<_> = found.iter().map(|part| part.number).collect();
        assert_eq!(numbers, [1, 3, 10_000]);

        let long = "x".repeat(ETAG_MAX + 1);
        for wrong in [
            part(3, 8, "again"),
            part(2, 8, "backwards"),
            part(0, 8, "zero"),
            part(-1, 8, "negative"),
            part(10_001, 8, "beyond"),
            part(i32::MAX, 8, "far beyond"),
            part(4, -1, "negative length"),
            part(4, 8, &long),
            Part::builder().part_number(4).size(8).build(),
            Part::builder().size(8).e_tag("no number").build(),
            Part::builder().part_number(4).e_tag("no size").build(),
        ] {
            let mut found = found[..2].to_vec();
            let told = parts(&mut found, &page(std::slice::from_ref(&wrong), false));
            assert!(matches!(told, Err(Problem::Failed(_))), "{wrong:?}");
        }
        assert!(parts(&mut found, &page(&[], true)).is_err());
        assert_eq!(parts(&mut found, &page(&[], false)), Ok(false));
    }
}
