//! Minidumps of real processes, compared with a reader in Python that has its structures from Breakpad's headers, with `/proc` and with `readelf`.
//!
//! The dumps are those of `minidump-writer`, on demand and from within a crash handler. No others were had: Breakpad's and Crashpad's own and
//! those of Windows are built in code, beside the parser.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use minidump_writer::minidump_writer::MinidumpWriterConfig;
use salvage::identify::identify;
use salvage::model::{Completeness, Facts, Format, Process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::victims::{HOSTNAME, Launch, Victim, write_minidump};
use crate::support::{cuts, readers};

const SECRET: &str = "hunter2-do-not-tell";

/// A minidump of a victim that still lives.
struct Taken {
    directory: TempDir,
    victim: Victim,
}

impl Taken {
    fn of(launch: Launch) -> Result<Self> {
        let directory = TempDir::new()?;
        let victim = launch
            .env("DB_PASSWORD", SECRET)
            .start_in(directory.path())?;
        Ok(Self { directory, victim })
    }

    fn on_demand(launch: Launch) -> Result<Self> {
        let taken = Self::of(launch)?;
        taken.victim.write_minidump(&taken.path())?;
        Ok(taken)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("process.dmp")
    }

    /// Its facts, when everything that holds of every dump was compared.
    fn facts(&self) -> Result<Facts> {
        let path = self.path();
        let facts = facts(&path)?;
        let read = readers::python("minidump.py", &path)?;
        agrees_with_python(&facts, &read)?;
        let before = self.victim.facts();
        let process = process(&facts);
        assert_eq!(process.pid, Some(i32::try_from(before.pid)?));
        assert_eq!(process.uid, Some(before.uids[0]));
        assert_eq!(process.comm.as_deref(), Some(before.comm.as_str()));
        assert_eq!(process.exe.as_deref(), before.exe.to_str());
        assert_eq!(process.build_id, Some(readers::build_id(&before.exe)?));
        assert_eq!(facts.host_name.as_deref(), Some(HOSTNAME));
        agrees_with_readelf(&process, before.pid)?;
        let told = serde_json::to_string(&facts)?;
        assert!(!told.contains(SECRET), "{told}");
        cuts::never_complete(&path, Format::Minidump, 0);
        Ok(facts)
    }
}

fn facts(path: &Path) -> Result<Facts> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Ok(identify(&file, len))
}

fn process(facts: &Facts) -> Process {
    facts.process.clone().unwrap_or_default()
}

/// Every fact that the reader in Python knows as well.
fn agrees_with_python(facts: &Facts, read: &Value) -> Result<()> {
    assert_eq!(facts.format, Format::Minidump);
    assert_eq!(facts.unread, Vec::<String>::new());
    assert_eq!(facts.completeness, Completeness::Complete);
    assert_eq!(read["end"], read["size"], "the file ends where it must");
    assert_eq!(facts.producer.as_deref(), Some("minidump-writer"));
    let written = facts.written.context("the header has a time")?;
    assert_eq!(json!(written.as_second()), read["time"]);

    let process = process(facts);
    let tids = read["tids"].as_array().context("threads")?;
    assert_eq!(process.threads, Some(u32::try_from(tids.len())?));
    let status = &read["status"];
    let inner = status["NStgid"].as_array().and_then(|ids| ids.last());
    assert_eq!(
        process.pid.map(|pid| json!(pid.to_string())).as_ref(),
        inner
    );
    assert_eq!(
        json!(process.uid.map(|uid| uid.to_string())),
        status["Uid"][0]
    );
    assert_eq!(json!([facts.host_name]), read["host_names"]);

    let modules = read["modules"].as_array().context("modules")?;
    assert_eq!(json!(process.exe), modules[0]["name"]);
    assert_eq!(json!(process.build_id), modules[0]["build_id"]);
    let listed: Vec<_> = process
        .modules
        .iter()
        .map(|m| (json!(m.name), json!(m.build_id), json!(m.debug_id)))
        .collect();
    let mut expected = Vec::new();
    for module in &modules[1..] {
        let field = |name: &str| module[name].clone();
        let module = (field("name"), field("build_id"), field("debug_id"));
        if !expected.contains(&module) {
            expected.push(module);
        }
    }
    assert_eq!(listed, expected);

    let machine = match read["architecture"].as_u64() {
        Some(9) => "x86_64",
        Some(12 | 0x8003) => "aarch64",
        other => panic!("{other:?}"),
    };
    let arch = facts.runtime.clone().and_then(|runtime| runtime.arch);
    assert_eq!(arch.as_deref(), Some(machine));
    Ok(())
}

