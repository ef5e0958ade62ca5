//! The GNU build-id of a module, from the one page of it that a core has.
//!
//! The kernel dumps the first page of every mapped ELF file for this purpose (bit 4 of `coredump_filter`, on by default). In that page
//! file offsets and memory offsets are the same, so it is parsed like the beginning of the file, by the `object` crate.

use object::Endianness;
use object::elf::{ELF_NOTE_GNU, FileHeader32, FileHeader64, NT_GNU_BUILD_ID};
use object::pod::bytes_of_slice_mut;
use object::read::elf::{FileHeader, ProgramHeader};

use super::super::read_at::{Source, Unread};
use super::memory::Place;

/// Bytes looked at. Linkers put the note right behind the program headers, also where pages have 64 KiB.
pub(super) const PAGE: usize = 4_096;

/// Build-ids have 8 (fast), 16 (md5, uuid) or 20 bytes (sha1); longer ones may be given by hand.
const MAX_ID: usize = 64;

/// Reads pages into one buffer, aligned as `object`'s casts want it.
pub(super) struct Pages {
    words: Vec<u64>,
}

impl Pages {
    pub(super) fn new() -> Self {
        Self {
            words: vec![0; PAGE / 8],
        }
    }

    /// The build-id of the module whose first page is at `place`, in lower hex; none where there is no ELF file, none of its notes
    /// has an id.
    pub(super) fn build_id(
        &mut self,
        source: &Source<'_>,
        place: Place,
    ) -> Result<Option<String>, Unread> {
        let bytes = bytes_of_slice_mut(&mut self.words);
        let room = usize::try_from(place.room).map_or(PAGE, |room| room.min(PAGE));
        let got = source.fill(place.offset, &mut bytes[..room])?;
        if got == 0 && room > 0 {
            return Err(Unread::End(place.offset.saturating_add(room as u64)));
        }
        let page = &bytes[..got];
        let id =
            of::<FileHeader64<Endianness>>(page).or_else(|| of::<FileHeader32<Endianness>>(page));
        Ok(id.map(hex::encode))
    }
}

fn of<H: FileHeader<Endian = Endianness>>(page: &[u8]) -> Option<&[u8]> {
    let header = H::parse(page).ok()?;
    let endian = header.endian().ok()?;
    for segment in header.program_headers(endian, page).ok()? {
        // A note segment beyond this page is no reason to give up the others.
        let Ok(Some(mut notes)) = segment.notes(endian, page) else {
            continue;
        };
        while let Ok(Some(note)) = notes.next() {
            let id = note.desc();
            if note.name() == ELF_NOTE_GNU
                && note.n_type(endian) == NT_GNU_BUILD_ID
                && (1..=MAX_ID).contains(&id.len())
            {
                return Some(id);
            }
        }
    }
    None
}
