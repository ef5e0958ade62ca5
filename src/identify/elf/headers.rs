//! The ELF header and the program headers: what kind of core this is, where its parts are, and where it ends.
//!
//! Owns both counts of program headers (the 16-bit one and what replaces it), the pass over the table, and the completeness rule:
//! a core is complete when the file reaches `max(p_offset + p_filesz)`. The end of file alone proves nothing: a core cut short by a
//! full disk, by `RLIMIT_CORE` or by a dead `createdump` is closed like any other. Layouts come from the `object` crate; 32 and 64
//! bits, little and big endian are all read.
//!
//! The table is never held: it is read in chunks, once here and once more for the addresses of interest (see `memory`), because a
//! hostile file may promise millions of entries.

use object::Endianness;
use object::elf::{
    ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFDATA2MSB, EM_386, EM_AARCH64, EM_ARM, EM_LOONGARCH,
    EM_MIPS, EM_PPC, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, ET_CORE, FileHeader32, FileHeader64,
    Machine, OsAbi, PN_XNUM, PT_LOAD, PT_NOTE,
};
use object::pod::{Pod, bytes_of_slice_mut, from_bytes, slice_from_bytes};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

use super::super::fields::Fields;
use super::super::read_at::{MAX_OFFSET, Source, Unread};
use crate::model::Completeness;

/// Most program headers read. Linux makes one per mapping; distributions set `vm.max_map_count` to 1,048,576 at most, and at 56
/// bytes each this bounds a pass to 112 MiB.
const MAX_SEGMENTS: u64 = 2 << 20;

/// Program headers read at a time.
const CHUNK: usize = 512;

/// Most note segments remembered; Linux and `createdump` write one.
const MAX_NOTE_SEGMENTS: usize = 8;

/// What an ELF file turned out to be.
pub(super) enum Kind {
    /// A core with its whole ELF header.
    Core(Header),
    /// A core that ends within its ELF header.
    CutCore,
    /// A program, a library, or no ELF file after all.
    Other,
}

/// The ELF header.
pub(super) struct Header {
    pub(super) machine: Machine,
    pub(super) os_abi: OsAbi,
    pub(super) wide: bool,
    pub(super) endian: Endianness,
    phoff: u64,
    phentsize: u16,
    phnum: u16,
    shoff: u64,
}

/// A program header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) is_load: bool,
    pub(super) is_note: bool,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) file_size: u64,
    pub(super) align: u64,
}

impl Segment {
    /// Where its bytes in the file end, if a file can be that long.
    pub(super) fn end(&self) -> Option<u64> {
        self.offset
            .checked_add(self.file_size)
            .filter(|end| *end <= MAX_OFFSET)
    }
}

/// What one pass over the program headers found.
pub(super) struct Layout {
    pub(super) completeness: Completeness,
    /// Program headers there are; 0 where they cannot be found.
    pub(super) segments: u64,
    pub(super) notes: Vec<Segment>,
    pub(super) unread: Vec<String>,
}

pub(super) fn read(source: &Source<'_>) -> Result<Kind, Unread> {
    let mut words = [0u64; size_of::<FileHeader64<Endianness>>().div_ceil(8)];
    let bytes = bytes_of_slice_mut(&mut words);
    let got = source.fill(0, bytes)?;
    let bytes = &bytes[..got];

    let endian = match bytes.get(5) {
        Some(&data) if data == ELFDATA2LSB.0 => Endianness::Little,
        Some(&data) if data == ELFDATA2MSB.0 => Endianness::Big,
        _ => return Ok(Kind::Other),
    };
    if Fields::new(bytes, endian).u16(16) != Some(ET_CORE.0) {
        return Ok(Kind::Other);
    }
    Ok(match bytes.get(4) {
        Some(&class) if class == ELFCLASS64.0 => Header::of::<FileHeader64<Endianness>>(bytes),
        Some(&class) if class == ELFCLASS32.0 => Header::of::<FileHeader32<Endianness>>(bytes),
        _ => Kind::Other,
    })
}

impl Header {
    fn of<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Kind {
        let Ok((header, _)) = from_bytes::<H>(bytes) else {
            return Kind::CutCore;
        };
        if !header.is_supported() {
            return Kind::Other;
        }
        let Ok(endian) = header.endian() else {
            return Kind::Other;
        };
        Kind::Core(Self {
            machine: header.e_machine(endian),
            os_abi: header.e_ident().os_abi,
            wide: header.is_type_64(),
            endian,
            phoff: header.e_phoff(endian).into(),
            phentsize: header.e_phentsize(endian),
            phnum: header.e_phnum(endian),
            shoff: header.e_shoff(endian).into(),
        })
    }

