//! Ties the API server's word to the spool: deaths become entries, dumps of pods that are not selected stay where they are.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::captures::{self, Captures};
use crate::capture::{self, Capturer};
use crate::config::{self, Config};
use crate::kube::{
    self, Census, CensusParts, Events, Logs, Mourner, PodIndex, Question, Teller, Told, Watched,
};
use crate::model::{Death, FileId, LastLines};
use crate::ship;
use crate::source::{Found, Root, Taken, Taker};
use crate::spool::{Recorded, Spool};
use crate::telemetry::{Part, Readiness, chain};

/// How long it is believed of a directory whether its dumps are none to collect.
const EXCLUSION_BELIEVED: Duration = Duration::from_secs(5);

/// Most directories of which that is remembered.
const DIRECTORIES_MAX: usize = 4_096;

/// When an API server is looked for again of which nothing is known.
const CLIENT_AGAIN: Duration = Duration::from_secs(30);

/// Starts watching this node's pods, and gives what shipping asks of them, and who takes captures.
pub(super) fn start(
    config: &Config,
    kubernetes: &config::Kubernetes,
    spool: &Arc<Spool>,
    metrics: (&kube::Metrics, &capture::Metrics),
    readiness: &Readiness,
    background: &mut JoinSet<()>,
) -> std::io::Result<(ship::Kubernetes, Option<Arc<Capturer>>)> {
    let (metrics, capture_metrics) = metrics;
    let began = Timestamp::now();
    let pods = Arc::new(PodIndex::new(kubernetes.index.clone()));
    let mourner = Arc::new(Burials {
        spool: Arc::clone(spool),
        cluster: config.cluster.clone(),
    });
    let parts = CensusParts {
        index: Arc::clone(&pods),
        mourner,
        logs: kubernetes.logs.clone().map(Logs::new),
        coverage: config.coverage(),
        metrics: metrics.clone(),
        keep_gone: kubernetes.index.keep_gone,
    };
    let census = Arc::new(Census::open(&config.spool.state_dir, parts)?);
    let watched = Watched {
        index: Arc::clone(&pods),
        census,
        metrics: metrics.clone(),
    };
    let captures = config.captures.as_ref().map(|captures| {
        captures::prepare(
            config,
            captures,
            kubernetes,
            spool,
            &pods,
            (capture_metrics, metrics),
            readiness,
        )
    });
    let captures = captures.transpose()?;
    let capturer = captures.as_ref().map(Captures::capturer);
    let (teller, told) = Teller::new(metrics.clone());
    let part = readiness.part("pods", "the first list of this node's pods is not done");
    let recovered = Arc::new(Notify::new());
    background.spawn(learn(Arc::clone(spool), Arc::clone(&recovered)));
    background.spawn(run(
        kubernetes.clone(),
        watched,
        captures,
        told,
        part,
        recovered,
    ));
    let shipping = ship::Kubernetes {
        pods,
        window: kubernetes.join_window,
        began,
        teller: kubernetes.events.is_some().then_some(teller),
    };
    Ok((shipping, capturer))
}

async fn run(
    config: config::Kubernetes,
    watched: Watched,
    captures: Option<Captures>,
    told: Told,
    part: Part,
    recovered: Arc<Notify>,
) {
    let client = loop {
        match kube::client().await {
            Ok(client) => break client,
            Err(why) => {
                tracing::warn!(
                    why,
                    "pods cannot be watched; dumps are stored with what the node knows, and it is tried again"
                );
                part.not_ready(why);
                tokio::time::sleep(CLIENT_AGAIN).await;
            }
        }
    };
    let mut tasks = JoinSet::new();
    match config.events {
        Some(events) => {
            let events = Events::new(client.clone(), events, watched.metrics.clone());
            tasks.spawn(events.run(told));
        }
        None => drop(told),
    }
    if let Some(captures) = captures {
        captures.spawn(&client, &mut tasks);
    }
    tasks.spawn(kube::watch(client, config.watch, watched, part, recovered));
    while tasks.join_next().await.is_some() {}
}

