//! The node's tree of control groups, and a container's place in it.
//!
//! The agent has to see groups of other pods. Its own `/sys/fs/cgroup` shows its own group alone, and `/proc/<pid>/cgroup` tells ways that begin there
//! (`/../../kubepods-burstable-pod….slice/cri-containerd-….scope`). In this order, and with no further mount:
//!
//! 1. Its own `/sys/fs/cgroup`, where the agent finds itself in it by its own path: it is in no container, and this is the node's tree.
//! 2. `/proc/1/root/sys/fs/cgroup`, the node's own mount as its first process sees it. Captures have `hostPID` and `SYS_PTRACE` anyway, which is all that it needs; no
//!    container can put anything in its place. What is missing then is where the agent's own namespace begins, as that is what `/..` is relative to: at the root
//!    where the first process is seen below `/`, else where `cgroup.procs` has the agent itself, looked for once.
//! 3. `/proc/<pid>/root/sys/fs/cgroup` of each container, where the second is refused or the agent not found: AppArmor lets the runtimes' default profile look at processes of the same profile
//!    only, and the first process has none. A runtime mounts a container's own group there, so there is no way to tell, and no limit of the pod to be seen. A
//!    container that may mount can show another group than its own, and is captured for it within its own budget, as it would be for using that memory; that it is
//!    a group and no file of the container's making is checked.
//!
//! Everything is opened one level at a time and only read, so no link leads out. No descriptor of a group is kept: one that was removed would stay in the kernel with
//! its memory.

mod of_process;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use super::cgroup::{self, Memory, MemoryCgroup, Place, Unread};
use super::path::{CgroupPath, InvalidCgroup, Version, is_pod};
use crate::model::escaped;
use crate::sys::{Dir, FileKind};

/// Most groups looked at for the agent's own; a large node has a few thousand.
const GROUPS_MAX: usize = 50_000;

/// Longest file of `/proc` or of processes read.
const TEXT_MAX: u64 = 1 << 20;

/// The node's control groups.
#[derive(Debug)]
pub struct CgroupTree {
    version: Version,
    reach: Reach,
}

/// How they are reached.
#[derive(Debug)]
enum Reach {
    Tree(Tree),
    /// Only as each container sees its own; the directory is `/proc`.
    OfProcesses(PathBuf),
}

