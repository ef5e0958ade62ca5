//! Every kind of capture, of every runtime there is, from the command to the file.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use salvage::dotnet::eventpipe::{Decoder, Event, Trace, Visitor};
use serde_json::Value;
use tempfile::TempDir;

use super::{Field, NAMESPACE, POD, Running, said};
use crate::support::container::{Dotnet, Launch};
use crate::support::readers::{self, Readelf};

/// How many of a known type the program has.
const ORDERS: u32 = 4_711;

/// Takes a capture by the command, fetches it with it, and gives the file and the manifest.
fn taken(field: &Field, arguments: &[&str]) -> Result<(PathBuf, Value, TempDir)> {
    let directory = TempDir::new()?;
    let out = directory.path().to_string_lossy().into_owned();
    let mut all = vec!["capture"];
    all.extend(arguments);
    all.extend(["-n", NAMESPACE, POD, "--get", "--out", &out]);
    let output = field.salvage(&all)?;
    let text = said(&output).with_context(|| format!("{arguments:?}"))?;
    let id = text.lines().next().context("an id")?.to_owned();
    let mut files = std::fs::read_dir(directory.path())?.flatten();
    let file = files
        .next()
        .with_context(|| format!("a file: {text}"))?
        .path();
    ensure!(files.next().is_none(), "{text}");
    let manifest = field.lab.node.manifest(&id)?;
    Ok((file, manifest, directory))
}

fn ensure_facts(manifest: &Value, kind: &str, role: &str, format: &str) -> Result<()> {
    let artifact = &manifest["artifacts"][0];
    let is_so = manifest["kind"] == "capture"
        && manifest["reason"] == "Capture"
        && manifest["time_source"] == "capture_taken"
        && manifest["capture"]["kind"] == kind
        && manifest["capture"]["trigger"] == "request"
        && manifest["capture"]["request"].is_string()
        && manifest["pod"]["name"] == POD
        && manifest["pod"]["namespace"] == NAMESPACE
        && manifest["container"]["name"] == "app"
        && manifest["attribution"]["confidence"] == "exact"
        && manifest["artifacts"].as_array().map(Vec::len) == Some(1)
        && artifact["role"] == role
        && artifact["format"] == format;
    ensure!(is_so, "{manifest:#}");
    ensure!(
        format == "counters" || artifact["complete"] == true,
        "{artifact:#}"
    );
    Ok(())
}

/// The object that asked for it, as it stands.
fn object_of(field: &Field, manifest: &Value) -> Result<Value> {
    let name = manifest["capture"]["request"]
        .as_str()
        .context("a request")?;
    let capture = field.lab.server.capture(NAMESPACE, name);
    Ok(capture.context("the Capture stays for its time")?["status"].clone())
}

fn dumps(field: &Field, running: &mut Running, dotnet: Dotnet) -> Result<()> {
    let before = running.temporary()?;
    for kind in ["mini", "triage", "heap", "full"] {
        let (file, manifest, _directory) = taken(field, &["dump", "--type", kind])?;
        ensure_facts(&manifest, "dump", "dump", "elf-core")?;
        ensure!(manifest["capture"]["type"] == kind, "{manifest:#}");
        Readelf::of(&file)?.ensure_complete_core()?;
        let executable = executable_of(running)?;
        ensure_opened_by_gdb(&file, &executable)?;
        let status = object_of(field, &manifest)?;
        println!(
            "{dotnet:?}: {kind} dump: {} bytes, expected {}; pause {}, expected {}",
            status["bytes"],
            status["estimate"]["bytes"],
            status["pause"],
            status["estimate"]["pause"]
        );
        ensure!(
            status["pause"].is_string() && status["complete"] == true,
            "{status:#}"
        );
        ensure!(running.temporary()? == before, "{kind} has left something");
        running.container.ensure_alive()?;
    }
    Ok(())
}

