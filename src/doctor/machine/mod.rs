//! What the kernel allows and the node has room for.

mod capabilities;
mod core_pattern;
mod inotify;
mod limits;
mod space;

use std::path::Path;

use super::Finding;
use crate::config::Config;

pub(super) use capabilities::Needed;
pub(super) use space::StateDir;

/// Text of a file of the kernel's, without what surrounds it.
fn read(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new(path)).ok()?;
    Some(text.trim().to_owned())
}

/// A number in a file of the kernel's.
fn number(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}

/// What holds without a configuration as well.
pub(super) fn examine_kernel(config: Option<&Config>) -> Vec<Finding> {
    let needed = config.map_or(Needed::Perhaps, Needed::of);
    let sources = config.map_or(1, |config| config.sources.len());
    let directories: Vec<&Path> = config.map_or(Vec::new(), |config| {
        let paths = config.sources.iter().map(|source| source.path.as_path());
        paths.collect()
    });
    let in_pods = config.is_some_and(|config| config.kubernetes.is_some());
    let mut findings = capabilities::judge(capabilities::gather(), needed);
    findings.extend(inotify::judge(&inotify::gather(), sources));
    findings.push(limits::judge_open_files(limits::open_files(), sources));
    findings.extend(core_pattern::judge(
        &core_pattern::gather(),
        &directories,
        in_pods,
    ));
    findings
}

/// What the agent's own numbers are compared with.
pub(super) fn examine_limits(config: &Config) -> Vec<Finding> {
    vec![limits::judge_memory(&limits::memory(config))]
}
