//! An event session from beginning to end: started, read into a sink and watched, stopped, and drained.
//!
//! ```text
//! CollectTracing2 ─→ read: sink, decoder → watcher ─→ deadline, enough, full, cancelled ─→ StopTracing on a connection of its own
//!                                                                                          └→ what the runtime still sends, up to its end
//! ```
//!
//! Owns when a session ends and that it does. Leaves to others what is asked of whom (`profiles`, `gcdump`, `counters`) and what events mean.
//!
//! Invariants: no way out leaves the session running in the target. It is stopped by a message; where that fails, or the runtime has not
//! finished within 30 s, the stream is closed, which ends a session as well, only without its end. A sink that refuses gets nothing more, and the session is still
//! stopped and drained.
//!
//! Reading slowly loses events; it stops no thread of the target. A thread that finds no room in the session's buffer drops its event and
//! goes on, and a thread of the runtime's own does the sending (dotnet/runtime `src/native/eventpipe/ep-buffer-manager.c`:
//! `buffer_manager_try_reserve_buffer` refuses, and `buffer_manager_allocate_buffer_for_thread` gives none). One thread can wait for the reader: the one that
//! answers diagnostic commands, from StopTracing to the end of the rundown. Closing the stream frees it.

#[cfg(test)]
mod tests;

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::eventpipe::{Counts, Decoder, Visitor};
use super::ipc::{self, SessionConfig, SessionId, Target};
use super::{Error, Limits, Refused, Sink};

/// How long the runtime has for what it still sends after it was told to stop. The names of all methods of a large application take seconds.
const DRAIN: Duration = Duration::from_secs(30);

/// Most bytes above `Limits::max_bytes` that what is sent after the stop may have. 5 MB were seen; without it a trace has no names.
const DRAIN_BYTES: u64 = 64 << 20;

/// How long a read waits before the clock and the cancellation are looked at again.
const GLANCE: Duration = Duration::from_millis(100);

/// Bytes of one read. A block of events has 100 KiB.
const PIECE: usize = 128 << 10;

const DURING: &str = "an event session";

/// Who watches the events of a session as they come, and may end it.
pub trait Watcher: Visitor {
    /// Whether what was wanted has come. Asked after each piece of the stream.
    ///
    /// # Errors
    /// Why the session is of no more use; it then ends as if the sink had refused.
    fn enough(&mut self) -> Result<bool, Refused>;
}

/// Nobody, so the limits end it.
impl Watcher for () {
    fn enough(&mut self) -> Result<bool, Refused> {
        Ok(false)
    }
}

/// Takes the bytes of a session whose events are only watched, and keeps none.
#[derive(Clone, Copy, Debug)]
pub struct Discard;

impl Sink for Discard {
    fn take(&mut self, _: &[u8]) -> Result<(), Refused> {
        Ok(())
    }
}

/// Why a session was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its time was over.
    Deadline,
    /// The watcher had what it wanted.
    Enough,
    /// It had as many bytes as it may.
    MaxBytes,
    /// Nobody wanted it any more.
    Cancelled,
    /// The target ended it, most often by ending itself.
    Target,
}

/// A session that has ended, and left something worth keeping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Bytes that the sink took.
    pub bytes: u64,
    /// Whether the sink has all of the stream, up to the mark that ends it. Without it the last events and the names of methods are missing; what
    /// is there can be read.
    pub complete: bool,
    /// Why it was ended.
    pub why: Why,
    /// What passed, events that were lost included.
    pub counts: Counts,
    /// The first thing of the stream that could not be decoded. The bytes were taken all the same.
    pub trouble: Option<String>,
}

/// Runs a session with `target` and puts its stream into `sink`.
///
/// It is stopped at `limits.deadline`, at `limits.max_bytes`, when cancelled, or when `watcher` has enough. What the runtime then still sends
/// goes into the sink too, for at most 30 s and 64 MiB: that is how far a session may exceed its limits.
///
/// A target that ends meanwhile leaves what came so far: that is no error, but `Ended` with `Why::Target`, and not complete.
///
/// # Errors
/// It was cancelled before it began; the session could not be started; the sink or the watcher refused; the target ended before anything came.
pub fn run(
    target: &Target,
    config: &SessionConfig,
    limits: &Limits<'_>,
    sink: &mut dyn Sink,
    watcher: &mut dyn Watcher,
) -> Result<Ended, Error> {
    // It may have waited: what nobody wants any more does not even begin.
    limits.allow(0)?;
    let (session, stream) = ipc::collect_tracing(target, config)?;
    let mut flow = Flow {
        stream,
        decoder: Decoder::new(),
        sink,
        watcher,
        taken: 0,
        refused: None,
        piece: vec![0; PIECE],
    };
    let why = flow.until(limits).map_err(|source| Error::Io {
        pid: target.pid(),
        operation: "read an event session",
        source,
    })?;
    if why != Why::Target {
        stop(target, session, &mut flow, limits.max_bytes);
    }
    flow.ended(target, why)
}

