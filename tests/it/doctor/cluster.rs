//! From a laptop: a cluster at the wire, with a node that has no agent, an agent that is not ready, and pods of all kinds.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Said;
use super::pods::{injected, reasons};
use crate::support::agent::SALVAGE;
use crate::support::kube::{KubeServer, PodBuilder};
use crate::support::s3::{S3Server, no_credentials_env};

const SETS: &str = "/apis/apps/v1/daemonsets";
const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/pods";
const AGENTS: &str = "/api/v1/namespaces/salvage/pods";
const EVENTS: &str = "/api/v1/namespaces/salvage/events";
const CONFIG: &str = "/api/v1/namespaces/salvage/configmaps/salvage";
const NAMESPACES: &str = "/api/v1/namespaces";

fn list(kind: &str, items: &[Value]) -> Value {
    json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items})
}

/// A cluster as the chart leaves it, with two nodes.
struct Cluster {
    server: KubeServer,
    store: S3Server,
    directory: TempDir,
}

fn agent(node: &str, image: &str, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({
        "metadata": {"name": format!("salvage-{node}"), "namespace": "salvage", "uid": format!("uid-of-{node}"), "labels": {"app.kubernetes.io/name": "salvage"}},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "agent", "image": image, "ports": [{"name": "metrics", "containerPort": 9464}]}],
        },
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    })
}

fn waiting(node: &str, reason: &str) -> Value {
    let mut pod = agent(node, "salvage:1", false);
    pod["status"] = json!({"phase": "Pending", "containerStatuses": [{
        "name": "agent", "ready": false, "restartCount": 0, "image": "salvage:1", "imageID": "",
        "state": {"waiting": {"reason": reason, "message": "Back-off pulling image"}},
    }]});
    pod
}

fn proxy(node: &str) -> String {
    format!("/api/v1/namespaces/salvage/pods/salvage-{node}:9464/proxy/readyz")
}

impl Cluster {
    fn new() -> Result<Self> {
        let (server, store) = (KubeServer::start("node-a"), S3Server::start());
        let cluster = Self {
            server,
            store,
            directory: TempDir::new()?,
        };
        cluster.set(2, 2);
        let node = |name: &str| json!({"metadata": {"name": name}, "spec": {}});
        let Self { server, store, .. } = &cluster;
        server.serve(NODES, list("NodeList", &[node("node-a"), node("node-b")]));
        let agents = [
            agent("node-a", "salvage:1", true),
            agent("node-b", "salvage:1", true),
        ];
        server.serve(AGENTS, list("PodList", &agents));
        server.serve(EVENTS, list("EventList", &[]));
        server.serve(NAMESPACES, list("NamespaceList", &[]));
        for node in ["node-a", "node-b"] {
            server.serve_text(&proxy(node), 200, "ready\n");
        }
        cluster.configure(&format!(
            "state_dir: /var/lib/salvage\nsources: [{{kubelet_volumes: {{volume: salvage-dumps}}}}]\nstore: {{url: 's3://{}/some/prefix', endpoint: {:?}, region: {}}}\nkubernetes: {{enabled: true}}\n",
            store.bucket(),
            store.endpoint(),
            store.region()
        ));
        cluster.pods(&[injected("cart-0").build(), agents[0].clone()]);
        Ok(cluster)
    }

    fn set(&self, desired: u32, ready: u32) {
        let set = json!({
            "metadata": {"name": "salvage", "namespace": "salvage"},
            "spec": {
                "selector": {"matchLabels": {"app.kubernetes.io/name": "salvage"}},
                "template": {"spec": {
                    "containers": [{
                        "name": "agent",
                        "args": ["agent", "--config", "/etc/salvage/salvage.yaml"],
                        "env": [{"name": "SALVAGE_CLUSTER", "value": "prod"}],
                        "volumeMounts": [{"name": "config", "mountPath": "/etc/salvage"}],
                    }],
                    "volumes": [{"name": "config", "configMap": {"name": "salvage"}}],
                }},
            },
            "status": {
                "desiredNumberScheduled": desired, "numberReady": ready, "updatedNumberScheduled": desired,
                "currentNumberScheduled": desired, "numberMisscheduled": 0,
            },
        });
        self.server.serve(SETS, list("DaemonSetList", &[set]));
    }

    fn configure(&self, text: &str) {
        let map = json!({
            "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": "salvage", "namespace": "salvage"},
            "data": {"salvage.yaml": text},
        });
        self.server.serve(CONFIG, map);
    }

    fn pods(&self, pods: &[Value]) {
        self.server.serve(PODS, list("PodList", pods));
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(SALVAGE);
        command.arg("doctor").args(arguments);
        command.env_remove("SALVAGE_STORE");
        command.env("KUBECONFIG", self.server.kubeconfig(self.directory.path())?);
        command.envs(self.store.aws_env());
        Ok(command)
    }

    fn ask(&self, arguments: &[&str]) -> Result<Said> {
        Said::by(self.command(&[&["-o", "json"], arguments].concat())?)
    }
}

