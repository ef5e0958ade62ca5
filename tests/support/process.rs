//! A child process that a test talks to line by line, with a deadline on everything, so that no test hangs and none sleeps.
//!
//! Invariants: the child is killed and reaped when this is dropped; what it said on both streams is part of every error.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Far above what any step takes on a loaded machine with two cores; only a test that would hang meets it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// How long what it said last may take to arrive. Its streams end with it, unless a child of its own still holds them.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A running child; see the module.
#[derive(Debug)]
pub(crate) struct Process {
    what: String,
    pid: Pid,
    // Signals go through it: a pid may already belong to somebody else when we drop.
    pidfd: OwnedFd,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    transcript: Arc<Mutex<String>>,
    // Never carries anything: it is disconnected when both streams have ended.
    streams: Receiver<()>,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts the command with all three streams in our hands.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let what = format!("{command:?}");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {what}"))?;
        let pid = Pid::from_child(&child);
        let pidfd =
            pidfd_open(pid, PidfdFlags::empty()).with_context(|| format!("pidfd of {what}"))?;
        let stdin = child.stdin.take();
        let transcript = Arc::new(Mutex::new(String::new()));
        let (line_sender, lines) = mpsc::channel();
        let (open_stream, streams) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            let (transcript, open_stream) = (Arc::clone(&transcript), open_stream.clone());
            thread::spawn(move || {
                let _open_stream: Sender<()> = open_stream;
                each_line(stdout, |line| {
                    record(&transcript, "out", &line);
                    // Nobody may be listening any more; the pipe must still be emptied, or the child blocks.
                    line_sender.send(line).ok();
                });
            });
        }
        if let Some(stderr) = child.stderr.take() {
            let transcript = Arc::clone(&transcript);
            thread::spawn(move || {
                let _open_stream: Sender<()> = open_stream;
                each_line(stderr, |line| record(&transcript, "err", &line));
            });
        }
        Ok(Self {
            what,
            pid,
            pidfd,
            stdin,
            lines,
            transcript,
            streams,
            child,
            status: None,
        })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// The next line of its stdout.
    pub(crate) fn line(&self) -> Result<String> {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => bail!("no line within {DEADLINE:?} from {self}"),
            Err(RecvTimeoutError::Disconnected) => {
                self.hear_out();
                bail!("no further line from {self}")
            }
        }
    }

    /// The next line of its stdout that begins with `word`; lines before it are passed over.
    pub(crate) fn line_with(&self, word: &str) -> Result<String> {
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            let line = self
                .line()
                .with_context(|| format!("waiting for `{word}`"))?;
            if line.split_whitespace().next() == Some(word) {
                return Ok(line);
            }
        }
        bail!("no line `{word} ...` within {DEADLINE:?} from {self}")
    }

    /// Writes a line to its stdin.
    pub(crate) fn send(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("stdin was closed before")?;
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .with_context(|| format!("write to {}", self.what))
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        pidfd_send_signal(&self.pidfd, signal)
            .with_context(|| format!("{signal:?} to {}", self.what))
    }

    /// Waits until it has ended and is reaped; its core, if any, is written by then.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        if !self.ended_within(DEADLINE)? {
            bail!("not ended within {DEADLINE:?}: {self}");
        }
        let status = self
            .child
            .wait()
            .with_context(|| format!("reap {}", self.what))?;
        self.status = Some(status);
        self.hear_out();
        Ok(status)
    }

    /// Until the transcript has all that it said: what it said last is why it failed.
    fn hear_out(&self) {
        self.streams.recv_timeout(LAST_WORDS).ok();
    }

    /// By its pidfd, which says nothing until it has ended. A thread that waits by `waitpid` in the meantime would be told of every ptrace stop, and take
    /// it away from a minidump writer in this process, which then waits for ever.
    fn ended_within(&self, limit: Duration) -> Result<bool> {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut wait = libc::pollfd {
                fd: self.pidfd.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one initialised pollfd, and its descriptor is open as long as `self`.
            let answer = unsafe {
                libc::poll(
                    &mut wait,
                    1,
                    i32::try_from(left.as_millis()).unwrap_or(i32::MAX),
                )
            };
            match answer {
                0 => return Ok(false),
                1.. => return Ok(true),
                _ => {
                    let error = std::io::Error::last_os_error();
                    if error.kind() != std::io::ErrorKind::Interrupted {
                        return Err(error).context("poll");
                    }
                }
            }
        }
    }

    /// Ends it by SIGKILL, as the kernel's OOM killer does, and waits.
    pub(crate) fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait()
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = self
            .transcript
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        write!(
            out,
            "{} (pid {}, {:?})\n{said}",
            self.what, self.pid, self.status
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() && pidfd_send_signal(&self.pidfd, Signal::KILL).is_ok() {
            self.wait().ok();
        }
    }
}

/// `signal 11, core dumped` or `exit 3`, for assertions that are read by people.
pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) if status.core_dumped() => format!("signal {signal}, core dumped"),
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit {code}"),
        (None, None) => format!("{status:?}"),
    }
}

fn each_line(stream: impl Read, mut take: impl FnMut(String)) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut line) {
        take(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
}

fn record(transcript: &Mutex<String>, stream: &str, line: &str) {
    let mut said = transcript.lock().unwrap_or_else(PoisonError::into_inner);
    said.push_str(&format!("  {stream}: {line}\n"));
}
