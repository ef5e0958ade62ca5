//! Why it crashed: one function over all evidence, so that a metric, a key and a manifest never disagree.

use crate::model::{Facts, Reason, SignalInfo};

/// `si_code` of a signal the kernel itself sent (`sigaction(2)`).
const SI_KERNEL: i32 = 128;
const SIGSEGV: u8 = 11;
const SIGABRT: u8 = 6;

/// The reason, from what the files of a crash say, the best dump first: an exception goes before a dump's own signal, a dump before a report.
pub fn reason_of(all: &[&Facts]) -> Reason {
    let has_type = |facts: &&Facts| facts.exception.as_ref().is_some_and(|e| e.kind.is_some());
    if all.iter().any(has_type) {
        return Reason::Exception;
    }
    let told = all.iter().find(|facts| facts.signal.is_some());
    told.map_or(Reason::Unknown, |facts| reason_of_signal(facts))
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
        assert_eq!(reason_of(&[&facts(11, 1, 1)]), Reason::Signal(11));
        assert_eq!(reason_of(&[&facts(6, -6, 77)]), Reason::Signal(6));
    }

    #[test]
    fn an_abort_as_first_process_is_recognised_behind_its_trap() {
        assert_eq!(reason_of(&[&facts(11, 128, 1)]), Reason::Signal(6));
        assert_eq!(reason_of(&[&facts(11, 128, 2)]), Reason::Signal(11));
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
        assert_eq!(reason_of(&[&facts(6, 0, 1), &report]), Reason::Exception);
    }

    #[test]
    fn a_dumps_signal_goes_before_that_of_a_report() {
        let report = facts(11, 1, 1);
        assert_eq!(reason_of(&[&facts(6, 0, 1), &report]), Reason::Signal(6));
        let heap = Facts::of(Format::Hprof);
        assert_eq!(reason_of(&[&heap, &report]), Reason::Signal(11));
    }

    #[test]
    fn a_file_that_says_nothing_has_no_reason() {
        assert_eq!(reason_of(&[&Facts::of(Format::Hprof)]), Reason::Unknown);
    }
}
