//! Looks for the runtime of one process.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, StatVfsMountFlags};
use rustix::io::Errno;

use crate::dotnet::ipc::{Place, Target};
use crate::sys::{Dir, Root, connect_to, peer_of};

use super::process::{dir_of, stat_of};
use super::{Found, Needs, NoSocket, Process, environ};

/// Most of a process's maps that is read; a large runtime has a few thousand lines.
const MAPS_MAX: u64 = 32 << 20;
/// Longest line of it that is looked at.
const LINE_MAX: u64 = 8 << 10;
/// Most names of a temp directory that are looked at for sockets of earlier starts.
const NAMES_MAX: usize = 4_096;
/// How long the server of a runtime may take to accept.
const CONNECT: Duration = Duration::from_secs(2);

/// Looks for the runtime of a process that a proc file system tells of. It connects to the socket once to learn who listens, and sends nothing.
pub fn inspect(proc: &Path, process: &Process) -> Found {
    look(proc, process).unwrap_or_else(|found| found)
}

fn look(proc: &Path, process: &Process) -> Result<Found, Found> {
    let dir = dir_of(proc, process.pid)
        .map_err(|source| refused("look at it in /proc", Needs::HostPid, source))?;
    let is_same = |dir: &Dir| {
        stat_of(dir).is_ok_and(|stat| stat.start_time == process.start_time && !stat.has_ended())
    };
    if !is_same(&dir) {
        return Err(Found::Gone);
    }
    let environ = dir
        .open_file(OsStr::new("environ"))
        .map_err(|source| refused("look for its temp directory", Needs::SysPtrace, source))?;
    let looked = environ::look(environ)
        .map_err(|source| refused("look for its temp directory", Needs::SysPtrace, source))?;
    let root =
        Root::of(&dir).map_err(|source| refused("look into its root", Needs::SysPtrace, source))?;
    let temp_dir = looked.temp_dir.unwrap_or_else(|| PathBuf::from("/tmp"));
    let name = OsString::from(format!(
        "dotnet-diagnostic-{}-{}-socket",
        process.inner_pid, process.start_time
    ));
    match socket_in(&root, &temp_dir, &name) {
        Ok(socket) => {
            let peer = listener(&socket, process, &temp_dir.join(&name))?;
            // The number may have gone to another while we looked.
            if !is_same(&dir) {
                return Err(Found::Gone);
            }
            Ok(Found::Runtime(Target::new(Place {
                pid: process.pid,
                inner_pid: process.inner_pid,
                start_time: process.start_time,
                process: dir,
                root,
                socket,
                temp_dir,
                peer,
            })))
        }
        Err(found) => {
            // Without a socket it is a runtime only if the library is mapped. A symlink proves nothing: anybody may have put it there.
            if !has_runtime(&dir)? {
                return Ok(if is_same(&dir) {
                    Found::NotDotnet
                } else {
                    Found::Gone
                });
            }
            Ok(match (found, looked.disabled_by) {
                (Found::NoSocket(_), Some(variable)) => Found::DiagnosticsDisabled(variable),
                (found, _) => found,
            })
        }
    }
}

