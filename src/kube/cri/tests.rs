//! Tails of logs, against the simplest way to make them: everything read, put together forwards, and the end taken.

use std::cell::Cell;
use std::fs::File;
use std::io;

use proptest::prelude::*;

use super::line::Line;
use super::tail::{Bounds, Limits, LogFile, Tail, last_lines, last_lines_within};
use crate::identify::ReadAt;

const MANY: Limits = Limits {
    lines: 1_000,
    bytes: 100_000,
};

fn tail_of(files: &[&[u8]], limits: Limits) -> Tail {
    let files: Vec<_> = files
        .iter()
        .map(|bytes| LogFile {
            file: bytes,
            len: bytes.len() as u64,
        })
        .collect();
    last_lines_within(&files, limits, Bounds::of(limits))
}

/// The text with `T` for the time that all lines of a test begin with.
fn shown(files: &[&[u8]], limits: Limits) -> (String, usize, bool) {
    let tail = tail_of(files, limits);
    assert!(tail.unread.is_none());
    let text = tail.text.escape_ascii().to_string();
    (
        text.replace("2026-11-20T21:37:0", "T").replace("\\n", "|"),
        tail.lines,
        tail.cut,
    )
}

/// Lines as they are in a file: `0o F text` is written at second 0 to stdout.
fn cri(lines: &[&str]) -> Vec<u8> {
    let mut file = Vec::new();
    for line in lines {
        let stream = if line.as_bytes()[1] == b'o' {
            "stdout"
        } else {
            "stderr"
        };
        let line = format!("2026-11-20T21:37:0{}Z {stream}{}\n", &line[..1], &line[2..]);
        file.extend_from_slice(line.as_bytes());
    }
    file
}

#[test]
fn lines_are_put_together_from_their_parts_in_the_order_of_their_ends() {
    for (lines, expected) in [
        (&[][..], ""),
        (&["0o F a"], "T0Z a|"),
        (&["0o F a", "1e F b", "2o F c"], "T0Z a|T1Z b|T2Z c|"),
        (&["0o F ", "1o F \\0"], "T0Z |T1Z \\\\0|"),
        // Of the first part the time is kept.
        (&["0o P a", "1o P b", "2o F c"], "T0Z abc|"),
        (&["0o P a", "1o F ", "2o F c"], "T0Z a|T2Z c|"),
        (&["0o P:x a", "1o F:y b"], "T0Z ab|"),
        // Both streams at once.
        (&["0o P a", "1e P b", "2o F c", "3e F d"], "T0Z ac|T1Z bd|"),
        (
            &["0o P a", "1e F b", "2e F c", "3o F d"],
            "T1Z b|T2Z c|T0Z ad|",
        ),
        // The last part was never written.
        (&["0o F a", "1o P b", "2o P c"], "T0Z a|T1Z bc|"),
        (&["0o P a", "1e F b"], "T0Z a|T1Z b|"),
        (&["0o P a", "1e P b", "2o P c"], "T1Z b|T0Z ac|"),
    ] {
        let file = cri(lines);
        let lines = expected.matches('|').count();
        assert_eq!(shown(&[&file], MANY), (expected.to_owned(), lines, false));
    }
}

#[test]
fn a_line_goes_on_in_the_next_file() {
    let [a, b, c] = [
        cri(&["0o F x", "1o P a"]),
        cri(&["2o P b"]),
        cri(&["3o F c", "4o F y"]),
    ];
    let expected = ("T0Z x|T1Z abc|T4Z y|".to_owned(), 3, false);
    assert_eq!(shown(&[&a, &b, &c], MANY), expected);
    assert_eq!(shown(&[&a, b"", &b, &c, b""], MANY), expected);
    // A file that was rotated within a raw line: its halves are of no format, and stay.
    let (first, second) = c.split_at(10);
    let x = cri(&["0o F x"]);
    let expected = "T0Z x|2026-11-20|T21:37:03Z stdout F c|T4Z y|".to_owned();
    assert_eq!(shown(&[&x, first, second], MANY), (expected, 4, false));
}

