//! Captures that are event sessions, and what whoever asked should know of how they ended.

use super::take::Given;
use super::whom::Found;
use crate::dotnet::gcdump;
use crate::dotnet::ipc::Target;
use crate::dotnet::profiles::{self, Asked, Profile};
use crate::dotnet::session::{self, Ended, Why};
use crate::dotnet::{self, Dumped, How, Limits, Sink};
use crate::model::{CaptureKind, HeapType};

/// Types of a heap that the manifest has, those with most bytes.
const TYPES: usize = 100;

/// Longest name of a type there; those of generic types have some hundred characters.
const NAME_MAX: usize = 256;

/// The buffer that the runtime is asked to have, in MB: memory of the process.
pub(super) fn buffer_mb(kind: CaptureKind, found: &Found) -> u32 {
    match kind {
        CaptureKind::Dump => 0,
        CaptureKind::Gcdump => heap_buffer_mb(found),
        CaptureKind::Trace => profiles::BUFFER_MB,
        CaptureKind::Counters => dotnet::counters::BUFFER_MB,
    }
}

/// Smallest and largest buffer for a heap snapshot, in MB.
const HEAP_BUFFER_MB: std::ops::RangeInclusive<u32> = 16..=gcdump::BUFFER_MB;

/// The runtime sends nothing while it walks the heap, so what does not fit the buffer is lost: 4,000,000 objects of 32 bytes, 160 MB, had events of 176 MB. Larger
/// objects have fewer events. It is the process's own memory, so no more than half of what its container has left.
fn heap_buffer_mb(found: &Found) -> u32 {
    const MB: u64 = 1 << 20;
    let wanted = found.process.rss_anon.saturating_mul(6) / 5 / MB;
    let left = match (found.memory_limit, found.memory_used) {
        (Some(limit), Some(used)) => limit.saturating_sub(used) / 2 / MB,
        _ => u64::MAX,
    };
    let (least, most) = (*HEAP_BUFFER_MB.start(), *HEAP_BUFFER_MB.end());
    u32::try_from(wanted.min(left))
        .unwrap_or(most)
        .clamp(least, most)
}

pub(super) fn note_of_dump(dumped: &Dumped) -> Option<String> {
    let note = "no FIFO could be used in the container, so it was written to a file there, which is removed";
    (dumped.how == How::File).then(|| note.to_owned())
}

/// Takes a heap snapshot.
pub(super) fn gcdump(
    target: &Target,
    buffer_mb: u32,
    limits: &Limits<'_>,
    sink: &mut dyn Sink,
) -> Result<Given, dotnet::Error> {
    let taken = gcdump::run(target, buffer_mb, limits, sink)?;
    let heap = &taken.heap;
    let types = heap.types.iter().take(TYPES).map(|total| HeapType {
        name: total.name.chars().take(NAME_MAX).collect(),
        instances: total.objects,
        bytes: total.bytes,
    });
    let mut given = given(&taken.ended)?;
    given.types = types.collect();
    given.pause = heap.pause;
    given.complete = Some(taken.ended.complete && heap.whole);
    if !heap.whole {
        let note = format!(
            "the heap is not whole: {} objects came, and {} events were lost; ask again when the process does less, or take a heap dump",
            heap.objects, heap.lost
        );
        given.note = Some(note);
    }
    Ok(given)
}

/// Takes a trace.
pub(super) fn trace(
    target: &Target,
    profiles: &[Profile],
    providers: &[Asked],
    limits: &Limits<'_>,
    sink: &mut dyn Sink,
) -> Result<Given, dotnet::Error> {
    let config = profiles::trace(profiles, providers)
        .map_err(|invalid| dotnet::Error::Refused(invalid.to_string()))?;
    let ended = session::run(target, &config, limits, sink, &mut ())?;
    given(&ended)
}

/// What an ended session is to whoever asked. What came of one that the process ended is worth keeping.
pub(super) fn given(ended: &Ended) -> Result<Given, dotnet::Error> {
    let note = match ended.why {
        Why::Cancelled => return Err(dotnet::Error::Cancelled),
        Why::Deadline | Why::Enough => None,
        Why::MaxBytes => Some("it ended early, with as many bytes as it may have".to_owned()),
        Why::Target => Some(
            "the process ended it, most likely by ending: what came until then is kept".to_owned(),
        ),
    };
    Ok(Given {
        pause: None,
        complete: Some(ended.complete),
        types: Vec::new(),
        note,
    })
}