/// gdb finds the threads and where they are. There is no signal to ask of: nothing has crashed.
fn ensure_opened_by_gdb(core: &Path, executable: &Path) -> Result<()> {
    let output = Command::new("gdb")
        .args([
            "-nx",
            "-batch",
            "-iex",
            "set debuginfod enabled off",
            "-ex",
            "info threads",
        ])
        .arg(executable)
        .arg(core)
        .env("LC_ALL", "C")
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |line: &str| line.trim_start_matches(['*', ' ']).chars().next();
    let is_thread = |line: &&str| {
        line.contains("LWP ") && number(line).is_some_and(|digit| digit.is_ascii_digit())
    };
    let threads = said.lines().filter(is_thread).count();
    ensure!(
        output.status.success() && said.contains("* 1 ") && threads > 3,
        "gdb: {said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn executable_of(running: &Running) -> Result<PathBuf> {
    let link = std::fs::read_link(format!("/proc/{}/exe", running.container.pid()))?;
    Ok(running.container.path(&link.to_string_lossy()))
}

/// Counts the samples of stacks.
#[derive(Default)]
struct Samples(u64);

impl Visitor for Samples {
    fn event(&mut self, _: &Trace, event: &Event<'_>) {
        self.0 += u64::from(&*event.kind.provider == "Microsoft-DotNETCore-SampleProfiler");
    }
}

fn samples_in(file: &Path) -> Result<u64> {
    let (mut decoder, mut samples) = (Decoder::new(), Samples::default());
    decoder.feed(&std::fs::read(file)?, &mut samples);
    ensure!(decoder.is_complete() && decoder.trouble().is_none());
    Ok(samples.0)
}

fn ensure_whole_trace(file: &Path) -> Result<Value> {
    let read = readers::python("nettrace.py", file)?;
    ensure!(read["complete"] == true, "{read:#}");
    Ok(read)
}

fn all_kinds(dotnet: Dotnet) -> Result<()> {
    let field = Field::new()?;
    let launch = Launch::of(dotnet).orders(ORDERS).read_only_root();
    let mut running = Running::start(&field, launch, None, |pod| pod)?;
    let _agent = field.start()?;
    running.container.ensure_alive()?;
    dumps(&field, &mut running, dotnet)?;

    for _ in 0..2 {
        let (file, manifest, _directory) = taken(&field, &["gcdump"])?;
        ensure_facts(&manifest, "gcdump", "dump", "nettrace")?;
        ensure_whole_trace(&file)?;
        let types = manifest["capture"]["types"].as_array().context("types")?;
        let orders = types.iter().find(|one| one["name"] == "Order4711");
        ensure!(
            orders.is_some_and(|orders| orders["instances"] == ORDERS),
            "{types:#?}"
        );
        running.container.ensure_alive()?;
    }

    let (file, manifest, _directory) = taken(&field, &["trace", "--duration", "3s"])?;
    ensure_facts(&manifest, "trace", "trace", "nettrace")?;
    let read = ensure_whole_trace(&file)?;
    let samples = samples_in(&file)?;
    println!("{dotnet:?}: trace of 3 s: {samples} samples, {read}");
    ensure!(samples > 100, "{samples} samples");
    ensure!(
        manifest["capture"]["providers"][0] == "profile cpu-sampling",
        "{manifest:#}"
    );
    running.container.ensure_alive()?;

    let (file, manifest, _directory) = taken(&field, &["counters", "--duration", "4s"])?;
    ensure_facts(&manifest, "counters", "trace", "counters")?;
    let lines = std::fs::read_to_string(&file)?;
    for name in ["cpu-usage", "working-set"] {
        let has = lines.lines().any(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["name"] == name && line["value"].is_number()
        });
        ensure!(has, "no {name} in {lines}");
    }
    let status = object_of(&field, &manifest)?;
    ensure!(
        status["counters"]
            .as_array()
            .is_some_and(|all| !all.is_empty()),
        "{status:#}"
    );
    running.container.ensure_alive()?;

    field.ensure_spool_is_empty()?;
    let listed = field.lab.node.crashes()?;
    ensure!(
        listed.len() == 8 && listed.iter().all(|line| line["reason"] == "Capture"),
        "{listed:#?}"
    );
    ensure!(
        field.lab.server.offences().is_empty(),
        "{:#?}",
        field.lab.server.offences()
    );
    Ok(())
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn every_kind_of_capture_goes_from_the_command_to_the_file() -> Result<()> {
    for dotnet in Dotnet::provisioned() {
        all_kinds(dotnet).with_context(|| format!("on {dotnet:?}"))?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_process_of_this_machine_is_captured_without_an_agent() -> Result<()> {
    let field = Field::new()?;
    for dotnet in Dotnet::provisioned() {
        let mut container = Launch::of(dotnet).orders(ORDERS).start()?;
        let pid = container.pid().to_string();
        let output = field.salvage(&["capture", "gcdump", "--pid", &pid])?;
        let id = said(&output)?.trim().to_owned();
        let manifest = field.lab.node.manifest(&id)?;
        ensure!(
            manifest["kind"] == "capture" && manifest["artifacts"][0]["complete"] == true,
            "{manifest:#}"
        );
        let directory = TempDir::new()?;
        let out = directory.path().to_string_lossy().into_owned();
        let output = field.salvage(&[
            "capture", "dump", "--type", "mini", "--pid", &pid, "--get", "--out", &out,
        ])?;
        said(&output)?;
        let file = std::fs::read_dir(directory.path())?
            .flatten()
            .next()
            .context("a file")?;
        Readelf::of(&file.path())?.ensure_complete_core()?;
        container.ensure_alive()?;
    }
    let mut sleep = Command::new("sleep").arg("60").spawn()?;
    let pid = sleep.id().to_string();
    let output = field.salvage(&["capture", "gcdump", "--pid", &pid]);
    sleep.kill()?;
    sleep.wait()?;
    let output = output?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(2) && text.contains("is no .NET process"),
        "{output:?}"
    );
    Ok(())
}
