//! What the spool counts.

use jiff::Timestamp;
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

/// What is held, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    /// Dumps.
    pub(super) dumps: usize,
    /// Those of them that wait until it is known whose they are.
    pub(super) held: usize,
    /// Bytes of all files.
    pub(super) bytes: u64,
    /// When the oldest dump that nothing but shipping is needed for crashed.
    pub(super) oldest: Option<Timestamp>,
}

/// Gauges and counters of the spool.
#[derive(Clone, Debug)]
pub struct Metrics {
    dumps: IntGauge,
    held: IntGauge,
    bytes: IntGauge,
    oldest: IntGauge,
    max_use: IntGauge,
    room: IntGauge,
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
        let oldest = IntGauge::new(
            "salvage_oldest_pending_timestamp_seconds",
            "When the oldest crash with a dump that waits to be stored happened, in seconds since the epoch; 0 where none waits.",
        )?;
        let max_use = IntGauge::new(
            "salvage_spool_max_use_bytes",
            "Most bytes of dumps that may be held (spool.max_use).",
        )?;
        let room = IntGauge::new(
            "salvage_spool_room_bytes",
            "Bytes of dumps that may still be copied onto the node, by spool.max_use and spool.keep_free.",
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
        registry.register(Box::new(oldest.clone()))?;
        registry.register(Box::new(max_use.clone()))?;
        registry.register(Box::new(room.clone()))?;
        registry.register(Box::new(lost.clone()))?;
        for loss in Loss::ALL {
            lost.with_label_values(&[loss.name()]);
        }
        Ok(Self {
            dumps,
            held,
            bytes,
            oldest,
            max_use,
            room,
            lost,
        })
    }

    pub(super) fn pending(&self, now: Pending) {
        self.dumps.set(gauge(now.dumps as u64));
        self.held.set(gauge(now.held as u64));
        self.bytes.set(gauge(now.bytes));
        self.oldest.set(now.oldest.map_or(0, Timestamp::as_second));
    }

    /// Shows the quota and what is left of it.
    pub(super) fn quota(&self, max_use: u64, left: u64) {
        self.max_use.set(gauge(max_use));
        self.room.set(gauge(left));
    }

    pub(super) fn lost(&self, loss: Loss) {
        self.lost.with_label_values(&[loss.name()]).inc();
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
