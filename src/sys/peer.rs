//! Unix sockets reached by a handle, and who listens there.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

/// Who made the other end of a connection listen, as the kernel noted it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number in our pid namespace, 0 where it has none there.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Connects to the listening socket that a handle stands for, whatever its name has become; a name is also cut at 108 bytes, and a handle is not.
///
/// # Errors
/// As `connect(2)`: `ECONNREFUSED` when nobody listens any more, `EAGAIN` when nobody accepted within `limit`.
pub fn connect_to(handle: impl AsFd, limit: Duration) -> io::Result<UnixStream> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // It holds for connect as well, which waits while the queue of the listener is full.
    set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd()))?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    }
    set_socket_timeout(&socket, Timeout::Send, None)?;
    Ok(UnixStream::from(socket))
}

/// Who listens at the other end.
///
/// # Errors
/// As `getsockopt(2)`.
pub fn peer_of(stream: &UnixStream) -> io::Result<Peer> {
    // Not rustix's: its pid cannot be 0, which is what the kernel says of a process that our namespace does not have.
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `peer`, plain data; the descriptor is open as long as `stream`.
    let answer = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            std::ptr::from_mut(&mut peer).cast(),
            &mut length,
        )
    };
    match answer {
        0 => Ok(Peer {
            pid: peer.pid,
            uid: peer.uid,
            gid: peer.gid,
        }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::sys::Dir;

    #[test]
    fn a_socket_with_a_long_path_is_reached_and_its_listener_known() {
        let temp = tempfile::tempdir().expect("temp dir");
        let deep = temp.path().join("d".repeat(120));
        std::fs::create_dir(&deep).expect("dir");
        let listener = UnixListener::bind(temp.path().join("s")).expect("bind");
        std::fs::rename(temp.path().join("s"), deep.join("s")).expect("rename");
        let handle = Dir::open(&deep)
            .expect("open")
            .handle(OsStr::new("s"))
            .expect("handle");
        let stream = connect_to(&handle, Duration::from_secs(2)).expect("connect");
        let peer = peer_of(&stream).expect("peer");
        assert_eq!(peer.pid, rustix::process::getpid().as_raw_nonzero().get());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        drop(listener);
        let refused = connect_to(&handle, Duration::from_secs(2)).expect_err("refused");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_full_queue_ends_in_a_timeout() {
        let temp = tempfile::tempdir().expect("temp dir");
        let path = temp.path().join("s");
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("socket");
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).expect("address")).expect("bind");
        rustix::net::listen(&socket, 0).expect("listen");
        let handle = Dir::open(temp.path())
            .expect("open")
            .handle(OsStr::new("s"))
            .expect("handle");
        let limit = Duration::from_millis(50);
        let mut taken = Vec::new();
        let full = loop {
            match connect_to(&handle, limit) {
                Ok(stream) => taken.push(stream),
                Err(error) => break error,
            }
            assert!(taken.len() < 8, "the queue has an end");
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }
}
