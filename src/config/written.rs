//! The configuration as it is written: every key, what it means, and what it is when absent. Nothing is checked here but types.

use std::path::PathBuf;

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

/// One source.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    /// The directory.
    pub(super) path: PathBuf,
    /// What the levels below it mean, such as `{namespace}/{pod}/{container}`; without it only files directly in `path` are looked at.
    #[serde(default)]
    pub(super) layout: Layout,
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Kubernetes {
    /// Whether pods are watched to find out whose dump it is.
    pub(super) enabled: bool,
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
