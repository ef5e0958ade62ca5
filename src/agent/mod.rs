//! Wires the parts of the agent, says when it is ready, and stops it in order.
//!
//! ```text
//! sources (threads) ──take──► spool ──changed──► dispatch ──► Shipper (JOBS at a time, and as many copies) ──► store
//! kube (watch) ──deaths──►      └───────────────── whose? ──► pod index
//!      └──────────────── readiness ◄── spool, store probe, pod index ──────────────┘
//! ```
//!
//! Start: listen first, so that a waiting agent can say why it waits; then the state directory's lock; then the entries of the last agent; then the
//! sources. Stop: sources take nothing new; what is being sent may go on for the grace period; what is not finished then stays in the spool
//! with its state, and the next agent goes on. A second signal ends the process at once, which loses nothing either.

mod captures;
mod kubernetes;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::{IntGaugeVec, Opts, Registry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::capture::{self, Capturer};
use crate::config::Config;
use crate::kube;
use crate::model::{escaped, probe_key};
use crate::ship::{self, Shipper};
use crate::source::{self, Status};
use crate::spool::{self, Spool, Work};
use crate::store::{self, Metered, Store};
use crate::sys;
use crate::telemetry::{Part, Readiness, Server, chain};

/// How often a lock that another agent holds is asked for.
const LOCK_AGAIN: Duration = Duration::from_secs(2);

/// How often a store that failed its probe is probed.
const PROBE_AGAIN: Duration = Duration::from_secs(30);

/// How long a dispatcher with nothing due sleeps at most: the clock may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// How often it is looked how much may still be taken.
const ROOM_AGAIN: Duration = Duration::from_secs(10);

/// How long it is waited for processes that are being dumped to go on. A large one gathers for seconds before it can be let go.
const LET_GO_WITHIN: Duration = Duration::from_secs(20);

/// How the agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything under way was finished.
    Drained,
    /// The grace period was over; what was under way is kept for the next agent.
    Parked,
    /// A second signal.
    Aborted,
}

/// The signals that stop the agent.
struct Stop {
    term: Signal,
    int: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal. Cancel-safe: a signal that came meanwhile is kept for the next call.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// Runs the agent until a signal ends it.
///
/// # Errors
/// What keeps it from starting at all: its address, its state directory, its threads.
pub async fn run(config: Config) -> anyhow::Result<End> {
    sys::return_large_buffers();
    sys::ignore_lease_signal()?;
    sys::private_files();
    sys::raise_open_files();
    let mut stop = Stop::new()?;
    let registry = Registry::new();
    let metrics = Metrics::register(&registry)?;
    let readiness = Readiness::register(&registry)?;
    let agent = readiness.part("agent", "starting");
    let state = readiness.part("state", "opening the state directory");
    let server = Server::bind(config.listen, registry, readiness.clone()).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = %server.address(), store = %config.store.url, node = config.node, "agent starts");
    warn_of_memory(&config);
    let mut background = JoinSet::new();
    background.spawn(server.serve());

    let opened = tokio::select! {
        opened = open_spool(&config, &metrics.spool, &state) => opened?,
        () = stop.next() => return Ok(End::Drained),
    };
    let spool = Arc::new(opened);
    state.ready();
    // First of all, and whether captures are taken or not: somebody may be standing still.
    if let Err(error) = capture::remove_leftovers(&config.spool.state_dir) {
        tracing::warn!(%error, "what captures may have left in containers cannot be looked for");
    }

    let store = store::open(&config.store).await?;
    let store: Arc<dyn Store> = Arc::new(Metered::new(store, metrics.store.clone()));
    background.spawn(probe(
        Arc::clone(&store),
        config.clone(),
        readiness.part("store", "not probed yet"),
    ));

