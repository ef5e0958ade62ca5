//! A directory that hostile contents cannot lead out of.
//!
//! Every open below it goes through `openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV` and takes a
//! single component, so neither `..`, a symlink, a mount nor a swapped parent can lead outside.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, StatxFlags};

use crate::model::FileId;

/// An open directory.
#[derive(Debug)]
pub struct Dir(pub(super) OwnedFd);

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device.
    Special,
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name.
    pub name: OsString,
    /// What it was when the directory was read; absent where the file system does not say.
    pub kind: Option<FileKind>,
}

/// What `statx` says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Which file it is.
    pub file: FileId,
    /// Number of names it has.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Permission bits and the sticky, setuid and setgid bits.
    pub mode: u32,
    /// Apparent size in bytes.
    pub size: u64,
    /// Allocated bytes.
    pub allocated: u64,
    /// Last change of content or inode; its owner cannot set it.
    pub changed: Timestamp,
    /// Last change of content; its owner can set it.
    pub modified: Timestamp,
    /// The mount it is on, 0 before Linux 5.8. A rename works only within one.
    pub mount: u64,
}

pub(super) const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

const WANTED: StatxFlags = StatxFlags::BASIC_STATS
    .union(StatxFlags::BTIME)
    .union(StatxFlags::MNT_ID);

