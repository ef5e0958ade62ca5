//! An append-only file of records, each durable when the call returns and each with a checksum.
//!
//! One record is one line: CRC-32C of what follows in eight hex digits, a space, a JSON value, a line feed. A write that was cut short leaves a last line that
//! does not check: it and whatever follows count as never written, and are cut off before the next record is added.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crc_fast::{CrcAlgorithm, checksum};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Dir;

/// Longest journal that is read. A record is a few hundred bytes, and three for each frame: 9,000 parts of a terabyte make about 8 MB.
const MAX: u64 = 64 << 20;

/// A journal that can be added to.
#[derive(Debug)]
pub struct Journal {
    file: File,
    end: u64,
}

impl Journal {
    /// Begins one anew under `name`, in place of what is there.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn begin(dir: &Dir, name: &OsStr) -> io::Result<Self> {
        match dir.remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = dir.create_file(name)?;
        dir.sync()?;
        Ok(Self { file, end: 0 })
    }

    /// Opens the one under `name` and gives its records, or nothing if there is none.
    ///
    /// # Errors
    /// Those of the file system; [`io::ErrorKind::InvalidData`] for a whole record that is none of `R`.
    pub fn open<R: DeserializeOwned>(
        dir: &Dir,
        name: &OsStr,
    ) -> io::Result<Option<(Self, Vec<R>)>> {
        let file = match dir.reopen_file(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        (&file).take(MAX).read_to_end(&mut bytes)?;
        let (records, end) = read(&bytes)?;
        file.set_len(end)?;
        Ok(Some((Self { file, end }, records)))
    }

    /// Adds a record and makes it durable.
    ///
    /// # Errors
    /// Those of the file system; the records before it stand.
    pub fn append(&mut self, record: &impl Serialize) -> io::Result<()> {
        let line = line_of(&serde_json::to_string(record)?);
        self.file.write_all_at(line.as_bytes(), self.end)?;
        self.file.sync_data()?;
        self.end += line.len() as u64;
        Ok(())
    }
}

fn line_of(json: &str) -> String {
    let sum = checksum(CrcAlgorithm::Crc32Iscsi, json.as_bytes());
    format!("{sum:08x} {json}\n")
}

/// The records of a journal and where the last whole one ends.
fn read<R: DeserializeOwned>(bytes: &[u8]) -> io::Result<(Vec<R>, u64)> {
    let mut records = Vec::new();
    let mut end = 0;
    while let Some(length) = bytes[end..].iter().position(|byte| *byte == b'\n') {
        let Some(json) = checked(&bytes[end..end + length]) else {
            break;
        };
        records.push(serde_json::from_str(json)?);
        end += length + 1;
    }
    Ok((records, end as u64))
}

/// A line's JSON, if its checksum is right.
fn checked(line: &[u8]) -> Option<&str> {
    let (sum, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let written = u64::from_str_radix(sum, 16).ok()?;
    (checksum(CrcAlgorithm::Crc32Iscsi, json.as_bytes()) == written).then_some(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dir() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().expect("temp dir");
        let dir = Dir::open(temp.path()).expect("open");
        (temp, dir)
    }

    const NAME: &str = "journal";

    fn records(dir: &Dir) -> Vec<String> {
        Journal::open(dir, OsStr::new(NAME))
            .expect("open")
            .expect("there")
            .1
    }

    #[test]
    fn a_journal_cut_anywhere_has_the_whole_records_before_the_cut_and_goes_on() {
        let (temp, dir) = dir();
        let mut journal = Journal::begin(&dir, OsStr::new(NAME)).expect("begin");
        let written = ["one", "two\nlines", "three"];
        let mut ends = vec![0];
        for record in written {
            journal.append(&record).expect("append");
            ends.push(journal.end);
        }
        let path = temp.path().join(NAME);
        let whole = std::fs::read(&path).expect("read");
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("cut");
            let there = ends.iter().filter(|end| **end <= cut as u64).count() - 1;
            assert_eq!(records(&dir), written[..there], "cut at {cut}");
            let (mut journal, _) = Journal::open::<String>(&dir, OsStr::new(NAME))
                .expect("open")
                .expect("there");
            journal.append(&"more").expect("append");
            assert_eq!(records(&dir).len(), there + 1, "cut at {cut}");
        }
    }

    #[test]
    fn there_may_be_none_and_a_new_one_replaces_the_old() {
        let (_temp, dir) = dir();
        let name = OsStr::new(NAME);
        assert!(Journal::open::<String>(&dir, name).expect("open").is_none());
        for round in ["one", "two"] {
            let mut journal = Journal::begin(&dir, name).expect("begin");
            journal.append(&round).expect("append");
            assert_eq!(records(&dir), [round]);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), flip in any::<prop::sample::Index>()) {
            let _ = read::<String>(&bytes);
            let mut line = line_of("\"record\"").into_bytes();
            let at = flip.index(line.len());
            line[at] ^= 1;
            let (records, _) = read::<String>(&line).unwrap_or_default();
            prop_assert!(records.is_empty(), "one bit is another record");
        }
    }
}
