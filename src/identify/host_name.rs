//! `HOSTNAME=` among a process's environment strings.
//!
//! Owns picking this one variable out of a stream of NUL-terminated strings, and the check that its value is a DNS name. All other
//! strings are secret: they pass through one buffer of a few hundred bytes and are forgotten.

const KEY: &[u8] = b"HOSTNAME=";

/// Longest DNS name.
const MAX_HOST_NAME: usize = 253;

/// Splits a stream of bytes at NULs and looks at each string once. Holds at most one candidate.
#[derive(Default)]
pub(super) struct Scan {
    /// The string so far, while it can still be what is sought.
    text: Vec<u8>,
    /// The string so far is something else: skip to the next NUL.
    skip: bool,
    found: Option<String>,
}

impl Scan {
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
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

    /// The value of the last `HOSTNAME=` string, if it is a DNS name.
    pub(super) fn into_found(self) -> Option<String> {
        self.found
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
    pub(super) fn gap(&mut self) {
        self.text.clear();
        self.skip = true;
        self.found = None;
    }
}

/// The value as text if it is a DNS-1123 subdomain, which every pod's host name is.
pub(super) fn dns_name(value: &[u8]) -> Option<String> {
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
}
