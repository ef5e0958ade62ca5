//! The main job, end to end: a process crashes, and its dump is in the store, whole, findable and fetchable.

use anyhow::{Result, ensure};

use crate::support::agent::{Node, has_no_files};
use crate::support::readers::sha256;

#[test]
fn a_file_that_appears_is_stored_once_and_whole() -> Result<()> {
    let node = Node::new()?;
    let agent = node.start()?.ready()?;
    let dump = node.path("dump");
    std::fs::write(&dump, b"not a dump, and kept all the same".repeat(100_000))?;
    let digest = sha256(&dump)?;
    std::fs::rename(&dump, node.crash().join("odd"))?;
    let crashes = node.wait_for_crashes(&agent, 1)?;
    let id = crashes[0]["id"].as_str().unwrap_or_default();
    let got = node.get(id)?;
    ensure!(got.len() == 1 && sha256(&got[0])? == digest);
    ensure!(has_no_files(&node.crash())?);
    agent.stop()
}
