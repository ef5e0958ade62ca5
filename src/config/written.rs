//! The configuration as it is written: every key, what it means, and what it is when absent. Nothing is checked here but types.

use std::path::PathBuf;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};

use crate::model::{ByteSize, Layout, Span};

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    /// Name of the cluster in keys and manifests. `SALVAGE_CLUSTER` overrides it.
    pub(super) cluster: Option<String>,
    /// Name of the node in manifests; the host name when absent. `SALVAGE_NODE` overrides it.
    pub(super) node: Option<String>,
    /// Where the agent keeps its state and dumps that are not yet stored. On the same mount as the sources a dump is moved, not copied.
    pub(super) state_dir: PathBuf,
    /// Address of `/metrics`, `/healthz` and `/readyz`.
    #[serde(default = "listen")]
    pub(super) listen: String,
    /// Directories where dumps appear.
    pub(super) sources: Vec<Source>,
    /// Where crashes are stored.
    pub(super) store: Store,
    /// How dumps are compressed.
    #[serde(default)]
    pub(super) compression: Compression,
    /// What the agent may hold on the node.
    #[serde(default)]
    pub(super) spool: Spool,
    /// Which files are too large to be dumps.
    #[serde(default)]
    pub(super) limits: Limits,
    /// When a file counts as written.
    #[serde(default)]
    pub(super) settle: Settle,
    /// How the agent stops.
    #[serde(default)]
    pub(super) shutdown: Shutdown,
    /// Whether pods are looked up.
    #[serde(default)]
    pub(super) kubernetes: Kubernetes,
}

/// One source: a directory, or a volume of every pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    /// The directory, by the path that it has on the node: pods that mount it are found by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<PathBuf>,
    /// What the levels below it mean, such as `{namespace}/{pod}/{container}`; without it only files directly in `path` are looked at.
    #[serde(default, skip_serializing_if = "Layout::is_flat")]
    pub(super) layout: Layout,
    /// In place of `path`: the emptyDir volume of this name of every pod of the node.
    #[serde(
        default,
        alias = "kubeletVolumes",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) kubelet_volumes: Option<KubeletVolumes>,
}

/// Volumes of pods.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KubeletVolumes {
    /// Their name.
    pub(super) volume: String,
}

/// The store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Store {
    /// `s3://BUCKET[/PREFIX]` or `file:///DIRECTORY`. Credentials come from the environment, a profile or a role.
    pub(super) url: String,
    /// Address of an S3-compatible service that is not AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) endpoint: Option<String>,
    /// Region of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<String>,
    /// Whether the bucket stands in the path of a request and not in the host name; when absent, exactly where `endpoint` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path_style: Option<bool>,
}

/// Compression.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Compression {
    /// zstd level, 1 to 19. On real cores level 3 took 1.6 times as long as level 1 and saved nothing.
    pub(super) level: i32,
    /// Threads, 1 to 64; when absent as many as the process may use CPUs, 4 at most.
    pub(super) workers: Option<usize>,
}

/// The spool.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Spool {
    /// Most bytes of dumps that are held; beyond it they stay in their source.
    pub(super) max_use: ByteSize,
    /// Bytes that stay free on the file system of `state_dir`.
    pub(super) keep_free: ByteSize,
    /// Inodes that stay free there.
    pub(super) keep_free_inodes: u64,
}

/// Limits on one file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    /// Largest apparent size; a larger file stays where it is. 1 EiB fits into no blocks at all.
    pub(super) max_dump_size: ByteSize,
    /// Most bytes that are not holes.
    pub(super) max_dump_data: ByteSize,
}

/// Settling.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settle {
    /// Where the file system has no leases: how long a file must stay unchanged.
    pub(super) quiet_period: Span,
    /// How long a file that is complete by its own headers may be held open by a writer before it is taken.
    pub(super) limit: Span,
}

/// Stopping.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Shutdown {
    /// How long uploads under way may go on after SIGTERM; what is not finished then is sent by the next agent. Stay below the
    /// pod's `terminationGracePeriodSeconds`.
    pub(super) grace_period: Span,
}

/// Kubernetes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Kubernetes {
    /// Whether pods are watched to find out whose dump it is, and which containers end without one. The API server is found as `kubectl` finds it, or by the
    /// pod's service account.
    pub(super) enabled: bool,
    /// The kubelet's directory.
    pub(super) kubelet_dir: PathBuf,
    /// The kubelet's directory of logs.
    pub(super) pod_logs_dir: PathBuf,
    /// The first list of pods waits a random time up to this: all agents of a cluster start at once.
    pub(super) start_jitter: Span,
    /// How far the end of a dump and that of its container may be apart; and how long what is not certain is waited for.
    pub(super) join_window: Span,
    /// How long a pod is remembered when it is gone.
    pub(super) keep_gone_pods: Span,
    /// Keys of the pod labels that manifests show.
    pub(super) labels: Vec<String>,
    /// The last lines of a container that ended.
    pub(super) log: Log,
    /// Whether each crash that is stored is told by an Event on its pod.
    pub(super) events: bool,
    /// Whose crashes are collected.
    pub(super) selection: Selection,
}

/// The last lines of a container that ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    /// Whether they are stored. A pod opts out by the annotation `salvage.dev/log` with any value but "true".
    pub(super) enabled: bool,
    /// Most lines.
    pub(super) lines: usize,
    /// Most bytes.
    pub(super) max_bytes: ByteSize,
    /// Namespaces whose logs are never taken.
    pub(super) exclude_namespaces: Vec<String>,
}

/// Whose crashes are collected. A pod must pass all of it, and opts out by the annotation `salvage.dev/collect` with any value but
/// "true", which goes before everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Selection {
    /// Only these namespaces; all where it is empty.
    pub(super) namespaces: Vec<String>,
    /// Not these namespaces, also where `namespaces` has them.
    pub(super) exclude_namespaces: Vec<String>,
    /// Only pods whose labels match this.
    pub(super) pods: LabelSelector,
    /// Whether a dump whose pod was never seen is stored (`ship`) or stays on the node until its pod is known (`hold`). When absent it is held as soon as anything
    /// is selected by, or a pod of the node has opted out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unknown: Option<Unknown>,
}

/// What is done with a dump whose pod was never seen.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unknown {
    /// It is stored.
    Ship,
    /// It is held.
    Hold,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            enabled: false,
            kubelet_dir: "/var/lib/kubelet".into(),
            pod_logs_dir: "/var/log/pods".into(),
            start_jitter: Span::secs(10),
            join_window: Span::secs(30),
            keep_gone_pods: Span::secs(6 * 3_600),
            labels: Vec::new(),
            log: Log::default(),
            events: true,
            selection: Selection::default(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            enabled: true,
            lines: 500,
            max_bytes: ByteSize::mib(1),
            exclude_namespaces: Vec::new(),
        }
    }
}

fn listen() -> String {
    "0.0.0.0:9464".to_owned()
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            level: 1,
            workers: None,
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            max_use: ByteSize::gib(20),
            keep_free: ByteSize::gib(2),
            keep_free_inodes: 10_000,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_dump_size: ByteSize::gib(512),
            max_dump_data: ByteSize::gib(64),
        }
    }
}

impl Default for Settle {
    fn default() -> Self {
        Self {
            quiet_period: Span::secs(30),
            limit: Span::secs(600),
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            grace_period: Span::secs(25),
        }
    }
}
