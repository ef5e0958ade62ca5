//! What shipping counts.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use crate::model::{Artifact, Confidence, Format, Kind, Manifest, Reason, Role};
use crate::spool::Choice;
use crate::store::Retry;

/// Series of one namespace, and namespaces, that are told apart; the rest are `other`. Both are chosen by whoever may write a source.
const SERIES_PER_NAMESPACE: usize = 50;
const NAMESPACES: usize = 200;

/// The pod is not among those to collect from.
const NOT_SELECTED: &str = "not_selected";

/// When a failed step is tried again, as a label.
const RETRY_CLASSES: [&str; 3] = ["transient", "wait_until", "permanent"];

const OTHER: &str = "other";
const NONE: &str = "-";

/// A stage of shipping, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Finding out what it is.
    Identify,
    /// Encoding and sending the artifact, verification included.
    Upload,
    /// Sending and verifying the manifest.
    Announce,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Identify, Self::Upload, Self::Announce];

    fn name(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Upload => "upload",
            Self::Announce => "announce",
        }
    }
}

/// The series of each namespace: workload, container and reason.
type Seen = HashMap<String, HashSet<(String, String, Reason)>>;

/// Counters and histograms of shipping.
#[derive(Clone, Debug)]
pub struct Metrics {
    crashes: IntCounterVec,
    without_dump: IntCounterVec,
    suppressed: IntCounterVec,
    seen: Arc<Mutex<Seen>>,
    stored: IntCounterVec,
    raw_bytes: IntCounter,
    stored_bytes: IntCounter,
    attribution: IntCounterVec,
    crash_to_stored: Histogram,
    steps: HistogramVec,
    retries: IntCounterVec,
    last_stored: IntGauge,
}