/// The stream and where its bytes go.
struct Flow<'a> {
    stream: UnixStream,
    decoder: Decoder,
    sink: &'a mut dyn Sink,
    watcher: &'a mut dyn Watcher,
    taken: u64,
    refused: Option<Refused>,
    piece: Vec<u8>,
}

/// What a read came to.
enum Got {
    Bytes,
    Nothing,
    End,
}

impl Flow<'_> {
    /// Reads until something ends the session. An error is one of setting up the stream: nothing was read then, and dropping it ends the session.
    fn until(&mut self, limits: &Limits<'_>) -> std::io::Result<Why> {
        loop {
            if limits.cancelled.load(Ordering::Relaxed) {
                return Ok(Why::Cancelled);
            }
            if self.taken >= limits.max_bytes {
                return Ok(Why::MaxBytes);
            }
            let left = limits.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Why::Deadline);
            }
            if let Got::End = self.read(left.min(GLANCE))? {
                return Ok(Why::Target);
            }
            if self.refused.is_some() || self.has_enough() {
                return Ok(Why::Enough);
            }
        }
    }

    fn has_enough(&mut self) -> bool {
        self.watcher.enough().unwrap_or_else(|refused| {
            self.refused = Some(refused);
            true
        })
    }

    /// Reads what is there, or waits so long for it.
    fn read(&mut self, wait: Duration) -> std::io::Result<Got> {
        self.stream.set_read_timeout(Some(wait))?;
        match self.stream.read(&mut self.piece) {
            Ok(0) => Ok(Got::End),
            Ok(length) => {
                self.take(length);
                Ok(Got::Bytes)
            }
            Err(error) => Ok(match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                    Got::Nothing
                }
                // A process that is killed resets its connections.
                _ => Got::End,
            }),
        }
    }

    fn take(&mut self, length: usize) {
        let bytes = &self.piece[..length];
        if self.refused.is_none() {
            match self.sink.take(bytes) {
                Ok(()) => self.taken += length as u64,
                Err(refused) => self.refused = Some(refused),
            }
        }
        self.decoder.feed(bytes, self.watcher);
    }

    /// Reads to the end of the stream, while the session is being stopped.
    fn drain(&mut self, most: u64, stopped: &OnceLock<Result<(), Error>>) {
        let deadline = Instant::now() + DRAIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.taken > most {
                return;
            }
            match self.read(left.min(GLANCE)) {
                Ok(Got::Bytes) => {}
                Ok(Got::End) | Err(_) => return,
                // A runtime that did not take the message sends on for ever. One that has not answered yet may be at it.
                Ok(Got::Nothing) => match stopped.get() {
                    Some(Err(Error::TimedOut { .. }) | Ok(())) | None => {}
                    Some(Err(_)) => return,
                },
            }
        }
    }

    fn ended(self, target: &Target, why: Why) -> Result<Ended, Error> {
        if let Some(Refused(text)) = self.refused {
            return Err(Error::Refused(text));
        }
        if why == Why::Target && self.taken == 0 {
            let pid = target.pid();
            return Err(if target.is_alive() {
                Error::Incomplete {
                    pid,
                    what: "its runtime closed the event session before any event came".to_owned(),
                }
            } else {
                Error::TargetDied {
                    pid,
                    during: DURING,
                }
            });
        }
        Ok(Ended {
            bytes: self.taken,
            complete: self.decoder.is_complete(),
            why,
            counts: self.decoder.counts(),
            trouble: self.decoder.trouble().map(str::to_owned),
        })
    }
}

/// Stops the session and reads on meanwhile: the answer comes when all is sent, so who waits for it before reading on waits for ever.
fn stop(target: &Target, session: SessionId, flow: &mut Flow<'_>, max_bytes: u64) {
    let stopped = OnceLock::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            // It is set once, here.
            let _ = stopped.set(ipc::stop_tracing(target, session));
        });
        flow.drain(max_bytes.saturating_add(DRAIN_BYTES), &stopped);
        // If the end has not come: closing it ends the session, and gives the answer that the thread waits for.
        let _ = flow.stream.shutdown(std::net::Shutdown::Both);
    });
}
