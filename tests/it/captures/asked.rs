//! What is asked for and by whom: what cannot be is said precisely, and what can be is done once.

use std::fs;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Cgroup, Field, NAMESPACE, POD, Running, any_uid, pod};
use crate::support::container::{Dotnet, Launch};
use crate::support::kube::{Call, Cut, Fault, container_id};

/// A process that is none of .NET, in a container's control group.
struct Sleeper(
    Child,
    #[expect(dead_code, reason = "it goes after the process")] Cgroup,
);

impl Sleeper {
    fn in_pod(field: &Field) -> Result<Self> {
        let uid = any_uid();
        let id = container_id(&uid, "app", 0);
        let cgroup = Cgroup::of_container(&uid, &id, None)?;
        let child = Command::new("sleep")
            .arg("600")
            .stdin(Stdio::null())
            .spawn()?;
        fs::write(cgroup.path.join("cgroup.procs"), child.id().to_string())?;
        field.lab.server.add(pod(&uid, &id).build());
        Ok(Self(child, cgroup))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

mod as_root {
    use super::*;

    #[test]
    #[ignore = "needs root"]
    fn a_container_without_dotnet_is_told_so_at_the_object_and_at_the_terminal() -> Result<()> {
        let field = Field::new()?;
        let _sleeper = Sleeper::in_pod(&field)?;
        let _agent = field.start()?;
        field.ask("none", &json!({"kind": "dump"}));
        let message = field.fails("none", "NoRuntime")?;
        ensure!(message.contains("is no .NET process"), "{message}");
        let output = field.salvage(&["capture", "gcdump", "-n", NAMESPACE, POD])?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(2) && text.contains("NoRuntime: "),
            "{output:?}"
        );
        field.ensure_spool_is_empty()
    }

    #[test]
    #[ignore = "needs root"]
    fn what_cannot_be_asked_for_is_refused_with_the_field() -> Result<()> {
        let field = Field::new()?;
        let _sleeper = Sleeper::in_pod(&field)?;
        let _agent = field.start()?;
        for (name, spec, says) in [
            (
                "a",
                json!({"kind": "trace", "duration": "2d"}),
                "spec.duration: ",
            ),
            (
                "b",
                json!({"kind": "trace", "profile": "all"}),
                "spec.profile: ",
            ),
            (
                "c",
                json!({"kind": "trace", "providers": [":"]}),
                "spec.providers: ",
            ),
            (
                "d",
                json!({"kind": "gcdump", "duration": "3s"}),
                "spec.duration: a gcdump has none",
            ),
            (
                "e",
                json!({"kind": "dump", "maxBytes": "many"}),
                "spec.maxBytes: ",
            ),
            ("f", json!({"kind": "dump", "ttl": "soon"}), "spec.ttl: "),
            (
                "g",
                json!({"kind": "counters", "interval": "1500ms"}),
                "spec.interval: ",
            ),
        ] {
            field.ask(name, &spec);
            let message = field.fails(name, "InvalidRequest")?;
            ensure!(message.starts_with(says), "{name}: {message}");
        }
        field.ask("h", &json!({"kind": "dump", "container": "db"}));
        let message = field.fails("h", "NotRunning")?;
        ensure!(message.contains("it has app"), "{message}");
        Ok(())
    }

    #[test]
    #[ignore = "needs root"]
    fn a_pod_that_opted_out_is_not_captured() -> Result<()> {
        let field = Field::new()?;
        let uid = any_uid();
        let id = container_id(&uid, "app", 0);
        let closed = pod(&uid, &id).annotation("salvage.dev/collect", "false");
        field.lab.server.add(closed.build());
        let _agent = field.start()?;
        field.ask("closed", &json!({"kind": "dump"}));
        field.fails("closed", "NotSelected")?;
        Ok(())
    }

    #[test]
    #[ignore = "needs root"]
    fn a_cluster_that_knows_no_captures_is_told_of_and_waited_for() -> Result<()> {
        let field = Field::new()?;
        let _sleeper = Sleeper::in_pod(&field)?;
        field.lab.server.captures_installed(false);
        let agent = field.lab.node.start()?;
        let why = crate::support::agent::wait("the reason", || {
            let said = agent.readyz()?;
            Ok(said.contains("captures.salvage.dev").then_some(said))
        })?;
        ensure!(why.contains("captures.enabled"), "{why}");
        let output = field.salvage(&["capture", "gcdump", "-n", NAMESPACE, POD])?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(2) && text.contains("knows no captures.salvage.dev"),
            "{text}"
        );
        field.lab.server.captures_installed(true);
        let _agent = agent.ready()?;
        field.ask("now", &json!({"kind": "dump"}));
        field.fails("now", "NoRuntime")?;
        Ok(())
    }

    #[test]
    #[ignore = "needs root"]
    fn one_who_may_not_is_told_who_may() -> Result<()> {
        let field = Field::new()?;
        field
            .lab
            .server
            .fault(Call::CaptureCreate, Fault::Forbidden);
        let output = field.salvage(&["capture", "dump", "-n", NAMESPACE, POD])?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(2)
                && text.contains("you may not create captures.salvage.dev"),
            "{text}"
        );
        Ok(())
    }
}

