//! Heap dumps of a real JVM, compared with a reader in Python, with what the JVM says that it wrote, and with the clock.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use salvage::identify::identify;
use salvage::model::{Completeness, Facts, Format};
use serde_json::json;
use tempfile::TempDir;

use crate::support::victims::Launch;
use crate::support::{cuts, readers};

fn facts(path: &Path) -> Result<Facts> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Ok(identify(&file, len))
}

/// What holds of every whole dump that was begun after `before`.
fn agrees(path: &Path, before: Timestamp) -> Result<()> {
    let facts = facts(path)?;
    let read = readers::python("hprof.py", path)?;
    assert_eq!(facts.format, Format::Hprof);
    assert_eq!(facts.unread, Vec::<String>::new());
    assert_eq!(json!(facts.format_version), read["version"]);
    assert_eq!(json!(facts.identifier_bytes), read["id_size"]);
    assert_eq!(facts.format_version.as_deref(), Some("1.0.2"));
    let written = facts.written.context("the header has a time")?;
    assert_eq!(json!(written.as_millisecond()), read["time_ms"]);
    let before = Timestamp::from_millisecond(before.as_millisecond())?;
    ensure!(
        before <= written && written <= Timestamp::now(),
        "{before} {written}"
    );
    let runtime = facts.runtime.context("it is of a runtime")?;
    assert_eq!(runtime.name.as_deref(), Some("JVM"));
    assert_eq!(facts.completeness, Completeness::Complete);
    assert_eq!((&read["last"], &read["cut"]), (&json!(0x2c), &json!(false)));
    cuts::never_complete(path, Format::Hprof, 0);
    Ok(())
}

/// The size that the JVM says it wrote: `Heap dump file created [3193311 bytes in 0.018 secs]`.
fn said(text: &str) -> Result<u64> {
    let (_, rest) = text
        .split_once("created [")
        .with_context(|| text.to_owned())?;
    let number = rest.split_whitespace().next().context("a number")?;
    Ok(number.parse()?)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{command:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

#[test]
#[ignore = "needs the Java class; tests/run provisions it"]
fn heaps_of_a_living_jvm_by_either_tool() -> Result<()> {
    let directory = TempDir::new()?;
    let victim = Launch::java_out_of_memory(directory.path())?.start_in(directory.path())?;
    let pid = victim.facts().pid.to_string();
    let path = |name: &str| directory.path().join(name);

    for (name, all) in [("live.hprof", None), ("all.hprof", Some("-all"))] {
        let before = Timestamp::now();
        let mut jcmd = Command::new("jcmd");
        jcmd.args([&pid, "GC.heap_dump"]).args(all).arg(path(name));
        let text = run(&mut jcmd)?;
        assert_eq!(said(&text)?, path(name).metadata()?.len());
        agrees(&path(name), before)?;
    }

    let before = Timestamp::now();
    let option = format!("-dump:format=b,file={}", path("jmap.hprof").display());
    let text = run(Command::new("jmap").args([option.as_str(), &pid]))?;
    assert_eq!(said(&text)?, path("jmap.hprof").metadata()?.len());
    agrees(&path("jmap.hprof"), before)?;

    // Of a dump that the JVM compressed nothing is known: it is kept, as any file is.
    let packed = path("packed.hprof.gz");
    let mut jcmd = Command::new("jcmd");
    jcmd.args([&pid, "GC.heap_dump", "-gz=1"]).arg(&packed);
    run(&mut jcmd)?;
    assert_eq!(facts(&packed)?, Facts::of(Format::Unknown));
    Ok(())
}

#[test]
#[ignore = "needs the Java class; tests/run provisions it"]
fn heaps_of_a_jvm_that_ran_out_of_memory() -> Result<()> {
    let heaps: [&[&str]; 3] = [
        &["-Xmx32m"],
        // Wide pointers, another collector, and many segments.
        &["-Xmx32m", "-XX:-UseCompressedOops", "-XX:+UseSerialGC"],
        &["-Xmx192m", "-XX:+UseParallelGC"],
    ];
    for heap in heaps {
        let directory = TempDir::new()?;
        let before = Timestamp::now();
        let crashed = Launch::java_out_of_memory_with(directory.path(), heap)?
            .start_in(directory.path())?
            .crash()?;
        let path = crashed.dump()?;
        assert_eq!(said(&crashed.to_string())?, path.metadata()?.len());
        agrees(&path, before).with_context(|| format!("{heap:?}"))?;
    }
    Ok(())
}

mod as_root {
    use super::*;
    use crate::support::disk::SmallDisk;

    #[test]
    #[ignore = "needs root and the Java class; tests/run provisions it"]
    fn a_heap_that_did_not_fit_on_the_disk_is_truncated() -> Result<()> {
        for mebibytes in [1, 3, 7] {
            let directory = TempDir::new()?;
            let disk = SmallDisk::of_mebibytes(mebibytes)?;
            let crashed = Launch::java_out_of_memory(disk.path())?
                .start_in(directory.path())?
                .crash()?;
            let name = format!("java_pid{}.hprof", crashed.facts.pid);
            let path = disk.path().join(name);
            assert_eq!(path.metadata()?.len(), u64::from(mebibytes) << 20);
            let facts = facts(&path)?;
            assert_eq!(facts.format, Format::Hprof);
            assert_eq!(
                facts.completeness,
                Completeness::Truncated { expected: None },
                "{facts:?}"
            );
            assert_eq!(facts.identifier_bytes, Some(8));
        }
        Ok(())
    }
}
