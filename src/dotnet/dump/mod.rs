//! A dump of a living process, streamed out of it.
//!
//! ```text
//! agent                                   target's container
//! record the place (caller's, durable)
//! mkfifo <temp dir>/.salvage-…, open   →  (a name, no bytes)
//! GenerateCoreDump <that path>         →  createdump stops all threads, gathers, opens the path, writes
//! first bytes: remove the name         ←  ELF headers, memory …        → Sink
//! end of file and reply "done"         ←  lets the threads go, closes
//! ```
//!
//! `createdump` writes in one go from beginning to end, so a FIFO will do, and nothing is written to the pod's disk. Where no FIFO can be used, it writes a
//! file in the target's container, which is read and removed.
//!
//! The target stands still from shortly after the request until `createdump` closes the path. What can keep it still longer, and what ends that:
//!
//! - We do not read: then it waits in a write. So a sink must not wait for anybody; and whatever ends a dump early closes our end, `createdump` fails with
//!   `EPIPE`, and lets the target go. The same happens if this program is killed.
//! - We close, or are killed, *before* `createdump` has opened the FIFO: then it waits in its open, with the target stopped, until somebody opens the other
//!   end. So our end stays open until bytes or a reply come, in a thread of its own if need be; and after a kill [`remove_leftover`], which the next start
//!   calls first of all, opens it. (To remove the name that early would make `createdump` write an ordinary file under it.)
//!
//! Owns the way of the bytes and what is left behind. Leaves to others: whether to take a dump, whether the bytes are a whole dump (their own headers say so),
//! and the durable record of the place.

mod fifo;
mod file;
mod leftover;
mod resume;
mod stall;

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::model::DumpType;
use crate::sys::Dir;

use super::ipc::{Asked, DumpCommand, DumpPath, Reply, Request, Target, ask, unless_unknown};
use super::{Error, Limits, Refused, Sink};
use stall::{STALL, Stall};

pub use leftover::{Leftover, remove_leftover};
pub use resume::dumps_ending;

/// A dump that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dumped {
    /// How many bytes the sink took.
    pub bytes: u64,
    /// From the request until the target ran again, as far as seen: it was stopped for most of it.
    pub pause: Duration,
    /// Which way they came.
    pub how: How,
}

/// Which way a dump comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Through a FIFO; nothing was written in the container.
    Fifo,
    /// Through a file in the container, which is removed.
    File,
}

/// Where a target may be able to write, in order. The first is where its socket is, so it can.
const OTHER_PLACES: [&str; 2] = ["/tmp", "/dev/shm"];

/// How often a dump is asked for that loses a race within the target.
const ATTEMPTS: u32 = 3;

/// A dump under way: who, what, and until when.
struct Job<'a> {
    target: &'a Target,
    dump_type: DumpType,
    limits: &'a Limits<'a>,
    sink: &'a mut dyn Sink,
}

/// A name in a directory of the target's that does not exist yet.
struct Spot {
    dir: Dir,
    leftover: Leftover,
    path: DumpPath,
}

/// Why a way was not gone to its end.
enum Failed {
    /// It could not be begun there; another place may do.
    Unusable(Error),
    /// The runtime could not use the path. It was stopped for that, so no other place is tried this way, only the other way.
    Rejected(Error),
    /// It lost a race within the target, and may win the next.
    Raced(Error),
    /// No other way is tried.
    Final(Error),
}

/// Takes a dump of a process and gives its bytes to `sink` as they come. `record` is called with each place in the target before anything is made there: what
/// it makes durable lets [`remove_leftover`] tidy up after a kill. Once this has returned, the record can go, unless [`Error::leaves_something`].
///
/// # Errors
/// What refused, ended or prevented it. An error after the request was sent says whether the target runs again ([`Error::DumpEnded`]).
pub fn dump(
    target: &Target,
    dump_type: DumpType,
    limits: &Limits<'_>,
    sink: &mut dyn Sink,
    record: &mut dyn FnMut(&Leftover) -> Result<(), Refused>,
) -> Result<Dumped, Error> {
    limits.allow(0)?;
    let mut job = Job {
        target,
        dump_type,
        limits,
        sink,
    };
    let mut first_unusable = None;
    for how in [How::Fifo, How::File] {
        for place in places(target) {
            let tried = job.attempt(how, &place, record);
            match tried {
                Ok(dumped) => return Ok(dumped),
                Err(Failed::Final(error)) => return Err(error),
                // That of the first place, the usual one, says most.
                Err(Failed::Unusable(error)) => {
                    first_unusable.get_or_insert(error);
                }
                Err(Failed::Rejected(error)) => {
                    first_unusable.get_or_insert(error);
                    break;
                }
                Err(Failed::Raced(error)) => return Err(error),
            }
        }
    }
    Err(first_unusable.unwrap_or_else(|| unreachable!("there is at least one place")))
}

fn places(target: &Target) -> Vec<String> {
    // A directory whose name is not UTF-8 cannot be said to the runtime.
    let own = target.temp_dir().to_str().map(str::to_owned);
    let mut places: Vec<String> = own.into_iter().collect();
    for other in OTHER_PLACES {
        if !places
            .iter()
            .any(|place| place.trim_end_matches('/') == other)
        {
            places.push(other.to_owned());
        }
    }
    places
}

