//! Version 6: a list of blocks after two version numbers, ended by an empty block.
//!
//! ```text
//! u32 0, u32 major, u32 minor │ blocks: u24 size, u8 kind, that many bytes …
//! ```
//!
//! The first block is the trace itself. Other tools than .NET's write this version too, of several processes at once, so nothing
//! is said of a runtime. Real files of it have not been seen: this follows the specification, whose kinds of block that a reader
//! does not know are to be stepped over, and whose higher major versions are not to be read.

use super::super::fields::Fields;
use super::super::read_at::{Source, Unread, Window};
use super::super::walk::ends_at;
use super::{fields, process, system_time};
use crate::model::{Completeness, Facts};

const MAJOR: u32 = 6;

/// Magic, reserved word and versions.
const HEADER: u64 = 20;

const END_OF_STREAM: u32 = 0;
const TRACE: u32 = 1;

/// The trace block before its pairs of texts: time, two 64-bit counters, size of a pointer, number of pairs.
const TRACE_HEAD: usize = 40;

/// Most bytes of the trace block read. Its pairs are a few words each.
const MAX_TRACE: u64 = 2_048;

/// The pair that names the one process, where there is one.
const PROCESS_ID: &[u8] = b"ProcessId";

pub(super) fn walk(
    source: &Source<'_>,
    window: &mut Window<'_>,
    facts: &mut Facts,
) -> Result<Completeness, Unread> {
    let header = fields(window, super::MAGIC, 12)?;
    let (major, minor) = (header.u32(4).unwrap_or(0), header.u32(8).unwrap_or(0));
    facts.format_version = Some(format!("{major}.{minor}"));
    if major != MAJOR {
        return Err(Unread::Nonsense("they are not of a version that is known"));
    }
    let mut at = HEADER;
    // Ends: each block is at least a head further on, and the window gives up after a number of reads.
    loop {
        let head = fields(window, at, 4)?.u32(0).ok_or(Unread::End(at))?;
        let (kind, size) = (head >> 24, u64::from(head & 0x00ff_ffff));
        // Cannot overflow: there are bytes at `at`, so it is below 2^63.
        let body = at + 4;
        if at == HEADER {
            if kind != TRACE {
                return Err(Unread::Nonsense("the first is not the trace"));
            }
            trace(window.some(body, size.min(MAX_TRACE) as usize)?, facts);
        }
        at = body + size;
        if kind == END_OF_STREAM {
            return ends_at(source, at);
        }
    }
}

fn trace(bytes: &[u8], facts: &mut Facts) {
    let head = Fields::new(bytes, object::Endianness::Little);
    facts.written = system_time(head);
    let pairs = head.u32(36).unwrap_or(0);
    let mut rest = bytes.get(TRACE_HEAD..).unwrap_or_default();
    for _ in 0..pairs {
        let (Some(key), Some(value)) = (text(&mut rest), text(&mut rest)) else {
            return;
        };
        if key == PROCESS_ID {
            let pid = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
            facts.process = process(pid);
            return;
        }
    }
}

/// Takes a text off the front of `rest`: its length, seven bits to a byte, the lowest first, and that many bytes.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length = 0u64;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let length = usize::try_from(length).ok()?;
            let text = rest.get(..length)?;
            *rest = &rest[length..];
            return Some(text);
        }
    }
    None
}
