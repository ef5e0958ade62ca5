//! Traces of a living .NET process, taken over its diagnostic socket as `dotnet-trace` and its kin do.
//!
//! ```text
//! connection 1: CollectTracing2 ──→ session id, then the stream until it ends
//! connection 2: StopTracing(session) ──→ the runtime sends what is left, the end mark, and closes connection 1
//! ```
//!
//! Source: dotnet/diagnostics `documentation/design-docs/ipc-protocol.md`. A message that breaks these rules may crash the process.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::process::DEADLINE;

const MAGIC: &[u8; 14] = b"DOTNET_IPC_V1\0";
const HEADER: usize = 20;

/// Who sends events: keywords, level, name, arguments.
pub(crate) type Provider = (u64, u32, &'static str, &'static str);

/// A session that is being read.
#[derive(Debug)]
pub(crate) struct Session {
    socket: PathBuf,
    id: u64,
    stream: UnixStream,
    /// What was sent so far.
    pub(crate) trace: Vec<u8>,
}

impl Session {
    /// Begins one with the process whose socket is in `directory`, its TMPDIR; `rundown` asks for the names of all methods at the end.
    pub(crate) fn begin(
        directory: &Path,
        pid: u32,
        providers: &[Provider],
        rundown: bool,
    ) -> Result<Self> {
        const BUFFER_MB: u32 = 16;
        const NETTRACE: u32 = 1;
        let socket = socket_of(directory, pid)?;
        let mut payload = [BUFFER_MB.to_le_bytes(), NETTRACE.to_le_bytes()].concat();
        payload.push(rundown.into());
        payload.extend(u32::try_from(providers.len())?.to_le_bytes());
        for (keywords, level, name, arguments) in providers {
            payload.extend(keywords.to_le_bytes());
            payload.extend(level.to_le_bytes());
            for text in [name, arguments] {
                payload.extend(utf16(text)?);
            }
        }
        let mut stream = connect(&socket)?;
        ask(&mut stream, 3, &payload)?;
        Ok(Self {
            id: answer(&mut stream)?,
            socket,
            stream,
            trace: Vec::new(),
        })
    }

    /// Reads on until the trace has so many bytes.
    pub(crate) fn read_until(&mut self, bytes: usize) -> Result<()> {
        while self.trace.len() < bytes {
            let mut piece = [0; 4_096];
            let got = self.stream.read(&mut piece).context("read the trace")?;
            ensure!(got > 0, "it ended after {} bytes", self.trace.len());
            self.trace.extend(&piece[..got]);
        }
        Ok(())
    }

    /// Stops it and reads to its end. The answer comes when all is sent: who waits for it before reading on waits for ever.
    pub(crate) fn stop(self) -> Result<Vec<u8>> {
        let id = self.id;
        let mut other = connect(&self.socket)?;
        ask(&mut other, 1, &id.to_le_bytes())?;
        let trace = self.read_to_end()?;
        let stopped = answer(&mut other)?;
        ensure!(stopped == id, "session {stopped} was stopped, not {id}");
        Ok(trace)
    }

    /// Reads to its end, which comes with the process's if nobody stops it.
    pub(crate) fn read_to_end(mut self) -> Result<Vec<u8>> {
        self.stream.read_to_end(&mut self.trace)?;
        Ok(self.trace)
    }
}

/// Its name ends in when the process was started, in ticks since boot.
fn socket_of(directory: &Path, pid: u32) -> Result<PathBuf> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is a name in brackets, which may have spaces.
    let (_, fields) = stat.rsplit_once(')').context("a name in brackets")?;
    let started = fields.split_whitespace().nth(19).context("field 22")?;
    Ok(directory.join(format!("dotnet-diagnostic-{pid}-{started}-socket")))
}

fn connect(socket: &Path) -> Result<UnixStream> {
    let stream =
        UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    Ok(stream)
}

/// Sends a command of the set for traces.
fn ask(stream: &mut UnixStream, command: u8, payload: &[u8]) -> Result<()> {
    const EVENT_PIPE: u8 = 2;
    let size = u16::try_from(HEADER + payload.len())?;
    let mut message = MAGIC.to_vec();
    message.extend(size.to_le_bytes());
    message.extend([EVENT_PIPE, command, 0, 0]);
    message.extend(payload);
    Ok(stream.write_all(&message)?)
}

/// The session id that answers it.
fn answer(stream: &mut UnixStream) -> Result<u64> {
    const OK: [u8; 2] = [0xff, 0];
    let mut answer = [0; HEADER + 8];
    stream.read_exact(&mut answer).context("read the answer")?;
    ensure!(answer[16..18] == OK, "refused: {answer:02x?}");
    let [.., a, b, c, d, e, f, g, h] = answer;
    Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
}

/// Units with the NUL, counted in 32 bits; an empty text is none.
fn utf16(text: &str) -> Result<Vec<u8>> {
    let units: Vec<u16> = match text {
        "" => Vec::new(),
        text => text.encode_utf16().chain([0]).collect(),
    };
    let mut bytes = u32::try_from(units.len())?.to_le_bytes().to_vec();
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    Ok(bytes)
}
