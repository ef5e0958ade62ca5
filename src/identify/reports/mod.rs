//! The reports that runtimes write as text about their own end.
//!
//! ```text
//! Source ─┬─ guarded ── json: members that are asked for ─┬─ dotnet ─┐
//!         │                                               └─ node ───┼→ Facts
//!         └─ lines ──────────────────────────────────────── hs_err ──┘
//! ```
//!
//! Owns what these share: bounded stacks and texts, and what versions and machines are called. Reports are where secrets stand
//! in plain text, so nothing is taken but what its own file names: a member, or a line of a known form. Messages of exceptions,
//! arguments and environments have no place to go to.

pub(super) mod dotnet;
mod guarded;
pub(super) mod hs_err;
mod json;
mod lines;
pub(super) mod node;
#[cfg(test)]
mod samples;
mod stack;
#[cfg(test)]
mod tests;
mod v8;

use crate::model::Escaped;

/// A text of the report made fit for a manifest; none where it is empty.
fn shown(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| Escaped::bytes(text.as_bytes()).to_string())
}

/// The text if it can be a version: `8.0.1525.16413`, `17.0.15+6`, `8.0_292-b10`, `21.0.0-pre`.
fn version(text: &str) -> Option<String> {
    let shaped = text.starts_with(|c: char| c.is_ascii_digit())
        && text.len() <= 64
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_'));
    shaped.then(|| text.to_owned())
}

/// The machine as `uname -m` names it, from the names that .NET, Node and the JVM have for it.
fn machine(name: &str) -> Option<&'static str> {
    const NAMES: [(&str, &[&str]); 8] = [
        ("x86_64", &["amd64", "x64", "x86_64"]),
        ("aarch64", &["arm64", "aarch64"]),
        ("i686", &["x86", "ia32", "i386"]),
        ("arm", &["arm", "armel", "armhf"]),
        // Node runs on little-endian POWER only, and says `ppc64`.
        ("ppc64le", &["ppc64le", "ppc64"]),
        ("s390x", &["s390x"]),
        ("riscv64", &["riscv64"]),
        ("loongarch64", &["loongarch64", "loong64"]),
    ];
    NAMES
        .iter()
        .find(|(_, names)| names.contains(&name))
        .map(|(machine, _)| *machine)
}

/// A process or thread id; the kernel's are positive and below 2^22.
fn id(number: u64) -> Option<i32> {
    i32::try_from(number).ok().filter(|id| *id > 0)
}

#[cfg(test)]
mod words {
    use super::*;

    #[test]
    fn only_what_has_the_form_of_a_version_is_one() {
        for text in ["8.0.1525.16413", "17.0.15+6", "8.0_292-b10", "4"] {
            assert_eq!(version(text).as_deref(), Some(text));
        }
        for text in ["", "v20", "1 2", "1.0 @Commit", "1\n2", &"1".repeat(65)] {
            assert_eq!(version(text), None, "{text:?}");
        }
    }

    #[test]
    fn ids_are_positive_and_fit() {
        assert_eq!(id(1), Some(1));
        assert_eq!(id(0), None);
        // JDK 8 prints the address of the thread's descriptor.
        assert_eq!(id(139_642_271_694_592), None);
    }
}
