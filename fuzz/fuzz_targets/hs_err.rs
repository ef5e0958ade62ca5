//! The JVM's fatal error logs; see `salvage_fuzz::check` for what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    salvage_fuzz::check_file(
        &[
            b"#\n# A fatal error has been detected by the Java Runtime Environment:\n#\n",
            b"#\n# There is insufficient memory for the Java Runtime Environment to continue.\n",
        ],
        input,
    );
});
