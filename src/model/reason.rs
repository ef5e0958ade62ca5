//! Why a process or container ended, as a class: small enough for a metric label and an object key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::stored_as_text;

/// The class of a crash's reason, or of a capture's. Codes and texts stay in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Reason {
    /// Ended by this signal (1 to 64).
    Signal(u8),
    /// An unhandled exception of a managed runtime.
    Exception,
    /// The kernel's out-of-memory killer.
    OomKilled,
    /// Ended by itself with a code that is not 0.
    ExitCode,
    /// SIGKILL or SIGTERM that nobody asked for, usually a probe.
    Killed,
    /// Known only from a jump of the restart count.
    Unseen,
    /// Nothing ended: taken of a living process because somebody asked.
    Capture,
    /// Nothing ended: taken of a living process because its container was about to run out of memory.
    MemoryHigh,
    /// Nothing says.
    Unknown,
}

const CLASSES: [(Reason, &str); 8] = [
    (Reason::Exception, "Exception"),
    (Reason::OomKilled, "OOMKilled"),
    (Reason::ExitCode, "ExitCode"),
    (Reason::Killed, "Killed"),
    (Reason::Unseen, "Unseen"),
    (Reason::Capture, "Capture"),
    (Reason::MemoryHigh, "MemoryHigh"),
    (Reason::Unknown, "Unknown"),
];

/// Linux's signal numbers as on x86-64 and arm64 (`signal(7)`).
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// The highest signal number of Linux.
const SIGNAL_MAX: u8 = 64;

/// The name of a signal: `SIGSEGV`, or `SIG35` for the real-time ones, whose names depend on the C library.
pub fn signal_name(number: u8) -> String {
    match SIGNALS.get(usize::from(number).wrapping_sub(1)) {
        Some(name) => (*name).to_owned(),
        None => format!("SIG{number}"),
    }
}

/// A text that names no class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a reason: use a signal's name such as SIGSEGV, or one of Exception, OOMKilled, ExitCode, Killed, Unseen, Capture, MemoryHigh, Unknown"
)]
pub struct InvalidReason(String);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(number) => f.pad(&signal_name(*number)),
            class => {
                let name = CLASSES
                    .iter()
                    .find(|(c, _)| c == class)
                    .map_or("Unknown", |(_, name)| name);
                f.pad(name)
            }
        }
    }
}

impl FromStr for Reason {
    type Err = InvalidReason;

    fn from_str(written: &str) -> Result<Self, InvalidReason> {
        let class = CLASSES
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(written))
            .map(|(class, _)| *class);
        let signal = || {
            (1..=SIGNAL_MAX)
                .find(|n| signal_name(*n).eq_ignore_ascii_case(written))
                .map(Self::Signal)
        };
        class
            .or_else(signal)
            .ok_or_else(|| InvalidReason(written.chars().take(64).collect()))
    }
}

stored_as_text!(Reason => InvalidReason);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_class_and_signal_survives_being_written_and_read() {
        let signals = (1..=SIGNAL_MAX).map(Reason::Signal);
        for reason in CLASSES.iter().map(|(class, _)| *class).chain(signals) {
            assert_eq!(reason.to_string().parse(), Ok(reason));
        }
        assert_eq!("sigsegv".parse(), Ok(Reason::Signal(11)));
        assert!("SIG65".parse::<Reason>().is_err());
        assert!("../x".parse::<Reason>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_taken_for_a_reason_is_written_as_the_same(written in "(?i)(SIG[A-Z0-9]{0,6}|[a-z]{4,9})") {
            if let Ok(reason) = written.parse::<Reason>() {
                let name = reason.to_string();
                prop_assert!(name.eq_ignore_ascii_case(&written));
                prop_assert_eq!(name.parse(), Ok(reason));
            }
        }
    }
}
