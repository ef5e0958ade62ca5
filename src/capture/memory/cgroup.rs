//! What one control group says of its memory.
//!
//! | | version 1 | version 2 |
//! | --- | --- | --- |
//! | usage | `memory.usage_in_bytes` | `memory.current` |
//! | limit | `memory.limit_in_bytes`, without one the largest number | `memory.max`, without one `max` |
//! | file pages that nobody has touched lately | `memory.stat`: `total_inactive_file` | `memory.stat`: `inactive_file` |
//!
//! What counts is the working set, usage without the last: the kernel takes those pages back before it kills, so a container that only reads files stands at its
//! limit for ever and is in no danger. It is what the kubelet evicts by and `kubectl top` shows.

use std::io::{self, Read};

use super::path::Version;
use crate::sys::Dir;

/// The memory of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All that is charged to it, in bytes.
    pub usage: u64,
    /// What of it the kernel cannot simply take back.
    pub working_set: u64,
    /// Its limit, if it has one.
    pub limit: Option<u64>,
}

/// A container's control group, as [`CgroupTree::place`](super::CgroupTree::place) found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryCgroup(pub(super) Place);

/// How it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Through the node's tree.
    InTree {
        /// From the root of the tree down to the process's own group.
        levels: Vec<String>,
        /// How many of them there are to the pod's own; above it are the groups of classes and of the node.
        top: usize,
    },
    /// Through what this process of the container sees mounted.
    OfProcess(u32),
}

/// Why a file says nothing.
#[derive(Debug)]
pub(super) enum Unread {
    /// It cannot be read.
    Io(&'static str, io::Error),
    /// It is not what the kernel writes.
    Strange(&'static str),
    /// What is mounted is no control group.
    NoGroup,
}

/// Longest number; they have at most 20 digits.
const NUMBER_MAX: u64 = 64;

/// Longest `memory.stat` read; it has some 2 KiB.
const STAT_MAX: u64 = 64 << 10;

/// Version 1 says "no limit" with the highest number that is a multiple of a page.
const NO_LIMIT: u64 = 1 << 60;

/// The limit of a group, if it has one.
pub(super) fn limit(dir: &Dir, version: Version) -> Result<Option<u64>, Unread> {
    let file = match version {
        Version::V1 => "memory.limit_in_bytes",
        Version::V2 => "memory.max",
    };
    let text = match read(dir, file, NUMBER_MAX) {
        // The root of version 2 has none.
        Err(Unread::Io(_, error))
            if error.kind() == io::ErrorKind::NotFound && version == Version::V2 =>
        {
            dir.stat("cgroup.procs".as_ref())
                .map_err(|error| Unread::Io("cgroup.procs", error))?;
            return Ok(None);
        }
        other => other?,
    };
    match text.trim() {
        "max" => Ok(None),
        number => {
            let limit: u64 = number.parse().map_err(|_| Unread::Strange(file))?;
            Ok(Some(limit).filter(|limit| *limit < NO_LIMIT))
        }
    }
}

/// The usage of a group, and its working set.
pub(super) fn usage(dir: &Dir, version: Version) -> Result<(u64, u64), Unread> {
    let (file, cold) = match version {
        Version::V1 => ("memory.usage_in_bytes", "total_inactive_file"),
        Version::V2 => ("memory.current", "inactive_file"),
    };
    let text = read(dir, file, NUMBER_MAX)?;
    let usage: u64 = text.trim().parse().map_err(|_| Unread::Strange(file))?;
    let stat = read(dir, "memory.stat", STAT_MAX)?;
    let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
    let cold = lines.find(|(name, _)| *name == cold);
    let cold: Option<u64> = cold.and_then(|(_, number)| number.trim().parse().ok());
    let cold = cold.ok_or(Unread::Strange("memory.stat"))?;
    // Both were read one after the other.
    Ok((usage, usage.saturating_sub(cold)))
}

fn read(dir: &Dir, name: &'static str, most: u64) -> Result<String, Unread> {
    let unread = |error| Unread::Io(name, error);
    let file = dir.open_file(name.as_ref()).map_err(unread)?;
    let mut text = String::new();
    file.take(most).read_to_string(&mut text).map_err(unread)?;
    Ok(text)
}
