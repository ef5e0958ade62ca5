//! Ties captures together: what people ask for, and what memory asks for.

use std::sync::Arc;

use kube::Client;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::capture::{self, Capturer, Guard, GuardConfig, PROC, Reconciler, ReconcilerConfig};
use crate::config::{self, Config};
use crate::kube::{CaptureWatchConfig, Metrics, PodIndex, hear};
use crate::spool::Spool;
use crate::telemetry::{Part, Readiness};

/// What was heard of captures and is not looked at yet. The API server waits as long.
const HEARD: usize = 64;

/// Captures, before there is an API server to hear of them from.
pub(super) struct Captures {
    capturer: Arc<Capturer>,
    guard: Guard,
    pods: Arc<PodIndex>,
    config: ReconcilerConfig,
    watch: CaptureWatchConfig,
    metrics: Metrics,
    part: Part,
}

/// Makes all that takes captures.
///
/// # Errors
/// Its records cannot be kept in the state directory.
pub(super) fn prepare(
    config: &Config,
    captures: &config::Captures,
    kubernetes: &config::Kubernetes,
    spool: &Arc<Spool>,
    pods: &Arc<PodIndex>,
    metrics: (&capture::Metrics, &Metrics),
    readiness: &Readiness,
) -> std::io::Result<Captures> {
    let (capture_metrics, kube_metrics) = metrics;
    let own = capture::Config { proc: PROC.into() };
    let capturer = Arc::new(Capturer::new(
        own,
        Arc::clone(spool),
        capture_metrics.clone(),
    )?);
    let guard = GuardConfig {
        rules: captures.rules.clone(),
        usual: captures.usual.clone(),
        annotations: captures.annotations,
        poll: captures.poll,
        proc: PROC.into(),
    };
    let guard = Guard::open(guard, Arc::clone(pods), Arc::clone(&capturer));
    Ok(Captures {
        guard: guard.map_err(std::io::Error::other)?,
        capturer,
        pods: Arc::clone(pods),
        config: ReconcilerConfig {
            cluster: config.cluster.clone(),
            node: config.node.clone(),
        },
        watch: CaptureWatchConfig {
            jitter: kubernetes.watch.start_jitter,
        },
        metrics: kube_metrics.clone(),
        part: readiness.part("captures", "the first list of captures is not done"),
    })
}

impl Captures {
    /// Who takes them.
    pub(super) fn capturer(&self) -> Arc<Capturer> {
        Arc::clone(&self.capturer)
    }

    /// Takes captures from now on.
    pub(super) fn spawn(self, client: &Client, tasks: &mut JoinSet<()>) {
        let (sender, heard) = mpsc::channel(HEARD);
        let reconciler = Reconciler::new(client.clone(), self.config, self.pods, self.capturer);
        tasks.spawn(hear(
            client.clone(),
            self.watch,
            sender,
            self.metrics,
            self.part,
        ));
        tasks.spawn(reconciler.run(heard));
        tasks.spawn(self.guard.run());
    }
}
