//! What a file is and what it says about its crash, read from its content and never from its name.
//!
//! ```text
//!                                                          ┌─ elf: headers → notes → mapped files → memory ──┐
//! File ── ReadAt ── Source (clamped to a length) ── magic ─┼─ minidump: directory → lists → modules → /proc  ├→ Facts
//!                                                          ├─ reports, heap_snapshot: what runtimes write    │
//!                                                          └─ hprof, nettrace, gcdump: header, way to the end┘
//! ```
//!
//! Owns: telling formats apart, completeness, and the facts of each format. Leaves to others: attribution (nothing here says whose
//! crash it was), and the bytes themselves: no memory, heap or event is looked into.
//!
//! Invariants, because the crashing process chose every byte: the file's offset is never moved; no length found in the file is
//! used before it was checked; memory and the number of bytes read are bounded by the constants of each file, whatever the
//! headers promise; nothing panics. What cannot be read becomes a line in [`Facts::unread`], so a broken dump is still a dump.
//! Of the environment only `HOSTNAME` is taken, of the arguments nothing: both hold secrets.

mod elf;
mod fields;
mod gcdump;
mod heap_snapshot;
mod host_name;
mod hprof;
mod magic;
mod minidump;
mod nettrace;
mod read_at;
mod reports;
mod runtime;
mod signal;
#[cfg(test)]
mod strange;
mod walk;

use std::fs::File;

pub use read_at::ReadAt;
use read_at::Source;

use crate::model::{Facts, Format};

/// Reads the facts of the first `len` bytes of `file`.
///
/// `len` is what the caller believes; the file may be shorter, longer, or nearly all holes. Blocks for as long as the file system
/// takes for at most a few hundred megabytes of reads in a hostile file, a few hundred kilobytes in an honest one.
pub fn identify(file: &File, len: u64) -> Facts {
    identify_from(file, len)
}

/// The same from anything that can be read at an offset.
pub fn identify_from(file: &dyn ReadAt, len: u64) -> Facts {
    let source = Source::new(file, len);
    let mut head = [0; magic::HEAD];
    let got = match source.fill(0, &mut head) {
        Ok(got) => got,
        Err(why) => {
            let mut facts = Facts::of(Format::Unknown);
            facts.unread.push(format!("first bytes: {why}"));
            return facts;
        }
    };
    match magic::format_of(&head[..got]) {
        Format::ElfCore => elf::read(&source),
        Format::DotnetCrashReport => reports::dotnet::read(&source),
        Format::NodeReport => reports::node::read(&source),
        Format::HsErr => reports::hs_err::read(&source),
        Format::HeapSnapshot => heap_snapshot::read(&source),
        Format::Gcdump => gcdump::read(&source),
        Format::Hprof => hprof::read(&source),
        Format::Minidump => minidump::read(&source),
        Format::Nettrace => nettrace::read(&source),
        format => Facts::of(format),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::model::Completeness;

    struct Failing;

    impl ReadAt for Failing {
        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_unknown_and_says_so() {
        let facts = identify_from(&Failing, 4_096);
        assert_eq!(facts.format, Format::Unknown);
        assert_eq!(facts.completeness, Completeness::Unknown);
        assert_eq!(facts.unread.len(), 1, "{:?}", facts.unread);
        assert!(facts.unread[0].contains("os error 5"), "{:?}", facts.unread);
    }

    #[test]
    fn an_empty_file_is_unknown_without_complaint() {
        assert_eq!(identify_from(&Vec::new(), 0), Facts::of(Format::Unknown));
    }

    #[test]
    fn the_file_offset_stays_where_it_was() {
        use std::io::{Read, Seek, Write};
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(b"JAVA PROFILE 1.0.2\0 and more")
            .expect("written");
        file.seek(io::SeekFrom::Start(5)).expect("sought");
        assert_eq!(identify(&file, 28).format, Format::Hprof);
        let mut rest = String::new();
        file.read_to_string(&mut rest).expect("read");
        assert!(rest.starts_with("PROFILE"), "{rest}");
    }
}
