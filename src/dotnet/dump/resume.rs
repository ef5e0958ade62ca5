//! Letting a target go whose dump is ended before its end.
//!
//! There is no command for that: a request that was sent is carried out. Closing the FIFO makes `createdump` fail and let go, but only once it has opened
//! it (see the head of `dump`). So what is open stays open until bytes or an answer show that it has, here for five seconds, and from then on in a thread of
//! its own, which ends at the latest with the target and keeps other commands of ours away from it meanwhile.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::dotnet::find::Status;
use crate::dotnet::ipc::{Asked, Target, poll_for};
use crate::dotnet::{Error, Resumed};
use crate::model::FileId;
use crate::sys::{Dir, Fifo, FileKind};

use super::Failed;

/// How long a target has to run again.
const WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked at.
const TICK: Duration = Duration::from_millis(10);
/// Most threads of a target that are looked at; `createdump` stops all of them, and lets them go one after the other.
const THREADS_MAX: usize = 4_096;

/// A name of ours in a target. It goes at the latest when this does.
pub(super) struct Name {
    dir: Dir,
    name: OsString,
    /// Which FIFO; for a file, which `createdump` makes, it is not known.
    fifo: Option<FileId>,
    is_there: bool,
}

/// A dump that was asked for, with all that is open for it.
pub(super) struct Open {
    pub(super) fifo: Option<Fifo>,
    pub(super) name: Name,
    pub(super) asked: Asked,
    /// Whether bytes have come, and so the FIFO is open on both sides.
    pub(super) is_flowing: bool,
}

impl Name {
    pub(super) fn of_fifo(dir: Dir, name: &str, fifo: FileId) -> Self {
        Self {
            dir,
            name: name.into(),
            fifo: Some(fifo),
            is_there: true,
        }
    }

    pub(super) fn of_file(dir: Dir, name: &str) -> Self {
        Self {
            dir,
            name: name.into(),
            fifo: None,
            is_there: true,
        }
    }

    /// Removes it, if it is still what we think. What somebody else put in its place is theirs. Nobody comes to open it any more: whoever was to has, or has
    /// answered.
    pub(super) fn remove(&mut self) {
        if !std::mem::replace(&mut self.is_there, false) {
            return;
        }
        let name: &OsStr = &self.name;
        let is_ours = self.dir.stat(name).is_ok_and(|stat| match self.fifo {
            Some(fifo) => stat.file == fifo,
            None => stat.kind == FileKind::File,
        });
        if is_ours {
            self.dir.remove_file(name).ok();
        }
    }
}

