//! `EventPipe` streams as they flow by: a decoder that is pushed bytes in pieces of any size.
//!
//! ```text
//! bytes ─→ container (objects, blocks) ─→ kinds (metadata blocks)
//!                                      └→ events (event blocks) ─→ Visitor: kind, time, thread, payload
//! ```
//!
//! Owns the container of version 4 and 5, which .NET Core 3.1 to .NET 10 send when asked by `CollectTracing2`; the heads of events in both
//! forms; the descriptions of events and of their fields. Leaves to its callers what an event means.
//!
//! The raw bytes are what is stored; this only watches. So a stream that cannot be decoded is no error: the reason is kept
//! once (`Decoder::trouble`) and from there on bytes are only counted. The bytes are the target's and hostile: no input panics, memory
//! is at most one block of 512 KiB, 1 MiB of descriptions and one number for each of 4,096 threads.
//!
//! Source: microsoft/perfview `src/TraceEvent/EventPipe/NetTraceFormat_v5.md`.

#[cfg(test)]
pub(super) mod build;
mod container;
mod events;
mod kinds;
mod payload;
mod reader;
#[cfg(test)]
mod tests;
mod trace;

use std::collections::HashMap;

pub use kinds::{Field, Kind, Type};
pub use payload::{Malformed, Value, values};
pub use reader::{Reader, Text};
pub use trace::Trace;

use container::{Container, Part};
use events::Row;
use kinds::Kinds;

/// Threads whose events are counted for losses. More than a process has, unless it makes a thread for each task.
const MAX_THREADS: usize = 4_096;

/// One event.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// What is known of all events of its kind.
    pub kind: &'a Kind,
    /// When, in the trace's ticks; see `Trace::timestamp`.
    pub ticks: u64,
    /// The thread it is about, as the target's kernel numbers threads.
    pub thread: u64,
    /// Its fields, as `values` reads them.
    pub payload: &'a [u8],
}

/// Who is told of the events of a stream.
pub trait Visitor {
    /// Told of each event whose kind was described before, in the order of the stream, which is nearly that of time.
    fn event(&mut self, trace: &Trace, event: &Event<'_>);
}

/// Nobody.
impl Visitor for () {
    fn event(&mut self, _: &Trace, _: &Event<'_>) {}
}

/// What passed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes fed.
    pub bytes: u64,
    /// Events of a known kind.
    pub events: u64,
    /// Events of a kind that was not described, so nobody was told of them.
    pub undescribed: u64,
    /// Events that the runtime counted but did not send, its buffer being full.
    pub lost: u64,
    /// Blocks that were too long or did not hold what they must.
    pub unread_blocks: u64,
}

/// Reads a stream; see the module's head.
#[derive(Debug)]
pub struct Decoder {
    container: Container,
    kinds: Kinds,
    trace: Option<Trace>,
    counts: Counts,
    /// The last number of each thread's events.
    numbers: HashMap<u64, u32>,
    trouble: Option<String>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// One that waits for the first byte.
    pub fn new() -> Self {
        Self {
            container: Container::new(),
            kinds: Kinds::default(),
            trace: None,
            counts: Counts::default(),
            numbers: HashMap::new(),
            trouble: None,
        }
    }

    /// Takes the next bytes of the stream, however it is cut, and tells `visitor` of the events that they complete.
    pub fn feed(&mut self, bytes: &[u8], visitor: &mut dyn Visitor) {
        let Self {
            container,
            kinds,
            trace,
            counts,
            numbers,
            trouble,
        } = self;
        counts.bytes = counts.bytes.saturating_add(bytes.len() as u64);
        let fed = container.feed(bytes, &mut |part| {
            let read = match part {
                Part::Trace(payload) => {
                    *trace = Trace::read(payload);
                    trace.map(|_| ()).ok_or("the trace object is not one")
                }
                Part::Metadata(block) => kinds.block(block),
                Part::Events(block) => match trace {
                    Some(trace) => events::rows(block, &mut |row| {
                        tell(trace, kinds, counts, numbers, &row, visitor);
                        Ok(())
                    }),
                    None => Err("events come before the trace object"),
                },
                Part::TooLong => Err("a block is longer than 512 KiB"),
            };
            if let Err(why) = read {
                counts.unread_blocks += 1;
                trouble.get_or_insert_with(|| why.to_owned());
            }
        });
        if let Err(why) = fed {
            trouble.get_or_insert(why);
        }
    }

    /// Whether the mark that ends a stream was its last byte.
    pub fn is_complete(&self) -> bool {
        self.container.is_complete()
    }

    /// The first thing that could not be decoded, if any.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// What passed so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What the stream says of itself, once its head has passed.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }
}

fn tell(
    trace: &Trace,
    kinds: &Kinds,
    counts: &mut Counts,
    numbers: &mut HashMap<u64, u32>,
    row: &Row<'_>,
    visitor: &mut dyn Visitor,
) {
    count_losses(counts, numbers, row);
    let Some(kind) = kinds.get(row.metadata) else {
        counts.undescribed += 1;
        return;
    };
    counts.events += 1;
    let event = Event {
        kind,
        ticks: row.ticks,
        thread: row.thread,
        payload: row.payload,
    };
    visitor.event(trace, &event);
}

/// A thread's events are numbered whether they find room in the runtime's buffer or not: a gap is a loss. A number that is not
/// above the last is a new thread with an old id.
fn count_losses(counts: &mut Counts, numbers: &mut HashMap<u64, u32>, row: &Row<'_>) {
    if let Some(last) = numbers.get_mut(&row.capture_thread) {
        let gap = u64::from(row.number).saturating_sub(u64::from(*last) + 1);
        counts.lost = counts.lost.saturating_add(gap);
        *last = row.number;
    } else if numbers.len() < MAX_THREADS {
        numbers.insert(row.capture_thread, row.number);
    }
}
