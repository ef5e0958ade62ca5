//! Real dumps, real logs and replayed statuses: one crash each, with all that is known of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Lab, now};
use crate::support::agent::{Agent, wait};
use crate::support::kube::{Ended, Mount, Now, PodBuilder, container_id};
use crate::support::readers;

const UID: &str = "29f83447-5763-4bfc-bc67-90e7a1524d07";
const POD: &str = "checkout-7d9f6c5b8-x2x9z";

/// A pod of a Deployment that leaves its dumps where it is told: in the volume `dumps`, below a directory named after the container.
fn pod(lab: &Lab) -> PodBuilder {
    let expression = "$(POD_NAMESPACE)/$(POD_NAME)/api";
    let dumps = lab.node.crash().to_string_lossy().into_owned();
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    PodBuilder::new("shop", POD, UID)
        .owner("ReplicaSet", "checkout-7d9f6c5b8")
        .label("pod-template-hash", "7d9f6c5b8")
        .label("team", "payments")
        .container(
            "api",
            &[Mount::new("host", "/dumps").sub_path_expr(expression)],
        )
        .container_field(
            "api",
            "env",
            json!([
                field("POD_NAMESPACE", "metadata.namespace"),
                field("POD_NAME", "metadata.name")
            ]),
        )
        .container(
            "worker",
            &[Mount::new("dumps", "/dumps").sub_path("worker")],
        )
        .host_path_volume("host", &dumps)
        .empty_dir("dumps")
}

fn running(pod: PodBuilder, container: &str, start: u32) -> PodBuilder {
    pod.status(
        container,
        start,
        Now::running(now(), &container_id(UID, container, start)),
        None,
    )
}

/// The container's start ended so.
fn ended(pod: PodBuilder, container: &str, start: u32, code: i32, at: Timestamp) -> PodBuilder {
    let reason = if code == 137 { "OOMKilled" } else { "Error" };
    let end = Ended::new(code, reason, at, &container_id(UID, container, start));
    pod.status(container, start, Now::Terminated(end), None)
}

/// Makes a directory that any container may write, as the kubelet does.
fn open_directory(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
    Ok(path)
}

fn host_directory(lab: &Lab, container: &str) -> Result<PathBuf> {
    open_directory(lab.node.crash().join("shop").join(POD).join(container))
}

fn volume_directory(lab: &Lab, container: &str) -> Result<PathBuf> {
    open_directory(lab.volume(UID, "dumps").join(container))
}

fn evidence(manifest: &Value) -> Vec<&str> {
    let all = manifest["attribution"]["evidence"].as_array();
    all.into_iter()
        .flatten()
        .filter_map(|one| one["source"].as_str())
        .collect()
}

fn roles(manifest: &Value) -> Vec<&str> {
    let all = manifest["artifacts"].as_array();
    all.into_iter()
        .flatten()
        .filter_map(|one| one["role"].as_str())
        .collect()
}

/// The crash is that of the pod's container, from trusted grounds, and says all that a status says.
fn ensure_known(manifest: &Value, container: &str, start: u32, code: i32) -> Result<()> {
    ensure!(
        manifest["attribution"]["confidence"] == "exact",
        "{manifest:#}"
    );
    ensure!(
        manifest["attribution"]["conflicts"].is_null(),
        "{manifest:#}"
    );
    let pod = &manifest["pod"];
    ensure!(
        pod["namespace"] == "shop" && pod["name"] == POD && pod["uid"] == UID,
        "{manifest:#}"
    );
    ensure!(
        pod["owner"] == json!({"kind": "Deployment", "name": "checkout"}),
        "{manifest:#}"
    );
    ensure!(manifest["exit_code"] == code, "{manifest:#}");
    let told = &manifest["container"];
    ensure!(
        told["name"] == container && told["start_number"] == start,
        "{manifest:#}"
    );
    let id = container_id(UID, container, start);
    ensure!(
        told["id"] == id.trim_start_matches("containerd://"),
        "{manifest:#}"
    );
    ensure!(
        told["image"].is_string() && told["finished_at"].is_string(),
        "{manifest:#}"
    );
    Ok(())
}

