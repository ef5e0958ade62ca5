//! Whatever a tenant, a full disk, a power cut or another agent does: nothing is lost, nothing stored twice, nothing outside a source touched.

mod attack;
mod input;
mod kill;
mod limits;
mod start;
mod stop;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::agent::{Agent, Node, SALVAGE, has_no_files, wait};

/// Bytes that no compressor makes smaller, the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// A stored crash: its manifest and its dump, decoded by zstd and not by us.
struct Stored {
    id: String,
    manifest: Value,
    dump: Vec<u8>,
}

impl Stored {
    fn original_name(&self) -> &str {
        self.manifest["artifacts"][0]["original_name"]
            .as_str()
            .unwrap_or_default()
    }
}

/// Every crash of the node's `file://` store.
fn stored(node: &Node) -> Result<Vec<Stored>> {
    let crashes = node.crashes()?;
    crashes
        .iter()
        .map(|crash| {
            let key = crash["key"].as_str().context("a key")?;
            let manifest: Value = serde_json::from_slice(&fs::read(node.bucket().join(key))?)?;
            let artifact = manifest["artifacts"][0]["key"].as_str().context("a key")?;
            Ok(Stored {
                id: manifest["id"].as_str().context("an id")?.to_owned(),
                dump: zstd::decode_all(File::open(node.bucket().join(artifact))?)?,
                manifest,
            })
        })
        .collect()
}

/// Waits until exactly these dumps are stored and nothing is held, and checks every byte.
fn wait_for_dumps(node: &Node, agent: &Agent, dumps: &[Vec<u8>]) -> Result<Vec<Stored>> {
    node.wait_for_crashes(agent, dumps.len())?;
    let stored = stored(node)?;
    let mut have: Vec<&Vec<u8>> = stored.iter().map(|stored| &stored.dump).collect();
    let mut want: Vec<&Vec<u8>> = dumps.iter().collect();
    have.sort();
    want.sort();
    ensure!(have == want, "what is stored is not what was written");
    let mut ids: Vec<&str> = stored.iter().map(|stored| stored.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == dumps.len(), "an id was given twice");
    Ok(stored)
}

/// How many files and directories were passed over for this reason.
fn passed_over(agent: &Agent, kind: &str) -> Result<f64> {
    agent.metric(&format!("salvage_source_errors_total{{kind=\"{kind}\"}}"))
}

fn wait_until_passed_over(agent: &Agent, kind: &str, times: f64) -> Result<()> {
    wait(&format!("{times} passed over as {kind}"), || {
        Ok((passed_over(agent, kind)? >= times).then_some(()))
    })
}

fn wait_until_gone(path: &Path) -> Result<()> {
    wait(&format!("{} to be taken", path.display()), || {
        Ok((!path.exists()).then_some(()))
    })
}

/// Nothing is held: no state, no dump, no leftover.
fn holds_nothing(node: &Node) -> Result<()> {
    for directory in ["entries", "dumps"] {
        ensure!(has_no_files(&node.state.join(directory))?, "{directory}");
    }
    Ok(())
}

fn chmod(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// A store that is not there; the directory appears by [`let_store_appear`].
fn without_store() -> Result<Node> {
    let node = Node::new()?;
    fs::remove_dir(node.bucket())?;
    Ok(node)
}

fn let_store_appear(node: &Node) -> Result<()> {
    Ok(fs::create_dir(node.bucket())?)
}

/// The command that starts the agent as `uid`, to whom all of the node then belongs.
fn command_as(node: &Node, uid: u32) -> Result<Command> {
    use std::os::unix::process::CommandExt;
    // Where the binary was built may be closed to others.
    let program = node.path("salvage");
    let copied = Command::new("cp").arg(SALVAGE).arg(&program).status()?;
    ensure!(copied.success());
    let config = node.config()?;
    let mut all: Vec<PathBuf> = vec![node.path("")];
    for name in ["crash", "store", "state", "salvage.yaml", "salvage"] {
        all.push(node.path(name));
    }
    for path in all {
        chown(path, Some(uid), Some(uid))?;
    }
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "exec \"$0\" agent --log-format json --config \"$1\" 2>&1",
        ])
        .arg(program)
        .arg(config)
        .current_dir("/")
        .uid(uid)
        .gid(uid);
    Ok(command)
}
