//! Where a test may end the process: right before and right after each step.
//!
//! With the feature `fault-points`, `SALVAGE_FAULT=<step>:<before|after>:<n>` ends the process by SIGKILL when that point is met for the n-th time, as a
//! power cut would: nothing is unwound, flushed or dropped. `SALVAGE_FAULT_LOG=<path>` names a file to which every point met is added as a line, and
//! `SALVAGE_FAULT_SMALL_OBJECTS` makes objects so small that those of a dump in several can be met without one of 140 GB. Without the feature [`step`] is the
//! work it is given and nothing else: no name, no branch and no variable of this is in the program.

use std::future::Future;

use crate::model::Step;

/// Does a step.
#[inline(always)]
pub fn step<T>(step: Step, work: impl FnOnce() -> T) -> T {
    point(step, When::Before);
    let done = work();
    point(step, When::After);
    done
}

/// Does a step that waits.
#[inline(always)]
pub async fn step_of<T>(step: Step, work: impl Future<Output = T>) -> T {
    point(step, When::Before);
    let done = work.await;
    point(step, When::After);
    done
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Before,
    After,
}

/// Whether objects are to be so small that a dump of some megabytes becomes several.
#[inline(always)]
pub fn small_objects() -> bool {
    cfg!(feature = "fault-points") && std::env::var_os("SALVAGE_FAULT_SMALL_OBJECTS").is_some()
}

#[cfg(not(feature = "fault-points"))]
#[inline(always)]
fn point(_: Step, _: When) {}

#[cfg(feature = "fault-points")]
use armed::point;

#[cfg(feature = "fault-points")]
mod armed {
    use std::fs::File;
    use std::io::Write;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{Step, When};

    struct Fault {
        point: String,
        nth: u32,
        met: AtomicU32,
    }

    /// What ends the process, read once: nothing in it changes its own environment.
    static FAULT: LazyLock<Option<Fault>> = LazyLock::new(|| {
        let written = std::env::var("SALVAGE_FAULT").ok()?;
        let (point, nth) = written
            .rsplit_once(':')
            .expect("SALVAGE_FAULT is <step>:<before|after>:<n>");
        Some(Fault {
            point: point.to_owned(),
            nth: nth.parse().expect("SALVAGE_FAULT ends in a number"),
            met: AtomicU32::new(0),
        })
    });

    static LOG: LazyLock<Option<File>> = LazyLock::new(|| {
        let path = std::env::var_os("SALVAGE_FAULT_LOG")?;
        let opened = File::options().append(true).create(true).open(path);
        Some(opened.expect("SALVAGE_FAULT_LOG names a file that can be written"))
    });

    pub(super) fn point(step: Step, when: When) {
        let when = match when {
            When::Before => "before",
            When::After => "after",
        };
        if let Some(mut log) = LOG.as_ref() {
            // One write: lines of several threads do not mix.
            let line = format!("{}:{when}\n", step.name());
            log.write_all(line.as_bytes())
                .expect("the log of fault points is written");
        }
        let Some(fault) = FAULT.as_ref() else { return };
        if fault.point != format!("{}:{when}", step.name()) {
            return;
        }
        if fault.met.fetch_add(1, Ordering::SeqCst) + 1 == fault.nth {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL)
                .expect("a process may end itself");
            // The signal is on its way; this thread must do nothing more meanwhile.
            loop {
                std::thread::park();
            }
        }
    }
}
