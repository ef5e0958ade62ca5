//! A container's own group, as its runtime mounted it for the container.
//!
//! Everything below the container's root is its own to make: it is resolved within that root, without links, and only what lies on a file system of control
//! groups is believed.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, fstatfs, open as open_path, openat2};

use super::super::cgroup::Unread;
use super::super::path::Version;
use crate::sys::Dir;

/// `CGROUP_SUPER_MAGIC` and `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const V1: u64 = 0x0027_e0eb;
const V2: u64 = 0x6367_7270;

/// Opens the group that the process `pid` sees as its own.
pub(super) fn open(proc: &Path, pid: u32, version: Version) -> Result<Dir, Unread> {
    let (way, magic) = match version {
        Version::V1 => ("sys/fs/cgroup/memory", V1),
        Version::V2 => ("sys/fs/cgroup", V2),
    };
    let dir = dir(proc, pid, way).map_err(|error| Unread::Io("its mount", error))?;
    let stat = fstatfs(&dir).map_err(|error| Unread::Io("its mount", error.into()))?;
    if u64::try_from(stat.f_type) != Ok(magic) {
        return Err(Unread::NoGroup);
    }
    // The descriptor stands for what was looked at, whatever is mounted there next.
    let held = Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&dir).to_string());
    Dir::open(&held.join(".")).map_err(|error| Unread::Io("its mount", error))
}

fn dir(proc: &Path, pid: u32, way: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = proc.join(pid.to_string()).join("root");
    let root = open_path(&root, flags | OFlags::PATH, Mode::empty())?;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(
        &root,
        way,
        flags | OFlags::RDONLY,
        Mode::empty(),
        within,
    )?)
}
