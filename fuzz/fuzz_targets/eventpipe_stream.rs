//! An event stream as it flows by: in pieces it says what it says at once, and whatever is in it is added up within bounds.
#![no_main]

use salvage::dotnet::eventpipe::{Decoder, Event, Trace, Visitor, values};

/// Counts, and takes every payload apart.
#[derive(Default, PartialEq, Debug)]
struct Seen {
    events: u64,
    bytes: u64,
    fields: u64,
}

impl Visitor for Seen {
    fn event(&mut self, trace: &Trace, event: &Event<'_>) {
        self.events += 1;
        self.bytes += event.payload.len() as u64;
        let _ = trace.timestamp(event.ticks);
        if let Ok(found) = values(event.kind, event.payload) {
            self.fields += found.len() as u64;
        }
    }
}

/// A stream up to its first block, so that not every input must guess it.
fn beginning() -> Vec<u8> {
    let mut bytes = b"Nettrace\x14\0\0\0!FastSerialization.1".to_vec();
    bytes.extend(b"\x05\x05\x01\x04\0\0\0\x04\0\0\0\x05\0\0\0Trace\x06");
    bytes.extend([0xe9, 7, 11, 0, 5, 0, 21, 0, 1, 0, 52, 0, 31, 0, 0, 0]);
    bytes.extend([0; 8]);
    bytes.extend(1_000_000_000u64.to_le_bytes());
    bytes.extend(8u32.to_le_bytes());
    bytes.extend([1; 12]);
    bytes.push(6);
    bytes
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let whole = if input.starts_with(b"Nettrace") {
        input.to_vec()
    } else {
        [&beginning(), input].concat()
    };
    let (mut decoder, mut seen) = (Decoder::new(), Seen::default());
    decoder.feed(&whole, &mut seen);
    assert_eq!(decoder.counts().events, seen.events);
    // Cut at places that move with the input.
    let step = 1 + whole.iter().fold(7usize, |sum, byte| {
        sum.wrapping_mul(31) ^ usize::from(*byte)
    }) % 97;
    let (mut pieces, mut again) = (Decoder::new(), Seen::default());
    for piece in whole.chunks(step) {
        pieces.feed(piece, &mut again);
    }
    assert_eq!(seen, again);
    assert_eq!(decoder.counts(), pieces.counts());
    assert_eq!(decoder.trouble(), pieces.trouble());
    assert_eq!(decoder.is_complete(), pieces.is_complete());
});