/// Every mapped program and library is a module by the id that it has on the disk, and nothing else is but the kernel's own.
fn agrees_with_readelf(process: &Process, pid: u32) -> Result<()> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let executable = |line: &&str| line.split_whitespace().nth(1) == Some("r-xp");
    let files: BTreeSet<_> = maps
        .lines()
        .filter(executable)
        .filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])))
        .collect();
    let mut on_disk = BTreeSet::new();
    for file in files {
        // Programs without an id are there by one that their writer made up.
        on_disk.extend(readers::build_id(file));
    }
    let mut told: BTreeSet<_> = process.build_id.iter().cloned().collect();
    for module in process.modules.iter().filter(|m| m.name != "linux-gate.so") {
        told.extend(module.build_id.clone());
    }
    ensure!(on_disk.is_subset(&told), "{on_disk:#?} but {told:#?}");
    Ok(())
}

fn runtime(facts: &Facts) -> Option<String> {
    facts.runtime.clone().and_then(|runtime| runtime.name)
}

/// The signal that the handler of `mode` was told of is the one in the dump.
fn handler(mode: &str) -> Result<(Facts, i32)> {
    let mut taken = Taken::of(Launch::compiled("handler")?.arg(mode))?;
    let path = taken.path();
    let said = taken.victim.crash_into_minidump(&path)?;
    let facts = taken.facts()?;
    let read = readers::python("minidump.py", &path)?;
    let signal = facts.signal.clone().context("it has a signal")?;
    assert_eq!(signal.number.to_string(), said["signo"]);
    assert_eq!(json!(signal.number), read["exception"]["code"]);
    let code = signal.code.context("it has a code")?;
    assert_eq!(code.to_string(), said["code"]);
    assert_eq!(json!(code), read["exception"]["flags"]);
    if code > 0 {
        assert_eq!(signal.address.as_ref(), said.get("addr"));
    }
    let tid = process(&facts).crashing_tid.context("a thread crashed")?;
    assert_eq!(tid.to_string(), said["tid"]);
    assert_eq!(json!(tid), read["exception"]["tid"]);
    assert_eq!(facts.exception, None);
    Ok((facts, tid))
}

#[test]
#[ignore = "needs the compiled victims; tests/run provisions them"]
fn a_segmentation_fault_has_code_and_address() -> Result<()> {
    let (facts, tid) = handler("segv")?;
    let signal = facts.signal.clone().context("it has one")?;
    assert_eq!((signal.number, signal.name.as_str()), (11, "SIGSEGV"));
    assert_eq!(
        (signal.code, signal.address.as_deref()),
        (Some(1), Some("0x8"))
    );
    assert_eq!(Some(tid), process(&facts).pid);
    let libc = facts.runtime.and_then(|runtime| runtime.libc);
    assert_eq!(libc.as_deref(), Some("glibc"));
    Ok(())
}

#[test]
#[ignore = "needs the compiled victims; tests/run provisions them"]
fn an_abort_has_no_address() -> Result<()> {
    let (facts, _) = handler("abort")?;
    let signal = facts.signal.context("it has one")?;
    assert_eq!((signal.number, signal.code), (6, Some(-6)));
    assert_eq!(signal.address, None);
    Ok(())
}

