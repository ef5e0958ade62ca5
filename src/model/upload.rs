//! A multipart upload as a state file remembers it.

use serde::{Deserialize, Serialize};

use super::ObjectKey;

/// A multipart upload that was begun. It stands in the state before its first part goes out, so that whatever stops the agent, the next
/// one can give it up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// The object it will become.
    pub key: ObjectKey,
    /// The store's own name for it; means nothing elsewhere.
    pub token: String,
    /// Bytes of every part but the last.
    pub part_bytes: u64,
}