/// Phases went forward, each once.
fn ensure_forward(history: &[Value]) -> Result<()> {
    let order = ["Accepted", "Capturing", "Shipping", "Stored"];
    let mut at = 0;
    for status in history {
        let phase = status["phase"].as_str().unwrap_or_default();
        if phase.is_empty() {
            continue;
        }
        let now = order.iter().position(|known| *known == phase);
        let now = now.with_context(|| format!("{phase} in {history:#?}"))?;
        ensure!(now >= at, "{phase} after {}: {history:#?}", order[at]);
        at = now;
    }
    ensure!(at == order.len() - 1, "{history:#?}");
    Ok(())
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn what_is_asked_for_is_done_once_whatever_the_api_server_does() -> Result<()> {
    let field = Field::new()?;
    let mut running = Running::start(&field, Launch::of(Dotnet::Net8), None, |pod| pod)?;
    let agent = field.start()?;
    let server = &field.lab.server;
    let trouble: [(&str, &dyn Fn()); 5] = [
        ("conflict", &|| {
            server.conflict_next_status(1);
        }),
        ("cut", &|| {
            server.cut_captures(Cut::Clean);
        }),
        ("compacted", &|| {
            server.compact_captures();
            server.cut_captures(Cut::Clean);
        }),
        ("lost-answer", &|| {
            server.fault_times(1, Call::CaptureStatus, Fault::Broken);
        }),
        ("gone", &|| {
            server.say_captures_error(410);
        }),
    ];
    for (name, make) in trouble {
        make();
        field.ask(name, &json!({"kind": "gcdump"}));
        let status = field.ended(name)?;
        ensure!(status["phase"] == "Stored", "{name}: {status:#}");
        ensure_forward(&server.capture_history(NAMESPACE, name)).context(name)?;
    }
    let stored = field.lab.node.crashes()?;
    ensure!(stored.len() == trouble.len(), "{stored:#?}");
    let taken = agent.metric("salvage_captures_total{kind=\"gcdump\",outcome=\"Taken\"}")?;
    ensure!(taken == trouble.len() as f64, "{taken} were taken");
    running.container.ensure_alive()
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn of_two_agents_one_takes_it() -> Result<()> {
    let field = Field::new()?;
    let mut running = Running::start(&field, Launch::of(Dotnet::Net8), None, |pod| pod)?;
    let _first = field.start()?;
    // As after a rollout that went wrong: another agent of the same node, with a state of its own.
    let mut other = crate::support::agent::Node::new()?;
    other.store = field.lab.node.store.clone();
    other.store_url = field.lab.node.store_url.clone();
    other.env = field.lab.node.env.clone();
    other.more = field.lab.node.more.clone();
    let _second = other.start()?.ready()?;
    for n in 0..3 {
        let name = format!("one-{n}");
        field.ask(&name, &json!({"kind": "gcdump"}));
        let status = field.ended(&name)?;
        ensure!(status["phase"] == "Stored", "{status:#}");
        ensure_forward(&field.lab.server.capture_history(NAMESPACE, &name))?;
    }
    let stored = field.lab.node.crashes()?;
    ensure!(stored.len() == 3, "{stored:#?}");
    running.container.ensure_alive()
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn of_several_processes_one_has_to_be_named() -> Result<()> {
    let field = Field::new()?;
    let launch = Launch::of(Dotnet::Net8).processes(2);
    let mut running = Running::start(&field, launch, None, |pod| pod)?;
    let _agent = field.start()?;
    field.ask("which", &json!({"kind": "gcdump"}));
    let message = field.fails("which", "Ambiguous")?;
    ensure!(
        message.contains("--process") && message.contains("1 (loop)"),
        "{message}"
    );
    field.ask("first", &json!({"kind": "gcdump", "process": 1}));
    let status = field.ended("first")?;
    ensure!(
        status["phase"] == "Stored" && status["process"] == 1,
        "{status:#}"
    );
    running.container.ensure_alive()
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn what_would_harm_is_refused_with_its_numbers() -> Result<()> {
    let field = Field::new()?;
    let probe = json!({"httpGet": {"port": 80}, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1});
    let mut running = Running::start(&field, Launch::of(Dotnet::Net8), None, |pod| {
        pod.container_field("app", "livenessProbe", probe.clone())
    })?;
    let _agent = field.start()?;
    field.ask("harm", &json!({"kind": "dump", "type": "full"}));
    let message = field.fails("harm", "WouldHarm")?;
    println!("{message}");
    ensure!(
        message.contains("probe") && message.contains("take a gcdump instead"),
        "{message}"
    );
    field.ask(
        "forced",
        &json!({"kind": "dump", "type": "full", "force": true}),
    );
    let status = field.ended("forced")?;
    ensure!(status["phase"] == "Stored", "{status:#}");
    running.container.ensure_alive()
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn diagnostics_that_are_off_are_named_by_their_variable() -> Result<()> {
    let field = Field::new()?;
    let launch = Launch::of(Dotnet::Net8)
        .env("DOTNET_EnableDiagnostics", "0")
        .without_socket();
    let mut running = Running::start(&field, launch, None, |pod| pod)?;
    let _agent = field.start()?;
    field.ask("off", &json!({"kind": "dump"}));
    let message = field.fails("off", "DiagnosticsDisabled")?;
    ensure!(message.contains("DOTNET_EnableDiagnostics"), "{message}");
    running.container.ensure_alive()
}
