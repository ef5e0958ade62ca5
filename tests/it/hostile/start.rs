//! What keeps an agent from starting, said with the key and the remedy, and agents that meet.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output};

use anyhow::{Result, ensure};

use super::{chmod, noise, wait_for_dumps};
use crate::support::agent::{Node, SALVAGE, wait};

fn run(node: &Node, text: &str, more: &[&str], env: &[(&str, &str)]) -> Result<Output> {
    let path = node.path("changed.yaml");
    fs::write(&path, text)?;
    Ok(Command::new(SALVAGE)
        .args(["agent", "--config"])
        .arg(path)
        .args(more)
        .envs(env.iter().copied())
        .output()?)
}

fn refused(output: &Output, wanted: &[&str]) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2), "{}: {said}", output.status);
    for part in wanted {
        ensure!(said.contains(part), "no {part:?} in: {said}");
    }
    Ok(())
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_by_name() -> Result<()> {
    let node = Node::new()?;
    let good = fs::read_to_string(node.config()?)?;
    let missing = Command::new(SALVAGE)
        .args(["agent", "--config", "/nowhere/salvage.yaml"])
        .output()?;
    refused(&missing, &["/nowhere/salvage.yaml", "No such file"])?;
    let directory = Command::new(SALVAGE)
        .args(["agent", "--config"])
        .arg(node.crash())
        .output()?;
    refused(&directory, &["crash"])?;
    let changed = |old: &str, new: &str| {
        assert!(good.contains(old), "{old}");
        good.replace(old, new)
    };
    let cases = [
        (changed("cluster: test", "clutser: test"), "clutser"),
        (changed("keep_free: 64MiB", "keep_free: 64"), "64MiB"),
        (changed("keep_free: 64MiB", "keep_free: 64MB5"), "keep_free"),
        (good.clone() + "shutdown: {grace_period: 5}\n", "30s"),
        (changed("file://", "ftp://"), "store.url"),
        (String::new(), "state_dir"),
        ("[".to_owned(), "changed.yaml"),
    ];
    for (text, wanted) in cases {
        refused(&run(&node, &text, &["--check"], &[])?, &[wanted])?;
        refused(&run(&node, &text, &[], &[])?, &[wanted])?;
    }
    let log = run(&node, &good, &[], &[("SALVAGE_LOG", "salvage=loud")])?;
    refused(&log, &["SALVAGE_LOG"])?;
    let checked = run(&node, &good, &["--check"], &[("SALVAGE_NODE", "from-env")])?;
    let shown = String::from_utf8_lossy(&checked.stdout);
    ensure!(
        checked.status.success() && shown.contains("from-env") && shown.contains("max_use: 20GiB"),
        "{shown}"
    );
    Ok(())
}

#[test]
fn an_address_or_a_state_directory_that_cannot_be_used_is_refused_by_name() -> Result<()> {
    let node = Node::new()?;
    let good = fs::read_to_string(node.config()?)?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let busy = good.replace("127.0.0.1:0", &address);
    refused(&run(&node, &busy, &[], &[])?, &["listen", &address])?;

    chmod(&node.state, 0o777)?;
    refused(
        &run(&node, &good, &[], &[])?,
        &["state_dir", "others may write", "0700"],
    )?;
    fs::remove_dir(&node.state)?;
    fs::write(&node.state, b"a file")?;
    refused(&run(&node, &good, &[], &[])?, &["state_dir"])?;
    ensure!(fs::read(&node.state)? == b"a file");
    Ok(())
}

#[test]
fn a_second_agent_waits_for_the_first_and_goes_on_where_it_was_killed() -> Result<()> {
    let node = Node::new()?;
    let first = node.start()?.ready()?;
    let second = node.start()?;
    let holder = format!("pid {}", first.pid());
    wait("the second to name the first", || {
        let said = second.readyz()?;
        Ok((said.contains("state:") && said.contains(&holder)).then_some(()))
    })?;
    ensure!(second.http("/healthz")?.0 == 200);
    first.kill()?;
    let second = second.ready()?;
    let dump = noise(1, 10_000);
    fs::write(node.crash().join("core"), &dump)?;
    wait_for_dumps(&node, &second, &[dump])?;
    second.stop()
}

mod as_root {
    use super::*;
    use crate::support::disk::SmallDisk;

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn two_agents_do_not_share_a_holding_directory() -> Result<()> {
        let disk = SmallDisk::of_mebibytes(64)?;
        let source = disk.path().join("source");
        fs::create_dir(&source)?;
        chmod(&source, 0o1777)?;
        let (mut one, mut other) = (Node::new()?, Node::new()?);
        for node in [&mut one, &mut other] {
            node.sources = format!("[{{path: {source:?}}}]");
        }
        let first = one.start()?.ready()?;
        let second = other.start()?;
        wait("the second to say why it is not ready", || {
            let said = second.readyz()?;
            Ok((said.contains("another agent") && said.contains("source")).then_some(()))
        })?;
        let dump = noise(1, 10_000);
        fs::write(source.join("core"), &dump)?;
        wait_for_dumps(&one, &first, std::slice::from_ref(&dump))?;
        first.kill()?;
        let second = second.ready()?;
        let dump = noise(2, 10_000);
        fs::write(source.join("core"), &dump)?;
        wait_for_dumps(&other, &second, &[dump])?;
        second.stop()
    }
}
