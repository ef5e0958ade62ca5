//! Has everybody stopped writing this file?
//!
//! The proof is a read lease. Where a file system has none, a file counts as settled once size and times have stayed the same for the quiet
//! period, by our own clock: mtime alone is its owner's to set.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::identify::identify;
use crate::model::{Completeness, FileId, Mark};
use crate::sys::{Lease, Stat, read_lease};

/// Files waited for at once. More are looked at without memory: they settle by lease, or wait until others are gone.
const WAITED_FOR: usize = 16_384;

/// Passes after which a file is forgotten that none of them met, where no pass sees everything.
const UNSEEN_PASSES: u64 = 100;

/// What the look at one file brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody writes it: `leased` by the kernel's word, else by its quiet.
    Settled {
        /// Whether a lease said so.
        leased: bool,
        /// What a reader should know.
        marks: Vec<Mark>,
    },
    /// Somebody writes it, or may.
    Wait,
}

/// A file that was seen and is not settled.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    shape: (u64, Timestamp, Timestamp),
    unchanged_since: Instant,
    first: Instant,
    seen: Timestamp,
    pass: u64,
}

/// The files waited for.
#[derive(Debug)]
pub(super) struct Settling {
    quiet_period: Duration,
    settle_limit: Duration,
    waiting: HashMap<FileId, Waiting>,
    pass: u64,
}

impl Settling {
    pub(super) fn new(quiet_period: Duration, settle_limit: Duration) -> Self {
        Self {
            quiet_period,
            settle_limit,
            waiting: HashMap::new(),
            pass: 0,
        }
    }

    /// Begins a pass over the whole source.
    pub(super) fn begin_pass(&mut self) {
        self.pass += 1;
    }

    /// Ends a pass; returns how many files that were waited for are no longer there. Only a pass that saw everything may say so.
    pub(super) fn end_pass(&mut self, saw_everything: bool) -> usize {
        if !saw_everything {
            // Something may hide for ever what lies behind it; what was not met for so long is no longer waited for, and was not seen to go.
            let oldest = self.pass.saturating_sub(UNSEEN_PASSES);
            self.waiting.retain(|_, waiting| waiting.pass >= oldest);
            return 0;
        }
        let before = self.waiting.len();
        self.waiting.retain(|_, waiting| waiting.pass == self.pass);
        before - self.waiting.len()
    }

    /// Notes that a file was seen, and since when it is known.
    pub(super) fn see(&mut self, stat: &Stat, now: Instant, clock: Timestamp) -> Timestamp {
        let shape = (stat.size, stat.modified, stat.changed);
        if let Some(waiting) = self.waiting.get_mut(&stat.file) {
            if waiting.shape != shape {
                waiting.shape = shape;
                waiting.unchanged_since = now;
            }
            waiting.pass = self.pass;
            return waiting.seen;
        }
        if self.waiting.len() < WAITED_FOR {
            let waiting = Waiting {
                shape,
                unchanged_since: now,
                first: now,
                seen: clock,
                pass: self.pass,
            };
            self.waiting.insert(stat.file, waiting);
        }
        clock
    }

    /// Forgets a file: it was taken, or it is known to be gone.
    pub(super) fn forget(&mut self, file: FileId) {
        self.waiting.remove(&file);
    }

    /// Whether any file is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Looks at an open file.
    ///
    /// # Errors
    /// Those of asking for a lease.
    pub(super) fn look(
        &self,
        file: &std::fs::File,
        stat: &Stat,
        now: Instant,
    ) -> std::io::Result<Verdict> {
        let waiting = self.waiting.get(&stat.file);
        match read_lease(file)? {
            Lease::Held(_given_back_at_once) => Ok(Verdict::Settled {
                leased: true,
                marks: Vec::new(),
            }),
            Lease::Unsupported => {
                let quiet = waiting.is_some_and(|waiting| {
                    now.duration_since(waiting.unchanged_since) >= self.quiet_period
                });
                Ok(if quiet {
                    Verdict::Settled {
                        leased: false,
                        marks: Vec::new(),
                    }
                } else {
                    Verdict::Wait
                })
            }
            Lease::WriterOpen => {
                let long = waiting.is_some_and(|waiting| {
                    now.duration_since(waiting.first) >= self.settle_limit
                        && now.duration_since(waiting.unchanged_since) >= self.quiet_period
                });
                let complete =
                    long && identify(file, stat.size).completeness == Completeness::Complete;
                Ok(if complete {
                    Verdict::Settled {
                        leased: false,
                        marks: vec![Mark::WriterOpen],
                    }
                } else {
                    Verdict::Wait
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    const QUIET: Duration = Duration::from_secs(30);
    const LIMIT: Duration = Duration::from_secs(600);

    fn stat(path: &std::path::Path) -> Stat {
        Stat::of(File::open(path).expect("open")).expect("stat")
    }

    #[test]
    fn a_writer_is_waited_for_and_its_end_is_believed_at_once() {
        let temp = tempfile::tempdir().expect("temp dir");
        let path = temp.path().join("dump");
        let writer = File::create(&path).expect("create");
        let mut settling = Settling::new(QUIET, LIMIT);
        let (now, reader) = (Instant::now(), File::open(&path).expect("open"));
        settling.see(&stat(&path), now, Timestamp::now());
        assert_eq!(
            settling
                .look(&reader, &stat(&path), now + LIMIT)
                .expect("look"),
            Verdict::Wait,
            "not complete by its headers"
        );
        drop(writer);
        assert_eq!(
            settling.look(&reader, &stat(&path), now).expect("look"),
            Verdict::Settled {
                leased: true,
                marks: Vec::new()
            }
        );
    }

    #[test]
    fn a_file_that_goes_is_noticed_only_by_a_whole_pass() {
        let temp = tempfile::tempdir().expect("temp dir");
        let path = temp.path().join("dump");
        File::create(&path).expect("create");
        let mut settling = Settling::new(QUIET, LIMIT);
        settling.begin_pass();
        settling.see(&stat(&path), Instant::now(), Timestamp::now());
        assert_eq!(settling.end_pass(true), 0);
        settling.begin_pass();
        assert_eq!(settling.end_pass(false), 0);
        settling.begin_pass();
        assert_eq!(settling.end_pass(true), 1);
        assert!(!settling.is_waiting());
    }

    #[test]
    fn files_behind_a_directory_that_never_opens_are_forgotten_at_last() {
        let temp = tempfile::tempdir().expect("temp dir");
        let path = temp.path().join("dump");
        File::create(&path).expect("create");
        let mut settling = Settling::new(QUIET, LIMIT);
        settling.begin_pass();
        settling.see(&stat(&path), Instant::now(), Timestamp::now());
        for _ in 0..=UNSEEN_PASSES {
            assert!(settling.is_waiting());
            assert_eq!(settling.end_pass(false), 0);
            settling.begin_pass();
        }
        assert_eq!(settling.end_pass(false), 0);
        assert!(!settling.is_waiting());
    }
}
