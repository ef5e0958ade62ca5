//! Files that no test wants on a disk: endless ones, unreadable ones, and every beginning of a small one.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use super::{ReadAt, identify_from};
use crate::model::{Completeness, Facts, Format};

/// Long enough for a busy machine; without bounds an endless file would take years.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The facts of a file that is nothing but `bytes`.
pub(super) fn facts(bytes: &[u8]) -> Facts {
    identify_from(&bytes, bytes.len() as u64)
}

/// Calls `check` with the length and the facts of every beginning of `bytes` that is of `format` and not the whole. None of them may
/// be another format, complete, or promise less than it has.
pub(super) fn every_beginning(bytes: &[u8], format: Format, check: impl Fn(usize, &Facts)) {
    for cut in 0..bytes.len() {
        let facts = facts(&bytes[..cut]);
        if facts.format == Format::Unknown {
            continue;
        }
        assert_eq!(facts.format, format, "cut to {cut}: {facts:?}");
        assert_ne!(
            facts.completeness,
            Completeness::Complete,
            "cut to {cut} of {}: {facts:?}",
            bytes.len()
        );
        if let Completeness::Truncated {
            expected: Some(expected),
        } = facts.completeness
        {
            assert!(expected > cut as u64, "cut to {cut}: {facts:?}");
        }
        check(cut, &facts);
    }
}

/// Fails from one byte on, as a disk with a bad sector does.
pub(super) struct BadFrom<'a>(pub(super) &'a [u8], pub(super) u64);

impl ReadAt for BadFrom<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.1.checked_sub(offset).filter(|left| *left > 0) else {
            return Err(io::Error::from_raw_os_error(5));
        };
        let n = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        self.0.read_at(offset, &mut buffer[..n])
    }
}

/// A file of 8 EiB: a head, then one tile for ever. Counts what is read of it.
pub(super) struct Endless {
    head: Vec<u8>,
    tile: Vec<u8>,
    read: Cell<u64>,
}

impl Endless {
    pub(super) fn new(head: Vec<u8>, tile: Vec<u8>) -> Self {
        Self {
            head,
            tile,
            read: Cell::new(0),
        }
    }

    /// Its facts, read in time and with at most so many megabytes of it.
    pub(super) fn bounded(&self, megabytes: u64, format: Format) -> Facts {
        let begun = Instant::now();
        let found = identify_from(self, u64::MAX);
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        assert!(
            self.read.get() < megabytes << 20,
            "{} bytes read",
            self.read.get()
        );
        assert_eq!(found.format, format);
        found
    }
}

impl ReadAt for Endless {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let head = self.head.len() as u64;
        let n = if offset < head {
            self.head.as_slice().read_at(offset, buffer)?
        } else {
            let skip = ((offset - head) % self.tile.len() as u64) as usize;
            let part = &self.tile[skip..];
            let n = part.len().min(buffer.len());
            buffer[..n].copy_from_slice(&part[..n]);
            n
        };
        self.read.set(self.read.get() + n as u64);
        Ok(n)
    }
}
