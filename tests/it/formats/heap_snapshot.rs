//! V8 heap snapshots of a real Node.js.

use std::path::Path;

use anyhow::{Context, Result};
use salvage::model::{Facts, Format};
use tempfile::TempDir;

use crate::support::reports::{SECRET, examined, only, start};

/// The facts of the snapshot that this script leaves: that it is whole, and nothing else.
fn snapshot(option: &str, script: &str) -> Result<()> {
    let directory = TempDir::new()?;
    // Strings that look like the end of the file, and one longer than V8 keeps.
    let script = format!(
        "globalThis.kept = ['\"]}}', '{{\"a\":[\"b\"]}}', 'x'.repeat(100000), '\\n\"]}}', '{SECRET}']; {script}"
    );
    std::fs::write(directory.path().join("order.js"), &script)?;
    let mut arguments: Vec<_> = option.split_whitespace().collect();
    arguments.push("order.js");
    let mut process = start(Path::new("node"), &arguments, directory.path())?;
    process.wait()?;
    let path = only(directory.path(), ".heapsnapshot").with_context(|| process.to_string())?;
    let facts = examined(&path, Format::HeapSnapshot)?;
    let only_whole = Facts {
        completeness: facts.completeness,
        ..Facts::of(Format::HeapSnapshot)
    };
    assert_eq!(facts, only_whole);
    Ok(())
}

#[test]
#[ignore = "needs the tools that tests/run provisions"]
fn a_snapshot_on_demand_is_complete_and_no_part_of_it_is() -> Result<()> {
    snapshot("", "require('v8').writeHeapSnapshot()")
}

#[test]
#[ignore = "needs the tools that tests/run provisions"]
fn a_snapshot_on_a_signal_is_complete_and_no_part_of_it_is() -> Result<()> {
    // The main thread writes it whole before it comes here again.
    snapshot(
        "--heapsnapshot-signal=SIGUSR2",
        "process.kill(process.pid, 'SIGUSR2');
         setInterval(() => { if (require('fs').readdirSync('.').length > 1) process.exit(0) }, 1)",
    )
}
