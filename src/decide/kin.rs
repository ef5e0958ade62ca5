//! Which files were left by one and the same death.
//!
//! A .NET process leaves a crash report and then a dump; version 3.1, as the first process of a container, writes the dump twice; where the kernel may write
//! cores, that comes as well. A JVM leaves its error log, Node its report, before the kernel's core. People look for one crash, so these are one: the best
//! dump is the dump, the others stand beside it.
//!
//! All that is compared was chosen by the process or the pod. A forgery joins files of one directory and loses none of them.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};

use jiff::{SignedDuration, Timestamp};

use crate::model::{Completeness, Facts, Format, Role};

/// Files of one death follow each other within this.
pub const KIN_GAP: SignedDuration = SignedDuration::from_secs(5);

/// The runtimes that leave files of their own beside a core.
const TALKATIVE: [&str; 3] = [".NET", "JVM", "Node.js"];

/// What `createdump` adds to a dump's name for its report.
const CRASH_REPORT: &str = ".crashreport.json";

/// When a file was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its writing began.
    pub began: Timestamp,
    /// Its writing ended.
    pub ended: Timestamp,
}

impl Written {
    /// The time between two files; none where they were written at the same time.
    pub fn gap(&self, other: &Self) -> SignedDuration {
        let (first, second) = if self.began <= other.began {
            (self, other)
        } else {
            (other, self)
        };
        second
            .began
            .duration_since(first.ended)
            .max(SignedDuration::ZERO)
    }
}

/// What of a file tells whether another is of the same death. Both are taken to be in one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kin {
    /// Its name.
    pub name: OsString,
    /// When it was written.
    pub written: Written,
    format: Format,
    producer: Option<String>,
    pid: Option<i32>,
    crashing_tid: Option<i32>,
    image: Option<String>,
}

impl Kin {
    /// What `facts` say of it.
    pub fn new(name: &OsStr, written: Written, facts: &Facts) -> Self {
        let process = facts.process.as_ref();
        Self {
            name: name.to_owned(),
            written,
            format: facts.format,
            producer: facts.producer.clone(),
            pid: process.and_then(|process| process.pid),
            crashing_tid: process.and_then(|process| process.crashing_tid),
            image: facts.image.clone(),
        }
    }

    /// Whether both were left by one death.
    pub fn is_of_one_death(&self, other: &Self) -> bool {
        if self.written.gap(&other.written) > KIN_GAP {
            return false;
        }
        match (self.format.role(), other.format.role()) {
            (Role::Report, Role::Dump) => self.reports(other),
            (Role::Dump, Role::Report) => other.reports(self),
            (Role::Dump, Role::Dump) => self.is_of_one_image(other),
            // A process may write reports while it lives; two of them are two.
            _ => false,
        }
    }

    /// Whether this report is about the process of that dump.
    fn reports(&self, dump: &Self) -> bool {
        let agree = |a: Option<i32>, b: Option<i32>| match (a, b) {
            (Some(a), Some(b)) => Some(a == b),
            _ => None,
        };
        let thread = agree(self.crashing_tid, dump.crashing_tid);
        if thread == Some(false) || dump.format != Format::ElfCore {
            return false;
        }
        match agree(self.pid, dump.pid) {
            Some(same) => same,
            None => thread == Some(true) || self.is_named_after(dump),
        }
    }

    /// Two cores of one process. The kernel's layout of the process tells even where the id does not: every container's first
    /// process has id 1, and the next crash of a container may be a second away.
    fn is_of_one_image(&self, other: &Self) -> bool {
        let both_by_kernel = self.is_by_kernel() && other.is_by_kernel();
        if self.format != Format::ElfCore || other.format != Format::ElfCore || both_by_kernel {
            return false;
        }
        let same_pid = self.pid.is_some() && self.pid == other.pid;
        match (&self.image, &other.image) {
            (Some(a), Some(b)) => a == b && same_pid,
            _ => same_pid,
        }
    }

    fn is_by_kernel(&self) -> bool {
        self.producer.as_deref() == Some("kernel")
    }

    fn is_named_after(&self, dump: &Self) -> bool {
        dump_of_report(&self.name).is_some_and(|name| name == dump.name)
    }
}

/// The name of the dump that a report with this name announces, where the name tells it.
pub fn dump_of_report(name: &OsStr) -> Option<&OsStr> {
    use std::os::unix::ffi::OsStrExt;
    let stem = name.as_bytes().strip_suffix(CRASH_REPORT.as_bytes())?;
    (!stem.is_empty()).then(|| OsStr::from_bytes(stem))
}

/// Whether other files of the same death are to be expected beside this one. A core that is cut may not say what ran in it.
pub fn may_have_kin(facts: &Facts) -> bool {
    let runtime = facts.runtime.as_ref().and_then(|r| r.name.as_deref());
    let cut = matches!(facts.completeness, Completeness::Truncated { .. });
    let talkative = runtime.map_or(cut, |name| TALKATIVE.contains(&name));
    facts.format.role() == Role::Report || (facts.format == Format::ElfCore && talkative)
}

