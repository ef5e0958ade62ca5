//! Why it crashed: one function over all evidence, so that a metric, a key and a manifest never disagree.

use super::ends::signal_of;
use crate::model::{Death, Facts, Reason, SignalInfo, Terminated};

/// `si_code` of a signal the kernel itself sent (`sigaction(2)`).
const SI_KERNEL: i32 = 128;
const SIGSEGV: u8 = 11;
const SIGABRT: u8 = 6;

const SIGKILL: u8 = 9;
const SIGTERM: u8 = 15;

/// The runtime's words for an end of which it knows nothing; the code that stands there is none of the process.
const UNKNOWN_TO_RUNTIME: [&str; 2] = ["ContainerStatusUnknown", "Unknown"];

/// The reason, from what the files of a crash say, the best dump first, and from the container's end: an exception goes before a dump's own signal, a
/// dump before a report, a file before the end.
pub fn reason_of(all: &[&Facts], death: Option<&Death>) -> Reason {
    let has_type = |facts: &&Facts| facts.exception.as_ref().is_some_and(|e| e.kind.is_some());
    if all.iter().any(has_type) {
        return Reason::Exception;
    }
    let told = all.iter().find(|facts| facts.signal.is_some());
    match (told, death) {
        (Some(facts), _) => reason_of_signal(facts),
        (None, Some(death)) => reason_of_death(death),
        (None, None) => Reason::Unknown,
    }
}

fn reason_of_death(death: &Death) -> Reason {
    match &death.terminated {
        None => Reason::Unseen,
        Some(_) if death.oom_killed() => Reason::OomKilled,
        Some(end) if is_unknown(end) => Reason::Unknown,
        Some(end) => match signal_of(end) {
            Some(SIGKILL | SIGTERM) => Reason::Killed,
            Some(signal) => Reason::Signal(signal),
            None => Reason::ExitCode,
        },
    }
}

fn is_unknown(end: &Terminated) -> bool {
    let reason = end.reason.as_deref();
    reason.is_some_and(|reason| UNKNOWN_TO_RUNTIME.contains(&reason))
}

/// Why a container's end left no dump: `oom_killed` (the kernel writes none), `no_source` (it could write none where one is looked for), else `not_written`.
pub fn why_no_dump(death: &Death) -> &'static str {
    if death.oom_killed() {
        "oom_killed"
    } else if !death.has_source {
        "no_source"
    } else {
        "not_written"
    }
}

fn reason_of_signal(facts: &Facts) -> Reason {
    match &facts.signal {
        Some(signal) if is_abort_of_first_process(facts, signal) => Reason::Signal(SIGABRT),
        Some(signal) => Reason::Signal(signal.number),
        None => Reason::Unknown,
    }
}

/// The kernel drops a SIGABRT that the first process of a PID namespace sends itself; glibc's `abort()` then executes a trap, which shows as
/// SIGSEGV, `SI_KERNEL`, address 0.
fn is_abort_of_first_process(facts: &Facts, signal: &SignalInfo) -> bool {
    let first = facts.process.as_ref().and_then(|process| process.pid) == Some(1);
    let nowhere = signal
        .address
        .as_deref()
        .is_none_or(|address| address.trim_start_matches("0x").chars().all(|c| c == '0'));
    first && signal.number == SIGSEGV && signal.code == Some(SI_KERNEL) && nowhere
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Exception, Format, Process, signal_name};

    fn facts(number: u8, code: i32, pid: i32) -> Facts {
        Facts {
            signal: Some(SignalInfo {
                number,
                name: signal_name(number),
                code: Some(code),
                address: Some("0x0".into()),
            }),
            process: Some(Process {
                pid: Some(pid),
                ..Process::default()
            }),
            ..Facts::of(Format::ElfCore)
        }
    }

    #[test]
    fn the_signal_is_the_reason() {
        assert_eq!(reason_of(&[&facts(11, 1, 1)], None), Reason::Signal(11));
        assert_eq!(reason_of(&[&facts(6, -6, 77)], None), Reason::Signal(6));
    }

    #[test]
    fn an_abort_as_first_process_is_recognised_behind_its_trap() {
        assert_eq!(reason_of(&[&facts(11, 128, 1)], None), Reason::Signal(6));
        assert_eq!(reason_of(&[&facts(11, 128, 2)], None), Reason::Signal(11));
    }

    #[test]
    fn an_exception_goes_before_the_signal() {
        let exception = Exception {
            kind: Some("AppFailure".into()),
            stack: Vec::new(),
        };
        let report = Facts {
            exception: Some(exception),
            ..Facts::of(Format::DotnetCrashReport)
        };
        assert_eq!(
            reason_of(&[&facts(6, 0, 1), &report], None),
            Reason::Exception
        );
    }

    #[test]
    fn a_dumps_signal_goes_before_that_of_a_report() {
        let report = facts(11, 1, 1);
        assert_eq!(
            reason_of(&[&facts(6, 0, 1), &report], None),
            Reason::Signal(6)
        );
        let heap = Facts::of(Format::Hprof);
        assert_eq!(reason_of(&[&heap, &report], None), Reason::Signal(11));
    }

    fn death(exit_code: i32, reason: &str) -> Death {
        let death = serde_json::json!({
            "start": {"uid": "u", "container": "app", "number": 0}, "pod": {}, "container": {}, "count": 1, "has_source": true,
            "seen": "2026-11-21T01:52:31Z", "terminated": {"exit_code": exit_code, "reason": reason}
        });
        serde_json::from_value(death).expect("a death")
    }

    #[test]
    fn a_containers_end_has_one_reason() {
        let cases = [
            (139, "Error", Reason::Signal(11)),
            (134, "Error", Reason::Signal(6)),
            (137, "OOMKilled", Reason::OomKilled),
            (137, "Error", Reason::Killed),
            (143, "Error", Reason::Killed),
            (3, "Error", Reason::ExitCode),
            (255, "Error", Reason::ExitCode),
            (137, "ContainerStatusUnknown", Reason::Unknown),
            (255, "Unknown", Reason::Unknown),
        ];
        for (code, word, reason) in cases {
            assert_eq!(
                reason_of(&[], Some(&death(code, word))),
                reason,
                "{code} {word}"
            );
        }
        let unseen = Death {
            terminated: None,
            ..death(0, "")
        };
        assert_eq!(reason_of(&[], Some(&unseen)), Reason::Unseen);
    }

    #[test]
    fn what_a_dump_says_goes_before_how_the_container_ended() {
        let end = death(139, "Error");
        assert_eq!(reason_of(&[&facts(6, 0, 1)], Some(&end)), Reason::Signal(6));
        let heap = Facts::of(Format::Hprof);
        assert_eq!(
            reason_of(&[&heap], Some(&death(137, "OOMKilled"))),
            Reason::OomKilled
        );
    }

    #[test]
    fn a_missing_dump_has_a_reason() {
        assert_eq!(why_no_dump(&death(137, "OOMKilled")), "oom_killed");
        assert_eq!(why_no_dump(&death(139, "Error")), "not_written");
        let nowhere = Death {
            has_source: false,
            ..death(139, "Error")
        };
        assert_eq!(why_no_dump(&nowhere), "no_source");
    }

    #[test]
    fn a_file_that_says_nothing_has_no_reason() {
        assert_eq!(
            reason_of(&[&Facts::of(Format::Hprof)], None),
            Reason::Unknown
        );
    }
}
