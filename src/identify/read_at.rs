//! Reading at offsets: the seam between parsers and files, and the buffers behind which they read.
//!
//! Owns clamping to a length, retrying interrupted reads, and the difference between "the file ends" and "the file cannot be read".
//! Leaves meaning to the parsers. Buffers are of fixed size; no length from a file decides an allocation here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Something that can be read at an offset without moving one.
pub trait ReadAt {
    /// Reads at most `buffer.len()` bytes at `offset` and says how many; 0 at and past the end.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

impl ReadAt for &[u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|at| self.get(at..))
            .unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, buffer)
    }
}

/// Why something was not read; its text ends up in the manifest.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("the file ends before byte {0}")]
    End(u64),
    #[error("byte {at} cannot be read: {error}")]
    Io { at: u64, error: io::Error },
    #[error("{0}")]
    Nonsense(&'static str),
}

/// The highest offset a file can have on Linux (`loff_t` is signed); `pread` refuses what is beyond.
pub(super) const MAX_OFFSET: u64 = i64::MAX as u64;

/// A file as long as its reader was told, and no longer.
pub(super) struct Source<'a> {
    file: &'a dyn ReadAt,
    len: u64,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a dyn ReadAt, len: u64) -> Self {
        Self {
            file,
            len: len.min(MAX_OFFSET),
        }
    }

    /// Bytes it has, by what its reader was told: a file that shrank has fewer.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Reads until `buffer` is full or the file ends; says how much there was.
    pub(super) fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Unread> {
        let room = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(room);
        let mut done = 0;
        while done < wanted {
            let at = offset.saturating_add(done as u64);
            match self.file.read_at(at, &mut buffer[done..wanted]) {
                Ok(0) => break,
                Ok(n) => done = done.saturating_add(n).min(wanted),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Unread::Io { at, error }),
            }
        }
        Ok(done)
    }

    /// Fills `buffer` whole.
    pub(super) fn exact(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Unread> {
        let wanted = buffer.len();
        if self.fill(offset, buffer)? < wanted {
            return Err(Unread::End(offset.saturating_add(wanted as u64)));
        }
        Ok(())
    }

    /// Whether the file really has `end` bytes, by its length and by reading the last of them: it may have shrunk since its
    /// length was taken.
    pub(super) fn reaches(&self, end: u64) -> Result<bool, Unread> {
        let Some(last) = end.checked_sub(1) else {
            return Ok(true);
        };
        Ok(self.len >= end && self.fill(last, &mut [0])? == 1)
    }
}

/// Bytes a [`Window`] holds: large enough that a walk over notes is few reads, small enough to have several.
const WINDOW: usize = 64 << 10;

/// Bytes a window holds that mostly jumps: a page, the least that a file system reads.
const STRIDE: usize = 4 << 10;

/// Most reads of a walk over records that say how long they are, bodies stepped over: enough for a 128 GB heap dump in records of
/// 1 MiB, as a JVM writes it, and 512 MiB at most. A 9.7 GB dump of OpenJDK 17 takes 10,000 of them: 0.3 s from the page cache, 4 s
/// from a virtual disk.
const MAX_STRIDES: u32 = 1 << 17;

/// A piece of the file that moves with its reader, for walks that mostly go forward.
pub(super) struct Window<'a> {
    source: &'a Source<'a>,
    start: u64,
    held: usize,
    bytes: Vec<u8>,
    reads_left: u32,
}

impl<'a> Window<'a> {
    pub(super) fn new(source: &'a Source<'a>) -> Self {
        Self::with(source, WINDOW, u32::MAX)
    }

    /// One for jumping from record to record through a file of any length: small, and good for a bounded number of reads.
    pub(super) fn striding(source: &'a Source<'a>) -> Self {
        Self::with(source, STRIDE, MAX_STRIDES)
    }

    fn with(source: &'a Source<'a>, size: usize, reads_left: u32) -> Self {
        Self {
            source,
            start: 0,
            held: 0,
            bytes: vec![0; size],
            reads_left,
        }
    }

