//! Room for state files when the disk is full.
//!
//! Shipping is how a full disk becomes free again, and shipping needs to write its state: a few kilobytes. This file holds them until then.

use std::ffi::OsStr;

use rustix::fs::FallocateFlags;

use crate::sys::Dir;

const NAME: &str = "ballast";

/// Enough for some hundred state files.
const BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Ballast(Dir);

impl Ballast {
    pub(super) fn new(state: Dir) -> Self {
        Self(state)
    }

    /// Makes it if it is not there and `keep_free` stays free beside it. Whatever prevents it only means that there is none.
    pub(super) fn renew(&self, keep_free: u64) {
        let name = OsStr::new(NAME);
        let room = self
            .0
            .space()
            .is_ok_and(|space| space.free_bytes >= keep_free.saturating_add(BYTES));
        if !room || self.0.stat(name).is_ok() {
            return;
        }
        // No step of a dump's way, like all of this file.
        let made = self
            .0
            .create_file(name)
            .map(|file| rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BYTES).is_ok());
        if !matches!(made, Ok(true)) {
            let _ = self.0.remove_file(name);
        }
    }

    /// Gives its room back; whether there was any.
    pub(super) fn drop_it(&self) -> bool {
        // No step of a dump's way.
        self.0.remove_file(OsStr::new(NAME)).is_ok()
    }
}
