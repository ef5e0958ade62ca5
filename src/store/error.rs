//! What can go wrong with a store, in the words of the person who has to mend it, and whether trying again can help.

use std::fmt;
use std::time::Duration;

/// A store's operation, as named in errors, metrics and the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Store an object in one request.
    Put,
    /// Begin a multipart upload.
    Begin,
    /// Send a part.
    PutPart,
    /// Complete a multipart upload.
    Complete,
    /// Abort a multipart upload.
    Abort,
    /// List the multipart uploads open at a key.
    ListUploads,
    /// List the parts of a multipart upload.
    ListParts,
    /// Ask about an object.
    Head,
    /// Read an object.
    Get,
    /// List objects.
    List,
    /// Remove an object.
    Delete,
    /// Read a bucket's lifecycle rules. Only `doctor` asks.
    Lifecycle,
}

impl Operation {
    /// Every operation that an agent may ask for, for metrics that show zero.
    pub const ALL: [Self; 11] = [
        Self::Put,
        Self::Begin,
        Self::PutPart,
        Self::Complete,
        Self::Abort,
        Self::ListUploads,
        Self::ListParts,
        Self::Head,
        Self::Get,
        Self::List,
        Self::Delete,
    ];

    /// The name in metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Begin => "begin",
            Self::PutPart => "put_part",
            Self::Complete => "complete",
            Self::Abort => "abort",
            Self::ListUploads => "list_uploads",
            Self::ListParts => "list_parts",
            Self::Head => "head",
            Self::Get => "get",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Lifecycle => "lifecycle",
        }
    }

    /// The S3 permission that allows it.
    pub fn s3_permission(self) -> &'static str {
        match self {
            Self::Put | Self::Begin | Self::PutPart | Self::Complete => "s3:PutObject",
            Self::Abort => "s3:AbortMultipartUpload",
            Self::ListUploads => "s3:ListBucketMultipartUploads",
            Self::ListParts => "s3:ListMultipartUploadParts",
            Self::Head | Self::Get => "s3:GetObject",
            Self::List => "s3:ListBucket",
            Self::Delete => "s3:DeleteObject",
            Self::Lifecycle => "s3:GetLifecycleConfiguration",
        }
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No such object.
    NotFound,
    /// No such bucket, or for `file://` no such directory. It is never created.
    NoBucket,
    /// The identity may not do this. Holds the permission it lacks.
    Denied(&'static str),
    /// There are no credentials, or the store does not accept them. Holds what to look at.
    Credentials(String),
    /// Something is stored under this key already.
    AlreadyExists,
    /// The multipart upload is not known, or no longer.
    NoSuchUpload,
    /// The store holds something else than what was sent, or answered success without keeping it. Holds what differs.
    Mismatch(String),
    /// The request or its content is refused and will be again. Holds the store's own code and text.
    Refused(String),
    /// No answer, or not in time. Holds what happened.
    Unreachable(String),
    /// The store asks to be left alone for a while.
    Throttled(Option<Duration>),
    /// The store failed. Holds its own code and text.
    Failed(String),
    /// No room in the store.
    Full,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Soon.
    Transient,
    /// Not before this much time has passed.
    After(Duration),
    /// Not until somebody changes something (a permission, a bucket, a quota): rarely.
    Permanent,
}

/// A failed operation.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    operation: Operation,
    /// What it was about: a key, a prefix or the store's URL.
    about: String,
    problem: Problem,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a cause of its own.
    pub fn new(operation: Operation, about: impl fmt::Display, problem: Problem) -> Self {
        Self {
            operation,
            about: about.to_string(),
            problem,
            source: None,
        }
    }

    /// The same with its cause.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What was tried.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// What went wrong.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        match &self.problem {
            Problem::Throttled(Some(wait)) => Retry::After(*wait),
            Problem::NotFound
            | Problem::Mismatch(_)
            | Problem::NoSuchUpload
            | Problem::Unreachable(_)
            | Problem::Throttled(None)
            | Problem::Failed(_) => Retry::Transient,
            Problem::NoBucket
            | Problem::Denied(_)
            | Problem::Credentials(_)
            | Problem::AlreadyExists
            | Problem::Refused(_)
            | Problem::Full => Retry::Permanent,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.operation.name(), self.about)?;
        match &self.problem {
            Problem::NotFound => write!(f, "nothing is stored under this key"),
            Problem::NoBucket => {
                write!(
                    f,
                    "the bucket or directory of the store does not exist; create it, or correct store.url (salvage never creates one)"
                )
            }
            Problem::Denied(permission) => write!(
                f,
                "access denied; grant {permission} to the identity in use"
            ),
            Problem::Credentials(hint) => write!(f, "no accepted credentials: {hint}"),
            Problem::AlreadyExists => write!(f, "an object with this key exists already"),
            Problem::NoSuchUpload => write!(
                f,
                "the store does not know this multipart upload (any more)"
            ),
            Problem::Mismatch(what) => write!(f, "the store does not hold what was sent: {what}"),
            Problem::Refused(why) => write!(f, "refused: {why}"),
            Problem::Unreachable(why) => write!(f, "no answer: {why}"),
            Problem::Throttled(_) => write!(f, "the store asks to slow down"),
            Problem::Failed(why) => write!(f, "the store failed: {why}"),
            Problem::Full => write!(f, "no room left in the store"),
        }
    }
}
