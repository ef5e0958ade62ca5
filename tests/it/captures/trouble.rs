//! What goes wrong meanwhile: the process goes on, nothing is left, and the `Capture` says what happened.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{Field, NAMESPACE, Running};
use crate::support::agent::{Agent, wait};
use crate::support::container::{Dotnet, Launch};
use crate::support::s3::S3Op;

/// The process runs again, and nothing of ours is in its container.
fn ensure_let_go(running: &mut Running, since: Instant) -> Result<()> {
    running.container.ensure_alive()?;
    let after = since.elapsed();
    println!("running again within {after:?}");
    ensure!(
        after < Duration::from_secs(5),
        "it stood still for {after:?}"
    );
    wait("nothing of ours in its container", || {
        let names = running.temporary()?;
        let is_ours = |name: &String| name.starts_with(".salvage");
        Ok((!names.iter().any(is_ours)).then_some(()))
    })
}

/// A process that has enough memory for its dump to take a moment.
fn grown(field: &Field) -> Result<Running> {
    let mut running = Running::start(field, Launch::of(Dotnet::Net8), None, |pod| pod)?;
    running.container.leak(200)?;
    let status = format!("/proc/{}/status", running.container.pid());
    wait("300 MB of memory", || {
        let text = fs::read_to_string(&status)?;
        let anon = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib: u64 = anon
            .context("RssAnon")?
            .trim()
            .trim_end_matches(" kB")
            .parse()?;
        Ok((kib > 300 << 10).then_some(()))
    })?;
    running.container.leak(0)?;
    Ok(running)
}

