//! The file of the spool that a capture flows into, and how far it is.

use std::time::{Duration, Instant};

use super::failure::Failure;
use super::take::Progress;
use crate::dotnet::{Refused, Sink};
use crate::spool::Receiving;

/// How often it is told how many bytes there are.
const TELL: Duration = Duration::from_millis(500);

/// Takes changes of what is known of a capture under way.
pub(super) type Tell<'a> = &'a dyn Fn(&mut dyn FnMut(&mut Progress));

/// A file of the spool that is being written.
pub(super) struct Spooled<'a> {
    receiving: &'a mut Receiving,
    pub(super) tell: Tell<'a>,
    told: Instant,
    /// What the spool said when it took no more.
    pub(super) refused: Option<Failure>,
}

impl<'a> Spooled<'a> {
    pub(super) fn new(receiving: &'a mut Receiving, tell: Tell<'a>) -> Self {
        Self {
            receiving,
            tell,
            told: Instant::now(),
            refused: None,
        }
    }
}

impl Sink for Spooled<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        if let Err(error) = self.receiving.write(bytes) {
            let failure = Failure::from(error);
            let said = failure.message.clone();
            self.refused = Some(failure);
            return Err(Refused(said));
        }
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            let written = self.receiving.written();
            (self.tell)(&mut |progress| progress.bytes = written);
        }
        Ok(())
    }
}
