//! Reading logs from their end.

use std::fs::File;
use std::io;

use super::joined::{Newest, Place};
use super::line::Line;
use crate::identify::ReadAt;

/// Bytes of a read.
const BLOCK: usize = 64 << 10;

/// Most bytes between two parts of a line. Parts follow each other but for what the other stream wrote in between; without a bound, the one line a
/// container wrote to its stderr would have the whole of its stdout searched for an earlier part of it. Eight parts of containerd's 16 KiB.
const REACH: u64 = 128 << 10;

/// Bytes that the format adds to a line at most: a time, a stream and tags.
const HEAD: usize = 256;

/// A file of a log.
#[derive(Clone, Copy)]
pub(super) struct LogFile<'a> {
    /// The file.
    pub(super) file: &'a dyn ReadAt,
    /// Its length; what is written behind it is not read.
    pub(super) len: u64,
}

/// Most of a log that is taken.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Lines, parts put together.
    pub lines: usize,
    /// Bytes of the text.
    pub bytes: usize,
}

/// The last lines of a log.
#[derive(Debug, Default)]
pub struct Tail {
    /// `<time> <content>` per line, as `kubectl logs --timestamps` prints them; what is of no known format stays as it is.
    pub text: Vec<u8>,
    /// How many lines it has.
    pub lines: usize,
    /// Whether there was more before it.
    pub cut: bool,
    /// What kept more from being read; what is behind it is here nevertheless.
    pub unread: Option<io::Error>,
}

/// How a text is read. Beside the limits, for tests to make small.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of a read.
    pub(super) block: usize,
    /// Most bytes between two parts of a line.
    pub(super) reach: u64,
    /// Longest raw line that is looked into; not below `reach` and the limit in bytes, or earlier lines could matter.
    pub(super) raw_line: usize,
    /// Most bytes that are read.
    pub(super) window: u64,
}

impl Bounds {
    pub(super) fn of(limits: Limits) -> Self {
        let raw_line = limits.bytes.max(128 << 10).saturating_add(HEAD);
        Self {
            block: BLOCK,
            reach: REACH,
            raw_line,
            // JSON makes six bytes of a control character. More than that only what has hardly a byte of content per line can need.
            window: (raw_line as u64).saturating_mul(8),
        }
    }
}

/// The last lines of a log in these files, the newest last.
///
/// The newest lines that fit are kept, each whole; if not even the last one fits, it is cut at its beginning. Parts of a line are put together, also
/// over files, and stand where the last of them stood; a line whose end was never written is given as far as it was. Takes memory of about twice the
/// limit in bytes, and reads eight times as much at most, whatever is in the files.
///
/// # Errors
/// Nothing can be read. Where it is the older lines only, the tail says so.
pub fn last_lines(newest_last: &[File], limits: Limits) -> io::Result<Tail> {
    let mut files: Vec<LogFile<'_>> = Vec::with_capacity(newest_last.len());
    for file in newest_last {
        let len = file.metadata()?.len();
        files.push(LogFile { file, len });
    }
    let tail = last_lines_within(&files, limits, Bounds::of(limits));
    match tail.unread {
        Some(error) if tail.text.is_empty() => Err(error),
        unread => Ok(Tail { unread, ..tail }),
    }
}

pub(super) fn last_lines_within(
    newest_last: &[LogFile<'_>],
    limits: Limits,
    bounds: Bounds,
) -> Tail {
    let mut newest = Newest::new(limits, bounds.reach);
    let mut reading = Reading {
        bounds,
        limits,
        newest: &mut newest,
        block: vec![0; bounds.block],
        left: bounds.window,
        behind: 0,
    };
    let mut unread = None;
    for file in newest_last.iter().rev() {
        match reading.file(*file) {
            Ok(Then::GoOn) => {}
            Ok(Then::Stop) => break,
            Err(error) => {
                reading.newest.cut = true;
                unread = Some(error);
                break;
            }
        }
    }
    drop(reading);
    let (text, lines, cut) = newest.into_text();
    Tail {
        text,
        lines,
        cut,
        unread,
    }
}

enum Then {
    GoOn,
    Stop,
}

struct Reading<'a> {
    bounds: Bounds,
    limits: Limits,
    newest: &'a mut Newest,
    block: Vec<u8>,
    /// Bytes that may still be read.
    left: u64,
    /// Bytes of the files that were read, all newer.
    behind: u64,
}

