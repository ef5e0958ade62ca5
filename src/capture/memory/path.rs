//! Where a process's memory is accounted: the text of `/proc/<pid>/cgroup`.
//!
//! The kernel writes it, but the names in it are those of whoever made the groups: below its own a container may choose them.

use std::fmt;

use crate::model::escaped;

/// Lines looked at: version 1 has one for each of a dozen hierarchies.
const LINES: usize = 64;

/// Most levels: a container has five, one that runs a kubelet itself a dozen.
const LEVELS: usize = 32;

/// Longest name of a level; the kernel's own bound.
const NAME_MAX: usize = 255;

/// Which kind of control group has the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// A hierarchy of its own for each controller.
    V1,
    /// One hierarchy for all.
    V2,
}

/// The way to a control group, as whoever read the text sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupPath {
    pub(super) version: Version,
    /// Levels up from the reader's own namespace: `/../../a` is two up and then `a`.
    pub(super) up: usize,
    pub(super) down: Vec<String>,
}

/// A text that does not say where memory is accounted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCgroup {
    /// No line is of the memory controller, and none of version 2.
    #[error(
        "no line of the process's cgroup file names the memory controller: is it turned on in the kernel (cgroup_enable=memory)?"
    )]
    NoMemory,
    /// A path that the kernel would not write, or that is too deep.
    #[error(
        "the process's cgroup file names the path {0:?}, which is none of at most {LEVELS} levels"
    )]
    Path(String),
}

impl CgroupPath {
    /// Reads the text. The memory controller is in one place only: where version 1 has it, what the line of version 2 says is of no matter.
    ///
    /// # Errors
    /// It does not say where memory is accounted.
    pub fn parse(text: &str) -> Result<Self, InvalidCgroup> {
        let mut unified = None;
        for line in text.lines().take(LINES) {
            let mut fields = line.splitn(3, ':');
            let (Some(number), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if controllers
                .split(',')
                .any(|controller| controller == "memory")
            {
                return Self::of(Version::V1, path);
            }
            if number == "0" && controllers.is_empty() {
                unified = Some(path);
            }
        }
        Self::of(Version::V2, unified.ok_or(InvalidCgroup::NoMemory)?)
    }

    fn of(version: Version, path: &str) -> Result<Self, InvalidCgroup> {
        let invalid = || {
            InvalidCgroup::Path(escaped(&path.chars().take(128).collect::<String>()).to_string())
        };
        // A group that was removed under its process.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let levels = path.strip_prefix('/').ok_or_else(invalid)?;
        let levels: Vec<&str> = levels
            .split('/')
            .filter(|level| !level.is_empty())
            .collect();
        let up = levels.iter().take_while(|level| **level == "..").count();
        let down: Vec<String> = levels[up..]
            .iter()
            .map(|level| (*level).to_owned())
            .collect();
        let is_name = |level: &String| {
            level != ".." && level != "." && level.len() <= NAME_MAX && !level.contains('\0')
        };
        if levels.len() > LEVELS || !down.iter().all(is_name) {
            return Err(invalid());
        }
        Ok(Self { version, up, down })
    }

    /// The kind of control group.
    pub const fn version(&self) -> Version {
        self.version
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("/")?;
        let up = std::iter::repeat_n("..", self.up);
        let levels: Vec<&str> = up.chain(self.down.iter().map(String::as_str)).collect();
        write!(f, "{}", escaped(&levels.join("/")))
    }
}

/// Whether a level is the pod's: `pod<uid>` as the kubelet writes it itself, `kubepods-burstable-pod<uid>.slice` as systemd has it. A static pod's UID is a digest.
pub(super) fn is_pod(level: &str) -> bool {
    let name = level.strip_suffix(".slice").unwrap_or(level);
    let uid = match name.strip_prefix("pod") {
        Some(uid) => uid,
        None => name.rsplit_once("-pod").map_or("", |(_, uid)| uid),
    };
    let of_uid = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-' || byte == b'_';
    (32..=36).contains(&uid.len()) && uid.bytes().all(of_uid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "0d8b6a5e-3d2f-4c57-9a51-6f1f0a5a8b11";

    #[test]
    fn the_line_of_the_memory_controller_is_found() {
        let v1 =
            "12:cpu,cpuacct:/kubepods/burstable/podX/c\n4:memory:/kubepods/podX/c\n0::/elsewhere\n";
        let path = CgroupPath::parse(v1).expect("a path");
        assert_eq!(
            (path.version, path.to_string().as_str()),
            (Version::V1, "/kubepods/podX/c")
        );
        let v2 = "0::/../../kubepods-burstable-podX.slice/cri-containerd-c.scope\n";
        let path = CgroupPath::parse(v2).expect("a path");
        assert_eq!(
            (path.version, path.up, path.down.len()),
            (Version::V2, 2, 2)
        );
        let root = CgroupPath::parse("0::/\n").expect("a path");
        assert_eq!((root.up, root.down.len()), (0, 0));
        let removed = CgroupPath::parse("0::/a/b (deleted)\n").expect("a path");
        assert_eq!(removed.down, ["a", "b"]);
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        let deep = format!("0::{}\n", "/a".repeat(33));
        for text in [
            "0::/a/../../etc\n",
            "0::a\n",
            "4:memory:\n",
            "0::/a/./b\n",
            "0::/a\0b\n",
            deep.as_str(),
        ] {
            assert!(
                matches!(CgroupPath::parse(text), Err(InvalidCgroup::Path(_))),
                "{text:?}"
            );
        }
        for text in ["", "1:cpu:/a\n", "memory\n"] {
            assert_eq!(
                CgroupPath::parse(text),
                Err(InvalidCgroup::NoMemory),
                "{text:?}"
            );
        }
    }

    #[test]
    fn the_level_of_a_pod_is_known_in_each_way_of_writing_it() {
        let under = UID.replace('-', "_");
        let plain = UID.replace('-', "");
        for level in [
            format!("pod{UID}"),
            format!("pod{plain}"),
            format!("kubepods-pod{under}.slice"),
            format!("kubepods-burstable-pod{under}.slice"),
            format!("kubelet-kubepods-besteffort-pod{plain}.slice"),
        ] {
            assert!(is_pod(&level), "{level}");
        }
        for level in [
            "kubepods.slice",
            "kubepods",
            "burstable",
            "kubepods-burstable.slice",
            "pod",
            "podman",
            &plain,
            "cri-containerd-5f1e0c9a5f1e0c9a5f1e0c9a5f1e0c9a5f1e0c9a5f1e0c9a5f1e0c9a5f1e0c9a.scope",
        ] {
            assert!(!is_pod(level), "{level}");
        }
    }

    proptest! {
        #[test]
        fn no_text_leads_out_of_a_tree(text in "([0-9]{1,2}:(memory|cpu|):(/(\\.\\.|\\.|[a-z]{0,3}| )){0,8}\n){0,4}|\\PC{0,200}") {
            if let Ok(path) = CgroupPath::parse(&text) {
                prop_assert!(path.down.iter().all(|level| level != ".." && level != "." && !level.is_empty()));
                let _ = path.to_string();
            }
        }
    }
}
