//! What a capture will cost its target, and whether it may be taken at all. Pure: asked before the target is touched.
//!
//! Owns the estimates and the concerns. Leaves to its callers: reading the process, the pod's probe and the spool, and telling people. Every estimate errs on
//! the side of the target: too long a pause, too many bytes. With more memory in use a verdict never becomes milder.
//!
//! The figures were measured with .NET 8.0.15 on two busy CPUs:
//!
//! | process | RssAnon | mini | triage | heap | full | gcdump |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | 1,000 objects | 2.7 MB | 5.8 MB, 0.45 s | 5.8 MB, 0.45 s | 71 MB, 0.66 s | 109 MB, 0.75 s | |
//! | 200,000 objects | 10 MB | | | | | 8.8 MB, 0.1 s |
//! | 4,000,000 objects of 32 bytes | 160 MB | | | | | 176 MB, 1.0 s; the process took 205 MB more |
//! | 8,000,000 objects | 318 MB | 5.9 MB, 0.47 s | 5.8 MB, 0.48 s | 421 MB, 3.3 s | 459 MB, 1.6 s | |

mod concern;
mod speed;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use concern::{Concern, Trouble};
pub use speed::Speed;

use crate::model::{CaptureKind, DumpType};

const MIB: u64 = 1 << 20;

/// What is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A memory image.
    Dump(DumpType),
    /// The objects of the managed heap.
    Gcdump,
    /// Events, for this long.
    Trace(Duration),
    /// Values, for this long.
    Counters(Duration),
}

/// What the kernel says of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// `VmRSS`, in bytes.
    pub rss: u64,
    /// `RssAnon`, in bytes: memory that is in no file.
    pub rss_anon: u64,
    /// `VmSize`, in bytes: all that is mapped.
    pub vm_size: u64,
    /// Its threads.
    pub threads: u32,
}

/// The container's liveness probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// From one probe to the next.
    pub period: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// After so many failures in a row the container is killed; Kubernetes allows no 0.
    pub failure_threshold: u32,
}

/// What is known before a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to be taken.
    pub subject: Subject,
    /// The process.
    pub process: Process,
    /// How fast dumps are taken on this node.
    pub dump_speed: Speed,
    /// How fast the runtime walks a heap on this node, by the bytes of `RssAnon`.
    pub heap_walk_speed: Speed,
    /// The liveness probe of its container, if there is one.
    pub probe: Option<Probe>,
    /// The container's working set in bytes: what the kernel cannot take back from it. Absent where its cgroup cannot be read.
    pub memory_used: Option<u64>,
    /// The container's limit, if it has one.
    pub memory_limit: Option<u64>,
    /// The buffer that the runtime is to have for events, in MB. It is the target's memory.
    pub buffer_mb: u32,
    /// What the spool can still take.
    pub room: u64,
    /// Most bytes of the capture.
    pub max_bytes: u64,
    /// Whether it is to be taken in spite of what speaks against it.
    pub force: bool,
}

/// What a capture will cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// How long the process stands still.
    pub pause: Duration,
    /// How much there will be to store, before compression.
    pub bytes: u64,
    /// How much more memory the container will use meanwhile.
    pub memory: u64,
}

/// Whether it may be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing speaks against it.
    Go,
    /// It is taken, and whoever asked is told this.
    Warn(Vec<Concern>),
    /// It is not taken, for this. Those that are reason enough come first.
    Refuse(Vec<Concern>),
}

/// What comes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What it will cost.
    pub estimate: Estimate,
    /// Whether it may be taken.
    pub verdict: Verdict,
}

impl Subject {
    /// Its kind.
    pub const fn kind(self) -> CaptureKind {
        match self {
            Self::Dump(_) => CaptureKind::Dump,
            Self::Gcdump => CaptureKind::Gcdump,
            Self::Trace(_) => CaptureKind::Trace,
            Self::Counters(_) => CaptureKind::Counters,
        }
    }

    /// What answers some of the same questions and costs less, the most telling first. What a gcdump leaves out nothing smaller has.
    const fn smaller(self) -> &'static [Self] {
        match self {
            Self::Dump(DumpType::Full) => &[
                Self::Dump(DumpType::Heap),
                Self::Gcdump,
                Self::Dump(DumpType::Mini),
            ],
            Self::Dump(DumpType::Heap) => &[Self::Gcdump, Self::Dump(DumpType::Mini)],
            Self::Dump(DumpType::Mini | DumpType::Triage)
            | Self::Gcdump
            | Self::Trace(_)
            | Self::Counters(_) => &[],
        }
    }
}

