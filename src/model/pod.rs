//! What the agent keeps of a pod: who it is, where it may write on the node, and how its containers have fared.
//!
//! A pod's object has a hundred times as much. All of it comes from the API server; what a tenant could choose in it is said at the field.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A pod of this node, living or dead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownPod {
    /// Its UID.
    pub uid: String,
    /// The UID in the kubelet's paths: the same, but for static pods, which the kubelet knows by a digest of their file.
    pub node_uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What a person deployed to make it.
    pub owner: Owner,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it asks not to be collected from.
    pub opted_out: bool,
    /// Whether it asks that its log is not taken.
    pub no_log: bool,
    /// What it says of captures before it runs out of memory, by annotation.
    pub memory_capture: MemoryCapture,
    /// Its service account.
    pub service_account: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When the kubelet took it up.
    pub start_time: Option<Timestamp>,
    /// The host name it asks for, if that is not its name. Chosen by its author.
    pub host_name: Option<String>,
    /// Whether it uses the node's network, and so the node's host name.
    pub host_network: bool,
    /// Whether its user ids are those of the node: not where `hostUsers` is false.
    pub host_users: bool,
    /// Why its containers may end without having crashed, where something asked for it.
    pub stopping: Option<Stopping>,
    /// Its volumes that are directories of the node.
    pub volumes: Vec<NodeVolume>,
    /// Its containers of all kinds.
    pub containers: Vec<KnownContainer>,
    /// When the API server said that it is gone, or stopped listing it.
    pub gone: Option<Timestamp>,
}

/// A pod's annotations about captures before it runs out of memory, as they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryCapture {
    /// From which share of its limit on, or that it wants none.
    pub at: Option<String>,
    /// What is to be taken.
    pub take: Option<String>,
}

/// What a person deployed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Its kind: `Deployment`, `CronJob`, or `Pod` for a pod that nothing owns.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Something that asked a pod's containers to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopping {
    /// What it was: `deleted`, `DisruptionTarget`, `Evicted`, `DeadlineExceeded`, `NodeShutdown`, `Terminated`.
    pub why: String,
    /// Since when, as far as that is told.
    pub since: Option<Timestamp>,
}

/// A volume that is a directory of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeVolume {
    /// Its name in the pod.
    pub name: String,
    /// Where it is.
    pub at: VolumeAt,
}

/// Where a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeAt {
    /// Below the kubelet's directory of the pod.
    EmptyDir,
    /// At this path of the node.
    HostPath(PathBuf),
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownContainer {
    /// Its name.
    pub name: String,
    /// What it is there for.
    pub kind: ContainerKind,
    /// Its image, as the author wrote it.
    pub image: Option<String>,
    /// The image that runs, by its digest.
    pub image_digest: Option<String>,
    /// The user it is to run as; absent where the image decides.
    pub run_as_user: Option<u32>,
    /// How the kubelet finds out whether it lives, if it does.
    pub liveness: Option<Liveness>,
    /// Its mounts of the pod's node volumes.
    pub mounts: Vec<Mount>,
    /// How it has fared; absent until the kubelet told.
    pub status: Option<ContainerStatus>,
}

/// How often and how patiently the kubelet asks a container whether it lives. A process that stands still does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// How often it is asked.
    pub period: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How many answers in a row must be missing until it is killed.
    pub failures: u32,
}

/// What a container is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerKind {
    /// Runs to its end before the pod's containers start.
    Init,
    /// An init container that is kept running.
    Sidecar,
    /// One the pod is there for.
    #[default]
    Main,
    /// Added to a running pod for debugging.
    Ephemeral,
}

/// A mount of a volume in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The volume's name in the pod.
    pub volume: String,
    /// The directory of the volume that is mounted.
    pub sub: SubPath,
    /// Whether the container cannot write there.
    pub read_only: bool,
}

/// Which directory of a volume is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubPath {
    /// The volume itself.
    Whole,
    /// These levels below it: `subPath`, or `subPathExpr` with its variables expanded.
    Levels(Vec<String>),
    /// A `subPathExpr` whose variables cannot be told from here, or may have been others when the container started: any directory of the volume.
    Untold,
}

/// How a container has fared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerStatus {
    /// Id of its last start, without the runtime's scheme.
    pub id: Option<String>,
    /// How often it was started again; the number of its last start, counted from 0.
    pub restarts: u32,
    /// When it was started last, if it runs.
    pub running_since: Option<Timestamp>,
    /// How its last start ended, if it has.
    pub ended: Option<Terminated>,
    /// How the start before that ended, or its last one while the next is waited for.
    pub ended_before: Option<Terminated>,
}

/// How a start of a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminated {
    /// The start's id, without the runtime's scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its exit code: 128 and the signal's number where a signal ended it.
    pub exit_code: i32,
    /// The signal that ended it, where the runtime says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The runtime's word for it: `Error`, `OOMKilled`, `Completed`, `ContainerStatusUnknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended, to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

impl KnownPod {
    /// Its container of this name.
    pub fn container(&self, name: &str) -> Option<&KnownContainer> {
        self.containers
            .iter()
            .find(|container| container.name == name)
    }
}