/// Makes entries of deaths.
struct Burials {
    spool: Arc<Spool>,
    cluster: String,
}

impl Mourner for Burials {
    fn died(&self, death: Death, log: Option<LastLines>) -> Result<bool, String> {
        let recorded = self.spool.record(&self.cluster, death, log);
        let recorded = recorded.map_err(|error| chain(&error))?;
        tracing::debug!(?recorded, "death of a container");
        Ok(matches!(recorded, Recorded::New(_)))
    }

    fn last(&self, uid: &str, container: &str) -> Option<u32> {
        self.spool.last_recorded(uid, container)
    }
}

/// Lets stored crashes of which nobody knew whose they are be said anew, whenever the pod index has become complete.
async fn learn(spool: Arc<Spool>, recovered: Arc<Notify>) {
    loop {
        recovered.notified().await;
        let spool = Arc::clone(&spool);
        let learnt = tokio::task::spawn_blocking(move || {
            for crash in spool.told_without_pod() {
                if let Err(error) = spool.revise(crash) {
                    tracing::warn!(%crash, error = chain(&error), "a stored crash cannot be said anew now");
                }
            }
        });
        if let Err(error) = learnt.await {
            tracing::error!(%error, "saying stored crashes anew failed");
        }
    }
}

/// Lets the spool take what is to be collected.
pub(super) struct Gate {
    spool: Arc<Spool>,
    pods: Option<Arc<PodIndex>>,
    /// Directories, and whether their dumps are none to collect, as of then.
    excluded: Mutex<HashMap<PathBuf, (Instant, bool)>>,
}

impl Taker for Gate {
    fn prepare(&self, root: Root<'_>) -> Result<(), String> {
        self.spool.prepare(root)
    }

    fn knows(&self, file: FileId) -> bool {
        self.spool.knows(file)
    }

    fn owns(&self, name: &OsStr) -> bool {
        self.spool.owns(name)
    }

    fn is_gone(&self, uid: &str) -> bool {
        let pods = self.pods.as_deref();
        pods.is_some_and(|pods| pods.is_gone(uid, Timestamp::now()))
    }

    fn take(&self, found: &Found<'_>) -> Taken {
        match self.pods.as_deref() {
            Some(pods) if self.is_excluded(pods, found) => Taken::NotSelected,
            // Whose it is will be known soon. In the kubelet's directories it may be gone by then, so there it is taken, and held.
            Some(pods) if !found.root.kubelets && pods.may_exclude() && !pods.was_synced() => {
                Taken::Unsettled
            }
            _ => self.spool.take(found),
        }
    }
}

impl Gate {
    pub(super) fn new(spool: Arc<Spool>, pods: Option<Arc<PodIndex>>) -> Self {
        Self {
            spool,
            pods,
            excluded: Mutex::default(),
        }
    }

    /// Whether dumps in this directory are certainly none to collect. Believed for a moment: whoever opted out may leave thousands of files.
    fn is_excluded(&self, pods: &PodIndex, found: &Found<'_>) -> bool {
        if !pods.may_exclude() {
            return false;
        }
        let directory = found
            .levels
            .iter()
            .fold(found.root.path.to_owned(), |path, level| path.join(level));
        let mut excluded = self.excluded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, known)) = excluded.get(&directory)
            && then.elapsed() < EXCLUSION_BELIEVED
        {
            return *known;
        }
        let question = Question {
            source: found.root.path.as_os_str(),
            levels: found.levels.iter().map(|level| level.as_os_str()).collect(),
            names: &found.names,
            file_name: None,
            file_uid: found.stat.uid,
            host_name: None,
            ended: found.stat.changed,
        };
        let is_excluded = pods.excludes(&question, Timestamp::now());
        if excluded.len() >= DIRECTORIES_MAX {
            excluded.clear();
        }
        excluded.insert(directory, (Instant::now(), is_excluded));
        is_excluded
    }
}