impl Probe {
    /// The shortest time without an answer after which the kubelet kills the container.
    ///
    /// The worst case begins with a probe that is sent as the process stops: it fails after `timeout`, and so does each that follows, one every `period`. The
    /// last that counts is sent `period * (failure_threshold - 1)` after the first, and fails a `timeout` later. A process that goes on before that answers
    /// it in time. Taken for granted: no probe had failed before, and one that the process was about to answer is no failure.
    pub fn allowed(&self) -> Duration {
        let later = self.failure_threshold.saturating_sub(1);
        self.period
            .saturating_mul(later)
            .saturating_add(self.timeout)
    }

    /// The threshold with which the process may stand still for `pause`.
    fn threshold_for(&self, pause: Duration) -> u64 {
        let period = self.period.as_millis().max(1);
        let beyond = pause.saturating_sub(self.timeout).as_millis();
        // One more than the periods that are over by then: what is just enough is not enough.
        u64::try_from(beyond / period)
            .unwrap_or(u64::MAX)
            .saturating_add(2)
    }
}

impl Verdict {
    /// Whether it may be taken.
    pub const fn allows(&self) -> bool {
        !matches!(self, Self::Refuse(_))
    }

    /// What speaks against it.
    pub fn concerns(&self) -> &[Concern] {
        match self {
            Self::Go => &[],
            Self::Warn(concerns) | Self::Refuse(concerns) => concerns,
        }
    }
}

/// What a request will cost, and whether it may be taken.
pub fn plan(request: &Request) -> Plan {
    let mut concerns = troubles(request);
    for concern in &mut concerns {
        concern.instead = instead(request, concern);
    }
    concerns.sort_by_key(|concern| !concern.refuses);
    let verdict = match concerns.first() {
        None => Verdict::Go,
        Some(first) if first.refuses => Verdict::Refuse(concerns),
        Some(_) => Verdict::Warn(concerns),
    };
    Plan {
        estimate: estimate(request),
        verdict,
    }
}

/// The most telling smaller capture that would not meet with the same trouble.
fn instead(request: &Request, concern: &Concern) -> Option<Subject> {
    let is_free = |smaller: &Subject| {
        let asked = Request {
            subject: *smaller,
            force: false,
            ..*request
        };
        let mut troubles = troubles(&asked).into_iter();
        !troubles.any(|other| other.refuses || other.trouble.is_like(&concern.trouble))
    };
    request.subject.smaller().iter().copied().find(is_free)
}

/// What it will cost.
pub fn estimate(request: &Request) -> Estimate {
    let process = &request.process;
    let whole = whole_bytes(request.subject, process);
    let (pause, memory) = match request.subject {
        Subject::Dump(_) => (
            STOPPING
                .saturating_add(STOPPING_A_THREAD.saturating_mul(process.threads))
                .saturating_add(request.dump_speed.time_for(whole)),
            CREATEDUMP,
        ),
        Subject::Gcdump => (
            COLLECTING.saturating_add(request.heap_walk_speed.time_for(process.rss_anon)),
            // What the collection takes besides: 29 and 32 MB of 160 MB.
            buffer(request)
                .min(whole)
                .saturating_add(process.rss_anon / 5),
        ),
        Subject::Trace(_) | Subject::Counters(_) => (Duration::ZERO, buffer(request)),
    };
    let bytes = match request.subject {
        // These end in good order when they have reached their size.
        Subject::Trace(_) | Subject::Counters(_) => whole.min(request.max_bytes),
        Subject::Dump(_) => whole,
        // What does not fit the buffer is lost.
        Subject::Gcdump => whole.min(buffer(request).saturating_add(16 * MIB)),
    };
    Estimate {
        pause,
        bytes,
        memory,
    }
}

/// `createdump` starts, reads the maps and lets go again: 0.2 s on an idle machine, 0.45 s on a busy one.
const STOPPING: Duration = Duration::from_millis(500);

