//! ELF cores of both machines; see `salvage_fuzz::check` for what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    salvage_fuzz::check_file(
        &[
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0",
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\xb7\0",
            b"\x7fELF",
        ],
        input,
    );
});
