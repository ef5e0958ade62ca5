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

impl FileId {
    /// Whether both are the same file. Device numbers may change when a node restarts, so they decide only where the file system
    /// keeps no birth time.
    pub fn same_file(&self, other: &Self) -> bool {
        self.ino == other.ino
            && self.born == other.born
            && (self.born != 0 || self.dev == other.dev)
    }
}
