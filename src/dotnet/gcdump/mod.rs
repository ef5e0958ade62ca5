//! A snapshot of the managed heap: every object's type, size and references, without contents.
//!
//! ```text
//! session begins ─→ the runtime collects (generation 2, blocking) ─→ GCStart, BulkType…, BulkNode…, BulkEdge…, GCEnd ─→ stopped
//! ```
//!
//! Owns what is asked for, when it has all come, and the sums that a person sees at once (`heap`). What is stored is the stream itself, as nettrace; `dotnet-gcdump
//! convert` makes a `.gcdump` of it.
//!
//! The target's threads stand still while the runtime collects and walks the heap: 26 ms for 15,000 objects, seconds for a heap of gigabytes.
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

/// Buffer in the target's memory, in MB, unless asked otherwise. The runtime sends while it walks, so a large heap needs no buffer of its size; `Heap::lost` tells when one was too small.
pub const BUFFER_MB: u32 = 64;

/// `GC`, `Type`, `GCHeapDump`, `GCHeapCollect`, `GCHeapAndTypeNames`: the last but one makes the runtime collect when the session begins.
const HEAP: u64 = 0x198_0001;
/// `GC` alone.
const GC: u64 = 1;

const VERBOSE: u8 = 5;
const INFORMATIONAL: u8 = 4;

/// How long a session must have run on .NET Core 3.1 before it tells the names of types again. 2.5 s were enough each time.
const FORGET: Duration = Duration::from_millis(2_500);

/// What a snapshot came to.
#[derive(Clone, Debug)]
pub struct Taken {
    /// How the session ended: `Why::Enough` when the whole heap was sent.
    pub ended: Ended,
    /// What is on the heap.
    pub heap: Heap,
}

/// Takes a snapshot of `target`'s managed heap into `sink`, with a buffer of `buffer_mb` MB in the target.
///
/// A runtime of 3.1 tells the name of each type once, and forgets that it did when a session without types has run for a while: one such session of 2.5 s goes
/// before every snapshot of it, whoever took the last.
///
/// # Errors
/// As `session::run`; a buffer that no session may have is a text for people in `Error::Refused`.
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
    Collecting { count: u32 },
    /// It has ended.
    Collected,
}

/// Watches for the end of the snapshot and adds it up.
#[derive(Debug, Default)]
struct Snapshot {
    phase: Phase,
    walked: bool,
    tally: Tally,
}

impl Visitor for Snapshot {
    fn event(&mut self, trace: &Trace, event: &Event<'_>) {
        if &*event.kind.provider != RUNTIME {
            return;
        }
        let Some(event) = events::read(event.kind.id, event.payload, trace.pointer) else {
            return;
        };
        match event {
            HeapEvent::Start { count, is_ours } => {
                if is_ours && !self.is_done() {
                    self.phase = Phase::Collecting { count };
                }
            }
            HeapEvent::End { count } => {
                if self.phase == (Phase::Collecting { count }) {
                    self.phase = Phase::Collected;
                }
            }
            HeapEvent::Types(types) => self.tally.types(types),
            // After the end only what goes on with the same walk: events of several threads are not quite in order.
            HeapEvent::Nodes(nodes) if nodes.index == 0 && self.is_done() => {}
            HeapEvent::Nodes(nodes) => {
                self.walked = true;
                self.tally.nodes(nodes);
            }
        }
    }
}

impl Watcher for Snapshot {
    fn enough(&mut self) -> Result<bool, Refused> {
        Ok(self.is_done())
    }
}

impl Snapshot {
    fn is_done(&self) -> bool {
        self.phase == Phase::Collected && self.walked
    }

    fn heap(&self, ended: &Ended) -> Heap {
        let whole = self.is_done() && ended.why == Why::Enough && ended.trouble.is_none();
        self.tally.heap(whole, ended.counts.lost)
    }
}
