//! Manifests to ask about: of real crashes that an agent stores, with dumps and without, and some that are put there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::kubernetes::{Lab, now};
use crate::support::agent::{Agent, wait};
use crate::support::kube::{Ended, Mount, Now, PodBuilder, container_id};
use crate::support::victims::Launch;

const CHECKOUT: &str = "checkout-7d9f6c5b8-x2x9z";
const LEDGER: &str = "ledger-0";
const REPORT: &str = "report-29920176-mnk95";
const WEB: &str = "web-5fb6b667cc-7l7bl";
const AWAY: &str = "away-0";

/// How many crashes there are in the end.
const ALL: usize = 9;

/// The UID of a pod that is told by the length of its name.
fn uid(name: &str) -> String {
    format!("29f83447-5763-4bfc-bc67-{:012}", name.len())
}

/// A pod whose container `app` may write the volume `dumps`.
fn pod_with_volume(namespace: &str, name: &str) -> PodBuilder {
    PodBuilder::new(namespace, name, &uid(name))
        .container("app", &[Mount::new("dumps", "/dumps").sub_path("app")])
        .empty_dir("dumps")
}

fn checkout() -> PodBuilder {
    pod_with_volume("shop", CHECKOUT)
        .owner("ReplicaSet", "checkout-7d9f6c5b8")
        .label("pod-template-hash", "7d9f6c5b8")
}

fn web() -> PodBuilder {
    pod_with_volume("shop", WEB)
        .owner("ReplicaSet", "web-5fb6b667cc")
        .label("pod-template-hash", "5fb6b667cc")
}

fn ledger() -> PodBuilder {
    pod_with_volume("payments", LEDGER).owner("StatefulSet", "ledger")
}

fn away() -> PodBuilder {
    pod_with_volume("payments", AWAY).owner("StatefulSet", "away")
}

/// Mounts nothing where a dump could be left.
fn report() -> PodBuilder {
    PodBuilder::new("batch", REPORT, &uid(REPORT))
        .owner("Job", "report-29920176")
        .container("app", &[])
}

fn running(pod: PodBuilder, name: &str, start: u32, last: Option<Ended>) -> Value {
    let id = container_id(&uid(name), "app", start);
    pod.status("app", start, Now::running(now(), &id), last)
        .build()
}

fn end(name: &str, start: u32, code: i32, at: Timestamp) -> Ended {
    let reason = if code == 137 { "OOMKilled" } else { "Error" };
    Ended::new(code, reason, at, &container_id(&uid(name), "app", start))
}

fn ended(pod: PodBuilder, name: &str, start: u32, code: i32, at: Timestamp) -> Value {
    let end = end(name, start, code, at);
    // Another image than before: the builder has one for all.
    let mut pod = pod.status("app", start, Now::Terminated(end), None).build();
    if name == WEB {
        let other = format!("sha256:{}", "ab".repeat(32));
        pod["status"]["containerStatuses"][0]["imageID"] = json!(other);
    }
    pod
}

