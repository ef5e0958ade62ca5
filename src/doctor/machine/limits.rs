//! Memory and open files: the agent's own numbers beside what it is given.

use rustix::process::Resource;

use crate::config::Config;
use crate::doctor::Finding;
use crate::model::ByteSize;
use crate::source::MAX_WATCHES;
use crate::sys;

/// What the agent may take and what its cgroup lets it have.
#[derive(Debug)]
pub(super) struct Memory {
    needed: u64,
    limit: Option<u64>,
    workers: usize,
}

pub(super) fn memory(config: &Config) -> Memory {
    Memory {
        needed: config.memory_needed(),
        limit: sys::cgroup_memory_limit(),
        workers: config.ship.workers,
    }
}

pub(super) fn judge_memory(memory: &Memory) -> Finding {
    const ID: &str = "memory";
    let Memory {
        needed,
        limit,
        workers,
    } = memory;
    let shown = |bytes: u64| ByteSize::new(bytes).rounded();
    let takes = format!(
        "the agent takes up to {} with {workers} workers",
        shown(*needed)
    );
    match limit {
        None => Finding::ok(ID, "", format!("{takes}; this process has no limit")),
        // That much is needed at worst: small dumps are shipped with less.
        Some(limit) if needed > limit => Finding::warn(
            ID,
            "",
            format!(
                "{takes} and may have {}: it may be killed while it ships a large dump",
                shown(*limit)
            ),
            "raise the memory limit, or lower compression.workers",
        ),
        Some(limit) => Finding::ok(ID, "", format!("{takes}; the limit is {}", shown(*limit))),
    }
}

/// The hard limit of open files, to which the agent raises its own.
pub(super) fn open_files() -> Option<u64> {
    rustix::process::getrlimit(Resource::Nofile).maximum
}

pub(super) fn judge_open_files(hard: Option<u64>, sources: usize) -> Finding {
    const ID: &str = "open_files";
    // Each watched directory is an open descriptor, and watching ends at half of the limit.
    let wanted = (2 * MAX_WATCHES * sources.max(1)) as u64;
    match hard {
        Some(hard) if hard < wanted => Finding::warn(
            ID,
            "",
            format!(
                "the hard limit is {hard}, so only {} directories are watched; others are looked at every 10 s",
                hard / 2
            ),
            format!("raise the hard limit of open files to {wanted}"),
        ),
        Some(hard) => Finding::ok(ID, "", format!("the hard limit is {hard}")),
        None => Finding::ok(ID, "", "there is no limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_limit_below_what_is_needed_is_told_with_both_numbers() {
        let memory = |limit| Memory {
            needed: 100 << 20,
            limit,
            workers: 2,
        };
        assert_eq!(judge_memory(&memory(None)).verdict, Verdict::Ok);
        assert_eq!(judge_memory(&memory(Some(128 << 20))).verdict, Verdict::Ok);
        let tight = judge_memory(&memory(Some(64 << 20)));
        assert_eq!(tight.verdict, Verdict::Warn);
        assert!(tight.cause.contains("100.0 MiB") && tight.cause.contains("64.0 MiB"));
        assert_eq!(judge_open_files(Some(1_024), 1).verdict, Verdict::Warn);
        assert_eq!(judge_open_files(Some(8_192), 1).verdict, Verdict::Ok);
        assert_eq!(judge_open_files(None, 1).verdict, Verdict::Ok);
    }
}
