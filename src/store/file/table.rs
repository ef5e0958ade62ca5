//! Which parts of an upload have arrived: a table beside its staged file.
//!
//! ```text
//! 0                           {"key":"artifacts/...","part_bytes":8388608} and a line feed
//! HEAD + (n - 1) * RECORD     part n: its length and MD5 in text; zeros, or beyond the end, while it has not arrived
//! ```
//!
//! A record is written when its part is durable, and taken back before that part is written again: it never stands for other bytes than
//! those in the file. What a torn write leaves reads as a part that has not arrived. The staged file comes before its table and goes
//! before it, so a table without one means nothing.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use super::staging::is_staged_name;
use crate::model::{ObjectKey, Upload};
use crate::store::{PARTS_MAX, PartInfo};
use crate::sys::{Dir, Stat};

const SUFFIX: &str = ".parts";
/// Room for the longest key.
const HEAD: usize = 2_048;
const RECORD: usize = 64;
/// Twenty digits, a space, an MD5.
const WRITTEN: usize = 20 + 1 + 32;

/// The table of one upload.
#[derive(Debug)]
pub(super) struct Table(File);

#[derive(Serialize, Deserialize)]
struct Head {
    key: ObjectKey,
    part_bytes: u64,
}

/// The name of an upload's table.
pub(super) fn table_name(staged: &OsStr) -> OsString {
    let mut name = staged.to_owned();
    name.push(SUFFIX);
    name
}

/// The staged file whose table has this name, if it is one.
pub(super) fn staged_of(name: &OsStr) -> Option<&OsStr> {
    let staged = name.to_str()?.strip_suffix(SUFFIX)?;
    is_staged_name(staged).then_some(OsStr::new(staged))
}

impl Table {
    /// Makes the table of a file that was just staged. Not durable before the first record is: an upload without parts is not missed.
    pub(super) fn create(
        staging: &Dir,
        staged: &OsStr,
        key: &ObjectKey,
        part_bytes: u64,
    ) -> io::Result<()> {
        let head = Head {
            key: key.clone(),
            part_bytes,
        };
        let mut text = serde_json::to_vec(&head)?;
        text.push(b'\n');
        staging
            .create_file(&table_name(staged))?
            .write_all_at(&text, 0)
    }

    /// Opens it for writing.
    pub(super) fn open(staging: &Dir, staged: &OsStr) -> io::Result<Self> {
        staging.reopen_file(&table_name(staged)).map(Self)
    }

    /// Opens it for reading.
    pub(super) fn look(staging: &Dir, staged: &OsStr) -> io::Result<Self> {
        staging.open_file(&table_name(staged)).map(Self)
    }

    /// The upload it belongs to, if it can be read.
    pub(super) fn upload(&self, staged: &OsStr) -> io::Result<Option<Upload>> {
        let mut text = [0; HEAD];
        let read = self.read(&mut text, 0)?;
        let line = text[..read].split(|byte| *byte == b'\n').next();
        let head = line.and_then(|line| serde_json::from_slice::<Head>(line).ok());
        Ok(head.map(|head| Upload {
            key: head.key,
            token: staged.to_string_lossy().into_owned(),
            part_bytes: head.part_bytes,
        }))
    }

    /// Part `number` is about to be written: whatever is recorded of it is true no longer.
    pub(super) fn take_back(&self, number: u32) -> io::Result<()> {
        let mut record = [0; RECORD];
        self.read(&mut record, offset(number))?;
        if record == [0; RECORD] {
            return Ok(());
        }
        self.0.write_all_at(&[0; RECORD], offset(number))?;
        self.0.sync_data()
    }

    /// Part `number` is durable.
    pub(super) fn record(&self, number: u32, bytes: u64, md5: &str) -> io::Result<()> {
        let text = format!("{bytes:020} {md5}");
        self.0.write_all_at(text.as_bytes(), offset(number))?;
        self.0.sync_data()
    }

