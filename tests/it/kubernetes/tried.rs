//! `salvage crash-test`, as the chart's test pod runs it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};

use super::{Lab, pod_with_volume, uid};
use crate::support::agent::SALVAGE;
use crate::support::kube::{Call, Fault};

fn crash_test(lab: &Lab, dir: &Path, wait: &str) -> Result<Output> {
    Ok(Command::new(SALVAGE)
        .args(["crash-test", "--wait", wait, "--dir"])
        .arg(dir)
        .env("SALVAGE_POD_NAMESPACE", "salvage")
        .env("SALVAGE_POD_UID", uid("tester"))
        .envs(lab.node.env.iter().cloned())
        .output()?)
}

fn tester(lab: &Lab) -> Result<std::path::PathBuf> {
    lab.server.add(pod_with_volume("salvage", "tester").build());
    let volume = lab.volume(&uid("tester"), "dumps").join("app");
    fs::create_dir_all(&volume)?;
    Ok(volume)
}

#[test]
fn a_crash_in_a_pod_is_stored_and_told() -> Result<()> {
    let lab = Lab::new()?;
    let volume = tester(&lab)?;
    let agent = lab.start()?;
    for round in 1..=2 {
        let output = crash_test(&lab, &volume, "60s")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "round {round}: {output:?}");
        ensure!(said.starts_with("Container app crashed: "), "{said}");
        ensure!(said.contains(" is stored. salvage get "), "{said}");
    }
    let manifests = lab.settled(&agent, 2)?;
    ensure!(
        manifests
            .iter()
            .all(|crash| crash["attribution"]["confidence"] == "exact"),
        "{manifests:#?}"
    );
    ensure!(
        fs::read_dir(&volume)?.next().is_none(),
        "the dump is still there"
    );
    Ok(())
}

#[test]
fn where_no_agent_takes_the_dump_the_test_says_so() -> Result<()> {
    let lab = Lab::new()?;
    let volume = tester(&lab)?;
    let output = crash_test(&lab, &volume, "1s")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(2), "{output:?}");
    ensure!(said.contains("after 1s the dump is still in"), "{said}");
    Ok(())
}

#[test]
fn a_service_account_that_may_not_list_events_is_named_before_anything_crashes() -> Result<()> {
    let lab = Lab::new()?;
    let volume = tester(&lab)?;
    lab.server.fault(Call::Other, Fault::Forbidden);
    let output = crash_test(&lab, &volume, "1s")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(2), "{output:?}");
    ensure!(
        said.contains("needs to list events of events.k8s.io"),
        "{said}"
    );
    ensure!(fs::read_dir(&volume)?.next().is_none(), "something crashed");
    Ok(())
}