#[test]
fn what_is_of_no_known_format_stays_as_it_is() {
    let t = "2026-11-20T21:37:0";
    for (file, expected) in [
        (b"hello\nworld\n".to_vec(), "hello|world|"),
        (b"hello".to_vec(), "hello|"),
        (b"\n".to_vec(), "|"),
        (b"\n\n".to_vec(), "||"),
        (b"a\n\nb\n\n".to_vec(), "a||b||"),
        (b"a\r\n\0\xff\x1b[0m".to_vec(), "a\\r|\\x00\\xff\\x1b[0m|"),
        (format!("{t}1Z stdout F a\r\n{t}2Z stdout F b").into_bytes(), "T1Z a\\r|T2Z b|"),
        // The node stopped while it was written.
        (format!("{t}1Z stdout F a\n{t}2Z std").into_bytes(), "T1Z a|T2Z std|"),
        // What is in between does not part a line.
        (format!("{t}1Z stdout P a\n??\n{t}2Z stdout F b\n").into_bytes(), "??|T1Z ab|"),
        (
            format!(
                "{{\"log\":\"a\",\"stream\":\"stdout\",\"time\":\"{t}1Z\"}}\n{{\"log\":\"x\\n\",\"stream\":\"stderr\",\"time\":\"{t}2Z\"}}\n{{\"log\":\"b\\n\",\"stream\":\"stdout\",\"time\":\"{t}3Z\"}}\n{{\"log\":\"torn"
            )
            .into_bytes(),
            "T2Z x|T1Z ab|{\\\"log\\\":\\\"torn|",
        ),
    ] {
        let lines = expected.matches('|').count();
        assert_eq!(shown(&[&file], MANY), (expected.to_owned(), lines, false));
    }
}

#[test]
fn the_newest_lines_that_fit_are_kept_whole_and_the_last_one_in_part() {
    let file = cri(&["0o F a", "1o P b", "2e F c", "3o F d"]);
    // `2026-11-20T21:37:01Z bd` and its line feed are 24 bytes, the line of stderr 23.
    for (lines, bytes, expected) in [
        (3, 70, ("T0Z a|T2Z c|T1Z bd|", 3, false)),
        (3, 69, ("T2Z c|T1Z bd|", 2, true)),
        (2, 70, ("T2Z c|T1Z bd|", 2, true)),
        (9, 47, ("T2Z c|T1Z bd|", 2, true)),
        (9, 46, ("T1Z bd|", 1, true)),
        (1, 99, ("T1Z bd|", 1, true)),
        (9, 24, ("T1Z bd|", 1, true)),
        (9, 23, ("026-11-20T21:37:01Z bd|", 1, true)),
        (9, 3, ("bd|", 1, true)),
        (9, 1, ("|", 1, true)),
        (9, 0, ("", 0, true)),
        (0, 99, ("", 0, true)),
    ] {
        let (text, kept, cut) = shown(&[&file], Limits { lines, bytes });
        assert_eq!((text.as_str(), kept, cut), expected, "{lines} {bytes}");
    }
    let none = Limits { lines: 0, bytes: 0 };
    assert_eq!(shown(&[b""], none), (String::new(), 0, false));
    assert_eq!(shown(&[], MANY), (String::new(), 0, false));
}

/// A file without end towards its beginning, whose every byte is told by its distance from the end; counts what was read.
struct Endless {
    len: u64,
    ends: Vec<u8>,
    repeats: Vec<u8>,
    read: Cell<u64>,
}

impl Endless {
    fn new(repeats: &[u8], ends: &[u8]) -> Self {
        Self {
            len: 10 << 30,
            ends: ends.to_vec(),
            repeats: repeats.to_vec(),
            read: Cell::new(0),
        }
    }

    fn tail(&self, limits: Limits) -> Tail {
        let file = LogFile {
            file: self,
            len: self.len,
        };
        last_lines_within(&[file], limits, Bounds::of(limits))
    }
}

