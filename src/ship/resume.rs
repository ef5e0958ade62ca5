//! Going on with a multipart upload after a stop: what the journal of an upload says, and from where an encoder can take it up.
//!
//! A part ends anywhere in a frame. What its record holds is enough to make the next byte: where the file was read to before that frame, how many of the frame's
//! stored bytes went out already, and the digests up to there. The frame is encoded once more, which gives the same bytes only with the same encoder and the same
//! file: both are in the first record, and where they are not ours the upload is given up.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Config, FRAME_BYTES};
use crate::model::{FileId, Upload};
use crate::spool::Sent;
use crate::store::{Expected, Part, PartInfo};

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// An upload was begun; the first line.
    Began(Began),
    /// A part was sent. Parts may be noted in another order than theirs.
    Part(SentPart),
    /// All parts were sent and the upload is about to be completed.
    Whole(Whole),
}

/// An upload, and all that must be the same for it to be gone on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Began {
    pub(super) upload: Upload,
    /// What made the bytes.
    pub(super) encoder: String,
    /// The file, its length and its last change.
    pub(super) file: FileId,
    pub(super) bytes: u64,
    pub(super) modified: Timestamp,
    /// Where the object begins.
    pub(super) start: Cut,
}

/// A part that the store has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SentPart {
    pub(super) part: Part,
    /// Where it ends.
    pub(super) cut: Cut,
}

/// A place between two bytes of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cut {
    /// Where the file was read to, before the frame that the place is in; and the digest of all that was stored of it up to the very place,
    /// earlier objects included.
    pub(super) sent: Sent,
    /// Stored bytes of that frame, or of the seek table behind the last one, that are before the place.
    pub(super) within: u64,
    /// CRC-32C of those, to see that the frame is the same when it is encoded once more.
    pub(super) within_crc: u32,
    /// Stored lengths of the frames that ended since the cut before.
    pub(super) frames: Vec<u32>,
    /// CRC-64/NVME of the object up to the place.
    pub(super) crc64nvme: u64,
}

/// An object of which only the completion is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Whole {
    pub(super) expected: Expected,
    /// How far that is at the object's end.
    pub(super) sent: Sent,
}

/// An upload that can be gone on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resumed {
    pub(super) began: Began,
    /// The parts that need not be sent again, from the first without a gap.
    pub(super) parts: Vec<SentPart>,
    /// All parts are there, and the upload may even be completed.
    pub(super) whole: Option<Whole>,
}

/// The encoder of this program, as far as its bytes depend on it.
pub(super) fn encoder(config: &Config) -> String {
    let zstd = zstd::zstd_safe::version_string();
    let level = config.level;
    format!("zstd {zstd} level {level} checksums, frames of {FRAME_BYTES}, seek table 1")
}

/// What can be gone on with, of an upload whose journal says `records`.
pub(super) fn resume(records: Vec<Record>) -> Option<Resumed> {
    let mut records = records.into_iter();
    let Some(Record::Began(began)) = records.next() else {
        return None;
    };
    let mut parts = Vec::new();
    let mut whole = None;
    for record in records {
        match record {
            Record::Began(_) => return None,
            Record::Part(part) => parts.push(part),
            Record::Whole(all) => whole = Some(all),
        }
    }
    parts.sort_by_key(|sent: &SentPart| sent.part.number);
    // A part that was sent again is noted again.
    parts.dedup_by_key(|sent| sent.part.number);
    let mut resumed = Resumed {
        began,
        parts,
        whole,
    };
    let unbroken = |(n, sent): &(usize, &SentPart)| sent.part.number as usize == n + 1;
    let count = resumed
        .parts
        .iter()
        .enumerate()
        .take_while(unbroken)
        .count();
    resumed.keep(count);
    Some(resumed)
}

impl Cut {
    /// Where an object begins.
    pub(super) fn start(sent: &Sent) -> Self {
        Self {
            sent: sent.clone(),
            within: 0,
            within_crc: 0,
            frames: Vec::new(),
            crc64nvme: 0,
        }
    }
}

impl Resumed {
    /// Goes back to what the store really has of it.
    pub(super) fn keep_what_is_there(&mut self, there: &[PartInfo]) {
        let is_there = |sent: &&SentPart| there.iter().any(|info| info.is(&sent.part));
        let count = self.parts.iter().take_while(is_there).count();
        self.keep(count);
    }

    fn keep(&mut self, count: usize) {
        if count < self.parts.len() {
            self.whole = None;
        }
        self.parts.truncate(count);
        let mut bytes = self.parts.iter().map(|sent| sent.part.bytes);
        let sent = bytes.try_fold(0u64, u64::checked_add);
        let all = |whole: &Whole| Some(whole.expected.bytes) == sent;
        self.whole = self.whole.take().filter(all);
    }