/// The log is stored and is these lines.
fn ensure_log(lab: &Lab, manifest: &Value, expected: &str) -> Result<()> {
    let artifacts = manifest["artifacts"].as_array().context("artifacts")?;
    let log = artifacts.iter().find(|artifact| artifact["role"] == "log");
    let log = log.with_context(|| format!("no log: {manifest:#}"))?;
    ensure!(log["format"] == "container-log", "{log:#}");
    let key = log["key"].as_str().context("a key")?;
    let object = lab.node.object(key)?;
    let directory = tempfile::tempdir()?;
    let decoded = directory.path().join("log");
    readers::zstd_decode(&object, &decoded)?;
    let text = fs::read_to_string(decoded)?;
    ensure!(text == expected, "{text}");
    Ok(())
}

fn ensure_metric(agent: &Agent, container: &str, reason: &str) -> Result<()> {
    let name = format!(
        "salvage_crashes_total{{container=\"{container}\",namespace=\"shop\",reason=\"{reason}\",workload=\"Deployment/checkout\"}}"
    );
    let count = agent.metric(&name)?;
    ensure!(count == 1.0, "{name} {count}");
    Ok(())
}

mod kernel_cores {
    use super::*;
    use crate::support::victims::Launch;

    #[test]
    fn a_core_in_a_containers_directory_its_log_and_its_end_are_one_crash() -> Result<()> {
        let lab = Lab::configured("test-node", ", labels: [team]")?;
        lab.server.add(running(pod(&lab), "api", 3).build());
        let lines = lab.log(
            ["shop", POD, UID],
            "api",
            3,
            &["starting", "a line in two parts", "about to crash"],
        )?;
        let agent = lab.start()?;
        let crashed = Launch::compiled("segv")?
            .start_in(&host_directory(&lab, "api")?)?
            .crash()?;
        lab.server
            .modify(ended(pod(&lab), "api", 3, 139, now()).build());
        let manifests = lab.settled(&agent, 1)?;
        let [crash] = manifests.as_slice() else {
            unreachable!("one is waited for")
        };
        ensure_known(crash, "api", 3, 139)?;
        ensure!(
            roles(crash) == ["dump", "log"] && crash["revision"] == 1,
            "{crash:#}"
        );
        ensure!(
            crash["reason"] == "SIGSEGV" && crash["signal"]["number"] == 11,
            "{crash:#}"
        );
        ensure!(
            crash["artifacts"][0]["process"]["pid"] == crashed.facts.pid,
            "{crash:#}"
        );
        let grounds = evidence(crash);
        ensure!(
            grounds.contains(&"layout")
                && grounds.contains(&"mounts")
                && grounds.contains(&"termination"),
            "{crash:#}"
        );
        ensure!(
            crash["pod"]["labels"] == json!([{"key": "team", "value": "payments"}]),
            "{crash:#}"
        );
        ensure_log(&lab, crash, &lines)?;
        ensure_metric(&agent, "api", "SIGSEGV")?;
        let event = lab.server.wait_for_event("CrashCollected", POD)?;
        let note = event["note"].as_str().unwrap_or_default();
        let id = crash["id"].as_str().context("an id")?;
        ensure!(
            note.starts_with("Container api crashed: SIGSEGV (exit code 139). Its dump of"),
            "{note}"
        );
        ensure!(note.ends_with(&format!("salvage get {id}")), "{note}");
        lab.ensure_polite()
    }

    #[test]
    fn a_core_in_a_volume_that_goes_with_its_pod_is_kept() -> Result<()> {
        let lab = Lab::new()?;
        lab.server.add(running(pod(&lab), "worker", 0).build());
        let agent = lab.start()?;
        // Pods come while the agent runs: their volumes are seen at once.
        let directory = volume_directory(&lab, "worker")?;
        Launch::compiled("abort")?.start_in(&directory)?.crash()?;
        agent.wait_for_metric("salvage_pending_dumps", 1.0)?;
        wait("the dump to be taken away", || {
            Ok(fs::read_dir(&directory)?.next().is_none().then_some(()))
        })?;
        // The kubelet removes the tree with the pod, and the pod's end is told last.
        fs::remove_dir_all(lab.node.path(&format!("kubelet/pods/{UID}")))?;
        lab.server.modify(
            ended(pod(&lab), "worker", 0, 134, now())
                .deleted(30)
                .build(),
        );
        lab.server.delete("shop", POD);
        let manifests = lab.settled(&agent, 1)?;
        ensure_known(&manifests[0], "worker", 0, 134)?;
        ensure!(roles(&manifests[0]) == ["dump"], "{:#}", manifests[0]);
        ensure!(manifests[0]["reason"] == "SIGABRT", "{:#}", manifests[0]);
        ensure!(
            evidence(&manifests[0]).contains(&"kubelet path"),
            "{:#}",
            manifests[0]
        );
        lab.ensure_polite()
    }

