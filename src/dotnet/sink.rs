//! Where the bytes of a capture go, and how long and how many they may be.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::Error;

/// Takes the bytes of a capture in order.
pub trait Sink {
    /// Takes the next bytes. While it does not return, the target of a dump stays stopped: it writes to a disk of ours, and waits for nobody.
    ///
    /// # Errors
    /// Why no more is taken; the capture then ends.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Refused>;
}

/// Why a sink takes no more, as a text for people: a quota, a disk that is full.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// What ends a capture that does not end by itself.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// When it must have ended.
    pub deadline: Instant,
    /// Most bytes that are taken.
    pub max_bytes: u64,
    /// Set by whoever wants it to end now; looked at several times a second.
    pub cancelled: &'a AtomicBool,
}

impl Limits<'_> {
    /// Whether the capture may go on after `bytes` have been taken.
    pub(super) fn allow(&self, bytes: u64) -> Result<(), Error> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        if bytes > self.max_bytes {
            return Err(Error::Refused(format!(
                "it is larger than the {} bytes that a capture may have",
                self.max_bytes
            )));
        }
        Ok(())
    }
}

impl Sink for Vec<u8> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}
