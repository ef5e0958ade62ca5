//! The node's tree of control groups, and a container's place in it.
//!
//! The agent has to see groups of other pods. Its own `/sys/fs/cgroup` shows its own group alone, and `/proc/<pid>/cgroup` tells ways that begin there
//! (`/../../kubepods-burstable-pod….slice/cri-containerd-….scope`). Three ways were weighed:
//!
//! - To mount the node's `/sys/fs/cgroup` into the agent: a volume more, and writable or not as the runtime pleases.
//! - `/proc/<pid>/root/sys/fs/cgroup`, which is the container's own group as its runtime mounted it: a place that the container can replace where it may mount, and
//!   that is another one with `hostPID` or a privileged pod.
//! - `/proc/1/root/sys/fs/cgroup`, the node's own mount as its first process sees it. **This is taken**: captures have `hostPID` and `SYS_PTRACE` anyway, which is all
//!   that it needs; no container can put anything in its place; it is opened once and only read, one level at a time, so no link leads out.
//!
//! What is missing then is where the agent's own namespace begins, as that is what `/..` is relative to. Where the first process of the node is seen below `/`, it
//! begins at the root. Else it is the group whose `cgroup.procs` has the agent itself, looked for once.
//!
//! An agent that is in no container finds itself in its own `/sys/fs/cgroup`, by its own path; then that is the tree, and it needs no right at all.
//!
//! No descriptor of a group is kept: one that was removed would stay in the kernel with its memory.

use std::io;
use std::path::{Path, PathBuf};

use super::cgroup::{self, Memory, MemoryCgroup, Unread};
use super::path::{CgroupPath, InvalidCgroup, Version, is_pod};
use crate::model::escaped;
use crate::sys::{Dir, FileKind};

/// Most groups looked at for the agent's own; a large node has a few thousand.
const GROUPS_MAX: usize = 50_000;

/// Longest file of `/proc` or of processes read.
const TEXT_MAX: u64 = 1 << 20;

/// The node's tree of control groups.
#[derive(Debug)]
pub struct CgroupTree {
    root: Dir,
    shown: PathBuf,
    version: Version,
    /// Where the agent's own namespace begins.
    own: Vec<String>,
}

/// Why memory cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The tree cannot be reached.
    #[error(
        "{}: the node's control groups cannot be read; captures need hostPID and the capability SYS_PTRACE (captures.enabled of the chart gives both)",
        escaped(path)
    )]
    Unreachable {
        /// What was to be read.
        path: PathBuf,
        /// Why it was not.
        #[source]
        source: io::Error,
    },
    /// The text of `/proc/<pid>/cgroup` tells no way.
    #[error(transparent)]
    Invalid(#[from] InvalidCgroup),
    /// The agent did not find itself.
    #[error(
        "{}: the agent's own group is not among {groups} that were looked at, so where those of others are cannot be told",
        escaped(path)
    )]
    Lost {
        /// The tree.
        path: PathBuf,
        /// How many were looked at.
        groups: usize,
    },
    /// A process that is not of this node, or whose memory is accounted by the other version.
    #[error(
        "control group {cgroup}: is not in the node's tree at {}",
        escaped(tree)
    )]
    Outside {
        /// The group.
        cgroup: String,
        /// The tree.
        tree: PathBuf,
    },
    /// The group was removed: its container is gone.
    #[error("control group {0}: is gone, and its container with it")]
    Gone(String),
    /// A file of the group cannot be read.
    #[error("control group {cgroup}: {file} cannot be read")]
    Unreadable {
        /// The group.
        cgroup: String,
        /// The file.
        file: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the group has something else in it than the kernel writes.
    #[error("control group {cgroup}: {file} has no number where one is expected")]
    Strange {
        /// The group.
        cgroup: String,
        /// The file.
        file: &'static str,
    },
}

impl CgroupTree {
    /// The tree of the node whose processes `proc` shows; in the agent that is `/proc`.
    ///
    /// # Errors
    /// It cannot be reached, or the agent's own place in it not be told.
    pub fn open(proc: &Path) -> Result<Self, TreeError> {
        Self::open_as(proc, std::process::id())
    }

    fn open_as(proc: &Path, pid: u32) -> Result<Self, TreeError> {
        let parse = |name: &str| -> Result<CgroupPath, TreeError> {
            let path = proc.join(name);
            let text = read(&path).map_err(|source| TreeError::Unreachable { path, source })?;
            Ok(CgroupPath::parse(&text)?)
        };
        let first = parse("1/cgroup")?;
        let own = parse("self/cgroup")?;
        let tree = |process: &str| -> Result<Self, TreeError> {
            let mut shown = proc.join(process).join("root/sys/fs/cgroup");
            if first.version == Version::V1 {
                shown.push("memory");
            }
            let root = Dir::open(&shown).map_err(|source| TreeError::Unreachable {
                path: shown.clone(),
                source,
            })?;
            Ok(Self {
                root,
                shown,
                version: first.version,
                own: Vec::new(),
            })
        };
        if first.up == 0
            && let Ok(own_mount) = tree("self")
            && own_mount.dir(&own.down).is_ok_and(|dir| holds(&dir, pid))
        {
            return Ok(own_mount);
        }
        let mut tree = tree("1")?;
        if first.up > 0 {
            tree.own = tree.find(pid, &own.down)?;
        }
        Ok(tree)
    }

