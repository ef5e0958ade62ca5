//! The header and the directory of streams.

use minidump::format::MINIDUMP_STREAM_TYPE as Stream;
use object::Endianness;

use super::super::fields::Fields;
use super::super::read_at::{Source, Unread};
use super::lists::Location;

/// Most streams looked at. Writers on Linux have about 20, Windows about 30.
pub(super) const MAX_STREAMS: usize = 256;

const HEADER: usize = 32;

/// Bytes of an entry: type, size, place.
const ENTRY: usize = 12;

/// Where the streams are.
#[derive(Debug)]
pub(super) struct Directory {
    /// Types and places, unused entries left out.
    pub(super) streams: Vec<(u32, Location)>,
    /// Where the directory is itself.
    pub(super) place: Location,
    /// Seconds since 1970.
    pub(super) time_date_stamp: u32,
    /// Entries that were not looked at.
    pub(super) beyond: usize,
    /// Whether the last entry has no stream.
    pub(super) ends_empty: bool,
}

impl Directory {
    /// The first stream of that type. There should be one at most.
    pub(super) fn find(&self, kind: Stream) -> Option<Location> {
        let found = self.streams.iter().find(|(k, _)| *k == kind as u32);
        found.map(|(_, location)| *location)
    }
}

pub(super) fn read(source: &Source<'_>) -> Result<Directory, Unread> {
    const CUT: Unread = Unread::End(HEADER as u64);
    let mut header = [0; HEADER];
    source.exact(0, &mut header)?;
    // The signature and the version were seen by the rule that found the format.
    let header = Fields::new(&header, Endianness::Little);
    let count = header.u32(8).ok_or(CUT)?;
    let at = header.u32(12).ok_or(CUT)?;
    let time_date_stamp = header.u32(20).ok_or(CUT)?;

    let all = usize::try_from(count).unwrap_or(usize::MAX);
    let looked_at = all.min(MAX_STREAMS);
    let mut bytes = vec![0; looked_at * ENTRY];
    source.exact(at.into(), &mut bytes)?;
    let mut streams = Vec::new();
    let mut ends_empty = false;
    for entry in bytes.chunks_exact(ENTRY) {
        let entry = Fields::new(entry, Endianness::Little);
        let (Some(kind), Some(size), Some(at)) = (entry.u32(0), entry.u32(4), entry.u32(8)) else {
            return Err(CUT);
        };
        ends_empty = kind == Stream::UnusedStream as u32;
        if !ends_empty {
            streams.push((kind, Location::of(at, size)));
        }
    }
    Ok(Directory {
        streams,
        place: Location {
            at: at.into(),
            // Cannot overflow: a number of 32 bits times 12.
            size: u64::from(count) * ENTRY as u64,
        },
        time_date_stamp,
        beyond: all - looked_at,
        ends_empty,
    })
}
