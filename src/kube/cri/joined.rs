//! Lines put together from their parts, the newest first, and no more of them than the limits let through.
//!
//! A line stands where its last part stands. Read backwards, a line is known from its end: whether an earlier part belongs to it shows when an
//! earlier line of its stream comes, or none within reach. Until then it is open, and only gets longer: so what does not fit can be dropped at once.

use super::line::{Line, Stream};
use super::tail::Limits;

/// Where a raw line is, in bytes before the end of the text.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Of its first byte.
    pub(super) starts: u64,
    /// Of the line feed behind it.
    pub(super) ends: u64,
}

/// A line of the result.
struct Joined {
    /// When its first part was written; absent for what is of no known format.
    time: Option<Vec<u8>>,
    /// The newest first.
    parts: Vec<Vec<u8>>,
    /// Bytes it is counted with: its content and line feed, and its time once it is closed: an earlier part may have a shorter one.
    counted: usize,
    /// Where its first part starts.
    starts: u64,
}

/// The newest lines.
pub(super) struct Newest {
    limits: Limits,
    /// Most bytes between two parts of a line.
    reach: u64,
    /// The newest first.
    lines: Vec<Joined>,
    /// What they are counted with.
    counted: usize,
    /// The line of each stream that may get earlier parts.
    open: [Option<usize>; 2],
    /// Nothing earlier fits.
    full: bool,
    /// Something earlier was there.
    pub(super) cut: bool,
}

impl Newest {
    pub(super) fn new(limits: Limits, reach: u64) -> Self {
        Self {
            limits,
            reach,
            lines: Vec::new(),
            counted: 0,
            open: [None; 2],
            full: false,
            cut: false,
        }
    }

    /// Whether nothing that comes would change anything.
    pub(super) fn done(&self) -> bool {
        self.full && self.open == [None; 2]
    }

    /// Takes a line of a known format that is before all taken so far.
    pub(super) fn take(&mut self, line: Line<'_>, place: Place) {
        self.close_beyond_reach(place);
        let of_stream = line.stream as usize;
        if line.partial
            && let Some(open) = self.open[of_stream]
        {
            self.prepend(open, line, place);
        } else {
            self.close(line.stream);
            let index = self.lines.len();
            if self.push(
                Some(line.time.into_owned()),
                line.content.into_owned(),
                place,
            ) {
                self.open[of_stream] = Some(index);
            }
        }
        self.drop_what_does_not_fit();
    }

    /// Takes a line of no known format that is before all taken so far.
    pub(super) fn take_as_it_is(&mut self, content: &[u8], place: Place) {
        self.close_beyond_reach(place);
        self.push(None, content.to_owned(), place);
        self.drop_what_does_not_fit();
    }

    fn push(&mut self, time: Option<Vec<u8>>, content: Vec<u8>, place: Place) -> bool {
        if self.full {
            self.cut = true;
            return false;
        }
        let counted = content.len() + 1;
        self.counted += counted;
        self.lines.push(Joined {
            time,
            parts: vec![content],
            counted,
            starts: place.starts,
        });
        true
    }

    fn prepend(&mut self, index: usize, part: Line<'_>, place: Place) {
        let line = &mut self.lines[index];
        self.counted += part.content.len();
        line.counted += part.content.len();
        line.time = Some(part.time.into_owned());
        line.starts = place.starts;
        line.parts.push(part.content.into_owned());
    }

    fn close_beyond_reach(&mut self, earlier: Place) {
        for stream in Stream::ALL {
            let open = self.open[stream as usize].map(|index| self.lines[index].starts);
            if open.is_some_and(|starts| earlier.ends.saturating_sub(starts) > self.reach) {
                self.close(stream);
            }
        }
    }

    fn close(&mut self, stream: Stream) {
        if let Some(index) = self.open[stream as usize].take() {
            let line = &mut self.lines[index];
            let time = line.time.as_ref().map_or(0, |time| time.len() + 1);
            line.counted += time;
            self.counted += time;
            self.drop_what_does_not_fit();
        }
    }

    /// Drops the earliest lines until the others fit. The newest stays whatever its length: it is cut when it is written.
    fn drop_what_does_not_fit(&mut self) {
        while self.lines.len() > self.limits.lines
            || (self.counted > self.limits.bytes && self.lines.len() > 1)
        {
            self.counted -= self.lines.pop().map_or(0, |line| line.counted);
            let dropped = Some(self.lines.len());
            for open in &mut self.open {
                if *open == dropped {
                    *open = None;
                }
            }
            self.full = true;
            self.cut = true;
        }
        if self.counted > self.limits.bytes {
            // One line is left, and what is kept of it is in its last parts.
            self.open = [None; 2];
            self.full = true;
        }
    }

    /// The text of the lines, and how many they are.
    pub(super) fn into_text(mut self) -> (Vec<u8>, usize, bool) {
        for stream in Stream::ALL {
            self.close(stream);
        }
        let mut text = Vec::with_capacity(self.counted);
        let mut lines = self.lines.len();
        // From the back, freeing each as it is copied.
        while let Some(line) = self.lines.pop() {
            if let Some(time) = &line.time {
                text.extend_from_slice(time);
                text.push(b' ');
            }
            for part in line.parts.iter().rev() {
                text.extend_from_slice(part);
            }
            text.push(b'\n');
        }
        if let Some(beyond) = text.len().checked_sub(self.limits.bytes)
            && beyond > 0
        {
            text.drain(..beyond);
            self.cut = true;
        }
        if text.is_empty() {
            lines = 0;
        }
        (text, lines, self.cut)
    }
}