    /// Where the namespace begins in which the process `pid` is at `below`.
    fn find(&self, pid: u32, below: &[String]) -> Result<Vec<String>, TreeError> {
        let mut looked_at = 0;
        let mut open = vec![Vec::<String>::new()];
        while let Some(levels) = open.pop() {
            // It went meanwhile.
            let Ok(dir) = self.dir(&levels) else { continue };
            looked_at += 1;
            if let Some(above) = levels.strip_suffix(below)
                && holds(&dir, pid)
            {
                return Ok(above.to_vec());
            }
            let Ok(entries) = dir.entries() else { continue };
            for entry in entries.flatten() {
                let is_dir = entry.kind == Some(FileKind::Dir);
                let Some(name) = entry.name.to_str().filter(|_| is_dir) else {
                    continue;
                };
                if open.len() + looked_at < GROUPS_MAX {
                    open.push([levels.as_slice(), &[name.to_owned()]].concat());
                }
            }
        }
        Err(TreeError::Lost {
            path: self.shown.clone(),
            groups: looked_at,
        })
    }

    /// The place of a process by the text of its `/proc/<pid>/cgroup`.
    ///
    /// # Errors
    /// It has none in this tree.
    pub fn place(&self, text: &str) -> Result<MemoryCgroup, TreeError> {
        let path = CgroupPath::parse(text)?;
        let stays = self.own.len().checked_sub(path.up);
        let (Some(stays), true) = (stays, path.version == self.version) else {
            return Err(TreeError::Outside {
                cgroup: path.to_string(),
                tree: self.shown.clone(),
            });
        };
        let levels = [&self.own[..stays], path.down.as_slice()].concat();
        // Above its pod are the limits of classes and of the node, which are everybody's; where there is no pod, only its own counts.
        let pod = levels.iter().rposition(|level| is_pod(level));
        let top = pod.map_or(levels.len(), |pod| pod + 1);
        Ok(MemoryCgroup { levels, top })
    }

    /// The memory of a container: of the process's own group or the nearest above it that has a limit, up to its pod's. A process may be in a group that its
    /// container made, and a pod may have a limit where its container has none.
    ///
    /// # Errors
    /// It is gone, or cannot be read.
    pub fn read(&self, group: &MemoryCgroup) -> Result<Memory, TreeError> {
        let explain = |unread| explain(&group.levels, unread);
        let open = |depth: usize| {
            let dir = self.dir(&group.levels[..depth]);
            dir.map_err(|error| explain(Unread::Io("its directory", error)))
        };
        let own = group.levels.len();
        let mut found = (open(own)?, None);
        for depth in (group.top..=own).rev() {
            let dir = open(depth)?;
            if let Some(limit) = cgroup::limit(&dir, self.version).map_err(explain)? {
                found = (dir, Some(limit));
                break;
            }
        }
        let (dir, limit) = found;
        let (usage, working_set) = cgroup::usage(&dir, self.version).map_err(explain)?;
        Ok(Memory {
            usage,
            working_set,
            limit,
        })
    }

    fn dir(&self, levels: &[String]) -> io::Result<Dir> {
        let mut dir = self.root.reopen()?;
        for level in levels {
            dir = dir.open_dir(level.as_ref())?;
        }
        Ok(dir)
    }
}

fn show(levels: &[String]) -> String {
    escaped(&format!("/{}", levels.join("/"))).to_string()
}

fn explain(levels: &[String], unread: Unread) -> TreeError {
    let cgroup = show(levels);
    match unread {
        // A group that goes while it is read says ENODEV.
        Unread::Io(_, source)
            if source.kind() == io::ErrorKind::NotFound
                || source.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) =>
        {
            TreeError::Gone(cgroup)
        }
        Unread::Io(file, source) => TreeError::Unreadable {
            cgroup,
            file,
            source,
        },
        Unread::Strange(file) => TreeError::Strange { cgroup, file },
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(
        &mut io::Read::take(std::fs::File::open(path)?, TEXT_MAX),
        &mut text,
    )?;
    Ok(text)
}

/// Whether the process is in that very group.
fn holds(dir: &Dir, pid: u32) -> bool {
    let pid = pid.to_string();
    let mut text = String::new();
    // Groups of threads have no such list.
    let file = dir.open_file("cgroup.procs".as_ref());
    let read = file
        .and_then(|file| io::Read::read_to_string(&mut io::Read::take(file, TEXT_MAX), &mut text));
    read.is_ok() && text.lines().any(|line| line == pid)
}

#[cfg(test)]
mod tests;