#[test]
fn a_whole_cluster_is_clean() -> Result<()> {
    let cluster = Cluster::new()?;
    let said = cluster.ask(&[])?;
    said.ensure_code(0)?;
    for wanted in [
        ("fleet.daemonset", "ok", "2 of 2 agents are ready"),
        ("fleet.node", "ok", "2 of 2 nodes"),
        ("fleet.versions", "ok", "salvage:1 (2)"),
        ("agent.ready", "ok", "2 of 2"),
        ("config", "ok", "cluster prod"),
        ("store.list", "ok", "you may list"),
        ("store.lifecycle", "ok", "after 7 days"),
        ("pods", "ok", "1 pods"),
    ] {
        said.ensure_says(wanted)?;
    }
    ensure!(said.bad().is_empty(), "{:#?}", said.bad());
    ensure!(
        reasons(&said) == [("cart-0".into(), "ok".into(), vec![])],
        "{:#}",
        said.report
    );
    Ok(())
}

#[test]
fn nodes_without_a_ready_agent_are_told_with_why() -> Result<()> {
    let cluster = Cluster::new()?;
    let server = &cluster.server;
    let node =
        |name: &str, taints: Value| json!({"metadata": {"name": name}, "spec": {"taints": taints}});
    let nodes = [
        node("node-a", json!([])),
        node("node-b", json!([])),
        node("node-c", json!([])),
        node(
            "node-d",
            json!([{"key": "team", "value": "db", "effect": "NoSchedule"}]),
        ),
        node("node-e", json!([])),
    ];
    server.serve(NODES, list("NodeList", &nodes));
    cluster.set(4, 1);
    let agents = [
        agent("node-a", "salvage:2", true),
        waiting("node-b", "ImagePullBackOff"),
        agent("node-c", "salvage:1", false),
    ];
    server.serve(AGENTS, list("PodList", &agents));
    server.serve_text(
        &proxy("node-c"),
        503,
        "store: s3://b: access denied; grant s3:PutObject to the identity in use\n",
    );
    let refused = json!({
        "metadata": {"name": "salvage.1", "namespace": "salvage"},
        "involvedObject": {"kind": "DaemonSet", "name": "salvage"},
        "reason": "FailedCreate",
        "message": "Error creating: pods \"salvage-\" is forbidden: violates PodSecurity \"baseline:latest\": hostPath volumes",
        "lastTimestamp": "2026-11-20T10:00:00Z",
    });
    server.serve(EVENTS, list("EventList", &[refused]));
    let said = cluster.ask(&[])?;
    said.ensure_code(1)?;
    for wanted in [
        ("fleet.daemonset", "fail", "1 of 4 agents are ready"),
        (
            "fleet.node",
            "fail",
            "ImagePullBackOff: Back-off pulling image",
        ),
        ("fleet.node", "fail", "runs and is not ready"),
        (
            "fleet.node",
            "fail",
            "taint team=db:NoSchedule is not tolerated",
        ),
        ("fleet.node", "fail", "Pod Security forbids its pod"),
        ("fleet.versions", "warn", "salvage:1 (2), salvage:2 (1)"),
        ("agent.ready", "fail", "grant s3:PutObject"),
    ] {
        said.ensure_says(wanted)?;
    }
    let about = said.ensure_says(("agent.ready", "fail", "grant s3:PutObject"))?;
    ensure!(about["subject"] == "node-c: store", "{about}");
    Ok(())
}

#[test]
fn what_rbac_denies_is_skipped_with_the_right_that_it_takes() -> Result<()> {
    let cases = [
        (NODES, "fleet.node", "list nodes"),
        (AGENTS, "fleet.agents", "list pods"),
        (NAMESPACES, "namespaces", "list namespaces"),
        (CONFIG, "config", "get configmaps"),
        (PODS, "pods", "list pods"),
        (SETS, "fleet.daemonset", "list daemonsets.apps"),
    ];
    for (path, id, right) in cases {
        let cluster = Cluster::new()?;
        cluster.server.forbid(path);
        let said = cluster.ask(&[])?;
        let words = format!("you may not {right}");
        said.ensure_says((id, "skipped", &words))?;
        // Without the DaemonSet nothing else is known: nothing was examined.
        said.ensure_code(if path == SETS { 2 } else { 0 })?;
    }
    let cluster = Cluster::new()?;
    cluster.server.forbid(&proxy("node-a"));
    let said = cluster.ask(&[])?;
    said.ensure_says(("agent.ready", "skipped", "get pods/proxy"))?;
    Ok(())
}

