//! The node is a guest house: quotas, full disks, and what goes on in spite of them.

use std::fs;

use anyhow::{Result, ensure};

use super::{
    let_store_appear, noise, passed_over, wait_for_dumps, wait_until_gone, wait_until_passed_over,
    without_store,
};
use crate::support::agent::wait;

#[test]
fn beyond_max_use_dumps_stay_where_they_are_until_there_is_room() -> Result<()> {
    let mut node = without_store()?;
    node.more = "spool: {max_use: 1MiB, keep_free: 64MiB, keep_free_inodes: 100}".into();
    let agent = node.start()?;
    let dumps: Vec<Vec<u8>> = (0..3).map(|n| noise(n, 600 << 10)).collect();
    let at = |n: usize| node.crash().join(format!("core.{n}"));
    fs::write(at(0), &dumps[0])?;
    wait_until_gone(&at(0))?;
    for (n, dump) in dumps.iter().enumerate().skip(1) {
        fs::write(at(n), dump)?;
    }
    wait_until_passed_over(&agent, "max_use", 2.0)?;
    ensure!(at(1).exists() && at(2).exists());
    ensure!(agent.metric("salvage_pending_dumps")? == 1.0);
    let_store_appear(&node)?;
    wait_until_gone(&at(1))?;
    wait_until_gone(&at(2))?;
    wait_for_dumps(&node, &agent, &dumps)?;
    ensure!(passed_over(&agent, "max_use")? >= 2.0);
    agent.stop()
}

#[test]
fn a_store_that_is_not_there_is_never_made_and_waited_for() -> Result<()> {
    let node = without_store()?;
    let agent = node.start()?;
    wait("/readyz to name the store", || {
        let said = agent.readyz()?;
        Ok(said
            .lines()
            .any(|line| {
                line.starts_with("store:")
                    && line.contains("file://")
                    && !line.contains("not probed")
            })
            .then_some(()))
    })?;
    let dump = noise(1, 100_000);
    fs::write(node.crash().join("core"), &dump)?;
    wait_until_gone(&node.crash().join("core"))?;
    agent.wait_for_metric("salvage_pending_dumps", 1.0)?;
    ensure!(!node.bucket().exists(), "the agent made the store");
    let_store_appear(&node)?;
    wait_for_dumps(&node, &agent, &[dump])?;
    agent.ready()?.stop()
}

mod as_root {
    use std::fs::File;
    use std::io::Write;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::chmod;
    use super::*;
    use crate::support::agent::Node;
    use crate::support::disk::SmallDisk;

    fn free(path: &Path) -> Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// Writes until nothing fits any more.
    fn fill(path: &Path) -> Result<()> {
        let mut file = File::create(path)?;
        for piece in [1 << 20, 4096] {
            while file.write_all(&vec![7; piece]).is_ok() {}
        }
        ensure!(free(path)? < 4096);
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn copies_never_fill_the_disk() -> Result<()> {
        const KEEP: u64 = 32 << 20;
        let (disk, other) = (SmallDisk::of_mebibytes(64)?, SmallDisk::of_mebibytes(128)?);
        let mut node = without_store()?;
        let source = other.path().join("source");
        fs::create_dir(&source)?;
        // Not sticky, so that dumps are copied.
        chmod(&source, 0o777)?;
        node.state = disk.path().join("state");
        node.sources = format!("[{{path: {source:?}}}]");
        node.more = "spool: {keep_free: 32MiB, keep_free_inodes: 100}".into();
        let dumps: Vec<Vec<u8>> = (0..6).map(|n| noise(n, 10 << 20)).collect();
        for (n, dump) in dumps.iter().enumerate() {
            fs::write(source.join(format!("core.{n}")), dump)?;
        }
        let done = AtomicBool::new(false);
        let least = std::thread::scope(|scope| -> Result<u64> {
            let watcher = scope.spawn(|| {
                let mut least = u64::MAX;
                while !done.load(Ordering::Relaxed) {
                    least = least.min(free(disk.path()).unwrap_or(0));
                    std::thread::yield_now();
                }
                least
            });
            let work = || -> Result<()> {
                let agent = node.start()?;
                // Three do not fit beside what has to stay free.
                wait("two copies", || {
                    // Not there before the agent has opened its state.
                    let Ok(dumps) = fs::read_dir(node.state.join("dumps")) else {
                        return Ok(None);
                    };
                    let whole = dumps
                        .filter_map(Result::ok)
                        .filter(|entry| !entry.file_name().to_string_lossy().ends_with(".part"));
                    Ok((whole.count() >= 2).then_some(()))
                })?;
                let_store_appear(&node)?;
                wait_for_dumps(&node, &agent, &dumps)?;
                agent.stop()
            };
            let worked = work();
            done.store(true, Ordering::Relaxed);
            let least = watcher.join().expect("the watcher does not panic");
            worked.map(|()| least)
        })?;
        println!("least free: {least} of {KEEP} to be kept");
        // Two copies at a time ask before each piece of a mebibyte; each may see the same room once.
        ensure!(least >= KEEP - (2 << 20), "{least}");
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn a_full_disk_is_shipped_empty() -> Result<()> {
        let disk = SmallDisk::of_mebibytes(64)?;
        let mut node = without_store()?;
        let source = disk.path().join("source");
        fs::create_dir(&source)?;
        node.state = disk.path().join("state");
        node.sources = format!("[{{path: {source:?}}}]");
        node.more = "spool: {keep_free: 1MiB, keep_free_inodes: 100}".into();
        let agent = node.start()?;
        let dumps: Vec<Vec<u8>> = (0..4).map(|n| noise(n, 2 << 20)).collect();
        for (n, dump) in dumps.iter().enumerate() {
            let path = source.join(format!("core.{n}"));
            fs::write(&path, dump)?;
            wait_until_gone(&path)?;
        }
        agent.wait_for_metric("salvage_pending_dumps", 4.0)?;
        fill(&disk.path().join("filler"))?;
        // Started anew on a full disk as well.
        agent.kill()?;
        let agent = node.start()?;
        let_store_appear(&node)?;
        wait_for_dumps(&node, &agent, &dumps)?;
        super::super::holds_nothing(&node)?;
        agent.stop()
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn a_full_store_is_waited_for() -> Result<()> {
        let disk = SmallDisk::of_mebibytes(16)?;
        let node = Node::new()?;
        fs::remove_dir(node.bucket())?;
        std::os::unix::fs::symlink(disk.path(), node.bucket())?;
        let agent = node.start()?.ready()?;
        let filler = disk.path().join("filler");
        fill(&filler)?;
        let dump = noise(1, 4 << 20);
        fs::write(node.crash().join("core"), &dump)?;
        wait_until_gone(&node.crash().join("core"))?;
        wait("a refused attempt", || {
            let entries = fs::read_dir(node.state.join("entries"))?;
            let texts =
                entries.map(|entry| Ok(fs::read_to_string(entry?.path()).unwrap_or_default()));
            let texts: Vec<String> = texts.collect::<Result<_>>()?;
            Ok(texts
                .iter()
                .any(|text| text.contains("not_before"))
                .then_some(()))
        })?;
        ensure!(node.crashes()?.is_empty());
        fs::remove_file(filler)?;
        wait_for_dumps(&node, &agent, &[dump])?;
        agent.stop()
    }
}
