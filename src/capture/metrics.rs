//! What is counted of captures.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::failure::{Failure, Reason};
use crate::model::CaptureKind;

/// Reasons that an operator has to do something about.
const ALERTING: [Reason; 3] = [Reason::PermissionDenied, Reason::NodeError, Reason::Lost];

/// The outcome of one that was taken.
const TAKEN: &str = "Taken";

/// Counters and histograms.
#[derive(Clone, Debug)]
pub struct Metrics {
    captures: IntCounterVec,
    pauses: HistogramVec,
}

impl Metrics {
    /// Makes and registers them; what is alerted on shows from the start, the other twenty reasons of each kind when they come: a fleet has thousands of agents.
    ///
    /// # Errors
    /// A metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let captures = IntCounterVec::new(
            Opts::new(
                "salvage_captures_total",
                "Captures of living processes, by kind and by what came of them: Taken, or the reason why not.",
            ),
            &["kind", "outcome"],
        )?;
        let pauses = HistogramVec::new(
            HistogramOpts::new(
                "salvage_capture_pause_seconds",
                "How long processes stood still for captures that were taken.",
            )
            .buckets(vec![0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0]),
            &["kind"],
        )?;
        registry.register(Box::new(captures.clone()))?;
        registry.register(Box::new(pauses.clone()))?;
        for kind in CaptureKind::ALL {
            captures.with_label_values(&[kind.name(), TAKEN]);
            for reason in ALERTING {
                captures.with_label_values(&[kind.name(), reason.name()]);
            }
            let _: Histogram = pauses.with_label_values(&[kind.name()]);
        }
        Ok(Self { captures, pauses })
    }

    pub(super) fn ended(&self, kind: CaptureKind, failure: Option<&Failure>) {
        let outcome = failure.map_or(TAKEN, |failure| failure.reason.name());
        self.captures
            .with_label_values(&[kind.name(), outcome])
            .inc();
    }

    pub(super) fn took(&self, kind: CaptureKind, pause: Duration) {
        self.pauses
            .with_label_values(&[kind.name()])
            .observe(pause.as_secs_f64());
    }
}
