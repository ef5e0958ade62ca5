//! A container that runs out of memory is captured before the kernel kills it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Field, NAMESPACE, Running};
use crate::support::agent::wait;
use crate::support::container::{Dotnet, Launch};

const LIMIT: u64 = 400 << 20;

/// The runtime would give up at three quarters of the limit by itself, with an exception; told of a higher one it goes on until the kernel kills it.
fn leaking() -> Launch {
    Launch::of(Dotnet::Net8).env("DOTNET_GCHeapHardLimit", "100000000")
}

/// The manifest of the one crash that is stored.
fn only(field: &Field) -> Result<Option<Value>> {
    let stored = field.lab.node.crashes()?;
    ensure!(stored.len() <= 1, "{stored:#?}");
    let Some(id) = stored.first().and_then(|line| line["id"].as_str()) else {
        return Ok(None);
    };
    Ok(Some(field.lab.node.manifest(id)?))
}

fn ensure_killed(running: &Running) -> Result<()> {
    wait("a kill by the kernel", || {
        Ok((running.cgroup.kills()? > 0).then_some(()))
    })
}

fn leaks(field: &Field, annotate: bool, take: &str) -> Result<Value> {
    let launch = leaking();
    let mut running = Running::start(field, launch, Some(LIMIT), |pod| match annotate {
        true => pod
            .annotation("salvage.dev/capture-at-memory", "60%")
            .annotation("salvage.dev/capture-take", take),
        false => pod,
    })?;
    let agent = field.start()?;
    running.container.ensure_alive()?;
    ensure!(running.cgroup.kills()? == 0);
    running.container.leak(30)?;
    let manifest = wait("a capture by memory", || only(field))?;
    println!("captured with {} kills so far", running.cgroup.kills()?);
    ensure_killed(&running)?;
    // Still one: its budget and its hysteresis.
    ensure!(only(field)?.is_some());
    drop(agent);
    Ok(manifest)
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_program_that_leaks_is_captured_before_it_is_killed_because_its_pod_asks() -> Result<()> {
    let field = Field::new()?;
    let manifest = leaks(&field, true, "mini")?;
    let taken = &manifest["capture"];
    ensure!(
        manifest["reason"] == "MemoryHigh" && manifest["kind"] == "capture",
        "{manifest:#}"
    );
    ensure!(
        taken["trigger"] == "memory" && taken["kind"] == "dump" && taken["type"] == "mini",
        "{taken:#}"
    );
    let used = taken["memory"]["used"]
        .as_u64()
        .context("how much was used")?;
    ensure!(
        taken["memory"]["limit"] == LIMIT && (LIMIT / 100 * 60..LIMIT).contains(&used),
        "{taken:#}"
    );
    let event = field
        .lab
        .server
        .wait_for_event("CaptureStored", super::POD)?;
    ensure!(
        event["note"]
            .as_str()
            .is_some_and(|note| note.contains("Its memory was at")),
        "{event:#}"
    );
    Ok(())
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_rule_of_the_operators_takes_a_gcdump_and_its_budget_outlives_the_agent() -> Result<()> {
    let rule = format!("at: 60%, take: gcdump, budget: 1, namespaces: [{NAMESPACE}]");
    let field = Field::configured(&format!(", memory: {{rules: [{{{rule}}}]}}"))?;
    let manifest = leaks(&field, false, "")?;
    ensure!(
        manifest["capture"]["kind"] == "gcdump" && manifest["artifacts"][0]["complete"] == true,
        "{manifest:#}"
    );
    field.lab.server.delete(NAMESPACE, super::POD);
    // The workload's budget is spent; its next pod leaks as well, beside a new start of the agent.
    let mut running = Running::start(&field, leaking(), Some(LIMIT), |pod| pod)?;
    let _agent = field.start()?;
    running.container.leak(60)?;
    ensure_killed(&running)?;
    ensure!(only(&field)?.is_some());
    Ok(())
}
