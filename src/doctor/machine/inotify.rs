//! The kernel's limits on watches, which are one user's over the whole node: the kubelet is root as the agent is.

use std::io;

use rustix::fs::inotify::{CreateFlags, WatchFlags};

use super::number;
use crate::doctor::Finding;
use crate::source::MAX_WATCHES;

/// What the kernel allows, and what trying it brought.
#[derive(Debug)]
pub(super) struct Facts {
    max_watches: Option<u64>,
    max_instances: Option<u64>,
    /// Instances of all processes that are seen from here; in a pod these are the agent's and our own.
    seen_instances: u64,
    /// One instance and one watch in it, for real.
    tried: Result<(), Refused>,
}

/// What the kernel refused.
#[derive(Debug)]
enum Refused {
    Instance(io::Error),
    Watch(io::Error),
}

pub(super) fn gather() -> Facts {
    let max = |name| number(&format!("/proc/sys/fs/inotify/{name}"));
    Facts {
        max_watches: max("max_user_watches"),
        max_instances: max("max_user_instances"),
        seen_instances: seen_instances(),
        tried: attempt(),
    }
}

fn attempt() -> Result<(), Refused> {
    let instance = rustix::fs::inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
        .map_err(|error| Refused::Instance(error.into()))?;
    // Of the root directory nothing is ever told that we ask for.
    let watch = rustix::fs::inotify::add_watch(&instance, "/", WatchFlags::DELETE_SELF);
    watch.map_err(|error| Refused::Watch(error.into()))?;
    Ok(())
}

fn seen_instances() -> u64 {
    let of_process = |process: std::fs::DirEntry| {
        let fds = std::fs::read_dir(process.path().join("fd")).ok()?;
        let is_inotify = |fd: &std::fs::DirEntry| {
            std::fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:inotify")
        };
        Some(fds.flatten().filter(is_inotify).count() as u64)
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_process = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
    };
    processes.filter(is_process).filter_map(of_process).sum()
}

pub(super) fn judge(facts: &Facts, sources: usize) -> Vec<Finding> {
    const ID: &str = "inotify";
    let polled =
        "what is not watched is looked at every 10 s, and a dump may be overwritten before";
    match &facts.tried {
        Err(Refused::Instance(error)) => {
            return vec![Finding::fail(
                ID,
                "max_user_instances",
                format!(
                    "no directory can be watched: no further instance is given out ({error}): {polled}"
                ),
                "raise fs.inotify.max_user_instances on the node (sysctl), for example to 1024",
            )];
        }
        Err(Refused::Watch(error)) => {
            return vec![Finding::fail(
                ID,
                "max_user_watches",
                format!("no further directory can be watched ({error}): {polled}"),
                "raise fs.inotify.max_user_watches on the node (sysctl), for example to 524288",
            )];
        }
        Ok(()) => {}
    }
    let mut findings = Vec::new();
    // Each source watches for itself.
    let needed = (MAX_WATCHES * sources.max(1)) as u64;
    match facts.max_watches {
        Some(max) if max < 2 * needed => findings.push(Finding::warn(
            ID,
            "max_user_watches",
            format!("the limit is {max}, the agent uses up to {needed}, and the kubelet has the same: {polled}"),
            "raise fs.inotify.max_user_watches on the node (sysctl), for example to 524288",
        )),
        Some(max) => findings.push(Finding::ok(
            ID,
            "max_user_watches",
            format!("the limit is {max}, the agent uses up to {needed}; one was tried"),
        )),
        None => findings.push(Finding::ok(ID, "max_user_watches", "one was tried")),
    }
    // Each source has one, and the agent beside us has its own already.
    let wanted = facts.seen_instances + sources as u64;
    match facts.max_instances {
        Some(max) if max < wanted => findings.push(Finding::warn(
            ID,
            "max_user_instances",
            format!(
                "the limit is {max}; {} are in use here, and the agent needs {sources}: {polled}",
                facts.seen_instances
            ),
            "raise fs.inotify.max_user_instances on the node (sysctl), for example to 1024",
        )),
        Some(max) => findings.push(Finding::ok(
            ID,
            "max_user_instances",
            format!("the limit is {max}; one was tried"),
        )),
        None => {}
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn facts(watches: u64, instances: u64) -> Facts {
        Facts {
            max_watches: Some(watches),
            max_instances: Some(instances),
            seen_instances: 2,
            tried: Ok(()),
        }
    }

    fn bad(facts: &Facts) -> Vec<(String, Verdict)> {
        judge(facts, 2)
            .into_iter()
            .filter(|f| f.verdict != Verdict::Ok)
            .map(|f| (f.subject, f.verdict))
            .collect()
    }

    #[test]
    fn limits_that_are_low_or_used_up_are_told() {
        assert_eq!(bad(&facts(65_536, 128)), []);
        // Two sources.
        let twice = 2 * MAX_WATCHES as u64;
        assert_eq!(bad(&facts(2 * twice - 1, 128)).len(), 1);
        assert_eq!(bad(&facts(2 * twice, 128)), []);
        let watches = ("max_user_watches".to_owned(), Verdict::Warn);
        assert_eq!(bad(&facts(8_191, 128)), [watches]);
        let instances = ("max_user_instances".to_owned(), Verdict::Warn);
        assert_eq!(bad(&facts(65_536, 3)), [instances]);
        let refused = |refused: fn(io::Error) -> Refused, errno| Facts {
            tried: Err(refused(io::Error::from_raw_os_error(errno))),
            ..facts(65_536, 128)
        };
        let instances = ("max_user_instances".to_owned(), Verdict::Fail);
        assert_eq!(bad(&refused(Refused::Instance, libc::EMFILE)), [instances]);
        let watches = ("max_user_watches".to_owned(), Verdict::Fail);
        assert_eq!(bad(&refused(Refused::Watch, libc::ENOSPC)), [watches]);
    }

    #[test]
    fn a_watch_is_given_out_here() {
        assert!(gather().tried.is_ok());
    }
}
