//! Crash reports of .NET; see `salvage_fuzz::check` for what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    salvage_fuzz::check_file(&[br#"{"payload":{"protocol_version":"#], input);
});