    let kubernetes = config
        .kubernetes
        .as_ref()
        .map(|kubernetes| {
            kubernetes::start(
                &config,
                kubernetes,
                &spool,
                (&metrics.kube, &metrics.capture),
                &readiness,
                &mut background,
            )
        })
        .transpose()?;
    let (kubernetes, capturer) = kubernetes.unzip();
    let capturer = capturer.flatten();
    let pods = kubernetes.as_ref();
    let pods = pods.map(|kubernetes| Arc::clone(&kubernetes.pods));
    let gate = Arc::new(kubernetes::Gate::new(Arc::clone(&spool), pods));
    let sources = start_sources(&config, &gate, &metrics.source, &readiness, &mut background)?;
    let shipper = Shipper::new(
        config.ship.clone(),
        sys::this_host(),
        Arc::clone(&spool),
        store,
        kubernetes,
        metrics.ship.clone(),
    )?;
    let stopping = [Work::Copy, Work::Ship].map(|work| {
        let stop = Arc::new(Notify::new());
        let dispatch = dispatch(work, Arc::clone(&spool), shipper.clone(), Arc::clone(&stop));
        (stop, tokio::spawn(dispatch))
    });
    let [(stop_copying, copying), (stop_shipping, shipping)] = stopping;
    let mut dispatching = tokio::spawn(async move {
        let _ = tokio::join!(copying, shipping);
    });

    background.spawn(show_room(spool.clone()));
    agent.ready();

    stop.next().await;
    tracing::info!(grace_period = ?config.grace_period, "agent drains; a second signal aborts");
    agent.not_ready("draining");
    for source in &sources {
        source.stop();
    }
    stop_copying.notify_one();
    stop_shipping.notify_one();
    let let_go = let_go(capturer);
    let drained = async {
        let _ = tokio::join!(&mut dispatching, let_go);
    };
    let end = tokio::select! {
        () = drained => End::Drained,
        () = tokio::time::sleep(config.grace_period) => End::Parked,
        () = stop.next() => End::Aborted,
    };
    dispatching.abort();
    let held = spool.holding();
    tracing::info!(
        ?end,
        held_dumps = held.entries,
        held_bytes = held.bytes,
        "agent stops"
    );
    if end != End::Aborted {
        // A claim under way takes milliseconds; its source has been told to stop.
        let joined =
            tokio::task::spawn_blocking(move || sources.into_iter().for_each(source::Handle::join));
        let _ = tokio::time::timeout(Duration::from_secs(2), joined).await;
    }
    Ok(end)
}

/// Ends captures that are under way, and waits until no process stands still for one.
async fn let_go(capturer: Option<Arc<Capturer>>) {
    if let Some(capturer) = capturer {
        capturer.stop();
        let until = std::time::Instant::now() + LET_GO_WITHIN;
        let waited = tokio::task::spawn_blocking(move || capturer.wait_until_idle(until));
        let _ = waited.await;
    }
}

/// Everything that is counted.
struct Metrics {
    source: source::Metrics,
    spool: spool::Metrics,
    ship: ship::Metrics,
    store: store::Metrics,
    kube: kube::Metrics,
    capture: capture::Metrics,
}

impl Metrics {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        let build = IntGaugeVec::new(
            Opts::new("salvage_build_info", "Always 1, with the version."),
            &["version"],
        )?;
        registry.register(Box::new(build.clone()))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            source: source::Metrics::register(registry)?,
            spool: spool::Metrics::register(registry)?,
            ship: ship::Metrics::register(registry)?,
            store: store::Metrics::register(registry)?,
            kube: kube::Metrics::register(registry)?,
            capture: capture::Metrics::register(registry)?,
        })
    }
}

fn warn_of_memory(config: &Config) {
    let bound = Shipper::memory_bound(&config.ship);
    let limit = sys::cgroup_memory_limit();
    tracing::info!(
        workers = config.ship.workers,
        buffers = bound,
        cgroup_limit = limit,
        "memory for shipping is fixed"
    );
    let needed = config.memory_needed();
    if let Some(limit) = limit.filter(|limit| needed > *limit) {
        tracing::warn!(
            limit,
            needed,
            "the memory limit is tight; lower compression.workers or raise the limit"
        );
    }
}

