//! The lines of a report, each bounded, from the beginning of a file or from its end.

use super::super::read_at::{Source, Unread};

/// Most bytes kept of a line; the rest of a longer one is passed over. The longest that is read is a C++ frame with its types.
const LINE: usize = 4 << 10;

const STEP: usize = 64 << 10;

/// Calls `take` with each line of the first `limit` bytes, without its end, until it says that it has enough. A line without an end is
/// none: half of its last number would look like a whole one.
pub(super) fn each(
    source: &Source<'_>,
    limit: u64,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<(), Unread> {
    let mut buffer = vec![0; STEP];
    let mut line = Vec::with_capacity(LINE);
    let mut at = 0;
    while at < limit {
        let want = usize::try_from(limit - at).map_or(STEP, |left| left.min(STEP));
        let got = source.fill(at, &mut buffer[..want])?;
        at += got as u64;
        let mut rest = &buffer[..got];
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            extend(&mut line, &rest[..end]);
            rest = &rest[end + 1..];
            if !take(&line) {
                return Ok(());
            }
            line.clear();
        }
        extend(&mut line, rest);
        if got < want {
            break;
        }
    }
    Ok(())
}

fn extend(line: &mut Vec<u8>, part: &[u8]) {
    let room = LINE.saturating_sub(line.len());
    line.extend_from_slice(&part[..part.len().min(room)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], limit: u64) -> Vec<Vec<u8>> {
        let bytes = bytes.to_vec();
        let source = Source::new(&bytes, bytes.len() as u64);
        let mut lines = Vec::new();
        each(&source, limit, |line| {
            lines.push(line.to_vec());
            true
        })
        .expect("readable");
        lines
    }

    #[test]
    fn lines_are_those_of_the_file() {
        assert_eq!(lines(b"a\n\nbc\nd", 100), [&b"a"[..], b"", b"bc"]);
        assert_eq!(lines(b"a\nb\n", 100), [b"a", b"b"]);
        assert_eq!(lines(b"a\nbcd\n", 4), [b"a"]);
        assert!(lines(b"", 100).is_empty());
    }

    #[test]
    fn a_line_over_several_steps_is_one_line_and_bounded() {
        let mut bytes = vec![b'x'; 3 * STEP + 17];
        bytes.extend_from_slice(b"\nend\n");
        let lines = lines(&bytes, u64::MAX);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], vec![b'x'; LINE]);
        assert_eq!(lines[1], b"end");
    }
}
