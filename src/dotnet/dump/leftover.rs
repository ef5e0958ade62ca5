//! What a dump may leave in a target if this program is killed meanwhile, and its removal.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::FileType;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::dotnet::find;
use crate::dotnet::ipc::{Target, poll_for};
use crate::sys::{Dir, Root};

/// A place in a target where a dump is about to be made. A caller makes it durable first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// The host's number of the process.
    pub pid: i32,
    /// When the process started, in clock ticks since the boot.
    pub start_time: u64,
    /// The directory, as the process sees it.
    pub dir: String,
    /// The name in it.
    pub name: String,
}

/// How often it is looked whether somebody has opened a FIFO.
const LOOK: Duration = Duration::from_millis(50);

/// Longest time that `createdump` may gather before it opens its file.
const GATHERING: Duration = Duration::from_secs(120);

/// A process that has not been held for so long is not about to be: the request was answered, or never came.
const SETTLED: Duration = Duration::from_secs(1);

/// What all our names begin with.
const PREFIX: &str = ".salvage-";

impl Leftover {
    /// A new name in a directory of a target's.
    pub(super) fn new(target: &Target, dir: &str) -> Self {
        Self {
            pid: target.pid(),
            start_time: target.start_time(),
            dir: dir.to_owned(),
            name: format!("{PREFIX}{:016x}", fastrand::u64(..)),
        }
    }

    /// The whole path, as the process sees it.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.dir.trim_end_matches('/'), self.name)
    }
}

/// Removes what a dump left behind that was under way when this program was killed, and lets a target go on that still waits for it, or will: for that it may wait two minutes. Nothing being there is
/// well; so is the process having ended, with which its container's temporary files go too. Nothing but a FIFO or a file of that name is touched.
///
/// # Errors
/// When the process is there and its directory or the name in it cannot be reached; `EINVAL` for a record that is none of ours.
pub fn remove_leftover(proc: &Path, leftover: &Leftover) -> io::Result<()> {
    let name = OsStr::new(&leftover.name);
    if !leftover.name.starts_with(PREFIX) || leftover.name.contains('/') {
        return Err(Errno::INVAL.into());
    }
    let process = match find::process(proc, leftover.pid) {
        Ok(process) if process.start_time == leftover.start_time => process,
        Err(error) if !is_absent(&error) => return Err(error),
        _ => return Ok(()),
    };
    let dir = Dir::open(proc)?.open_dir(OsStr::new(&process.pid.to_string()))?;
    match Root::of(&dir)
        .and_then(|root| root.open_dir(Path::new(&leftover.dir)))
        .and_then(|temporary| remove(&dir, &temporary, name))
    {
        Err(error) if is_absent(&error) => Ok(()),
        other => other,
    }
}

/// Removes a FIFO or a file. A `createdump` that waits for somebody to read the FIFO, or is still gathering and will open it, is let go by the reader that stays
/// until it has: without the name it would write an ordinary file there.
fn remove(process: &Dir, dir: &Dir, name: &OsStr) -> io::Result<()> {
    let handle = dir.handle(name)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode) {
        FileType::Fifo => {
            let reader = dir.open_file(name)?;
            let began = Instant::now();
            let mut free_since = None;
            while began.elapsed() < GATHERING {
                let mut fds = [PollFd::new(&reader, PollFlags::IN)];
                poll_for(&mut fds, LOOK)?;
                let revents = fds[0].revents();
                if revents.contains(PollFlags::IN) {
                    break;
                }
                // Somebody has opened and closed it, who need not have been `createdump`: it says so at once from now on.
                if !revents.is_empty() {
                    poll_for(&mut [], LOOK)?;
                }
                // Nobody has written to it. Who is stopped will; who was not for a while has answered, or never was.
                match is_held(process) {
                    None => break,
                    Some(true) => free_since = None,
                    Some(false) => {
                        let since = *free_since.get_or_insert_with(Instant::now);
                        if since.elapsed() >= SETTLED {
                            break;
                        }
                    }
                }
            }
            dir.remove_file(name)
        }
        FileType::RegularFile => dir.remove_file(name),
        _ => Err(Errno::INVAL.into()),
    }
}

/// Whether the process is held by a tracer; nothing where it is gone.
fn is_held(process: &Dir) -> Option<bool> {
    let status = find::Status::parse(&find::read(process, "status").ok()?);
    Some(status.state == b't' || status.tracer != 0)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::SRCH)
    )
}

#[cfg(test)]
mod tests;