    /// Every part recorded, in order.
    pub(super) fn parts(&self) -> io::Result<Vec<PartInfo>> {
        let most = PARTS_MAX as usize * RECORD;
        let size = Stat::of(&self.0)?.size.saturating_sub(HEAD as u64);
        let mut records = vec![0; most.min(size.try_into().unwrap_or(most))];
        let read = self.read(&mut records, HEAD as u64)?;
        let numbered = records[..read].chunks(RECORD).zip(1..);
        Ok(numbered
            .filter_map(|(record, number)| part(record, number))
            .collect())
    }

    /// Reads until `buffer` is full or the file ends.
    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.0.read_at(&mut buffer[read..], offset + read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        Ok(read)
    }
}

fn offset(number: u32) -> u64 {
    HEAD as u64 + (u64::from(number) - 1) * RECORD as u64
}

fn part(record: &[u8], number: u32) -> Option<PartInfo> {
    let text = std::str::from_utf8(record.get(..WRITTEN)?).ok()?;
    let (bytes, md5) = text.split_once(' ')?;
    let is_md5 = md5.len() == 32 && hex::decode(md5).is_ok();
    Some(PartInfo {
        number,
        bytes: bytes.parse().ok().filter(|_| is_md5)?,
        etag: md5.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::changes::changed;
    use proptest::prelude::*;

    const MD5: &str = "25f9e794323b453885f5181f1b624d0b";

    fn with_table(check: impl FnOnce(&Dir, &OsStr, &std::path::Path)) {
        let temp = tempfile::tempdir().expect("temp dir");
        let dir = Dir::open(temp.path()).expect("dir");
        let staged = OsStr::new("0123456789abcdef0123456789abcdef");
        let key = "artifacts/cluster=c/x".parse().expect("key");
        Table::create(&dir, staged, &key, 8).expect("made");
        check(&dir, staged, &temp.path().join(table_name(staged)));
    }

    #[test]
    fn a_part_counts_from_its_record_until_that_is_taken_back() {
        with_table(|dir, staged, _| {
            let table = Table::open(dir, staged).expect("opens");
            let numbers = || -> Vec<_> {
                let parts = table.parts().expect("parts");
                parts.iter().map(|part| part.number).collect()
            };
            assert!(numbers().is_empty());
            for number in [2, PARTS_MAX] {
                table.take_back(number).expect("nothing to take back");
                table.record(number, u64::MAX, MD5).expect("recorded");
            }
            assert_eq!(numbers(), [2, PARTS_MAX]);
            table.take_back(2).expect("taken back");
            assert_eq!(numbers(), [PARTS_MAX]);
            let upload = table.upload(staged).expect("read").expect("an upload");
            assert_eq!(upload.key.as_str(), "artifacts/cluster=c/x");
            assert_eq!(upload.part_bytes, 8);
        });
    }

    #[test]
    fn a_torn_or_foreign_table_has_fewer_parts_and_harms_nobody() {
        with_table(|dir, staged, path| {
            let table = Table::open(dir, staged).expect("opens");
            table.record(1, 8, MD5).expect("recorded");
            table.record(2, 8, MD5).expect("recorded");
            let whole = std::fs::read(path).expect("read");
            for cut in 0..whole.len() {
                std::fs::write(path, &whole[..cut]).expect("cut");
                let parts = table.parts().expect("parts");
                let arrived = [HEAD + WRITTEN, HEAD + RECORD + WRITTEN];
                let expected = arrived.iter().filter(|end| **end <= cut).count();
                assert_eq!(parts.len(), expected, "cut at {cut}");
                table.upload(staged).expect("read or not");
            }
            for byte in [0x00, b'\n', b' ', b'9', 0xff] {
                std::fs::write(path, vec![byte; 2 << 20]).expect("planted");
                assert!(table.parts().expect("parts").is_empty());
                assert_eq!(table.upload(staged).expect("read"), None);
            }
        });
    }

    proptest! {
        #[test]
        fn a_changed_record_is_a_receipt_or_none(record in changed(format!("{:020} {MD5}", 8))) {
            if let Some(part) = part(record.as_bytes(), 7) {
                prop_assert_eq!(part.number, 7);
                prop_assert_eq!(hex::decode(&part.etag).map(|md5| md5.len()), Ok(16));
            }
        }
    }
}
