//! The walk over a core's notes.
//!
//! Owns which notes matter and where their descriptors are; decoding is `descriptors`'. A thread brings about 12 kB of register
//! notes on x86-64, so a process of 1,000 threads has 12 MB of notes: they are stepped over, never held. Small descriptors
//! are decoded on the way, the two long ones (auxiliary vector, mapped files) are remembered by place and read afterwards, because
//! nothing promises their order.

use object::Endianness;
use object::elf::{
    ELF_NOTE_CORE, NT_AUXV, NT_FILE, NT_PRPSINFO, NT_PRSTATUS, NT_SIGINFO, NoteType,
};

use super::super::fields::Fields;
use super::super::read_at::{Source, Unread, Window};
use super::descriptors::{ProcessNote, SignalNote, Thread};
use super::headers::Segment;

/// Most bytes of notes walked: 5,000 threads on x86-64.
const MAX_NOTES: u64 = 64 << 20;

/// Longest descriptor decoded on the way (`prstatus` needs 36 bytes of 336, `siginfo` has 128, `prpsinfo` 136).
const MAX_SMALL: u64 = 136;

/// Bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// The threads whose own status says that they took a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marked {
    None,
    One(Thread),
    Several,
}

/// What the notes say.
#[derive(Debug)]
pub(super) struct Notes {
    /// Type of the first note, which tells the kernel from others.
    pub(super) first: Option<NoteType>,
    pub(super) threads: u32,
    pub(super) first_thread: Option<Thread>,
    pub(super) marked: Marked,
    pub(super) process: Option<ProcessNote>,
    pub(super) signal: Option<SignalNote>,
    pub(super) auxv: Option<Span>,
    pub(super) files: Option<Span>,
    /// Whether all notes were walked, so that `threads` is their number and not a part of it.
    pub(super) whole: bool,
    pub(super) unread: Option<String>,
}

pub(super) fn read(source: &Source<'_>, endian: Endianness, segments: &[Segment]) -> Notes {
    let mut notes = Notes {
        first: None,
        threads: 0,
        first_thread: None,
        marked: Marked::None,
        process: None,
        signal: None,
        auxv: None,
        files: None,
        whole: false,
        unread: None,
    };
    let mut window = Window::new(source);
    let mut budget = MAX_NOTES;
    let walked = segments
        .iter()
        .try_for_each(|segment| notes.walk(&mut window, endian, segment, &mut budget));
    match walked {
        Ok(()) => notes.whole = true,
        Err(why) => notes.unread = Some(format!("notes: {why}")),
    }
    notes
}

impl Notes {
    fn walk(
        &mut self,
        window: &mut Window<'_>,
        endian: Endianness,
        segment: &Segment,
        budget: &mut u64,
    ) -> Result<(), Unread> {
        const HEADER: u64 = 12;
        // binutils: 8 is taken at its word, everything else means 4 (the kernel writes 0 or 4).
        let align = if segment.align == 8 { 8 } else { 4 };
        let end = segment
            .end()
            .ok_or(Unread::Nonsense("they end where no file can"))?;
        let mut at = segment.offset;
        // Less than a header at the end is padding. None of the sums below can overflow: `at` is at most 2^63, and a note adds
        // at most two 32-bit lengths.
        while end.saturating_sub(at) >= HEADER {
            let header = Fields::new(window.exact(at, HEADER as usize)?, endian);
            let (Some(name_size), Some(size), Some(kind)) =
                (header.u32(0), header.u32(4), header.u32(8))
            else {
                return Err(Unread::End(at));
            };
            let name_at = at + HEADER;
            let offset = at + (HEADER + u64::from(name_size)).next_multiple_of(align);
            let size = u64::from(size);
            let next = at + (offset - at + size).next_multiple_of(align);
            if offset + size > end {
                return Err(Unread::Nonsense("one is longer than all of them"));
            }
            *budget = budget
                .checked_sub(next - at)
                .ok_or(Unread::Nonsense("there are more than 64 MiB of them"))?;
            if is_core(window, name_at, name_size)? {
                self.take(window, endian, NoteType(kind), Span { offset, size })?;
            }
            at = next;
        }
        Ok(())
    }

    fn take(
        &mut self,
        window: &mut Window<'_>,
        endian: Endianness,
        kind: NoteType,
        span: Span,
    ) -> Result<(), Unread> {
        self.first.get_or_insert(kind);
        if !matches!(
            kind,
            NT_PRSTATUS | NT_PRPSINFO | NT_SIGINFO | NT_AUXV | NT_FILE
        ) {
            return Ok(());
        }
        let want = span.size.min(MAX_SMALL) as usize;
        let fields = Fields::new(window.exact(span.offset, want)?, endian);
        match kind {
            NT_PRSTATUS => {
                let thread = Thread::decode(fields);
                self.threads = self.threads.saturating_add(1);
                if self.threads == 1 {
                    self.first_thread = thread;
                }
                if let Some(thread) = thread.filter(|thread| thread.signal != 0) {
                    self.marked = match self.marked {
                        Marked::None => Marked::One(thread),
                        Marked::One(_) | Marked::Several => Marked::Several,
                    };
                }
            }
            NT_PRPSINFO if self.process.is_none() => {
                self.process = ProcessNote::decode(fields);
            }
            NT_SIGINFO if self.signal.is_none() => self.signal = SignalNote::decode(fields),
            NT_AUXV if self.auxv.is_none() => self.auxv = Some(span),
            NT_FILE if self.files.is_none() => self.files = Some(span),
            _ => {}
        }
        Ok(())
    }
}

/// Whether a note's name is `CORE`, with or without the NUL that most writers add.
fn is_core(window: &mut Window<'_>, at: u64, size: u32) -> Result<bool, Unread> {
    let want = match size {
        4 | 5 => size as usize,
        _ => return Ok(false),
    };
    let name = window.exact(at, want)?;
    Ok(name.strip_suffix(b"\0").unwrap_or(name) == ELF_NOTE_CORE)
}
