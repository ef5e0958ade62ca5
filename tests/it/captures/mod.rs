//! The real agent beside an API server at the wire, a store of S3's protocol, and real runtimes in what a container is to them: what is asked for is taken, stored,
//! fetched, and said.

mod asked;
#[cfg(feature = "fault-points")]
mod fault_points;
mod hostile;
mod memory;
mod refused;
mod taken;
mod trouble;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::kubernetes::{Lab, now};
use crate::s3::node_for;
use crate::support::agent::{Agent, SALVAGE};
use crate::support::container::{Container, Launch};
use crate::support::kube::{Now, PodBuilder, container_id};
use crate::support::s3::S3Server;

const NAMESPACE: &str = "shop";
const POD: &str = "cart-0";

/// A node that takes captures, its API server and its store.
pub(crate) struct Field {
    pub(crate) store: S3Server,
    pub(crate) lab: Lab,
}

impl Field {
    fn new() -> Result<Self> {
        Self::configured("")
    }

    /// With further keys of `captures`.
    fn configured(more: &str) -> Result<Self> {
        let store = S3Server::start();
        let mut node = node_for(&store)?;
        node.more += &format!("\ncaptures: {{enabled: true{more}}}");
        let kubelet = node.path("kubelet");
        let lab = Lab::on(node, "test-node", &kubelet, "")?;
        Ok(Self { store, lab })
    }

    /// Starts the agent and waits until it hears of pods and captures.
    fn start(&self) -> Result<Agent> {
        let agent = self.lab.start()?;
        self.lab.server.wait_until_captures_watched()?;
        Ok(agent)
    }

    /// Runs a command as somebody who may create captures.
    fn salvage(&self, arguments: &[&str]) -> Result<Output> {
        self.salvage_as("alice", arguments)
    }

    fn salvage_as(&self, person: &str, arguments: &[&str]) -> Result<Output> {
        let kubeconfig = self
            .lab
            .server
            .kubeconfig_of(person, &self.lab.node.path(""))?;
        Ok(Command::new(SALVAGE)
            .args(arguments)
            .env("SALVAGE_STORE", &self.lab.node.store_url)
            .envs(self.lab.node.env.iter().cloned())
            .env("KUBECONFIG", kubeconfig)
            .output()?)
    }

    /// Asks for a capture of the pod by its object.
    fn ask(&self, name: &str, spec: &Value) -> Value {
        let mut whole = json!({"pod": POD});
        for (key, value) in spec.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        self.lab.server.add_capture(NAMESPACE, name, whole)
    }

    /// Waits until it has ended, and gives its status.
    fn ended(&self, name: &str) -> Result<Value> {
        let ended = |capture: &Value| {
            matches!(
                capture["status"]["phase"].as_str(),
                Some("Stored" | "Failed")
            )
        };
        let capture = self.lab.server.wait_for_capture(NAMESPACE, name, ended)?;
        Ok(capture["status"].clone())
    }

    /// Waits until it is in this phase, or beyond it.
    fn reaches(&self, name: &str, phase: &str) -> Result<Value> {
        let is_there = |capture: &Value| {
            let now = capture["status"]["phase"].as_str();
            now == Some(phase) || matches!(now, Some("Stored" | "Failed"))
        };
        let capture = self
            .lab
            .server
            .wait_for_capture(NAMESPACE, name, is_there)?;
        Ok(capture["status"].clone())
    }

    /// Fails as this, and gives the message.
    fn fails(&self, name: &str, reason: &str) -> Result<String> {
        let status = self.ended(name)?;
        ensure!(status["phase"] == "Failed", "{name}: {status:#}");
        let conditions = status["conditions"].as_array().context("conditions")?;
        let has =
            |condition: &Value| condition["reason"] == reason && condition["status"] == "False";
        ensure!(conditions.iter().any(has), "{name}: {status:#}");
        Ok(status["message"].as_str().unwrap_or_default().to_owned())
    }

    /// Nothing of any capture is in the spool.
    fn ensure_spool_is_empty(&self) -> Result<()> {
        for directory in ["entries", "dumps", "uploads"] {
            let left: Vec<_> = fs::read_dir(self.lab.node.state.join(directory))?
                .flatten()
                .map(|entry| entry.file_name())
                .collect();
            ensure!(left.is_empty(), "{directory}: {left:?}");
        }
        let records = fs::read_dir(self.lab.node.state.join("captures"))?.flatten();
        let is_record = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".json");
        let left: Vec<_> = records
            .map(|entry| entry.file_name())
            .filter(is_record)
            .collect();
        ensure!(left.is_empty(), "captures: {left:?}");
        Ok(())
    }
}

/// A pod on the node with a program in a container of it.
pub(crate) struct Running {
    pub(crate) container: Container,
    cgroup: Cgroup,
}

impl Running {
    /// Starts it, and lets the API server know. `change` has the last word on the pod.
    fn start(
        field: &Field,
        launch: Launch,
        limit: Option<u64>,
        change: impl Fn(PodBuilder) -> PodBuilder,
    ) -> Result<Self> {
        let uid = any_uid();
        let id = container_id(&uid, "app", 0);
        let cgroup = Cgroup::of_container(&uid, &id, limit)?;
        let container = launch.cgroup(&cgroup.path).start()?;
        field.lab.server.add(change(pod(&uid, &id)).build());
        Ok(Self { container, cgroup })
    }

    /// Names of all that is in its temporary directory.
    fn temporary(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = fs::read_dir(self.container.path("/tmp"))?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        Ok(names)
    }
}

/// The pod of a container that runs.
fn pod(uid: &str, id: &str) -> PodBuilder {
    PodBuilder::new(NAMESPACE, POD, uid)
        .container("app", &[])
        .status("app", 0, Now::running(now(), id), None)
}

fn any_uid() -> String {
    let hex = format!("{:032x}", fastrand::u128(..));
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// A control group as the kubelet makes one for a container; it goes with its last process.
struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    fn of_container(uid: &str, id: &str, limit: Option<u64>) -> Result<Self> {
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let (root, file) = match v1.is_dir() {
            true => (v1, "memory.limit_in_bytes"),
            false => (Path::new("/sys/fs/cgroup"), "memory.max"),
        };
        let bare = id.split_once("://").map_or(id, |(_, bare)| bare);
        let path = root
            .join("kubepods/besteffort")
            .join(format!("pod{uid}"))
            .join(bare);
        fs::create_dir_all(&path).with_context(|| format!("{}: needs root", path.display()))?;
        if let Some(limit) = limit {
            fs::write(path.join(file), limit.to_string())?;
        }
        Ok(Self { path })
    }

    /// How often the kernel has killed in it.
    fn kills(&self) -> Result<u64> {
        let text = ["memory.oom_control", "memory.events"]
            .iter()
            .find_map(|file| fs::read_to_string(self.path.join(file)).ok())
            .context("what the kernel says of its kills")?;
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(kills.context("a count of kills")?.trim().parse()?)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes are being killed: it is empty in a moment.
        let until = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.path).is_err() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Some(pod) = self.path.parent() {
            let _ = fs::remove_dir(pod);
        }
    }
}

/// What a command says on standard output, if it did what was asked.
fn said(output: &Output) -> Result<String> {
    ensure!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