    mod as_root {
        use super::*;

        /// As every container's first process does: it cannot be ended by its own SIGABRT, traps instead, and is told as a SIGSEGV.
        #[test]
        #[ignore = "needs root and the compiled victims; tests/run provisions them"]
        fn an_abort_of_a_containers_first_process_is_one_crash_with_its_end() -> Result<()> {
            let lab = Lab::new()?;
            lab.server.add(running(pod(&lab), "api", 0).build());
            let agent = lab.start()?;
            // `unshare` ends itself as its child ended, and would leave a core of its own.
            let inner = "ulimit -S -c unlimited; exec \"$0\"";
            let outer = format!(
                "ulimit -S -c 0; exec unshare --pid --fork --kill-child sh -c '{inner}' \"$0\""
            );
            let mut command = std::process::Command::new("sh");
            command.args(["-c", &outer]);
            command.arg(crate::support::victims::compiled("abort")?);
            Launch::command(command)
                .start_in(&host_directory(&lab, "api")?)?
                .crash()?;
            lab.server
                .modify(ended(pod(&lab), "api", 0, 139, now()).build());
            let crash = lab.settled(&agent, 1)?.remove(0);
            ensure_known(&crash, "api", 0, 139)?;
            ensure!(crash["artifacts"][0]["process"]["pid"] == 1, "{crash:#}");
            ensure!(
                crash["reason"] == "SIGABRT" && crash["signal"]["number"] == 11,
                "{crash:#}"
            );
            Ok(())
        }
    }

    #[test]
    fn of_two_workers_that_crash_in_one_start_one_has_its_end() -> Result<()> {
        let lab = Lab::new()?;
        lab.server.add(running(pod(&lab), "api", 0).build());
        let agent = lab.start()?;
        let directory = host_directory(&lab, "api")?;
        for _ in 0..2 {
            Launch::compiled("segv")?.start_in(&directory)?.crash()?;
            // The next one has the same name.
            wait("the dump to be taken away", || {
                Ok(fs::read_dir(&directory)?.next().is_none().then_some(()))
            })?;
        }
        lab.server
            .modify(ended(pod(&lab), "api", 0, 139, now()).build());
        let manifests = lab.settled(&agent, 2)?;
        let with_end = manifests
            .iter()
            .filter(|crash| crash["exit_code"] == 139)
            .count();
        ensure!(with_end == 1, "{manifests:#?}");
        for crash in &manifests {
            ensure!(
                roles(crash) == ["dump"] && crash["attribution"]["confidence"] == "exact",
                "{crash:#}"
            );
        }
        Ok(())
    }

    #[test]
    fn an_end_that_is_told_late_gives_a_stored_dump_a_revision() -> Result<()> {
        let lab = Lab::new()?;
        lab.server.add(running(pod(&lab), "api", 1).build());
        let lines = lab.log(["shop", POD, UID], "api", 1, &["last words"])?;
        let agent = lab.start()?;
        Launch::compiled("segv")?
            .start_in(&host_directory(&lab, "api")?)?
            .crash()?;
        let died = now();
        let first = lab.settled(&agent, 1)?.remove(0);
        ensure!(
            first["revision"] == 1 && first["exit_code"].is_null(),
            "{first:#}"
        );
        lab.server
            .modify(ended(pod(&lab), "api", 1, 139, died).build());
        let second = wait("a revision", || {
            let crash = lab.settled(&agent, 1)?.remove(0);
            Ok((crash["revision"] == 2).then_some(crash))
        })?;
        ensure_known(&second, "api", 1, 139)?;
        ensure!(second["id"] == first["id"] && second["reason"] == first["reason"]);
        ensure!(roles(&second) == ["dump", "log"], "{second:#}");
        ensure_log(&lab, &second, &lines)
    }
}