impl Reading<'_> {
    /// Reads a file from its end, as far as it matters.
    fn file(&mut self, file: LogFile<'_>) -> io::Result<Then> {
        let mut unread = file.len;
        let mut begun = Begun::default();
        // What is behind the last line feed is a line only if there is something.
        let mut at_end = true;
        while unread > 0 {
            let room = self.left.min(unread);
            let size = usize::try_from(room).map_or(self.block.len(), |n| n.min(self.block.len()));
            if size == 0 {
                self.newest.cut = true;
                return Ok(Then::Stop);
            }
            unread -= size as u64;
            self.left -= size as u64;
            let read = fill(file.file, unread, &mut self.block[..size])?;
            let block = &self.block[..read];
            let mut end = read;
            while let Some(feed) = block[..end].iter().rposition(|b| *b == b'\n') {
                let piece = &block[feed + 1..end];
                end = feed;
                if std::mem::take(&mut at_end) && piece.is_empty() && begun.len == 0 {
                    continue;
                }
                let starts = self.behind + (file.len - unread - feed as u64 - 1);
                let line = begun.finish(piece);
                take(self.newest, &line, starts, self.bounds.raw_line);
                if self.newest.done() {
                    return Ok(Then::Stop);
                }
            }
            at_end &= end == 0;
            begun.push(&block[..end]);
            if begun.len > self.bounds.raw_line {
                // More than fits, whatever is before it.
                let line = begun.finish(&[]);
                let starts = self.behind + (file.len - unread);
                let rest = &line[line.len() - line.len().min(self.limits.bytes)..];
                let ends = starts - line.len() as u64;
                self.newest.take_as_it_is(rest, Place { starts, ends });
                self.newest.cut = true;
                return Ok(Then::Stop);
            }
        }
        if !at_end {
            let line = begun.finish(&[]);
            take(
                self.newest,
                &line,
                self.behind + file.len,
                self.bounds.raw_line,
            );
        }
        self.behind += file.len;
        Ok(match self.newest.done() {
            true => Then::Stop,
            false => Then::GoOn,
        })
    }
}

fn take(newest: &mut Newest, raw: &[u8], starts: u64, longest: usize) {
    let ends = starts - raw.len() as u64;
    let place = Place { starts, ends };
    let line = (raw.len() <= longest).then(|| Line::parse(raw)).flatten();
    match line {
        Some(line) => newest.take(line, place),
        None => newest.take_as_it_is(raw, place),
    }
}

/// The end of a line whose beginning was not read yet.
#[derive(Default)]
struct Begun {
    /// Last pieces first.
    pieces: Vec<Vec<u8>>,
    len: usize,
}

impl Begun {
    fn push(&mut self, piece: &[u8]) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push(piece.to_owned());
        }
    }

    /// The line, with its first piece; the next one is begun.
    fn finish<'a>(&mut self, first: &'a [u8]) -> std::borrow::Cow<'a, [u8]> {
        if self.pieces.is_empty() {
            return first.into();
        }
        let mut line = Vec::with_capacity(first.len() + self.len);
        line.extend_from_slice(first);
        while let Some(piece) = self.pieces.pop() {
            line.extend_from_slice(&piece);
        }
        self.len = 0;
        line.into()
    }
}

/// Reads until `buffer` is full or the file ends: one that was truncated has less than it had.
fn fill(file: &dyn ReadAt, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(offset + done as u64, &mut buffer[done..]) {
            Ok(0) => break,
            Ok(n) => done = (done + n).min(buffer.len()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
