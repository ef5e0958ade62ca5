//! On a node: the configuration, the agent, the sources, the kernel.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Said, Wanted, Ward, chmod, open};
use crate::support::agent::{Node, SALVAGE};

#[test]
fn a_whole_set_up_has_nothing_that_fails() -> Result<()> {
    let ward = Ward::plain()?;
    let said = ward.ask()?;
    said.ensure_code(0)?;
    for wanted in [
        ("config", "ok", "cluster test"),
        ("agent.health", "ok", "answers"),
        ("agent.ready", "ok", "ready"),
        ("state_dir", "ok", "alone"),
        ("source.directory", "ok", "can be read"),
        ("source.mode", "ok", "sticky"),
        ("source.take", "ok", "by renaming"),
        ("source.leases", "ok", "one was tried"),
        ("inotify", "ok", "one was tried"),
        ("store.put", "ok", "allowed"),
    ] {
        said.ensure_says(wanted)?;
    }
    ensure!(said.report["schema"] == 1);
    // A person reads the same as a table.
    let mut table = Command::new(SALVAGE);
    table
        .args(["doctor", "--config"])
        .arg(ward.node.path("doctor.yaml"));
    let table = table.output()?;
    let table = String::from_utf8_lossy(&table.stdout);
    ensure!(
        table.starts_with("VERDICT") && table.contains("0 failed"),
        "{table}"
    );
    Ok(())
}

#[test]
fn a_configuration_that_is_refused_is_told_as_the_agent_tells_it() -> Result<()> {
    let ward = Ward::plain()?;
    for (old, new, words) in [
        ("cluster: test", "clutser: test", "clutser"),
        ("keep_free: 64MiB", "keep_free: 64", "64MiB"),
        ("state_dir: \"", "state_dir: \"..", "state_dir"),
        (
            "sources: [",
            "sources: [{}, ",
            "sources[0]: needs exactly one",
        ),
    ] {
        let said = ward.ask_with(old, new)?;
        said.ensure_code(1)?;
        said.ensure_says(("config", "fail", words))?;
        // What needs no configuration is looked at all the same.
        said.ensure_says(("inotify", "ok", ""))?;
    }
    let mut overridden = ward.doctor(|config| config, &[])?;
    overridden.env("SALVAGE_CLUSTER", "prod-eu");
    let said = Said::by(overridden)?;
    said.ensure_says(("config", "ok", "cluster prod-eu (SALVAGE_CLUSTER)"))?;
    Ok(())
}

#[test]
fn an_agent_that_is_down_or_not_ready_is_told() -> Result<()> {
    let mut ward = Ward::plain()?;
    fs::remove_dir(ward.node.crash())?;
    let agent = ward.agent()?;
    crate::support::agent::wait("the agent to miss its source", || {
        Ok((agent.http("/readyz")?.0 == 503).then_some(()))
    })?;
    let said = ward.ask()?;
    said.ensure_code(1)?;
    said.ensure_says(("agent.health", "ok", "answers"))?;
    said.ensure_says(("agent.ready", "fail", "cannot be opened"))?;
    said.ensure_says(("source.directory", "fail", "does not exist"))?;
    if let Some(agent) = ward.agent.take() {
        agent.stop()?;
    }
    let said = ward.ask()?;
    said.ensure_code(1)?;
    said.ensure_says(("agent.health", "fail", "does not answer"))?;
    Ok(())
}

