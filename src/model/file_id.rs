//! The identity of a file on disk.

use serde::{Deserialize, Serialize};

/// Which file this is: device, inode and the times that tell one use of an inode from the next. Never the name (every crash of a
/// container's first process writes the same one) and never the first bytes (they are alike in most dumps).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileId {
    /// Device number of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Birth time in nanoseconds since the epoch, 0 where the file system has none. A rename keeps it, as it keeps the inode;
    /// the change time it does not keep, so that is no part of the identity.
    pub born: i128,
}
