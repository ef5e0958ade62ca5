//! A capture without an agent: taken, shipped and announced by the process that was asked.

use std::fmt::Display;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus::Registry;
use tokio::sync::watch;

use super::failure::{Failure, Reason};
use super::metrics::Metrics;
use super::request::Request;
use super::take::{Capturer, Config, Job, Progress};
use super::whom::Whom;
use super::{has_records, remove_leftovers};
use crate::decide::Limits;
use crate::kube::CaptureSpec;
use crate::model::{CrashId, Trigger, escaped, probe_key};
use crate::ship::{self, Shipper};
use crate::spool::{self, Spool, Work};
use crate::store::{self, Store};
use crate::sys::{self, Lock};

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

/// How often the store is tried before the process is asked.
const PROBES: u32 = 4;

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
    /// The store takes nothing, so the process was left in peace.
    #[error("{url} cannot be stored to, so the process was not asked")]
    Store {
        /// The store.
        url: String,
        /// What it said.
        #[source]
        source: store::Error,
    },
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

/// Lets go of processes that earlier ones of these were dumping when they were killed, and removes what is left of them here: their directories are there still.
fn remove_earlier(temporary: &Path) -> Vec<JoinHandle<()>> {
    let own = rustix::process::geteuid().as_raw();
    let mut tidying = Vec::new();
    let Ok(entries) = std::fs::read_dir(temporary) else {
        return tidying;
    };
    for entry in entries.take(EARLIER_MAX).flatten() {
        let is_one = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // Anyone may make a directory of that name; only ours is nobody else's.
        let is_ours = std::fs::symlink_metadata(entry.path())
            .is_ok_and(|found| found.is_dir() && found.uid() == own && found.mode() & 0o077 == 0);
        if !is_one || !is_ours {
            continue;
        }
        let directory = entry.path();
        let lock = directory.join(spool::LOCK);
        // One that has just been started has none yet, and one that runs holds it.
        let Some(Ok(lock)) = lock
            .exists()
            .then(|| Lock::take(&lock, "salvage capture, tidying up"))
        else {
            continue;
        };
        let tidy = std::thread::Builder::new().name("tidy".to_owned());
        let tidied = tidy.spawn(move || {
            if let Err(error) = remove_earlier_in(&directory) {
                tracing::warn!(directory = %escaped(&directory), %error, "what an earlier capture left cannot be removed");
            }
            drop(lock);
        });
        match tidied {
            Ok(tidied) => tidying.push(tidied),
            Err(error) => {
                tracing::warn!(%error, "what an earlier capture left cannot be removed now");
            }
        }
    }
    tidying
}

/// Waits for the process to go on that may be held by it; what was taken whole and not stored stays.
fn remove_earlier_in(directory: &Path) -> std::io::Result<()> {
    for removing in remove_leftovers(directory)? {
        // A thread that has panicked has left its record.
        let _ = removing.join();
    }
    let is_empty = |name| match std::fs::read_dir(directory.join(name)) {
        Ok(mut names) => Ok(names.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    };
    match is_empty("entries")? && !has_records(directory)? {
        true => std::fs::remove_dir_all(directory),
        false => Ok(()),
    }
}

/// Whether the store takes something, before a process stands still for it. More than once: others of these may be trying the same at the same key.
async fn probe(store: &dyn Store, local: &Local) -> Result<(), Error> {
    let key = probe_key(&local.cluster, &format!("capture.{}", local.node));
    let mut more = PROBES;
    loop {
        more -= 1;
        match store.probe(&key).await.into_failure() {
            None => return Ok(()),
            Some(_) if more > 0 => tokio::time::sleep(AGAIN.mul_f64(0.5 + fastrand::f64())).await,
            Some(source) => {
                let url = store.url();
                return Err(Error::Store { url, source });
            }
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
    let spool_metrics = spool::Metrics::register(&Registry::new()).map_err(trouble)?;
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
    // From here on it is seen that it is in use.
    let spool = Arc::new(Spool::open(config, spool_metrics).map_err(trouble)?);
    let tidying = remove_earlier(&std::env::temp_dir());
    let stored = take_into(&spool, request, pid, store, local, cancelled, show).await;
    // A process that an earlier one left standing still goes on before this ends.
    let tidied = tokio::task::spawn_blocking(|| {
        for tidying in tidying {
            let _ = tidying.join();
        }
    });
    let _ = tidied.await;
    stored
}

/// Takes it into this spool, and ships it from there.
async fn take_into(
    spool: &Arc<Spool>,
    request: Request,
    pid: i32,
    store: Arc<dyn Store>,
    local: Local,
    cancelled: &Arc<AtomicBool>,
    show: &mut dyn FnMut(&Progress),
) -> Result<CrashId, Error> {
    let registry = Registry::new();
    let ship_metrics = ship::Metrics::register(&registry).map_err(trouble)?;
    let metrics = Metrics::register(&registry).map_err(trouble)?;
    tokio::select! {
        takes = probe(&*store, &local) => takes?,
        () = until_set(cancelled) => {
            let why = "it was interrupted before the process was asked";
            return Err(Failure::new(Reason::Cancelled, why).into());
        }
    }
    let proc = Config {
        proc: "/proc".into(),
    };
    let capturer = Capturer::new(proc, Arc::clone(spool), metrics).map_err(trouble)?;
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
        Arc::clone(spool),
        store,
        None,
        ship_metrics,
    )
    .map_err(trouble)?;
    tokio::select! {
        stored = ship(spool, &shipper, id) => stored,
        () = until_set(cancelled) => Err(Error::Kept(id)),
    }
}

fn trouble(error: impl Display) -> Failure {
    Failure::new(Reason::NodeError, error.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_an_earlier_one_left_is_removed_unless_it_runs_or_is_wanted() {
        let temporary = tempfile::tempdir().expect("temp dir");
        let make = |name: &str, file: Option<&str>| {
            let path = temporary.path().join(format!("{PREFIX}{name}"));
            for directory in ["entries", "dumps"] {
                std::fs::create_dir_all(path.join(directory)).expect("a directory");
            }
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))
                .expect("its mode");
            if let Some(file) = file {
                std::fs::write(path.join(file), "1").expect("a file");
            }
            path
        };
        let fresh = make("fresh", None);
        let runs = make("runs", Some("dumps/1.part"));
        let held = Lock::take(&runs.join(spool::LOCK), "the test").expect("ours");
        let killed = make("killed", Some("dumps/1.part"));
        let unstored = make("unstored", Some("entries/1.json"));
        for path in [&killed, &unstored] {
            drop(Lock::take(&path.join(spool::LOCK), "an earlier one").expect("free"));
        }
        for tidied in remove_earlier(temporary.path()) {
            tidied.join().expect("no panic");
        }
        assert!(fresh.exists() && runs.join("dumps/1.part").exists());
        assert!(!killed.exists() && unstored.join("entries/1.json").exists());
        drop(held);
    }
}