/// Opens the spool, waiting while another agent has it.
async fn open_spool(
    config: &Config,
    metrics: &spool::Metrics,
    state: &Part,
) -> anyhow::Result<Spool> {
    let mut told = false;
    loop {
        let (spool_config, metrics) = (config.spool.clone(), metrics.clone());
        match tokio::task::spawn_blocking(move || Spool::open(spool_config, metrics)).await? {
            Ok(spool) => return Ok(spool),
            Err(spool::Error::Locked(error @ sys::LockError::Held { .. })) => {
                state.not_ready(error.to_string());
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "waiting for another agent to stop");
                }
                tokio::time::sleep(LOCK_AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Probes the store until it can be shipped to. Failing is not fatal: dumps are taken and wait.
async fn probe(store: Arc<dyn Store>, config: Config, part: Part) {
    let key = probe_key(&config.cluster, &config.node);
    let mut last = None;
    loop {
        let probe = store.probe(&key).await;
        for step in probe.steps.iter().filter(|step| !step.needed) {
            if let Err(error) = &step.outcome {
                tracing::debug!(
                    operation = step.operation.name(),
                    error = chain(error),
                    "the store does not allow what shipping can do without"
                );
            }
        }
        let Some(error) = probe.failure() else {
            tracing::info!(
                store = store.url(),
                honours_create = probe.honours_create,
                full_checksums = probe.full_checksums,
                "store can be shipped to"
            );
            part.ready();
            return;
        };
        let why = format!("{}: {}", store.url(), chain(error));
        if last.as_ref() != Some(&why) {
            tracing::error!(
                why,
                "store cannot be shipped to; dumps are kept on the node and tried again"
            );
            part.not_ready(why.clone());
            last = Some(why);
        }
        tokio::time::sleep(PROBE_AGAIN).await;
    }
}

/// Shows how much may still be taken, as long as it runs.
async fn show_room(spool: Arc<Spool>) {
    let mut tick = tokio::time::interval(ROOM_AGAIN);
    loop {
        tick.tick().await;
        let spool = Arc::clone(&spool);
        if tokio::task::spawn_blocking(move || spool.show_room())
            .await
            .is_err()
        {
            return;
        }
    }
}

fn start_sources(
    config: &Config,
    gate: &Arc<kubernetes::Gate>,
    metrics: &source::Metrics,
    readiness: &Readiness,
    background: &mut JoinSet<()>,
) -> std::io::Result<Vec<source::Handle>> {
    let mut handles = Vec::new();
    for source in &config.sources {
        let taker = Arc::clone(gate) as Arc<dyn source::Taker>;
        let handle = source::spawn(source.clone(), taker, metrics.clone())?;
        let name = format!("source {}", escaped(&source.path));
        background.spawn(show_status(
            handle.status(),
            readiness.part(name, "first scan not done"),
        ));
        handles.push(handle);
    }
    Ok(handles)
}

async fn show_status(mut status: tokio::sync::watch::Receiver<Status>, part: Part) {
    loop {
        let now = status.borrow_and_update().clone();
        match now {
            Status::Starting => part.not_ready("first scan not done"),
            Status::Scanned => part.ready(),
            Status::Trouble(why) => part.not_ready(why),
        }
        if status.changed().await.is_err() {
            // It was told to stop, and the agent is not ready anyway; or a fault of ours has ended it.
            part.not_ready("its thread has ended; restart the agent");
            return;
        }
    }
}

/// Hands entries with this work to do to the shipper, [`ship::JOBS`] at a time, until it is told to stop; then waits for those under way.
async fn dispatch(work: Work, spool: Arc<Spool>, shipper: Shipper, stopping: Arc<Notify>) {
    let changed = spool.changed(work);
    let mut running: JoinSet<()> = JoinSet::new();
    loop {
        while running.len() < ship::JOBS
            && let Some(entry) = spool.check_out(work, Timestamp::now())
        {
            let shipper = shipper.clone();
            running.spawn(async move {
                shipper.advance(work, entry).await;
            });
        }
        // All arms are cancel-safe: a notification or a joined task that came meanwhile is kept for the next round. The stop is looked at first,
        // so that a full spool does not begin one more.
        tokio::select! {
            biased;
            () = stopping.notified() => break,
            () = changed.notified(), if running.len() < ship::JOBS => {}
            _ = running.join_next(), if !running.is_empty() => {}
            () = due(work, &spool), if running.len() < ship::JOBS => {}
        }
    }
    while running.join_next().await.is_some() {}
}

/// Waits until the next entry is due.
fn due(work: Work, spool: &Spool) -> impl Future<Output = ()> + use<> {
    let wait = spool.next_due(work).map_or(LOOK_AGAIN, |at| {
        Duration::try_from(at.duration_since(Timestamp::now()))
            .unwrap_or_default()
            .min(LOOK_AGAIN)
    });
    tokio::time::sleep(wait)
}