    /// The machine as `uname -m` names it.
    pub(super) fn arch(&self) -> Option<&'static str> {
        let big = self.endian == Endianness::Big;
        Some(match (self.machine, self.wide) {
            (EM_X86_64, _) => "x86_64",
            (EM_AARCH64, _) => "aarch64",
            (EM_386, _) => "i686",
            (EM_ARM, _) => "arm",
            (EM_RISCV, true) => "riscv64",
            (EM_RISCV, false) => "riscv32",
            (EM_PPC64, _) if big => "ppc64",
            (EM_PPC64, _) => "ppc64le",
            (EM_PPC, _) => "ppc",
            (EM_S390, true) => "s390x",
            (EM_S390, false) => "s390",
            (EM_LOONGARCH, true) => "loongarch64",
            (EM_MIPS, _) => "mips",
            _ => return None,
        })
    }

    /// Whether the descriptors of this core's notes have the layout that `descriptors` knows: Linux's on 64 bits, with generic
    /// signal numbers and `siginfo`. MIPS, SPARC, Alpha and PA-RISC number signals their own way.
    pub(super) fn notes_are_known(&self) -> bool {
        const KNOWN: [Machine; 6] = [
            EM_X86_64,
            EM_AARCH64,
            EM_RISCV,
            EM_PPC64,
            EM_S390,
            EM_LOONGARCH,
        ];
        self.wide && KNOWN.contains(&self.machine)
    }

    /// One pass over the program headers.
    pub(super) fn survey(&self, source: &Source<'_>) -> Layout {
        let mut layout = Layout {
            completeness: Completeness::Unknown,
            segments: 0,
            notes: Vec::new(),
            unread: Vec::new(),
        };
        if let Err(why) = self.survey_into(source, &mut layout) {
            layout.completeness = match why {
                Unread::End(_) => Completeness::Truncated { expected: None },
                Unread::Io { .. } | Unread::Nonsense(_) => Completeness::Unknown,
            };
            layout.unread.push(format!("program headers: {why}"));
        }
        layout
    }

    fn survey_into(&self, source: &Source<'_>, layout: &mut Layout) -> Result<(), Unread> {
        layout.segments = self.count(source)?;
        if layout.segments == 0 {
            return Err(Unread::Nonsense("there are none"));
        }
        // The section header that holds the true count is the last thing the kernel writes, and without it no debugger reads
        // the core: it belongs to what a complete file has.
        let mut end = if self.phnum == PN_XNUM && self.shoff != 0 {
            self.shoff.checked_add(self.section_size())
        } else {
            Some(0)
        };
        let notes = &mut layout.notes;
        self.for_each(source, layout.segments, |segment| {
            if segment.is_note && notes.len() < MAX_NOTE_SEGMENTS {
                notes.push(segment);
            }
            // An empty segment promises no bytes, wherever it says they begin.
            if segment.file_size > 0 {
                end = match (end, segment.end()) {
                    (Some(end), Some(other)) => Some(end.max(other)),
                    _ => None,
                };
            }
        })?;
        layout.completeness = match end.filter(|end| *end <= MAX_OFFSET) {
            Some(end) if source.reaches(end)? => Completeness::Complete,
            expected => Completeness::Truncated { expected },
        };
        if end.is_none() {
            layout
                .unread
                .push("program headers: one promises more bytes than a file can have".to_owned());
        }
        Ok(())
    }

    /// How many program headers there are. Above 65,534 the 16-bit field says 0xffff and the first section header has the number.
    /// The kernel writes that header at the end, so a truncated core lacks it; but its notes follow the table directly and the
    /// first program header says where they begin.
    fn count(&self, source: &Source<'_>) -> Result<u64, Unread> {
        if self.phnum != 0 && u64::from(self.phentsize) != self.segment_size() {
            return Err(Unread::Nonsense("their size is not that of this ELF class"));
        }
        if self.phnum != PN_XNUM {
            return Ok(u64::from(self.phnum));
        }
        let count = match self.extended_count(source) {
            Ok(count) if count >= u64::from(PN_XNUM) => count,
            Ok(_) | Err(Unread::End(_)) => self.count_by_position(source)?,
            Err(why) => return Err(why),
        };
        if count > MAX_SEGMENTS {
            return Err(Unread::Nonsense("there are more than 2,097,152"));
        }
        Ok(count)
    }

    fn extended_count(&self, source: &Source<'_>) -> Result<u64, Unread> {
        if self.shoff == 0 {
            return Ok(0);
        }
        if self.wide {
            self.extended_count_of::<FileHeader64<Endianness>>(source)
        } else {
            self.extended_count_of::<FileHeader32<Endianness>>(source)
        }
    }

    fn extended_count_of<H: FileHeader<Endian = Endianness>>(
        &self,
        source: &Source<'_>,
    ) -> Result<u64, Unread> {
        let mut chunk = Chunk::<H::SectionHeader>::new(1);
        let sections = chunk.read(source, self.shoff, 1)?;
        Ok(sections
            .first()
            .map_or(0, |s| s.sh_info(self.endian).into()))
    }

    fn count_by_position(&self, source: &Source<'_>) -> Result<u64, Unread> {
        let mut first = None;
        self.for_each(source, 1, |segment| first = Some(segment))?;
        first
            .filter(|segment| segment.is_note)
            .and_then(|note| note.offset.checked_sub(self.phoff))
            .map(|room| room / self.segment_size())
            .filter(|count| *count > 0)
            .ok_or(Unread::Nonsense("nothing says how many there are"))
    }

    /// Calls `see` with each of the first `count` program headers in order.
    pub(super) fn for_each(
        &self,
        source: &Source<'_>,
        count: u64,
        see: impl FnMut(Segment),
    ) -> Result<(), Unread> {
        if self.wide {
            self.for_each_of::<FileHeader64<Endianness>>(source, count, see)
        } else {
            self.for_each_of::<FileHeader32<Endianness>>(source, count, see)
        }
    }

    fn for_each_of<H: FileHeader<Endian = Endianness>>(
        &self,
        source: &Source<'_>,
        count: u64,
        mut see: impl FnMut(Segment),
    ) -> Result<(), Unread> {
        let endian = self.endian;
        let mut chunk = Chunk::<H::ProgramHeader>::new(CHUNK);
        let mut done = 0;
        while done < count {
            let now = usize::try_from(count - done).map_or(CHUNK, |left| left.min(CHUNK));
            let at = done
                .checked_mul(self.segment_size())
                .and_then(|skipped| self.phoff.checked_add(skipped))
                .ok_or(Unread::End(u64::MAX))?;
            // What is there of a cut chunk is still read: the first header of all says where the notes are.
            let (there, cut) = chunk.read_some(source, at, now)?;
            for segment in there {
                see(Segment {
                    is_load: segment.p_type(endian) == PT_LOAD,
                    is_note: segment.p_type(endian) == PT_NOTE,
                    offset: segment.p_offset(endian).into(),
                    address: segment.p_vaddr(endian).into(),
                    file_size: segment.p_filesz(endian).into(),
                    align: segment.p_align(endian).into(),
                });
            }
            if let Some(why) = cut {
                return Err(why);
            }
            done += now as u64;
        }
        Ok(())
    }

    fn segment_size(&self) -> u64 {
        if self.wide { 56 } else { 32 }
    }

    fn section_size(&self) -> u64 {
        if self.wide { 64 } else { 40 }
    }
}

