//! Fatal error logs of a real JVM.

use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::Signal;
use salvage::model::{Facts, Format};
use tempfile::TempDir;

use crate::support::reports::{examined, only, pid, start, start_limited};
use crate::support::victims::java_classes;

/// What the log says of a JVM that ran `Crash MODE` with these options, and how it is brought to crash.
fn log(options: &[&str], mode: &str, signal: Option<Signal>) -> Result<Facts> {
    let directory = TempDir::new()?;
    let classes = java_classes()?;
    let classes = classes.to_str().context("a path that is text")?;
    let arguments = [
        &["-Xmx64m", "-XX:-CreateCoredumpOnCrash", "-cp", classes],
        options,
        &["Crash", mode],
    ]
    .concat();
    let mut process = start(Path::new("java"), &arguments, directory.path())?;
    process.line_with("ready")?;
    match signal {
        Some(signal) => process.signal(signal)?,
        None => process.send("die")?,
    }
    process.wait()?;
    let path = only(directory.path(), ".log").with_context(|| process.to_string())?;
    let facts = examined(&path, Format::HsErr)?;
    let found = facts.process.as_ref().context("process")?;
    assert_eq!(found.pid, Some(pid(&process)), "{mode}");
    Ok(facts)
}

fn has(facts: &Facts, frame: &str) -> bool {
    let stack = facts.exception.as_ref().map(|exception| &exception.stack);
    stack.is_some_and(|stack| stack.iter().any(|line| line.contains(frame)))
}

#[test]
#[ignore = "needs the Java classes; tests/run provisions them"]
fn a_log_of_a_fault_has_its_address_and_its_frames() -> Result<()> {
    for mode in ["unsafe", "worker"] {
        let facts = log(&[], mode, None)?;
        let signal = facts.signal.clone().context("signal")?;
        assert_eq!((signal.number, signal.code), (11, Some(1)), "{mode}");
        assert_eq!(signal.address.as_deref(), Some("0x10"), "{mode}");
        assert!(has(&facts, "Crash.poke(Lsun/misc/Unsafe;)V"), "{facts:?}");
        assert_eq!(facts.exception.context("stack")?.kind, None);
        let process = facts.process.context("process")?;
        assert_ne!(
            process.crashing_tid, process.pid,
            "java's main runs in a thread of its own"
        );
        assert!(facts.written.is_some());
    }
    // Compiled frames have another form.
    let facts = log(&["-Xcomp"], "unsafe", None)?;
    assert!(has(&facts, "Crash.main([Ljava/lang/String;)V"), "{facts:?}");
    Ok(())
}

#[test]
#[ignore = "needs the Java classes; tests/run provisions them"]
fn a_log_of_a_signal_that_was_sent_has_no_address() -> Result<()> {
    for (signal, number) in [(Signal::SEGV, 11), (Signal::FPE, 8), (Signal::BUS, 7)] {
        let facts = log(&[], "wait", Some(signal))?;
        let signal = facts.signal.context("signal")?;
        assert_eq!((signal.number, signal.code), (number, Some(0)));
        assert_eq!(signal.address, None);
    }
    Ok(())
}

#[test]
#[ignore = "needs the Java classes; tests/run provisions them"]
fn a_log_of_a_full_heap_has_an_event_and_no_signal() -> Result<()> {
    let facts = log(&["-XX:+CrashOnOutOfMemoryError"], "oom", None)?;
    assert_eq!(facts.signal, None);
    let event = facts.occasion.context("occasion")?.event;
    assert_eq!(
        event.as_deref(),
        Some("OutOfMemory encountered: Java heap space")
    );
    Ok(())
}

#[test]
#[ignore = "needs the Java classes; tests/run provisions them"]
fn a_log_of_a_system_without_memory_has_another_first_sentence() -> Result<()> {
    let directory = TempDir::new()?;
    let arguments = ["-Xms2g", "-Xmx2g", "-XX:+AlwaysPreTouch", "-version"];
    // Reserved memory does not count here, committed memory does.
    let mut process = start_limited("-d 700000", Path::new("java"), &arguments, directory.path())?;
    process.wait()?;
    let path = only(directory.path(), ".log").with_context(|| process.to_string())?;
    let facts = examined(&path, Format::HsErr)?;
    let event = facts.occasion.context("occasion")?.event.context("event")?;
    assert!(event.starts_with("Out of Memory Error ("), "{event}");
    assert_eq!(facts.process.and_then(|p| p.pid), Some(pid(&process)));
    Ok(())
}
