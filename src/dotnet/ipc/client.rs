//! One command over one connection.
//!
//! A connection is made to the handle of the socket that was found, and nothing is sent before the kernel has said who listens there and that the process is
//! still the one that was found: between finding and asking it may have ended, and its number gone to another.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::dotnet::Error;
use crate::sys::{Peer, connect_to, peer_of};

use super::reply::{self, UNKNOWN_COMMAND};
use super::request::HEADER;
use super::turn::Turn;
use super::{
    InfoCommand, Malformed, ProcessInfo, Reply, Request, SessionConfig, SessionId, Target,
};

/// How long a runtime may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// How long its turn may be waited for: nothing of ours but a dump has it for longer, and nobody waits for that.
const TURN: Duration = Duration::from_secs(10);
/// How long a command that does nothing lengthy may take, its turn included.
const SHORT: Duration = Duration::from_secs(5);

/// What a process is. Asks in the newest way first and in an older one only where the runtime does not know it.
///
/// # Errors
/// [`Error::Unsupported`] before .NET 5; those of any command: the target died, is not to be trusted, took too long or refused.
pub fn process_info(target: &Target) -> Result<ProcessInfo, Error> {
    for command in InfoCommand::ALL {
        let request = Request::ProcessInfo(command);
        let reply = short(target, &request)?.0;
        let Some(payload) = unless_unknown(target, &request, reply)? else {
            continue;
        };
        let info = match command {
            InfoCommand::First => ProcessInfo::first(&payload),
            InfoCommand::Second => ProcessInfo::second(&payload),
            InfoCommand::Third => ProcessInfo::third(&payload),
        };
        return info.map_err(|malformed| untrusted(target, malformed));
    }
    Err(Error::Unsupported {
        pid: target.pid(),
        command: "ProcessInfo",
    })
}

/// Begins an event session. Its events come on the stream as nettrace until it is stopped; the stream blocks. Closing it ends the session without what a
/// runtime writes at the end of one.
///
/// # Errors
/// As [`process_info`]; a runtime that has 64 sessions already refuses.
pub fn collect_tracing(
    target: &Target,
    config: &SessionConfig,
) -> Result<(SessionId, UnixStream), Error> {
    let request = Request::CollectTracing2(config);
    let (reply, stream) = short(target, &request)?;
    let session = session_of(target, &request, reply)?;
    stream
        .set_nonblocking(false)
        .map_err(|source| io_error(target, "make the stream of a session wait", source))?;
    Ok((session, stream))
}

/// Ends an event session: the runtime then writes its rundown, if the session has one, and closes the session's stream. A session that is not there is as
/// good as ended.
///
/// # Errors
/// As [`process_info`].
pub fn stop_tracing(target: &Target, session: SessionId) -> Result<(), Error> {
    let request = Request::StopTracing(session);
    let (reply, _) = short(target, &request)?;
    session_of(target, &request, reply).map(|_| ())
}

fn session_of(target: &Target, request: &Request<'_>, reply: Reply) -> Result<SessionId, Error> {
    let Some(payload) = unless_unknown(target, request, reply)? else {
        return Err(Error::Unsupported {
            pid: target.pid(),
            command: request.name(),
        });
    };
    SessionId::decode(&payload).map_err(|malformed| untrusted(target, malformed))
}

/// A command that has its answer at once.
fn short(target: &Target, request: &Request<'_>) -> Result<(Reply, UnixStream), Error> {
    let mut asked = ask(target, request, Instant::now() + SHORT)?;
    let deadline = asked.began + SHORT;
    loop {
        if let Some(reply) = asked.poll_reply(target)? {
            return Ok((reply, asked.stream));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out(target, "a command", SHORT));
        }
        wait(asked.as_fd(), PollFlags::IN, left)
            .map_err(|source| io_error(target, "wait for an answer", source))?;
    }
}

/// A command that was sent and whose answer may take a while. The turn at the target is held until this is dropped.
#[derive(Debug)]
pub(in crate::dotnet) struct Asked {
    stream: UnixStream,
    request: &'static str,
    began: Instant,
    read: Vec<u8>,
    _turn: Turn,
}

/// Connects and sends a command when its turn has come.
pub(in crate::dotnet) fn ask(
    target: &Target,
    request: &Request<'_>,
    deadline: Instant,
) -> Result<Asked, Error> {
    let asked_at = Instant::now();
    let until = deadline.min(asked_at + TURN);
    let Some(turn) = target.turn(until) else {
        let limit = until.saturating_duration_since(asked_at);
        return Err(timed_out(
            target,
            "waiting for another command of ours, such as a dump,",
            limit,
        ));
    };
    let stream = connect(target)?;
    let began = Instant::now();
    send(target, &stream, &request.encode())?;
    Ok(Asked {
        stream,
        request: request.name(),
        began,
        read: Vec::new(),
        _turn: turn,
    })
}

/// Connects to the target's socket and makes sure that it is the target who listens there. Nothing has been sent then, and no read or write waits.
pub(in crate::dotnet) fn connect(target: &Target) -> Result<UnixStream, Error> {
    let stream = connect_to(target.socket(), CONNECT).map_err(|source| match source.kind() {
        _ if !target.is_alive() => died(target, "connecting"),
        ErrorKind::WouldBlock => timed_out(target, "accepting a connection", CONNECT),
        ErrorKind::ConnectionRefused => Error::NoRuntime(format!(
            "nobody listens any more at the diagnostic socket of process {}",
            target.pid()
        )),
        ErrorKind::PermissionDenied => Error::PermissionDenied {
            pid: target.pid(),
            what: "connect to its diagnostic socket",
            needs: "CAP_DAC_OVERRIDE",
            source,
        },
        _ => io_error(target, "connect to its diagnostic socket", source),
    })?;
    let peer = peer_of(&stream).map_err(|source| io_error(target, "ask who listens", source))?;
    if peer != target.peer() {
        return Err(wrong_peer(target, peer));
    }
    if !target.is_alive() {
        return Err(died(target, "connecting"));
    }
    stream
        .set_nonblocking(true)
        .map_err(|source| io_error(target, "make a connection not wait", source))?;
    Ok(stream)
}

