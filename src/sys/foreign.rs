//! The files of another process as that process sees them, without following it out of its own root.
//!
//! A path is resolved below `/proc/<pid>/root` with `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`: an absolute symlink in a container means the container's file,
//! never ours, and no link of `/proc` is followed. What is then done in a directory goes by single components, as everywhere ([`Dir`]).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, Gid, Mode, OFlags, ResolveFlags, Uid};

use super::dir::{BENEATH, component};
use super::{Dir, FileKind, Stat};

/// The root directory of another process.
#[derive(Debug)]
pub struct Root(OwnedFd);

/// The reading end of a FIFO of ours.
#[derive(Debug)]
pub struct Fifo(File);

/// What passes through a FIFO before its writer waits: the most that the kernel gives without privilege.
const PIPE_SIZE: usize = 1 << 20;

impl Root {
    /// The root of the process whose directory in a proc file system this is.
    ///
    /// # Errors
    /// As `open(2)`: `EACCES` without `CAP_SYS_PTRACE` for processes of others, `ENOENT` or `ESRCH` once the process has ended.
    pub fn of(process: &Dir) -> io::Result<Self> {
        // Its `root` is a magic link, and meant to be followed: it is the kernel's, not the process's.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(
            &process.0,
            c"root",
            flags,
            Mode::empty(),
        )?))
    }

    /// Opens the directory that the process knows by this path. Symlinks on the way mean what they mean to the process; the directory itself may be none.
    ///
    /// # Errors
    /// As `openat2(2)`: `ELOOP` or `ENOTDIR` where the last component is a symlink.
    pub fn open_dir(&self, path: &Path) -> io::Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = without_trailing_slashes(path);
        Ok(Dir(rustix::fs::openat2(
            &self.0,
            path,
            flags,
            Mode::empty(),
            resolve,
        )?))
    }
}

/// With a slash behind it a symlink is followed whatever the flags say.
fn without_trailing_slashes(path: &Path) -> &Path {
    let mut bytes = path.as_os_str().as_bytes();
    while let [rest @ .., b'/'] = bytes
        && !rest.is_empty()
    {
        bytes = rest;
    }
    Path::new(OsStr::from_bytes(bytes))
}

impl Dir {
    /// A handle on what `name` stands for, be it a symlink, without opening it: nothing of it is read, and nobody notices.
    ///
    /// # Errors
    /// As [`Dir::open_dir`].
    pub fn handle(&self, name: &OsStr) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat2(
            &self.0,
            component(name)?,
            flags,
            Mode::empty(),
            BENEATH,
        )?)
    }

    /// Makes the FIFO `name`, which must not exist, and opens it for reading before anybody can write to it. It belongs to `uid` and `gid`, who are its only
    /// writers: with `fs.protected_fifos` the kernel lets a process open another's FIFO in a sticky directory only if the directory's owner made it. Without
    /// `CAP_CHOWN` it stays ours and everybody may write; what comes out of it is not trusted either way.
    ///
    /// # Errors
    /// As `mknodat(2)` and [`Dir::open_file`]; `EEXIST` too where what was made was replaced before it could be opened. Nothing is left behind.
    pub fn make_fifo(&self, name: &OsStr, uid: u32, gid: u32) -> io::Result<Fifo> {
        rustix::fs::mkfifoat(&self.0, component(name)?, Mode::RUSR | Mode::WUSR)?;
        let made = self.open_own_fifo(name).and_then(|file| {
            give_to(&file, uid, gid)?;
            // More room only saves switches between the two processes.
            rustix::pipe::fcntl_setpipe_size(&file, PIPE_SIZE).ok();
            Ok(Fifo(file))
        });
        let is_ours = |stat: Stat| stat.kind == FileKind::Special && stat.uid == own_uid();
        if made.is_err() && self.stat(name).is_ok_and(is_ours) {
            self.remove_file(name).ok();
        }
        made
    }

    fn open_own_fifo(&self, name: &OsStr) -> io::Result<File> {
        let file = self.open_file(name)?;
        let stat = rustix::fs::fstat(&file)?;
        let is_fifo = FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
        // Whoever may write to the directory may have put something of theirs in its place.
        if !is_fifo || stat.st_uid != own_uid() || stat.st_nlink != 1 {
            return Err(rustix::io::Errno::EXIST.into());
        }
        Ok(file)
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn give_to(file: &File, uid: u32, gid: u32) -> io::Result<()> {
    match rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
        Err(rustix::io::Errno::PERM) => {
            let mode = Mode::RUSR | Mode::WUSR | Mode::WGRP | Mode::WOTH;
            Ok(rustix::fs::fchmod(file, mode)?)
        }
        other => Ok(other?),
    }
}

impl Fifo {
    /// What it is, to know it again by.
    ///
    /// # Errors
    /// As `statx(2)`.
    pub fn stat(&self) -> io::Result<Stat> {
        Stat::of(&self.0)
    }

    /// Reads what is there: 0 when there is no writer, `EAGAIN` when there is one that has nothing.
    ///
    /// # Errors
    /// As `read(2)`.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl AsFd for Fifo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Fifo {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

    use super::*;

    /// A directory of a process as in a proc file system, whose root is the directory given.
    fn root_at(temp: &Path) -> Root {
        std::fs::create_dir(temp.join("7")).expect("process");
        symlink(temp.join("r"), temp.join("7/root")).expect("root");
        Root::of(&Dir::open(&temp.join("7")).expect("open")).expect("root")
    }

    #[test]
    fn a_symlink_means_the_process_s_own_file_and_never_ours() {
        let temp = tempfile::tempdir().expect("temp dir");
        let inside = temp.path().join("r");
        std::fs::create_dir_all(inside.join("run/app")).expect("dirs");
        std::fs::create_dir(inside.join("var")).expect("var");
        symlink("/run", inside.join("var/run")).expect("link");
        symlink("/etc", inside.join("tmp")).expect("link");
        symlink("../../../../../../etc", inside.join("up")).expect("link");
        symlink("/proc/self/root/etc", inside.join("magic")).expect("link");
        let root = root_at(temp.path());
        std::fs::write(inside.join("run/app/here"), "").expect("file");
        let app = root
            .open_dir(Path::new("/var/run/app/"))
            .expect("through a link of its own");
        assert!(app.stat(OsStr::new("here")).is_ok());
        for path in [
            "/tmp", "/tmp/", "/tmp//", "/up", "/magic", "/up/ssl", "/../etc", "/none",
        ] {
            assert!(root.open_dir(Path::new(path)).is_err(), "{path}");
        }
        assert!(root.open_dir(Path::new("/")).is_ok());
    }

    #[test]
    fn a_fifo_is_its_writer_s_and_is_read_without_waiting() {
        let temp = tempfile::tempdir().expect("temp dir");
        let dir = Dir::open(temp.path()).expect("open");
        let us = rustix::process::geteuid().as_raw();
        let mut fifo = dir.make_fifo(OsStr::new("f"), us, us).expect("made");
        let meta = std::fs::metadata(temp.path().join("f")).expect("metadata");
        assert!(meta.file_type().is_fifo());
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        assert_eq!(fifo.read(&mut [0; 8]).expect("no writer"), 0);
        let twice = dir
            .make_fifo(OsStr::new("f"), us, us)
            .expect_err("is there");
        assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
        assert!(temp.path().join("f").exists(), "the other's stays");
        assert!(dir.make_fifo(OsStr::new("../f"), us, us).is_err());
    }
}