/// Puts the files of one crash in the order of their worth: dumps before reports; whole ones before cut ones; the runtime's own dump before
/// the kernel's, since it was what the operator asked for, has the exception's state, and knows the signal that the kernel hides from the
/// first process of a container; the earlier before the later.
pub fn by_worth(a: (&Facts, Timestamp), b: (&Facts, Timestamp)) -> Ordering {
    let rank = |(facts, written): (&Facts, Timestamp)| {
        (
            facts.format.role() != Role::Dump,
            matches!(facts.completeness, Completeness::Truncated { .. }),
            facts.producer.as_deref() == Some("kernel"),
            written,
        )
    };
    rank(a).cmp(&rank(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Process, Runtime};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("time")
    }

    fn facts(format: Format, producer: &str, pid: Option<i32>, tid: Option<i32>) -> Facts {
        Facts {
            producer: Some(producer.to_owned()).filter(|p| !p.is_empty()),
            process: Some(Process {
                pid,
                crashing_tid: tid,
                ..Process::default()
            }),
            ..Facts::of(format)
        }
    }

    fn core(producer: &str, pid: i32, image: Option<&str>, seconds: (i64, i64)) -> Kin {
        let facts = Facts {
            image: image.map(str::to_owned),
            ..facts(Format::ElfCore, producer, Some(pid), Some(pid))
        };
        kin("core.1", &facts, seconds)
    }

    fn kin(name: &str, facts: &Facts, (began, ended): (i64, i64)) -> Kin {
        let written = Written {
            began: at(began),
            ended: at(ended),
        };
        Kin::new(OsStr::new(name), written, facts)
    }

    #[track_caller]
    fn one(a: &Kin, b: &Kin, expected: bool) {
        assert_eq!(a.is_of_one_death(b), expected, "{a:?}\n{b:?}");
        assert_eq!(b.is_of_one_death(a), expected, "the other way round");
    }

    #[test]
    fn two_dumps_of_one_process_are_one_death() {
        let first = core("createdump", 1, Some("a"), (0, 1));
        one(&first, &core("createdump", 1, Some("a"), (1, 2)), true);
        one(&first, &core("kernel", 1, Some("a"), (2, 60)), true);
        one(&first, &core("kernel", 1, None, (2, 60)), true);
    }

    #[test]
    fn the_next_crash_of_the_first_process_is_another_death() {
        let first = core("createdump", 1, Some("a"), (0, 1));
        one(&first, &core("createdump", 1, Some("b"), (3, 4)), false);
        one(&first, &core("createdump", 1, None, (9, 10)), false);
        one(&first, &core("kernel", 7, Some("a"), (1, 2)), false);
        let kernel = core("kernel", 1, Some("a"), (0, 1));
        one(&kernel, &core("kernel", 1, Some("a"), (1, 2)), false);
    }

    #[test]
    fn a_crash_report_belongs_to_the_dump_that_is_written_next() {
        let report = |tid| facts(Format::DotnetCrashReport, "", None, tid);
        let dump = core("createdump", 40, None, (1, 90));
        let named = kin("core.1.crashreport.json", &report(None), (0, 0));
        one(&named, &dump, true);
        one(
            &kin("other.crashreport.json", &report(None), (0, 0)),
            &dump,
            false,
        );
        one(&kin("other", &report(Some(40)), (0, 0)), &dump, true);
        one(
            &kin("core.1.crashreport.json", &report(Some(41)), (0, 0)),
            &dump,
            false,
        );
        one(
            &kin("core.1.crashreport.json", &report(None), (-9, -8)),
            &dump,
            false,
        );
    }

    #[test]
    fn an_error_log_belongs_to_the_core_of_its_process() {
        let log = |pid| {
            kin(
                "hs_err_pid9.log",
                &facts(Format::HsErr, "", Some(pid), None),
                (0, 0),
            )
        };
        let core = core("kernel", 9, None, (1, 3));
        one(&log(9), &core, true);
        one(&log(8), &core, false);
        let heap = kin(
            "java_pid9.hprof",
            &facts(Format::Hprof, "", Some(9), None),
            (0, 1),
        );
        one(&log(9), &heap, false);
        one(&log(9), &log(9), false);
    }

    #[test]
    fn a_report_names_its_dump() {
        let names = [
            ("core.1.crashreport.json", Some("core.1")),
            (".crashreport.json", None),
            ("core.1", None),
            ("crashreport.json", None),
        ];
        for (name, dump) in names {
            assert_eq!(dump_of_report(OsStr::new(name)), dump.map(OsStr::new));
        }
    }

    #[test]
    fn the_best_dump_comes_first() {
        let truncated = |facts: Facts| Facts {
            completeness: Completeness::Truncated { expected: None },
            ..facts
        };
        let own = facts(Format::ElfCore, "createdump", None, None);
        let kernel = facts(Format::ElfCore, "kernel", None, None);
        let report = facts(Format::DotnetCrashReport, "", None, None);
        let mut all = [
            (&report, at(0)),
            (&truncated(own.clone()), at(1)),
            (&own, at(3)),
            (&kernel, at(2)),
            (&own, at(2)),
        ]
        .map(|(facts, time)| (facts.clone(), time));
        all.sort_by(|a, b| by_worth((&a.0, a.1), (&b.0, b.1)));
        let expected = [
            (own.clone(), at(2)),
            (own.clone(), at(3)),
            (kernel, at(2)),
            (truncated(own), at(1)),
            (report, at(0)),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn only_what_others_write_beside_is_waited_for() {
        let managed = |name: &str| Facts {
            runtime: Some(Runtime {
                name: Some(name.to_owned()),
                ..Runtime::default()
            }),
            ..Facts::of(Format::ElfCore)
        };
        assert!(may_have_kin(&managed(".NET")) && may_have_kin(&managed("JVM")));
        assert!(may_have_kin(&Facts::of(Format::HsErr)));
        assert!(!may_have_kin(&managed("Python")));
        assert!(!may_have_kin(&Facts::of(Format::ElfCore)));
        assert!(!may_have_kin(&Facts::of(Format::Hprof)));
        assert!(may_have_kin(&Facts {
            completeness: Completeness::Truncated { expected: None },
            ..Facts::of(Format::ElfCore)
        }));
    }
}