/// The volume of a pod's only container.
fn directory(lab: &Lab, name: &str) -> Result<PathBuf> {
    let path = lab.volume(&uid(name), "dumps").join("app");
    fs::create_dir_all(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
    Ok(path)
}

fn taken(directory: &Path) -> Result<()> {
    wait("the dump to be taken away", || {
        Ok(fs::read_dir(directory)?.next().is_none().then_some(()))
    })
}

/// Puts a file there that is whole when it gets its name.
fn leave(path: &Path, contents: &[u8]) -> Result<()> {
    let directory = path.parent().context("a directory")?;
    let staged = tempfile::NamedTempFile::new_in(directory)?;
    fs::write(staged.path(), contents)?;
    staged.persist(path)?;
    Ok(())
}

/// A program that runs into a SIGSEGV twice, with its cores.
fn crash_twice(lab: &Lab) -> Result<()> {
    let directory = directory(lab, CHECKOUT)?;
    for start in 0..2 {
        Launch::compiled("segv")?.start_in(&directory)?.crash()?;
        taken(&directory)?;
        let server = &lab.server;
        server.modify(ended(checkout(), CHECKOUT, start, 139, now()));
        let last = end(CHECKOUT, start, 139, now());
        server.modify(running(checkout(), CHECKOUT, start + 1, Some(last)));
    }
    Ok(())
}

/// Killed for its memory twice; the second time it has left a heap dump before.
fn run_out_of_memory(lab: &Lab) -> Result<()> {
    let (server, before) = (&lab.server, now() - SignedDuration::from_mins(2));
    server.modify(ended(ledger(), LEDGER, 0, 137, before));
    let last = end(LEDGER, 0, 137, before);
    server.modify(running(ledger(), LEDGER, 1, Some(last)));
    let heap_dump = directory(lab, LEDGER)?.join("java_pid7.hprof");
    leave(&heap_dump, b"JAVA PROFILE 1.0.2\0")?;
    server.modify(ended(ledger(), LEDGER, 1, 137, now()));
    Ok(())
}

/// An exception that nobody catches, with Node's report.
fn throw(lab: &Lab) -> Result<()> {
    let directory = directory(lab, WEB)?;
    let out = Command::new("node")
        .args(["--report-uncaught-exception", "-e"])
        .arg("function pay() { throw new RangeError('no') } function serve() { pay() } serve()")
        .current_dir(&directory)
        .output()?;
    ensure!(!out.status.success(), "{out:?}");
    lab.server.modify(ended(web(), WEB, 0, 1, now()));
    Ok(())
}

/// Half a core where no pod has mounted anything.
fn cut_short(lab: &Lab) -> Result<()> {
    let elsewhere = tempfile::TempDir::new()?;
    let crashed = Launch::compiled("abort")?
        .start_in(elsewhere.path())?
        .crash()?;
    let whole = fs::read(crashed.core()?)?;
    leave(
        &lab.node.crash().join("core.half"),
        &whole[..whole.len() / 2],
    )
}

/// A node where all this has happened and is stored.
pub(super) fn crashes() -> Result<Lab> {
    let lab = Lab::new()?;
    let server = &lab.server;
    server.add(running(checkout(), CHECKOUT, 0, None));
    server.add(running(ledger(), LEDGER, 0, None));
    server.add(running(report(), REPORT, 0, None));
    server.add(running(web(), WEB, 0, None));
    server.add(running(away(), AWAY, 0, None));
    let agent: Agent = lab.start()?;
    crash_twice(&lab)?;
    run_out_of_memory(&lab)?;
    throw(&lab)?;
    cut_short(&lab)?;
    server.modify(ended(report(), REPORT, 0, 3, now()));
    // Three ends at once, of which the last is told.
    let last = end(AWAY, 2, 1, now());
    server.modify(running(away(), AWAY, 3, Some(last)));
    lab.settled(&agent, ALL)?;
    agent.stop()?;
    Ok(lab)
}

/// What a reader may rely on and nothing else, from before the time that is asked about.
pub(super) fn old(now: Timestamp) -> Value {
    let time = now - SignedDuration::from_hours(24 * 30);
    json!({
        "schema": 1, "id": "01m5a0aq0gq8m2y4v5xkz3w9tn", "revision": 1, "kind": "crash", "cluster": "other", "node": "node-18",
        "time": time.to_string(), "time_source": "dump_written", "reason": "Unknown",
    })
}

/// Stores a manifest where one of its cluster, namespace and time belongs.
pub(super) fn put(bucket: &Path, manifest: &Value) -> Result<()> {
    let text =
        |value: &Value| -> Result<String> { Ok(value.as_str().context("a text")?.to_owned()) };
    let namespace = manifest["pod"]["namespace"].as_str().unwrap_or("_unknown");
    let cluster = text(&manifest["cluster"])?;
    let date = &text(&manifest["time"])?[..10];
    let directory = bucket.join(format!(
        "crashes/cluster={cluster}/namespace={namespace}/date={date}"
    ));
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{}.json", text(&manifest["id"])?));
    fs::write(path, format!("{manifest}\n"))?;
    Ok(())
}
