//! Makes what a store would hold of a file, from the formats' own descriptions and without the code under test: zstd frames with
//! checksums, then the seek table of zstd's seekable format, written by hand.

use sha2::{Digest, Sha256};

/// The object for `raw`, cut into frames of `frame` bytes.
pub(crate) fn stored(raw: &[u8], frame: usize) -> Vec<u8> {
    stored_frames(raw.chunks(frame))
}

/// The object of these frames.
pub(crate) fn stored_frames<'a>(frames: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut encoder = zstd::bulk::Compressor::new(1).expect("level 1 exists");
    encoder
        .include_checksum(true)
        .expect("zstd can write checksums");
    let mut object = Vec::new();
    let mut entries = Vec::new();
    for frame in frames {
        let encoded = encoder.compress(frame).expect("compresses");
        entries.extend((encoded.len() as u32).to_le_bytes());
        entries.extend((frame.len() as u32).to_le_bytes());
        object.extend(encoded);
    }
    object.extend([0x5e, 0x2a, 0x4d, 0x18]);
    object.extend((entries.len() as u32 + 9).to_le_bytes());
    object.extend(&entries);
    object.extend((entries.len() as u32 / 8).to_le_bytes());
    object.push(0);
    object.extend([0xb1, 0xea, 0x92, 0x8f]);
    object
}

/// SHA-256 in lower hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
