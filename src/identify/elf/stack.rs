//! The strings at the top of the first thread's stack, where the kernel put them when the program started:
//!
//! ```text
//! low  … argc │ argv[] │ envp[] │ auxv[] … AT_RANDOM 16 B │ platform │ argument strings │ environment strings │ AT_EXECFN string  high
//! ```
//!
//! Owns where the environment strings are (`host_name` picks the one that is taken) and the string the program was started by.
//! No pointers are followed: the program could have changed them, and the strings lie between two addresses that the kernel's own
//! table gives. A program that writes over its environment to show a title has overwritten the name as well.

use std::ops::Range;

use super::super::host_name::Scan;
use super::super::read_at::{Source, Unread, Window};
use super::descriptors::Auxv;
use super::files::MAX_NAME;
use super::memory::{Memory, Piece};

/// Most bytes of strings read. 3,000 service variables make about 100 kB; `ARG_MAX` is 2 MiB by default.
const MAX_STRINGS: u64 = 2 << 20;

/// The bytes that `AT_RANDOM` points at.
const RANDOM: u64 = 16;

/// The addresses between which the environment strings are; empty where the auxiliary vector does not tell.
pub(super) fn strings(auxv: &Auxv) -> Range<u64> {
    let Some(top) = auxv.exec_name else {
        return 0..0;
    };
    let lowest = top.saturating_sub(MAX_STRINGS);
    let bottom = auxv
        .random
        .map_or(lowest, |random| random.saturating_add(RANDOM));
    bottom.max(lowest)..top
}

/// The value of the last `HOSTNAME=` string, which is the environment's: arguments come before it. None where it is no DNS name, and
/// none where memory between it and the end of the strings is missing, because then it may not be the last. The small types of
/// `createdump` leave the strings out when the first thread crashed in native code: its handler runs on another stack.
pub(super) fn host_name(
    source: &Source<'_>,
    pieces: &[Piece],
    strings: &Range<u64>,
) -> Result<Option<String>, Unread> {
    const STEP: usize = 16 << 10;
    let mut scan = Scan::default();
    let mut window = Window::new(source);
    let mut next = strings.start;
    for piece in pieces {
        if piece.address != next {
            scan.gap();
        }
        next = piece.address.saturating_add(piece.size);
        let mut done = 0;
        while done < piece.size {
            let want = usize::try_from(piece.size - done).map_or(STEP, |left| left.min(STEP));
            scan.feed(window.exact(piece.offset + done, want)?);
            done += want as u64;
        }
    }
    if next != strings.end {
        return Err(Unread::Nonsense("the dump does not have them"));
    }
    Ok(scan.into_found())
}

/// The string at `AT_EXECFN`: the path the program was started by, as it was given.
pub(super) fn exec_name(source: &Source<'_>, auxv: &Auxv, memory: &Memory) -> Option<Vec<u8>> {
    let place = memory.places.get(&auxv.exec_name?)?;
    let mut bytes = [0; MAX_NAME];
    let room = usize::try_from(place.room).map_or(MAX_NAME, |room| room.min(MAX_NAME));
    let got = source.fill(place.offset, &mut bytes[..room]).ok()?;
    let length = bytes[..got].iter().position(|b| *b == 0)?;
    (length > 0).then(|| bytes[..length].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strings_are_looked_for_in_two_mebibytes_at_most() {
        let auxv = |random, exec_name| Auxv {
            random,
            exec_name,
            ..Auxv::default()
        };
        assert_eq!(strings(&auxv(Some(0x1000), Some(0x2000))), 0x1010..0x2000);
        assert_eq!(
            strings(&auxv(Some(0x1000), Some(1 << 40))),
            (1 << 40) - MAX_STRINGS..1 << 40
        );
        assert_eq!(
            strings(&auxv(None, Some(1 << 40))),
            (1 << 40) - MAX_STRINGS..1 << 40
        );
        assert!(strings(&auxv(Some(0x3000), Some(0x2000))).is_empty());
        assert!(strings(&auxv(Some(u64::MAX), Some(0x2000))).is_empty());
        assert!(strings(&auxv(Some(0x1000), None)).is_empty());
    }
}
