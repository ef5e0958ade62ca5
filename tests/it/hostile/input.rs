//! Files that are no dumps, dumps with odd names, and planted things: left or stored, counted, and in nobody's way.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};

use super::{noise, passed_over, wait_for_dumps, wait_until_passed_over};
use crate::support::agent::Node;

#[test]
fn a_name_that_no_log_could_show_is_stored_and_escaped() -> Result<()> {
    let node = Node::new()?;
    let agent = node.start()?.ready()?;
    let (dump, name) = (noise(1, 5_000), b"line\nbreak\xff\xfe\x1b[2J.core");
    fs::write(node.crash().join(OsStr::from_bytes(name)), &dump)?;
    let stored = wait_for_dumps(&node, &agent, &[dump])?;
    let original = stored[0].original_name();
    ensure!(
        original.starts_with("line\\nbreak") && original.ends_with("[2J.core"),
        "{original}"
    );
    ensure!(!original.chars().any(char::is_control), "{original}");
    agent.stop()
}

#[test]
fn what_is_no_dump_is_left_and_counted_once() -> Result<()> {
    let node = Node::new()?;
    let at = |name: &str| node.crash().join(name);
    File::create(at("empty"))?;
    File::create(at("huge"))?.set_len(1 << 40)?;
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RWXU)?;
    symlink("/etc/shadow", at("shadow"))?;
    fs::write(node.path("elsewhere"), b"not yours")?;
    fs::hard_link(node.path("elsewhere"), at("linked"))?;
    let agent = node.start()?.ready()?;
    let kinds = ["empty", "too_large", "special_file", "symlink", "hard_link"];
    for kind in kinds {
        wait_until_passed_over(&agent, kind, 1.0)?;
    }
    // Real dumps beside them are stored, and each of them is a further scan.
    let dumps: Vec<Vec<u8>> = (0..5).map(|n| noise(n, 10_000)).collect();
    for (n, dump) in dumps.iter().enumerate() {
        fs::write(at(&format!("core.{n}")), dump)?;
        wait_for_dumps(&node, &agent, &dumps[..=n])?;
    }
    for kind in kinds {
        ensure!(passed_over(&agent, kind)? == 1.0, "{kind} counted again");
    }
    for name in ["empty", "huge", "fifo", "shadow", "linked"] {
        ensure!(fs::symlink_metadata(at(name)).is_ok(), "{name} was taken");
    }
    ensure!(fs::read(node.path("elsewhere"))? == b"not yours");
    // What was empty is a dump once something is in it.
    let grown = noise(77, 3_000);
    OpenOptions::new()
        .append(true)
        .open(at("empty"))?
        .write_all(&grown)?;
    let mut all = dumps;
    all.push(grown);
    wait_for_dumps(&node, &agent, &all)?;
    agent.stop()
}

#[test]
fn a_planted_holding_directory_is_not_touched() -> Result<()> {
    let planted: [fn(&std::path::Path) -> std::io::Result<()>; 3] = [
        |path| fs::write(path, b"a file"),
        |path| symlink("/etc", path),
        |path| {
            fs::create_dir(path)?;
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
            fs::write(path.join("inside"), b"planted")
        },
    ];
    for plant in planted {
        let node = Node::new()?;
        let path = node.crash().join(".salvage");
        plant(&path)?;
        let agent = node.start()?.ready()?;
        let dump = noise(3, 4_000);
        fs::write(node.crash().join("core"), &dump)?;
        wait_for_dumps(&node, &agent, &[dump])?;
        ensure!(fs::symlink_metadata(&path).is_ok());
        if path.is_dir() && !path.is_symlink() {
            ensure!(fs::read(path.join("inside"))? == b"planted");
        }
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn events_by_the_thousand_hide_no_dump() -> Result<()> {
    let node = Node::new()?;
    let agent = node.start()?.ready()?;
    // More than the kernel's queue of 16,384 holds.
    for n in 0..20_000 {
        let path = node.crash().join(format!("flood.{}", n % 50));
        File::create(&path)?;
        fs::remove_file(&path)?;
    }
    let dump = noise(5, 50_000);
    fs::write(node.crash().join("core"), &dump)?;
    wait_for_dumps(&node, &agent, &[dump])?;
    agent.stop()
}

mod as_root {
    use std::process::Command;
    use std::time::Instant;

    use super::super::command_as;
    use super::*;
    use crate::support::agent::Agent;
    use crate::support::process::Process;

    /// Users that nobody is.
    const UID: u32 = 64_321;
    const OTHER_UID: u32 = 64_322;

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn an_agent_without_privileges_names_the_directory_it_may_not_read() -> Result<()> {
        let mut node = Node::new()?;
        node.sources = format!(
            "[{{path: {:?}, layout: '{{namespace}}/{{pod}}/{{container}}'}}]",
            node.crash()
        );
        node.more.push_str("\nsettle: {quiet_period: 1s}");
        let command = command_as(&node, UID)?;
        let locked = node.crash().join("locked");
        fs::create_dir(&locked)?;
        fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        fs::write(locked.join("core"), b"not to be reached")?;
        let agent = Agent::start(command)?.ready()?;
        wait_until_passed_over(&agent, "unreadable", 1.0)?;
        let dump = noise(1, 10_000);
        fs::write(node.crash().join("core"), &dump)?;
        wait_for_dumps(&node, &agent, &[dump])?;
        ensure!(locked.join("core").exists());
        agent.stop()
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn without_inotify_dumps_are_found_by_looking() -> Result<()> {
        let mut node = Node::new()?;
        node.more.push_str("\nsettle: {quiet_period: 1s}");
        // Takes every instance that this user may have, and keeps them.
        let hog = "import ctypes, os, sys\nos.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))\nlibc = ctypes.CDLL(None)\nn = 0\nwhile libc.inotify_init1(0o2000000) >= 0: n += 1\nprint('ready', n, flush=True)\nsys.stdin.readline()";
        let mut command = Command::new("python3");
        command.args(["-c", hog, &OTHER_UID.to_string()]);
        let hog = Process::start(command)?;
        hog.line_with("ready")?;
        let agent = Agent::start(command_as(&node, OTHER_UID)?)?.ready()?;
        wait_until_passed_over(&agent, "watch_limit", 1.0)?;
        let (dump, began) = (noise(1, 10_000), Instant::now());
        fs::write(node.crash().join("core"), &dump)?;
        wait_for_dumps(&node, &agent, &[dump])?;
        println!(
            "found without inotify and stored after {:?}",
            began.elapsed()
        );
        agent.stop()
    }
}
