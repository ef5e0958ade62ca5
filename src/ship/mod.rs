//! From a held dump to a crash in the store: identify, decide, encode, upload, verify, announce, remove.
//!
//! ```text
//! Spool::check_out ─► steps ─► (Claiming, Copied, ... : the spool's own steps)
//!                       ├─► choose: identify, join what one death left, decide ─► whose: pods and ends of containers · revise: what is stored, anew
//!                       ├─► send ─► frames (reader thread) ─► pool (workers: zstd) ─► upload (parts, journal) ─► confirm ─► Store
//!                       │     └─► earlier: what an earlier attempt left is gone on with, or given up
//!                       └─► announce: the manifest
//! ```
//!
//! Order, always: artifact durable → verified → manifest durable → verified → state says stored → dump removed. A stop between any two repeats
//! the step and changes nothing: keys are fixed before the first byte leaves, and the encoder gives the same bytes again.
//!
//! Memory is `(workers + 2)` frames in and out, plus the parts in flight ([`Config::part_memory`]); nothing grows with the dump.

mod capture;
mod choose;
mod confirm;
mod earlier;
mod frames;
mod manifest;
mod metrics;
mod pool;
mod resume;
mod retry;
mod revise;
mod send;
mod steps;
mod upload;
mod whose;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::decide::PartLimits;
use crate::kube::{PodIndex, Teller};
use crate::model::{CrashId, Host};
use crate::spool::{Spool, Work};
use crate::store::Store;
use crate::sys::small_objects;

pub use metrics::Metrics;

/// Bytes of a dump in each frame. Measured on a 1 GB JVM core at level 1: 110.9 MB in frames of 1 MiB, 110.5 MB in frames of 4 MiB (level 1 looks back
/// 512 KiB at most), while the memory for them is a quarter.
pub const FRAME_BYTES: u32 = 1 << 20;

/// Smallest part of a multipart upload.
const PART_MIN: u64 = 8 << 20;

/// Most parts of one object; stores allow 10,000.
const PARTS: u64 = 9_000;

/// How dumps are encoded and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the node.
    pub node: String,
    /// zstd level.
    pub level: i32,
    /// Threads that compress.
    pub workers: usize,
    /// Bytes of parts that may be held at once, over all dumps.
    pub part_memory: u64,
}

/// What shipping needs of Kubernetes.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    /// Who may have left a dump.
    pub pods: Arc<PodIndex>,
    /// How far a dump's end and its container's end may be apart, and how long one is waited for when the other is here.
    pub window: SignedDuration,
    /// Since when this agent looks.
    pub began: Timestamp,
    /// Is told of each crash that is stored for the first time.
    pub teller: Option<Teller>,
}

/// Dumps shipped at the same time: one large dump must not keep a small one waiting.
pub const JOBS: usize = 2;

/// Parts held at once by default: one being filled and one on the way for each dump.
pub const PART_MEMORY: u64 = 2 * JOBS as u64 * PART_MIN;

/// What the agent's process takes besides what shipping holds: code, TLS, state of ten thousand entries.
pub const MEMORY_BESIDES: u64 = 48 << 20;

/// Ships entries of a spool to a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shipper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    host: Host,
    spool: Arc<Spool>,
    store: Arc<dyn Store>,
    kubernetes: Option<Kubernetes>,
    pool: pool::Pool,
    memory: upload::Memory,
    metrics: Metrics,
}

impl Shipper {
    /// Starts the workers.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub fn new(
        config: Config,
        host: Host,
        spool: Arc<Spool>,
        store: Arc<dyn Store>,
        kubernetes: Option<Kubernetes>,
        metrics: Metrics,
    ) -> std::io::Result<Self> {
        let pool = pool::Pool::new(config.workers, config.level)?;
        let memory = upload::Memory::new(config.part_memory);
        Ok(Self(Arc::new(Inner {
            config,
            host,
            spool,
            store,
            kubernetes,
            pool,
            memory,
            metrics,
        })))
    }

    /// Bytes that shipping may hold at once beyond a few megabytes of the process itself.
    pub fn memory_bound(config: &Config) -> u64 {
        pool::memory(config.workers) + config.part_memory
    }

    /// Advances one entry that was checked out for this work as far as it goes now, and checks it in. Returns the crash if it is stored.
    pub async fn advance(&self, work: Work, entry: crate::spool::Entry) -> Option<CrashId> {
        steps::Run::new(Arc::clone(&self.0), entry).run(work).await
    }
}

impl Inner {
    fn part_limits(&self) -> PartLimits {
        let limits = PartLimits {
            frame_bytes: u64::from(FRAME_BYTES),
            part_min: PART_MIN,
            // One being filled, one on the way.
            part_max: (self.config.part_memory / 2).max(PART_MIN),
            parts: PARTS,
        };
        match small_objects() {
            true => PartLimits {
                part_max: PART_MIN,
                parts: 2,
                ..limits
            },
            false => limits,
        }
    }
}
