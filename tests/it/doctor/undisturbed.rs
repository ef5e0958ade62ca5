//! A doctor beside an agent that works: nothing is lost, counted as an error, or left behind.

use std::fs;
use std::os::unix::fs::chown;

use anyhow::{Result, ensure};

use super::{Ward, open};
use crate::s3::{drop_in, ensure_nothing_left, fetched, node_for, noise};
use crate::support::s3::S3Server;

const RUNS: usize = 20;

#[test]
fn twenty_doctors_beside_a_working_agent_change_nothing() -> Result<()> {
    let store = S3Server::start();
    let node = node_for(&store)?;
    open(&node.crash())?;
    let ward = Ward::of(node)?;
    let is_root = rustix::process::geteuid().is_root();
    let mut digests = Vec::new();
    for n in 0..RUNS {
        for (size, of) in [(64 << 10, "small"), (9 << 20, "large")] {
            let name = format!("core.{of}.{n}");
            let content = noise((2 * n + size) as u64, size);
            if is_root {
                // Another user's, as the dumps of pods are; made beside, so that it appears at once.
                let beside = ward.node.path(&name);
                fs::write(&beside, &content)?;
                chown(&beside, Some(12_345), Some(12_345))?;
            }
            digests.push(drop_in(&ward.node, &name, &content)?);
        }
        let said = ward.ask()?;
        said.ensure_code(0)?;
        ensure!(
            said.checks()
                .iter()
                .all(|finding| finding["id"] != "agent.ready" || finding["verdict"] == "ok"),
            "{:#}",
            said.report
        );
    }
    let agent = ward.agent()?;
    let crashes = ward.node.wait_for_crashes(agent, 2 * RUNS)?;
    digests.sort();
    ensure!(
        fetched(&ward.node, &crashes)? == digests,
        "what was stored is not what was dumped"
    );
    for (name, value) in agent.metrics()? {
        let troubles = [
            "salvage_source_errors_total",
            "salvage_dumps_lost_total",
            "salvage_dumps_gone_total",
        ];
        let is_trouble = troubles.iter().any(|trouble| name.starts_with(trouble));
        ensure!(!is_trouble || value == 0.0, "{name} is {value}");
    }
    ensure_nothing_left(&ward.node, &store)?;
    Ok(())
}
