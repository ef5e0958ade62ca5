//! What sources count.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::watch::WakeReason;
use crate::decide::Refusal;

/// Why a file or directory was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Trouble {
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device.
    Special,
    /// A file with more than one name.
    HardLink,
    /// Nothing in it.
    Empty,
    /// Beyond `limits.max_dump_size` or `limits.max_dump_data`.
    TooLarge,
    /// It cannot be opened or read.
    Unreadable,
    /// The source's directory is not there or cannot be opened.
    SourceUnavailable,
    /// Files cannot be taken away from its directory.
    NotWritable,
    /// More entries than one pass looks at.
    TooMany,
    /// The kernel allows no further watch; the directory is polled.
    WatchLimit,
    /// A watch could not be made or ended with an error; the directory is polled.
    Watch,
    /// The state of a claim could not be kept.
    State,
    /// Its pod is not collected from.
    NotSelected,
    /// There is no room.
    NoRoom(Refusal),
}

impl Trouble {
    const PLAIN: [Self; 13] = [
        Self::Symlink,
        Self::Special,
        Self::HardLink,
        Self::Empty,
        Self::TooLarge,
        Self::Unreadable,
        Self::SourceUnavailable,
        Self::NotWritable,
        Self::TooMany,
        Self::WatchLimit,
        Self::Watch,
        Self::State,
        Self::NotSelected,
    ];

    fn all() -> impl Iterator<Item = Self> {
        Self::PLAIN
            .into_iter()
            .chain(Refusal::ALL.map(Self::NoRoom))
    }

    /// The metric's label.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Symlink => "symlink",
            Self::Special => "special_file",
            Self::HardLink => "hard_link",
            Self::Empty => "empty",
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
            Self::SourceUnavailable => "source_unavailable",
            Self::NotWritable => "not_writable",
            Self::TooMany => "too_many",
            Self::WatchLimit => "watch_limit",
            Self::Watch => "watch",
            Self::State => "state",
            Self::NotSelected => "not_selected",
            Self::NoRoom(refusal) => refusal.name(),
        }
    }
}

/// Counters of all sources.
#[derive(Clone, Debug)]
pub struct Metrics {
    errors: IntCounterVec,
    rescans: IntCounterVec,
    gone: IntCounter,
    directories_removed: IntCounter,
}

impl Metrics {
    /// Makes and registers them; every label value shows from the start.
    ///
    /// # Errors
    /// A metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let errors = IntCounterVec::new(
            Opts::new(
                "salvage_source_errors_total",
                "Files and directories of sources that were passed over, by kind; a file counts once.",
            ),
            &["kind"],
        )?;
        let rescans = IntCounterVec::new(
            Opts::new(
                "salvage_source_rescans_total",
                "Scans of a source, by what caused them.",
            ),
            &["why"],
        )?;
        let gone = IntCounter::new(
            "salvage_dumps_gone_total",
            "Dumps that vanished from their source before they were taken.",
        )?;
        registry.register(Box::new(errors.clone()))?;
        registry.register(Box::new(rescans.clone()))?;
        let directories_removed = IntCounter::new(
            "salvage_directories_removed_total",
            "Empty directories of pods that are gone, removed from managed sources.",
        )?;
        registry.register(Box::new(gone.clone()))?;
        registry.register(Box::new(directories_removed.clone()))?;
        for trouble in Trouble::all() {
            errors.with_label_values(&[trouble.name()]);
        }
        for why in WakeReason::ALL {
            rescans.with_label_values(&[why.name()]);
        }
        Ok(Self {
            errors,
            rescans,
            gone,
            directories_removed,
        })
    }

    pub(super) fn trouble(&self, trouble: Trouble) {
        self.errors.with_label_values(&[trouble.name()]).inc();
    }

    pub(super) fn rescan(&self, why: WakeReason) {
        self.rescans.with_label_values(&[why.name()]).inc();
    }

    pub(super) fn gone(&self) {
        self.gone.inc();
    }

    pub(super) fn directories_removed(&self, count: usize) {
        self.directories_removed.inc_by(count as u64);
    }

    #[cfg(test)]
    pub(super) fn count(&self, trouble: Trouble) -> u64 {
        self.errors.with_label_values(&[trouble.name()]).get()
    }
}
