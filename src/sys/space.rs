//! Free space of a file system.

use std::io;
use std::os::fd::BorrowedFd;

/// What is free for a process without privileges, so that the blocks kept for root stay theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Free bytes.
    pub free_bytes: u64,
    /// Free inodes; the maximum where the file system makes them as needed.
    pub free_inodes: u64,
}

/// Asks for the free space of the file system that `file` is on.
///
/// # Errors
/// As `fstatvfs(3)`.
pub fn space(file: BorrowedFd<'_>) -> io::Result<Space> {
    let stat = rustix::fs::fstatvfs(file)?;
    Ok(Space {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        // btrfs and some network file systems say 0 of 0.
        free_inodes: if stat.f_files == 0 {
            u64::MAX
        } else {
            stat.f_favail
        },
    })
}
