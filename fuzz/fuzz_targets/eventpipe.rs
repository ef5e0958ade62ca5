//! `EventPipe` streams of .NET and the heap dumps made from them; see `salvage_fuzz::check` for what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    salvage_fuzz::check_file(
        &[
            b"Nettrace\x14\0\0\0!FastSerialization.1",
            b"Nettrace",
            b"\x14\0\0\0!FastSerialization.1\x04\x04\x01\x0a\0\0\0\x08\0\0\0\x0a\0\0\0GCHeapDump\x06",
        ],
        input,
    );
});
