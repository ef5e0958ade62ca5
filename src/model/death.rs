//! The end of a container's start that is a crash, whatever it left.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Container, CrashId, Evidence, Pod, Terminated};

/// One start of a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Start {
    /// UID of the pod.
    pub uid: String,
    /// Name of the container.
    pub container: String,
    /// The number of the start, from 0.
    pub number: u32,
}

/// The end of a start, or of several that no status showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Death {
    /// The start that ended; the last of them.
    pub start: Start,
    /// The pod, as the manifest says it.
    pub pod: Pod,
    /// The container, as the manifest says it.
    pub container: Container,
    /// How it ended; absent where no status showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminated: Option<Terminated>,
    /// How many ends these are.
    pub count: u32,
    /// When the agent heard of it.
    pub seen: Timestamp,
    /// Whether some source would have shown a dump of this container.
    pub has_source: bool,
}

/// The last lines that a container wrote.
#[derive(Clone, Debug)]
pub struct LastLines {
    /// The lines, each with its time.
    pub text: Vec<u8>,
    /// The file of the node that the last of them are from.
    pub path: PathBuf,
    /// Whether the container wrote no more than these.
    pub whole: bool,
}

/// What the runtime says of a start that the kernel's out-of-memory killer ended.
const OOM_KILLED: &str = "OOMKilled";

impl Death {
    /// Whether the kernel's out-of-memory killer ended it.
    pub fn oom_killed(&self) -> bool {
        let reason = self
            .terminated
            .as_ref()
            .and_then(|end| end.reason.as_deref());
        reason == Some(OOM_KILLED)
    }

    /// What it says of whose crash it is.
    pub fn evidence(&self) -> Evidence {
        let how = match &self.terminated {
            Some(end) => format!("ended with code {}", end.exit_code),
            None => format!("{} ends nobody saw", self.count),
        };
        Evidence {
            source: "termination".into(),
            says: format!(
                "container {}, start {}, {how}",
                self.start.container, self.start.number
            ),
            trusted: true,
        }
    }

    /// When it ended, as well as it is known.
    pub fn time(&self) -> Timestamp {
        let told = self.terminated.as_ref().and_then(|end| end.finished_at);
        told.unwrap_or(self.seen)
    }
}

impl Start {
    /// The id of its crash at `time`, the same whenever it is asked for: who meets a death again, meets its crash.
    pub fn crash_id(&self, cluster: &str, time: Timestamp) -> CrashId {
        let Self {
            uid,
            container,
            number,
        } = self;
        CrashId::of_text(time, &format!("{cluster}\0{uid}\0{container}\0{number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_has_one_crash_and_another_start_another() {
        let time: Timestamp = "2026-11-20T21:35:22Z".parse().expect("time");
        let start = Start {
            uid: "29f83447-5763-4bfc-bc67-90e7a1524d07".into(),
            container: "api".into(),
            number: 3,
        };
        let id = start.crash_id("prod", time);
        assert_eq!(start.crash_id("prod", time), id);
        assert_eq!(id.time(), time);
        assert_ne!(start.crash_id("test", time), id);
        let next = Start {
            number: 4,
            ..start.clone()
        };
        assert_ne!(next.crash_id("prod", time), id);
        let other = Start {
            container: "ap".into(),
            ..start
        };
        assert_ne!(other.crash_id("prod", time), id);
    }
}