impl Dir {
    /// Opens a directory by a path that the operator chose: its parents may be symlinks, it itself may not.
    ///
    /// # Errors
    /// As `open(2)`; a symlink gives `ELOOP` or `ENOTDIR`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Opens the directory `name` in this one.
    ///
    /// # Errors
    /// As `openat2(2)`: `ELOOP` for a symlink, `EXDEV` for another mount, `EINVAL` for a name that is no single component.
    pub fn open_dir(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat2(
            &self.0,
            component(name)?,
            flags,
            Mode::empty(),
            BENEATH,
        )?))
    }

    /// Opens the file `name` for reading without waiting for anybody: a FIFO without writer opens at once, a foreign lease gives `EAGAIN`.
    ///
    /// # Errors
    /// As [`Dir::open_dir`].
    pub fn open_file(&self, name: &OsStr) -> io::Result<File> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat2(&self.0, component(name)?, flags, Mode::empty(), BENEATH)?.into())
    }

    /// Makes the file `name`, which must not exist, readable and writable for its owner only.
    ///
    /// # Errors
    /// As [`Dir::open_dir`], `EEXIST` in particular.
    pub fn create_file(&self, name: &OsStr) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat2(
            &self.0,
            component(name)?,
            flags,
            Mode::RUSR | Mode::WUSR,
            BENEATH,
        )?
        .into())
    }

    /// Makes a file on this directory's file system that has no name, and goes when it is closed. Nobody who lists the directory sees it.
    ///
    /// # Errors
    /// As `open(2)` with `O_TMPFILE`: `EOPNOTSUPP` or `EISDIR` where the file system knows no such files.
    pub fn nameless_file(&self) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&self.0, c".", flags, mode)?.into())
    }

    /// Opens the file `name`, which must exist, for reading and writing.
    ///
    /// # Errors
    /// As [`Dir::open_dir`].
    pub fn reopen_file(&self, name: &OsStr) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat2(&self.0, component(name)?, flags, Mode::empty(), BENEATH)?.into())
    }

    /// Makes the directory `name` with mode 0700.
    ///
    /// # Errors
    /// As `mkdirat(2)`.
    pub fn create_dir(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.0, component(name)?, Mode::RWXU)?)
    }

    /// This directory once more, on a descriptor of its own.
    ///
    /// # Errors
    /// As `fcntl(2)` with `F_DUPFD_CLOEXEC`.
    pub fn reopen(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// What `name` stands for, a symlink for itself.
    ///
    /// # Errors
    /// As `statx(2)`.
    pub fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        stat_at(self.0.as_fd(), component(name)?, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// What this directory is.
    ///
    /// # Errors
    /// As `statx(2)`.
    pub fn stat_self(&self) -> io::Result<Stat> {
        stat_at(self.0.as_fd(), OsStr::new(""), AtFlags::EMPTY_PATH)
    }

    /// Gives `name` the name `new` in `to`, which must not exist there.
    ///
    /// # Errors
    /// As `renameat2(2)` with `RENAME_NOREPLACE`: `EEXIST`, `EXDEV` for another mount.
    pub fn rename(&self, name: &OsStr, to: &Self, new: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat_with(
            &self.0,
            component(name)?,
            &to.0,
            component(new)?,
            RenameFlags::NOREPLACE,
        )?)
    }

    /// As [`Dir::rename`], but takes the place of what `new` stands for.
    ///
    /// # Errors
    /// As `renameat(2)`.
    pub fn rename_over(&self, name: &OsStr, to: &Self, new: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(
            &self.0,
            component(name)?,
            &to.0,
            component(new)?,
        )?)
    }

    /// Removes the file `name`.
    ///
    /// # Errors
    /// As `unlinkat(2)`.
    pub fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            &self.0,
            component(name)?,
            AtFlags::empty(),
        )?)
    }

    /// Removes the directory `name`, which must be empty.
    ///
    /// # Errors
    /// As `unlinkat(2)` with `AT_REMOVEDIR`.
    pub fn remove_dir(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            &self.0,
            component(name)?,
            AtFlags::REMOVEDIR,
        )?)
    }

    /// Gives this directory these permission bits.
    ///
    /// # Errors
    /// As `fchmod(2)`.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.0, Mode::from_raw_mode(mode))?)
    }

    /// Reads the names in this directory, a few at a time; `.` and `..` are left out. Names that come or go meanwhile may be missed.
    ///
    /// # Errors
    /// As `getdents64(2)`.
    pub fn entries(&self) -> io::Result<impl Iterator<Item = io::Result<DirEntry>> + use<>> {
        let entries = rustix::fs::Dir::read_from(&self.0)?;
        Ok(entries.filter_map(|entry| match entry {
            Err(error) => Some(Err(error.into())),
            Ok(entry) if is_dot(entry.file_name()) => None,
            Ok(entry) => Some(Ok(DirEntry {
                name: OsString::from_vec(entry.file_name().to_bytes().to_vec()),
                kind: match entry.file_type() {
                    FileType::Unknown => None,
                    known => Some(kind_of(known)),
                },
            })),
        }))
    }

    /// Makes what was created, renamed and removed in this directory durable.
    ///
    /// # Errors
    /// As `fsync(2)`.
    pub fn sync(&self) -> io::Result<()> {
        match rustix::fs::fsync(&self.0) {
            // Some network file systems have no fsync for directories; their renames are as durable as they get.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    /// A path that stands for this very directory as long as it is open, whatever its name becomes.
    pub fn proc_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// Free space of the file system it is on.
    ///
    /// # Errors
    /// As `fstatvfs(3)`.
    pub fn space(&self) -> io::Result<super::Space> {
        super::space(self.0.as_fd())
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Stat {
    /// What an open file is.
    ///
    /// # Errors
    /// As `statx(2)`.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        stat_at(file.as_fd(), OsStr::new(""), AtFlags::EMPTY_PATH)
    }

    /// When it was begun, never later than its last change: its birth, or where the file system keeps none its last change.
    pub fn began(&self) -> Timestamp {
        match Timestamp::from_nanosecond(self.file.born) {
            Ok(born) if self.file.born > 0 => born.min(self.changed),
            _ => self.changed,
        }
    }
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// `openat2` resolves whole paths; below a source only single components are ever wanted.
pub(super) fn component(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(rustix::io::Errno::INVAL.into());
    }
    Ok(name)
}

fn kind_of(kind: FileType) -> FileKind {
    match kind {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Dir,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Special,
    }
}

fn stat_at(dir: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> io::Result<Stat> {
    let stat = rustix::fs::statx(dir, name, flags, WANTED)?;
    let has = |flag: StatxFlags| stat.stx_mask & flag.bits() != 0;
    let nanos = |time: rustix::fs::StatxTimestamp| {
        i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
    };
    let time = |time: rustix::fs::StatxTimestamp| {
        Timestamp::from_nanosecond(nanos(time)).unwrap_or(Timestamp::UNIX_EPOCH)
    };
    Ok(Stat {
        kind: kind_of(FileType::from_raw_mode(stat.stx_mode.into())),
        file: FileId {
            dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
            born: if has(StatxFlags::BTIME) {
                nanos(stat.stx_btime)
            } else {
                0
            },
        },
        links: stat.stx_nlink,
        uid: stat.stx_uid,
        mode: u32::from(stat.stx_mode) & 0o7777,
        size: stat.stx_size,
        allocated: stat.stx_blocks.saturating_mul(512),
        changed: time(stat.stx_ctime),
        modified: time(stat.stx_mtime),
        mount: if has(StatxFlags::MNT_ID) {
            stat.stx_mnt_id
        } else {
            0
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_leads_out_of_a_directory() {
        let temp = tempfile::tempdir().expect("temp dir");
        let outside = temp.path().join("outside");
        std::fs::create_dir(&outside).expect("outside");
        std::fs::write(outside.join("secret"), b"secret").expect("secret");
        let inside = temp.path().join("inside");
        std::fs::create_dir(&inside).expect("inside");
        symlink(&outside, inside.join("dir")).expect("symlink");
        symlink(outside.join("secret"), inside.join("file")).expect("symlink");
        let dir = Dir::open(&inside).expect("open");
        for name in [
            "dir",
            "file",
            "..",
            ".",
            "",
            "dir/secret",
            "/etc/passwd",
            "../outside/secret",
        ] {
            assert!(dir.open_file(OsStr::new(name)).is_err(), "{name}");
            assert!(dir.open_dir(OsStr::new(name)).is_err(), "{name}");
        }
        assert_eq!(
            dir.stat(OsStr::new("file")).expect("stat").kind,
            FileKind::Symlink
        );
        symlink(&inside, temp.path().join("link")).expect("symlink");
        assert!(Dir::open(&temp.path().join("link")).is_err());
    }

    #[test]
    fn a_rename_keeps_the_identity_and_never_replaces() {
        let temp = tempfile::tempdir().expect("temp dir");
        let dir = Dir::open(temp.path()).expect("open");
        std::fs::write(temp.path().join("a"), b"a").expect("a");
        std::fs::write(temp.path().join("b"), b"b").expect("b");
        let before = dir.stat(OsStr::new("a")).expect("stat");
        assert!(dir.rename(OsStr::new("a"), &dir, OsStr::new("b")).is_err());
        dir.rename(OsStr::new("a"), &dir, OsStr::new("c"))
            .expect("rename");
        assert_eq!(dir.stat(OsStr::new("c")).expect("stat").file, before.file);
    }
}
