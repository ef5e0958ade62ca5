//! Why a capture was not taken, or not stored: one word for machines, the condition's `reason`, and a sentence with a remedy for people.

use std::fmt;

use crate::dotnet;
use crate::model::CrashId;
use crate::spool::ReceiveError;
use crate::telemetry::chain;

/// Longest message; the API server takes 32 KiB, a person reads less.
const MESSAGE_MAX: usize = 1_024;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident,)+) => {
        /// Why there is no capture.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $reason,)+
        }

        impl Reason {
            /// Every reason, for metrics that show zero and for the documentation.
            pub const ALL: &[Self] = &[$(Self::$reason,)+];

            /// The word in conditions and metric labels.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => stringify!($reason),)+
                }
            }
        }
    };
}

reasons! {
    /// A field says what cannot be.
    InvalidRequest,
    /// The pod, or the container, is not there or does not run.
    NotRunning,
    /// Several containers or processes run .NET: one has to be named.
    Ambiguous,
    /// The pod is not to be collected from.
    NotSelected,
    /// Another capture of the same container is under way.
    Busy,
    /// No process of the container runs .NET.
    NoRuntime,
    /// The process was told to have no diagnostic socket.
    DiagnosticsDisabled,
    /// The socket is not what it should be: a link, another's, another process's.
    UntrustedSocket,
    /// The agent may not look at the process.
    PermissionDenied,
    /// The runtime is too old for it.
    Unsupported,
    /// A program in a single file can only be dumped whole.
    SingleFile,
    /// The plan says that the process or its container would come to harm.
    WouldHarm,
    /// The node has no room for it.
    NoRoom,
    /// It became larger than was allowed.
    TooLarge,
    /// The runtime refused, and said why.
    RuntimeRefused,
    /// The process ended meanwhile.
    TargetDied,
    /// The runtime did not answer in time.
    TimedOut,
    /// It ended before its end.
    Incomplete,
    /// Whoever asked has withdrawn it.
    Cancelled,
    /// The agent was stopped meanwhile.
    AgentStopped,
    /// No agent took it on.
    NobodyTookIt,
    /// It was taken and is lost.
    Lost,
    /// Something of the node or of the agent failed.
    NodeError,
}

/// A capture that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The word.
    pub reason: Reason,
    /// The sentence.
    pub message: String,
}

impl Failure {
    /// A failure with this message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self {
            reason,
            message: message.chars().take(MESSAGE_MAX).collect(),
        }
    }

    /// With how the process fares, where that is known.
    pub(super) fn with(self, error: &dotnet::Error) -> Self {
        match error {
            dotnet::Error::DumpEnded { resumed, .. } => {
                Self::new(self.reason, format!("{}; {resumed}", self.message))
            }
            _ => self,
        }
    }

    /// The agent was stopped while this was taken.
    pub(super) fn stopped(id: CrashId) -> Self {
        Self::new(
            Reason::AgentStopped,
            format!(
                "the agent was stopped while capture {id} was taken: nothing of it is kept, and the process goes on; ask again"
            ),
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.message)
    }
}

impl std::error::Error for Failure {}

impl From<dotnet::Error> for Failure {
    fn from(error: dotnet::Error) -> Self {
        let word = error.reason();
        let named = Reason::ALL.iter().find(|reason| reason.name() == word);
        Self::new(named.copied().unwrap_or(Reason::NodeError), chain(&error))
    }
}

impl From<ReceiveError> for Failure {
    fn from(error: ReceiveError) -> Self {
        let reason = match error {
            ReceiveError::NoRoom { .. } => Reason::NoRoom,
            ReceiveError::Io(_) | ReceiveError::State(_) => Reason::NodeError,
        };
        Self::new(reason, chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_documented() {
        let documented = include_str!("../../docs/dotnet.md");
        for reason in Reason::ALL {
            let row = format!("| `{}` |", reason.name());
            assert!(documented.contains(&row), "docs/dotnet.md has no row {row}");
        }
    }

    #[test]
    fn every_word_of_the_runtimes_part_is_one_of_ours() {
        let known = |word: &str| Reason::ALL.iter().any(|reason| reason.name() == word);
        for error in [
            dotnet::Error::NoRuntime(String::new()),
            dotnet::Error::Cancelled,
            dotnet::Error::UntrustedSocket {
                pid: 1,
                why: String::new(),
            },
            dotnet::Error::TargetDied {
                pid: 1,
                during: "x",
            },
            dotnet::Error::Incomplete {
                pid: 1,
                what: String::new(),
            },
            dotnet::Error::Unsupported {
                pid: 1,
                command: "x",
            },
        ] {
            assert!(known(error.reason()), "{}", error.reason());
            assert_ne!(Failure::from(error).reason, Reason::NodeError);
        }
    }
}
