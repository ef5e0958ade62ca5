//! The signals that end a command, which then tidies up.

use std::io;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::sys;

/// The signals by which people and systems end a command.
pub(super) struct Interrupts(Vec<tokio::signal::unix::Signal>);

impl Interrupts {
    /// Listens for them from now on.
    pub(super) fn new() -> anyhow::Result<Self> {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let heeded = kinds
            .into_iter()
            .filter(|kind| !sys::is_ignored(kind.as_raw_value()));
        let signals: io::Result<_> = heeded.map(signal).collect();
        Ok(Self(signals.context("listening for signals")?))
    }

    /// Waits for one. Cancel-safe: one that came meanwhile is kept.
    pub(super) async fn recv(&mut self) {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let each = self.0.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures::future::select_all(each).await;
    }
}