impl ReadAt for Endless {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        for (n, byte) in buffer.iter_mut().enumerate() {
            let from_end = usize::try_from(self.len - 1 - offset).expect("near the end") - n;
            *byte = match from_end.checked_sub(self.ends.len()) {
                None => self.ends[self.ends.len() - 1 - from_end],
                Some(before) => self.repeats[self.repeats.len() - 1 - before % self.repeats.len()],
            };
        }
        self.read.set(self.read.get() + buffer.len() as u64);
        Ok(buffer.len())
    }
}

#[test]
fn a_file_of_10_gib_costs_no_more_than_what_is_taken_of_it() {
    let limits = Limits {
        lines: 100,
        bytes: 256 << 10,
    };
    let line = cri(&["0o F hello"]);
    let part = [
        &b"2026-11-20T21:37:00Z stdout P "[..],
        &[b'x'; 16_384],
        b"\n",
    ]
    .concat();
    let end = cri(&["1o F the end"]);
    let alone = cri(&["1e F the only one"]);
    for (repeats, ends, most, kept) in [
        (&line[..], &end[..], 64 << 10, 100),
        // The line of stderr could have parts before; they are not looked for to the beginning.
        (&line, &alone, 256 << 10, 100),
        // A line that never began, one without a line feed, and parts without content.
        (&part, &end, 384 << 10, 1),
        (b"x", b"", 384 << 10, 1),
        (b"x", &end, 512 << 10, 1),
        (&cri(&["0o P "]), &end, 3 << 20, 1),
        (b"\0", b"\n", 384 << 10, 1),
        (b"\n", b"", 64 << 10, 100),
    ] {
        let file = Endless::new(repeats, ends);
        let tail = file.tail(limits);
        assert!(tail.cut && tail.unread.is_none());
        assert!(tail.text.len() <= limits.bytes && tail.text.ends_with(b"\n"));
        assert_eq!(tail.lines, kept, "{}", ends.escape_ascii());
        assert!(file.read.get() <= most, "{} of {most}", file.read.get());
    }
}

#[test]
fn an_endless_line_is_given_by_its_end() {
    let limits = Limits { lines: 5, bytes: 8 };
    let tail = Endless::new(b"abcde", b"fin").tail(limits);
    assert_eq!(tail.text, b"bcdefin\n");
    let tail = Endless::new(b"abcde", b"fin\n").tail(limits);
    assert_eq!((tail.text, tail.lines), (b"bcdefin\n".to_vec(), 1));
}

/// Gives a byte a call after an interruption, and nothing before `from`.
struct Troubled<'a> {
    bytes: &'a [u8],
    from: u64,
    interrupted: Cell<bool>,
}

impl ReadAt for Troubled<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupted.set(!self.interrupted.get());
        if self.interrupted.get() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if offset < self.from {
            return Err(io::Error::other("a bad sector"));
        }
        self.bytes.read_at(offset, &mut buffer[..1])
    }
}

#[test]
fn what_was_read_before_a_file_cannot_be_read_is_given() {
    let bytes = cri(&["0o F a", "1o F b", "2o F c"]);
    let troubled = |from| Troubled {
        bytes: &bytes,
        from,
        interrupted: Cell::new(false),
    };
    let bounds = Bounds {
        block: 16,
        reach: 100,
        raw_line: 200_000,
        window: 1_000_000,
    };
    for (from, expected, lines) in [
        (0, "T0Z a|T1Z b|T2Z c|", 3),
        (20, "T2Z c|", 1),
        (999, "", 0),
    ] {
        let file = troubled(from);
        let files = [LogFile {
            file: &file,
            len: bytes.len() as u64,
        }];
        let tail = last_lines_within(&files, MANY, bounds);
        let text = tail.text.escape_ascii().to_string().replace("\\n", "|");
        assert_eq!(text.replace("2026-11-20T21:37:0", "T"), expected);
        assert_eq!((tail.lines, tail.cut), (lines, from > 0));
        assert_eq!(tail.unread.is_some(), from > 0);
    }
}