/// A handle on the socket, which is there, is one, and is where the process has it.
fn socket_in(root: &Root, temp_dir: &Path, name: &OsStr) -> Result<OwnedFd, Found> {
    if !temp_dir.is_absolute() {
        return Err(Found::NoSocket(NoSocket::TempDirRelative(
            temp_dir.to_owned(),
        )));
    }
    let shown = crate::model::escaped(temp_dir);
    let dir = root
        .open_dir(temp_dir)
        .map_err(|source| match Errno::from_io_error(&source) {
            Some(Errno::NOENT) => Found::NoSocket(NoSocket::TempDirMissing(temp_dir.to_owned())),
            Some(Errno::LOOP) => Found::Untrusted(format!("{shown} is a symlink")),
            Some(Errno::NOTDIR) => {
                Found::Untrusted(format!("{shown} is no directory, or a symlink"))
            }
            _ => refused("open its temp directory", Needs::DacReadSearch, source),
        })?;
    let handle = dir.handle(name).map_err(|source| match source.kind() {
        ErrorKind::NotFound => Found::NoSocket(why_none(&dir, temp_dir, name)),
        _ => refused("look at its socket", Needs::DacReadSearch, source),
    })?;
    let stat = rustix::fs::fstat(&handle)
        .map_err(|error| refused("look at its socket", Needs::DacReadSearch, error.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => Ok(handle),
        FileType::Symlink => Err(Found::Untrusted(format!(
            "{} in {shown} is a symlink",
            name.to_string_lossy()
        ))),
        _ => Err(Found::Untrusted(format!(
            "{} in {shown} is no socket",
            name.to_string_lossy()
        ))),
    }
}

fn why_none(dir: &Dir, temp_dir: &Path, name: &OsStr) -> NoSocket {
    let is_read_only =
        rustix::fs::fstatvfs(dir).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY));
    if is_read_only {
        return NoSocket::ReadOnly(temp_dir.to_owned());
    }
    // All but the start time.
    let name = name.to_string_lossy();
    let of_its_number = name
        .trim_end_matches("-socket")
        .rsplit_once('-')
        .map_or("", |(number, _)| number);
    let entries = dir
        .entries()
        .into_iter()
        .flatten()
        .take(NAMES_MAX)
        .flatten();
    let others = entries.filter(|entry| {
        let entry = entry.name.to_string_lossy();
        entry
            .strip_prefix(of_its_number)
            .is_some_and(|rest| rest.starts_with('-'))
            && entry.ends_with("-socket")
    });
    match others.count() {
        0 => NoSocket::Absent(temp_dir.to_owned()),
        _ => NoSocket::OthersOnly(temp_dir.to_owned()),
    }
}

/// Who listens, which must be the process itself: a name can be taken by anybody who may write to the directory.
fn listener(socket: &OwnedFd, process: &Process, path: &Path) -> Result<crate::sys::Peer, Found> {
    let stream = connect_to(socket, CONNECT).map_err(|source| match source.kind() {
        ErrorKind::ConnectionRefused => Found::NoSocket(NoSocket::Stale(path.to_owned())),
        ErrorKind::WouldBlock => Found::NoSocket(NoSocket::Failed {
            operation: "connect to its socket, whose queue is full",
            source,
        }),
        _ => refused("connect to its socket", Needs::DacOverride, source),
    })?;
    let failed =
        |error: io::Error| refused("ask who listens at its socket", Needs::DacOverride, error);
    let peer = peer_of(&stream).map_err(failed)?;
    let owner = rustix::fs::fstat(socket)
        .map_err(|error| failed(error.into()))?
        .st_uid;
    let shown = crate::model::escaped(path);
    if peer.pid == 0 {
        let source = Errno::SRCH.into();
        return Err(Found::Denied {
            what: "see who listens at its socket",
            needs: Needs::HostPid,
            source,
        });
    }
    if peer.pid != process.pid {
        return Err(Found::Untrusted(format!(
            "process {} listens at {shown}, not {}",
            peer.pid, process.pid
        )));
    }
    if peer.uid != owner {
        return Err(Found::Untrusted(format!(
            "{shown} belongs to user {owner}, but user {} listens there",
            peer.uid
        )));
    }
    Ok(peer)
}

/// Whether the runtime's library is mapped.
fn has_runtime(dir: &Dir) -> Result<bool, Found> {
    let failed = |source| refused("look at what it has mapped", Needs::SysPtrace, source);
    let maps = dir.open_file(OsStr::new("maps")).map_err(failed)?;
    mentions_runtime(io::Read::take(maps, MAPS_MAX)).map_err(failed)
}

fn mentions_runtime(maps: impl io::Read) -> io::Result<bool> {
    let mut maps = BufReader::new(maps);
    let mut line = Vec::new();
    loop {
        line.clear();
        if io::Read::take(&mut maps, LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(false);
        }
        let line = line.trim_ascii_end();
        let line = line.strip_suffix(b" (deleted)").unwrap_or(line);
        if line.ends_with(b"/libcoreclr.so") {
            return Ok(true);
        }
    }
}

/// What an error of the kernel's means for the search.
fn refused(what: &'static str, needs: Needs, source: io::Error) -> Found {
    match Errno::from_io_error(&source) {
        Some(Errno::ACCESS | Errno::PERM) => Found::Denied {
            what,
            needs,
            source,
        },
        Some(Errno::NOENT | Errno::SRCH) => Found::Gone,
        _ => Found::NoSocket(NoSocket::Failed {
            operation: what,
            source,
        }),
    }
}

#[cfg(test)]
mod tests;