/// An array of ELF structures of a fixed greatest length, aligned as `object`'s casts want it.
struct Chunk<T> {
    words: Vec<u64>,
    kind: std::marker::PhantomData<T>,
}

impl<T: Pod> Chunk<T> {
    fn new(most: usize) -> Self {
        Self {
            words: vec![0; (most * size_of::<T>()).div_ceil(8)],
            kind: std::marker::PhantomData,
        }
    }

    fn read(&mut self, source: &Source<'_>, at: u64, count: usize) -> Result<&[T], Unread> {
        match self.read_some(source, at, count)? {
            (there, None) => Ok(there),
            (_, Some(why)) => Err(why),
        }
    }

    /// As many of `count` structures as the file has, and why it is not all of them.
    fn read_some(
        &mut self,
        source: &Source<'_>,
        at: u64,
        count: usize,
    ) -> Result<(&[T], Option<Unread>), Unread> {
        let bytes = bytes_of_slice_mut(&mut self.words);
        let want = (count * size_of::<T>()).min(bytes.len());
        let got = source.fill(at, &mut bytes[..want])?;
        let cut = (got < want).then(|| Unread::End(at.saturating_add(want as u64)));
        let (there, _) = slice_from_bytes::<T>(&bytes[..got], got / size_of::<T>())
            .map_err(|()| Unread::Nonsense("they cannot be read"))?;
        Ok((there, cut))
    }
}