#[test]
fn a_file_that_shrank_is_read_as_far_as_it_is() {
    let bytes = cri(&["0o F a", "1o F b"]);
    let files = [LogFile {
        file: &bytes,
        len: 70_000,
    }];
    let tail = last_lines_within(&files, MANY, Bounds::of(MANY));
    assert_eq!((tail.lines, tail.cut), (2, false));
    assert!(tail.unread.is_none());
}

#[test]
fn files_are_read_from_the_disk_or_it_is_said_why_not() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let write = |name: &str, lines: &[&str]| {
        let path = dir.path().join(name);
        std::fs::write(&path, cri(lines))?;
        File::open(path)
    };
    let older = write("0.log.20261120-213702", &["0o F a", "1o P b"])?;
    let newer = write("0.log", &["2o F c"])?;
    let tail = last_lines(&[older, newer], MANY)?;
    assert_eq!(
        tail.text,
        b"2026-11-20T21:37:00Z a\n2026-11-20T21:37:01Z bc\n"
    );
    // A directory can be opened, and has a length, but cannot be read.
    let none = last_lines(&[File::open(dir.path())?], MANY);
    assert_eq!(
        none.err().map(|e| e.kind()),
        Some(io::ErrorKind::IsADirectory)
    );
    assert!(last_lines(&[], MANY)?.text.is_empty());
    Ok(())
}

/// A line of the simplest way, with the number of the raw line it ends in.
type Made = (usize, Vec<u8>);

/// A line that may go on.
struct Pending {
    made: Made,
    ends: u64,
}

/// The simplest way. Raw lines that reading backwards does not get to, by its bounds, are left out.
fn simplest(files: &[Vec<u8>], limits: Limits, bounds: Bounds) -> (Vec<u8>, usize, bool) {
    let total: usize = files.iter().map(Vec::len).sum();
    let mut cut = total as u64 > bounds.window;
    let mut made: Vec<Made> = Vec::new();
    let mut pending: [Option<Pending>; 2] = [None, None];
    let (mut at, mut number) = (0, 0);
    for file in files {
        let mut lines: Vec<_> = file.split(|b| *b == b'\n').collect();
        if lines.last().is_some_and(|last| last.is_empty()) {
            lines.pop();
        }
        for (n, raw) in lines.iter().enumerate() {
            let starts = (total - at) as u64;
            let ends = starts - raw.len() as u64;
            at = (at + raw.len() + 1).min(total);
            number += 1;
            let seen = starts < bounds.window || (starts == bounds.window && n == 0);
            let in_window = bounds.window.min(starts).saturating_sub(ends);
            if in_window > bounds.raw_line as u64 {
                let tail = &raw[raw.len() - in_window as usize..];
                made.push((number, [tail, b"\n"].concat()));
                continue;
            }
            if !seen {
                continue;
            }
            let Some(line) = Line::parse(raw) else {
                made.push((number, [raw, &b"\n"[..]].concat()));
                continue;
            };
            let slot = &mut pending[line.stream as usize];
            let near = slot.take_if(|earlier| earlier.ends - starts <= bounds.reach);
            made.extend(slot.take().map(|earlier| earlier.made));
            let mut text = match near {
                Some(earlier) => earlier.made.1,
                None => [&line.time[..], b" "].concat(),
            };
            text.extend_from_slice(&line.content);
            if line.partial {
                let made = (number, text);
                *slot = Some(Pending { made, ends });
            } else {
                text.push(b'\n');
                made.push((number, text));
            }
        }
        // A file without a line feed at its end still ends its last line.
        at = files_until(files, file);
    }
    made.extend(pending.into_iter().flatten().map(|rest| rest.made));
    made.sort();
    for (_, text) in &mut made {
        if !text.ends_with(b"\n") {
            text.push(b'\n');
        }
    }
    let (mut bytes, mut lines) = (0, 0);
    for (_, text) in made.iter().rev().take(limits.lines) {
        if bytes + text.len() > limits.bytes && lines > 0 {
            break;
        }
        bytes += text.len();
        lines += 1;
    }
    cut |= lines < made.len() || bytes > limits.bytes;
    let kept = &made[made.len() - lines..];
    let mut text: Vec<u8> = kept.iter().flat_map(|(_, text)| text.clone()).collect();
    text.drain(..text.len() - text.len().min(limits.bytes));
    if text.is_empty() {
        lines = 0;
    }
    (text, lines, cut)
}

