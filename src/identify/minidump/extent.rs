//! How far a minidump must reach: the highest end of anything it points at.
//!
//! Nothing in a minidump says how long it is, but everything in it is pointed at: streams by the directory, stacks, registers, memory
//! and names by the streams. A writer that goes through the file from front to back ends with one of these. What
//! crashpad's annotations and the names of open handles point at is not followed: memory is behind the first, their own list or
//! another stream behind the second.

use super::super::read_at::{MAX_OFFSET, Source, Unread};
use super::directory::Directory;
use super::lists::Location;
use crate::model::{Completeness, Facts};

/// The highest end so far, and what makes it less than certain.
#[derive(Debug)]
pub(super) struct Extent {
    /// None where no file can be that long.
    end: Option<u64>,
    /// A list is cut, so nobody knows how far the file should reach; only that it does not.
    cut: bool,
    /// Something that was not read may reach further.
    doubt: bool,
}

impl Extent {
    pub(super) fn of(directory: &Directory) -> Self {
        let mut extent = Self {
            end: Some(0),
            cut: false,
            doubt: false,
        };
        extent.reach(directory.place);
        for (_, location) in &directory.streams {
            extent.reach(*location);
        }
        extent
    }

    /// The file must have these bytes. No bytes are nowhere, whatever the place says.
    pub(super) fn reach(&mut self, location: Location) {
        if location.size > 0 {
            self.reach_end(location.end());
        }
    }

    pub(super) fn reach_end(&mut self, end: Option<u64>) {
        self.end = match (self.end, end) {
            (Some(so_far), Some(end)) => Some(so_far.max(end)),
            _ => None,
        };
    }

    pub(super) fn list_failed(&mut self, why: &Unread) {
        match why {
            Unread::End(_) => self.cut = true,
            Unread::Io { .. } | Unread::Nonsense(_) => self.doubt = true,
        }
    }

    /// What is seen may not be all there was to be.
    pub(super) fn doubt(&mut self) {
        self.doubt = true;
    }

    /// Compares with the file.
    pub(super) fn conclude(&self, source: &Source<'_>, facts: &mut Facts) {
        let end = self.end.filter(|end| *end <= MAX_OFFSET);
        let reached = match end.map(|end| source.reaches(end)) {
            Some(Ok(reached)) => reached,
            Some(Err(why)) => {
                facts.unread.push(format!("end: {why}"));
                return;
            }
            None => {
                let line = "end: the streams promise more bytes than a file can have";
                facts.unread.push(line.to_owned());
                false
            }
        };
        facts.completeness = match reached && !self.cut {
            true if self.doubt => Completeness::Unknown,
            true => Completeness::Complete,
            false => Completeness::Truncated {
                expected: end.filter(|_| !self.cut && !self.doubt),
            },
        };
    }
}
