//! What walking through a file to its end says of its completeness.
//!
//! For formats without a length or a table: records, objects or blocks are stepped over by their own lengths until what marks the
//! end. Leaves the steps to each format, and their number to the window they are read through (`Window::striding`).

use super::read_at::{Source, Unread};
use crate::model::{Completeness, Facts};

/// Takes what a walk over `part` came to into `facts`. One that met the end of the file too early proves a cut; one that could not
/// go on proves nothing.
pub(super) fn conclude(facts: &mut Facts, part: &str, walked: Result<Completeness, Unread>) {
    facts.completeness = match walked {
        Ok(completeness) => completeness,
        Err(Unread::End(_)) => Completeness::Truncated { expected: None },
        Err(why @ (Unread::Io { .. } | Unread::Nonsense(_))) => {
            facts.unread.push(format!("{part}: {why}"));
            Completeness::Unknown
        }
    };
}

/// What a mark that ends the format at `end` means: that must be the end of the file as well.
pub(super) fn ends_at(source: &Source<'_>, end: u64) -> Result<Completeness, Unread> {
    if !source.reaches(end)? {
        let expected = Some(end);
        return Ok(Completeness::Truncated { expected });
    }
    if source.reaches(end.saturating_add(1))? {
        return Err(Unread::Nonsense("they end before the file does"));
    }
    Ok(Completeness::Complete)
}
