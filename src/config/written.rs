//! The configuration as it is written: every key, what it means, and what it is when absent. Nothing is checked here but types.

use std::path::PathBuf;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};

use crate::model::{ByteSize, Layout, Span};

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    /// Name of the cluster in keys and manifests. `SALVAGE_CLUSTER` overrides it.
    #[cfg_attr(test, schemars(extend("x-default" = "required")))]
    pub(super) cluster: Option<String>,
    /// Name of the node in manifests, and with Kubernetes of the Node whose pods are watched. `SALVAGE_NODE` overrides it.
    #[cfg_attr(test, schemars(extend("x-default" = "the host name")))]
    pub(super) node: Option<String>,
    /// Where the agent keeps its state and dumps that are not stored yet; made if it is not there. It must belong to the agent's user and be closed to others.
    /// On the same mount as the sources a dump is moved, not copied.
    #[cfg_attr(test, schemars(extend("x-default" = "required")))]
    pub(super) state_dir: PathBuf,
    /// Address of `/metrics`, `/healthz` and `/readyz`.
    #[serde(default = "listen")]
    pub(super) listen: String,
    /// Where dumps appear.
    #[cfg_attr(test, schemars(extend("x-default" = "required")))]
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
    /// Whether living processes are captured.
    #[serde(default)]
    pub(super) captures: Captures,
}

/// One source: a directory, or a volume of every pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    /// A directory where dumps appear, by the path that it has on the node: pods that mount it are found by that. Sources, the state directory and a `file://`
    /// store must not lie in one another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("x-default" = "this or `kubelet_volumes`")))]
    pub(super) path: Option<PathBuf>,
    /// What the directory levels below `path` mean: `{namespace}`, `{pod}`, `{container}`, `{uid}` or `*`, separated by `/`. Without it only files directly in
    /// `path` are looked at; files above the deepest level are taken as well.
    #[serde(default, skip_serializing_if = "Layout::is_flat")]
    #[cfg_attr(test, schemars(with = "super::reference::Levels"))]
    #[cfg_attr(test, schemars(extend("x-default" = "empty")))]
    pub(super) layout: Layout,
    /// Whether the agent makes the directory (mode 1733, of its own user) and gives the levels of `layout` that it owns the same mode, so that pods of any user can write; and removes
    /// levels that are empty once their pod, by `{uid}`, is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(test, schemars(extend("x-default" = "`false`")))]
    pub(super) managed: bool,
    /// A volume of every pod.
    #[serde(
        default,
        alias = "kubeletVolumes",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(test, schemars(extend("x-default" = "this or `path`")))]
    pub(super) kubelet_volumes: Option<KubeletVolumes>,
}

/// Volumes of pods.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct KubeletVolumes {
    /// The emptyDir volume of this name of every pod, below `kubernetes.kubelet_dir`.
    #[cfg_attr(test, schemars(extend("x-default" = "required")))]
    pub(super) volume: String,
}

/// The store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Store {
    /// `s3://BUCKET[/PREFIX]` or `file:///DIRECTORY`. It must exist; it is never created. Credentials come from the environment, a profile or a role.
    #[cfg_attr(test, schemars(extend("x-default" = "required")))]
    pub(super) url: String,
    /// Address of another S3-compatible service. Plain HTTP only if `http://` is what you write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("x-default" = "AWS")))]
    pub(super) endpoint: Option<String>,
    /// Region of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("x-default" = "environment, profile or instance")))]
    pub(super) region: Option<String>,
    /// Whether the bucket stands in the path of a request and not in the host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("x-default" = "`true` exactly where `endpoint` is set")))]
    pub(super) path_style: Option<bool>,
}

/// Compression.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Compression {
    /// zstd level, 1 to 19. On real cores level 3 took 1.6 times as long as level 1 and saved nothing.
    #[cfg_attr(test, schemars(range(min = 1, max = 19)))]
    pub(super) level: i32,
    /// Threads that compress.
    #[cfg_attr(test, schemars(range(min = 1, max = 64)))]
    #[cfg_attr(test, schemars(extend("x-default" = "CPUs the process may use, at most 4")))]
    pub(super) workers: Option<usize>,
}

/// The spool.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Spool {
    /// Most bytes of dumps that are held; beyond it dumps stay in their source.
    #[cfg_attr(test, schemars(with = "super::reference::Size"))]
    pub(super) max_use: ByteSize,
    /// Bytes that stay free on the file system of `state_dir` when a dump has to be copied.
    #[cfg_attr(test, schemars(with = "super::reference::Size"))]
    pub(super) keep_free: ByteSize,
    /// Inodes that stay free there.
    pub(super) keep_free_inodes: u64,
}

/// Limits on one file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    /// Largest apparent size of a dump; a larger file stays where it is. 1 EiB fits into no blocks at all.
    #[cfg_attr(test, schemars(with = "super::reference::Size"))]
    pub(super) max_dump_size: ByteSize,
    /// Most bytes of a dump that are not holes.
    #[cfg_attr(test, schemars(with = "super::reference::Size"))]
    pub(super) max_dump_data: ByteSize,
}

/// Settling.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settle {
    /// Only where a file system has no leases: how long a file must stay unchanged.
    #[cfg_attr(test, schemars(with = "super::reference::Duration"))]
    pub(super) quiet_period: Span,
    /// How long a file that is complete by its own headers may be held open by a writer before it is taken, marked `writer_open`.
    #[cfg_attr(test, schemars(with = "super::reference::Duration"))]
    pub(super) limit: Span,
}