/// Puts a file there as a heap dump appears: written elsewhere, named at last.
fn leave(directory: &Path, name: &str) -> Result<()> {
    let staged = tempfile::NamedTempFile::new_in(directory)?;
    fs::write(staged.path(), "JAVA PROFILE 1.0.2\0")?;
    staged.persist(directory.join(name))?;
    Ok(())
}

#[test]
fn a_dump_that_comes_after_its_crash_was_stored_without_one_gives_it_a_revision() -> Result<()> {
    let lab = Lab::new()?;
    lab.server.add(running(pod(&lab), "worker", 2).build());
    let agent = lab.start()?;
    let directory = volume_directory(&lab, "worker")?;
    let died = now();
    lab.server
        .modify(ended(pod(&lab), "worker", 2, 137, died).build());
    let first = lab.settled(&agent, 1)?.remove(0);
    ensure!(
        first["missing"] == json!([{"role": "dump", "why": "oom_killed"}]),
        "{first:#}"
    );
    ensure!(
        first["reason"] == "OOMKilled" && first["oom_killed"] == true,
        "{first:#}"
    );
    leave(&directory, "java_pid7.hprof")?;
    let second = wait("a revision", || {
        let crash = lab.settled(&agent, 1)?.remove(0);
        Ok((crash["revision"] == 2).then_some(crash))
    })?;
    ensure_known(&second, "worker", 2, 137)?;
    ensure!(
        second["id"] == first["id"] && second["missing"].is_null(),
        "{second:#}"
    );
    ensure!(
        roles(&second) == ["dump"] && second["reason"] == "OOMKilled",
        "{second:#}"
    );
    // Its key is the one it was stored under, whatever the size is now.
    ensure!(lab.node.crashes()?.len() == 1);
    Ok(())
}

#[test]
fn a_container_that_ends_without_a_dump_is_a_crash_with_its_log() -> Result<()> {
    let lab = Lab::new()?;
    lab.server.add(running(pod(&lab), "api", 0).build());
    let lines = lab.log(
        ["shop", POD, UID],
        "api",
        0,
        &["one", "two parts of a line", "three"],
    )?;
    let agent = lab.start()?;
    lab.server
        .modify(ended(pod(&lab), "api", 0, 3, now()).build());
    let crash = lab.settled(&agent, 1)?.remove(0);
    ensure_known(&crash, "api", 0, 3)?;
    ensure!(
        crash["reason"] == "ExitCode" && roles(&crash) == ["log"],
        "{crash:#}"
    );
    ensure!(
        crash["missing"] == json!([{"role": "dump", "why": "not_written"}]),
        "{crash:#}"
    );
    ensure_log(&lab, &crash, &lines)?;
    let name = "salvage_crashes_without_dump_total{container=\"api\",namespace=\"shop\",why=\"not_written\",workload=\"Deployment/checkout\"}";
    ensure!(agent.metric(name)? == 1.0);
    Ok(())
}

#[test]
fn while_the_api_server_is_away_the_node_says_whose_it_is_and_a_revision_follows() -> Result<()> {
    let lab = Lab::new()?;
    lab.server.add(running(pod(&lab), "worker", 0).build());
    lab.log(["shop", POD, UID], "worker", 0, &["alive"])?;
    lab.server.down()?;
    let agent = lab.node.start()?;
    leave(&volume_directory(&lab, "worker")?, "java_pid7.hprof")?;
    let first = lab.settled(&agent, 1)?.remove(0);
    ensure!(
        first["pod"]["namespace"] == "shop" && first["pod"]["name"] == POD,
        "{first:#}"
    );
    ensure!(
        first["attribution"]["confidence"] == "probable",
        "{first:#}"
    );
    ensure!(evidence(&first).contains(&"log directory"), "{first:#}");
    ensure!(agent.http("/readyz")?.0 == 503);
    lab.server.up()?;
    let second = wait("a revision", || {
        let crash = lab.settled(&agent, 1)?.remove(0);
        Ok((crash["revision"] == 2).then_some(crash))
    })?;
    ensure!(second["attribution"]["confidence"] == "exact", "{second:#}");
    ensure!(
        second["pod"]["owner"] == json!({"kind": "Deployment", "name": "checkout"}),
        "{second:#}"
    );
    ensure!(
        second["container"]["name"] == "worker" && second["id"] == first["id"],
        "{second:#}"
    );
    wait("readiness", || {
        Ok((agent.http("/readyz")?.0 == 200).then_some(()))
    })
}

