//! A snapshot of the managed heap: every object's type, size and references, without contents.
//!
//! ```text
//! session begins ─→ the runtime collects (generation 2, blocking) ─→ GCStart, BulkType…, BulkNode…, BulkEdge…, GCEnd ─→ stopped
//! ```
//!
//! Owns what is asked for, when it has all come, and the sums that a person sees at once (`heap`). What is stored is the stream itself, as nettrace; `dotnet-gcdump
//! convert` makes a `.gcdump` of it.
//!
//! The target's threads stand still while the runtime collects and walks the heap: 26 ms for 15,000 objects, a second or more for millions.
//!
//! Source: dotnet/runtime `src/coreclr/vm/ClrEtwAll.man` for the events; what runtimes do was seen on 3.1.23, 8.0.15 and 9.0.1.

mod events;
mod heap;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use heap::{Heap, TypeTotal};

use super::eventpipe::{Event, Trace, Visitor};
use super::ipc::{self, Invalid, Provider, SessionConfig, Target};
use super::profiles::RUNTIME;
use super::session::{self, Discard, Ended, Watcher, Why};
use super::{Error, Limits, Refused, Sink};
use events::HeapEvent;
use heap::Tally;

/// Buffer in the target's memory, in MB, unless asked otherwise. Nothing is sent while the heap is walked, so all of the walk must find room in it: some 50 bytes for
/// each object, 20 million bytes for 400,000. It is allocated as needed. One too small cuts the walk off, which `Heap::whole` and `Heap::lost` tell.
pub const BUFFER_MB: u32 = 256;

/// `GC`, `Type`, `GCHeapDump`, `GCHeapCollect`, `GCHeapAndTypeNames`: the last but one makes the runtime collect when the session begins.
const HEAP: u64 = 0x198_0001;
/// `GC` alone.
const GC: u64 = 1;

const VERBOSE: u8 = 5;
const INFORMATIONAL: u8 = 4;

/// How long a session must have run on .NET Core 3.1 before it tells the names of types again. 2.5 s were enough each time.
const FORGET: Duration = Duration::from_millis(2_500);

/// How long nothing more of a walk may come before it is given up. A buffer that was too small lost its end too, and the end would be waited for until the deadline.
const QUIET: Duration = Duration::from_secs(5);

/// What a snapshot came to.
#[derive(Clone, Debug)]
pub struct Taken {
    /// How the session ended: `Why::Enough` when the walk was over, or nothing more of it came for 5 s.
    pub ended: Ended,
    /// What is on the heap.
    pub heap: Heap,
}

/// Takes a snapshot of `target`'s managed heap into `sink`, with a buffer of `buffer_mb` MB in the target.
///
/// A runtime of 3.1 tells the name of each type once, and forgets that it did when a session without types has run for a while: one such session of 2.5 s goes
/// before every snapshot of it, whoever took the last. Of two snapshots at the same time, ours or another tool's, a runtime of any version may tell
/// the names to one only: `Heap::unnamed` tells.
///
/// # Errors
/// As `session::run`; it was cancelled before it began; a buffer that no session may have is a text for people in `Error::Refused`.
pub fn run(
    target: &Target,
    buffer_mb: u32,
    limits: &Limits<'_>,
    sink: &mut dyn Sink,
) -> Result<Taken, Error> {
    let refuse = |invalid: Invalid| Error::Refused(invalid.to_string());
    let wanted = config(buffer_mb).map_err(refuse)?;
    match ipc::process_info(target) {
        Err(Error::Unsupported { .. }) => {
            let forgetting = runtime(GC, INFORMATIONAL, buffer_mb).map_err(refuse)?;
            let limits = Limits {
                deadline: limits.deadline.min(Instant::now() + FORGET),
                ..*limits
            };
            session::run(target, &forgetting, &limits, &mut Discard, &mut ())?;
            // Before the target is made to stand still.
            limits.allow(0)?;
        }
        answered => {
            answered?;
        }
    }
    let mut snapshot = Snapshot::default();
    let ended = session::run(target, &wanted, limits, sink, &mut snapshot)?;
    let heap = snapshot.heap(&ended);
    Ok(Taken { ended, heap })
}

/// What a snapshot asks of a runtime.
///
/// # Errors
/// A buffer that no session may have.
pub fn config(buffer_mb: u32) -> Result<SessionConfig, Invalid> {
    runtime(HEAP, VERBOSE, buffer_mb)
}

fn runtime(keywords: u64, level: u8, buffer_mb: u32) -> Result<SessionConfig, Invalid> {
    let provider = Provider::new(RUNTIME, keywords, level, "")?;
    SessionConfig::new(buffer_mb, false, vec![provider])
}

/// How far the collection of ours is. Others may come before it, of the program's own or of another tool: only one that had the heap walked is it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Waiting,
    /// An induced, blocking collection of generation 2 has begun.
    Collecting { count: u32, since: u64 },
    /// It has ended, and took so many ticks.
    Collected { ticks: u64 },
}

/// Watches for the end of the snapshot and adds it up.
#[derive(Debug, Default)]
struct Snapshot {
    phase: Phase,
    walked: bool,
    /// A walk has begun after ours: somebody else's.
    over: bool,
    /// When the last event of a walk came.
    last: Option<Instant>,
    /// Ticks in a second.
    frequency: u64,
    tally: Tally,
}

impl Visitor for Snapshot {
    fn event(&mut self, trace: &Trace, event: &Event<'_>) {
        if &*event.kind.provider != RUNTIME {
            return;
        }
        let ticks = event.ticks;
        self.frequency = trace.frequency;
        let Some(event) = events::read(event.kind.id, event.payload, trace.pointer) else {
            return;
        };
        if let HeapEvent::Types(_) | HeapEvent::Nodes(_) | HeapEvent::Other = event {
            self.last = Some(Instant::now());
        }
        match event {
            HeapEvent::Other => {}
            HeapEvent::Start { count, is_ours } => {
                if is_ours && !self.is_done() {
                    self.phase = Phase::Collecting {
                        count,
                        since: ticks,
                    };
                }
            }
            HeapEvent::End { count: ended } => {
                if let Phase::Collecting { count, since } = self.phase
                    && count == ended
                {
                    let ticks = ticks.wrapping_sub(since);
                    self.phase = Phase::Collected { ticks };
                }
            }
            HeapEvent::Types(types) => self.tally.types(types),
            // After the end only what goes on with the same walk: events of several threads are not quite in order.
            HeapEvent::Nodes(nodes) if self.over || (nodes.index == 0 && self.is_done()) => {
                self.over = true;
            }
            HeapEvent::Nodes(nodes) => {
                self.walked = true;
                self.tally.nodes(nodes);
            }
        }
    }
}

impl Watcher for Snapshot {
    fn enough(&mut self) -> Result<bool, Refused> {
        let quiet = self.last.is_some_and(|last| last.elapsed() > QUIET);
        Ok(self.is_done() || (self.walked && quiet))
    }
}

impl Snapshot {
    fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Collected { .. }) && self.walked
    }

    fn heap(&self, ended: &Ended) -> Heap {
        let whole = self.is_done() && ended.why == Why::Enough && ended.trouble.is_none();
        let pause = match self.phase {
            Phase::Collected { ticks } if self.walked && self.frequency > 0 => {
                Duration::try_from_secs_f64(ticks as f64 / self.frequency as f64).ok()
            }
            _ => None,
        };
        Heap {
            pause,
            ..self.tally.heap(whole, ended.counts.lost)
        }
    }
}
