//! kill -9 at random moments, again and again: in the end every dump is stored exactly once and nothing is left behind.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

use super::{holds_nothing, noise, wait_for_dumps};
use crate::support::agent::{Node, has_no_files, wait};

const KILLS: usize = 60;
const DUMPS: usize = 30;

/// Longest life of an agent: starting takes a tenth of it, a small dump's whole way about as long, a large dump's more than all of it.
const LIFE: u64 = 250;

fn killed_again_and_again(node: &Node, source: &Path, seed: u64) -> Result<()> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut dumps = Vec::new();
    for kill in 0..KILLS {
        if dumps.len() < DUMPS && kill % 2 == 0 {
            // Every fifth needs a multipart upload.
            let len = match dumps.len() % 5 {
                4 => 20 << 20,
                _ => chance.usize(1..2 << 20),
            };
            let dump = noise(seed * 1_000 + kill as u64, len);
            // One name again and again, as a container's first process writes it, where it is free.
            let name = match source.join("core.1").exists() {
                true => format!("core.1.{kill}"),
                false => "core.1".to_owned(),
            };
            fs::write(source.join(name), &dump)?;
            dumps.push(dump);
        }
        let agent = node.start()?;
        std::thread::sleep(Duration::from_millis(chance.u64(0..LIFE)));
        agent.kill()?;
    }
    ensure!(dumps.len() == DUMPS);
    let agent = node.start()?.ready()?;
    wait_for_dumps(node, &agent, &dumps)?;
    holds_nothing(node)?;
    ensure!(has_no_files(source)?, "something is left in the source");
    ensure!(agent.metric("salvage_dumps_lost_total{reason=\"vanished\"}")? == 0.0);
    agent.stop()?;
    staging_is_cleared_a_day_later(node)
}

/// What a kill in the middle of a put leaves in a `file://` store goes with the first probe of a day later.
fn staging_is_cleared_a_day_later(node: &Node) -> Result<()> {
    let staging = node.bucket().join(".staging");
    let long_ago = SystemTime::now() - Duration::from_secs(25 * 3600);
    let mut left = 0;
    for entry in fs::read_dir(&staging)? {
        let file = fs::File::options().write(true).open(entry?.path())?;
        file.set_times(fs::FileTimes::new().set_modified(long_ago))?;
        left += 1;
    }
    println!("{KILLS} kills left {left} files in staging");
    let agent = node.start()?.ready()?;
    wait("an empty staging directory", || {
        Ok(has_no_files(&staging)?.then_some(()))
    })?;
    agent.stop()
}

#[test]
fn on_the_same_mount() -> Result<()> {
    let node = Node::new()?;
    killed_again_and_again(&node, &node.crash(), 11).context("seed 11")
}

mod as_root {
    use super::super::chmod;
    use super::*;
    use crate::support::disk::SmallDisk;

    fn on_another_mount(mode: u32, seed: u64) -> Result<()> {
        let disk = SmallDisk::of_mebibytes(256)?;
        let mut node = Node::new()?;
        let source = disk.path().join("source");
        fs::create_dir(&source)?;
        chmod(&source, mode)?;
        node.sources = format!("[{{path: {source:?}}}]");
        killed_again_and_again(&node, &source, seed).with_context(|| format!("seed {seed}"))
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn with_a_holding_directory() -> Result<()> {
        on_another_mount(0o1777, 12)
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn with_copies() -> Result<()> {
        on_another_mount(0o777, 13)
    }
}
