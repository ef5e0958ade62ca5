//! The table at an object's end that says where its frames are (zstd's seekable format): pure.
//!
//! The table comes from the bucket. `zeekstd` reads its form; what it allocates is bounded here before it is asked, since a table
//! may claim 134 million frames in nine bytes.

use zeekstd::{BytesWrapper, SeekTable};

use super::plan::Frame;

/// What to fetch of an object's end at first: the whole table of a dump up to 21 GiB.
pub(super) const TAIL: u64 = 64 << 10;
/// Most frames an artifact may have: 4 TiB in frames of 4 MiB, eight times the longest dump that is stored by default.
pub(super) const FRAMES_MAX: usize = 1 << 20;
/// Longest file content a frame may decode to.
const RAW_MAX: u64 = 64 << 20;
/// Longest frame that content can become: zstd adds three bytes to a block of 128 KiB it cannot compress, and a header.
const STORED_MAX: u64 = RAW_MAX + (1 << 20);
/// Number of frames, descriptor and magic number: what ends a table in every case.
const FOOTER: usize = 9;
const FOOTER_MAGIC: [u8; 4] = 0x8F92_EAB1_u32.to_le_bytes();
/// Magic number and length of the skippable frame that the table stands in.
const HEADER: u64 = 8;
/// Descriptor's bit for a checksum in every entry.
const CHECKSUMS: u8 = 1 << 7;

/// Why there is no usable table.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The object does not end in one.
    Absent,
    /// It is one, but not of this object.
    Because(String),
}

/// Length of the table that `tail`, the end of an object of `stored_bytes`, ends in.
pub(super) fn length(tail: &[u8], stored_bytes: u64) -> Result<u64, Wrong> {
    let footer = tail.last_chunk::<FOOTER>().ok_or(Wrong::Absent)?;
    let [n0, n1, n2, n3, descriptor, magic @ ..] = *footer;
    if magic != FOOTER_MAGIC {
        return Err(Wrong::Absent);
    }
    let frames = u64::from(u32::from_le_bytes([n0, n1, n2, n3]));
    if frames > FRAMES_MAX as u64 {
        return Err(Wrong::Because(format!(
            "it claims {frames} frames, more than the {FRAMES_MAX} that are read"
        )));
    }
    let entry = if descriptor & CHECKSUMS == 0 { 8 } else { 12 };
    let length = HEADER + frames * entry + FOOTER as u64;
    if length > stored_bytes {
        return Err(Wrong::Because(format!(
            "it claims {frames} frames, which is more table than the object has bytes"
        )));
    }
    Ok(length)
}

/// The frames that `table`, of the length [`length`] gave, lists.
pub(super) fn frames(table: &[u8]) -> Result<Vec<Frame>, Wrong> {
    let parsed = SeekTable::from_seekable(&mut BytesWrapper::new(table))
        .map_err(|error| Wrong::Because(error.to_string()))?;
    let mut frames = Vec::with_capacity(parsed.num_frames() as usize);
    for number in 0..parsed.num_frames() {
        let size = |size: zeekstd::Result<u64>| size.map_err(|e| Wrong::Because(e.to_string()));
        let stored = size(parsed.frame_size_comp(number))?;
        let raw = size(parsed.frame_size_decomp(number))?;
        if raw > RAW_MAX || stored > STORED_MAX {
            return Err(Wrong::Because(format!(
                "frame {number} claims {raw} bytes in {stored}, more than the {RAW_MAX} that are decoded at once; `zstd -d` decodes it all the same"
            )));
        }
        // Both are below 2^32 after the check above.
        frames.push(Frame {
            stored: stored as u32,
            raw: raw as u32,
        });
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A table made by hand.
    fn table(entries: &[(u32, u32)], checksums: bool) -> Vec<u8> {
        let entry = if checksums { 12 } else { 8 };
        let mut bytes = 0x184D_2A5E_u32.to_le_bytes().to_vec();
        bytes.extend(((entries.len() * entry + FOOTER) as u32).to_le_bytes());
        for (stored, raw) in entries {
            bytes.extend(stored.to_le_bytes());
            bytes.extend(raw.to_le_bytes());
            bytes.extend(vec![0x55; entry - 8]);
        }
        bytes.extend((entries.len() as u32).to_le_bytes());
        bytes.push(if checksums { CHECKSUMS } else { 0 });
        bytes.extend(FOOTER_MAGIC);
        bytes
    }

    #[test]
    fn a_table_with_or_without_checksums_is_read() {
        for checksums in [false, true] {
            let bytes = table(&[(10, 100), (0, 0), (7, 50)], checksums);
            assert_eq!(length(&bytes, 1_000), Ok(bytes.len() as u64));
            let sizes: Vec<_> = frames(&bytes)
                .expect("readable")
                .iter()
                .map(|frame| (frame.stored, frame.raw))
                .collect();
            assert_eq!(sizes, [(10, 100), (0, 0), (7, 50)]);
        }
        assert_eq!(frames(&table(&[], false)), Ok(Vec::new()));
    }

    #[test]
    fn an_object_without_a_table_is_known_as_such() {
        assert_eq!(length(b"", 0), Err(Wrong::Absent));
        assert_eq!(length(b"not a table at all", 18), Err(Wrong::Absent));
    }

    #[test]
    fn a_table_that_claims_too_much_is_refused_before_memory_is_taken() {
        let mut many = table(&[(1, 1)], false);
        let at = many.len() - FOOTER;
        many[at..at + 4].copy_from_slice(&0x07ff_ffff_u32.to_le_bytes());
        assert!(matches!(length(&many, u64::MAX), Err(Wrong::Because(_))));
        many[at..at + 4].copy_from_slice(&1_000_u32.to_le_bytes());
        assert!(matches!(length(&many, 25), Err(Wrong::Because(_))));

        let wide = table(&[(100, (RAW_MAX + 1) as u32)], false);
        assert!(matches!(frames(&wide), Err(Wrong::Because(_))));
        let long = table(&[(u32::MAX, 1)], false);
        assert!(matches!(frames(&long), Err(Wrong::Because(_))));
    }

    #[test]
    fn a_table_whose_header_disagrees_is_refused() {
        let mut bytes = table(&[(1, 1), (2, 2)], false);
        bytes[4] ^= 1;
        assert!(matches!(frames(&bytes), Err(Wrong::Because(_))));
        let mut bytes = table(&[(1, 1), (2, 2)], false);
        bytes[0] ^= 1;
        assert!(matches!(frames(&bytes), Err(Wrong::Because(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(noise in proptest::collection::vec(any::<u8>(), 0..200), count in 0u32..40, descriptor: u8) {
            let mut bytes = noise;
            bytes.extend(count.to_le_bytes());
            bytes.push(descriptor);
            bytes.extend(FOOTER_MAGIC);
            if let Ok(length) = length(&bytes, bytes.len() as u64) {
                let start = bytes.len() - length as usize;
                let _ = frames(&bytes[start..]);
            }
        }
    }
}
