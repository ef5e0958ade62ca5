//! The lists of a minidump, record by record: threads, modules, memory, names.
//!
//! Owns their layouts and their bounds. No list is held, no count is believed: a list is as long as its stream, its records are read
//! through one window, and together they may have 64 MiB.

use object::Endianness;

use super::super::fields::Fields;
use super::super::read_at::{MAX_OFFSET, Source, Unread, Window};

/// Most bytes of lists walked: 4 million pieces of memory, 1.4 million threads.
const MAX_LISTS: u64 = 64 << 20;

/// Most names looked for, of modules or of threads.
pub(super) const MAX_NAMES: usize = 1 << 16;

/// Longest name read, in UTF-16 units: Linux's `PATH_MAX`.
const MAX_NAME: usize = 4_096;

/// Bytes of a text's length.
const LENGTH: u64 = 4;

/// Bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) at: u64,
    pub(super) size: u64,
}

impl Location {
    /// As the format has them.
    pub(super) fn of(rva: u32, size: u32) -> Self {
        Self {
            at: rva.into(),
            size: size.into(),
        }
    }

    pub(super) fn end(&self) -> Option<u64> {
        self.at.checked_add(self.size)
    }
}

/// `MINIDUMP_THREAD`.
pub(super) struct Thread {
    pub(super) stack: Location,
    pub(super) context: Location,
}

/// `MINIDUMP_MODULE`.
#[derive(Clone, Copy)]
pub(super) struct Record {
    pub(super) base_of_image: u64,
    pub(super) size_of_image: u32,
    pub(super) time_date_stamp: u32,
    pub(super) name_at: u32,
    pub(super) debug: Location,
    pub(super) misc: Location,
}

/// Walks lists.
pub(super) struct Lists<'a> {
    window: Window<'a>,
    left: u64,
}

impl<'a> Lists<'a> {
    pub(super) fn new(source: &'a Source<'a>) -> Self {
        Self {
            window: Window::new(source),
            left: MAX_LISTS,
        }
    }

    pub(super) fn threads(
        &mut self,
        list: Location,
        mut see: impl FnMut(Thread),
    ) -> Result<(), Unread> {
        self.counted(list, 48, |record| {
            see(Thread {
                stack: Location::of(record.u32(36)?, record.u32(32)?),
                context: Location::of(record.u32(44)?, record.u32(40)?),
            });
            Some(())
        })
    }

    pub(super) fn modules(
        &mut self,
        list: Location,
        mut see: impl FnMut(Record),
    ) -> Result<(), Unread> {
        self.counted(list, 108, |record| {
            see(Record {
                base_of_image: record.u64(0)?,
                size_of_image: record.u32(8)?,
                time_date_stamp: record.u32(16)?,
                name_at: record.u32(20)?,
                debug: Location::of(record.u32(80)?, record.u32(76)?),
                misc: Location::of(record.u32(88)?, record.u32(84)?),
            });
            Some(())
        })
    }

    pub(super) fn memory(
        &mut self,
        list: Location,
        mut see: impl FnMut(Location),
    ) -> Result<(), Unread> {
        self.counted(list, 16, |record| {
            see(Location::of(record.u32(12)?, record.u32(8)?));
            Some(())
        })
    }

    /// Thread ids and where their names are.
    pub(super) fn thread_names(
        &mut self,
        list: Location,
        mut see: impl FnMut(u32, u64),
    ) -> Result<(), Unread> {
        self.counted(list, 12, |record| {
            see(record.u32(0)?, record.u64(4)?);
            Some(())
        })
    }

    /// Where the memory of a full dump ends: its pieces lie one behind the other. None where no file can be that long.
    pub(super) fn memory64_end(&mut self, list: Location) -> Result<Option<u64>, Unread> {
        const HEAD: u64 = 16;
        let head = self.window.exact(list.at, HEAD as usize)?;
        let head = Fields::new(head, Endianness::Little);
        let (Some(count), Some(first)) = (head.u64(0), head.u64(8)) else {
            return Err(Unread::End(list.at));
        };
        let mut end = Some(first).filter(|first| *first <= MAX_OFFSET);
        let records = list.at + HEAD;
        self.records(list, records, count, 16, |record| {
            let size = record.u64(8)?;
            end = end.and_then(|end| end.checked_add(size));
            Some(())
        })?;
        Ok(end)
    }

    /// A 32-bit count, and so many records; some writers align these to 8 bytes.
    fn counted(
        &mut self,
        list: Location,
        size: u64,
        see: impl FnMut(Fields<'_>) -> Option<()>,
    ) -> Result<(), Unread> {
        let head = Fields::new(self.window.exact(list.at, 4)?, Endianness::Little);
        let count = u64::from(head.u32(0).ok_or(Unread::End(list.at))?);
        // Cannot overflow: a 32-bit number times a small one.
        let aligned = list.size == 8 + count * size;
        let first = list.at + if aligned { 8 } else { 4 };
        self.records(list, first, count, size, see)
    }

    fn records(
        &mut self,
        list: Location,
        first: u64,
        count: u64,
        size: u64,
        mut see: impl FnMut(Fields<'_>) -> Option<()>,
    ) -> Result<(), Unread> {
        let bytes = count.checked_mul(size);
        let end = bytes.and_then(|bytes| first.checked_add(bytes));
        let (Some(bytes), Some(end)) = (bytes, end) else {
            return Err(Unread::Nonsense("there are more than any file can hold"));
        };
        if list.end().is_none_or(|list_end| end > list_end) {
            return Err(Unread::Nonsense("there are more than their list can hold"));
        }
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or(Unread::Nonsense("the lists have more than 64 MiB"))?;
        for n in 0..count {
            let at = first + n * size;
            let record = self.window.exact(at, size as usize)?;
            see(Fields::new(record, Endianness::Little)).ok_or(Unread::End(at))?;
        }
        Ok(())
    }
}

/// Where the text at `at` is with its length, which is bytes in 32 bits.
pub(super) fn text_place(source: &Source<'_>, at: u64) -> Result<Location, Unread> {
    let mut length = [0; LENGTH as usize];
    source.exact(at, &mut length)?;
    Ok(Location {
        at,
        size: LENGTH + u64::from(u32::from_le_bytes(length)),
    })
}

/// The text there, which is UTF-16. What is no text is replaced, and a NUL ends it.
pub(super) fn text(source: &Source<'_>, place: Location) -> Result<String, Unread> {
    let length = place.size.saturating_sub(LENGTH);
    let length = usize::try_from(length).ok().filter(|n| *n <= 2 * MAX_NAME);
    let length = length.ok_or(Unread::Nonsense("a name is longer than 4,096 characters"))?;
    let mut bytes = vec![0; length];
    // Cannot overflow: a length was read at `place.at`, so it is below 2^63.
    source.exact(place.at + LENGTH, &mut bytes)?;
    let units = bytes.chunks_exact(2).map(|two| two.try_into());
    let units = units.map(|two| two.map_or(0, u16::from_le_bytes));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    Ok(String::from_utf16_lossy(&units))
}
