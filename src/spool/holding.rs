//! The holding directory `<source>/.salvage`: where dumps wait that cannot be renamed into the state directory.
//!
//! Anyone who may write the source may have planted one, so it is used only if nobody else can have changed what is in it: a directory of our
//! own uid, mode 0700, below a source whose other writers cannot rename it away.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::FlockOperation;

use crate::sys::{Dir, FileKind, Stat};

/// Its name.
pub const NAME: &str = ".salvage";

/// What looking for a holding directory brought.
#[derive(Debug)]
pub(super) enum Holding {
    /// It can be used, and is locked against other agents as long as this lives.
    Usable(Arc<Dir>),
    /// There is none that could be trusted, and why; dumps are copied instead.
    Untrusted(&'static str),
    /// Another agent uses it.
    Taken,
}

/// Opens the holding directory of a source, making it first where that is safe. `ours` is the one that was opened before: if it is still the
/// same, it is used again, since our own lock on it would keep us out.
pub(super) fn open(root: &Dir, ours: Option<&Arc<Dir>>) -> io::Result<Holding> {
    let name = OsStr::new(NAME);
    let own_uid = rustix::process::geteuid().as_raw();
    if let Some(why) = parent_is_unsafe(&root.stat_self()?, own_uid) {
        return Ok(Holding::Untrusted(why));
    }
    match root.create_dir(name) {
        Ok(()) => root.sync()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let dir = match root.open_dir(name) {
        Ok(dir) => dir,
        Err(_) => return Ok(Holding::Untrusted("its .salvage is no directory")),
    };
    let stat = dir.stat_self()?;
    if let Some(why) = is_planted(&stat, own_uid) {
        return Ok(Holding::Untrusted(why));
    }
    if let Some(ours) = ours
        && ours.stat_self()?.file == stat.file
    {
        return Ok(Holding::Usable(Arc::clone(ours)));
    }
    match rustix::fs::flock(dir.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Holding::Usable(Arc::new(dir))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Holding::Taken),
        Err(error) => Err(error.into()),
    }
}

/// Why the holding directory of a source would not be used. Only looks: nothing is made, and nothing locked.
///
/// # Errors
/// As `statx(2)`.
pub fn distrust(root: &Dir) -> io::Result<Option<&'static str>> {
    let own_uid = rustix::process::geteuid().as_raw();
    if let Some(why) = parent_is_unsafe(&root.stat_self()?, own_uid) {
        return Ok(Some(why));
    }
    match root.stat(OsStr::new(NAME)) {
        Ok(stat) => Ok(is_planted(&stat, own_uid)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o022;

/// Others can rename an entry of a directory if they own the directory, or if it is theirs to write and not sticky.
fn parent_is_unsafe(parent: &Stat, own_uid: u32) -> Option<&'static str> {
    if parent.uid != own_uid && parent.uid != 0 {
        return Some("the source belongs to another user, who could rename .salvage");
    }
    if parent.mode & OTHERS_WRITE != 0 && parent.mode & STICKY == 0 {
        return Some(
            "the source is writable for others and not sticky, so they could rename .salvage (chmod +t would help)",
        );
    }
    None
}

fn is_planted(dir: &Stat, own_uid: u32) -> Option<&'static str> {
    if dir.kind != FileKind::Dir {
        return Some("its .salvage is no directory");
    }
    if dir.uid != own_uid {
        return Some("its .salvage belongs to another user");
    }
    if dir.mode & 0o777 != 0o700 {
        return Some("its .salvage is open to others (mode is not 0700)");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    fn source(mode: u32) -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().expect("temp dir");
        set_permissions(temp.path(), Permissions::from_mode(mode)).expect("chmod");
        let dir = Dir::open(temp.path()).expect("open");
        (temp, dir)
    }

    #[test]
    fn it_is_made_where_nobody_could_rename_it() {
        for mode in [0o755, 0o1777, 0o1733, 0o700] {
            let (_temp, dir) = source(mode);
            assert_eq!(distrust(&dir).expect("stat"), None, "{mode:o}");
            assert!(
                matches!(open(&dir, None), Ok(Holding::Usable(_))),
                "{mode:o}"
            );
            assert_eq!(distrust(&dir).expect("stat"), None, "{mode:o}");
        }
    }

    #[test]
    fn it_is_not_made_where_others_could_rename_it() {
        let (temp, dir) = source(0o777);
        assert!(distrust(&dir).expect("stat").is_some());
        assert!(matches!(open(&dir, None), Ok(Holding::Untrusted(_))));
        assert!(!temp.path().join(NAME).exists());
    }

    #[test]
    fn a_planted_one_is_not_used() {
        let (temp, dir) = source(0o1777);
        std::fs::create_dir(temp.path().join(NAME)).expect("plant");
        set_permissions(temp.path().join(NAME), Permissions::from_mode(0o777)).expect("chmod");
        assert!(distrust(&dir).expect("stat").is_some());
        assert!(matches!(open(&dir, None), Ok(Holding::Untrusted(_))));
        let (temp, dir) = source(0o1777);
        std::os::unix::fs::symlink("/tmp", temp.path().join(NAME)).expect("plant");
        assert!(matches!(open(&dir, None), Ok(Holding::Untrusted(_))));
        let (temp, dir) = source(0o1777);
        std::fs::write(temp.path().join(NAME), b"").expect("plant");
        assert!(matches!(open(&dir, None), Ok(Holding::Untrusted(_))));
    }

    #[test]
    fn a_second_agent_is_told() {
        let (_temp, dir) = source(0o1777);
        let Ok(Holding::Usable(first)) = open(&dir, None) else {
            panic!("usable")
        };
        assert!(matches!(open(&dir, None), Ok(Holding::Taken)));
        assert!(
            matches!(open(&dir, Some(&first)), Ok(Holding::Usable(_))),
            "its own lock keeps nobody out of what he has open"
        );
    }
}
