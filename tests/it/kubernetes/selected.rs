//! Who is not collected from is not, also where nobody knows who it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::{Lab, now, pod_with_volume as pod, uid};
use crate::support::agent::wait;
use crate::support::kube::{Ended, Now, PodBuilder, container_id};

fn ended(pod: PodBuilder, name: &str) -> PodBuilder {
    let end = Ended::new(139, "Error", now(), &container_id(&uid(name), "app", 0));
    pod.status("app", 0, Now::Terminated(end), None)
}

/// Leaves a dump in the pod's volume.
fn leave(lab: &Lab, name: &str) -> Result<PathBuf> {
    let directory = lab.volume(&uid(name), "dumps").join("app");
    fs::create_dir_all(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777))?;
    let file = directory.join("core");
    fs::write(&file, format!("what {name} left"))?;
    Ok(file)
}

#[test]
fn who_opted_out_keeps_its_dumps_and_has_no_crash() -> Result<()> {
    let lab = Lab::new()?;
    let out = || pod("shop", "out").annotation("salvage.dev/collect", "false");
    lab.server.add(out().build()).add(pod("shop", "in").build());
    let agent = lab.start()?;
    let kept = leave(&lab, "out")?;
    leave(&lab, "in")?;
    lab.server.modify(ended(out(), "out").build());
    lab.server.modify(ended(pod("shop", "in"), "in").build());
    let crash = lab.settled(&agent, 1)?.remove(0);
    ensure!(crash["pod"]["name"] == "in", "{crash:#}");
    agent.wait_for_metric("salvage_source_errors_total{kind=\"not_selected\"}", 1.0)?;
    ensure!(fs::read(&kept)? == b"what out left");
    ensure!(super::counted(&agent)?.values().sum::<u64>() == 1);
    Ok(())
}

#[test]
fn only_the_namespaces_that_are_named_are_collected_from() -> Result<()> {
    let selection = ", selection: {namespaces: [shop, bank], exclude_namespaces: [bank]}";
    let lab = Lab::configured("test-node", selection)?;
    for (namespace, name) in [("shop", "a"), ("bank", "b"), ("other", "c")] {
        lab.server.add(pod(namespace, name).build());
    }
    let agent = lab.start()?;
    let kept = [leave(&lab, "b")?, leave(&lab, "c")?];
    leave(&lab, "a")?;
    for (namespace, name) in [("other", "c"), ("bank", "b"), ("shop", "a")] {
        lab.server.modify(ended(pod(namespace, name), name).build());
    }
    let crash = lab.settled(&agent, 1)?.remove(0);
    ensure!(crash["pod"]["name"] == "a", "{crash:#}");
    agent.wait_for_metric("salvage_source_errors_total{kind=\"not_selected\"}", 2.0)?;
    ensure!(kept.iter().all(|file| file.is_file()));
    Ok(())
}

#[test]
fn with_a_selection_a_dump_of_nobody_known_is_held_until_its_pod_is() -> Result<()> {
    let lab = Lab::configured("test-node", ", selection: {pods: {matchLabels: {team: a}}}")?;
    let agent = lab.start()?;
    leave(&lab, "late")?;
    leave(&lab, "never")?;
    agent.wait_for_metric("salvage_pending_dumps", 2.0)?;
    // Longer than anything else is waited for: a sentinel's crash comes and goes meanwhile.
    let sentinel = || pod("shop", "sentinel").label("team", "a");
    lab.server.add(sentinel().build());
    lab.server.modify(ended(sentinel(), "sentinel").build());
    wait("the sentinel", || {
        Ok((lab.node.crashes()?.len() == 1).then_some(()))
    })?;
    ensure!(agent.metric("salvage_pending_dumps")? == 2.0);
    lab.server
        .add(pod("shop", "late").label("team", "a").build());
    lab.server
        .add(pod("shop", "never").label("team", "b").build());
    wait("the one that is selected", || {
        Ok((lab.node.crashes()?.len() == 2).then_some(()))
    })?;
    agent.wait_for_metric("salvage_dumps_suppressed_total{why=\"not_selected\"}", 1.0)?;
    let names: Vec<_> = lab
        .settled(&agent, 2)?
        .into_iter()
        .map(|crash| crash["pod"]["name"].clone())
        .collect();
    ensure!(
        names.contains(&"late".into()) && !names.contains(&"never".into()),
        "{names:?}"
    );
    Ok(())
}

#[test]
fn a_log_that_its_pod_keeps_for_itself_is_not_stored() -> Result<()> {
    let lab = Lab::new()?;
    let quiet = || pod("shop", "quiet").annotation("salvage.dev/log", "false");
    lab.server.add(quiet().build());
    lab.log(["shop", "quiet", &uid("quiet")], "app", 0, &["a secret"])?;
    let agent = lab.start()?;
    lab.server.modify(ended(quiet(), "quiet").build());
    let crash = lab.settled(&agent, 1)?.remove(0);
    ensure!(
        crash["artifacts"].as_array().is_none_or(Vec::is_empty),
        "{crash:#}"
    );
    Ok(())
}
