//! Files of any format or none: which it is, is the input's choice. See `salvage_fuzz::check` for what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| salvage_fuzz::check(input));
