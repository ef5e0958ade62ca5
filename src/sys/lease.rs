//! Read leases: the kernel's own word that nobody has a file open for writing.
//!
//! `fcntl(F_SETLEASE, F_RDLCK)` is refused with `EAGAIN` while any process has the file open for writing, shared mappings included. A writer
//! that opens a leased file waits until the lease is gone (up to `/proc/sys/fs/lease-break-time`, 45 s) and the holder gets `SIGIO`, whose
//! default action is death: [`super::ignore_lease_signal`] comes before the first lease, and a lease is held for milliseconds only.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// What asking for a lease brought.
#[derive(Debug)]
pub enum Lease<'a> {
    /// Nobody writes, and nobody can begin to while this is held.
    Held(ReadLease<'a>),
    /// Somebody has it open for writing.
    WriterOpen,
    /// The file system has no leases, or we may not take one on this file (another owner's, without `CAP_LEASE`).
    Unsupported,
}

/// A held lease, given back when dropped.
#[derive(Debug)]
pub struct ReadLease<'a>(&'a File);

/// Asks for a read lease on a file that is open for reading only.
///
/// # Errors
/// Those of `fcntl(2)` that mean neither "a writer" nor "no leases here".
pub fn read_lease(file: &File) -> io::Result<Lease<'_>> {
    match set_lease(file, libc::F_RDLCK) {
        Ok(()) => Ok(Lease::Held(ReadLease(file))),
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN) => Ok(Lease::WriterOpen),
            Some(
                libc::EINVAL
                | libc::EOPNOTSUPP
                | libc::EACCES
                | libc::EPERM
                | libc::ENOLCK
                | libc::ENOSYS,
            ) => Ok(Lease::Unsupported),
            _ => Err(error),
        },
    }
}

impl Drop for ReadLease<'_> {
    fn drop(&mut self) {
        // Closing the file would give the lease back as well; there is nothing to do about a refusal.
        let _ = set_lease(self.0, libc::F_UNLCK);
    }
}

fn set_lease(file: &File, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: fcntl with F_SETLEASE takes an integer and touches no memory of ours; the descriptor is open as long as `file` lives.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_tells_whether_somebody_writes() {
        crate::sys::ignore_lease_signal().expect("signal");
        let temp = tempfile::tempdir().expect("temp dir");
        let path = temp.path().join("dump");
        let writer = File::create(&path).expect("create");
        let reader = File::open(&path).expect("open");
        assert!(matches!(read_lease(&reader), Ok(Lease::WriterOpen)));
        drop(writer);
        let Ok(Lease::Held(lease)) = read_lease(&reader) else {
            panic!("nobody writes")
        };
        // While it is held a writer would wait; one that will not wait is told so.
        let options = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
        let refused = rustix::fs::open(&path, options, rustix::fs::Mode::empty());
        assert_eq!(refused.err(), Some(rustix::io::Errno::AGAIN));
        drop(lease);
        assert!(std::fs::OpenOptions::new().write(true).open(&path).is_ok());
    }
}