/// Each thread is attached, read and let go.
const STOPPING_A_THREAD: Duration = Duration::from_millis(1);

/// A collection that finds nothing.
const COLLECTING: Duration = Duration::from_millis(100);

/// `createdump` has 13 MB at the most and is in the container's cgroup; so is the pipe of 1 MiB.
const CREATEDUMP: u64 = 13_000_000 + MIB;

fn buffer(request: &Request) -> u64 {
    u64::from(request.buffer_mb).saturating_mul(MIB)
}

/// How large it will be if nothing bounds it.
fn whole_bytes(subject: Subject, process: &Process) -> u64 {
    // A process cannot have more memory than is mapped; what says so was read a moment later.
    let anon = process.rss_anon.min(process.rss);
    let files = process.rss - anon;
    let mini = (8 * MIB).saturating_add(u64::from(process.threads).saturating_mul(MIB / 8));
    // Memory that the heap has reserved for soon is in the dump although it is in no memory yet.
    let heap = anon
        .saturating_add(anon / 8)
        .saturating_add(80 * MIB)
        .max(mini);
    match subject {
        Subject::Dump(DumpType::Mini | DumpType::Triage) => mini,
        Subject::Dump(DumpType::Heap) => heap.min(process.vm_size.max(mini)),
        Subject::Dump(DumpType::Full) => {
            // Files that are mapped are in it whole, whether they have been read or not.
            let full = heap
                .saturating_add(files.saturating_mul(2))
                .saturating_add(16 * MIB);
            full.min(process.vm_size.max(mini))
        }
        // 44 bytes for an object without references, whatever its size, and the smallest objects have 24 to 32 bytes.
        Subject::Gcdump => anon.saturating_add(anon / 8).saturating_add(MIB),
        // The methods that are known at the end, and samples of each thread.
        Subject::Trace(time) => {
            let a_second = MIB.max(u64::from(process.threads).saturating_mul(64 << 10));
            (16 * MIB).saturating_add(over(time, a_second))
        }
        // 30 counters of 300 bytes each second.
        Subject::Counters(time) => MIB.saturating_add(over(time, 16 << 10)),
    }
}

fn over(time: Duration, a_second: u64) -> u64 {
    time.as_secs().saturating_add(1).saturating_mul(a_second)
}

/// What speaks against it, without what to take instead.
fn troubles(request: &Request) -> Vec<Concern> {
    let estimate = estimate(request);
    let subject = request.subject;
    let mut concerns = Vec::new();
    let mut add = |trouble, severe: bool| {
        // Nothing makes room where there is none.
        let refuses = severe && (!request.force || matches!(trouble, Trouble::Room { .. }));
        concerns.push(Concern {
            subject,
            trouble,
            refuses,
            instead: None,
        });
    };
    if let Some(probe) = request.probe {
        let allowed = probe.allowed();
        let pause = estimate.pause;
        let trouble = |enough| Trouble::Pause {
            pause,
            allowed,
            probe,
            threshold: probe.threshold_for(enough),
        };
        // Estimates are wrong by less than that.
        let twice = pause.saturating_mul(2);
        if pause >= allowed {
            add(trouble(pause), true);
        } else if twice >= allowed {
            add(trouble(twice), false);
        }
    }
    if let (Some(used), Some(limit)) = (request.memory_used, request.memory_limit) {
        let then = used.saturating_add(estimate.memory);
        let trouble = Trouble::Memory {
            needed: estimate.memory,
            used,
            limit,
        };
        if then >= limit {
            add(trouble, true);
        } else if then >= limit - limit / 20 {
            add(trouble, false);
        }
    }
    let walked = whole_bytes(subject, &request.process);
    if subject == Subject::Gcdump && walked > buffer(request) {
        // By its estimate, which is that of a heap of very small objects.
        add(
            Trouble::Buffer {
                bytes: walked,
                buffer: buffer(request),
            },
            false,
        );
    }
    if estimate.bytes > request.max_bytes {
        add(
            Trouble::TooLarge {
                bytes: estimate.bytes,
                most: request.max_bytes,
            },
            true,
        );
    }
    if estimate.bytes > request.room {
        add(
            Trouble::Room {
                bytes: estimate.bytes,
                room: request.room,
            },
            true,
        );
    }
    concerns
}
