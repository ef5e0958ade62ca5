//! A page of names, any of which anybody may have chosen.
//!
//! Names come percent-encoded where the store knows `encoding-type`, raw where it does not. Only names that are keys of ours get out.

use std::borrow::Cow;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;

use crate::model::ObjectKey;
use crate::store::{ListQuery, ObjectInfo, Page, Problem};

/// Reads a page of what is below `prefix` (empty, or ending in `/`).
pub(super) fn page(
    prefix: &str,
    query: &ListQuery,
    answer: &ListObjectsV2Output,
) -> Result<Page, Problem> {
    let encoded = matches!(answer.encoding_type(), Some(EncodingType::Url));
    let read = |name: &str| -> Option<String> {
        let name = if encoded {
            decode(name)?
        } else {
            Cow::Borrowed(name)
        };
        name.strip_prefix(prefix).map(str::to_owned)
    };
    let mut page = Page::default();
    for object in answer.contents() {
        let key = object
            .key()
            .and_then(&read)
            .and_then(|name| name.parse::<ObjectKey>().ok());
        let bytes = object.size().and_then(|bytes| u64::try_from(bytes).ok());
        match (key, bytes) {
            (Some(key), Some(bytes)) => page.objects.push(ObjectInfo { key, bytes }),
            _ => page.foreign += 1,
        }
    }
    for folder in answer.common_prefixes() {
        let name = folder
            .prefix()
            .and_then(&read)
            .filter(|name| is_folder(name));
        match name {
            Some(name) => page.folders.push(name),
            None => page.foreign += 1,
        }
    }
    if answer.is_truncated().unwrap_or(false) {
        let next = answer.next_continuation_token();
        if next.is_none() || next == query.next.as_deref() {
            // Going on would read the same page for ever, stopping would hide the rest.
            let why = "its listing says that it goes on, and not where";
            return Err(Problem::Failed(why.to_owned()));
        }
        page.next = next.map(str::to_owned);
    }
    Ok(page)
}

fn is_folder(name: &str) -> bool {
    name.strip_suffix('/')
        .is_some_and(|name| name.parse::<ObjectKey>().is_ok())
}

/// Undoes percent-encoding; none if it is wrong or no UTF-8.
pub(super) fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let mut decoded = [0];
                hex::decode_to_slice(digits, &mut decoded).ok()?;
                bytes.push(decoded[0]);
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::{CommonPrefix, Object};

    fn object(key: &str, size: i64) -> Object {
        Object::builder().key(key).size(size).build()
    }

    #[test]
    fn only_keys_of_ours_get_out_of_a_listing() {
        let answer = ListObjectsV2Output::builder()
            .encoding_type(EncodingType::Url)
            .contents(object("p/crashes/cluster%3Da/x.json", 7))
            .contents(object("p/with%20space", 1))
            .contents(object("p/with+plus", 1))
            .contents(object("p/control%0A", 1))
            .contents(object("p/not-utf8%FF", 1))
            .contents(object("p/bad-encoding%zz", 1))
            .contents(object("p/..%2Fescape", 1))
            .contents(object("elsewhere/x", 1))
            .contents(object("p/negative", -1))
            .common_prefixes(CommonPrefix::builder().prefix("p/crashes/").build())
            .common_prefixes(CommonPrefix::builder().prefix("p/a%20b/").build())
            .common_prefixes(CommonPrefix::builder().prefix("p/../").build())
            .common_prefixes(CommonPrefix::builder().prefix("p//").build())
            .build();
        let page = page("p/", &ListQuery::default(), &answer).expect("page");
        let keys: Vec<_> = page
            .objects
            .iter()
            .map(|o| (o.key.as_str(), o.bytes))
            .collect();
        assert_eq!(keys, [("crashes/cluster=a/x.json", 7)]);
        assert_eq!(page.folders, ["crashes/"]);
        assert_eq!(page.foreign, 11);
        assert_eq!(page.next, None);
    }

    #[test]
    fn names_of_a_store_without_encoding_are_taken_as_they_are() {
        let answer = ListObjectsV2Output::builder()
            .contents(object("crashes/cluster=a/x.json", 7))
            .contents(object("100%", 1))
            .build();
        let page = page("", &ListQuery::default(), &answer).expect("page");
        assert_eq!((page.objects.len(), page.foreign), (1, 1));
    }

    #[test]
    fn a_listing_that_does_not_advance_is_an_error() {
        let truncated = |next: Option<&str>| {
            ListObjectsV2Output::builder()
                .is_truncated(true)
                .set_next_continuation_token(next.map(str::to_owned))
                .build()
        };
        let query = ListQuery {
            next: Some("here".to_owned()),
            ..ListQuery::default()
        };
        assert!(page("", &query, &truncated(None)).is_err());
        assert!(page("", &query, &truncated(Some("here"))).is_err());
        let page = page("", &query, &truncated(Some("there"))).expect("page");
        assert_eq!(page.next.as_deref(), Some("there"));
    }
}
