//! What the agent sets for its own process, and what its cgroup allows it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rustix::process::{Resource, Rlimit};

use crate::model::Host;

/// Ignores `SIGIO`, which a breaking lease sends and whose default action kills. Call it before the first lease.
///
/// # Errors
/// As `signal(2)`.
pub fn ignore_lease_signal() -> io::Result<()> {
    // SAFETY: SIG_IGN installs no handler of ours, so nothing runs in signal context.
    match unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Lets large buffers go back to the kernel the moment they are freed. Call it before the first is made.
///
/// glibc takes what is above a threshold from the kernel and gives it back, but raises the threshold to the largest buffer that was ever freed: from then on
/// parts of 8 MiB lie in the heaps of whichever threads made them, and what those keep is in no bound of ours (measured on an 8 GB dump: a peak of 104 MiB, and
/// of 55 MiB with this). A threshold that was set stays; see `mallopt(3)`.
pub fn return_large_buffers() {
    /// As small as a frame, whose buffers live as long as the process.
    #[cfg(target_env = "gnu")]
    const LARGE: libc::c_int = 1 << 20;
    // SAFETY: it sets a number of the allocator's, under the allocator's own lock.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Whether whoever started us wants a signal to have no effect, as `nohup` does for a download of hours.
pub fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with no new action given, sigaction only fills in the present one, which has room for it and is plain data.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

/// Lets every file the process makes be its owner's only: dumps hold secrets.
pub fn private_files() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

/// Raises the soft limit of open files to the hard one: each watched directory is an open descriptor. Returns the limit now in force.
pub fn raise_open_files() -> Option<u64> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// Whether open files become scarce: `fd`, which has the lowest free number, lies in the upper half of what the process may open.
pub fn is_scarce(fd: impl AsFd) -> bool {
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    let number = u64::try_from(fd.as_fd().as_raw_fd()).unwrap_or(0);
    limit.is_some_and(|limit| number >= limit / 2)
}

/// What the kernel says of this machine.
pub fn this_host() -> Host {
    let uname = rustix::system::uname();
    let text = |name: &std::ffi::CStr| name.to_str().ok().map(str::to_owned);
    Host {
        kernel: text(uname.release()),
        arch: text(uname.machine()),
    }
}

/// The memory limit of the process's own cgroup in bytes, if it has one. Inside a container the cgroup's own directory is mounted at
/// `/sys/fs/cgroup` (v2) or `/sys/fs/cgroup/memory` (v1).
pub fn cgroup_memory_limit() -> Option<u64> {
    let read = |path: &str| {
        std::fs::read_to_string(Path::new(path))
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    let limit = read("/sys/fs/cgroup/memory.max")
        .or_else(|| read("/sys/fs/cgroup/memory/memory.limit_in_bytes"))?;
    // v1 says "no limit" with the highest page-aligned number.
    (limit < 1 << 60).then_some(limit)
}