/// Kills the agent as soon as something is so.
fn killed_when(
    agent: Agent,
    what: &str,
    mut is_so: impl FnMut() -> Result<bool>,
) -> Result<Instant> {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so()? {
        ensure!(Instant::now() < until, "in vain waited for {what}");
    }
    agent.kill()?;
    Ok(Instant::now())
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn an_agent_that_is_killed_while_a_dump_flows_lets_the_process_go() -> Result<()> {
    let field = Field::new()?;
    let mut running = grown(&field)?;
    let agent = field.start()?;
    field.ask(
        "cut",
        &json!({"kind": "dump", "type": "full", "force": true}),
    );
    let dumps = field.lab.node.state.join("dumps");
    let killed = killed_when(agent, "bytes of the dump", || {
        let mut parts = fs::read_dir(&dumps)?.flatten();
        Ok(parts.any(|part| part.metadata().is_ok_and(|file| file.len() > 10 << 20)))
    })?;
    // Without any agent.
    ensure_let_go(&mut running, killed)?;
    let _agent = field.start()?;
    let message = field.fails("cut", "AgentStopped")?;
    ensure!(message.contains("ask again"), "{message}");
    field.ensure_spool_is_empty()?;
    ensure!(field.lab.node.crashes()?.is_empty());
    Ok(())
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn an_agent_that_is_killed_before_a_dump_flows_lets_the_process_go_when_it_is_back() -> Result<()> {
    let field = Field::new()?;
    let mut running = grown(&field)?;
    let agent = field.start()?;
    field.ask(
        "early",
        &json!({"kind": "dump", "type": "heap", "force": true}),
    );
    let temporary = running.container.path("/tmp");
    killed_when(agent, "the FIFO", || {
        let mut names = fs::read_dir(&temporary)?.flatten();
        Ok(names.any(|name| name.file_name().to_string_lossy().starts_with(".salvage")))
    })?;
    let back = Instant::now();
    let _agent = field.start()?;
    ensure_let_go(&mut running, back)?;
    field.fails("early", "AgentStopped")?;
    field.ensure_spool_is_empty()
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_store_that_stalls_stops_no_process() -> Result<()> {
    let field = Field::new()?;
    let mut running = grown(&field)?;
    let agent = field.start()?;
    for op in [S3Op::Put, S3Op::Begin, S3Op::PutPart] {
        field.store.hang(op);
    }
    let asked = Instant::now();
    field.ask(
        "stalled",
        &json!({"kind": "dump", "type": "heap", "force": true}),
    );
    let status = field.reaches("stalled", "Shipping")?;
    ensure!(status["phase"] == "Shipping", "{status:#}");
    ensure_let_go(&mut running, Instant::now())?;
    let stall = Duration::from_secs(60);
    while asked.elapsed() < stall {
        running.container.ensure_alive()?;
    }
    let status = field.reaches("stalled", "Shipping")?;
    ensure!(status["phase"] == "Shipping", "{status:#}");
    field.store.healthy();
    let status = field.ended("stalled")?;
    ensure!(status["phase"] == "Stored", "{status:#}");
    let (peak, bytes) = (agent.peak_memory()?, status["bytes"].as_u64().unwrap_or(0));
    println!(
        "a dump of {} MiB, and a peak of {} MiB",
        bytes >> 20,
        peak >> 20
    );
    ensure!(
        bytes > 2 * peak,
        "the agent had {peak} bytes for a dump of {bytes}"
    );
    field.ensure_spool_is_empty()
}

/// It answers nothing, and would hold a place of the node's for as long as a dump may take.
#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_process_that_hangs_is_given_up_and_let_go_when_it_goes_on() -> Result<()> {
    let field = Field::new()?;
    let mut running = Running::start(&field, Launch::of(Dotnet::Net8), None, |pod| pod)?;
    let agent = field.start()?;
    let pid = Pid::from_raw(running.container.pid()).context("a pid")?;
    kill_process(pid, Signal::STOP)?;
    field.ask("hangs", &json!({"kind": "dump", "type": "mini"}));
    field.reaches("hangs", "Capturing")?;
    wait("it is given up", || {
        let capture = field.lab.server.capture(NAMESPACE, "hangs");
        let has_failed = |capture: &Value| capture["status"]["phase"] == "Failed";
        Ok(capture.filter(has_failed).map(drop))
    })?;
    let message = field.fails("hangs", "TimedOut")?;
    ensure!(message.contains("bytes of the dump"), "{message}");
    kill_process(pid, Signal::CONT)?;
    ensure_let_go(&mut running, Instant::now())?;
    // Where it might have left something is noted until the next start has looked.
    drop(agent);
    let _agent = field.start()?;
    wait("an empty spool", || Ok(field.ensure_spool_is_empty().ok()))
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_dump_that_becomes_too_large_is_ended_and_the_process_goes_on() -> Result<()> {
    let field = Field::new()?;
    let mut running = grown(&field)?;
    let _agent = field.start()?;
    field.ask(
        "large",
        &json!({"kind": "dump", "type": "heap", "maxBytes": "20MiB"}),
    );
    let message = field.fails("large", "TooLarge")?;
    ensure!(message.contains("20"), "{message}");
    field.ask(
        "larger",
        &json!({"kind": "dump", "type": "heap", "maxBytes": "20MiB", "force": true}),
    );
    let message = field.fails("larger", "TooLarge")?;
    ensure!(message.contains("larger than"), "{message}");
    ensure_let_go(&mut running, Instant::now())?;
    field.ensure_spool_is_empty()
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn what_the_node_has_no_room_for_is_not_begun() -> Result<()> {
    let mut field = Field::new()?;
    field.lab.node.more = field
        .lab
        .node
        .more
        .replace("spool: {", "spool: {max_use: 30MiB, ");
    let mut running = grown(&field)?;
    let _agent = field.start()?;
    field.ask(
        "full",
        &json!({"kind": "dump", "type": "heap", "force": true}),
    );
    let message = field.fails("full", "NoRoom")?;
    ensure!(message.contains("spool"), "{message}");
    running.container.ensure_alive()
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn deleting_a_capture_ends_it() -> Result<()> {
    let field = Field::new()?;
    let mut running = Running::start(&field, Launch::of(Dotnet::Net8), None, |pod| pod)?;
    let agent = field.start()?;
    field.ask("long", &json!({"kind": "trace", "duration": "10m"}));
    let status = field.reaches("long", "Capturing")?;
    ensure!(status["phase"] == "Capturing", "{status:#}");
    field.ask("second", &json!({"kind": "gcdump"}));
    let message = field.fails("second", "Busy")?;
    ensure!(message.contains("is under way"), "{message}");
    field.lab.server.delete_capture(NAMESPACE, "long");
    let cancelled = "salvage_captures_total{kind=\"trace\",outcome=\"Cancelled\"}";
    wait("the trace to be ended", || {
        let counted = agent.metrics()?.get(cancelled).copied();
        Ok((counted == Some(1.0)).then_some(()))
    })?;
    running.container.ensure_alive()?;
    // Another one of its name has nothing of it.
    field.ask("long", &json!({"kind": "gcdump"}));
    let status = field.ended("long")?;
    ensure!(status["phase"] == "Stored", "{status:#}");
    field.ask("third", &json!({"kind": "gcdump", "ttl": "10s"}));
    let status = field.ended("third")?;
    ensure!(status["phase"] == "Stored", "{status:#}");
    field.lab.server.wait_until("its time is over", |server| {
        server.capture(NAMESPACE, "third").is_none()
    })?;
    field.ensure_spool_is_empty()
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_process_that_ends_meanwhile_leaves_what_came() -> Result<()> {
    let field = Field::new()?;
    let mut running = Running::start(&field, Launch::of(Dotnet::Net8), None, |pod| pod)?;
    let _agent = field.start()?;
    field.ask("cut-short", &json!({"kind": "trace", "duration": "10m"}));
    let has_bytes = |capture: &serde_json::Value| capture["status"]["bytes"].as_i64() > Some(0);
    field
        .lab
        .server
        .wait_for_capture(NAMESPACE, "cut-short", has_bytes)?;
    running.container.process().kill()?;
    let status = field.ended("cut-short")?;
    ensure!(
        status["phase"] == "Stored" && status["complete"] == false,
        "{status:#}"
    );
    Ok(())
}
