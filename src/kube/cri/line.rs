//! One line of a log as a container runtime writes it.
//!
//! containerd and CRI-O write `2026-11-20T21:37:07.123456789Z stderr F text`; `F` ends a line, `P` is a part of one that was longer than the runtime's
//! buffer, and further tags may follow after a colon. Docker's json-file has an object per line, whose text ends in a line feed where the line does.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

/// What a container wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(super) const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"stdout" => Some(Self::Stdout),
            b"stderr" => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// A line, or a part of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// As it is written: to the nanosecond, with or without the zeros at its end.
    pub(super) time: Cow<'a, [u8]>,
    pub(super) stream: Stream,
    /// Whether the line goes on in the stream's next one.
    pub(super) partial: bool,
    pub(super) content: Cow<'a, [u8]>,
}

impl<'a> Line<'a> {
    /// Reads a line, without its line feed; nothing, if it is of neither format.
    pub(super) fn parse(raw: &'a [u8]) -> Option<Self> {
        match raw.first() {
            Some(b'{') => json_file(raw),
            _ => cri(raw),
        }
    }
}

fn cri(raw: &[u8]) -> Option<Line<'_>> {
    let (time, rest) = word(raw)?;
    let (stream, rest) = word(rest)?;
    let (tags, content) = word(rest)?;
    let partial = match tags.split(|b| *b == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    is_time(std::str::from_utf8(time).ok()?).then_some(())?;
    Some(Line {
        time: time.into(),
        stream: Stream::named(stream)?,
        partial,
        content: content.into(),
    })
}

/// What is before the first space, and what is behind it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|b| *b == b' ')?;
    Some((&text[..at], &text[at + 1..]))
}

fn is_time(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok()
}

#[derive(Deserialize)]
struct JsonFile<'a> {
    log: String,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

fn json_file(raw: &[u8]) -> Option<Line<'_>> {
    let JsonFile { log, stream, time } = serde_json::from_slice(raw).ok()?;
    is_time(&time).then_some(())?;
    let mut content = log.into_bytes();
    let whole = content.pop_if(|last| *last == b'\n').is_some();
    Some(Line {
        time: time.into_owned().into_bytes().into(),
        stream: Stream::named(stream.as_bytes())?,
        partial: !whole,
        content: content.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(raw: &[u8]) -> Option<String> {
        let line = Line::parse(raw)?;
        Some(format!(
            "{} {:?} {} {}",
            line.time.escape_ascii(),
            line.stream,
            if line.partial { "P" } else { "F" },
            line.content.escape_ascii()
        ))
    }

    #[test]
    fn lines_of_both_formats_are_read() {
        for (raw, expected) in [
            (&b"2026-11-20T21:37:07.123456789Z stdout F hi there"[..], "2026-11-20T21:37:07.123456789Z Stdout F hi there"),
            (b"2026-11-20T21:37:07Z stderr P x", "2026-11-20T21:37:07Z Stderr P x"),
            (b"2026-11-20T22:37:07.5+01:00 stderr F:x:P x", "2026-11-20T22:37:07.5+01:00 Stderr F x"),
            (b"2026-11-20T21:37:07Z stderr P:x  x ", "2026-11-20T21:37:07Z Stderr P  x "),
            (b"2026-11-20T21:37:07Z stdout F ", "2026-11-20T21:37:07Z Stdout F "),
            (b"2026-11-20T21:37:07Z stdout F x\r", "2026-11-20T21:37:07Z Stdout F x\\r"),
            (b"2026-11-20T21:37:07Z stdout F \0\x1b[1m\xff", "2026-11-20T21:37:07Z Stdout F \\x00\\x1b[1m\\xff"),
            (br#"{"log":"a\tb\n","stream":"stderr","time":"2026-11-20T21:37:07.5Z"}"#, "2026-11-20T21:37:07.5Z Stderr F a\\tb"),
            (br#"{"log":"a","stream":"stdout","attrs":{"x":["y"]},"time":"2026-11-20T21:37:07.5Z"}"#, "2026-11-20T21:37:07.5Z Stdout P a"),
            (br#"{"log":"\n\n","stream":"std\u006fut","time":"2026-11-20T21:37:07.5Z"} "#, "2026-11-20T21:37:07.5Z Stdout F \\n"),
            (br#"{"log":"","stream":"stdout","time":"2026-11-20T21:37:07.5Z"}"#, "2026-11-20T21:37:07.5Z Stdout P "),
        ] {
            assert_eq!(told(raw).as_deref(), Some(expected), "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn what_is_of_neither_format_is_not_read() {
        for raw in [
            &b""[..],
            b" ",
            b"hello",
            b"2026-11-20T21:37:07Z",
            b"2026-11-20T21:37:07Z stdout",
            // The kubelet wants a space after the tag too.
            b"2026-11-20T21:37:07Z stdout F",
            b"2026-11-20T21:37:07Z stdout  x",
            b"2026-11-20T21:37:07Z stdout X x",
            b"2026-11-20T21:37:07Z stdlog F x",
            b"2026-11-20T21:37 stdout F x",
            b"yesterday stdout F x",
            b"\xff stdout F x",
            b" 2026-11-20T21:37:07Z stdout F x",
            b"{",
            b"{}",
            br#"{"log":"a\n","stream":"stdout"}"#,
            br#"{"log":"a\n","stream":"stdlog","time":"2026-11-20T21:37:07Z"}"#,
            br#"{"log":"a\n","stream":"stdout","time":"soon"}"#,
            br#"{"log":5,"stream":"stdout","time":"2026-11-20T21:37:07Z"}"#,
            br#"{"log":"a\n","stream":"stdout","time":"2026-11-20T21:37"#,
            br#"{"log":"a\n","stream":"stdout","time":"2026-11-20T21:37:07Z"}{}"#,
            b"{\"log\":\"\xff\",\"stream\":\"stdout\",\"time\":\"2026-11-20T21:37:07Z\"}",
        ] {
            assert_eq!(told(raw), None, "{}", raw.escape_ascii());
        }
    }
}
