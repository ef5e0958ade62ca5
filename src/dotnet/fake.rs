//! A runtime that is not there: a process of a made-up proc file system, with our number, 7 in its container, and a socket under its runtime's name at which
//! tests answer.

use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use super::find;
use super::ipc::Target;

static STARTS: AtomicU64 = AtomicU64::new(100_000);

/// What every message begins with.
pub(super) const HEAD: &str = "444f544e45545f4950435f563100";
/// What is answered to a command that a runtime is too old for.
pub(super) const UNKNOWN: &str = "1800 ff ff 0000 85131380";

/// What a server does with one connection.
pub(super) enum Answer {
    /// These bytes, after the usual beginning of a header.
    Say(&'static str),
    /// The same, a byte at a time.
    Dribble(&'static str),
    /// Bytes as they are.
    Raw(Vec<u8>),
    /// Hangs up.
    Nothing,
}

/// A proc file system with this process in it, whose root has a socket under the runtime's name.
pub(super) struct Fake {
    start: u64,
    temp: tempfile::TempDir,
    pub(super) listener: UnixListener,
}

impl Fake {
    pub(super) fn new() -> Self {
        let temp = tempfile::tempdir().expect("temp dir");
        let us = std::process::id();
        let process = temp.path().join(format!("proc/{us}"));
        std::fs::create_dir_all(&process).expect("proc");
        std::fs::create_dir_all(temp.path().join("root/tmp")).expect("root");
        symlink(temp.path().join("root"), process.join("root")).expect("root");
        // One of its own each, as their turns are.
        let start = STARTS.fetch_add(2, Ordering::Relaxed);
        for (name, text) in [
            ("status", "Name:\tit\nNSpid:\t7\n"),
            ("environ", "A=1\0"),
            ("maps", ""),
        ] {
            std::fs::write(process.join(name), text).expect("write");
        }
        write_stat(&process, start);
        let socket = format!("root/tmp/dotnet-diagnostic-7-{start}-socket");
        let socket = temp.path().join(socket);
        let listener = UnixListener::bind(socket).expect("bind");
        Self {
            start,
            temp,
            listener,
        }
    }

    /// A path of the process's as we have it.
    pub(super) fn inside(&self, path: &str) -> PathBuf {
        self.temp.path().join("root").join(path)
    }

    /// From now on the number is that of another process.
    pub(super) fn start_another(&self) {
        let us = std::process::id();
        write_stat(&self.proc().join(us.to_string()), self.start + 1);
    }

    /// A proc file system.
    pub(super) fn proc(&self) -> PathBuf {
        self.temp.path().join("proc")
    }

    /// The process, found.
    pub(super) fn target(&self) -> Target {
        target_in(&self.proc())
    }

    /// Answers so many connections that say something, and gives back what they said.
    pub(super) fn serve(&self, answers: Vec<Answer>) -> JoinHandle<Vec<Vec<u8>>> {
        let listener = self.listener.try_clone().expect("clone");
        std::thread::spawn(move || {
            answers
                .into_iter()
                .map(|answer| {
                    let (mut stream, message) = next_message(&listener);
                    let bytes = match answer {
                        Answer::Say(bytes) | Answer::Dribble(bytes) => {
                            hex(&format!("{HEAD}{bytes}"))
                        }
                        Answer::Raw(ref bytes) => bytes.clone(),
                        Answer::Nothing => Vec::new(),
                    };
                    let step = if matches!(answer, Answer::Dribble(_)) {
                        1
                    } else {
                        usize::MAX
                    };
                    for part in bytes.chunks(step.min(bytes.len().max(1))) {
                        stream.write_all(part).expect("answer");
                    }
                    message
                })
                .collect()
        })
    }
}

/// The next connection that says something, and what. One that looks who listens says nothing, as a search does; it is passed over.
pub(super) fn next_message(listener: &UnixListener) -> (UnixStream, Vec<u8>) {
    loop {
        let (mut stream, _) = listener.accept().expect("accept");
        let mut message = vec![0; 20];
        if stream.read_exact(&mut message).is_ok() {
            let size = usize::from(u16::from_le_bytes([message[14], message[15]]));
            message.resize(size, 0);
            stream
                .read_exact(&mut message[20..])
                .expect("the whole message");
            return (stream, message);
        }
    }
}

fn write_stat(process: &Path, start: u64) {
    let stat = format!("{} (it) S {}{start} 0", std::process::id(), "0 ".repeat(18));
    std::fs::write(process.join("stat"), stat).expect("write");
}

fn target_in(proc: &Path) -> Target {
    let us = i32::try_from(std::process::id()).expect("a pid");
    let process = find::process(proc, us).expect("a process");
    find::inspect(proc, &process).target(us).expect("a target")
}

/// Bytes of hexadecimal digits with blanks among them.
pub(super) fn hex(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).expect("hex")
}
