//! Texts that are almost right, for tests of what reads texts: random ones never come past the first check.

use proptest::prelude::*;
use proptest::sample::Index;

/// What steers parsers: signs, words, and numbers at the edge of some type.
const PIECES: [&str; 24] = [
    "",
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "/",
    "_",
    "-",
    ".",
    "\n",
    " ",
    "\0",
    "ä",
    "null",
    "true",
    "-1",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "1e999",
    "\\ud800",
];

/// `text` with one to three pieces of it replaced: by something that steers parsers, by another piece of it, or by any character.
pub(crate) fn changed(text: impl Into<String>) -> impl Strategy<Value = String> {
    let text = text.into();
    let change = (
        any::<Index>(),
        0..8usize,
        any::<Index>(),
        any::<char>(),
        0..3u8,
    );
    prop::collection::vec(change, 1..=3).prop_map(move |changes| {
        let mut chars: Vec<char> = text.chars().collect();
        for (at, length, which, other, how) in changes {
            let start = at.index(chars.len() + 1);
            let end = (start + length).min(chars.len());
            let put: Vec<char> = match how {
                0 => PIECES[which.index(PIECES.len())].chars().collect(),
                1 => {
                    let from = which.index(chars.len() + 1);
                    chars[from..].iter().take(length).copied().collect()
                }
                _ => vec![other],
            };
            chars.splice(start..end, put);
        }
        chars.into_iter().collect()
    })
}
