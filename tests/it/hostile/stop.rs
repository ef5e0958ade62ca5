//! SIGTERM: quick when idle, patient while something ships, parked when patience ends; a second signal aborts.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::{holds_nothing, noise, wait_for_dumps};
use crate::support::agent::{Node, wait};
use crate::support::process::ending;

/// A store that takes connections and never answers.
fn silent_store(node: &mut Node) -> Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    node.store = format!("{{url: 's3://bucket', endpoint: 'http://{address}', region: us-east-1}}");
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "nobody"),
        ("AWS_SECRET_ACCESS_KEY", "nothing"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ] {
        node.env.push((name.into(), value.into()));
    }
    Ok(listener)
}

fn wait_until_shipping(node: &Node) -> Result<()> {
    wait("a dump on its way", || {
        // Not there before the agent has opened its state.
        let Ok(entries) = fs::read_dir(node.state.join("entries")) else {
            return Ok(None);
        };
        for entry in entries {
            let text = fs::read_to_string(entry?.path()).unwrap_or_default();
            if text.contains("\"shipping\"") {
                return Ok(Some(()));
            }
        }
        Ok(None)
    })
}

#[test]
fn an_idle_agent_stops_at_once() -> Result<()> {
    let node = Node::new()?;
    let agent = node.start()?.ready()?;
    let began = Instant::now();
    agent.stop()?;
    ensure!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    Ok(())
}

#[test]
fn what_is_being_shipped_is_finished() -> Result<()> {
    let node = Node::new()?;
    let agent = node.start()?.ready()?;
    let dump = noise(1, 64 << 20);
    fs::write(node.path("whole"), &dump)?;
    fs::rename(node.path("whole"), node.crash().join("core"))?;
    wait_until_shipping(&node)?;
    agent.stop()?;
    holds_nothing(&node)?;
    let stored = super::stored(&node)?;
    ensure!(stored.len() == 1 && stored[0].dump == dump);
    Ok(())
}

#[test]
fn what_cannot_be_finished_is_parked_and_stored_once_by_the_next() -> Result<()> {
    let mut node = Node::new()?;
    let (store, more) = (node.store.clone(), node.more.clone());
    let silent = silent_store(&mut node)?;
    node.more.push_str("\nshutdown: {grace_period: 1s}");
    let agent = node.start()?;
    let dump = noise(1, 12 << 20);
    fs::write(node.crash().join("core"), &dump)?;
    wait_until_shipping(&node)?;
    let began = Instant::now();
    agent.stop()?;
    ensure!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    drop(silent);
    (node.store, node.more) = (store, more);
    node.env.clear();
    let next = node.start()?.ready()?;
    wait_for_dumps(&node, &next, &[dump])?;
    holds_nothing(&node)?;
    next.stop()
}

#[test]
fn a_second_signal_aborts() -> Result<()> {
    let mut node = Node::new()?;
    let _silent = silent_store(&mut node)?;
    let mut agent = node.start()?;
    fs::write(node.crash().join("core"), noise(1, 10_000))?;
    wait_until_shipping(&node)?;
    agent.process().signal(Signal::TERM)?;
    wait("the drain to begin", || {
        Ok(agent.readyz()?.contains("draining").then_some(()))
    })?;
    agent.process().signal(Signal::TERM)?;
    let ended = ending(agent.process().wait()?);
    ensure!(ended == "exit 130", "{ended}");
    Ok(())
}
