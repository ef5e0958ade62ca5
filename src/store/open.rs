//! From a URL to a store.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Store, file::FileStore, s3::S3Store};

/// Where the store is: `s3://BUCKET[/PREFIX]` or `file:///ABSOLUTE/DIRECTORY`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StoreUrl {
    /// A bucket of an S3-compatible store.
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// What every key begins with: empty, or without a `/` at either end.
        prefix: String,
    },
    /// A directory.
    File(PathBuf),
}
