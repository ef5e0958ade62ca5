//! An API server that refuses, hangs, lies or is gone: it is asked politely, said once, and shipping goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Lab, now};
use crate::support::agent::{Agent, wait};
use crate::support::kube::{Call, Ended, Fault, Mount, Now, PodBuilder, container_id};

fn uid(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

fn pod(n: usize) -> PodBuilder {
    let running = Now::running(now(), &container_id(&uid(n), "app", 0));
    PodBuilder::new("shop", &format!("worker-{n}"), &uid(n))
        .container("app", &[Mount::new("dumps", "/dumps").sub_path("app")])
        .empty_dir("dumps")
        .status("app", 0, running, None)
}

/// Ended so that no dump is waited for.
fn crashed(n: usize) -> PodBuilder {
    let end = Ended::new(137, "OOMKilled", now(), &container_id(&uid(n), "app", 0));
    pod(n).status("app", 0, Now::Terminated(end), None)
}

fn leave_dump(lab: &Lab, n: usize) -> Result<()> {
    let directory = lab.volume(&uid(n), "dumps").join("app");
    fs::create_dir_all(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777))?;
    fs::write(directory.join("core"), format!("what {n} left"))?;
    Ok(())
}

/// The watch works: a container's end becomes a crash.
fn ensure_watching(lab: &Lab, agent: &Agent, n: usize, crashes: usize) -> Result<()> {
    lab.server.add(pod(n).build());
    lab.server.modify(crashed(n).build());
    lab.settled(agent, crashes)?;
    Ok(())
}

#[test]
fn a_refusal_is_said_once_with_what_to_allow_and_dumps_are_shipped() -> Result<()> {
    let lab = Lab::new()?;
    lab.server.fault(Call::List, Fault::Forbidden);
    let agent = lab.node.start()?;
    let line = agent.logged(
        "pods cannot be watched; dumps are stored with what the node knows, and it is tried again",
    )?;
    let why = line["why"].as_str().unwrap_or_default().to_owned();
    ensure!(
        why.contains("forbids to list pods") && why.contains("allow list and watch of pods"),
        "{why}"
    );
    let (status, said) = agent.http("/readyz")?;
    ensure!(
        status == 503 && said.contains("forbids to list pods"),
        "{said}"
    );
    leave_dump(&lab, 1)?;
    let crash = lab.settled(&agent, 1)?.remove(0);
    ensure!(crash["attribution"]["confidence"] == "unknown", "{crash:#}");
    ensure!(agent.metric("salvage_kube_watch_errors_total")? >= 1.0);
    lab.server
        .wait_until("some refusals", |server| server.lists() >= 3)?;
    lab.server.healthy();
    wait("readiness", || {
        Ok((agent.http("/readyz")?.0 == 200).then_some(()))
    })?;
    ensure_watching(&lab, &agent, 2, 2)
}

#[test]
fn a_watch_that_is_refused_later_is_said_too() -> Result<()> {
    let lab = Lab::new()?;
    lab.server.fault(Call::Watch, Fault::Forbidden);
    let agent = lab.node.start()?;
    let line = agent.logged(
        "pods cannot be watched; dumps are stored with what the node knows, and it is tried again",
    )?;
    ensure!(
        line["why"]
            .as_str()
            .is_some_and(|why| why.contains("forbids to watch pods")),
        "{line}"
    );
    lab.server.healthy();
    lab.server.wait_until_watched()?;
    ensure_watching(&lab, &agent, 1, 1)
}

#[test]
fn whatever_the_api_server_answers_is_survived_and_not_hammered() -> Result<()> {
    let faults: [(&str, Call, Fault); 12] = [
        ("garbage for a list", Call::List, Fault::Garbage),
        ("half a list", Call::List, Fault::Truncated),
        ("a broken list", Call::List, Fault::Broken),
        ("an error for a list", Call::List, Fault::Status(500)),
        (
            "no room for a list",
            Call::List,
            Fault::TooManyRequests(Some(1)),
        ),
        ("no credentials for a list", Call::List, Fault::Unauthorized),
        ("garbage for a watch", Call::Watch, Fault::Garbage),
        ("an end for a watch", Call::Watch, Fault::Empty),
        ("a broken watch", Call::Watch, Fault::Broken),
        (
            "a version forgotten, as an event",
            Call::Watch,
            Fault::GoneEvent,
        ),
        (
            "a version forgotten, as an answer",
            Call::Watch,
            Fault::Status(410),
        ),
        (
            "objects of another kind",
            Call::Watch,
            Fault::WrongKind("Secret"),
        ),
    ];
    let lab = Lab::new()?;
    let agent = lab.start()?;
    for (n, (what, call, fault)) in faults.into_iter().enumerate() {
        lab.server.forget_requests();
        lab.server.fault_for(Duration::from_secs(1), call, fault);
        if call == Call::List {
            // The watch sends it there.
            lab.server.fault_times(1, Call::Watch, Fault::GoneEvent);
        }
        lab.server.cut(crate::support::kube::Cut::Clean);
        let began = Instant::now();
        ensure_watching(&lab, &agent, n, n + 1).map_err(|error| error.context(what))?;
        let asked = lab.server.lists() + lab.server.watches();
        let seconds = began.elapsed().as_secs();
        println!("{what}: {asked} requests in {seconds} s");
        // Eight at once and one a second.
        ensure!(
            asked as u64 <= 10 + seconds,
            "{what}: {asked} requests in {seconds} s"
        );
        lab.server.healthy();
    }
    lab.ensure_polite()
}