fn send(target: &Target, mut stream: &UnixStream, message: &[u8]) -> Result<(), Error> {
    let deadline = Instant::now() + SHORT;
    let mut left = message;
    while !left.is_empty() {
        match stream.write(left) {
            Ok(sent) => left = &left[sent..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let time = deadline.saturating_duration_since(Instant::now());
                if time.is_zero() {
                    return Err(timed_out(target, "taking a command", SHORT));
                }
                wait(stream.as_fd(), PollFlags::OUT, time)
                    .map_err(|source| io_error(target, "wait to send a command", source))?;
            }
            Err(_) if !target.is_alive() => return Err(died(target, "a command")),
            Err(source) => return Err(io_error(target, "send a command", source)),
        }
    }
    Ok(())
}

impl Asked {
    /// When the command had been sent.
    pub(in crate::dotnet) fn began(&self) -> Instant {
        self.began
    }

    /// Reads what has come of the answer; `None` while it is not there as a whole. Nothing behind the answer is read.
    pub(in crate::dotnet) fn poll_reply(
        &mut self,
        target: &Target,
    ) -> Result<Option<Reply>, Error> {
        loop {
            let wanted = match self.read.first_chunk::<HEADER>() {
                None => HEADER - self.read.len(),
                Some(head) => {
                    let (payload, done) =
                        reply::header(head).map_err(|malformed| untrusted(target, malformed))?;
                    let wanted = HEADER + payload - self.read.len();
                    if wanted == 0 {
                        let payload = self.read.split_off(HEADER);
                        return match Reply::of(done, payload) {
                            Ok(reply) => Ok(Some(reply)),
                            Err(malformed) => Err(untrusted(target, malformed)),
                        };
                    }
                    wanted
                }
            };
            let before = self.read.len();
            self.read.resize(before + wanted, 0);
            let read = self.stream.read(&mut self.read[before..]);
            self.read.truncate(before + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Err(self.hung_up(target)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Err(self.hung_up(target));
                }
                Err(source) => return Err(io_error(target, "read an answer", source)),
            }
        }
    }

    /// A runtime that dies closes its end, and is still there as a process for a moment; one that lives always answers.
    fn hung_up(&self, target: &Target) -> Error {
        if is_ending(target) {
            return died(target, self.request);
        }
        Error::Incomplete {
            pid: target.pid(),
            what: format!(
                "its runtime closed the connection of {} without an answer",
                self.request
            ),
        }
    }
}

impl AsFd for Asked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Whether the process has ended or ends within a second, which its pidfd tells without its parent having to notice.
fn is_ending(target: &Target) -> bool {
    let pid = rustix::process::Pid::from_raw(target.pid());
    let pidfd = pid.and_then(|pid| {
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
    });
    match pidfd {
        Some(pidfd) if target.is_alive() => {
            wait(pidfd.as_fd(), PollFlags::IN, Duration::from_secs(1)).ok();
            !target.is_alive()
        }
        _ => !target.is_alive(),
    }
}

/// Waits until one of them is ready or the time is over; a signal ends it early.
pub(in crate::dotnet) fn poll_for(what: &mut [PollFd<'_>], time: Duration) -> io::Result<()> {
    let time = Timespec::try_from(time).unwrap_or(Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    });
    match poll(what, Some(&time)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn wait(fd: BorrowedFd<'_>, flags: PollFlags, time: Duration) -> io::Result<()> {
    poll_for(&mut [PollFd::from_borrowed_fd(fd, flags)], time)
}

/// The payload of what was done, `None` where the runtime is too old for the command.
pub(in crate::dotnet) fn unless_unknown(
    target: &Target,
    request: &Request<'_>,
    reply: Reply,
) -> Result<Option<Vec<u8>>, Error> {
    match reply {
        Reply::Done(payload) => Ok(Some(payload)),
        Reply::Refused {
            hresult: UNKNOWN_COMMAND,
            ..
        } => Ok(None),
        Reply::Refused { hresult, text } => Err(Error::RuntimeRefused {
            pid: target.pid(),
            command: request.name(),
            hresult,
            text,
        }),
    }
}

fn wrong_peer(target: &Target, peer: Peer) -> Error {
    Error::UntrustedSocket {
        pid: target.pid(),
        why: format!("process {} of user {} listens at it", peer.pid, peer.uid),
    }
}

fn untrusted(target: &Target, malformed: Malformed) -> Error {
    Error::UntrustedSocket {
        pid: target.pid(),
        why: malformed.to_string(),
    }
}

fn died(target: &Target, during: &'static str) -> Error {
    Error::TargetDied {
        pid: target.pid(),
        during,
    }
}

fn timed_out(target: &Target, during: &'static str, limit: Duration) -> Error {
    Error::TimedOut {
        pid: target.pid(),
        during,
        limit,
    }
}

fn io_error(target: &Target, operation: &'static str, source: io::Error) -> Error {
    Error::Io {
        pid: target.pid(),
        operation,
        source,
    }
}

#[cfg(test)]
mod tests;