#[test]
fn no_agents_a_refused_configuration_and_a_dead_api_server_are_failures() -> Result<()> {
    let cluster = Cluster::new()?;
    cluster.configure("state_dir: /var/lib/salvage\nsorces: []\nstore: {url: 's3://dumps'}\n");
    let said = cluster.ask(&[])?;
    said.ensure_code(1)?;
    said.ensure_says(("config", "fail", "sorces"))?;
    cluster.server.serve(SETS, list("DaemonSetList", &[]));
    let said = cluster.ask(&[])?;
    said.ensure_code(1)?;
    said.ensure_says(("fleet.daemonset", "fail", "no node has an agent"))?;
    cluster.server.down()?;
    let said = cluster.ask(&[])?;
    said.ensure_code(1)?;
    said.ensure_says(("kubernetes.api", "fail", "cannot be asked"))?;
    Ok(())
}

#[test]
fn the_store_is_examined_as_whoever_asks() -> Result<()> {
    let cluster = Cluster::new()?;
    let mut bare = cluster.command(&["-o", "json"])?;
    bare.envs(no_credentials_env());
    let said = Said::by(bare)?;
    // The agents have credentials of their own.
    said.ensure_says(("store.list", "warn", "as you, from here"))?;
    said.ensure_code(0)?;
    let url = format!("s3://{}/some/prefix", cluster.store.bucket());
    let endpoint = cluster.store.endpoint();
    let named = ["-o", "json", "--store", &url, "--endpoint", &endpoint];
    let mut bare = cluster.command(&named)?;
    bare.envs(no_credentials_env());
    let said = Said::by(bare)?;
    said.ensure_code(1)?;
    said.ensure_says(("store.list", "fail", "no accepted credentials"))?;
    // Without a cluster as well.
    let mut alone = cluster.command(&named)?;
    alone.env("HOME", "/nowhere").env_remove("KUBECONFIG");
    alone.env_remove("KUBERNETES_SERVICE_HOST");
    let said = Said::by(alone)?;
    said.ensure_says(("store.list", "ok", "you may list"))?;
    said.ensure_code(0)?;
    Ok(())
}

#[test]
fn one_pod_is_answered_for_container_by_container() -> Result<()> {
    let cluster = Cluster::new()?;
    let path = "/api/v1/namespaces/shop/pods/cart-0";
    let pod = injected("cart-0").sidecar("proxy", &[]).build();
    cluster.server.serve(path, pod);
    let output = cluster.command(&["-n", "shop", "cart-0"])?.output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.code() == Some(1), "{text}");
    let line = |begin: &str| -> Result<&str> {
        let found = text.lines().find(|line| line.starts_with(begin));
        found.with_context(|| format!("no line {begin}: {text}"))
    };
    let app = line("shop/cart-0 (app): yes: ")?;
    ensure!(
        app.contains("/var/salvage") && app.contains(".NET (DOTNET_DbgEnableMiniDump)"),
        "{app}"
    );
    line("shop/cart-0 (proxy): no")?;
    line("  not_injected: ")?;
    line("  do: ")?;
    ensure!(!text.contains("hunter2"), "{text}");
    let said = cluster.ask(&["-n", "shop", "gone"])?;
    said.ensure_code(1)?;
    said.ensure_says(("pod", "fail", "no such pod"))?;
    Ok(())
}

#[test]
fn many_pods_are_grouped_and_names_are_escaped() -> Result<()> {
    let cluster = Cluster::new()?;
    let bare = |n: usize| {
        let name = format!("bare-{n}");
        PodBuilder::new("shop", &name, &name)
            .container("app", &[])
            .build()
    };
    let mut pods: Vec<Value> = (0..300).map(bare).collect();
    let mut hostile = bare(999);
    hostile["metadata"]["name"] = json!("\u{1b}[2Jevil\nfail  everything");
    pods.insert(0, hostile);
    cluster.pods(&pods);
    let output = cluster.command(&[])?.output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.code() == Some(0), "{text}");
    let group = text.lines().find(|line| line.contains("no_source"));
    let group = group.with_context(|| text.clone())?;
    ensure!(
        group.contains("301") && group.contains("and 298 more"),
        "{group}"
    );
    ensure!(!text.contains('\u{1b}'), "{text}");
    let output = cluster.command(&["-v"])?.output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(
        text.lines().filter(|line| line.contains("bare-")).count() == 300,
        "{text}"
    );
    Ok(())
}
