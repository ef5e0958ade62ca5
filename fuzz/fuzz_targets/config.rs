//! The configuration file: one that is accepted is written out as one that is accepted and the same. Nothing of it is looked for on
//! the disk or in the network.
#![no_main]

use std::path::Path;

use salvage::config::{Config, Surroundings};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let path = Path::new("/etc/salvage/config.yaml");
    let surroundings = Surroundings {
        cpus: 2,
        ..Surroundings::default()
    };
    if let Ok(config) = Config::parse(text, path, &surroundings) {
        let effective = config.effective().expect("what was read can be written");
        let again =
            Config::parse(&effective, path, &surroundings).expect("what was written can be read");
        assert_eq!(effective, again.effective().expect("again"));
    }
});
