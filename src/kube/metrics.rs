//! What is counted of the API server.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// What became of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was made.
    Sent,
    /// It was not sent: too many of the pod or the node.
    Limited,
    /// The API server did not take it.
    Failed,
    /// It was not sent: too many waited, or no API server is known.
    Dropped,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Sent, Self::Limited, Self::Failed, Self::Dropped];

    fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Limited => "limited",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// Counters.
#[derive(Clone, Debug)]
pub struct Metrics {
    watch_errors: IntCounter,
    unseen: IntCounter,
    events: IntCounterVec,
}

impl Metrics {
    /// Makes and registers them; every label value shows from the start.
    ///
    /// # Errors
    /// A metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let watch_errors = IntCounter::new(
            "salvage_kube_watch_errors_total",
            "Failures of listing and watching this node's pods, or captures.",
        )?;
        let unseen = IntCounter::new(
            "salvage_terminations_unseen_total",
            "Ends of containers that no status showed, known from the number of restarts.",
        )?;
        let events = IntCounterVec::new(
            Opts::new(
                "salvage_kube_events_total",
                "Events about stored crashes, by what became of them.",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(watch_errors.clone()))?;
        registry.register(Box::new(unseen.clone()))?;
        registry.register(Box::new(events.clone()))?;
        for outcome in Outcome::ALL {
            events.with_label_values(&[outcome.name()]);
        }
        Ok(Self {
            watch_errors,
            unseen,
            events,
        })
    }

    pub(in crate::kube) fn watch_error(&self) {
        self.watch_errors.inc();
    }

    pub(super) fn unseen(&self, count: u32) {
        self.unseen.inc_by(u64::from(count));
    }

    pub(super) fn event(&self, outcome: Outcome) {
        self.events.with_label_values(&[outcome.name()]).inc();
    }
}
