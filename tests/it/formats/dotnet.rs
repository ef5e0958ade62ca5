//! Crash reports of a real .NET.

use std::fs::File;

use anyhow::{Context, Result};
use salvage::identify::identify;
use salvage::model::{Exception, Facts, Format};
use tempfile::TempDir;

use crate::support::reports::{SECRET, examined};
use crate::support::victims::{Crashed, Createdump, Launch, crash_dotnet_by};

/// What the report of a death in this mode says, and the death itself.
fn report(mode: &str, only: bool) -> Result<(Facts, Crashed, TempDir)> {
    let directory = TempDir::new()?;
    let createdump = Createdump {
        kind: 1,
        name: "%e.%p.dmp".to_owned(),
        crash_report: true,
    };
    let crashed = crash_dotnet_by(directory.path(), || {
        let launch = Launch::dotnet(mode, &createdump)?
            .arg(SECRET)
            .env("DB_PASSWORD", SECRET);
        Ok(launch.env("DOTNET_EnableCrashReportOnly", if only { "1" } else { "0" }))
    })?;
    let path = crashed.crash_report()?.context("it leaves a report")?;
    let facts = examined(&path, Format::DotnetCrashReport).with_context(|| mode.to_owned())?;
    Ok((facts, crashed, directory))
}

/// The report's exception; the dump beside it must tell of the same thread and the same signal.
fn exception_as_in_the_dump(mode: &str) -> Result<Exception> {
    let (facts, crashed, _directory) = report(mode, false)?;
    let file = File::open(crashed.dump()?)?;
    let dump = identify(&file, file.metadata()?.len());
    let (ours, others) = (
        facts.process.context("process")?,
        dump.process.context("process of the dump")?,
    );
    assert_eq!(ours.crashing_tid, others.crashing_tid, "{mode}");
    assert_eq!(ours.threads, others.threads, "{mode}");
    assert_eq!(
        facts.signal.context("signal")?.number,
        dump.signal.context("signal of the dump")?.number,
        "{mode}"
    );
    facts.exception.context("exception")
}

fn has(stack: &[String], frame: &str) -> bool {
    stack.iter().any(|line| line == frame)
}

#[test]
#[ignore = "needs a real .NET; tests/run provisions it"]
fn a_report_of_an_exception_names_it_and_its_frames() -> Result<()> {
    for mode in ["exception", "worker"] {
        let exception = exception_as_in_the_dump(mode)?;
        assert_eq!(exception.kind.as_deref(), Some("OrderLost"));
        assert!(
            has(&exception.stack, "modes.dll!Program.LoseOrder()"),
            "{exception:?}"
        );
        assert!(!format!("{exception:?}").contains("4711"), "{exception:?}");
    }
    let exception = exception_as_in_the_dump("nullref")?;
    assert_eq!(
        exception.kind.as_deref(),
        Some("System.NullReferenceException")
    );
    Ok(())
}

#[test]
#[ignore = "needs a real .NET; tests/run provisions it"]
fn a_report_of_a_native_death_has_a_signal_and_no_exception() -> Result<()> {
    for mode in ["segv", "abort"] {
        let exception = exception_as_in_the_dump(mode)?;
        assert_eq!(exception.kind, None, "{mode}");
        assert!(
            has(&exception.stack, "modes.dll!Program.Main(System.String[])"),
            "{exception:?}"
        );
    }
    Ok(())
}

#[test]
#[ignore = "needs a real .NET; tests/run provisions it"]
fn a_report_without_a_dump_is_read_as_well() -> Result<()> {
    let (facts, crashed, _directory) = report("failfast", true)?;
    assert_eq!(crashed.left()?.len(), 1, "{crashed}");
    let exception = facts.exception.context("exception")?;
    assert_eq!(
        exception.kind.as_deref(),
        Some("System.ExecutionEngineException")
    );

    let (facts, _crashed, _directory) = report("stackoverflow", true)?;
    let exception = facts.exception.context("exception")?;
    assert_eq!(
        exception.kind.as_deref(),
        Some("System.StackOverflowException")
    );
    let repeated = exception
        .stack
        .iter()
        .find(|line| line.starts_with("... repeated "));
    assert!(repeated.is_some(), "{:?}", exception.stack);
    Ok(())
}
