//! Minidumps; see `salvage_fuzz::check` for what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    salvage_fuzz::check_file(&[b"MDMP\x93\xa7"], input);
});