/// The whole of them.
#[derive(Debug)]
struct Tree {
    root: Dir,
    shown: PathBuf,
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
    /// A process that is not of this node.
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
    /// A process whose memory is accounted by the other version than the node's.
    #[error(
        "control group {0}: is of the other version of control groups than the node's first process"
    )]
    OtherVersion(String),
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
    /// A container shows something else in the place of its group.
    #[error(
        "control group {0}: what the container has at /sys/fs/cgroup is none, so its memory cannot be told"
    )]
    NoGroup(String),
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
    /// It cannot be reached, and that is not for a lack of rights.
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
        let version = first.version;
        let tree = |process: &str| -> io::Result<Tree> {
            let shown = proc.join(process).join(mount(version));
            Ok(Tree {
                root: Dir::open(&shown)?,
                shown,
                own: Vec::new(),
            })
        };
        let whole = |tree| Self {
            version,
            reach: Reach::Tree(tree),
        };
        let of_processes = || Self {
            version,
            reach: Reach::OfProcesses(proc.to_owned()),
        };
        if first.up == 0
            && let Ok(own_mount) = tree("self")
            && own_mount.dir(&own.down).is_ok_and(|dir| holds(&dir, pid))
        {
            return Ok(whole(own_mount));
        }
        let mut tree = match tree("1") {
            Ok(tree) => tree,
            Err(refused) if refused.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(of_processes());
            }
            Err(source) => {
                return Err(TreeError::Unreachable {
                    path: proc.join("1").join(mount(version)),
                    source,
                });
            }
        };
        if first.up > 0 {
            match tree.find(pid, &own.down) {
                Some(own) => tree.own = own,
                None => return Ok(of_processes()),
            }
        }
        Ok(whole(tree))
    }

    /// Whether the whole tree is seen: else a pod's own limit is not, and what a container shows is believed.
    pub const fn is_whole(&self) -> bool {
        matches!(self.reach, Reach::Tree(_))
    }

    /// The place of the process `pid` of a container, by the text of its `/proc/<pid>/cgroup`.
    ///
    /// # Errors
    /// It has none on this node.
    pub fn place(&self, pid: u32, text: &str) -> Result<MemoryCgroup, TreeError> {
        let path = CgroupPath::parse(text)?;
        if path.version != self.version {
            return Err(TreeError::OtherVersion(path.to_string()));
        }
        let tree = match &self.reach {
            Reach::Tree(tree) => tree,
            Reach::OfProcesses(_) => return Ok(MemoryCgroup(Place::OfProcess(pid))),
        };
        let stays = tree.own.len().checked_sub(path.up);
        let stays = stays.ok_or_else(|| TreeError::Outside {
            cgroup: path.to_string(),
            tree: tree.shown.clone(),
        })?;
        let levels = [&tree.own[..stays], path.down.as_slice()].concat();
        // Above its pod are the limits of classes and of the node, which are everybody's; where there is no pod, only its own counts.
        let pod = levels.iter().rposition(|level| is_pod(level));
        let top = pod.map_or(levels.len(), |pod| pod + 1);
        Ok(MemoryCgroup(Place::InTree { levels, top }))
    }

    /// The memory of a container: of the process's own group or the nearest above it that has a limit, up to its pod's. A process may be in a group that its
    /// container made, and a pod may have a limit where its container has none.
    ///
    /// # Errors
    /// It is gone, or cannot be read.
    pub fn read(&self, group: &MemoryCgroup) -> Result<Memory, TreeError> {
        match (&self.reach, &group.0) {
            (Reach::Tree(tree), Place::InTree { levels, top }) => {
                let explain = |unread| explain(show(levels), unread);
                tree.read(self.version, levels, *top).map_err(explain)
            }
            (Reach::OfProcesses(proc), Place::OfProcess(pid)) => {
                let explain = |unread| explain(format!("of process {pid}"), unread);
                let dir = of_process::open(proc, *pid, self.version).map_err(explain)?;
                memory(&dir, self.version).map_err(explain)
            }
            // Of another tree than this.
            (_, Place::InTree { levels, .. }) => Err(TreeError::Gone(show(levels))),
            (_, Place::OfProcess(pid)) => Err(TreeError::Gone(format!("of process {pid}"))),
        }
    }
}

/// Where control groups are mounted, below a process's root.
fn mount(version: Version) -> &'static str {
    match version {
        Version::V1 => "root/sys/fs/cgroup/memory",
        Version::V2 => "root/sys/fs/cgroup",
    }
}

fn memory(dir: &Dir, version: Version) -> Result<Memory, Unread> {
    let limit = cgroup::limit(dir, version)?;
    let (usage, working_set) = cgroup::usage(dir, version)?;
    Ok(Memory {
        usage,
        working_set,
        limit,
    })
}

impl Tree {
    /// Where the namespace begins in which the process `pid` is at `below`.
    fn find(&self, pid: u32, below: &[String]) -> Option<Vec<String>> {
        let mut looked_at = 0;
        let mut open = vec![Vec::<String>::new()];
        while let Some(levels) = open.pop() {
            // It went meanwhile.
            let Ok(dir) = self.dir(&levels) else { continue };
            looked_at += 1;
            if let Some(above) = levels.strip_suffix(below)
                && holds(&dir, pid)
            {
                return Some(above.to_vec());
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
        None
    }

    fn read(&self, version: Version, levels: &[String], top: usize) -> Result<Memory, Unread> {
        let read = |depth: usize| {
            let dir = self.dir(&levels[..depth]);
            let dir = dir.map_err(|error| Unread::Io("its directory", error))?;
            memory(&dir, version)
        };
        let own = read(levels.len())?;
        let mut depth = levels.len();
        let mut nearest = own;
        while nearest.limit.is_none() && depth > top {
            depth -= 1;
            nearest = read(depth)?;
        }
        Ok(if nearest.limit.is_some() {
            nearest
        } else {
            own
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

fn explain(cgroup: String, unread: Unread) -> TreeError {
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
        Unread::NoGroup => TreeError::NoGroup(cgroup),
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
