//! A signal as a dump has it: number, `si_code` and address, and when the address means anything.

use crate::model::{SignalInfo, signal_name};

/// The signals that a fault of the program raises and whose `siginfo` then has an address: SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV.
const FAULTS: [u8; 5] = [4, 5, 7, 8, 11];

const SI_KERNEL: i32 = 128;

/// A signal of which only the number is known, if Linux has it.
pub(super) fn of(number: i32) -> Option<SignalInfo> {
    let number = u8::try_from(number).ok().filter(|n| (1..=64).contains(n))?;
    Some(SignalInfo {
        number,
        name: signal_name(number),
        code: None,
        address: None,
    })
}

/// A signal with its `si_code` and with what stands where a fault's address would.
pub(super) fn with_code(number: i32, code: i32, detail: u64) -> Option<SignalInfo> {
    let mut info = of(number)?;
    info.code = Some(code);
    // Codes of 0 and below mean that somebody sent it, and the same bytes are a pid and a uid. SI_KERNEL says that no address is
    // known (a breakpoint, a general protection fault, `abort()` as the first process of a container): the 0 that stands
    // there would read like a null dereference.
    if FAULTS.contains(&info.number) && code > 0 && code != SI_KERNEL {
        info.address = Some(format!("0x{detail:x}"));
    }
    Some(info)
}
