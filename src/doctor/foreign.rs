//! One dump of another user, read and leased: what the capabilities are for, as a proof.
//!
//! Only what a source would look at is looked at, as far as its shape goes and no more than [`NAMES_MAX`] names. The file is opened for reading and one byte
//! is read; a read lease is taken and given back at once, which holds up nobody for longer than the agent itself does.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Finding;
use crate::model::escaped;
use crate::source::{self, Shape};
use crate::spool;
use crate::sys::{Dir, FileKind, Lease, Stat, read_lease};

/// Most names that are looked at in one source.
const NAMES_MAX: usize = 5_000;

/// What was met in a source.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// A file of another user.
    pub(super) file: Option<Foreign>,
    /// Directories that were opened below the root.
    pub(super) directories: usize,
    /// Whether one of them is another user's, or one that others may write.
    pub(super) is_open_below: bool,
    /// The first directory that could not be.
    pub(super) denied: Option<(PathBuf, io::Error)>,
}

/// A file of another user, and what came of opening it.
#[derive(Debug)]
pub(super) struct Foreign {
    path: PathBuf,
    uid: u32,
    mode: u32,
    read: io::Result<()>,
    /// Absent where it could not be read.
    lease: Option<Leased>,
}

/// What came of asking for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leased {
    /// Given, or refused for a writer's sake, which is an answer as good.
    Answered,
    Unsupported,
}

/// Looks for a file of another user below a source.
pub(super) fn look(root: &Dir, config: &source::Config) -> Met {
    let mut walk = Walk {
        shape: &config.shape,
        root: &config.path,
        own_uid: rustix::process::geteuid().as_raw(),
        names_left: NAMES_MAX,
        met: Met::default(),
    };
    walk.below(root, &mut Vec::new());
    walk.met
}

struct Walk<'a> {
    shape: &'a Shape,
    root: &'a Path,
    own_uid: u32,
    names_left: usize,
    met: Met,
}

impl Walk<'_> {
    fn below(&mut self, dir: &Dir, levels: &mut Vec<OsString>) {
        let Ok(entries) = dir.entries() else { return };
        for entry in entries.flatten() {
            if self.names_left == 0 || self.met.file.is_some() {
                return;
            }
            self.names_left -= 1;
            let name = entry.name.as_os_str();
            // What an agent holds there is its own affair.
            if name
                .as_encoded_bytes()
                .starts_with(spool::HOLDING.as_bytes())
            {
                continue;
            }
            match entry.kind {
                Some(FileKind::File) | None if self.shape.holds_dumps(levels) => {
                    self.file(dir, levels, name);
                }
                Some(FileKind::Dir) if self.is_looked_into(levels, name) => {
                    self.directory(dir, levels, name);
                }
                _ => {}
            }
        }
    }

    fn is_looked_into(&self, levels: &[OsString], name: &OsStr) -> bool {
        levels.len() < self.shape.depth() && self.shape.admits(levels, name)
    }

    fn directory(&mut self, dir: &Dir, levels: &mut Vec<OsString>, name: &OsStr) {
        match dir.open_dir(name) {
            Ok(below) => {
                self.met.directories += 1;
                let open = |stat: Stat| stat.uid != self.own_uid || stat.mode & 0o022 != 0;
                self.met.is_open_below |= below.stat_self().is_ok_and(open);
                levels.push(name.to_owned());
                self.below(&below, levels);
                levels.pop();
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let path = self.path(levels, name);
                self.met.denied.get_or_insert((path, error));
            }
            // It went meanwhile, or is none to look into.
            Err(_) => {}
        }
    }

    fn file(&mut self, dir: &Dir, levels: &[OsString], name: &OsStr) {
        let Ok(stat) = dir.stat(name) else { return };
        if stat.kind != FileKind::File || stat.uid == self.own_uid || stat.size == 0 {
            return;
        }
        let read = dir.open_file(name).and_then(|file| {
            file.read_at(&mut [0], 0)?;
            Ok(file)
        });
        // Its owner can hold a lease on it, or put a link in its place: only a refusal is about us.
        if let Err(error) = &read
            && error.kind() != io::ErrorKind::PermissionDenied
        {
            return;
        }
        let lease = read.as_ref().ok().map(leased);
        self.met.file = Some(Foreign {
            path: self.path(levels, name),
            uid: stat.uid,
            mode: stat.mode & 0o7777,
            read: read.map(drop),
            lease,
        });
    }

    fn path(&self, levels: &[OsString], name: &OsStr) -> PathBuf {
        let below = levels.iter().map(OsString::as_os_str).chain([name]);
        below.fold(self.root.to_owned(), |path, level| path.join(level))
    }
}

fn leased(file: &File) -> Leased {
    match read_lease(file) {
        Ok(Lease::Held(_given_back_at_once)) => Leased::Answered,
        Ok(Lease::WriterOpen) => Leased::Answered,
        Ok(Lease::Unsupported) | Err(_) => Leased::Unsupported,
    }
}