#[test]
fn where_nobody_mounts_the_directory_a_name_in_the_files_name_is_a_claim() -> Result<()> {
    let mut lab = Lab::new()?;
    let flat = open_directory(lab.node.path("cores"))?;
    lab.node.sources = format!("[{{path: {flat:?}}}]");
    lab.server.add(running(pod(&lab), "api", 0).build());
    let agent = lab.start()?;
    leave(&flat, &format!("core.{POD}.7"))?;
    leave(&flat, "core.somebody-else.8")?;
    let mut crashes = lab.settled(&agent, 2)?;
    crashes.sort_by_key(|crash| crash["pod"].is_null());
    let [claimed, nobodys] = crashes.as_slice() else {
        unreachable!("two are waited for")
    };
    ensure!(
        claimed["pod"]["name"] == POD && claimed["attribution"]["confidence"] == "probable",
        "{claimed:#}"
    );
    ensure!(evidence(claimed).contains(&"file name"), "{claimed:#}");
    ensure!(
        nobodys["pod"].is_null() && nobodys["attribution"]["confidence"] == "unknown",
        "{nobodys:#}"
    );
    let keys: Vec<_> = lab
        .node
        .crashes()?
        .iter()
        .map(|line| line["key"].to_string())
        .collect();
    ensure!(
        keys.iter().any(|key| key.contains("namespace=_unknown")),
        "{keys:?}"
    );
    Ok(())
}

#[test]
fn the_clock_of_the_api_server_may_be_minutes_off() -> Result<()> {
    let lab = Lab::new()?;
    let skewed = now() + SignedDuration::from_mins(3);
    let pod = || pod(&lab).spec("nodeName", json!("test-node"));
    lab.server.add(running(pod(), "worker", 0).build());
    let agent = lab.start()?;
    leave(&volume_directory(&lab, "worker")?, "java_pid7.hprof")?;
    // Deleted at a time that the node has not reached: what ends now was asked to.
    lab.server.modify(
        ended(pod(), "worker", 0, 143, now())
            .deleted_at(skewed, 30)
            .build(),
    );
    let crash = lab.settled(&agent, 1)?.remove(0);
    ensure!(
        crash["exit_code"].is_null() && roles(&crash) == ["dump"],
        "{crash:#}"
    );
    ensure!(crash["attribution"]["confidence"] == "exact", "{crash:#}");
    Ok(())
}

mod dotnet {
    use super::*;
    use crate::support::victims::{Createdump, crash_dotnet};

    #[test]
    #[ignore = "needs a real .NET; tests/run provisions it"]
    fn a_dotnet_crash_in_a_volume_is_one_crash_with_report_log_and_end() -> Result<()> {
        let lab = Lab::new()?;
        lab.server.add(running(pod(&lab), "worker", 5).build());
        let lines = lab.log(
            ["shop", POD, UID],
            "worker",
            5,
            &["Unhandled exception. AppFailure"],
        )?;
        let agent = lab.start()?;
        let dump = Createdump {
            kind: 1,
            name: "%e.%p.dmp".to_owned(),
            crash_report: true,
        };
        crash_dotnet("worker", &dump, &volume_directory(&lab, "worker")?)?;
        lab.server
            .modify(ended(pod(&lab), "worker", 5, 134, now()).build());
        let crash = lab.settled(&agent, 1)?.remove(0);
        ensure_known(&crash, "worker", 5, 134)?;
        ensure!(crash["reason"] == "Exception", "{crash:#}");
        let mut roles = roles(&crash);
        roles.sort_unstable();
        ensure!(roles == ["dump", "log", "report"], "{crash:#}");
        ensure_log(&lab, &crash, &lines)?;
        ensure_metric(&agent, "worker", "Exception")
    }
}
