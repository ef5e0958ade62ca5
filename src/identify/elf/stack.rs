//! The strings at the top of the first thread's stack, where the kernel put them when the program started:
//!
//! ```text
//! low  … argc │ argv[] │ envp[] │ auxv[] … AT_RANDOM 16 B │ platform │ argument strings │ environment strings │ AT_EXECFN string  high
//! ```
//!
//! Owns finding `HOSTNAME=` among the environment strings and the string the program was started by. Everything else there is
//! secret: it passes through one buffer of a few hundred bytes and is forgotten. No pointers are followed: the program could have
//! changed them, and the strings lie between two addresses that the kernel's own table gives. A program that writes over its
//! environment to show a title has overwritten the name as well.

use std::ops::Range;

use super::super::read_at::{Source, Unread, Window};
use super::descriptors::Auxv;
use super::files::MAX_NAME;
use super::memory::{Memory, Piece};

/// Most bytes of strings read. 3,000 service variables make about 100 kB; `ARG_MAX` is 2 MiB by default.
const MAX_STRINGS: u64 = 2 << 20;

/// The bytes that `AT_RANDOM` points at.
const RANDOM: u64 = 16;

/// The addresses between which the environment strings are; empty where the auxiliary vector does not tell.
pub(super) fn strings(auxv: &Auxv) -> Range<u64> {
    let Some(top) = auxv.exec_name else {
        return 0..0;
    };
    let lowest = top.saturating_sub(MAX_STRINGS);
    let bottom = auxv
        .random
        .map_or(lowest, |random| random.saturating_add(RANDOM));
    bottom.max(lowest)..top
}

/// The value of the last `HOSTNAME=` string, which is the environment's: arguments come before it. None where it is no DNS name, and
/// none where memory between it and the end of the strings is missing, because then it may not be the last. The small types of
/// `createdump` leave the strings out when the first thread crashed in native code: its handler runs on another stack.
pub(super) fn host_name(
    source: &Source<'_>,
    pieces: &[Piece],
    strings: &Range<u64>,
) -> Result<Option<String>, Unread> {
    const STEP: usize = 16 << 10;
    let mut scan = Scan::default();
    let mut window = Window::new(source);
    let mut next = strings.start;
    for piece in pieces {
        if piece.address != next {
            scan.gap();
        }
        next = piece.address.saturating_add(piece.size);
        let mut done = 0;
        while done < piece.size {
            let want = usize::try_from(piece.size - done).map_or(STEP, |left| left.min(STEP));
            scan.feed(window.exact(piece.offset + done, want)?);
            done += want as u64;
        }
    }
    if next != strings.end {
        return Err(Unread::Nonsense("the dump does not have them"));
    }
    Ok(scan.found)
}

/// The string at `AT_EXECFN`: the path the program was started by, as it was given.
pub(super) fn exec_name(source: &Source<'_>, auxv: &Auxv, memory: &Memory) -> Option<Vec<u8>> {
    let place = memory.places.get(&auxv.exec_name?)?;
    let mut bytes = [0; MAX_NAME];
    let room = usize::try_from(place.room).map_or(MAX_NAME, |room| room.min(MAX_NAME));
    let got = source.fill(place.offset, &mut bytes[..room]).ok()?;
    let length = bytes[..got].iter().position(|b| *b == 0)?;
    (length > 0).then(|| bytes[..length].to_vec())
}

const KEY: &[u8] = b"HOSTNAME=";

/// Longest DNS name.
const MAX_HOST_NAME: usize = 253;

/// Splits a stream of bytes at NULs and looks at each string once. Holds at most one candidate.
#[derive(Default)]
struct Scan {
    /// The string so far, while it can still be what is sought.
    text: Vec<u8>,
    /// The string so far is something else: skip to the next NUL.
    skip: bool,
    found: Option<String>,
}

impl Scan {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let end = bytes.iter().position(|b| *b == 0);
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.extend(part);
            bytes = match end {
                Some(_) => {
                    self.finish();
                    &rest[1..]
                }
                None => rest,
            };
        }
    }

    fn extend(&mut self, part: &[u8]) {
        if self.skip {
            return;
        }
        let room = (KEY.len() + MAX_HOST_NAME + 1).saturating_sub(self.text.len());
        self.text.extend_from_slice(&part[..part.len().min(room)]);
        let shared = self.text.len().min(KEY.len());
        self.skip = self.text[..shared] != KEY[..shared];
    }

    fn finish(&mut self) {
        if !self.skip
            && let Some(value) = self.text.strip_prefix(KEY)
        {
            // One byte more than a name can have was kept of a longer value, so it is refused.
            self.found = dns_name(value);
        }
        self.text.clear();
        self.skip = false;
    }

    /// Bytes are missing here: what was found may not be the last, what was begun has no end, what comes next no beginning.
    fn gap(&mut self) {
        self.text.clear();
        self.skip = true;
        self.found = None;
    }
}

