//! Hostile names made fit for a log line, a terminal or a manifest.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Shows bytes that anyone may have chosen: control characters, invalid UTF-8, quotes and backslashes come out as escapes, and
/// the text is cut at 512 characters.
pub struct Escaped<'a>(&'a [u8]);

/// Longest text shown; a name on Linux has at most 255 bytes, a path 4,096.
const SHOWN: usize = 512;

/// Wraps a name or path for display.
pub fn escaped<P: AsRef<Path> + ?Sized>(path: &P) -> Escaped<'_> {
    Escaped(path.as_ref().as_os_str().as_bytes())
}

impl<'a> Escaped<'a> {
    /// Wraps raw bytes for display.
    pub fn bytes(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let mut left = SHOWN;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if left == 0 {
                    return f.write_str("...");
                }
                left -= 1;
                // Formatting characters (U+202E and its kin) can reorder what a terminal shows.
                let reorders = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
                if c.is_control() || reorders || c == '\\' {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    f.write_char(c)?;
                }
            }
            for byte in chunk.invalid() {
                if left == 0 {
                    return f.write_str("...");
                }
                left -= 1;
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        let shown = Escaped::bytes(b"core\n\x1b[2J\xff\\\xe2\x80\xae.dmp").to_string();
        assert_eq!(shown, r"core\n\u{1b}[2J\xff\\\u{202e}.dmp");
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(Escaped::bytes(&[b'a'; 5_000]).to_string().len(), 515);
    }
}
