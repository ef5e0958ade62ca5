//! Little-endian fields off the front of a slice. Nothing is read that is not there; a text is not copied until somebody wants it.

/// What is left of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// All of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not taken yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// A byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of at most 64 bits, seven to a byte and the lowest first. Bits above the 64th are dropped.
    pub fn varint(&mut self) -> Option<u64> {
        const MOST: u32 = 10;
        let mut number = 0;
        for byte_number in 0..MOST {
            let byte = self.u8()?;
            number |= u64::from(byte & 0x7f) << (7 * byte_number);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A text of 16-bit units up to a zero, which is taken too.
    pub fn text(&mut self) -> Option<Text<'a>> {
        let units = self.rest.chunks_exact(2).position(|unit| unit == [0, 0])?;
        let text = self.take(units * 2)?;
        self.take(2)?;
        Some(Text(text))
    }
}

/// UTF-16 as the target wrote it: anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a>(&'a [u8]);

impl Text<'_> {
    /// Its first characters, at most `most`, with U+FFFD for what is none.
    pub fn cut(self, most: usize) -> String {
        self.characters().take(most).collect()
    }

    fn characters(&self) -> impl Iterator<Item = char> {
        let units = self.0.chunks_exact(2);
        let units = units.map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}