impl Spot {
    fn at(
        target: &Target,
        place: &str,
        record: &mut dyn FnMut(&Leftover) -> Result<(), Refused>,
    ) -> Result<Self, Failed> {
        let unusable = |operation, source| Failed::Unusable(io_error(target, operation, source));
        let dir = target
            .root()
            .open_dir(Path::new(place))
            .map_err(|source| unusable("open a directory of its for the dump", source))?;
        let stat = dir
            .stat_self()
            .map_err(|source| unusable("look at a directory of its for the dump", source))?;
        // We may be allowed to write where it is not; nothing is made there in its name.
        let is_its_own = Path::new(place) == target.temp_dir() || stat.uid == target.peer().uid;
        let is_for_all = stat.mode & 0o002 != 0;
        if !is_its_own && !is_for_all {
            return Err(unusable(
                "find a directory that it can write to for the dump",
                Errno::ACCESS.into(),
            ));
        }
        let leftover = Leftover::new(target, place);
        let path = DumpPath::new(&leftover.path()).map_err(|_| {
            unusable(
                "name a place in its temp directory for the dump",
                Errno::NAMETOOLONG.into(),
            )
        })?;
        record(&leftover).map_err(|Refused(why)| Failed::Final(Error::Refused(why)))?;
        Ok(Self {
            dir,
            leftover,
            path,
        })
    }
}

impl Job<'_> {
    /// Goes one way at one place, and once more where that is lost to a race.
    fn attempt(
        &mut self,
        how: How,
        place: &str,
        record: &mut dyn FnMut(&Leftover) -> Result<(), Refused>,
    ) -> Result<Dumped, Failed> {
        let mut attempts = 1..=ATTEMPTS;
        loop {
            let is_last = attempts.next().is_none_or(|attempt| attempt == ATTEMPTS);
            let spot = Spot::at(self.target, place, record)?;
            let tried = match how {
                How::Fifo => self.through_fifo(&spot),
                How::File => self.through_file(&spot),
            };
            match tried {
                Err(Failed::Raced(_)) if !is_last => {}
                tried => return tried,
            }
        }
    }

    /// The request in every way that there is, the newest first.
    fn requests<'b>(&self, path: &'b DumpPath) -> [Request<'b>; 3] {
        DumpCommand::ALL.map(|command| Request::GenerateCoreDump {
            command,
            path,
            dump_type: self.dump_type,
        })
    }

    fn unsupported(&self) -> Failed {
        Failed::Final(Error::Unsupported {
            pid: self.target.pid(),
            command: "GenerateCoreDump",
        })
    }

    /// Sends a request, with what is left of the time for our turn to come.
    fn ask(&self, request: &Request<'_>) -> Result<Asked, Failed> {
        ask(self.target, request, self.limits.deadline).map_err(Failed::Final)
    }

    /// Whether it may go on: time, bytes, and whoever asked for it.
    fn check(&self, asked: &Asked, bytes: u64, stall: &mut Stall) -> Result<(), Error> {
        self.limits.allow(bytes)?;
        let now = Instant::now();
        // One that is gone says so by its connection.
        let is_held = || resume::is_stopped(self.target) != Some(false);
        let over = if now >= self.limits.deadline {
            Some(("the dump", asked.began().elapsed()))
        } else {
            let has_stalled = stall.is_over(now, bytes, is_held);
            has_stalled.then_some(("a wait for bytes of the dump", STALL))
        };
        over.map_or(Ok(()), |(during, limit)| {
            Err(Error::TimedOut {
                pid: self.target.pid(),
                during,
                limit,
            })
        })
    }

    /// What a reply means: `true` for a dump that was made, `false` for a command that the runtime does not know.
    fn judge(&self, request: &Request<'_>, reply: Reply, bytes: u64) -> Result<bool, Failed> {
        let refused = match unless_unknown(self.target, request, reply) {
            Ok(payload) => return Ok(payload.is_some()),
            Err(refused) => refused,
        };
        match refused {
            Error::RuntimeRefused { pid, text, .. } if is_of_single_file(&text) => {
                Err(Failed::Final(Error::SingleFile { pid, text }))
            }
            Error::RuntimeRefused { ref text, .. } if bytes == 0 && is_of_race(text) => {
                Err(Failed::Raced(refused))
            }
            // It could not use the path, or is too old to say what it could not do; nothing came either way.
            Error::RuntimeRefused { ref text, .. }
                if bytes == 0 && (text.is_empty() || is_of_path(text)) =>
            {
                Err(Failed::Rejected(refused))
            }
            refused => Err(Failed::Final(refused)),
        }
    }
}

/// `createdump`: "Only full dumps are supported by single file apps".
fn is_of_single_file(text: &str) -> bool {
    text.to_ascii_lowercase().contains("single file")
}

/// `createdump`: "ptrace(ATTACH, 17) FAILED No such process (3)", when a thread ends after it was counted. Programs that have many short-lived ones meet it.
fn is_of_race(text: &str) -> bool {
    text.contains("FAILED No such process")
}

/// `createdump`: "Could not create output file '/x': Permission denied (13)".
fn is_of_path(text: &str) -> bool {
    text.contains("output file")
}

fn io_error(target: &Target, operation: &'static str, source: std::io::Error) -> Error {
    Error::Io {
        pid: target.pid(),
        operation,
        source,
    }
}

#[cfg(test)]
mod tests;