/// Stopping.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Shutdown {
    /// How long uploads under way may go on after SIGTERM; what is not finished then is sent by the next agent. Stay below the pod's
    /// `terminationGracePeriodSeconds`.
    #[cfg_attr(test, schemars(with = "super::reference::Duration"))]
    pub(super) grace_period: Span,
}

/// Kubernetes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Kubernetes {
    /// Whether this node's pods are watched: whose dump it is, and every container that ends. The API server is found as `kubectl` finds it, or by the pod's
    /// service account. See [kubernetes.md](kubernetes.md).
    pub(super) enabled: bool,
    /// The kubelet's directory.
    pub(super) kubelet_dir: PathBuf,
    /// The kubelet's directory of logs.
    pub(super) pod_logs_dir: PathBuf,
    /// The first list of pods waits a random time up to this: all agents of a cluster start at once.
    #[cfg_attr(test, schemars(with = "super::reference::Duration"))]
    pub(super) start_jitter: Span,
    /// How far the ends of a dump and of its container may be apart, and how long what is not certain is waited for; `1s` to `5m`.
    #[cfg_attr(test, schemars(with = "super::reference::Duration"))]
    pub(super) join_window: Span,
    /// How long a pod is remembered when it is gone, 1,000 of them at the most.
    #[cfg_attr(test, schemars(with = "super::reference::Duration"))]
    pub(super) keep_gone_pods: Span,
    /// Keys of the pod labels that manifests show, up to 32.
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    /// Whether the last lines of a container that crashed are stored. A pod opts out by the annotation `salvage.dev/log` with any value but "true".
    pub(super) enabled: bool,
    /// Most lines.
    pub(super) lines: usize,
    /// Most bytes, up to `16MiB`.
    #[cfg_attr(test, schemars(with = "super::reference::Size"))]
    pub(super) max_bytes: ByteSize,
    /// Namespaces whose logs are never taken.
    pub(super) exclude_namespaces: Vec<String>,
}

/// Whose crashes are collected. A pod must pass all of it, and opts out by the annotation `salvage.dev/collect` with any value but
/// "true", which goes before everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Selection {
    /// Only crashes in these namespaces are collected; in all where it is empty.
    pub(super) namespaces: Vec<String>,
    /// Not those in these namespaces, also where `namespaces` has them.
    pub(super) exclude_namespaces: Vec<String>,
    /// Only those of pods whose labels match this: `matchLabels`, `matchExpressions`.
    #[cfg_attr(test, schemars(with = "super::reference::Selector"))]
    #[cfg_attr(test, schemars(extend("x-default" = "everything")))]
    pub(super) pods: LabelSelector,
    /// Whether a dump whose pod was never seen is stored (`ship`) or stays on the node until its pod is known (`hold`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("x-default" = "`hold` where anything is selected by or a pod opted out, else `ship`")))]
    pub(super) unknown: Option<Unknown>,
}

/// Captures of living processes. The agent needs `hostPID` and the capability SYS_PTRACE for them, and the cluster the chart's CustomResourceDefinition.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Captures {
    /// Whether the agent takes captures at all: those that are asked for by a `Capture`, and those that `memory` is about.
    pub(super) enabled: bool,
    /// Captures before a container runs out of memory.
    pub(super) memory: CaptureMemory,
}

/// Captures before a container runs out of memory: the kernel's out-of-memory killer leaves no dump.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct CaptureMemory {
    /// Of several rules the first that selects a pod's namespace counts.
    pub(super) rules: Vec<MemoryRule>,
    /// Whether pods may ask for one by the annotations `salvage.dev/capture-at-memory` and `salvage.dev/capture-take`, and turn rules off for themselves.
    pub(super) annotations: bool,
    /// How often the memory of containers that have a rule is looked at.
    #[cfg_attr(test, schemars(with = "super::reference::Duration"))]
    pub(super) poll: Span,
}

/// When a container is captured because of its memory, and how often.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct MemoryRule {
    /// The share of its limit that its working set has to reach.
    pub(super) at: String,
    /// The share that it has to fall below before it can be captured again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("x-default" = "ten points below `at`")))]
    pub(super) rearm: Option<String>,
    /// What is taken: `gcdump`, or a dump: `mini`, `triage`, `heap`, `full`.
    pub(super) take: String,
    /// How long no other container of the same workload is captured then.
    #[cfg_attr(test, schemars(with = "super::reference::Duration"))]
    pub(super) cooldown: Span,
    /// How many captures a workload has in a window.
    pub(super) budget: u32,
    /// How long that window is.
    #[cfg_attr(test, schemars(with = "super::reference::Duration"))]
    pub(super) budget_window: Span,
    /// Only in these namespaces; in all where it is empty.
    pub(super) namespaces: Vec<String>,
    /// Not in these, also where `namespaces` has them.
    pub(super) exclude_namespaces: Vec<String>,
}

impl Default for CaptureMemory {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            annotations: true,
            poll: Span::secs(1),
        }
    }
}

impl Default for MemoryRule {
    fn default() -> Self {
        Self {
            at: "90%".to_owned(),
            rearm: None,
            take: "gcdump".to_owned(),
            cooldown: Span::secs(3_600),
            budget: 3,
            budget_window: Span::secs(86_400),
            namespaces: Vec::new(),
            exclude_namespaces: Vec::new(),
        }
    }
}

/// What is done with a dump whose pod was never seen.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
