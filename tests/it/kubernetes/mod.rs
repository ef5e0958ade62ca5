//! The real agent beside an API server that is replayed at the wire: whose dump it is, and every end of a container as a crash once.

mod away;
mod confined;
mod counted;
mod joined;
mod managed;
mod many;
mod rollout;
mod selected;
mod tried;
mod trouble;
mod volumes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;

use crate::support::agent::{Agent, Node, wait};
use crate::support::kube::{Call, KubeServer, Mount, Now, PodBuilder, container_id};

/// How long a dump and a death wait for each other here.
const WINDOW: &str = "2s";

/// A node with its API server, its kubelet's directories, a directory of dumps with a layout, and the volume `dumps` of every pod as sources.
pub(crate) struct Lab {
    pub(crate) server: KubeServer,
    kubelet: PathBuf,
    pub(crate) node: Node,
}

impl Lab {
    pub(crate) fn new() -> Result<Self> {
        Self::of("test-node")
    }

    fn of(name: &str) -> Result<Self> {
        Self::configured(name, "")
    }

    /// With further keys of `kubernetes`.
    fn configured(name: &str, more: &str) -> Result<Self> {
        let node = Node::new()?;
        let kubelet = node.path("kubelet");
        Self::on(node, name, &kubelet, more)
    }

    /// With this node, whose kubelet's directory is there.
    pub(crate) fn on(mut node: Node, name: &str, kubelet: &Path, more: &str) -> Result<Self> {
        let server = KubeServer::start(name);
        std::fs::create_dir_all(kubelet.join("pods"))?;
        let logs = node.path("logs");
        std::fs::create_dir_all(&logs)?;
        node.sources = format!(
            "[{{path: {:?}, layout: '{{namespace}}/{{pod}}/{{container}}'}}, {{kubelet_volumes: {{volume: dumps}}}}]",
            node.crash()
        );
        node.more = format!(
            "{}\nkubernetes: {{enabled: true, kubelet_dir: {kubelet:?}, pod_logs_dir: {logs:?}, start_jitter: 0s, join_window: {WINDOW}{more}}}",
            node.more
        );
        let kubeconfig = server.kubeconfig(&node.path(""))?;
        let kubeconfig = kubeconfig.to_string_lossy().into_owned();
        node.env.push(("KUBECONFIG".into(), kubeconfig));
        node.env.push(("SALVAGE_NODE".into(), name.into()));
        Ok(Self {
            server,
            kubelet: kubelet.to_owned(),
            node,
        })
    }

    /// Starts the agent and waits until it knows the node's pods.
    pub(crate) fn start(&self) -> Result<Agent> {
        let agent = self.node.start()?.ready()?;
        self.server.wait_until_watched()?;
        Ok(agent)
    }

    /// Where the kubelet has an emptyDir.
    pub(crate) fn volume(&self, uid: &str, volume: &str) -> PathBuf {
        let below = format!("pods/{uid}/volumes/kubernetes.io~empty-dir/{volume}");
        self.kubelet.join(below)
    }

    /// Writes a container's log, and gives its lines as they are to be stored.
    fn log(&self, pod: [&str; 3], container: &str, start: u32, lines: &[&str]) -> Result<String> {
        let [namespace, name, uid] = pod;
        let directory = self
            .node
            .path(&format!("logs/{namespace}_{name}_{uid}/{container}"));
        std::fs::create_dir_all(&directory)?;
        let (mut written, mut stored) = (String::new(), String::new());
        for (n, line) in lines.iter().enumerate() {
            let time = format!("2026-11-20T21:35:22.{n:09}Z");
            // Every other line comes in two parts, as a long one does.
            let (head, tail) = line.split_at(line.len() / 2 * (n % 2));
            if !head.is_empty() {
                written += &format!("{time} stdout P {head}\n");
            }
            written += &format!("{time} stdout F {tail}\n");
            stored += &format!("{time} {line}\n");
        }
        std::fs::write(directory.join(format!("{start}.log")), written)?;
        Ok(stored)
    }

    /// The manifests of all crashes, oldest first.
    fn manifests(&self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        for line in self.node.crashes()? {
            let id = line["id"].as_str().context("a crash has an id")?.to_owned();
            all.push(self.node.manifest(&id)?);
        }
        all.reverse();
        Ok(all)
    }

    /// Waits until so many crashes are stored and no entry is left, and gives their manifests.
    pub(crate) fn settled(&self, agent: &Agent, count: usize) -> Result<Vec<Value>> {
        let entries =
            || -> Result<usize> { Ok(std::fs::read_dir(self.node.state.join("entries"))?.count()) };
        wait(&format!("{count} crashes and no entry"), || {
            let crashes = self.node.crashes()?.len();
            ensure!(
                crashes <= count,
                "{crashes} crashes instead of {count}: {:#?}",
                self.manifests()?
            );
            Ok((crashes == count && entries()? == 0).then_some(()))
        })
        .with_context(|| {
            format!(
                "{} entries; {}; stored: {:#?}",
                entries().unwrap_or_default(),
                agent.readyz().unwrap_or_default(),
                self.manifests()
            )
        })?;
        self.manifests()
    }

    /// What the API server held against the agent's requests.
    fn ensure_polite(&self) -> Result<()> {
        let offences = self.server.offences();
        ensure!(offences.is_empty(), "{offences:#?}");
        ensure!(
            self.server.count(Call::Get) == 0,
            "single pods were asked for"
        );
        Ok(())
    }
}

/// `salvage_crashes_total` by namespace, container and reason.
fn counted(agent: &Agent) -> Result<BTreeMap<(String, String, String), u64>> {
    let mut all = BTreeMap::new();
    for (name, value) in agent.metrics()? {
        let Some(labels) = name.strip_prefix("salvage_crashes_total{") else {
            continue;
        };
        let label = |key: &str| -> Result<String> {
            let (_, rest) = labels
                .split_once(&format!("{key}=\""))
                .with_context(|| format!("{name} has {key}"))?;
            Ok(rest.split('"').next().unwrap_or_default().to_owned())
        };
        let key = (label("namespace")?, label("container")?, label("reason")?);
        *all.entry(key).or_default() += value as u64;
    }
    Ok(all)
}

/// Crashes by pod and container.
fn by_container(manifests: &[Value]) -> BTreeMap<(String, String), Vec<&Value>> {
    let mut all: BTreeMap<_, Vec<&Value>> = BTreeMap::new();
    for manifest in manifests {
        let name = |of: &str| manifest[of]["name"].as_str().unwrap_or("-").to_owned();
        all.entry((name("pod"), name("container")))
            .or_default()
            .push(manifest);
    }
    all
}

/// The UID of a pod that is told by its name.
pub(crate) fn uid(name: &str) -> String {
    format!("00000000-0000-4000-8000-{:0>12}", hex::encode(name))
}

/// A pod that runs, and whose container `app` may write the volume `dumps`.
pub(crate) fn pod_with_volume(namespace: &str, name: &str) -> PodBuilder {
    let uid = uid(name);
    let running = Now::running(now(), &container_id(&uid, "app", 0));
    PodBuilder::new(namespace, name, &uid)
        .container("app", &[Mount::new("dumps", "/dumps").sub_path("app")])
        .empty_dir("dumps")
        .status("app", 0, running, None)
}

/// Now, to the second, as the API server writes times.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).expect("in range")
}
