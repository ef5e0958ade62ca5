//! The rows of a block: heads of events in the compressed and the plain form, each with its payload. A block of metadata has the same.
//!
//! A field that a compressed head leaves out is that of the row before. Times are differences added modulo 2^64: the runtime sends
//! events that were before the one ahead of them, as a number that wraps.

use super::reader::Reader;

/// A row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    /// The number of its kind; 0 for what describes a kind.
    pub(super) metadata: u32,
    /// Counts the events of `capture_thread`.
    pub(super) number: u32,
    pub(super) capture_thread: u64,
    pub(super) thread: u64,
    pub(super) ticks: u64,
    pub(super) payload: &'a [u8],
}

/// Bytes of a block's head that must be there: its own length and flags.
const HEAD: usize = 4;

const COMPRESSED: u16 = 1;

/// Reads the rows of `block` until one is none, and hands each on.
pub(super) fn rows<'a>(
    block: &'a [u8],
    each: &mut dyn FnMut(Row<'a>) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    const NO_HEAD: &str = "a block of events has no head";
    let mut head = Reader::new(block);
    let (Some(length), Some(flags)) = (head.u16(), head.u16()) else {
        return Err(NO_HEAD);
    };
    let length = usize::from(length);
    if length < HEAD {
        return Err(NO_HEAD);
    }
    let mut rest = Reader::new(block.get(length..).ok_or(NO_HEAD)?);
    let mut before = Compressed::default();
    while !rest.rest().is_empty() {
        let row = if flags & COMPRESSED != 0 {
            before.next(&mut rest)
        } else {
            let row = plain(&mut rest);
            // A plain row is padded to a multiple of 4; blocks begin at one, and so do rows.
            let place = block.len() - rest.rest().len();
            let padding = place.next_multiple_of(4) - place;
            rest.take(padding.min(rest.rest().len()));
            row
        };
        each(row.ok_or("an event is longer than its block")?)?;
    }
    Ok(())
}

/// The fields that the next row may take over.
#[derive(Default)]
struct Compressed {
    metadata: u32,
    number: u32,
    capture_thread: u64,
    thread: u64,
    ticks: u64,
    payload: u32,
}

impl Compressed {
    fn next<'a>(&mut self, rest: &mut Reader<'a>) -> Option<Row<'a>> {
        const METADATA: u8 = 1;
        const CAPTURE: u8 = 2;
        const THREAD: u8 = 4;
        const STACK: u8 = 8;
        const ACTIVITY: u8 = 16;
        const RELATED_ACTIVITY: u8 = 32;
        const PAYLOAD: u8 = 128;
        const GUID: usize = 16;
        let flags = rest.u8()?;
        let has = |flag| flags & flag != 0;
        if has(METADATA) {
            self.metadata = rest.varint()? as u32;
        }
        if has(CAPTURE) {
            self.number = self.number.wrapping_add(rest.varint()? as u32);
            self.capture_thread = rest.varint()?;
            // The processor.
            rest.varint()?;
        }
        if self.metadata != 0 {
            self.number = self.number.wrapping_add(1);
        }
        if has(THREAD) {
            self.thread = rest.varint()?;
        }
        if has(STACK) {
            rest.varint()?;
        }
        self.ticks = self.ticks.wrapping_add(rest.varint()?);
        for activity in [ACTIVITY, RELATED_ACTIVITY] {
            if has(activity) {
                rest.take(GUID)?;
            }
        }
        if has(PAYLOAD) {
            self.payload = rest.varint()? as u32;
        }
        Some(Row {
            metadata: self.metadata,
            number: self.number,
            capture_thread: self.capture_thread,
            thread: self.thread,
            ticks: self.ticks,
            payload: rest.take(usize::try_from(self.payload).ok()?)?,
        })
    }
}

fn plain<'a>(rest: &mut Reader<'a>) -> Option<Row<'a>> {
    /// Says that the events before are not later; the rest is the number.
    const SORTED: u32 = 1 << 31;
    /// Two activities of 16 bytes.
    const ACTIVITIES: usize = 32;
    let size = rest.u32()?;
    let mut row = Reader::new(rest.take(usize::try_from(size).ok()?)?);
    let metadata = row.u32()? & !SORTED;
    let number = row.u32()?;
    let thread = row.u64()?;
    let capture_thread = row.u64()?;
    // Processor and stack.
    row.take(8)?;
    let ticks = row.u64()?;
    row.take(ACTIVITIES)?;
    let payload = row.u32()?;
    Some(Row {
        metadata,
        number,
        capture_thread,
        thread,
        ticks,
        payload: row.take(usize::try_from(payload).ok()?)?,
    })
}
