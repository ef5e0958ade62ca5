//! The agent is killed right before and right after each step by which a capture comes into the spool: it is stored once, or the `Capture` says that it was interrupted,
//! and nothing is left of it.

use anyhow::{Context, Result, ensure};
use salvage::model::Step;
use serde_json::json;

use super::{Field, Running};
use crate::support::agent::wait;
use crate::support::container::{Dotnet, Launch};

fn killed_at(step: Step, when: &str, is_kept: bool) -> Result<()> {
    let mut field = Field::new()?;
    let mut running = Running::start(&field, Launch::of(Dotnet::Net8), None, |pod| pod)?;
    let env = field.lab.node.env.clone();
    let fault = format!("{}:{when}:1", step.name());
    field.lab.node.env.push(("SALVAGE_FAULT".into(), fault));
    let mut agent = field.start()?;
    field.lab.node.env = env;
    field.ask("killed", &json!({"kind": "gcdump"}));
    let status = agent.process().wait()?;
    ensure!(!status.success(), "the agent ended with {status}");
    running.container.ensure_alive()?;
    let _agent = field.start()?;
    match is_kept {
        true => {
            let status = field.ended("killed")?;
            ensure!(status["phase"] == "Stored", "{status:#}");
        }
        false => {
            field.fails("killed", "AgentStopped")?;
        }
    }
    let stored = wait("what is stored to be so", || {
        let stored = field.lab.node.crashes()?;
        Ok((stored.len() == usize::from(is_kept)).then_some(stored))
    })?;
    ensure!(
        stored.iter().all(|line| line["reason"] == "Capture"),
        "{stored:#?}"
    );
    field.ensure_spool_is_empty()?;
    running.container.ensure_alive()
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn killed_at_every_step_of_taking_one_in() -> Result<()> {
    for (step, when, is_kept) in [
        (Step::NoteCapture, "before", false),
        (Step::NoteCapture, "after", true),
        (Step::NameCapture, "before", true),
        (Step::NameCapture, "after", true),
    ] {
        let at = || format!("{when} {}", step.name());
        killed_at(step, when, is_kept).with_context(at)?;
    }
    Ok(())
}
