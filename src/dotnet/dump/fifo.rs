//! The dump through a FIFO.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::dotnet::ipc::{Asked, Request, poll_for};
use crate::dotnet::{Error, Refused};
use crate::sys::Fifo;

use super::resume::{Name, Open};
use super::stall::Stall;
use super::{Dumped, Failed, How, Job, Spot, io_error};

/// As much as a FIFO of ours holds.
const BUFFER: usize = 1 << 20;
/// How often a wait looks whether it was cancelled.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// How long after a runtime's "done" a writer may still be there: `createdump` has ended by then.
const LAST_WRITER: Duration = Duration::from_secs(5);

/// What has come through the FIFO.
struct Flow {
    buffer: Vec<u8>,
    bytes: u64,
    /// Since when there is no writer: once `createdump` has closed, it has let the target go. Others may open and close it before that, so it may begin anew.
    ended: Option<Instant>,
    /// When the runtime said that it was done.
    done: Option<Instant>,
    /// Whether there was nothing and nobody left after that.
    is_drained: bool,
    stall: Stall,
}

impl Job<'_> {
    pub(super) fn through_fifo(&mut self, spot: &Spot) -> Result<Dumped, Failed> {
        let (mut fifo, mut name) = self.make_fifo(spot)?;
        for request in self.requests(&spot.path) {
            let asked = self.ask(&request)?;
            let mut open = Open::fifo(fifo, name, asked);
            match self.follow(&mut open, &request) {
                Ok(Some(dumped)) => return Ok(dumped),
                Ok(None) => (fifo, name) = open.into_fifo().ok_or_else(|| self.unsupported())?,
                Err(failed) => return Err(open.end(self.target, failed)),
            }
        }
        Err(self.unsupported())
    }

    fn make_fifo(&self, spot: &Spot) -> Result<(Fifo, Name), Failed> {
        let failed = |source| {
            Failed::Unusable(io_error(
                self.target,
                "make a FIFO in its temp directory",
                source,
            ))
        };
        let peer = self.target.peer();
        let name = &spot.leftover.name;
        let fifo = spot
            .dir
            .make_fifo(OsStr::new(name), peer.uid, peer.gid)
            .map_err(failed)?;
        let made = fifo
            .stat()
            .and_then(|stat| Ok(Name::of_fifo(spot.dir.reopen()?, name, stat.file)));
        match made {
            Ok(name) => Ok((fifo, name)),
            Err(source) => {
                spot.dir.remove_file(OsStr::new(name)).ok();
                Err(failed(source))
            }
        }
    }

    /// Reads until the writer has closed and the runtime has answered; `None` where it does not know the command.
    fn follow(&mut self, open: &mut Open, request: &Request<'_>) -> Result<Option<Dumped>, Failed> {
        let mut flow = Flow {
            buffer: vec![0; BUFFER],
            bytes: 0,
            ended: None,
            done: None,
            is_drained: false,
            stall: Stall::new(),
        };
        loop {
            if let (Some(ended), true) = (flow.ended, flow.is_drained) {
                return self.all_of(&open.asked, &flow, ended).map(Some);
            }
            if flow.done.is_some_and(|done| done.elapsed() > LAST_WRITER) {
                return Err(self.incomplete("somebody still holds its dump open after it was done"));
            }
            let is_ready = self.wait_for(open, &flow)?;
            if is_ready || flow.ended.is_some() || flow.done.is_some() {
                self.take(open, &mut flow)?;
            }
            if flow.done.is_none() {
                let reply = open.asked.poll_reply(self.target).map_err(Failed::Final)?;
                match reply
                    .map(|reply| self.judge(request, reply, flow.bytes))
                    .transpose()?
                {
                    Some(true) => {
                        flow.done = Some(Instant::now());
                        self.take(open, &mut flow)?;
                    }
                    Some(false) => return Ok(None),
                    None => {}
                }
            }
            self.check(&open.asked, flow.bytes, &mut flow.stall)
                .map_err(Failed::Final)?;
        }
    }

    fn all_of(&self, asked: &Asked, flow: &Flow, ended: Instant) -> Result<Dumped, Failed> {
        if flow.bytes == 0 {
            return Err(
                self.incomplete("its runtime says that the dump is done, but nothing of it came")
            );
        }
        Ok(Dumped {
            bytes: flow.bytes,
            pause: ended.saturating_duration_since(asked.began()),
            how: How::Fifo,
        })
    }

    /// Waits a moment, and says whether the FIFO has something. Before its first writer it never has; then it says so too when the last has closed, and would again
    /// and again: from then on it is looked into once in a while.
    fn wait_for(&self, open: &Open, flow: &Flow) -> Result<bool, Failed> {
        let left = self
            .limits
            .deadline
            .saturating_duration_since(Instant::now());
        let fifo = open.fifo.as_ref().filter(|_| flow.ended.is_none());
        let asked = Some(open.asked.as_fd()).filter(|_| flow.done.is_none());
        let fds = fifo.map(AsFd::as_fd).into_iter().chain(asked);
        let mut fds: Vec<_> = fds
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        poll_for(&mut fds, left.min(TICK))
            .map_err(|source| Failed::Final(io_error(self.target, "wait for its dump", source)))?;
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Ok(fifo.is_some() && fds.first().is_some_and(is_ready))
    }

    /// Takes what the FIFO has at the moment.
    fn take(&mut self, open: &mut Open, flow: &mut Flow) -> Result<(), Failed> {
        let Some(fifo) = &mut open.fifo else {
            return Ok(());
        };
        match fifo.read(&mut flow.buffer) {
            Ok(0) => {
                flow.ended.get_or_insert_with(Instant::now);
                flow.is_drained = flow.done.is_some();
            }
            Ok(read) => {
                flow.ended = None;
                // It is open on both sides: nobody needs its name any more, and a kill leaves nothing behind.
                open.name.remove();
                open.is_flowing = true;
                flow.bytes = flow.bytes.saturating_add(read as u64);
                self.limits.allow(flow.bytes).map_err(Failed::Final)?;
                let taken = self.sink.take(&flow.buffer[..read]);
                taken.map_err(|Refused(why)| Failed::Final(Error::Refused(why)))?;
            }
            Err(error) if is_passing(&error) => {}
            Err(source) => {
                return Err(Failed::Final(io_error(
                    self.target,
                    "read its dump",
                    source,
                )));
            }
        }
        Ok(())
    }

    pub(super) fn incomplete(&self, what: &str) -> Failed {
        Failed::Final(Error::Incomplete {
            pid: self.target.pid(),
            what: what.to_owned(),
        })
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
