//! The dump through a file in the target's container.
//!
//! It takes room there: of the pod's ephemeral storage, whose limit evicts, or on a file system in memory of its memory limit, which kills. So only the
//! small types of dump are ever written to memory, and the file goes as soon as it is open for reading.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};

use crate::dotnet::ipc::{Request, poll_for};
use crate::dotnet::{Error, Refused};
use crate::model::DumpType;
use crate::sys::{FileKind, Stat};

use super::fifo::TICK;
use super::resume::{Name, Open};
use super::stall::Stall;
use super::{Dumped, Failed, How, Job, Spot, io_error};

/// As `statfs` knows tmpfs.
const TMPFS: i64 = 0x0102_1994;
const BUFFER: usize = 1 << 20;

impl Job<'_> {
    pub(super) fn through_file(&mut self, spot: &Spot) -> Result<Dumped, Failed> {
        self.has_room(spot)?;
        for request in self.requests(&spot.path) {
            let dir = spot
                .dir
                .reopen()
                .map_err(|source| self.failed("reopen its temp directory", source))?;
            let asked = self.ask(&request)?;
            let mut open = Open::file(Name::of_file(dir, &spot.leftover.name), asked);
            match self.await_file(&mut open, &request, spot) {
                Ok(Some(done)) => {
                    let pause = done.saturating_duration_since(open.asked.began());
                    let bytes = self.read_file(&mut open.name, spot)?;
                    return Ok(Dumped {
                        bytes,
                        pause,
                        how: How::File,
                    });
                }
                Ok(None) => {}
                Err(failed) => return Err(open.end(self.target, failed)),
            }
        }
        Err(self.unsupported())
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> Failed {
        Failed::Final(io_error(self.target, operation, source))
    }

    fn has_room(&self, spot: &Spot) -> Result<(), Failed> {
        let is_small = matches!(self.dump_type, DumpType::Mini | DumpType::Triage);
        let fs = rustix::fs::fstatfs(&spot.dir)
            .map_err(|error| self.failed("look at its file system", error.into()))?;
        if !is_small && fs.f_type == TMPFS {
            return Err(Failed::Unusable(Error::Refused(format!(
                "no FIFO could be used in {}, and a file there would be in memory, within the memory limit of the container",
                crate::model::escaped(&spot.leftover.dir)
            ))));
        }
        Ok(())
    }

    /// Until the runtime has answered: when, or `None` where it does not know the command.
    fn await_file(
        &self,
        open: &mut Open,
        request: &Request<'_>,
        spot: &Spot,
    ) -> Result<Option<Instant>, Failed> {
        let mut stall = Stall::new();
        loop {
            let reply = open.asked.poll_reply(self.target).map_err(Failed::Final)?;
            let written = spot
                .dir
                .stat(OsStr::new(&spot.leftover.name))
                .map_or(0, |stat| stat.size);
            if let Some(reply) = reply {
                let is_done = self.judge(request, reply, 0)?;
                return Ok(is_done.then(Instant::now));
            }
            self.check(&open.asked, written, &mut stall)
                .map_err(Failed::Final)?;
            let left = self
                .limits
                .deadline
                .saturating_duration_since(Instant::now());
            let mut fds = [PollFd::from_borrowed_fd(open.asked.as_fd(), PollFlags::IN)];
            poll_for(&mut fds, left.min(TICK))
                .map_err(|source| self.failed("wait for its dump", source))?;
        }
    }

    fn read_file(&mut self, name: &mut Name, spot: &Spot) -> Result<u64, Failed> {
        let opened = self.open_file(spot);
        // Before it is read: a kill from here on leaves nothing behind.
        name.remove();
        let mut file = opened?;
        let mut buffer = vec![0; BUFFER];
        let mut bytes = 0_u64;
        loop {
            let read = match file.read(&mut buffer) {
                Ok(0) => return Ok(bytes),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.failed("read the file of its dump", source)),
            };
            bytes = bytes.saturating_add(read as u64);
            // The target runs again: only the capture ends.
            self.limits.allow(bytes).map_err(Failed::Final)?;
            if Instant::now() >= self.limits.deadline {
                return Err(self
                    .incomplete("there was no time left to read the file of its dump to the end"));
            }
            let taken = self.sink.take(&buffer[..read]);
            taken.map_err(|Refused(why)| Failed::Final(Error::Refused(why)))?;
        }
    }

    /// The container may have put anything in the file's place.
    fn open_file(&self, spot: &Spot) -> Result<File, Failed> {
        let file = spot
            .dir
            .open_file(OsStr::new(&spot.leftover.name))
            .map_err(|source| self.failed("open the file of its dump", source))?;
        let stat = Stat::of(&file)
            .map_err(|source| self.failed("look at the file of its dump", source))?;
        if stat.kind != FileKind::File || stat.links != 1 || stat.uid != self.target.peer().uid {
            return Err(self
                .incomplete("what is in the place of its dump is no file that its runtime made"));
        }
        Ok(file)
    }
}
