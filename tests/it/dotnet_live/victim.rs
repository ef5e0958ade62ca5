//! What the tests rely on in their own program and their container.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::on_each;
use crate::support::container::{Dotnet, Launch, USER};

/// A memory cgroup of cgroup v1, removed when dropped.
struct Cgroup(PathBuf);

impl Drop for Cgroup {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).ok();
    }
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_container_has_a_user_without_rights_and_nothing_of_the_hosts_temp_directory() -> Result<()> {
    on_each(
        |launch| launch.orders(10),
        |container| {
            let status = fs::read_to_string(format!("/proc/{}/status", container.pid()))?;
            ensure!(
                status.contains(&format!("Uid:\t{USER}\t{USER}\t{USER}\t{USER}")),
                "{status}"
            );
            for set in ["CapPrm", "CapEff", "CapBnd"] {
                ensure!(
                    status.contains(&format!("{set}:\t0000000000000000")),
                    "{status}"
                );
            }
            ensure!(fs::metadata(container.path("/tmp"))?.is_dir());
            ensure!(
                !container
                    .path("/tmp")
                    .join(std::env::current_exe()?.file_name().context("a name")?)
                    .exists()
            );
            Ok(())
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_program_leaks_on_demand_in_the_cgroup_that_it_was_given() -> Result<()> {
    let directory = PathBuf::from(format!(
        "/sys/fs/cgroup/memory/salvage-victim-{}",
        std::process::id()
    ));
    fs::create_dir(&directory).context("needs cgroup v1 with its memory controller")?;
    let cgroup = Cgroup(directory.clone());
    let mut container = Launch::of(Dotnet::Net8).cgroup(&directory).start()?;
    let members = fs::read_to_string(directory.join("cgroup.procs"))?;
    ensure!(
        members
            .lines()
            .any(|pid| pid == container.pid().to_string()),
        "{members}"
    );
    let usage = || -> Result<u64> {
        Ok(fs::read_to_string(directory.join("memory.usage_in_bytes"))?
            .trim()
            .parse()?)
    };
    let before = usage()?;
    container.leak(50)?;
    container.wait_until("it has 40 MB more", |_| Ok(usage()? > before + 40_000_000))?;
    container.ensure_alive()?;
    container.process().signal(Signal::KILL)?;
    drop(container);
    // Its members end a moment after their namespace.
    while fs::read_to_string(directory.join("cgroup.procs"))?
        .lines()
        .next()
        .is_some()
    {
        std::thread::yield_now();
    }
    drop(cgroup);
    ensure!(!directory.exists());
    Ok(())
}
