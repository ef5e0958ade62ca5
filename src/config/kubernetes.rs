//! The keys below `kubernetes`, checked.

use std::time::Duration;

use jiff::SignedDuration;

use super::written::{self, Unknown};
use super::{Error, Surroundings, check_absolute, key};
use crate::decide::{Selection, UnknownPods};
use crate::kube::{EventsConfig, IndexConfig, LogsConfig, WatchConfig};

/// Most pods that are gone and remembered: some kilobytes each.
const GONE_MAX: usize = 1_000;

/// Most label keys that manifests show.
const LABELS_MAX: usize = 32;

/// Most bytes of a log: each is held in memory once while it is read.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// Shortest join window: a container's end is told in whole seconds.
const WINDOW_MIN: Duration = Duration::from_secs(1);

/// Longest join window: what is not certain waits for it.
const WINDOW_MAX: Duration = Duration::from_secs(300);

/// What the agent uses of Kubernetes.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    /// How the pod index is kept.
    pub index: IndexConfig,
    /// How pods are watched.
    pub watch: WatchConfig,
    /// How logs are taken, if they are.
    pub logs: Option<LogsConfig>,
    /// How Events are made, if they are.
    pub events: Option<EventsConfig>,
    /// How far a dump's end and its container's end may be apart.
    pub join_window: SignedDuration,
}

pub(super) fn check(
    written: &written::Kubernetes,
    node: &str,
    surroundings: &Surroundings,
) -> Result<Option<Kubernetes>, Error> {
    check_absolute("kubernetes.kubelet_dir", &written.kubelet_dir)?;
    check_absolute("kubernetes.pod_logs_dir", &written.pod_logs_dir)?;
    let labels = &written.labels;
    let is_key = |label: &String| !label.is_empty() && label.len() <= 317 && label.is_ascii();
    if labels.len() > LABELS_MAX || !labels.iter().all(is_key) {
        let problem =
            format!("is a list of up to {LABELS_MAX} label keys such as app.kubernetes.io/name");
        return Err(key("kubernetes.labels", problem));
    }
    let logs = logs(written)?;
    let window = written.join_window.duration();
    if !(WINDOW_MIN..=WINDOW_MAX).contains(&window) {
        return Err(key(
            "kubernetes.join_window",
            "is a time from 1s to 5m: the end of a container is told in whole seconds, and nothing is stored before it is over",
        ));
    }
    let selection = selection(&written.selection)?;
    Ok(written.enabled.then(|| Kubernetes {
        index: IndexConfig {
            node: node.to_owned(),
            keep_gone: written.keep_gone_pods.duration(),
            max_gone: GONE_MAX,
            own: surroundings.pod.clone(),
            labels: labels.clone(),
            selection,
            log_dir: written.pod_logs_dir.clone(),
        },
        watch: WatchConfig {
            node: node.to_owned(),
            start_jitter: written.start_jitter.duration(),
        },
        logs,
        events: written.events.then(|| EventsConfig {
            node: node.to_owned(),
        }),
        join_window: SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX),
    }))
}

fn logs(written: &written::Kubernetes) -> Result<Option<LogsConfig>, Error> {
    let log = &written.log;
    let bytes = log.max_bytes.bytes();
    if log.lines == 0 || bytes == 0 {
        return Err(key(
            "kubernetes.log",
            "lines and max_bytes must be more than 0; set enabled: false to take no logs",
        ));
    }
    if bytes > LOG_BYTES_MAX {
        return Err(key("kubernetes.log.max_bytes", "is more than 16MiB"));
    }
    Ok(log.enabled.then(|| LogsConfig {
        dir: written.pod_logs_dir.clone(),
        lines: log.lines,
        bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
        exclude_namespaces: log.exclude_namespaces.clone(),
    }))
}

fn selection(written: &written::Selection) -> Result<Selection, Error> {
    let unknown = written.unknown.map(|unknown| match unknown {
        Unknown::Ship => UnknownPods::Ship,
        Unknown::Hold => UnknownPods::Hold,
    });
    let selection = Selection::new(
        written.namespaces.clone(),
        written.exclude_namespaces.clone(),
        written.pods.clone(),
        unknown,
    );
    selection.map_err(|problem| {
        key(
            "kubernetes.selection.pods",
            format!("{problem}; write it as a label selector: matchLabels, matchExpressions"),
        )
    })
}
