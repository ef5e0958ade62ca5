//! The API server goes away and comes back: what was decided without it is said anew, and whoever opted out is not forgotten.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Lab, now, pod_with_volume, uid};
use crate::support::agent::wait;
use crate::support::kube::{Call, Cut, Ended, Fault, Mount, Now, PodBuilder, container_id};

fn pod(name: &str) -> PodBuilder {
    pod_with_volume("shop", name)
}

fn ended(name: &str) -> Value {
    let end = Ended::new(139, "Error", now(), &container_id(&uid(name), "app", 0));
    pod(name)
        .status("app", 0, Now::Terminated(end), None)
        .build()
}

fn leave(lab: &Lab, name: &str) -> Result<()> {
    let directory = lab.volume(&uid(name), "dumps").join("app");
    fs::create_dir_all(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777))?;
    fs::write(directory.join("core"), format!("what {name} left"))?;
    Ok(())
}

/// The one crash of this pod, when it is as is wanted.
fn crash_of(lab: &Lab, name: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    wait("the crash as it is wanted", || {
        let all = lab.manifests()?;
        Ok(all
            .into_iter()
            .find(|crash| crash["pod"]["name"] == name && wanted(crash)))
    })
    .with_context(|| format!("{:#?}", lab.manifests()))
}

#[test]
fn a_pod_that_came_while_the_api_server_was_away_is_known_when_the_watch_goes_on() -> Result<()> {
    let lab = Lab::new()?;
    lab.server.add(pod("old").build());
    let agent = lab.start()?;
    lab.server.down()?;
    // A pod that the agent has not heard of crashes and ends meanwhile.
    lab.log(["shop", "new", &uid("new")], "app", 0, &["last words"])?;
    leave(&lab, "new")?;
    // It ended when its dump did, however long the rest takes.
    let (new, ended) = (pod("new").build(), ended("new"));
    let first = crash_of(&lab, "new", |crash| crash["revision"] == 1)?;
    ensure!(
        first["attribution"]["confidence"] == "probable",
        "{first:#}"
    );
    lab.server.add(new).modify(ended);
    let lists = lab.server.lists();
    lab.server.up()?;
    let last = crash_of(&lab, "new", |crash| {
        crash["pod"]["owner"].is_object() && crash["exit_code"] == 139
    })?;
    ensure!(
        last["attribution"]["confidence"] == "exact" && last["id"] == first["id"],
        "{last:#}"
    );
    ensure!(
        lab.server.lists() == lists,
        "the watch went on without a list"
    );
    lab.settled(&agent, 1)?;
    lab.ensure_polite()
}

#[test]
fn who_opted_out_is_remembered_when_the_api_server_cannot_be_asked() -> Result<()> {
    let lab = Lab::new()?;
    let out = pod("out").annotation("salvage.dev/collect", "False");
    lab.server.add(out.build());
    lab.start()?.stop()?;
    lab.log(["shop", "out", &uid("out")], "app", 0, &["alive"])?;
    lab.server.down()?;
    let agent = lab.node.start()?;
    leave(&lab, "out")?;
    // Its volume may go with it, so the dump is taken; it is not stored.
    agent.wait_for_metric("salvage_held_dumps", 1.0)?;
    lab.server.up()?;
    agent.wait_for_metric("salvage_dumps_suppressed_total{why=\"not_selected\"}", 1.0)?;
    ensure!(lab.node.crashes()?.is_empty(), "{:#?}", lab.manifests());
    Ok(())
}

#[test]
fn a_dump_of_who_is_not_collected_from_stays_where_it_is_over_a_start_of_the_agent() -> Result<()> {
    let lab = Lab::configured("test-node", ", selection: {exclude_namespaces: [shop]}")?;
    let dumps = lab.node.crash().to_string_lossy().into_owned();
    let mounting = PodBuilder::new("shop", "left", &uid("left"))
        .container(
            "app",
            &[Mount::new("host", "/dumps").sub_path("shop/left/app")],
        )
        .host_path_volume("host", &dumps);
    lab.server.add(mounting.build());
    let directory = lab.node.crash().join("shop/left/app");
    fs::create_dir_all(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777))?;
    fs::write(directory.join("core"), "what left left")?;
    // The first scan comes long before the first list.
    lab.server.fault_times(2, Call::List, Fault::Status(500));
    let agent = lab.node.start()?.ready()?;
    agent.wait_for_metric("salvage_source_errors_total{kind=\"not_selected\"}", 1.0)?;
    ensure!(fs::read(directory.join("core"))? == b"what left left");
    ensure!(agent.metric("salvage_pending_dumps")? == 0.0);
    Ok(())
}

#[test]
fn an_end_that_is_told_while_its_dump_is_long_on_its_way_is_one_crash_with_it() -> Result<()> {
    use crate::s3::node_for;
    use crate::support::s3::S3Server;
    let store = S3Server::start();
    let node = node_for(&store)?;
    let kubelet = node.path("kubelet");
    let lab = Lab::on(node, "test-node", &kubelet, "")?;
    lab.server.add(pod("slow").build());
    let agent = lab.start()?;
    // Longer than a death waits for a dump: the store takes nothing.
    store.throttle(Some(1));
    leave(&lab, "slow")?;
    agent.wait_for_metric("salvage_pending_dumps", 1.0)?;
    lab.server.modify(ended("slow"));
    let counted = || -> Result<u64> { Ok(super::counted(&agent)?.values().sum()) };
    wait("the crash to be counted", || {
        Ok((counted()? == 1).then_some(()))
    })?;
    // Another one's death shows that the time is over: it was told later and waited as long.
    lab.server.add(pod("other").build()).modify(ended("other"));
    wait("both to be counted", || Ok((counted()? == 2).then_some(())))?;
    store.healthy();
    lab.settled(&agent, 2)?;
    let slow = crash_of(&lab, "slow", |crash| crash["exit_code"] == 139)?;
    ensure!(
        slow["artifacts"][0]["role"] == "dump" && slow["missing"].is_null(),
        "{slow:#}"
    );
    ensure!(counted()? == 2, "counted {} times", counted()?);
    Ok(())
}

#[test]
fn a_watch_that_is_cut_and_delayed_loses_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let agent = lab.start()?;
    let delay = Fault::Delay(std::time::Duration::from_millis(300));
    lab.server.fault(Call::Any, delay);
    for (n, cut) in [Cut::Clean, Cut::Broken, Cut::MidLine]
        .into_iter()
        .enumerate()
    {
        let name = format!("p{n}");
        lab.server.add(pod(&name).build());
        lab.server.cut(cut);
        lab.server.modify(ended(&name));
    }
    let crashes = lab.settled(&agent, 3)?;
    ensure!(
        crashes.iter().all(|crash| crash["exit_code"] == 139),
        "{crashes:#?}"
    );
    ensure!(lab.server.lists() == 1);
    Ok(())
}
