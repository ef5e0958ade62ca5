//! The file `dotnet-gcdump` writes: a managed heap's graph, serialised as one object by perfview's `FastSerialization`.
//!
//! ```text
//! u32 20, "!FastSerialization.1" │ 4 │ 4 1 i32 version, i32 least reader, i32 10, "GCHeapDump", 6 │ graph … │ 6
//! 6 │ i32 count, count × u32 │ u32 where that count is │ u32 where the word before is                     the end
//! ```
//!
//! Owns the version and completeness. Objects do not say how long they are, so there is no walk; but a writer ends the file with
//! a table of references and two words that lead back to it, and a reader begins there. The process id and time follow the graph and are
//! not looked for.
//!
//! No real file of this format has been seen. This follows the writer: perfview's `src/FastSerialization/FastSerialization.cs` (`Serializer`, `#StreamLayout`), and dotnet/diagnostics'
//! `DotNetHeapDump/GCHeapDump.cs`, which asks for labels of four bytes.

use object::Endianness;

use super::fields::Fields;
use super::read_at::{Source, Unread};
use super::walk::conclude;
use crate::model::{Completeness, Facts, Format, Runtime};

/// Length and text of the stream's name.
const STREAM: usize = 24;

/// What begins the object and its type: two objects, the type of a type being null.
const BEGIN: &[u8] = &[4, 4, 1];

const END: u8 = 6;

/// Bytes of a label.
const LABEL: u64 = 4;

/// Reads the facts of a file that begins like a heap graph.
pub(super) fn read(source: &Source<'_>) -> Facts {
    let mut facts = Facts::of(Format::Gcdump);
    facts.runtime = Some(Runtime {
        name: Some(".NET".to_owned()),
        ..Runtime::default()
    });
    let mut head = [0; STREAM + BEGIN.len() + 4];
    match source.exact(0, &mut head) {
        Ok(()) if head[STREAM..].starts_with(BEGIN) => {
            let version = &head[STREAM + BEGIN.len()..];
            let version = Fields::new(version, Endianness::Little).u32(0);
            facts.format_version = version.map(|version| version.to_string());
        }
        Ok(()) => {}
        Err(why) => facts.unread.push(format!("version: {why}")),
    }
    let ended = end(source);
    conclude(&mut facts, "end", ended);
    facts
}

/// Follows the last word to the trailer, the trailer to the table of references, and the table to the trailer again.
fn end(source: &Source<'_>) -> Result<Completeness, Unread> {
    const CUT: Completeness = Completeness::Truncated { expected: None };
    let len = source.len();
    if len > u64::from(u32::MAX) {
        return Err(Unread::Nonsense("labels of four bytes cannot lead to it"));
    }
    let word = |at: u64| -> Result<u64, Unread> {
        let mut bytes = [0; LABEL as usize];
        source.exact(at, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes).into())
    };
    let Some(trailer) = len.checked_sub(2 * LABEL) else {
        return Ok(CUT);
    };
    let table = word(trailer)?;
    if word(trailer + LABEL)? != trailer || table < STREAM as u64 || table >= trailer {
        return Ok(CUT);
    }
    // The sums cannot overflow: both are of 32-bit numbers.
    let table_end = table + LABEL + word(table)? * LABEL;
    let mut before = [0];
    source.exact(table - 1, &mut before)?;
    Ok(if table_end == trailer && before == [END] {
        Completeness::Complete
    } else {
        CUT
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::identify_from;
    use super::super::strange::{BadFrom, every_beginning, facts};
    use super::*;

    /// A file whose table has so many references.
    fn dump(references: u32) -> Vec<u8> {
        let mut bytes = b"\x14\0\0\0!FastSerialization.1".to_vec();
        bytes.extend([4, 4, 1]);
        bytes.extend(10u32.to_le_bytes());
        bytes.extend(8u32.to_le_bytes());
        bytes.extend(10u32.to_le_bytes());
        bytes.extend(b"GCHeapDump\x06");
        bytes.extend([7; 100]);
        bytes.extend([6, 6]);
        let table = bytes.len() as u32;
        bytes.extend(references.to_le_bytes());
        for n in 0..references {
            bytes.extend((60 + n).to_le_bytes());
        }
        let trailer = bytes.len() as u32;
        bytes.extend(table.to_le_bytes());
        bytes.extend(trailer.to_le_bytes());
        bytes
    }

    #[test]
    fn a_whole_dump_is_complete_and_tells_its_version() {
        for references in [0, 1, 17] {
            let expected = Facts {
                completeness: Completeness::Complete,
                format_version: Some("10".to_owned()),
                runtime: Some(Runtime {
                    name: Some(".NET".to_owned()),
                    ..Runtime::default()
                }),
                ..Facts::of(Format::Gcdump)
            };
            assert_eq!(facts(&dump(references)), expected);
        }
    }

    #[test]
    fn a_dump_cut_anywhere_or_with_bytes_behind_it_is_truncated() {
        let cut = Completeness::Truncated { expected: None };
        let bytes = dump(3);
        every_beginning(&bytes, Format::Gcdump, |at, found| {
            assert_eq!(found.completeness, cut, "cut to {at}");
        });
        assert_eq!(facts(&[&bytes[..], &[0]].concat()).completeness, cut);
        assert_eq!(
            identify_from(&bytes, bytes.len() as u64 + 9).completeness,
            cut
        );
    }

    #[test]
    fn labels_that_lead_elsewhere_are_no_end() {
        let bytes = dump(2);
        let (count, trailer) = (bytes.len() - 20, bytes.len() - 8);
        for (at, value) in [
            (count, 1u32),
            (count, u32::MAX),
            (trailer, 0),
            (trailer, trailer as u32),
            (trailer, u32::MAX),
            (trailer + 4, 0),
            (trailer + 4, u32::MAX),
            (count - 4, 0),
        ] {
            let mut bytes = bytes.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert_eq!(
                facts(&bytes).completeness,
                Completeness::Truncated { expected: None },
                "{value} at {at}"
            );
        }
    }

    #[test]
    fn an_unreadable_or_too_long_file_is_doubtful() {
        let bytes = dump(2);
        for bad in 60..bytes.len() as u64 {
            let found = identify_from(&BadFrom(&bytes, bad), bytes.len() as u64);
            assert_eq!(found.completeness, Completeness::Unknown, "from {bad}");
            assert!(found.unread[0].contains("os error 5"), "{:?}", found.unread);
        }
        let found = identify_from(&bytes, 1 << 32);
        assert_eq!(found.completeness, Completeness::Unknown);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn a_dump_with_any_bytes_changed_is_survived(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..16),
            len in prop_oneof![Just(None), any::<u64>().prop_map(Some)],
        ) {
            let mut bytes = dump(5);
            for (index, value) in changes {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
            identify_from(&bytes, len.unwrap_or(bytes.len() as u64));
        }
    }
}