#[test]
#[ignore = "needs the compiled victims; tests/run provisions them"]
fn a_page_behind_the_end_of_its_file_has_its_address() -> Result<()> {
    let (facts, _) = handler("bus")?;
    let signal = facts.signal.context("it has one")?;
    assert_eq!((signal.name.as_str(), signal.code), ("SIGBUS", Some(2)));
    assert!(signal.address.is_some());
    Ok(())
}

#[test]
#[ignore = "needs the compiled victims; tests/run provisions them"]
fn a_worker_that_crashes_does_not_give_its_name_to_the_process() -> Result<()> {
    let (facts, tid) = handler("worker")?;
    let process = process(&facts);
    assert_ne!(process.pid, Some(tid));
    assert_eq!(process.threads, Some(2));
    assert_eq!(process.comm.as_deref(), Some("handler"));
    Ok(())
}

#[test]
#[ignore = "needs the compiled victims; tests/run provisions them"]
fn a_dump_on_demand_has_all_threads_and_no_signal() -> Result<()> {
    let taken = Taken::on_demand(Launch::compiled("threads")?)?;
    let facts = taken.facts()?;
    assert_eq!(process(&facts).threads, Some(16));
    assert_eq!(process(&facts).crashing_tid, None, "none crashed");
    assert_eq!((facts.signal, facts.exception), (None, None));
    Ok(())
}

#[test]
#[ignore = "needs the tools that tests/run provisions"]
fn runtimes_are_told_by_their_modules() -> Result<()> {
    let python = Taken::on_demand(Launch::python("pass"))?.facts()?;
    assert_eq!(runtime(&python).as_deref(), Some("Python"));
    let node = Taken::on_demand(Launch::node(""))?.facts()?;
    assert_eq!(runtime(&node).as_deref(), Some("Node.js"));
    assert!(process(&node).threads > Some(4), "{node:?}");
    Ok(())
}

#[test]
#[ignore = "needs the Java class; tests/run provisions it"]
fn a_jvm_with_all_its_threads() -> Result<()> {
    let scratch = TempDir::new()?;
    let java = Taken::on_demand(Launch::java_out_of_memory(scratch.path())?)?.facts()?;
    assert_eq!(runtime(&java).as_deref(), Some("JVM"));
    assert!(process(&java).threads > Some(8), "{java:?}");
    Ok(())
}

mod dotnet {
    use super::*;

    #[test]
    #[ignore = "needs a real .NET; tests/run provisions it"]
    fn the_runtime_is_told_with_its_libraries() -> Result<()> {
        let tmp = TempDir::new()?;
        let facts = Taken::on_demand(Launch::dotnet_at_rest(tmp.path())?)?.facts()?;
        assert_eq!(runtime(&facts).as_deref(), Some(".NET"));
        Ok(())
    }
}

mod as_root {
    use std::process::Command;

    use super::*;

    #[test]
    #[ignore = "needs root and the compiled victims; tests/run provisions them"]
    fn another_user_is_told() -> Result<()> {
        let taken = Taken::on_demand(Launch::compiled_as("threads", 54_321)?)?;
        assert_eq!(process(&taken.facts()?).uid, Some(54_321));
        Ok(())
    }

    #[test]
    #[ignore = "needs root and the compiled victims; tests/run provisions them"]
    fn in_a_container_the_process_id_is_the_inner_one() -> Result<()> {
        let directory = TempDir::new()?;
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]);
        command.arg(crate::support::victims::compiled("segv")?);
        let outer = Launch::command(command).start_in(directory.path())?;
        let pid = outer.facts().pid;
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let inner: i32 = children.trim().parse().context("one child")?;
        let path = directory.path().join("process.dmp");
        write_minidump(MinidumpWriterConfig::new(inner, inner), &path)?;
        let facts = facts(&path)?;
        agrees_with_python(&facts, &readers::python("minidump.py", &path)?)?;
        assert_eq!(process(&facts).pid, Some(1));
        assert_eq!(process(&facts).comm.as_deref(), Some("segv"));
        Ok(())
    }
}
