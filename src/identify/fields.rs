//! Numbers at offsets of a byte slice in the file's byte order, for structures that no crate decodes for us.

use object::Endianness;

#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    endian: Endianness,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8], endian: Endianness) -> Self {
        Self { bytes, endian }
    }

    pub(super) fn bytes(&self, at: usize, n: usize) -> Option<&'a [u8]> {
        self.bytes.get(at..at.checked_add(n)?)
    }

    pub(super) fn u16(&self, at: usize) -> Option<u16> {
        let bytes = self.bytes(at, 2)?.try_into().ok()?;
        Some(match self.endian {
            Endianness::Little => u16::from_le_bytes(bytes),
            Endianness::Big => u16::from_be_bytes(bytes),
        })
    }

    pub(super) fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes(at, 4)?.try_into().ok()?;
        Some(match self.endian {
            Endianness::Little => u32::from_le_bytes(bytes),
            Endianness::Big => u32::from_be_bytes(bytes),
        })
    }

    pub(super) fn i32(&self, at: usize) -> Option<i32> {
        self.u32(at).map(u32::cast_signed)
    }

    pub(super) fn u64(&self, at: usize) -> Option<u64> {
        let bytes = self.bytes(at, 8)?.try_into().ok()?;
        Some(match self.endian {
            Endianness::Little => u64::from_le_bytes(bytes),
            Endianness::Big => u64::from_be_bytes(bytes),
        })
    }
}
