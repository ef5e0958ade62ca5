//! Diagnostic reports of a real Node.js.

use std::path::Path;

use anyhow::{Context, Result};
use salvage::model::{Facts, Format};
use tempfile::TempDir;

use crate::support::reports::{SECRET, examined, only, pid, start};

/// What the report says that Node leaves when it runs this script with this option.
fn report(option: &str, script: &str) -> Result<Facts> {
    let directory = TempDir::new()?;
    std::fs::write(directory.path().join("order.js"), script)?;
    let mut arguments: Vec<_> = option.split_whitespace().collect();
    arguments.push("order.js");
    let mut process = start(Path::new("node"), &arguments, directory.path())?;
    let pid = pid(&process);
    process.wait()?;
    let path = only(directory.path(), ".json").with_context(|| process.to_string())?;
    let facts = examined(&path, Format::NodeReport).with_context(|| script.to_owned())?;
    let process = facts.process.as_ref().context("process")?;
    assert_eq!(process.pid, Some(pid), "{script}");
    Ok(facts)
}

/// Type and frames of an exception that nobody caught.
fn uncaught(script: &str) -> Result<(Option<String>, Vec<String>)> {
    for style in ["", " --report-compact"] {
        let option = format!("--report-uncaught-exception{style}");
        let facts = report(&option, script)?;
        let occasion = facts.occasion.context("occasion")?;
        assert_eq!(occasion.trigger.as_deref(), Some("Exception"));
        assert_eq!(occasion.event.as_deref(), Some("Exception"));
        if style.is_empty() {
            continue;
        }
        let exception = facts.exception.unwrap_or_default();
        return Ok((exception.kind, exception.stack));
    }
    unreachable!("two styles")
}

#[test]
#[ignore = "needs the tools that tests/run provisions"]
fn a_report_of_an_uncaught_exception_names_it_and_its_frames() -> Result<()> {
    let (kind, stack) = uncaught(&format!(
        "function lose() {{ throw new RangeError('{SECRET}\\n{SECRET}\\n    at {SECRET}') }} lose();"
    ))?;
    assert_eq!(kind.as_deref(), Some("RangeError"));
    assert!(stack[0].starts_with("lose ("), "{stack:?}");

    let (kind, stack) = uncaught(&format!("require('fs').readFile('{SECRET}', {{}})"))?;
    assert_eq!(kind.as_deref(), Some("TypeError [ERR_INVALID_ARG_TYPE]"));
    assert!(stack[0].contains("readFile ("), "{stack:?}");

    let (kind, _) = uncaught(&format!("let a = = '{SECRET}'"))?;
    assert_eq!(kind.as_deref(), Some("SyntaxError"));
    Ok(())
}

#[test]
#[ignore = "needs the tools that tests/run provisions"]
fn a_report_of_a_rejected_promise_names_it() -> Result<()> {
    let (kind, _) = uncaught(&format!(
        "class OrderLost extends Error {{ constructor(why) {{ super(why); this.name = 'OrderLost' }} }}
         async function lose() {{ await null; throw new OrderLost('{SECRET}') }} lose()"
    ))?;
    assert_eq!(kind.as_deref(), Some("OrderLost"));

    let (kind, _) = uncaught(&format!("Promise.reject('password: {SECRET}')"))?;
    assert_eq!(kind.as_deref(), Some("UnhandledPromiseRejection"));
    Ok(())
}

#[test]
#[ignore = "needs the tools that tests/run provisions"]
fn a_thrown_value_that_is_no_error_is_its_own_message() -> Result<()> {
    for thrown in [
        format!("'{SECRET}'"),
        format!("'password: {SECRET}'"),
        "null".into(),
        format!("{{ password: '{SECRET}' }}"),
    ] {
        let (kind, stack) = uncaught(&format!("throw {thrown}"))?;
        assert_eq!((kind, stack), (None, vec![]), "{thrown}");
    }
    Ok(())
}

#[test]
#[ignore = "needs the tools that tests/run provisions"]
fn a_stack_overflow_is_bounded() -> Result<()> {
    let facts = report(
        "--report-uncaught-exception --stack-trace-limit=300",
        "function f() { f() } f()",
    )?;
    let stack = facts.exception.context("exception")?.stack;
    assert_eq!(stack.len(), 101);
    // Node itself leaves out the last line.
    assert_eq!(stack[100], "... 199 more");
    Ok(())
}

#[test]
#[ignore = "needs the tools that tests/run provisions"]
fn a_report_of_a_full_heap_has_an_event_and_no_exception() -> Result<()> {
    let facts = report(
        "--report-on-fatalerror --max-old-space-size=24",
        "const kept = []; for (;;) kept.push(new Array(1000).fill('x' + kept.length))",
    )?;
    assert_eq!(facts.exception, None);
    let event = facts.occasion.context("occasion")?.event;
    assert_eq!(
        event.as_deref(),
        Some("Allocation failed - JavaScript heap out of memory")
    );
    Ok(())
}

#[test]
#[ignore = "needs the tools that tests/run provisions"]
fn a_report_of_a_signal_names_the_signal_and_no_exception() -> Result<()> {
    // Another thread writes it: whole is what can be parsed.
    let facts = report(
        "--report-on-signal --report-filename=signal.json",
        "process.kill(process.pid, 'SIGUSR2');
         setInterval(() => { try { JSON.parse(require('fs').readFileSync('signal.json')); process.exit(0) } catch {} }, 1)",
    )?;
    assert_eq!(facts.exception.and_then(|e| e.kind), None);
    assert_eq!(facts.signal, None, "it did not end the process");
    let occasion = facts.occasion.context("occasion")?;
    assert_eq!(occasion.event.as_deref(), Some("SIGUSR2"));
    assert_eq!(occasion.trigger.as_deref(), Some("Signal"));
    Ok(())
}

#[test]
#[ignore = "needs the tools that tests/run provisions"]
fn a_report_on_demand_names_the_exception_it_is_about() -> Result<()> {
    let facts = report("", "process.report.writeReport('demand.json')")?;
    let exception = facts.exception.context("its own stack")?;
    assert_eq!(exception.kind, None);
    assert!(
        exception.stack[0].starts_with("Object.writeReport ("),
        "{exception:?}"
    );

    let facts = report(
        "",
        &format!("process.report.writeReport('demand.json', new TypeError('{SECRET}'))"),
    )?;
    let exception = facts.exception.context("exception")?;
    assert_eq!(exception.kind.as_deref(), Some("TypeError"));
    assert_eq!(
        facts.occasion.and_then(|o| o.trigger).as_deref(),
        Some("API")
    );
    Ok(())
}

#[test]
#[ignore = "needs the tools that tests/run provisions"]
fn a_module_that_is_its_own_url_keeps_its_source_to_itself() -> Result<()> {
    let (kind, stack) = uncaught(&format!(
        "import('data:text/javascript,function lose(){{throw new Error(\"{SECRET}\")}};lose()')"
    ))?;
    assert_eq!(kind.as_deref(), Some("Error"));
    assert_eq!(stack[0], "lose (data:...");
    Ok(())
}
