//! The note of mapped files (`NT_FILE`): which file is mapped where.
//!
//! Owns its layout (count, page size, then start, end and offset of each mapping, then the names one after the other) and what is
//! picked from it: the executable, the beginnings of files that may be ELF modules, and the paths that betray a runtime. The
//! note of a large process has megabytes, so it is read once through two windows and nothing of it is kept but the picks.

use object::Endianness;

use super::super::fields::Fields;
use super::super::read_at::{Source, Unread, Window};
use super::super::runtime::Clues;
use super::descriptors::Auxv;
use super::notes::Span;

/// Longest name read: `PATH_MAX`.
pub(super) const MAX_NAME: usize = 4_096;

/// Longest note read. The kernel stops at `kernel.core_file_note_size_limit`, 16 MiB at most.
const MAX_NOTE: u64 = 32 << 20;

/// Most beginnings of files remembered to look for a build-id there.
const MAX_CANDIDATES: usize = 4_096;

/// Where a file's first page is in memory, and its name in the note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) address: u64,
    pub(super) name: Span,
}

/// What is picked from the note.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Name of the file that has the program's entry point.
    pub(super) exe: Option<Vec<u8>>,
    /// Where the first mapping of all begins, and its file's name: the executable, in `createdump`'s order.
    pub(super) first: Option<(u64, Vec<u8>)>,
    pub(super) candidates: Vec<Candidate>,
    pub(super) unread: Option<String>,
}

struct Mapping {
    start: u64,
    end: u64,
    page_offset: u64,
}

pub(super) fn read(
    source: &Source<'_>,
    endian: Endianness,
    span: Span,
    auxv: &Auxv,
    clues: &mut Clues,
) -> Files {
    let mut files = Files::default();
    let mut by_entry = None;
    let mut last = Vec::new();
    let mut beyond = 0u64;
    let walked = for_each(source, endian, span, |mapping, name, name_span| {
        if files.first.is_none() {
            files.first = Some((mapping.start, name.to_vec()));
        }
        let holds = |address: Option<u64>| {
            address.is_some_and(|a| (mapping.start..mapping.end).contains(&a))
        };
        if files.exe.is_none() && holds(auxv.program_headers) {
            files.exe = Some(name.to_vec());
        }
        if by_entry.is_none() && holds(auxv.entry) {
            by_entry = Some(name.to_vec());
        }
        // The mappings of one file follow one another.
        let new = last != name;
        if new {
            clues.see(name);
            last.clear();
            last.extend_from_slice(name);
        }
        if new && mapping.page_offset == 0 {
            if files.candidates.len() < MAX_CANDIDATES {
                files.candidates.push(Candidate {
                    address: mapping.start,
                    name: name_span,
                });
            } else {
                beyond += 1;
            }
        }
    });
    files.exe = files.exe.or(by_entry);
    files.unread = match walked {
        Err(why) => Some(format!("mapped files: {why}")),
        Ok(()) if beyond > 0 => Some(format!(
            "mapped files: {beyond} beyond the first {MAX_CANDIDATES} were not looked at"
        )),
        Ok(()) => None,
    };
    files
}

fn for_each(
    source: &Source<'_>,
    endian: Endianness,
    span: Span,
    mut see: impl FnMut(&Mapping, &[u8], Span),
) -> Result<(), Unread> {
    const HEAD: u64 = 16;
    const ENTRY: u64 = 24;
    if span.size > MAX_NOTE {
        return Err(Unread::Nonsense("their note is longer than 32 MiB"));
    }
    // Cannot overflow: the walk over the notes checked that the span ends where a file can.
    let end = span.offset + span.size;
    let mut mappings = Window::new(source);
    let mut names = Window::new(source);

    let head = Fields::new(mappings.exact(span.offset, HEAD as usize)?, endian);
    let count = head.u64(0).unwrap_or(0);
    let names_at = count
        .checked_mul(ENTRY)
        .and_then(|entries| entries.checked_add(span.offset + HEAD))
        .filter(|at| *at <= end)
        .ok_or(Unread::Nonsense("there are more than their note can hold"))?;

    let mut name_at = names_at;
    for n in 0..count {
        let entry = mappings.exact(span.offset + HEAD + n * ENTRY, ENTRY as usize)?;
        let fields = Fields::new(entry, endian);
        let (Some(start), Some(stop), Some(page_offset)) =
            (fields.u64(0), fields.u64(8), fields.u64(16))
        else {
            return Err(Unread::End(end));
        };
        let room = usize::try_from(end - name_at).unwrap_or(usize::MAX);
        let name = names.some(name_at, room.min(MAX_NAME + 1))?;
        let Some(length) = name.iter().position(|b| *b == 0) else {
            return Err(if room > MAX_NAME && name.len() > MAX_NAME {
                Unread::Nonsense("a name is longer than 4,096 bytes")
            } else if name.len() < room {
                Unread::End(end)
            } else {
                Unread::Nonsense("there are fewer names than mappings")
            });
        };
        let mapping = Mapping {
            start,
            end: stop,
            page_offset,
        };
        let name_span = Span {
            offset: name_at,
            size: length as u64,
        };
        see(&mapping, &name[..length], name_span);
        name_at += length as u64 + 1;
    }
    Ok(())
}
