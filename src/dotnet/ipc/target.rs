//! A runtime that was found and can be asked.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::sys::{Dir, Peer, Root};

use super::turn::{Queue, Turn};

/// A process with a runtime in it, its directory in the proc file system, and its socket, each held open: a number that went to another process or a name
/// that came to mean something else is noticed. Clones share all of it. It keeps the file systems of its container from being given free, so it is dropped
/// with the capture that it was found for.
#[derive(Clone, Debug)]
pub struct Target(Arc<Held>);

#[derive(Debug)]
struct Held {
    pid: i32,
    inner_pid: i32,
    start_time: u64,
    peer: Peer,
    process: Dir,
    root: Root,
    socket: OwnedFd,
    temp_dir: PathBuf,
    queue: Arc<Queue>,
}

/// What `find` found of a process, for a target to be made of.
#[derive(Debug)]
pub(in crate::dotnet) struct Place {
    /// The host's number.
    pub(in crate::dotnet) pid: i32,
    /// Its container's number.
    pub(in crate::dotnet) inner_pid: i32,
    /// In clock ticks since the boot.
    pub(in crate::dotnet) start_time: u64,
    /// Its directory in the proc file system.
    pub(in crate::dotnet) process: Dir,
    /// Its root directory.
    pub(in crate::dotnet) root: Root,
    /// A handle on its socket.
    pub(in crate::dotnet) socket: OwnedFd,
    /// Where the socket lies, as the process sees it.
    pub(in crate::dotnet) temp_dir: PathBuf,
    /// Who listens at the socket.
    pub(in crate::dotnet) peer: Peer,
}

impl Target {
    pub(in crate::dotnet) fn new(place: Place) -> Self {
        Self(Arc::new(Held {
            pid: place.pid,
            inner_pid: place.inner_pid,
            start_time: place.start_time,
            peer: place.peer,
            process: place.process,
            root: place.root,
            socket: place.socket,
            temp_dir: place.temp_dir,
            queue: Queue::of((place.pid, place.start_time)),
        }))
    }

    /// The host's number of the process.
    pub fn pid(&self) -> i32 {
        self.0.pid
    }

    /// The number that the process has for itself; 1 in most containers.
    pub fn inner_pid(&self) -> i32 {
        self.0.inner_pid
    }

    /// When the process started, in clock ticks since the boot. With its number it is one process for good.
    pub fn start_time(&self) -> u64 {
        self.0.start_time
    }

    /// Whether the process is still there and has not ended.
    pub fn is_alive(&self) -> bool {
        let stat = self.proc_file("stat").ok();
        let stat = stat.as_deref().and_then(crate::dotnet::find::Stat::parse);
        stat.is_some_and(|stat| stat.start_time == self.0.start_time && !stat.has_ended())
    }

    /// A file of its directory in the proc file system, through the descriptor that was opened when it was found: the kernel answers for that process or not
    /// at all.
    pub(in crate::dotnet) fn proc_file(&self, name: &str) -> io::Result<String> {
        crate::dotnet::find::read(&self.0.process, name)
    }

    pub(in crate::dotnet) fn process(&self) -> &Dir {
        &self.0.process
    }

    pub(in crate::dotnet) fn root(&self) -> &Root {
        &self.0.root
    }

    pub(in crate::dotnet) fn temp_dir(&self) -> &std::path::Path {
        &self.0.temp_dir
    }

    pub(in crate::dotnet) fn peer(&self) -> Peer {
        self.0.peer
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.0.socket
    }

    /// Waits for the turn to ask it something.
    pub(super) fn turn(&self, until: Instant) -> Option<Turn> {
        self.0.queue.turn(until)
    }
}