/// Whether a file of nobody's permission can be read: the capability in force on this file system, where there is no foreign file to try it on. Such a file is
/// made without a name; none where that cannot be.
pub(super) fn read_without_permission(dir: &Dir) -> Option<io::Result<()>> {
    let file = dir.nameless_file().ok()?;
    rustix::fs::fchmod(&file, rustix::fs::Mode::empty()).ok()?;
    Some(reopen(&file).map(drop))
}

/// The same file once more, for reading alone.
pub(super) fn reopen(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Judges the first file of another user that was met, or what stands in for it.
pub(super) fn judge(
    met: Option<&Foreign>,
    leases: bool,
    stand_in: Option<&io::Result<()>>,
) -> Vec<Finding> {
    const READ: &str = "foreign.read";
    const LEASE: &str = "foreign.lease";
    let remedy = "run the agent as uid 0 with the capability DAC_READ_SEARCH; where SELinux is enforced, as type spc_t";
    let Some(foreign) = met else {
        let read = match stand_in {
            Some(Ok(())) => Finding::ok(
                READ,
                "",
                "no source has a file of another user now; one without any permission was read",
            ),
            Some(Err(error)) => Finding::warn(
                READ,
                "",
                format!(
                    "a file without any permission cannot be read ({error}), so nor can dumps of other users"
                ),
                remedy,
            ),
            None => Finding::skipped(READ, "", "no source has a file of another user now", ""),
        };
        let lease = Finding::skipped(LEASE, "", "no source has a file of another user now", "");
        return vec![read, lease];
    };
    let path = escaped(&foreign.path);
    let what = format!("of uid {}, mode {:04o}", foreign.uid, foreign.mode);
    let read = match &foreign.read {
        Ok(()) => Finding::ok(READ, &path, format!("a file {what}, was read")),
        Err(error) => Finding::fail(
            READ,
            &path,
            format!("a file {what}, cannot be read: {error}"),
            remedy,
        ),
    };
    let lease = match foreign.lease {
        None => Finding::skipped(LEASE, &path, "it cannot be read", ""),
        Some(Leased::Answered) => Finding::ok(LEASE, &path, "a lease on it was given"),
        Some(Leased::Unsupported) if !leases => {
            Finding::skipped(LEASE, &path, "its file system has no leases", "")
        }
        Some(Leased::Unsupported) => Finding::fail(
            LEASE,
            &path,
            format!("no lease is given on a file {what}: its dumps wait for settle.quiet_period"),
            "run the agent as uid 0 with the capability LEASE",
        ),
    };
    vec![read, lease]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn foreign(read: io::Result<()>, lease: Option<Leased>) -> Foreign {
        Foreign {
            path: "/var/crash/core".into(),
            uid: 1_000,
            mode: 0o600,
            read,
            lease,
        }
    }

    fn verdicts(met: Option<&Foreign>, leases: bool) -> [Verdict; 2] {
        let findings = judge(met, leases, Some(&Ok(())));
        [findings[0].verdict, findings[1].verdict]
    }

    #[test]
    fn a_foreign_file_proves_reading_and_leasing() {
        let denied = || io::Error::from_raw_os_error(libc::EACCES);
        let good = foreign(Ok(()), Some(Leased::Answered));
        assert_eq!(verdicts(Some(&good), true), [Verdict::Ok, Verdict::Ok]);
        let unreadable = foreign(Err(denied()), None);
        assert_eq!(
            verdicts(Some(&unreadable), true),
            [Verdict::Fail, Verdict::Skipped]
        );
        let unleased = foreign(Ok(()), Some(Leased::Unsupported));
        assert_eq!(
            verdicts(Some(&unleased), true),
            [Verdict::Ok, Verdict::Fail]
        );
        assert_eq!(
            verdicts(Some(&unleased), false),
            [Verdict::Ok, Verdict::Skipped]
        );
        assert_eq!(verdicts(None, true), [Verdict::Ok, Verdict::Skipped]);
        let none = judge(None, true, Some(&Err(denied())));
        assert_eq!(none[0].verdict, Verdict::Warn);
    }

    #[test]
    fn only_what_a_source_looks_at_is_looked_at() {
        let temp = tempfile::tempdir().expect("temp dir");
        let volume = temp
            .path()
            .join("00000000-0000-4000-8000-000000000001/volumes/kubernetes.io~empty-dir");
        for name in ["dumps/app", "secret"] {
            std::fs::create_dir_all(volume.join(name)).expect("made");
        }
        let config = source::Config {
            path: temp.path().to_owned(),
            shape: Shape::KubeletVolume("dumps".into()),
            managed: false,
            quiet_period: std::time::Duration::ZERO,
            settle_limit: std::time::Duration::ZERO,
            max_dump_size: 1,
            max_dump_data: 1,
        };
        let met = look(&Dir::open(temp.path()).expect("open"), &config);
        // The UID, two levels to its volumes, the volume and one directory in it.
        assert_eq!(met.directories, 5);
        assert!(met.file.is_none() && met.denied.is_none());
    }
}
