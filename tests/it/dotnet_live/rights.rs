//! With the rights that the chart gives an agent, and with less.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use salvage::dotnet::find::{self, Found, Needs};
use salvage::dotnet::{self, How, Limits};
use salvage::model::DumpType;

use super::on_each;
use crate::support::container::{Dotnet, Launch};

/// Those of the chart when captures are on.
const OF_AN_AGENT: CapabilitySet = CapabilitySet::DAC_READ_SEARCH
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::LEASE)
    .union(CapabilitySet::SYS_PTRACE);

/// Does it on a thread that has these rights and no other; those of the other threads stay.
fn with<T: Send>(rights: CapabilitySet, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            let mut sets = capabilities(None)?;
            sets.effective = rights;
            set_capabilities(None, sets)?;
            work()
        });
        working.join().expect("no panic")
    })
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_dump_needs_no_more_than_an_agent_has() -> Result<()> {
    on_each(
        |launch| launch,
        |container| {
            let pid = container.pid();
            let dumped = with(OF_AN_AGENT, || {
                let proc = Path::new("/proc");
                let target = find::inspect(proc, &find::process(proc, pid)?).target(pid)?;
                let never = AtomicBool::new(false);
                let limits = Limits {
                    deadline: Instant::now() + Duration::from_secs(60),
                    max_bytes: 1 << 30,
                    cancelled: &never,
                };
                Ok(dotnet::dump(
                    &target,
                    DumpType::Mini,
                    &limits,
                    &mut Vec::new(),
                    &mut |_| Ok(()),
                )?)
            })?;
            ensure!(
                dumped.how == How::Fifo && dumped.bytes > 1 << 20,
                "{dumped:?}"
            );
            Ok(())
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_right_that_is_missing_is_named() -> Result<()> {
    let mut container = Launch::of(Dotnet::Net8).start()?;
    let pid = container.pid();
    for (missing, expected) in [
        (CapabilitySet::SYS_PTRACE, Needs::SysPtrace),
        (CapabilitySet::DAC_OVERRIDE, Needs::DacOverride),
    ] {
        with(OF_AN_AGENT.difference(missing), || {
            let proc = Path::new("/proc");
            let found = find::inspect(proc, &find::process(proc, pid)?);
            ensure!(
                matches!(found, Found::Denied { needs, .. } if needs == expected),
                "{expected:?}: {found:?}"
            );
            let error = found.target(pid).err().context("denied")?;
            ensure!(
                error.reason() == "PermissionDenied" && error.to_string().contains(expected.name()),
                "{error}"
            );
            Ok(())
        })?;
    }
    container.ensure_alive()
}
