//! Versions 4 and 5: a list of objects after `!FastSerialization.1`, ended by a null reference.
//!
//! ```text
//! 5 │ 5 1 i32 version, i32 least reader, i32 length, name, 6 │ payload │ 6         an object, its type first
//! 1                                                                              the end
//! ```
//!
//! The first object is the trace itself; the others are blocks: `i32` size, zeros up to a multiple of 4 in the file, that many
//! bytes. All that .NET Core 3.0 and later write.

use super::super::read_at::{Source, Unread, Window};
use super::super::walk::ends_at;
use super::{fields, process, system_time};
use crate::model::{Completeness, Facts, Runtime};

/// Behind the magic: length and text.
const STREAM: &[u8] = b"\x14\0\0\0!FastSerialization.1";

const NULL: u8 = 1;
const BEGIN: u8 = 5;
const END: u8 = 6;

/// Payload of the trace object.
const TRACE: usize = 48;

/// The types of block that there are.
const BLOCKS: [&[u8]; 4] = [b"EventBlock", b"MetadataBlock", b"StackBlock", b"SPBlock"];

/// Longest name of a type.
const MAX_NAME: u32 = 64;

/// Bytes of an object before its type's name.
const HEAD: usize = 15;

pub(super) fn walk(
    source: &Source<'_>,
    window: &mut Window<'_>,
    facts: &mut Facts,
) -> Result<Completeness, Unread> {
    let first = super::MAGIC + STREAM.len() as u64;
    if window.exact(super::MAGIC, STREAM.len())? != STREAM {
        return Err(Unread::Nonsense("they are not of a version that is known"));
    }
    let mut at = trace(window, first, facts)?;
    // Ends: each object is at least a head further on, and the window gives up after a number of reads.
    loop {
        if window.exact(at, 1)? == [NULL] {
            return ends_at(source, at + 1);
        }
        let (payload, name, _) = begin(window, at)?;
        if !BLOCKS.contains(&name.as_slice()) {
            return Err(Unread::Nonsense("one is of a type that is not known"));
        }
        let size = fields(window, payload, 4)?.u32(0);
        // A negative size, as the format would have it.
        let size = size
            .filter(|size| i32::try_from(*size).is_ok())
            .ok_or(Unread::Nonsense("one is longer than any can be"))?;
        // None of these sums can overflow: there are bytes at `payload`, so it is below 2^63.
        let body = (payload + 4).next_multiple_of(4);
        at = end(window, body + u64::from(size))?;
    }
}

/// Reads the first object, the trace itself, and says where the second begins.
fn trace(window: &mut Window<'_>, at: u64, facts: &mut Facts) -> Result<u64, Unread> {
    let (payload, name, version) = begin(window, at)?;
    if name != b"Trace" {
        return Err(Unread::Nonsense("the first is not the trace"));
    }
    facts.format_version = Some(version.to_string());
    facts.runtime = Some(Runtime {
        name: Some(".NET".to_owned()),
        ..Runtime::default()
    });
    if !matches!(version, 4 | 5) {
        return Err(Unread::Nonsense("they are not of a version that is known"));
    }
    // Behind the time two 64-bit counters and the size of a pointer.
    let trace = fields(window, payload, TRACE)?;
    facts.written = system_time(trace);
    facts.process = process(trace.i32(36));
    end(window, payload + TRACE as u64)
}

/// The head of the object at `at`: where its payload begins, its type's name and version.
fn begin(window: &mut Window<'_>, at: u64) -> Result<(u64, Vec<u8>, u32), Unread> {
    const NO_OBJECT: Unread = Unread::Nonsense("there is none where one must begin");
    let head = fields(window, at, HEAD)?;
    if head.bytes(0, 3) != Some(&[BEGIN, BEGIN, NULL]) {
        return Err(NO_OBJECT);
    }
    let (Some(version), Some(length)) = (head.u32(3), head.u32(11)) else {
        return Err(NO_OBJECT);
    };
    if length > MAX_NAME {
        return Err(NO_OBJECT);
    }
    let name_at = at + HEAD as u64;
    let name = window.exact(name_at, length as usize)?.to_vec();
    Ok((end(window, name_at + u64::from(length))?, name, version))
}

/// Steps over the mark that ends an object or type at `at`.
fn end(window: &mut Window<'_>, at: u64) -> Result<u64, Unread> {
    if window.exact(at, 1)? != [END] {
        return Err(Unread::Nonsense("one does not end where it must"));
    }
    Ok(at + 1)
}