/// Bytes of the files up to the end of this one.
fn files_until(files: &[Vec<u8>], last: &Vec<u8>) -> usize {
    let end = files
        .iter()
        .position(|file| std::ptr::eq(file, last))
        .expect("one of them");
    files[..=end].iter().map(Vec::len).sum()
}

fn a_line() -> impl Strategy<Value = Vec<u8>> {
    let time = prop_oneof![
        Just("2026-11-20T21:37:00Z"),
        Just("2026-11-20T21:37:00.5Z"),
        Just("2026-11-20T21:37:00.123456789Z"),
    ];
    let stream = prop_oneof![Just("stdout"), Just("stderr")];
    let tag = prop_oneof![3 => Just("P"), 2 => Just("F"), 1 => Just("F:x")];
    let content = prop_oneof![9 => "[a-c]{0,6}", 1 => "[a-z ]{0,90}"];
    prop_oneof![
        8 => (time.clone(), stream.clone(), tag, content.clone())
            .prop_map(|(time, stream, tag, content)| format!("{time} {stream} {tag} {content}")),
        2 => (time, stream, content, prop_oneof![Just(""), Just("\\n")]).prop_map(
            |(time, stream, log, feed)| format!(
                r#"{{"log":"{log}{feed}","stream":"{stream}","time":"{time}"}}"#
            )
        ),
        1 => "[ -~]{0,40}",
        1 => Just(String::new()),
    ]
    .prop_map(String::into_bytes)
}

fn files() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let text = prop::collection::vec(a_line(), 0..25).prop_map(|lines| lines.join(&b'\n'));
    (
        text,
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        any::<bool>(),
    )
        .prop_map(|(mut text, cuts, feed)| {
            if feed {
                text.push(b'\n');
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.sort_unstable();
            let mut files = Vec::new();
            for cut in cuts.into_iter().rev() {
                files.push(text.split_off(cut));
            }
            files.push(text);
            files.reverse();
            files
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_tail_is_the_end_of_what_the_simplest_way_makes(
        files in files(),
        lines in prop_oneof![0_usize..6, Just(1_000)],
        bytes in prop_oneof![0_usize..300, Just(100_000)],
        block in prop_oneof![1_usize..80, Just(100_000)],
        reach in prop_oneof![0_u64..300, Just(100_000)],
        longer in prop_oneof![0_usize..80, Just(100_000)],
        window in prop_oneof![1_u64..1_500, Just(1_000_000)],
    ) {
        let limits = Limits { lines, bytes };
        let raw_line = bytes.max(reach as usize) + longer;
        let bounds = Bounds { block, reach, raw_line, window };
        let read: Vec<_> = files
            .iter()
            .map(|file| LogFile { file, len: file.len() as u64 })
            .collect();
        let tail = last_lines_within(&read, limits, bounds);
        let (text, lines, cut) = simplest(&files, limits, bounds);
        prop_assert_eq!(tail.text.escape_ascii().to_string(), text.escape_ascii().to_string());
        prop_assert_eq!((tail.lines, tail.cut), (lines, cut));
    }

    #[test]
    fn any_bytes_are_read_and_none_is_made_up(bytes in prop::collection::vec(any::<u8>(), 0..400), block in 1_usize..50) {
        let bounds = Bounds { block, reach: 50, raw_line: 200_000, window: 1_000_000 };
        let file = LogFile { file: &bytes, len: bytes.len() as u64 };
        let tail = last_lines_within(&[file], MANY, bounds);
        let mut expected = bytes.clone();
        if expected.last().is_some_and(|last| *last != b'\n') {
            expected.push(b'\n');
        }
        prop_assert_eq!(tail.text, expected);
    }
}