impl Metrics {
    /// Makes and registers them; label values that are known show from the start.
    ///
    /// # Errors
    /// A metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let names = ["namespace", "workload", "container", "reason"];
        let crashes = IntCounterVec::new(
            Opts::new(
                "salvage_crashes_total",
                "Crashes, by where they happened and the class of the reason.",
            ),
            &names,
        )?;
        let without_dump = IntCounterVec::new(
            Opts::new(
                "salvage_crashes_without_dump_total",
                "Crashes of containers that no dump was found of, by why.",
            ),
            &["namespace", "workload", "container", "why"],
        )?;
        let suppressed = IntCounterVec::new(
            Opts::new(
                "salvage_dumps_suppressed_total",
                "Dumps that were found and by policy not stored, by why.",
            ),
            &["why"],
        )?;
        let stored = IntCounterVec::new(
            Opts::new(
                "salvage_dumps_stored_total",
                "Dumps that are stored and verified.",
            ),
            &["format"],
        )?;
        let raw_bytes = IntCounter::new(
            "salvage_dump_raw_bytes_total",
            "Bytes of stored dumps, holes included.",
        )?;
        let stored_bytes = IntCounter::new(
            "salvage_dump_stored_bytes_total",
            "Bytes that stored dumps take in the store.",
        )?;
        let attribution = IntCounterVec::new(
            Opts::new(
                "salvage_attribution_total",
                "Stored crashes, by how sure their names are.",
            ),
            &["confidence"],
        )?;
        // From a small dump on a fast store to a hundred gigabytes or an outage of a day.
        let crash_to_stored = Histogram::with_opts(
            HistogramOpts::new(
                "salvage_crash_to_stored_seconds",
                "Time from the crash until it is stored.",
            )
            .buckets(vec![
                1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0,
            ]),
        )?;
        let steps = HistogramVec::new(
            HistogramOpts::new("salvage_ship_seconds", "Duration of each step of shipping.")
                .buckets(vec![
                    0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0,
                ]),
            &["phase"],
        )?;
        let retries = IntCounterVec::new(
            Opts::new(
                "salvage_ship_retries_total",
                "Steps of shipping that failed and are tried again, by when: soon, when the store said, or rarely because somebody must change something.",
            ),
            &["class"],
        )?;
        let last_stored = IntGauge::new(
            "salvage_last_stored_timestamp_seconds",
            "When the last crash was stored, in seconds since the epoch.",
        )?;
        registry.register(Box::new(crashes.clone()))?;
        registry.register(Box::new(without_dump.clone()))?;
        registry.register(Box::new(suppressed.clone()))?;
        suppressed.with_label_values(&[NOT_SELECTED]);
        registry.register(Box::new(stored.clone()))?;
        registry.register(Box::new(raw_bytes.clone()))?;
        registry.register(Box::new(stored_bytes.clone()))?;
        registry.register(Box::new(attribution.clone()))?;
        registry.register(Box::new(crash_to_stored.clone()))?;
        registry.register(Box::new(steps.clone()))?;
        registry.register(Box::new(retries.clone()))?;
        registry.register(Box::new(last_stored.clone()))?;
        for class in RETRY_CLASSES {
            retries.with_label_values(&[class]);
        }
        for format in Format::ALL {
            stored.with_label_values(&[format.name()]);
        }
        for confidence in Confidence::ALL {
            attribution.with_label_values(&[confidence.name()]);
        }
        for step in Stage::ALL {
            steps.with_label_values(&[step.name()]);
        }
        Ok(Self {
            crashes,
            without_dump,
            suppressed,
            seen: Arc::default(),
            stored,
            raw_bytes,
            stored_bytes,
            attribution,
            crash_to_stored,
            steps,
            retries,
            last_stored,
        })
    }

    pub(super) fn took(&self, step: Stage, time: Duration) {
        self.steps
            .with_label_values(&[step.name()])
            .observe(time.as_secs_f64());
    }

    /// Counts a step that failed and is tried again.
    pub(super) fn tried_in_vain(&self, retry: Retry) {
        let [transient, wait_until, permanent] = RETRY_CLASSES;
        let class = match retry {
            Retry::Transient => transient,
            Retry::After(_) => wait_until,
            Retry::Permanent => permanent,
        };
        self.retries.with_label_values(&[class]).inc();
    }

    /// Counts a crash, or so many ends that were not seen, when its reason is chosen: whether a store takes it or not.
    pub(super) fn chosen(&self, choice: &Choice, count: u32) {
        let namespace = choice.scope.as_deref().unwrap_or(NONE);
        let container = choice.container.name.as_deref().unwrap_or(NONE);
        let owner = choice.pod.owner.as_ref();
        let workload = owner.map_or_else(
            || NONE.to_owned(),
            |owner| format!("{}/{}", owner.kind, owner.name),
        );
        let series = self.capped(Series {
            namespace,
            workload: &workload,
            container,
            reason: choice.reason,
        });
        let [namespace, workload, container] = series.each_ref().map(String::as_str);
        let reason = choice.reason.to_string();
        self.crashes
            .with_label_values(&[namespace, workload, container, reason.as_str()])
            .inc_by(u64::from(count));
        if let Some(missing) = choice
            .missing
            .iter()
            .find(|missing| missing.role == Role::Dump)
        {
            self.without_dump
                .with_label_values(&[namespace, workload, container, missing.why.as_str()])
                .inc_by(u64::from(count));
        }
    }

    /// Counts a dump of a pod that is not selected.
    pub(super) fn suppressed(&self) {
        self.suppressed.with_label_values(&[NOT_SELECTED]).inc();
    }

    /// Counts a crash whose manifest is stored, and the artifacts that are new in it.
    pub(super) fn stored(
        &self,
        manifest: &Manifest,
        new: &[Artifact],
        since_crash: Duration,
        now_seconds: i64,
    ) {
        for artifact in new.iter().filter(|artifact| artifact.role != Role::Log) {
            self.stored
                .with_label_values(&[artifact.format.name()])
                .inc();
            self.raw_bytes.inc_by(artifact.bytes);
            self.stored_bytes.inc_by(artifact.stored_bytes);
        }
        self.last_stored.set(now_seconds);
        if manifest.revision > 1 || manifest.kind == Kind::Capture {
            return;
        }
        let confidence = manifest
            .attribution
            .as_ref()
            .map_or(Confidence::Unknown, |attribution| attribution.confidence);
        self.attribution
            .with_label_values(&[confidence.name()])
            .inc();
        self.crash_to_stored.observe(since_crash.as_secs_f64());
    }

    /// Namespace, workload and container as labels.
    fn capped(&self, of: Series<'_>) -> [String; 3] {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let other = || OTHER.to_owned();
        if !seen.contains_key(of.namespace) && seen.len() >= NAMESPACES {
            return [other(), other(), other()];
        }
        let series = seen.entry(of.namespace.to_owned()).or_default();
        let one = (of.workload.to_owned(), of.container.to_owned(), of.reason);
        if !series.contains(&one) && series.len() >= SERIES_PER_NAMESPACE {
            return [of.namespace.to_owned(), other(), other()];
        }
        let labels = [of.namespace.to_owned(), one.0.clone(), one.1.clone()];
        series.insert(one);
        labels
    }
}

/// What tells one series from another.
#[derive(Clone, Copy, Debug)]
struct Series<'a> {
    namespace: &'a str,
    workload: &'a str,
    container: &'a str,
    reason: Reason,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_chooses_names_cannot_choose_the_number_of_series() {
        let metrics = Metrics::register(&Registry::new()).expect("register");
        let mut series = HashSet::new();
        for namespace in 0..1_000 {
            for container in 0..100 {
                series.insert(metrics.capped(Series {
                    namespace: &format!("ns{namespace}"),
                    workload: &format!("Deployment/d{container}"),
                    container: "app",
                    reason: Reason::Unknown,
                }));
            }
        }
        assert_eq!(series.len(), NAMESPACES * (SERIES_PER_NAMESPACE + 1) + 1);
    }
}
