//! Why a capture was not taken, as conditions that an operator acts on.
//!
//! [`Error::reason`] is the word for a condition, fixed for each variant; the text names the process and the remedy. Whatever a target said is escaped and
//! bounded before it gets here.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::telemetry::chain;

/// Why a command or a capture failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no runtime to ask.
    #[error("no .NET runtime to ask: {0}")]
    NoRuntime(String),
    /// The runtime was started without diagnostics.
    #[error(
        "process {pid}: its .NET diagnostics are switched off by the variable {variable}; remove it from the container and start that anew"
    )]
    DiagnosticsDisabled {
        /// The host's number of the process.
        pid: i32,
        /// Which variable switches them off.
        variable: &'static str,
    },
    /// This runtime's version does not know the command.
    #[error("process {pid}: its .NET runtime is too old for {command}")]
    Unsupported {
        /// The host's number of the process.
        pid: i32,
        /// The command.
        command: &'static str,
    },
    /// A single-file application, of which only full dumps can be taken.
    #[error(
        "process {pid} is a single-file application, of which only a full dump can be taken; ask for one: {text}"
    )]
    SingleFile {
        /// The host's number of the process.
        pid: i32,
        /// The runtime's own text.
        text: String,
    },
    /// The process ended meanwhile.
    #[error("process {pid} ended during {during}")]
    TargetDied {
        /// The host's number of the process.
        pid: i32,
        /// What was being done.
        during: &'static str,
    },
    /// What stands where the runtime's socket should be is not that, or does not speak as one.
    #[error("process {pid}: its diagnostic socket is not to be trusted: {why}")]
    UntrustedSocket {
        /// The host's number of the process.
        pid: i32,
        /// What is wrong with it.
        why: String,
    },
    /// The agent may not do this.
    #[error("process {pid}: no permission to {what}; it needs {needs}")]
    PermissionDenied {
        /// The host's number of the process.
        pid: i32,
        /// What was refused.
        what: &'static str,
        /// What would allow it.
        needs: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The runtime answered that it could not.
    #[error("process {pid}: its .NET runtime refused {command}: {}", answer(*hresult, text))]
    RuntimeRefused {
        /// The host's number of the process.
        pid: i32,
        /// The command.
        command: &'static str,
        /// Its number for why.
        hresult: u32,
        /// Its own text, where it gave one.
        text: String,
    },
    /// It took too long.
    #[error("process {pid}: {during} took longer than {} s", limit.as_secs_f32())]
    TimedOut {
        /// The host's number of the process.
        pid: i32,
        /// What was being done or waited for.
        during: &'static str,
        /// How long it was given.
        limit: Duration,
    },
    /// The sink takes no more; its own text.
    #[error("the capture was not taken to its end: {0}")]
    Refused(String),
    /// Whoever asked for it wants it no more.
    #[error("the capture was cancelled")]
    Cancelled,
    /// It ended before it was whole.
    #[error("process {pid}: {what}")]
    Incomplete {
        /// The host's number of the process.
        pid: i32,
        /// What is missing.
        what: String,
    },
    /// The operating system refused something that has no better word above.
    #[error("process {pid}: {operation}")]
    Io {
        /// The host's number of the process.
        pid: i32,
        /// What was being done.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A dump that was ended by us, and how the target fares since.
    #[error("{}; {resumed}", chain(why.as_ref()))]
    DumpEnded {
        /// Why it was ended.
        why: Box<Error>,
        /// How the target fares.
        resumed: Resumed,
    },
}

/// How a target fares after its dump was ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// It runs again.
    After(Duration),
    /// It was still stopped when we gave up waiting.
    NotWithin(Duration),
    /// Its runtime is busy with something else and takes the dump up later. What it will open then is kept for it, and closed at once.
    Awaited,
    /// It is gone.
    Died,
}

impl Error {
    /// Whether something of the dump is still in the target: the record of its place is needed until the target has ended or a later start has tidied up.
    pub fn leaves_something(&self) -> bool {
        let Self::DumpEnded { resumed, .. } = self else {
            return false;
        };
        matches!(resumed, Resumed::NotWithin(_) | Resumed::Awaited)
    }

    /// The word for the condition that this is.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoRuntime(_) => "NoRuntime",
            Self::DiagnosticsDisabled { .. } => "DiagnosticsDisabled",
            Self::Unsupported { .. } => "Unsupported",
            Self::SingleFile { .. } => "SingleFile",
            Self::TargetDied { .. } => "TargetDied",
            Self::UntrustedSocket { .. } => "UntrustedSocket",
            Self::PermissionDenied { .. } => "PermissionDenied",
            Self::RuntimeRefused { .. } => "RuntimeRefused",
            Self::TimedOut { .. } => "TimedOut",
            Self::Refused(_) => "Refused",
            Self::Cancelled => "Cancelled",
            Self::Incomplete { .. } => "Incomplete",
            Self::Io { .. } => "Io",
            Self::DumpEnded { why, .. } => why.reason(),
        }
    }
}

impl fmt::Display for Resumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(time) => write!(f, "the process runs again after {} ms", time.as_millis()),
            Self::NotWithin(time) => write!(
                f,
                "the process was STILL STOPPED {} s later: look whether a `createdump` or a debugger holds it",
                time.as_secs()
            ),
            Self::Awaited => f.write_str(
                "its runtime has not taken the dump up yet, and lets it go as soon as it has",
            ),
            Self::Died => f.write_str("the process is gone"),
        }
    }
}

fn answer(hresult: u32, text: &str) -> String {
    let name = hresult_name(hresult);
    match text {
        "" => format!("{name} ({hresult:#010x})"),
        text => format!("{text} ({name}, {hresult:#010x})"),
    }
}

/// The runtime's numbers, of `ds-ipc.h` and `corerror.h` in dotnet/runtime.
fn hresult_name(hresult: u32) -> &'static str {
    match hresult {
        0x8013_1384 => "bad encoding",
        0x8013_1385 => "unknown command",
        0x8013_1386 => "unknown magic",
        0x8013_1515 => "not supported",
        0x8000_4005 => "it failed",
        0x8013_135b => "not yet available",
        0x8013_1371 => "the runtime is not initialised",
        0x8007_0057 => "invalid argument",
        0x8007_007a => "the buffer is too small",
        0x8000_00cb => "no such variable",
        _ => "an error without a name here",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_the_runtime_said_and_its_number() {
        let refused = |hresult, text: &str| Error::RuntimeRefused {
            pid: 7,
            command: "GenerateCoreDump3",
            hresult,
            text: text.to_owned(),
        };
        assert_eq!(
            refused(0x8000_4005, "Could not create output file").to_string(),
            "process 7: its .NET runtime refused GenerateCoreDump3: Could not create output file (it failed, 0x80004005)"
        );
        assert_eq!(
            refused(0x8013_1384, "").to_string(),
            "process 7: its .NET runtime refused GenerateCoreDump3: bad encoding (0x80131384)"
        );
    }

    #[test]
    fn a_dump_that_was_ended_keeps_its_reason_and_says_how_the_target_fares() {
        let ended = Error::DumpEnded {
            why: Box::new(Error::Refused("the quota is full".to_owned())),
            resumed: Resumed::After(Duration::from_millis(12)),
        };
        assert_eq!(ended.reason(), "Refused");
        assert!(!ended.leaves_something());
        assert_eq!(
            ended.to_string(),
            "the capture was not taken to its end: the quota is full; the process runs again after 12 ms"
        );
    }
}