    /// Where it goes on.
    pub(super) fn cut(&self) -> &Cut {
        self.parts
            .last()
            .map_or(&self.began.start, |sent| &sent.cut)
    }

    /// Stored lengths of the frames before that.
    pub(super) fn frames(&self) -> impl Iterator<Item = u32> + '_ {
        let cuts = self.parts.iter().map(|sent| &sent.cut);
        cuts.flat_map(|cut| cut.frames.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Md5s;
    use proptest::prelude::*;

    fn cut() -> Cut {
        Cut {
            sent: Sent::nothing(),
            within: 0,
            within_crc: 0,
            frames: vec![1, 2],
            crc64nvme: 0,
        }
    }

    fn began() -> Record {
        Record::Began(Began {
            upload: Upload {
                key: "artifacts/x".parse().expect("key"),
                token: "t".into(),
                part_bytes: 8,
            },
            encoder: "e".into(),
            file: FileId {
                dev: 1,
                ino: 2,
                born: 3,
            },
            bytes: 100,
            modified: Timestamp::UNIX_EPOCH,
            start: cut(),
        })
    }

    fn part(number: u32) -> Record {
        Record::Part(SentPart {
            part: receipt(number),
            cut: cut(),
        })
    }

    fn receipt(number: u32) -> Part {
        Part {
            number,
            bytes: 8,
            etag: format!("\"{number}\""),
            md5: String::new(),
        }
    }

    fn whole(bytes: u64) -> Record {
        Record::Whole(Whole {
            expected: Expected {
                bytes,
                crc64nvme: 0,
                md5s: Md5s::Parts(Vec::new()),
            },
            sent: Sent::nothing(),
        })
    }

    fn numbers(resumed: &Resumed) -> Vec<u32> {
        resumed.parts.iter().map(|sent| sent.part.number).collect()
    }

    #[test]
    fn parts_count_up_to_the_first_gap_whatever_their_order() {
        let records = vec![began(), part(2), part(1), part(4), part(2)];
        let resumed = resume(records).expect("resumes");
        assert_eq!(numbers(&resumed), [1, 2]);
        assert_eq!(resumed.frames().collect::<Vec<_>>(), [1, 2, 1, 2]);
        assert_eq!(
            numbers(&resume(vec![began(), part(2)]).expect("resumes")),
            [0; 0]
        );
    }

    #[test]
    fn only_all_parts_make_a_whole() {
        let all = resume(vec![began(), part(1), part(2), whole(16)]).expect("resumes");
        assert!(all.whole.is_some());
        for records in [
            vec![began(), part(1), whole(16)],
            vec![began(), part(2), whole(16)],
            vec![began(), part(1), part(2), part(4), whole(24)],
        ] {
            assert!(resume(records).expect("resumes").whole.is_none());
        }
    }

    #[test]
    fn what_the_store_lost_is_sent_again() {
        let mut resumed =
            resume(vec![began(), part(1), part(2), part(3), whole(24)]).expect("resumes");
        let there = |number| PartInfo {
            number,
            bytes: 8,
            etag: format!("{number}"),
        };
        resumed.keep_what_is_there(&[there(1), there(3)]);
        assert_eq!(numbers(&resumed), [1]);
        assert!(resumed.whole.is_none());
        resumed.keep_what_is_there(&[]);
        assert!(resumed.parts.is_empty() && resumed.cut() == &cut());
    }

    #[test]
    fn a_journal_without_its_first_line_or_with_another_one_is_none() {
        for records in [vec![], vec![part(1)], vec![began(), began()]] {
            assert_eq!(resume(records), None);
        }
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let number = prop_oneof![1..6u32, any::<u32>()];
        let bytes = prop_oneof![Just(8u64), Just(16), any::<u64>()];
        prop_oneof![
            8 => (number, bytes.clone()).prop_map(|(number, bytes)| Record::Part(SentPart {
                part: Part { bytes, ..receipt(number) },
                cut: cut(),
            })),
            1 => bytes.prop_map(whole),
            1 => Just(began()),
        ]
    }

    proptest! {
        #[test]
        fn whatever_a_journal_says_its_parts_have_no_gap_and_a_whole_is_all_of_them(records in prop::collection::vec(any_record(), 0..12)) {
            let records = [vec![began()], records].concat();
            let Some(resumed) = resume(records) else {
                return Ok(());
            };
            let parts = &resumed.parts;
            prop_assert!(parts.iter().zip(1..).all(|(sent, number)| sent.part.number == number));
            if let Some(whole) = &resumed.whole {
                let sum: u128 = parts.iter().map(|sent| u128::from(sent.part.bytes)).sum();
                prop_assert_eq!(u128::from(whole.expected.bytes), sum);
            }
        }
    }
}