#[test]
fn a_pods_secrets_reach_no_log_whatever_cannot_be_read() -> Result<()> {
    let lab = Lab::new()?;
    let secret = "hunter2-of-the-environment";
    let with_secret =
        pod(1).container_field("app", "env", json!([{"name": "PASSWORD", "value": secret}]));
    lab.server.add(with_secret.build());
    lab.server.fault_times(3, Call::List, Fault::Truncated);
    let mut agent = lab.node.start()?.ready()?;
    agent.process().signal(rustix::process::Signal::TERM)?;
    agent.process().wait()?;
    let said = agent.process().to_string();
    ensure!(
        said.contains("pods cannot be watched") && !said.contains(secret),
        "{said}"
    );
    Ok(())
}

#[test]
fn strange_pods_hide_no_other() -> Result<()> {
    let lab = Lab::new()?;
    let statuses: Vec<_> = (0..3_000)
        .map(|n| json!({"name": format!("c{n}"), "restartCount": n}))
        .collect();
    let strange = [
        json!({"metadata": {"name": "bare", "namespace": "odd", "uid": "bare-uid"}}),
        json!({"metadata": {"name": "nulls", "namespace": "odd", "uid": "nulls-uid", "labels": null, "annotations": null}, "spec": null, "status": null}),
        json!({"metadata": {"name": "annotated", "namespace": "odd", "uid": "annotated-uid", "annotations": {"a": "x".repeat(250 << 10)}}}),
        json!({"metadata": {"name": "many", "namespace": "odd", "uid": "many-uid"}, "status": {"containerStatuses": statuses}}),
        json!({"metadata": {"name": "types", "namespace": "odd", "uid": "types-uid", "labels": [1], "creationTimestamp": 7}, "spec": {"containers": "none"}, "status": [1, 2]}),
        json!({"metadata": {"name": "path", "namespace": "odd", "uid": "../../../etc"}, "status": {"containerStatuses": [{"name": "x", "restartCount": 4_000_000_000u64}]}}),
    ];
    for pod in strange {
        lab.server.add(pod);
    }
    let agent = lab.start()?;
    ensure_watching(&lab, &agent, 1, 1)?;
    ensure!(agent.metric("salvage_kube_watch_errors_total")? == 0.0);
    Ok(())
}

#[test]
fn events_that_are_refused_are_counted_and_nothing_else() -> Result<()> {
    let lab = Lab::new()?;
    lab.server.fault(Call::PostEvent, Fault::Forbidden);
    let agent = lab.start()?;
    ensure_watching(&lab, &agent, 1, 1)?;
    agent.wait_for_metric("salvage_kube_events_total{outcome=\"failed\"}", 1.0)?;
    ensure!(lab.server.events().is_empty());
    Ok(())
}

#[test]
fn a_pod_that_crashes_all_the_time_gets_few_events() -> Result<()> {
    let lab = Lab::new()?;
    lab.server.add(pod(1).build());
    let agent = lab.start()?;
    for start in 0..6 {
        let end = Ended::new(3, "Error", now(), &container_id(&uid(1), "app", start));
        lab.server.modify(
            pod(1)
                .status("app", start, Now::Terminated(end), None)
                .build(),
        );
    }
    lab.settled(&agent, 6)?;
    agent.wait_for_metric("salvage_kube_events_total{outcome=\"limited\"}", 3.0)?;
    ensure!(lab.server.events().len() == 3, "{:#?}", lab.server.events());
    Ok(())
}

#[test]
fn two_hundred_and_fifty_large_pods_take_less_than_20_mib() -> Result<()> {
    const MOST: u64 = 20 << 20;
    let alone = Lab::new()?;
    let bare = alone.start()?.peak_memory()?;
    let lab = Lab::new()?;
    for n in 0..250 {
        lab.server.add(pod(n).large().build());
    }
    let agent = lab.start()?;
    ensure_watching(&lab, &agent, 1_000, 1)?;
    let full = agent.peak_memory()?;
    println!("memory: {bare} bytes without pods, {full} with 250 large ones");
    ensure!(
        full.saturating_sub(bare) < MOST,
        "{bare} bytes without pods, {full} with"
    );
    Ok(())
}
