//! The state directory and the room beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::decide::Limits;
use crate::doctor::Finding;
use crate::model::{ByteSize, escaped};
use crate::sys::{Dir, Stat};

/// What is known of the state directory.
#[derive(Debug)]
pub(in crate::doctor) struct StateDir {
    path: PathBuf,
    own_uid: u32,
    found: Result<Found, io::Error>,
}

#[derive(Debug)]
struct Found {
    /// Absent where only a directory above it is there.
    stat: Option<Stat>,
    /// The mount that it is, or will be, on.
    mount: u64,
    read_only: bool,
    free_bytes: u64,
    all_bytes: u64,
    /// The maximum where the file system makes them as needed.
    free_inodes: u64,
}

impl StateDir {
    pub(in crate::doctor) fn gather(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            own_uid: rustix::process::geteuid().as_raw(),
            found: look(path),
        }
    }

    /// The mount that it is on; 0 where that is not known.
    pub(in crate::doctor) fn mount(&self) -> u64 {
        self.found.as_ref().map_or(0, |found| found.mount)
    }

    /// Judges, for sources of which some have to be copied here.
    pub(in crate::doctor) fn judge(&self, config: &Config, copies: bool) -> Vec<Finding> {
        let found = match &self.found {
            Ok(found) => found,
            Err(error) => {
                return vec![Finding::fail(
                    "state_dir",
                    escaped(&self.path),
                    format!("state_dir cannot be looked at: {error}"),
                    "give it to the agent's user with mode 0700",
                )];
            }
        };
        let mut findings = vec![self.judge_directory(found)];
        findings.extend(judge_room(found, config.spool.limits, copies));
        findings
    }

    fn judge_directory(&self, found: &Found) -> Finding {
        const ID: &str = "state_dir";
        let path = escaped(&self.path);
        let remedy = "give it to the agent's user with mode 0700";
        if found.read_only {
            return Finding::fail(
                ID,
                path,
                "state_dir is mounted read-only: nothing can be held or shipped",
                "mount it writable",
            );
        }
        match &found.stat {
            None => Finding::ok(ID, path, "state_dir is not there yet; the agent makes it"),
            Some(stat) if stat.uid != self.own_uid => Finding::fail(
                ID,
                path,
                format!(
                    "state_dir belongs to uid {}, and this process is uid {}",
                    stat.uid, self.own_uid
                ),
                remedy,
            ),
            Some(stat) if stat.mode & 0o022 != 0 => Finding::fail(
                ID,
                path,
                format!(
                    "others may write state_dir (mode {:04o})",
                    stat.mode & 0o7777
                ),
                remedy,
            ),
            Some(_) => Finding::ok(ID, path, "state_dir is the agent's alone"),
        }
    }
}

fn look(path: &Path) -> io::Result<Found> {
    let (real, is_there) = nearest(path)?;
    let dir = Dir::open(&real)?;
    let stat = dir.stat_self()?;
    let space = dir.space()?;
    let whole = rustix::fs::fstatvfs(&dir)?;
    Ok(Found {
        stat: is_there.then_some(stat),
        mount: stat.mount,
        read_only: whole.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        free_bytes: space.free_bytes,
        all_bytes: whole.f_blocks.saturating_mul(whole.f_frsize),
        free_inodes: space.free_inodes,
    })
}

