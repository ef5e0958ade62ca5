//! Diagnostic reports of Node.js; see `salvage_fuzz::check` for what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    salvage_fuzz::check_file(
        &[
            br#"{"header":{"reportVersion":4,"#,
            b"\n{\n  \"header\": {\n    \"reportVersion\": 4,",
        ],
        input,
    );
});