    /// As much as there is of the `want` bytes at `offset`, at most what the window holds: 64 KiB, of a striding one 4 KiB.
    pub(super) fn some(&mut self, offset: u64, want: usize) -> Result<&[u8], Unread> {
        let want = want.min(self.bytes.len());
        let held_until = self.start.saturating_add(self.held as u64);
        let within = offset >= self.start && offset.saturating_add(want as u64) <= held_until;
        if !within {
            self.reads_left = self.reads_left.checked_sub(1).ok_or(Unread::Nonsense(
                "a walk through it would take more than 131,072 reads",
            ))?;
            self.held = 0;
            self.start = offset;
            self.held = self.source.fill(offset, &mut self.bytes)?;
        }
        // `offset - start` is at most `held`: either checked above or just set equal.
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let held = self.bytes.get(from..self.held).unwrap_or_default();
        Ok(&held[..held.len().min(want)])
    }

    /// The `want` bytes at `offset`, at most what the window holds.
    pub(super) fn exact(&mut self, offset: u64, want: usize) -> Result<&[u8], Unread> {
        let bytes = self.some(offset, want)?;
        if bytes.len() < want {
            return Err(Unread::End(offset.saturating_add(want as u64)));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte a call, after an interruption, as a slow file system may.
    struct Dripping(Vec<u8>, std::cell::Cell<bool>);

    impl ReadAt for Dripping {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            self.1.set(!self.1.get());
            if self.1.get() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.0.read_at(offset, &mut buffer[..1])
        }
    }

    #[test]
    fn short_and_interrupted_reads_are_continued() {
        let file = Dripping(b"abcdef".to_vec(), false.into());
        let source = Source::new(&file, 6);
        let mut buffer = [0; 4];
        source.exact(1, &mut buffer).expect("there are four");
        assert_eq!(&buffer, b"bcde");
    }

    #[test]
    fn nothing_beyond_the_length_is_read() {
        let bytes = b"abcdef".to_vec();
        let source = Source::new(&bytes, 4);
        let mut buffer = [0; 8];
        assert_eq!(source.fill(2, &mut buffer).expect("read"), 2);
        assert_eq!(source.fill(u64::MAX, &mut buffer).expect("read"), 0);
        assert!(matches!(source.exact(2, &mut buffer), Err(Unread::End(10))));
        assert!(source.reaches(4).expect("read"));
        assert!(!source.reaches(5).expect("read"));
    }

    #[test]
    fn a_file_that_shrank_does_not_reach_its_old_length() {
        let bytes = b"abc".to_vec();
        let source = Source::new(&bytes, 1 << 60);
        assert!(source.reaches(3).expect("read"));
        assert!(!source.reaches(4).expect("read"));
        assert!(source.reaches(0).expect("read"));
    }

    #[test]
    fn a_window_gives_the_same_bytes_as_the_file_wherever_it_stands() {
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        let source = Source::new(&bytes, bytes.len() as u64);
        let mut window = Window::new(&source);
        for (at, n) in [
            (0, 10),
            (65_530, 12),
            (65_536, 65_536),
            (5, 9),
            (199_990, 10),
        ] {
            let got = window.exact(at as u64, n).expect("within the file");
            assert_eq!(got, &bytes[at..at + n]);
        }
        assert!(window.exact(199_990, 11).is_err());
        assert_eq!(window.some(199_990, 11).expect("read").len(), 10);
        assert_eq!(window.some(u64::MAX, 1).expect("read").len(), 0);
    }

    #[test]
    fn a_striding_window_gives_up_after_a_bounded_number_of_reads() {
        let bytes = vec![7; 100_000];
        let source = Source::new(&bytes, bytes.len() as u64);
        let mut window = Window::striding(&source);
        for _ in 0..MAX_STRIDES / 2 {
            assert_eq!(window.exact(0, 9).expect("there"), [7; 9]);
            assert_eq!(window.exact(50_000, 9).expect("there"), [7; 9]);
        }
        assert_eq!(window.exact(50_009, 9).expect("still held"), [7; 9]);
        assert!(matches!(window.exact(0, 9), Err(Unread::Nonsense(_))));
    }
}
