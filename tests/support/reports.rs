//! Reports of real processes: how their writers are started, and what somebody else reads in them (`reports.py`).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use salvage::identify::identify;
use salvage::model::{Completeness, Facts, Format};
use serde_json::Value;

use super::cuts;
use super::process::Process;

/// Stands in the environment, on the command line and in exceptions of every process started here, and must not get into facts.
pub(crate) const SECRET: &str = "hunter2-do-not-tell";

/// A program with the secret around it that leaves no core, in `directory`.
pub(crate) fn start(program: &Path, arguments: &[&str], directory: &Path) -> Result<Process> {
    start_limited("-c 0", program, arguments, directory)
}

/// The same under one more limit, as `ulimit` takes it.
pub(crate) fn start_limited(
    limit: &str,
    program: &Path,
    arguments: &[&str],
    directory: &Path,
) -> Result<Process> {
    let script = format!("ulimit -c 0; ulimit {limit}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .arg(program)
        .args(arguments)
        .arg(format!("--password={SECRET}"))
        .env("DB_PASSWORD", SECRET)
        // A JVM's log has local time, and names of other zones stand for several.
        .env("TZ", "UTC")
        .current_dir(directory);
    Process::start(command)
}

/// The pid of a process as its report has it.
pub(crate) fn pid(process: &Process) -> i32 {
    process.pid().as_raw_nonzero().get()
}

/// The one file in `directory` whose name ends so.
pub(crate) fn only(directory: &Path, ending: &str) -> Result<PathBuf> {
    let entries = std::fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    let mut found = entries
        .iter()
        .map(std::fs::DirEntry::path)
        .filter(|path| path.to_string_lossy().ends_with(ending));
    match (found.next(), found.next()) {
        (Some(path), None) => Ok(path),
        _ => bail!("not one {ending} in {entries:?}"),
    }
}

/// The facts of a whole report, which are all that the other reader finds in it and nothing else; then cuts it everywhere.
pub(crate) fn examined(path: &Path, format: Format) -> Result<Facts> {
    let file = File::open(path)?;
    let facts = identify(&file, file.metadata()?.len());
    ensure!(facts.format == format, "{}: {facts:?}", path.display());
    ensure!(
        facts.completeness == Completeness::Complete,
        "{}: {facts:?}",
        path.display()
    );
    ensure!(facts.unread.is_empty(), "{}: {facts:?}", path.display());

    let json = serde_json::to_string(&facts)?;
    ensure!(!json.contains(SECRET), "{}: {json}", path.display());
    let mut ours: Value = serde_json::from_str(&json)?;
    let members = ours.as_object_mut().context("an object")?;
    for known in ["format", "completeness", "written"] {
        members.remove(known);
    }
    if let Some(written) = facts.written {
        members.insert("written_ms".into(), written.as_millisecond().into());
    }
    assert_eq!(ours, read_by_python(path, format)?, "{}", path.display());

    let text = std::fs::read(path)?;
    let white = text.len() - text.trim_ascii_end().len();
    cuts::never_complete(path, format, white as u64);
    cuts::every_64th(path, |cut, facts| {
        let json = serde_json::to_string(facts).expect("serialises");
        assert!(
            !json.contains(SECRET),
            "{} cut to {cut}: {json}",
            path.display()
        );
    });
    Ok(facts)
}

fn read_by_python(path: &Path, format: Format) -> Result<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/reports.py");
    let out = Command::new("python3")
        .arg(script)
        .arg(format.name())
        .arg(path)
        .output()
        .context("run python3")?;
    ensure!(
        out.status.success(),
        "reports.py of {}: {}",
        path.display(),
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(serde_json::from_slice(&out.stdout)?)
}
