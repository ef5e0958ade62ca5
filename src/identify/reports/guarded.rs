//! A file of JSON as its parser gets it: up to the byte from which on reading it would cost too much.
//!
//! serde_json copies a string whole before it hands it on, and keeps a byte for every level of a value that is skipped, so both are
//! counted here, beside the bytes.

use std::cell::RefCell;
use std::io::{self, Read};

use super::super::read_at::Source;
use super::json::Ending;

/// Most bytes read. A .NET report has 300 bytes for each frame of each thread: 5,000 threads of 40 frames fit. Parsing so much
/// takes half a second.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// Longest string, and so half of what the parser holds at most. Node puts whole exception messages into its reports, and
/// environment variables, of which Linux allows 128 KiB each.
pub(super) const MAX_STRING: u64 = 1 << 20;

/// Deepest nesting, which is also where serde_json stops in values that are not skipped. Real reports have 10 levels.
const MAX_DEPTH: u32 = 128;

/// The parser gets all bytes before the one that is too much, and then an error.
///
/// A file that ends in the middle of a number is an error here: serde_json takes the digits before the end for the number.
pub(super) struct Guarded<'a> {
    source: &'a Source<'a>,
    at: u64,
    depth: u32,
    /// The last byte may belong to a number.
    in_number: bool,
    /// Bytes of the string at hand; none outside of strings.
    string: Option<u64>,
    escaped: bool,
    found: Option<Ending>,
    /// Why it stopped, once the parser came there.
    stopped: &'a RefCell<Option<Ending>>,
}

impl<'a> Guarded<'a> {
    pub(super) fn new(source: &'a Source<'a>, stopped: &'a RefCell<Option<Ending>>) -> Self {
        Self {
            source,
            at: 0,
            depth: 0,
            in_number: false,
            string: None,
            escaped: false,
            found: None,
            stopped,
        }
    }

    /// Whether the parser may have this byte.
    fn admits(&mut self, byte: u8) -> bool {
        let Some(length) = &mut self.string else {
            self.in_number = byte.is_ascii_digit() || b"+-.eE".contains(&byte);
            match byte {
                b'"' => self.string = Some(0),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            return self.depth <= MAX_DEPTH;
        };
        *length += 1;
        let within = *length <= MAX_STRING;
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.string = None,
            _ => {}
        }
        within
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Ending> {
        if let Some(ending) = self.found.take() {
            return Err(ending);
        }
        let left = usize::try_from(MAX_BYTES - self.at).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        let got = match room {
            0 => self.source.fill(self.at, &mut [0]),
            _ => self.source.fill(self.at, &mut buffer[..room]),
        };
        let got = got.map_err(|why| Ending::Broken(why.to_string()))?;
        if got == 0 && self.in_number {
            return Err(Ending::Cut);
        }
        if room == 0 && got > 0 {
            let mebibytes = MAX_BYTES >> 20;
            return Err(Ending::Broken(format!(
                "only the first {mebibytes} MiB are read"
            )));
        }
        for (n, byte) in buffer[..got].iter().enumerate() {
            if !self.admits(*byte) {
                self.at += n as u64;
                self.found = Some(Ending::Broken(self.refusal()));
                return match n {
                    0 => self.fill(buffer),
                    _ => Ok(n),
                };
            }
        }
        self.at += got as u64;
        Ok(got)
    }

    fn refusal(&self) -> String {
        let at = self.at;
        if self.depth > MAX_DEPTH {
            return format!("more than {MAX_DEPTH} levels at byte {at}");
        }
        format!(
            "a string of more than {} KiB before byte {at}",
            MAX_STRING >> 10
        )
    }
}

impl Read for Guarded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill(buffer).map_err(|ending| {
            self.stopped.replace(Some(ending));
            io::ErrorKind::Other.into()
        })
    }
}
