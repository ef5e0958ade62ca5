//! What the store does wrong.

use std::collections::BTreeSet;

use hyper::Method;

/// An operation, read off a request's first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum S3Op {
    Put,
    Begin,
    PutPart,
    Complete,
    Abort,
    Head,
    Get,
    List,
    Delete,
    ListParts,
    ListUploads,
    Lifecycle,
    Other,
}

impl S3Op {
    pub(super) fn of(method: &Method, has_key: bool, query: &str) -> Self {
        let asks = |name: &str| {
            query
                .split('&')
                .any(|pair| pair.split('=').next() == Some(name))
        };
        match (method.as_str(), has_key) {
            ("PUT", true) if asks("uploadId") => Self::PutPart,
            ("PUT", true) => Self::Put,
            ("POST", true) if asks("uploads") => Self::Begin,
            ("POST", true) if asks("uploadId") => Self::Complete,
            ("DELETE", true) if asks("uploadId") => Self::Abort,
            ("DELETE", true) => Self::Delete,
            ("HEAD", true) => Self::Head,
            ("GET", true) if asks("uploadId") => Self::ListParts,
            ("GET", true) => Self::Get,
            ("GET", false) if asks("uploads") => Self::ListUploads,
            ("GET", false) if asks("lifecycle") => Self::Lifecycle,
            ("GET", false) => Self::List,
            _ => Self::Other,
        }
    }
}

/// What becomes of `If-None-Match`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Conditions {
    #[default]
    Honoured,
    Ignored,
    Refused,
}

/// What becomes of checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Checksums {
    #[default]
    Kept,
    Ignored,
    Refused,
}

/// Everything that is wrong at the moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) swallow: bool,
    pub(super) corrupt: bool,
    pub(super) refused_part: Option<(u32, u16)>,
    pub(super) denied: BTreeSet<S3Op>,
    pub(super) absent_is_denied: bool,
    pub(super) throttle: Option<Option<u32>>,
    pub(super) answer: Option<(u16, String, String)>,
    pub(super) hanging: BTreeSet<S3Op>,
    pub(super) dropped: BTreeSet<S3Op>,
    /// Of puts and of completions.
    pub(super) conditions: (Conditions, Conditions),
    pub(super) checksums: Checksums,
    pub(super) odd_etags: bool,
    pub(super) own_key: bool,
    pub(super) owns_up: bool,
    pub(super) no_etags: bool,
    pub(super) page: Option<usize>,
    pub(super) equal_parts: bool,
    pub(super) lost_completions: u32,
    pub(super) late_completions: bool,
    pub(super) forgets_first: bool,
    /// What the one lifecycle rule is for, in place of everything; none where there is no rule.
    pub(super) lifecycle: Option<Option<String>>,
}
