//! Java heap dumps in HotSpot's binary format.
//!
//! ```text
//! "JAVA PROFILE 1.0.2\0" │ u32 size of an id │ u64 ms since 1970 │ records: u8 tag, u32 µs, u32 length, body …          big-endian
//! ```
//!
//! Owns the header's facts and completeness. The format has no length and no table, so the records are walked by their lengths
//! and only their heads are read. What ends a whole dump depends on how the heap is written: in segments (1.0.2) by a
//! `HEAP DUMP END`; in one record (1.0.1) by the end of that record. Both are filled in or written last, so a writer that died
//! leaves neither. Leaves the heap alone: a 100 GB dump costs one read for each segment, about 1 MiB each.
//!
//! Sources: OpenJDK `src/hotspot/share/services/heapDumper.cpp`, and the manual of JDK 8's `hprof` agent.

use jiff::Timestamp;
use object::Endianness;

use super::fields::Fields;
use super::read_at::{Source, Unread, Window};
use super::walk::{conclude, ends_at};
use crate::model::{Completeness, Facts, Format, Runtime};

/// What every version begins with; digits and a NUL follow.
const MAGIC: &[u8] = b"JAVA PROFILE ";

/// Longest version looked for, with its NUL. All that were ever written have five digits and points.
const MAX_VERSION: usize = 12;

/// Bytes of the header behind the version: size of an id, and time.
const HEADER: usize = 12;

/// Bytes of a record before its body.
const RECORD: usize = 9;

const HEAP_DUMP: u8 = 0x0c;
const HEAP_DUMP_SEGMENT: u8 = 0x1c;
const HEAP_DUMP_END: u8 = 0x2c;

/// Records of other kinds: strings, classes, frames, traces, sites, summary, threads, samples, settings.
const OTHERS: [std::ops::RangeInclusive<u8>; 2] = [0x01..=0x07, 0x0a..=0x0e];

/// Android's runtime writes the same format under this version.
const ANDROID: &str = "1.0.3";

/// Reads the facts of a file that begins like a heap dump.
pub(super) fn read(source: &Source<'_>) -> Facts {
    let mut facts = Facts::of(Format::Hprof);
    match read_header(source, &mut facts) {
        Ok(records) => conclude(&mut facts, "records", walk(source, records)),
        Err(why) => conclude(&mut facts, "header", Err(why)),
    }
    facts
}

/// The header's facts, and where the records begin.
fn read_header(source: &Source<'_>, facts: &mut Facts) -> Result<u64, Unread> {
    let mut bytes = [0; MAGIC.len() + MAX_VERSION + HEADER];
    let got = source.fill(0, &mut bytes)?;
    let rest = bytes[..got].get(MAGIC.len()..).unwrap_or_default();
    let version = rest.split(|b| *b == 0).next().unwrap_or_default();
    let header_at = MAGIC.len() + version.len() + 1;
    let end = header_at + HEADER;
    let Some(header) = bytes[..got].get(header_at..end) else {
        return Err(Unread::End(end as u64));
    };
    // The rule that found the format let nothing but digits and points through.
    let version = String::from_utf8_lossy(version).into_owned();
    if version != ANDROID {
        facts.runtime = Some(Runtime {
            name: Some("JVM".to_owned()),
            ..Runtime::default()
        });
    }
    facts.format_version = Some(version);

    let header = Fields::new(header, Endianness::Big);
    match header.u32(0) {
        Some(size @ (4 | 8)) => facts.identifier_bytes = Some(size),
        Some(size) => facts
            .unread
            .push(format!("size of an id: {size} is none that there is")),
        None => {}
    }
    let written = header.u64(4).and_then(|ms| i64::try_from(ms).ok());
    facts.written = written
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .filter(|time| *time != Timestamp::UNIX_EPOCH);
    Ok(end as u64)
}

/// Steps from record to record.
fn walk(source: &Source<'_>, first: u64) -> Result<Completeness, Unread> {
    let mut window = Window::striding(source);
    let mut at = first;
    let mut last = None;
    let mut segments = false;
    // Ends: each record is at least nine bytes further on, and the window gives up after a number of reads.
    while !window.some(at, RECORD)?.is_empty() {
        let head = Fields::new(window.exact(at, RECORD)?, Endianness::Big);
        let (Some(&[tag]), Some(length)) = (head.bytes(0, 1), head.u32(5)) else {
            return Err(Unread::End(at));
        };
        // Cannot overflow: there is a byte at `at`, so it is below 2^63, and the length has 32 bits.
        let end = at + RECORD as u64 + u64::from(length);
        match tag {
            // The length is filled in when the record is done.
            HEAP_DUMP | HEAP_DUMP_SEGMENT if length == 0 => return Err(Unread::End(end)),
            // The whole heap, and the last record. Two exceptions end before the file does: of a heap above 4 GiB the length is
            // what is left of it in 32 bits, and JDK 8's agent may write samples behind the heap.
            HEAP_DUMP => return ends_at(source, end),
            HEAP_DUMP_SEGMENT => segments = true,
            HEAP_DUMP_END => {}
            tag if OTHERS.iter().any(|known| known.contains(&tag)) => {}
            _ => return Err(Unread::Nonsense("one is of a kind that there is none of")),
        }
        last = Some(tag);
        at = end;
    }
    match last {
        _ if !source.reaches(at)? => Err(Unread::End(at)),
        Some(HEAP_DUMP_END) => Ok(Completeness::Complete),
        _ if segments => Err(Unread::End(at)),
        // The hprof agent of JDK 8 also writes files of samples only, which have no end.
        _ => Err(Unread::Nonsense(
            "there is no heap dump among them, and nothing else says where they end",
        )),
    }
}

#[cfg(test)]
mod tests;
