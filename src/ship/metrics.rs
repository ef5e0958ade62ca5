//! What shipping counts.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use crate::model::{Confidence, Format, Manifest, Reason};

/// Series of one namespace, and namespaces, that are told apart; the rest are `other`. Both are chosen by whoever may write a source.
const SERIES_PER_NAMESPACE: usize = 50;
const NAMESPACES: usize = 200;

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

/// The series of each namespace: container and reason.
type Seen = HashMap<String, HashSet<(String, Reason)>>;

/// Counters and histograms of shipping.
#[derive(Clone, Debug)]
pub struct Metrics {
    crashes: IntCounterVec,
    seen: Arc<Mutex<Seen>>,
    stored: IntCounterVec,
    raw_bytes: IntCounter,
    stored_bytes: IntCounter,
    attribution: IntCounterVec,
    crash_to_stored: Histogram,
    steps: HistogramVec,
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
        let last_stored = IntGauge::new(
            "salvage_last_stored_timestamp_seconds",
            "When the last crash was stored, in seconds since the epoch.",
        )?;
        registry.register(Box::new(crashes.clone()))?;
        registry.register(Box::new(stored.clone()))?;
        registry.register(Box::new(raw_bytes.clone()))?;
        registry.register(Box::new(stored_bytes.clone()))?;
        registry.register(Box::new(attribution.clone()))?;
        registry.register(Box::new(crash_to_stored.clone()))?;
        registry.register(Box::new(steps.clone()))?;
        registry.register(Box::new(last_stored.clone()))?;
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
            seen: Arc::default(),
            stored,
            raw_bytes,
            stored_bytes,
            attribution,
            crash_to_stored,
            steps,
            last_stored,
        })
    }

    pub(super) fn took(&self, step: Stage, time: Duration) {
        self.steps
            .with_label_values(&[step.name()])
            .observe(time.as_secs_f64());
    }

    /// Counts a crash whose manifest is stored.
    pub(super) fn stored(&self, manifest: &Manifest, since_crash: Duration, now_seconds: i64) {
        let namespace = manifest
            .pod
            .as_ref()
            .and_then(|pod| pod.namespace.as_deref())
            .unwrap_or(NONE);
        let container = manifest
            .container
            .as_ref()
            .and_then(|container| container.name.as_deref())
            .unwrap_or(NONE);
        let (namespace, container) = self.capped(namespace, container, manifest.reason);
        // The owner a person deployed is known only with Kubernetes.
        self.crashes
            .with_label_values(&[
                namespace.as_str(),
                NONE,
                container.as_str(),
                manifest.reason.to_string().as_str(),
            ])
            .inc();
        for artifact in &manifest.artifacts {
            self.stored
                .with_label_values(&[artifact.format.name()])
                .inc();
            self.raw_bytes.inc_by(artifact.bytes);
            self.stored_bytes.inc_by(artifact.stored_bytes);
        }
        let confidence = manifest
            .attribution
            .as_ref()
            .map_or(Confidence::Unknown, |attribution| attribution.confidence);
        self.attribution
            .with_label_values(&[confidence.name()])
            .inc();
        self.crash_to_stored.observe(since_crash.as_secs_f64());
        self.last_stored.set(now_seconds);
    }

    fn capped(&self, namespace: &str, container: &str, reason: Reason) -> (String, String) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains_key(namespace) && seen.len() >= NAMESPACES {
            return (OTHER.to_owned(), OTHER.to_owned());
        }
        let series = seen.entry(namespace.to_owned()).or_default();
        let one = (container.to_owned(), reason);
        if !series.contains(&one) && series.len() >= SERIES_PER_NAMESPACE {
            return (namespace.to_owned(), OTHER.to_owned());
        }
        series.insert(one);
        (namespace.to_owned(), container.to_owned())
    }
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
                series.insert(metrics.capped(
                    &format!("ns{namespace}"),
                    &format!("c{container}"),
                    Reason::Unknown,
                ));
            }
        }
        assert_eq!(series.len(), NAMESPACES * (SERIES_PER_NAMESPACE + 1) + 1);
    }
}
