//! Heap dumps of the JVM, with object ids of 8 and of 4 bytes; see `salvage_fuzz::check` for what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    salvage_fuzz::check_file(
        &[
            b"JAVA PROFILE 1.0.2\0\0\0\0\x08",
            b"JAVA PROFILE 1.0.1\0\0\0\0\x04",
        ],
        input,
    );
});
