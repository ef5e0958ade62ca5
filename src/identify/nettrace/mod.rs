//! `EventPipe` streams, `*.nettrace`: what a .NET runtime sends a tool that traces it.
//!
//! Owns telling the two containers apart, and what both begin with: when and on whom. Up to version 5 the stream is a list of
//! objects (`objects`), from 6 on a list of blocks (`blocks`). Both are written as they go and end in a mark of their own, so a
//! complete file is one whose parts, stepped over by their sizes, lead to that mark at the very end. Leaves the events alone.
//!
//! Sources: microsoft/perfview `src/TraceEvent/EventPipe/NetTraceFormat.md` and `NetTraceFormat_v5.md`.

mod blocks;
mod objects;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use object::Endianness;

use super::fields::Fields;
use super::read_at::{Source, Unread, Window};
use super::walk::conclude;
use crate::model::{Facts, Format, Process};

/// `Nettrace`.
const MAGIC: u64 = 8;

/// Reads the facts of a file that begins like a trace.
pub(super) fn read(source: &Source<'_>) -> Facts {
    let mut facts = Facts::of(Format::Nettrace);
    let mut window = Window::striding(source);
    let reserved = window
        .exact(MAGIC, 4)
        .map(|bytes| Fields::new(bytes, Endianness::Little).u32(0));
    match reserved {
        Ok(Some(0)) => {
            let walked = blocks::walk(source, &mut window, &mut facts);
            conclude(&mut facts, "blocks", walked);
        }
        Ok(_) => {
            let walked = objects::walk(source, &mut window, &mut facts);
            conclude(&mut facts, "objects", walked);
        }
        Err(why) => conclude(&mut facts, "header", Err(why)),
    }
    facts
}

/// The numbers at `offset`, of which there must be `want` bytes.
fn fields<'a>(window: &'a mut Window<'_>, offset: u64, want: usize) -> Result<Fields<'a>, Unread> {
    Ok(Fields::new(window.exact(offset, want)?, Endianness::Little))
}

/// Windows' `SYSTEMTIME`, in UTC: when the trace was begun.
fn system_time(fields: Fields<'_>) -> Option<Timestamp> {
    let number = |at| fields.u16(at);
    let small = |at| number(at).and_then(|n| i8::try_from(n).ok());
    let year = i16::try_from(number(0)?).ok()?;
    let nanoseconds = i32::from(number(14)?).checked_mul(1_000_000)?;
    // At 4 is the day of the week.
    let time = DateTime::new(
        year,
        small(2)?,
        small(6)?,
        small(8)?,
        small(10)?,
        small(12)?,
        nanoseconds,
    );
    TimeZone::UTC.to_timestamp(time.ok()?).ok()
}

fn process(pid: Option<i32>) -> Option<Process> {
    pid.filter(|pid| *pid > 0).map(|pid| Process {
        pid: Some(pid),
        ..Process::default()
    })
}