/// The directory, or the nearest one above it that is there.
fn nearest(path: &Path) -> io::Result<(PathBuf, bool)> {
    let mut is_there = true;
    for path in path.ancestors() {
        match fs::canonicalize(path) {
            Ok(real) => return Ok((real, is_there)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => is_there = false,
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn judge_room(found: &Found, limits: Limits, copies: bool) -> Vec<Finding> {
    let shown = |bytes: u64| ByteSize::new(bytes).rounded();
    let free = shown(found.free_bytes);
    let copied = "a dump that has to be copied stays where it is, and goes with its pod";
    let mut findings = Vec::new();
    // As much as the state files of a few dumps take; see `decide::quota`.
    const STATE: u64 = 256 << 10;
    findings.push(if found.free_bytes < STATE {
        Finding::fail(
            "space.bytes",
            "",
            format!("the file system of state_dir is full ({free} free): nothing can be held"),
            "make room on the node",
        )
    } else if found.free_bytes < limits.keep_free {
        let cause = format!(
            "{free} are free on the file system of state_dir, less than spool.keep_free ({})",
            shown(limits.keep_free)
        );
        let remedy = "make room on the node, or lower spool.keep_free";
        match copies {
            true => Finding::fail("space.bytes", "", format!("{cause}: {copied}"), remedy),
            false => Finding::warn("space.bytes", "", cause, remedy),
        }
    } else {
        let room = found.free_bytes - limits.keep_free;
        Finding::ok(
            "space.bytes",
            "",
            format!("{free} are free, {} of them for dumps", shown(room)),
        )
    });
    if limits.max_use.saturating_add(limits.keep_free) > found.all_bytes {
        findings.push(Finding::warn(
            "space.max_use",
            "",
            format!(
                "spool.max_use ({}) and spool.keep_free ({}) are more than the file system has ({}), so max_use is never reached",
                shown(limits.max_use),
                shown(limits.keep_free),
                shown(found.all_bytes)
            ),
            "lower spool.max_use, or give state_dir a larger file system",
        ));
    }
    findings.push(if found.free_inodes < limits.keep_free_inodes {
        Finding::fail(
            "space.inodes",
            "",
            format!(
                "{} inodes are free on the file system of state_dir, less than spool.keep_free_inodes ({}): no dump is taken",
                found.free_inodes, limits.keep_free_inodes
            ),
            "remove small files on the node, or lower spool.keep_free_inodes",
        )
    } else {
        Finding::ok("space.inodes", "", "enough inodes are free")
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    const LIMITS: Limits = Limits {
        max_use: 20 << 30,
        keep_free: 2 << 30,
        keep_free_inodes: 10_000,
        max_entries: 10,
    };

    fn found(free_bytes: u64, all_bytes: u64, free_inodes: u64) -> Found {
        Found {
            stat: None,
            mount: 1,
            read_only: false,
            free_bytes,
            all_bytes,
            free_inodes,
        }
    }

    fn bad(found: &Found, copies: bool) -> Vec<(&'static str, Verdict)> {
        judge_room(found, LIMITS, copies)
            .into_iter()
            .filter(|f| f.verdict != Verdict::Ok)
            .map(|f| (f.id, f.verdict))
            .collect()
    }

    #[test]
    fn room_is_judged_by_what_has_to_be_copied() {
        let (large, many) = (100 << 30, 1_000_000);
        assert_eq!(bad(&found(50 << 30, large, many), true), []);
        let little = found(1 << 30, large, many);
        assert_eq!(bad(&little, true), [("space.bytes", Verdict::Fail)]);
        assert_eq!(bad(&little, false), [("space.bytes", Verdict::Warn)]);
        let none = found(0, large, many);
        assert_eq!(bad(&none, false), [("space.bytes", Verdict::Fail)]);
        let small = found(5 << 30, 10 << 30, many);
        assert_eq!(bad(&small, true), [("space.max_use", Verdict::Warn)]);
        let few = found(50 << 30, large, 9_999);
        assert_eq!(bad(&few, false), [("space.inodes", Verdict::Fail)]);
    }

    #[test]
    fn a_state_directory_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().expect("temp dir");
        for (mode, verdict) in [(0o700, Verdict::Ok), (0o777, Verdict::Fail)] {
            fs::set_permissions(temp.path(), fs::Permissions::from_mode(mode)).expect("chmod");
            let state = StateDir::gather(temp.path());
            let found = state.found.as_ref().expect("it is there");
            assert_eq!(state.judge_directory(found).verdict, verdict, "{mode:o}");
        }
        let later = StateDir::gather(&temp.path().join("a/b"));
        let found = later.found.as_ref().expect("a directory above");
        assert!(found.stat.is_none());
        assert_eq!(later.judge_directory(found).verdict, Verdict::Ok);
    }
}
