//! What speaks against a capture, in words: the numbers, and what to do.

use std::fmt;
use std::time::Duration;

use super::{Probe, Subject};
use crate::model::ByteSize;

/// Something that speaks against a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    pub(super) subject: Subject,
    pub(super) trouble: Trouble,
    pub(super) refuses: bool,
    pub(super) instead: Option<Subject>,
}

impl Concern {
    /// Whether it is that it would be larger than it may.
    pub const fn is_of_size(&self) -> bool {
        matches!(self.trouble, Trouble::TooLarge { .. })
    }

    /// Whether it is that there is no room on the node.
    pub const fn is_of_room(&self) -> bool {
        matches!(self.trouble, Trouble::Room { .. })
    }
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The process stands still for so long that the kubelet may kill its container.
    Pause {
        /// For how long it stands still.
        pause: Duration,
        /// For how long it may.
        allowed: Duration,
        /// By which probe.
        probe: Probe,
        /// The failure threshold with which it might.
        threshold: u64,
    },
    /// The container may reach its memory limit.
    Memory {
        /// What the capture needs.
        needed: u64,
        /// What is in use.
        used: u64,
        /// What may be.
        limit: u64,
    },
    /// The runtime may drop events: it sends none while it walks the heap, so what does not fit its buffer is lost (65 of 176 MB with a buffer of 64 MB).
    Buffer {
        /// What there may be to say.
        bytes: u64,
        /// What the runtime can hold.
        buffer: u64,
    },
    /// It is larger than it may be.
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The most it may have.
        most: u64,
    },
    /// The spool has no room for it.
    Room {
        /// Its size.
        bytes: u64,
        /// What there is.
        room: u64,
    },
}

impl Trouble {
    /// Whether it is the same, with other numbers.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// One word for it, as Kubernetes has reasons.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Pause { .. } => "PauseTooLong",
            Self::Memory { .. } => "MemoryTooTight",
            Self::Buffer { .. } => "BufferTooSmall",
            Self::TooLarge { .. } => "TooLarge",
            Self::Room { .. } => "SpoolFull",
        }
    }
}

impl Concern {
    /// What it is.
    pub const fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// Whether it is reason enough not to take the capture.
    pub const fn refuses(&self) -> bool {
        self.refuses
    }

    /// The smaller capture that would not meet with it.
    pub const fn instead(&self) -> Option<Subject> {
        self.instead
    }
}

/// A subject with its article: `a heap dump`.
struct Named(Subject);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Subject::Dump(kind) => write!(f, "a {kind} dump"),
            Subject::Gcdump => f.write_str("a gcdump"),
            Subject::Trace(_) => f.write_str("a trace"),
            Subject::Counters(_) => f.write_str("counters"),
        }
    }
}

/// A time for people: `0.6 s`, `23 s`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(10) && self.0.subsec_millis() != 0 {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        } else {
            write!(f, "{} s", self.0.as_secs())
        }
    }
}

fn size(bytes: u64) -> String {
    ByteSize::new(bytes).rounded()
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = Named(self.subject);
        // What is certain enough to refuse by will happen; else it may.
        let (remedy, severe) = match self.trouble {
            Trouble::Pause {
                pause,
                allowed,
                probe,
                threshold,
            } => {
                write!(
                    f,
                    "{what} makes the process stand still for about {}, and the kubelet kills the container after {} without an answer (liveness probe: period {}, timeout {}, failureThreshold {}): {}",
                    Seconds(pause),
                    Seconds(allowed),
                    Seconds(probe.period),
                    Seconds(probe.timeout),
                    probe.failure_threshold,
                    if pause >= allowed {
                        "the container would be killed, and the capture cut"
                    } else {
                        "that is close"
                    }
                )?;
                (
                    format!("set failureThreshold to {threshold} or more"),
                    pause >= allowed,
                )
            }
            Trouble::Memory {
                needed,
                used,
                limit,
            } => {
                write!(
                    f,
                    "{what} needs about {} of the container's memory, of which {} are in use and {} allowed: the kernel might kill the process",
                    size(needed),
                    size(used),
                    size(limit)
                )?;
                (
                    "raise the container's memory limit".to_owned(),
                    used.saturating_add(needed) >= limit,
                )
            }
            Trouble::Buffer { bytes, buffer } => {
                write!(
                    f,
                    "{what} may be {} of events, and the runtime holds {}: of a heap of many small objects it drops the rest",
                    size(bytes),
                    size(buffer)
                )?;
                ("take a heap dump to be sure".to_owned(), false)
            }
            Trouble::TooLarge { bytes, most } => {
                write!(
                    f,
                    "{what} is about {}, and this capture may have {}: it would be cut",
                    size(bytes),
                    size(most)
                )?;
                ("allow more with maxBytes".to_owned(), true)
            }
            Trouble::Room { bytes, room } => {
                write!(
                    f,
                    "{what} is about {}, and the spool on the node has room for {}",
                    size(bytes),
                    size(room)
                )?;
                (
                    "wait until what it holds is stored, or raise spool.max_use".to_owned(),
                    true,
                )
            }
        };
        f.write_str("; ")?;
        if let Some(instead) = self.instead {
            write!(f, "take {} instead, or ", Named(instead))?;
        }
        f.write_str(&remedy)?;
        if severe && self.refuses && !matches!(self.trouble, Trouble::Room { .. }) {
            f.write_str(", or force it")?;
        }
        Ok(())
    }
}