/// The value as text if it is a DNS-1123 subdomain, which every pod's host name is.
fn dns_name(value: &[u8]) -> Option<String> {
    let end = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |label: &[u8]| {
        label.first().is_some_and(end)
            && label.last().is_some_and(end)
            && label.iter().all(|b| end(b) || *b == b'-')
    };
    let valid = value.len() <= MAX_HOST_NAME && value.split(|b| *b == b'.').all(label);
    valid
        .then(|| std::str::from_utf8(value).ok())?
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(steps: &[&[u8]]) -> Option<String> {
        let mut scan = Scan::default();
        for step in steps {
            scan.feed(step);
        }
        scan.found
    }

    #[test]
    fn the_last_host_name_wins_because_arguments_come_first() {
        let strings: &[u8] =
            b"\0\0x86_64\0./app\0HOSTNAME=argument\0PATH=/bin\0HOSTNAME=my-app-7d9f6c5b8-x2x9z\0TERM=x\0";
        assert_eq!(scan(&[strings]).as_deref(), Some("my-app-7d9f6c5b8-x2x9z"));
        for cut in 0..strings.len() {
            let (a, b) = strings.split_at(cut);
            assert_eq!(
                scan(&[a, b]).as_deref(),
                Some("my-app-7d9f6c5b8-x2x9z"),
                "split at {cut}"
            );
        }
    }

    #[test]
    fn only_a_whole_string_of_that_name_counts() {
        for other in [
            &b"OLD_HOSTNAME=a\0"[..],
            b"HOSTNAME\0",
            b"HOSTNAME=never-ended",
            b"hostname=a\0",
            b"\0\0\0",
            b"",
        ] {
            assert_eq!(scan(&[other]), None, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn a_value_that_is_no_dns_name_is_left_out() {
        let long = vec![b'a'; 254];
        for value in [
            &b""[..],
            b"Upper",
            b"-a",
            b"a-",
            b"a..b",
            b".a",
            b"a.",
            b"a_b",
            b"a/../b",
            b"a\nb",
            b"\xc3\xa4",
            &long,
        ] {
            let strings = [KEY, value, b"\0"].concat();
            assert_eq!(scan(&[&strings]), None, "{}", value.escape_ascii());
        }
        for value in [&b"a"[..], b"0", b"a.b-c.9", &long[..253]] {
            let strings = [KEY, value, b"\0"].concat();
            assert_eq!(
                scan(&[&strings]).map(String::into_bytes).as_deref(),
                Some(value)
            );
        }
    }

    #[test]
    fn a_gap_in_memory_neither_ends_nor_begins_a_string() {
        let mut cut = Scan::default();
        cut.feed(b"HOSTNAME=half");
        cut.gap();
        cut.feed(b"HOSTNAME=other\0");
        assert_eq!(cut.found, None);
        cut.feed(b"HOSTNAME=whole\0");
        assert_eq!(cut.found.as_deref(), Some("whole"));
        cut.gap();
        assert_eq!(cut.found, None, "a later one may be missing");
    }

    #[test]
    fn a_hostile_string_is_not_held() {
        let mut scan = Scan::default();
        for _ in 0..1_000 {
            scan.feed(&[b'H'; 4_096]);
            scan.feed(b"\0HOSTNAME=");
            scan.feed(&[b'a'; 4_096]);
            assert!(scan.text.capacity() < 4_096);
        }
        scan.feed(b"\0HOSTNAME=short\0HOSTNAME=");
        scan.feed(&[b'a'; 4_096]);
        scan.feed(b"\0");
        assert_eq!(scan.found, None, "the last one is none");
    }

    #[test]
    fn the_strings_are_looked_for_in_two_mebibytes_at_most() {
        let auxv = |random, exec_name| Auxv {
            random,
            exec_name,
            ..Auxv::default()
        };
        assert_eq!(strings(&auxv(Some(0x1000), Some(0x2000))), 0x1010..0x2000);
        assert_eq!(
            strings(&auxv(Some(0x1000), Some(1 << 40))),
            (1 << 40) - MAX_STRINGS..1 << 40
        );
        assert_eq!(
            strings(&auxv(None, Some(1 << 40))),
            (1 << 40) - MAX_STRINGS..1 << 40
        );
        assert!(strings(&auxv(Some(0x3000), Some(0x2000))).is_empty());
        assert!(strings(&auxv(Some(u64::MAX), Some(0x2000))).is_empty());
        assert!(strings(&auxv(Some(0x1000), None)).is_empty());
    }
}
