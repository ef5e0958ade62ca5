//! What the API server and the kubelet say of this node's pods: who they are, where they may write, and how their containers end.
//!
//! ```text
//! API server ──watch──► watch ──► PodIndex ◄──whose?── ship
//!                         └─────► Census ──a new death, with its log──► Mourner (the spool)
//! /var/log/pods ──names──► PodIndex (while the API server is away) · ──lines──► logs
//! API server ◄──Events── events ◄── crashes that are stored
//! API server ──watch──► capture ──► what people ask for
//! ```
//!
//! Nothing here is waited for by what is decided already: without an API server the index says what the node itself knows, and says that it is not
//! complete. What is read of a pod, and what of that is believed, is said in `object`.

mod bucket;
mod capture;
mod census;
mod client;
mod cri;
mod events;
mod index;
mod list;
mod living;
mod logs;
mod metrics;
mod object;
mod question;
mod watch;
mod watched;

use crate::model::{Death, LastLines};

pub use capture::{
    Capture, CaptureEstimate, CaptureSpec, CaptureStatus, CaptureWatchConfig, CounterValue, Heard,
    TypeCount, hear,
};
pub use census::{Census, Parts as CensusParts};
pub use client::client;
pub use cri::{Limits, Tail, last_lines};
pub use events::{
    Collected, CollectedError, Config as EventsConfig, Events, Teller, Told, collected,
};
pub use index::{Config as IndexConfig, PodIndex};
pub use list::{Error as ListError, each_pod};
pub use logs::{Config as LogsConfig, Logs};
pub use metrics::Metrics;
pub use question::{Question, Selected, Whose};
pub use watch::{Config as WatchConfig, Watched, watch};
pub use watched::WatchedPod;

/// Takes deaths over. The spool is one.
pub trait Mourner: Send + Sync {
    /// Makes a death durable, and tells whether it was not before. Told again of a death that it knows, it does nothing.
    ///
    /// # Errors
    /// It cannot be made durable now, for people; it is told again.
    fn died(&self, death: Death, log: Option<LastLines>) -> Result<bool, String>;

    /// The highest number of a start of this container whose end it knows.
    fn last(&self, uid: &str, container: &str) -> Option<u32>;
}
