//! What the spool counts.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// Why a held dump is no longer there. Stays at zero, or something is wrong with the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its file vanished from the state directory, the holding directory or, before it was copied, from its source.
    Vanished,
}

impl Loss {
    const ALL: [Self; 1] = [Self::Vanished];

    /// The metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vanished => "vanished",
        }
    }
}

/// Gauges and counters of the spool.
#[derive(Clone, Debug)]
pub struct Metrics {
    dumps: IntGauge,
    held: IntGauge,
    bytes: IntGauge,
    lost: IntCounterVec,
}

impl Metrics {
    /// Makes and registers them; every label value shows from the start.
    ///
    /// # Errors
    /// A metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let dumps = IntGauge::new(
            "salvage_pending_dumps",
            "Dumps that are held and not yet stored.",
        )?;
        let held = IntGauge::new(
            "salvage_held_dumps",
            "Dumps of those that stay on the node until it is known whose they are.",
        )?;
        let bytes = IntGauge::new(
            "salvage_pending_bytes",
            "Bytes of all files that are held, logs included, that are not holes.",
        )?;
        let lost = IntCounterVec::new(
            Opts::new(
                "salvage_dumps_lost_total",
                "Dumps that were held and could not be stored.",
            ),
            &["reason"],
        )?;
        registry.register(Box::new(dumps.clone()))?;
        registry.register(Box::new(held.clone()))?;
        registry.register(Box::new(bytes.clone()))?;
        registry.register(Box::new(lost.clone()))?;
        for loss in Loss::ALL {
            lost.with_label_values(&[loss.name()]);
        }
        Ok(Self {
            dumps,
            held,
            bytes,
            lost,
        })
    }

    pub(super) fn pending(&self, dumps: usize, held: usize, bytes: u64) {
        self.dumps.set(i64::try_from(dumps).unwrap_or(i64::MAX));
        self.held.set(i64::try_from(held).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(super) fn lost(&self, loss: Loss) {
        self.lost.with_label_values(&[loss.name()]).inc();
    }
}
