//! Where the kernel leaves cores. The agent changes nothing of it; what runtimes write themselves does not depend on it.

use std::path::Path;

use super::{number, read};
use crate::doctor::Finding;
use crate::model::Escaped;

/// What the kernel is told.
#[derive(Debug)]
pub(super) struct Facts {
    pattern: Option<String>,
    uses_pid: bool,
    suid_dumpable: Option<u64>,
}

pub(super) fn gather() -> Facts {
    Facts {
        pattern: read("/proc/sys/kernel/core_pattern"),
        uses_pid: number("/proc/sys/kernel/core_uses_pid") == Some(1),
        suid_dumpable: number("/proc/sys/fs/suid_dumpable"),
    }
}

/// Where injection mounts the volume for dumps.
const INJECTED: &str = "/var/salvage";

const RUNTIMES: &str = "what .NET, Java and Node write themselves is not affected";

/// Judges for these sources; in pods each process has a file system of its own.
pub(super) fn judge(facts: &Facts, sources: &[&Path], in_pods: bool) -> Vec<Finding> {
    let Some(pattern) = &facts.pattern else {
        return vec![Finding::skipped(
            "core_pattern",
            "",
            "/proc/sys/kernel/core_pattern cannot be read",
            "mount /proc",
        )];
    };
    vec![
        judge_pattern(pattern, facts.uses_pid, sources, in_pods),
        judge_suid(facts.suid_dumpable),
    ]
}

fn judge_pattern(pattern: &str, uses_pid: bool, sources: &[&Path], in_pods: bool) -> Finding {
    const ID: &str = "core_pattern";
    let shown = Escaped::bytes(pattern.as_bytes()).to_string();
    let remedy = "set kernel.core_pattern on the node to a path into a source as the processes see it, with %e.%p.%t in the name";
    match pattern.as_bytes().first() {
        None if !uses_pid => Finding::warn(
            ID,
            "",
            format!("core_pattern is empty, so the kernel writes no cores; {RUNTIMES}"),
            remedy,
        ),
        Some(b'|') => {
            let handler = pattern[1..].split_whitespace().next().unwrap_or_default();
            let handler = Escaped::bytes(handler.as_bytes());
            Finding::warn(
                ID,
                &shown,
                format!(
                    "the kernel gives cores to the program {handler} on the node, and none to a source; {RUNTIMES}"
                ),
                format!("take what {handler} leaves from a source of its own, or {remedy}"),
            )
        }
        Some(b'@') => Finding::warn(
            ID,
            &shown,
            format!(
                "the kernel gives cores to a socket on the node, and none to a source; {RUNTIMES}"
            ),
            remedy,
        ),
        Some(b'/') => judge_path(&shown, Path::new(pattern), sources, in_pods),
        _ => Finding::warn(
            ID,
            &shown,
            format!(
                "the kernel writes a core into the working directory of its process: it is found only where that is in a source; {RUNTIMES}"
            ),
            remedy,
        ),
    }
}

/// A path is one of the process's own mount namespace.
fn judge_path(shown: &str, pattern: &Path, sources: &[&Path], in_pods: bool) -> Finding {
    const ID: &str = "core_pattern";
    let directory = pattern.parent().unwrap_or(pattern);
    let into = sources.iter().any(|source| directory.starts_with(source));
    let directory = Escaped::bytes(directory.as_os_str().as_encoded_bytes());
    let injected = pattern.starts_with(INJECTED);
    match (in_pods, into) {
        (true, _) if !injected => Finding::skipped(
            ID,
            shown,
            format!(
                "the kernel writes a core to {directory} of its process's own file system: whether a container mounts a source there is not seen; {RUNTIMES}"
            ),
            format!(
                "mount a source at {directory} in the containers, or name {INJECTED} in kernel.core_pattern"
            ),
        ),
        (true, _) => Finding::ok(
            ID,
            shown,
            format!(
                "the kernel writes a core to {directory} of its process's own file system: it is found where a container mounts a source there; {RUNTIMES}"
            ),
        ),
        (false, true) => Finding::ok(ID, shown, "the kernel writes cores into a source"),
        (false, false) => Finding::warn(
            ID,
            shown,
            format!("the kernel writes cores to {directory}, which is no source; {RUNTIMES}"),
            format!("name {directory} in sources"),
        ),
    }
}

fn judge_suid(dumpable: Option<u64>) -> Finding {
    const ID: &str = "suid_dumpable";
    match dumpable {
        Some(0) => Finding::ok(
            ID,
            "0",
            "programs that change their user or cannot be read by it leave no core, as is usual",
        ),
        Some(value) => Finding::ok(
            ID,
            value,
            "programs that change their user leave cores as well, which root alone may read with 2",
        ),
        None => Finding::skipped(ID, "", "fs.suid_dumpable cannot be read", "mount /proc"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn each_kind_of_pattern_is_told_for_what_it_means() {
        let sources = [Path::new("/var/crash")];
        let table = [
            ("", false, false, Verdict::Warn, "no cores"),
            ("", true, false, Verdict::Warn, "working directory"),
            ("core", false, false, Verdict::Warn, "working directory"),
            (
                "|/usr/lib/systemd/systemd-coredump %P %u",
                false,
                true,
                Verdict::Warn,
                "the program /usr/lib/systemd/systemd-coredump on the node",
            ),
            (
                "@/run/coredump.socket",
                false,
                true,
                Verdict::Warn,
                "socket",
            ),
            (
                "/var/crash/core.%e.%p",
                false,
                false,
                Verdict::Ok,
                "into a source",
            ),
            (
                "/tmp/core.%p",
                false,
                false,
                Verdict::Warn,
                "/tmp, which is no source",
            ),
            (
                "/tmp/core.%p",
                false,
                true,
                Verdict::Skipped,
                "/tmp of its process's own file system",
            ),
            (
                "/var/salvage/core.%p",
                false,
                true,
                Verdict::Ok,
                "where a container mounts a source",
            ),
        ];
        for (pattern, uses_pid, in_pods, verdict, words) in table {
            let found = judge_pattern(pattern, uses_pid, &sources, in_pods);
            assert_eq!(found.verdict, verdict, "{pattern}: {found:?}");
            assert!(found.cause.contains(words), "{pattern}: {found:?}");
        }
        let unreadable = Facts {
            pattern: None,
            uses_pid: false,
            suid_dumpable: None,
        };
        assert_eq!(judge(&unreadable, &[], true)[0].verdict, Verdict::Skipped);
    }
}
