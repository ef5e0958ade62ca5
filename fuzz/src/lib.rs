//! What the fuzz targets share: whatever a file says of a crash must hold, in whichever format it says it.

use salvage::identify::identify_from;
use salvage::model::{Completeness, Facts};

/// Longest facts as JSON: a manifest above 4 MiB is not read any more, and it holds more than the facts of one file.
const FACTS_MAX: usize = 2 << 20;

/// What a file says that begins as `beginnings` do. An `input` that begins otherwise follows one of them, so that no input is of
/// another format and half of them need not guess; seeds are whole files.
pub fn check_file(beginnings: &[&[u8]], input: &[u8]) {
    if beginnings
        .iter()
        .any(|beginning| input.starts_with(beginning))
    {
        return check(input);
    }
    let Some((which, rest)) = input.split_first() else {
        return;
    };
    let beginning = beginnings[usize::from(*which) % beginnings.len()];
    check(&[beginning, rest].concat());
}

/// What any file says: it is bounded, survives a state file, and is about no byte that the reader was not told of.
pub fn check(file: &[u8]) {
    let length = file.len() as u64;
    check_facts(&identify_from(&file, length), length);
    // Cut at a place that moves with the input.
    let number = file.iter().fold(length, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    });
    let cut = number % (length + 1);
    let shorter = &file[..cut as usize];
    if number & (1 << 32) == 0 {
        let told = identify_from(&file, cut);
        check_facts(&told, cut);
        let there = identify_from(&shorter, cut);
        assert_eq!(told, there, "bytes behind the end are read");
    } else {
        // It shrank after its length was taken.
        check_facts(&identify_from(&shorter, length), cut);
    }
}

fn check_facts(facts: &Facts, length: u64) {
    if let Completeness::Truncated {
        expected: Some(expected),
    } = facts.completeness
    {
        assert!(
            expected > length,
            "{length} bytes are not less than the {expected} promised"
        );
    }
    let json = serde_json::to_string(facts).expect("facts serialise");
    assert!(json.len() <= FACTS_MAX, "{} bytes of facts", json.len());
    let read: Facts = serde_json::from_str(&json).expect("facts read back");
    assert_eq!(*facts, read, "facts survive a state file");
}