/// Each changes one thing about a node's directories, in front of an agent that runs.
#[test]
fn what_is_wrong_with_a_directory_is_told_by_name() -> Result<()> {
    type Break = fn(&Node) -> Result<()>;
    let cases: [(Break, Wanted<'_>, i32); 5] = [
        (
            |node| Ok(fs::remove_dir(node.crash())?),
            ("source.directory", "fail", "the source does not exist"),
            1,
        ),
        (
            |node| {
                fs::remove_dir(node.crash())?;
                Ok(symlink(node.path("store"), node.crash())?)
            },
            ("source.directory", "fail", "is a symbolic link"),
            1,
        ),
        (
            |node| {
                fs::remove_dir(node.crash())?;
                Ok(fs::write(node.crash(), b"")?)
            },
            ("source.directory", "fail", "is a file and no directory"),
            1,
        ),
        (
            |node| chmod(&node.crash(), 0o777),
            ("source.mode", "warn", "not sticky (mode 0777)"),
            0,
        ),
        (
            |node| chmod(&node.state, 0o777),
            ("state_dir", "fail", "others may write state_dir"),
            1,
        ),
    ];
    for (break_it, wanted, code) in cases {
        let ward = Ward::plain()?;
        break_it(&ward.node)?;
        let said = ward.ask()?;
        said.ensure_says(wanted)?;
        // An agent that missed its source in between says so as well.
        ensure!(said.code == Some(code), "{wanted:?}: {:#}", said.report);
    }
    Ok(())
}

#[test]
fn room_that_is_not_there_is_told_with_its_numbers() -> Result<()> {
    let ward = Ward::plain()?;
    let said = ward.ask_with("keep_free: 64MiB", "keep_free: 900TiB")?;
    said.ensure_code(0)?;
    said.ensure_says((
        "space.bytes",
        "warn",
        "less than spool.keep_free (900.0 TiB)",
    ))?;
    said.ensure_says(("space.max_use", "warn", "never reached"))?;
    let many = "keep_free_inodes: 99999999999";
    let said = ward.ask_with("keep_free_inodes: 100", many)?;
    // A file system that makes inodes as it needs them never runs out of them.
    if said.code != Some(0) {
        said.ensure_says(("space.inodes", "fail", "inodes are free"))?;
    }
    Ok(())
}

mod as_root {
    use super::*;
    use crate::support::disk::SmallDisk;
    use std::os::unix::fs::chown;

    /// A doctor that `sh` starts after some preparation; `$@` is its command line.
    fn by_shell(ward: &Ward, before: &[&str], script: &str) -> Result<Said> {
        let doctor = ward.doctor(|config| config, &[])?;
        let mut command = Command::new(before[0]);
        command.args(&before[1..]).args(["sh", "-c", script, "sh"]);
        command.arg(doctor.get_program()).args(doctor.get_args());
        for (name, value) in doctor.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Said::by(command)
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn each_capability_that_is_missing_is_named() -> Result<()> {
        let ward = Ward::plain()?;
        for name in ["DAC_READ_SEARCH", "DAC_OVERRIDE", "FOWNER", "LEASE"] {
            let drop = format!("--bounding-set=-{}", name.to_lowercase());
            let said = by_shell(&ward, &["setpriv", &drop], "exec \"$@\"")?;
            let lacks = format!("this process lacks CAP_{name}:");
            said.ensure_says(("capability", "warn", &lacks))?;
            let missing = said
                .checks()
                .iter()
                .filter(|finding| finding["id"] == "capability" && finding["verdict"] != "ok");
            ensure!(missing.count() == 1, "{:#}", said.report);
        }
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn one_foreign_file_is_the_proof() -> Result<()> {
        let mut ward = Ward::plain()?;
        // Without an agent, which would take it.
        if let Some(agent) = ward.agent.take() {
            agent.stop()?;
        }
        let said = ward.ask()?;
        said.ensure_says(("foreign.read", "ok", "one without any permission was read"))?;
        let dump = ward.node.crash().join("core.7");
        fs::write(&dump, b"a dump")?;
        chmod(&dump, 0o600)?;
        chown(&dump, Some(12_345), Some(12_345))?;
        let said = ward.ask()?;
        said.ensure_says(("foreign.read", "ok", "of uid 12345, mode 0600, was read"))?;
        said.ensure_says(("foreign.lease", "ok", "was given"))?;
        let none = "--bounding-set=-dac_read_search,-dac_override";
        let said = by_shell(&ward, &["setpriv", none], "exec \"$@\"")?;
        said.ensure_says(("foreign.read", "fail", "cannot be read: Permission denied"))?;
        let said = by_shell(&ward, &["setpriv", "--bounding-set=-lease"], "exec \"$@\"")?;
        said.ensure_says(("foreign.lease", "fail", "no lease is given"))?;
        fs::remove_file(&dump)?;
        let said = by_shell(&ward, &["setpriv", none], "exec \"$@\"")?;
        said.ensure_says((
            "foreign.read",
            "warn",
            "without any permission cannot be read",
        ))?;
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn a_source_that_is_mounted_read_only_is_told() -> Result<()> {
        let ward = Ward::plain()?;
        let crash = ward.node.crash();
        let crash = crash.display();
        let script = format!(
            "mount --bind '{crash}' '{crash}' && mount -o remount,bind,ro '{crash}' && exec \"$@\""
        );
        let said = by_shell(&ward, &["unshare", "-m"], &script)?;
        said.ensure_code(1)?;
        said.ensure_says(("source.mount", "fail", "mounted read-only"))?;
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn a_kernel_that_gives_out_no_more_watches_is_told() -> Result<()> {
        let ward = Ward::plain()?;
        for (limit, words) in [
            ("max_inotify_instances", "no further instance"),
            ("max_inotify_watches", "no further directory"),
        ] {
            let script = format!("echo 0 > /proc/sys/user/{limit} && exec \"$@\"");
            let said = by_shell(&ward, &["unshare", "-U", "-r"], &script)?;
            said.ensure_code(1)?;
            said.ensure_says(("inotify", "fail", words))?;
        }
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn a_small_disk_and_a_source_out_of_which_dumps_are_copied_are_told() -> Result<()> {
        let disk = SmallDisk::of_mebibytes(32)?;
        let mut node = Node::new()?;
        open(&node.crash())?;
        chmod(&node.crash(), 0o777)?;
        node.state = disk.path().join("state");
        let ward = Ward::of(node)?;
        let said = ward.ask()?;
        said.ensure_code(1)?;
        said.ensure_says(("source.take", "warn", "have to be copied"))?;
        said.ensure_says((
            "space.bytes",
            "fail",
            "less than spool.keep_free (64.0 MiB)",
        ))?;
        fs::write(disk.path().join("filler"), vec![1; 31 << 20])?;
        // The last blocks: until the disk takes no more.
        let mut n = 0;
        while fs::write(disk.path().join(format!("rest-{n}")), vec![1; 64 << 10]).is_ok() {
            n += 1;
        }
        let said = ward.ask()?;
        said.ensure_says(("space.bytes", "fail", "is full"))?;
        Ok(())
    }
}
