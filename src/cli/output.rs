//! Standard output and standard error.

use std::fmt;
use std::io::{self, Write};

/// Standard output could not be written. A type of its own, so that a broken pipe there is told from a broken connection elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("writing to standard output")]
pub(super) struct OutputError(#[source] io::Error);

impl OutputError {
    /// Whether the reader went away.
    pub(super) fn is_broken_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes to standard output, all at once.
pub(super) fn print(text: &str) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(OutputError)
}

/// Says something on standard error, as far as that is possible.
pub(super) fn note(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
