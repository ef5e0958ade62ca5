//! A capture without an agent: taken, shipped and announced by the process that was asked.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus::Registry;
use tokio::sync::watch;

use super::failure::{Failure, Reason};
use super::metrics::Metrics;
use super::remove_leftovers;
use super::request::Request;
use super::take::{Capturer, Config, Job, Progress};
use super::whom::Whom;
use crate::decide::Limits;
use crate::kube::CaptureSpec;
use crate::model::{CrashId, Trigger};
use crate::ship::{self, Shipper};
use crate::spool::{self, Spool, Work};
use crate::store::Store;
use crate::sys;

/// Most names of the temporary directory that are looked at.
const EARLIER_MAX: usize = 4_096;

/// How often it is looked whether somebody wants it to end.
const LOOK: Duration = Duration::from_millis(100);

/// So often a store that does not take it is tried; the waits between grow.
const ATTEMPTS: u32 = 5;

/// How long it is waited for a process that is being dumped to go on: nobody else would let it go. It ends with the process at the latest.
const LET_GO_WITHIN: Duration = Duration::from_secs(86_400);

/// What the directories of such captures are called.
pub const PREFIX: &str = "salvage-capture-";

/// The wait after the first attempt.
const AGAIN: Duration = Duration::from_secs(1);

/// Where and as whom it is taken.
#[derive(Clone, Debug)]
pub struct Local {
    /// A directory of its own, for what is not stored yet.
    state_dir: PathBuf,
    cluster: String,
    node: String,
}

impl Local {
    /// With this directory, and the names that an agent would have here.
    pub fn in_directory(state_dir: &Path) -> Self {
        let set = |name| {
            std::env::var(name)
                .ok()
                .filter(|value: &String| !value.is_empty())
        };
        let uname = rustix::system::uname();
        let host_name = uname.nodename().to_string_lossy().into_owned();
        Self {
            state_dir: state_dir.to_owned(),
            cluster: set("SALVAGE_CLUSTER").unwrap_or_else(|| "-".to_owned()),
            node: set("SALVAGE_NODE").unwrap_or(host_name),
        }
    }
}

/// Why a capture is not in the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was not taken.
    #[error(transparent)]
    NotTaken(#[from] Failure),
    /// It is taken, but the store does not have it.
    #[error("capture {0} is taken, and the store has not taken it")]
    Kept(CrashId),
}

impl Error {
    /// Whether something was taken that is not stored.
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }
}

/// Lets go of processes that an earlier one of these was dumping when it was killed: its directory is there still.
fn remove_earlier() {
    let own = rustix::process::geteuid().as_raw();
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.take(EARLIER_MAX).flatten() {
        let is_one = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // Anyone may make a directory of that name; only ours is nobody else's.
        let is_ours = std::fs::symlink_metadata(entry.path())
            .is_ok_and(|found| found.is_dir() && found.uid() == own && found.mode() & 0o077 == 0);
        if is_one
            && is_ours
            && let Err(error) = remove_leftovers(&entry.path())
        {
            tracing::debug!(%error, "what an earlier capture left cannot be looked for");
        }
    }
}

/// Takes a capture of a process of this machine and stores it. Gives its id.
///
/// # Errors
/// [`Error`].
pub async fn take_here(
    spec: &CaptureSpec,
    pid: i32,
    store: Arc<dyn Store>,
    local: Local,
    cancelled: &Arc<AtomicBool>,
    show: &mut dyn FnMut(&Progress),
) -> Result<CrashId, Error> {
    let request = Request::of(spec)?;
    remove_earlier();
    let registry = Registry::new();
    let trouble =
        |error: &dyn std::fmt::Display| Failure::new(Reason::NodeError, error.to_string());
    let spool_metrics = spool::Metrics::register(&registry).map_err(|error| trouble(&error))?;
    let ship_metrics = ship::Metrics::register(&registry).map_err(|error| trouble(&error))?;
    let metrics = Metrics::register(&registry).map_err(|error| trouble(&error))?;
    let config = spool::Config {
        state_dir: local.state_dir.clone(),
        limits: Limits {
            max_use: u64::MAX,
            keep_free: 64 << 20,
            keep_free_inodes: 100,
            max_entries: 16,
        },
        about: "salvage capture".to_owned(),
    };
    let spool = Arc::new(Spool::open(config, spool_metrics).map_err(|error| trouble(&error))?);
    let proc = Config {
        proc: "/proc".into(),
    };
    let capturer =
        Capturer::new(proc, Arc::clone(&spool), metrics).map_err(|error| trouble(&error))?;
    let id = CrashId::new(Timestamp::now(), fastrand::u128(..));
    let job = Job {
        id,
        request,
        whom: Whom::Process(pid),
        trigger: Trigger::Request,
        asked_by: None,
        memory: None,
    };
    take(capturer, job, cancelled, show).await?;
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(4);
    let shipper = Shipper::new(
        ship::Config {
            cluster: local.cluster,
            node: local.node,
            level: 1,
            workers,
            part_memory: ship::PART_MEMORY,
        },
        sys::this_host(),
        Arc::clone(&spool),
        store,
        None,
        ship_metrics,
    )
    .map_err(|error| trouble(&error))?;
    tokio::select! {
        stored = ship(&spool, &shipper, id) => stored,
        () = until_set(cancelled) => Err(Error::Kept(id)),
    }
}

async fn until_set(cancelled: &AtomicBool) {
    while !cancelled.load(Ordering::Relaxed) {
        tokio::time::sleep(LOOK).await;
    }
}

async fn take(
    capturer: Capturer,
    job: Job,
    cancelled: &Arc<AtomicBool>,
    show: &mut dyn FnMut(&Progress),
) -> Result<(), Failure> {
    let (tell, mut progress) = watch::channel(Progress::default());
    let theirs = Arc::clone(cancelled);
    let mut work = tokio::task::spawn_blocking(move || {
        let tell = |change: &mut dyn FnMut(&mut Progress)| tell.send_modify(change);
        let taken = capturer.take(job, &theirs, &tell);
        // Whoever waits for us to open its file is let go before this program ends.
        capturer.wait_until_idle(Instant::now() + LET_GO_WITHIN);
        taken
    });
    loop {
        // All arms are cancel-safe: the work goes on by itself, and a change or signal that was not looked at is there in the next round.
        tokio::select! {
            biased;
            ended = &mut work => {
                let panicked = |_| Failure::new(Reason::NodeError, "a fault of ours ended it");
                return ended.map_err(panicked)?.map(|_| ());
            }
            changed = progress.changed() => match changed {
                Ok(()) => show(&progress.borrow_and_update().clone()),
                // Its end is next.
                Err(_) => {
                    let panicked = |_| Failure::new(Reason::NodeError, "a fault of ours ended it");
                    return work.await.map_err(panicked)?.map(|_| ());
                }
            },
        }
    }
}

async fn ship(spool: &Arc<Spool>, shipper: &Shipper, id: CrashId) -> Result<CrashId, Error> {
    let mut wait = AGAIN;
    for _ in 0..ATTEMPTS {
        // Whatever was planned for later is tried now: somebody waits.
        while let Some(entry) = spool.check_out(Work::Ship, Timestamp::MAX) {
            let attempts = entry.attempts;
            shipper.advance(Work::Ship, entry).await;
            match spool.attempts(id) {
                None => return Ok(id),
                Some(now) if now > attempts => break,
                Some(_) => {}
            }
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
    Err(Error::Kept(id))
}