impl Name {
    /// Removes a file that has been made already. One that has not will be, and is removed then.
    fn remove_if_made(&mut self) {
        if self.is_there && self.dir.stat(&self.name).is_ok() {
            self.remove();
        }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Open {
    pub(super) fn fifo(fifo: Fifo, name: Name, asked: Asked) -> Self {
        Self {
            fifo: Some(fifo),
            name,
            asked,
            is_flowing: false,
        }
    }

    pub(super) fn file(name: Name, asked: Asked) -> Self {
        Self {
            fifo: None,
            name,
            asked,
            is_flowing: false,
        }
    }

    /// The FIFO for another request, after one that the runtime did not know.
    pub(super) fn into_fifo(self) -> Option<(Fifo, Name)> {
        Some((self.fifo?, self.name))
    }

    /// Ends it, and adds to the error how the target fares.
    pub(super) fn end(self, target: &Target, failed: Failed) -> Failed {
        match failed {
            // It answered: nothing of the request is under way any more.
            Failed::Unusable(_) | Failed::Rejected(_) | Failed::Raced(_) => failed,
            Failed::Final(
                why @ (Error::RuntimeRefused { .. }
                | Error::SingleFile { .. }
                | Error::TargetDied { .. }),
            ) => Failed::Final(why),
            Failed::Final(why) => Failed::Final(Error::DumpEnded {
                resumed: self.let_go(target),
                why: Box::new(why),
            }),
        }
    }

    fn let_go(mut self, target: &Target) -> Resumed {
        let began = Instant::now();
        if self.fifo.is_none() {
            self.name.remove_if_made();
        }
        if !self.wait_until_opened(target, Some(began + WITHIN)) {
            let resumed = match is_stopped(target) {
                None => Resumed::Died,
                Some(true) => Resumed::NotWithin(began.elapsed()),
                Some(false) => Resumed::Awaited,
            };
            let target = target.clone();
            let counted = Ending::begin();
            let keep = move || {
                self.wait_until_opened(&target, None);
                drop(counted);
            };
            // Without a thread all is closed here and now, which is no worse than being killed.
            let _ = std::thread::Builder::new()
                .name("dump-end".to_owned())
                .spawn(keep);
            return resumed;
        }
        self.fifo = None;
        self.name.remove();
        // Kept for the turn that it holds: nobody asks anything while the runtime is still at it.
        let asked = self.asked;
        let resumed = how_it_fares(target, began, began + WITHIN);
        drop(asked);
        resumed
    }

    /// Waits until the target has opened what it was told to, or has answered, or is gone; `false` when it had not by then.
    fn wait_until_opened(&mut self, target: &Target, until: Option<Instant>) -> bool {
        while !self.is_flowing {
            if until.is_some_and(|until| Instant::now() >= until) {
                return false;
            }
            // An answer, a closed connection, and an end of the process all mean that nothing opens it any more.
            if !matches!(self.asked.poll_reply(target), Ok(None)) || !target.is_alive() {
                return true;
            }
            let fds = self
                .fifo
                .as_ref()
                .map(AsFd::as_fd)
                .into_iter()
                .chain([self.asked.as_fd()]);
            let mut fds: Vec<_> = fds
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect();
            poll_for(&mut fds, TICK).ok();
            let revents = fds.first().map_or(PollFlags::empty(), PollFd::revents);
            // Others may open and close it: only bytes show that it is `createdump`. A FIFO that had a writer says so at once, again and again.
            self.is_flowing = self.fifo.is_some() && revents.contains(PollFlags::IN);
            if self.fifo.is_some() && revents == PollFlags::HUP {
                poll_for(&mut [], TICK).ok();
            }
        }
        true
    }
}

/// Waits until the target runs.
fn how_it_fares(target: &Target, began: Instant, until: Instant) -> Resumed {
    loop {
        match is_stopped(target) {
            None => return Resumed::Died,
            Some(false) => return Resumed::After(began.elapsed()),
            Some(true) if Instant::now() >= until => return Resumed::NotWithin(began.elapsed()),
            Some(true) => {
                poll_for(&mut [], TICK).ok();
            }
        }
    }
}

/// Dumps that ended before their target had opened what it was told to.
static ENDING: AtomicUsize = AtomicUsize::new(0);

/// How many dumps that have ended still keep something open for their targets. A program that ends before they are none leaves a process standing still.
pub fn dumps_ending() -> usize {
    ENDING.load(Ordering::SeqCst)
}

/// One of them.
struct Ending;

impl Ending {
    fn begin() -> Self {
        ENDING.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        ENDING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether a thread of the target is held by a tracer; `None` when the target is gone.
pub(super) fn is_stopped(target: &Target) -> Option<bool> {
    if !target.is_alive() {
        return None;
    }
    let is_held = |text: &str| {
        let status = Status::parse(text);
        status.state == b't' || status.tracer != 0
    };
    let main = target.proc_file("status").ok()?;
    if is_held(&main) {
        return Some(true);
    }
    // Where its threads cannot be looked at, the first stands for all.
    let tasks = target.process().open_dir(OsStr::new("task"));
    let listed = tasks.and_then(|tasks| tasks.entries().map(|entries| (tasks, entries)));
    let Ok((tasks, entries)) = listed else {
        return target.is_alive().then_some(false);
    };
    let threads = entries.take(THREADS_MAX).flatten();
    // A thread that ends meanwhile holds nothing up.
    let held = |name: &OsStr| {
        let thread = tasks.open_dir(name).ok()?;
        crate::dotnet::find::read(&thread, "status").ok()
    };
    Some(
        threads
            .into_iter()
            .any(|entry| held(&entry.name).is_some_and(|text| is_held(&text))),
    )
}
