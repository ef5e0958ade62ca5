//! From addresses of the dead process to bytes of the file.
//!
//! Owns the second pass over the program headers, which finds where a few thousand addresses of interest and one range are. The
//! table itself is not kept (see `headers`), so everything wanted has to be known before. The first segment that has an address
//! wins; overlapping segments exist only in forged files.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::read_at::{Source, Unread};
use super::headers::{Header, Segment};

/// Most segments a range may be spread over: 2 MiB in single pages, as `createdump` might write it.
const MAX_PIECES: usize = 512;

/// Bytes in the file that belong to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    /// Bytes there are from here on in the same segment.
    pub(super) room: u64,
}

/// A part of the wanted range that the file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) places: BTreeMap<u64, Place>,
    /// In order of address, without overlaps.
    pub(super) pieces: Vec<Piece>,
    pub(super) unread: Option<String>,
}

pub(super) fn find(
    source: &Source<'_>,
    header: &Header,
    segments: u64,
    mut wanted: Vec<u64>,
    range: &Range<u64>,
) -> Memory {
    let mut memory = Memory::default();
    wanted.sort_unstable();
    wanted.dedup();
    let pieces = &mut memory.pieces;
    let places = &mut memory.places;
    let walked = header.for_each(source, segments, |segment| {
        if !segment.is_load || segment.file_size == 0 || segment.end().is_none() {
            return;
        }
        let stop = segment.address.saturating_add(segment.file_size);
        // Found addresses are taken out, so a forged table of segments that all hold all addresses costs no more than one.
        let from = wanted.partition_point(|a| *a < segment.address);
        let to = wanted.partition_point(|a| *a < stop);
        for address in wanted.drain(from..to) {
            let skipped = address - segment.address;
            places.insert(
                address,
                Place {
                    offset: segment.offset + skipped,
                    room: segment.file_size - skipped,
                },
            );
        }
        if pieces.len() < MAX_PIECES {
            pieces.extend(overlap(&segment, stop, range));
        }
    });
    memory.unread = walked.err().map(|why: Unread| format!("memory: {why}"));
    memory.pieces.sort_by_key(|piece| piece.address);
    let mut free = 0;
    memory.pieces.retain(|piece| {
        let apart = piece.address >= free;
        if apart {
            free = piece.address + piece.size;
        }
        apart
    });
    memory
}

fn overlap(segment: &Segment, stop: u64, range: &Range<u64>) -> Option<Piece> {
    let from = segment.address.max(range.start);
    let to = stop.min(range.end);
    (from < to).then(|| Piece {
        address: from,
        offset: segment.offset + (from - segment.address),
        size: to - from,
    })
}
