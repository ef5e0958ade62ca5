//! What is asked of a runtime, and its bytes.
//!
//! Every value that goes into a message was checked when it was made, so that encoding cannot fail, and cannot make a message that ends a runtime.

use crate::model::DumpType;

use super::{DumpPath, SessionConfig};

/// Length of a header.
pub(super) const HEADER: usize = 20;
/// The header's size field has 16 bits.
pub(super) const MESSAGE_MAX: usize = u16::MAX as usize;

pub(super) const MAGIC: &[u8; 14] = b"DOTNET_IPC_V1\0";

/// A command and all it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// What the process is.
    ProcessInfo(InfoCommand),
    /// A dump of the process into a file at a path of its own.
    GenerateCoreDump {
        /// Which of the commands for it.
        command: DumpCommand,
        /// Where.
        path: &'a DumpPath,
        /// How much of it.
        dump_type: DumpType,
    },
    /// An event session whose events follow on the same connection, as nettrace.
    CollectTracing2(&'a SessionConfig),
    /// The end of a session.
    StopTracing(SessionId),
}

/// A session, as its runtime counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId(pub(super) u64);

/// The commands that say what a process is, of which each says what the one before does and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InfoCommand {
    /// Since .NET 8: the runtime identifier besides.
    Third,
    /// Since .NET 6: the entry assembly and the runtime's version besides.
    Second,
    /// Since .NET 5.
    First,
}

/// The commands for a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpCommand {
    /// Since .NET 7: says in words why there is no dump.
    Third,
    /// Since .NET 6.
    Second,
    /// Since .NET Core 3.0.
    First,
}

impl SessionId {
    /// A session by the number that a runtime gave it.
    pub fn new(number: u64) -> Self {
        Self(number)
    }
}

impl InfoCommand {
    /// From the newest to the oldest.
    pub const ALL: [Self; 3] = [Self::Third, Self::Second, Self::First];

    const fn id(self) -> u8 {
        match self {
            Self::First => 0,
            Self::Second => 4,
            Self::Third => 8,
        }
    }
}

impl DumpCommand {
    /// From the newest to the oldest.
    pub const ALL: [Self; 3] = [Self::Third, Self::Second, Self::First];

    const fn id(self) -> u8 {
        match self {
            Self::First => 1,
            Self::Second => 2,
            Self::Third => 3,
        }
    }
}

impl Request<'_> {
    /// Its name in the specification.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ProcessInfo(InfoCommand::First) => "ProcessInfo",
            Self::ProcessInfo(InfoCommand::Second) => "ProcessInfo2",
            Self::ProcessInfo(InfoCommand::Third) => "ProcessInfo3",
            Self::GenerateCoreDump { command, .. } => match command {
                DumpCommand::First => "GenerateCoreDump",
                DumpCommand::Second => "GenerateCoreDump2",
                DumpCommand::Third => "GenerateCoreDump3",
            },
            Self::CollectTracing2(_) => "CollectTracing2",
            Self::StopTracing(_) => "StopTracing",
        }
    }

    /// The whole message.
    pub fn encode(&self) -> Vec<u8> {
        let (set, command) = match self {
            Self::GenerateCoreDump { command, .. } => (1, command.id()),
            Self::StopTracing(_) => (2, 1),
            Self::CollectTracing2(_) => (2, 3),
            Self::ProcessInfo(command) => (4, command.id()),
        };
        let mut message = MAGIC.to_vec();
        message.extend([0, 0, set, command, 0, 0]);
        match self {
            Self::ProcessInfo(_) => {}
            Self::GenerateCoreDump {
                path, dump_type, ..
            } => {
                put_string(&mut message, path.written());
                put_u32(&mut message, type_number(*dump_type));
                // The same four bytes to all three commands: no logging into the target's output, and no crash report beside the dump.
                put_u32(&mut message, 0);
            }
            Self::CollectTracing2(config) => put_session(&mut message, config),
            Self::StopTracing(session) => message.extend(session.0.to_le_bytes()),
        }
        // A path has at most 4,095 bytes and a session was measured, so it always fits; what would not is never sent cut.
        let size =
            u16::try_from(message.len()).unwrap_or_else(|_| unreachable!("a measured message"));
        message[MAGIC.len()..][..2].copy_from_slice(&size.to_le_bytes());
        message
    }
}

/// The runtime's numbers; others than these four make it fail.
const fn type_number(dump_type: DumpType) -> u32 {
    match dump_type {
        DumpType::Mini => 1,
        DumpType::Heap => 2,
        DumpType::Triage => 3,
        DumpType::Full => 4,
    }
}

fn put_session(message: &mut Vec<u8>, config: &SessionConfig) {
    /// Nettrace; the only format that there is besides the old one of 3.0.
    const NETTRACE: u32 = 1;
    put_u32(message, config.buffer_mb());
    put_u32(message, NETTRACE);
    message.push(config.rundown().into());
    put_count(message, config.providers().len());
    for provider in config.providers() {
        message.extend(provider.keywords().to_le_bytes());
        put_u32(message, provider.level().into());
        put_string(message, provider.name());
        put_string(message, provider.arguments());
    }
}

fn put_u32(message: &mut Vec<u8>, value: u32) {
    message.extend(value.to_le_bytes());
}

fn put_count(message: &mut Vec<u8>, count: usize) {
    // Counted in a message that was measured to have at most 65,535 bytes.
    put_u32(
        message,
        u32::try_from(count).unwrap_or_else(|_| unreachable!("a measured count")),
    );
}

/// A string: its UTF-16 units counted with the NUL at its end, then they. An empty one is a null: count 0 and nothing behind it.
fn put_string(message: &mut Vec<u8>, text: &str) {
    if text.is_empty() {
        return put_u32(message, 0);
    }
    put_count(message, text.encode_utf16().count() + 1);
    for unit in text.encode_utf16().chain([0]) {
        message.extend(unit.to_le_bytes());
    }
}

/// How many bytes a string takes in a message.
pub(super) fn string_bytes(text: &str) -> usize {
    match text {
        "" => 4,
        text => 4 + 2 * (text.encode_utf16().count() + 1),
    }
}

#[cfg(test)]
mod tests;
