//! What of an artifact is fetched in which order: pure.
//!
//! Every range is whole frames, so what arrives is cut without copying and decoded as it is.

use std::ops::Range;

use bytes::Bytes;

use crate::model::{Artifact, ObjectKey};

/// Stored bytes of whole frames are gathered up to this into one request: enough that its latency does not count.
const PIECE: u64 = 8 << 20;
/// A frame this much smaller than what it decodes to holds next to nothing but zeros, which become holes.
const NEARLY_EMPTY: u64 = 2_000;

/// One independently compressed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes in the object.
    pub(super) stored: u32,
    /// Bytes of the file.
    pub(super) raw: u32,
}

/// One object of an artifact, its seek table read.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) key: ObjectKey,
    pub(super) frames: Vec<Frame>,
    /// The seek table itself, the last of the stored bytes.
    pub(super) table: Bytes,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which bytes of the object.
    pub(super) range: Range<u64>,
    /// Which frames they are.
    pub(super) frames: Range<usize>,
}

/// An object as the manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) key: ObjectKey,
    pub(super) bytes: u64,
    pub(super) stored_bytes: u64,
}

/// The objects of an artifact, in order; what contradicts itself is said.
pub(super) fn accounts(artifact: &Artifact) -> Result<Vec<Account>, String> {
    if artifact.volumes.is_empty() {
        return Ok(vec![Account {
            key: artifact.key.clone(),
            bytes: artifact.bytes,
            stored_bytes: artifact.stored_bytes,
        }]);
    }
    let sum = |of: fn(&crate::model::Volume) -> u64| {
        let mut volumes = artifact.volumes.iter().map(of);
        volumes.try_fold(0u64, |sum, bytes| sum.checked_add(bytes))
    };
    if sum(|volume| volume.bytes) != Some(artifact.bytes) {
        return Err("the volumes are not as long as the file".to_owned());
    }
    if sum(|volume| volume.stored_bytes) != Some(artifact.stored_bytes) {
        return Err("the volumes' objects are not as long as stored_bytes says".to_owned());
    }
    let account = |volume: &crate::model::Volume| Account {
        key: volume.key.clone(),
        bytes: volume.bytes,
        stored_bytes: volume.stored_bytes,
    };
    Ok(artifact.volumes.iter().map(account).collect())
}

/// Whether the frames of an object are what the manifest's account of it says.
pub(super) fn check(account: &Account, frames: &[Frame], table: u64) -> Result<(), String> {
    let stored: u64 = frames.iter().map(|frame| u64::from(frame.stored)).sum();
    let raw: u64 = frames.iter().map(|frame| u64::from(frame.raw)).sum();
    if stored.checked_add(table) != Some(account.stored_bytes) {
        return Err(format!(
            "its frames fill {stored} bytes and it fills {table}, but the object has {}",
            account.stored_bytes
        ));
    }
    if raw != account.bytes {
        return Err(format!(
            "its frames hold {raw} bytes of the file, but the manifest says {}",
            account.bytes
        ));
    }
    Ok(())
}

/// Whether every frame but the artifact's last holds `frame_bytes`: a digest over frame digests means nothing otherwise.
pub(super) fn is_uniform(objects: &[Object], frame_bytes: u32) -> bool {
    let mut sizes = objects
        .iter()
        .flat_map(|object| object.frames.iter().map(|frame| frame.raw))
        .rev();
    sizes.next().is_none_or(|last| last <= frame_bytes) && sizes.all(|raw| raw == frame_bytes)
}

/// The requests for an object's frames, in order. An object without frames has one that asks for nothing, so that its table counts.
pub(super) fn pieces(frames: &[Frame]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut piece = Piece {
        range: 0..0,
        frames: 0..0,
    };
    for frame in frames {
        let stored = u64::from(frame.stored);
        let gathered = piece.range.end - piece.range.start;
        if gathered > 0 && gathered + stored > PIECE {
            let next = Piece {
                range: piece.range.end..piece.range.end,
                frames: piece.frames.end..piece.frames.end,
            };
            pieces.push(std::mem::replace(&mut piece, next));
        }
        // At most 2^20 frames of less than 2^27 bytes.
        piece.range.end += stored;
        piece.frames.end += 1;
    }
    pieces.push(piece);
    pieces
}

/// About how many bytes of the file are more than zeros.
pub(super) fn data_bytes(objects: &[Object]) -> u64 {
    let frames = objects.iter().flat_map(|object| &object.frames);
    frames
        .filter(|frame| u64::from(frame.stored) * NEARLY_EMPTY > u64::from(frame.raw))
        .map(|frame| u64::from(frame.raw))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(stored: u32, raw: u32) -> Frame {
        Frame { stored, raw }
    }

    fn object(frames: Vec<Frame>) -> Object {
        Object {
            key: "artifacts/x".parse().expect("key"),
            frames,
            table: Bytes::new(),
        }
    }

    #[test]
    fn small_frames_share_a_request_and_a_large_one_has_its_own() {
        let mib = 1 << 20;
        let frames = [
            frame(3 * mib, 0),
            frame(5 * mib, 0),
            frame(1, 0),
            frame(20 * mib, 0),
            frame(1, 0),
        ];
        let cut: Vec<_> = pieces(&frames).into_iter().map(|p| p.frames).collect();
        assert_eq!(cut, [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(
            pieces(&[]),
            [Piece {
                range: 0..0,
                frames: 0..0
            }]
        );
    }

    #[test]
    fn zeros_need_no_room() {
        let frames = vec![frame(200, 4 << 20), frame(1 << 20, 4 << 20), frame(40, 30)];
        assert_eq!(data_bytes(&[object(frames)]), (4 << 20) + 30);
    }

    #[test]
    fn only_the_last_frame_of_all_may_be_short() {
        let sizes = |sizes: &[u32]| object(sizes.iter().map(|raw| frame(1, *raw)).collect());
        assert!(is_uniform(&[sizes(&[4, 4]), sizes(&[4, 1])], 4));
        assert!(is_uniform(&[sizes(&[])], 4));
        assert!(!is_uniform(&[sizes(&[4, 1]), sizes(&[4])], 4));
        assert!(!is_uniform(&[sizes(&[5])], 4));
    }

    proptest! {
        #[test]
        fn the_requests_cover_every_frame_once_and_stay_small(sizes in proptest::collection::vec(0u32..12_000_000, 0..60)) {
            let frames: Vec<_> = sizes.iter().map(|stored| frame(*stored, 1)).collect();
            let (mut at, mut number) = (0, 0);
            for piece in pieces(&frames) {
                prop_assert_eq!((piece.range.start, piece.frames.start), (at, number));
                let bytes: u64 = frames[piece.frames.clone()].iter().map(|f| u64::from(f.stored)).sum();
                prop_assert_eq!(piece.range.end - piece.range.start, bytes);
                prop_assert!(bytes <= PIECE || piece.frames.len() == 1 || frames[piece.frames.clone()].iter().filter(|f| f.stored > 0).count() == 1);
                (at, number) = (piece.range.end, piece.frames.end);
            }
            prop_assert_eq!(number, frames.len());
            prop_assert_eq!(at, frames.iter().map(|f| u64::from(f.stored)).sum::<u64>());
        }
    }
}
