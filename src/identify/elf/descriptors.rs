//! Linux's note descriptors, which the `object` crate leaves undecoded: thread status, process information, signal, auxiliary
//! vector.
//!
//! Layouts are those of 64-bit Linux (`linux/elfcore.h`, `asm-generic/siginfo.h`), of which only the parts that are alike on every
//! machine of `Header::notes_are_known` are read. `pr_psargs` is never touched: it holds arguments.

use object::Endianness;

use super::super::fields::Fields;
use super::super::read_at::{Source, Unread, Window};
use super::super::signal;
use super::notes::Span;
use crate::model::{Sha256, SignalInfo};

/// Head of `struct elf_prstatus`: one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thread {
    pub(super) tid: i32,
    /// `pr_cursig`.
    pub(super) signal: u16,
}

impl Thread {
    pub(super) fn decode(fields: Fields<'_>) -> Option<Self> {
        Some(Self {
            signal: fields.u16(12)?,
            tid: fields.i32(32)?,
        })
    }
}

/// Part of `struct elf_prpsinfo`: the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcessNote {
    pub(super) uid: u32,
    pub(super) pid: i32,
    comm: [u8; 16],
}

impl ProcessNote {
    pub(super) fn decode(fields: Fields<'_>) -> Option<Self> {
        Some(Self {
            uid: fields.u32(16)?,
            pid: fields.i32(24)?,
            comm: fields.bytes(40, 16)?.try_into().ok()?,
        })
    }

    pub(super) fn comm(&self) -> &[u8] {
        let end = self.comm.iter().position(|b| *b == 0);
        &self.comm[..end.unwrap_or(self.comm.len())]
    }
}

/// Head of `siginfo_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SignalNote {
    number: i32,
    code: i32,
    /// The fault address, or who sent the signal.
    detail: u64,
}

impl SignalNote {
    pub(super) fn decode(fields: Fields<'_>) -> Option<Self> {
        Some(Self {
            number: fields.i32(0)?,
            code: fields.i32(8)?,
            detail: fields.u64(16)?,
        })
    }

    pub(super) fn info(&self) -> Option<SignalInfo> {
        signal::with_code(self.number, self.code, self.detail)
    }
}

/// The addresses of interest in the auxiliary vector, the table that the kernel hands every new process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Auxv {
    /// Program headers of the executable.
    pub(super) program_headers: Option<u64>,
    /// First instruction of the executable.
    pub(super) entry: Option<u64>,
    /// 16 random bytes below the argument strings.
    pub(super) random: Option<u64>,
    /// Name the program was started by, above the environment strings.
    pub(super) exec_name: Option<u64>,
    /// Where the dynamic linker was loaded.
    pub(super) linker: Option<u64>,
    /// The page of code that the kernel lends every process.
    pub(super) vdso: Option<u64>,
}

/// Most bytes of the vector read; real ones have about 350.
const MAX_AUXV: u64 = 16 << 10;

impl Auxv {
    pub(super) fn read(
        source: &Source<'_>,
        endian: Endianness,
        span: Span,
    ) -> Result<Self, Unread> {
        const PAIR: usize = 16;
        let mut auxv = Self::default();
        let mut window = Window::new(source);
        let size = span.size.min(MAX_AUXV) as usize;
        let bytes = window.exact(span.offset, size)?;
        for pair in bytes.chunks_exact(PAIR) {
            let fields = Fields::new(pair, endian);
            let (Some(kind), Some(value)) = (fields.u64(0), fields.u64(8)) else {
                break;
            };
            let slot = match kind {
                0 => break,
                3 => &mut auxv.program_headers,
                7 => &mut auxv.linker,
                9 => &mut auxv.entry,
                25 => &mut auxv.random,
                31 => &mut auxv.exec_name,
                33 => &mut auxv.vdso,
                _ => continue,
            };
            // A static non-PIE program may have no headers in memory; the kernel then writes 0.
            if value != 0 && slot.is_none() {
                *slot = Some(value);
            }
        }
        Ok(auxv)
    }

    /// A digest of what the kernel places at random for each program it starts, the same in every core of one process and, the children
    /// it forks apart, in no other. Where randomisation is switched off it tells nothing apart, and is no ground for anything alone.
    pub(super) fn image(&self) -> Option<String> {
        const HEX: usize = 32;
        let placed = [self.random?, self.exec_name?];
        let maybe = [self.program_headers, self.entry, self.linker, self.vdso];
        let all = placed
            .into_iter()
            .chain(maybe.into_iter().map(Option::unwrap_or_default));
        let bytes: Vec<u8> = all.flat_map(u64::to_le_bytes).collect();
        let mut digest = hex::encode(Sha256::of(&bytes));
        digest.truncate(HEX);
        Some(digest)
    }
}
