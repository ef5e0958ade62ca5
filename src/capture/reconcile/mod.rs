//! Does what people ask for by creating a `Capture`, and says there what came of it.
//!
//! ```text
//! kube::hear ──► Seen ──► decide ──► take on (a write of one version: one agent wins) ──► run: Capturer::take ──► spool ──► ship
//!                  ▲                   └─ say: stored, interrupted, lost, nobody · delete: its time is over
//!                  └──── every second, for what time and the spool change
//! ```
//!
//! Everything that must survive a stop is in the object or in the spool: an agent that starts anew asks both and goes on. What cannot be said now is said again
//! until it is; the capture never waits for the API server.

mod decide;
mod run;
mod seen;
mod status;
mod write;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Receiver;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;

use self::decide::{Next, World};
use self::run::Run;
use self::seen::Seen;
use self::status::Board;
use self::write::{ANSWERS, Written, write, write_version};
use super::failure::{Failure, Reason};
use super::request::Request;
use super::take::{Capturer, Progress};
use crate::kube::{Capture, CaptureStatus, Heard, PodIndex};
use crate::model::{CaptureKind, CrashId};

/// How often it is looked what time and the spool have changed.
const LOOK: Duration = Duration::from_secs(1);

/// How soon something that the API server did not take is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Dumps and heap snapshots that are taken at once on this node: each may write as fast as the disk does.
pub(super) const AT_ONCE: usize = 2;

/// Traces and counters at once: they may go on for an hour, and none may keep a dump waiting.
pub(super) const SESSIONS_AT_ONCE: usize = 16;

/// Most objects that are remembered; more than that are left to the agents of their pods' nodes, which remember theirs first.
const MOST: usize = 20_000;

/// Most of them that nobody has taken on: each has its whole request, of 16 KiB at the most.
const UNCLAIMED_MOST: usize = 1_000;

/// What is known of who asks and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the node.
    pub node: String,
}

/// Does what is asked for.
pub struct Reconciler {
    client: Client,
    config: Config,
    /// Tells this start of the agent from all others: its state directory, and a number.
    agent: String,
    pods: Arc<PodIndex>,
    capturer: Arc<Capturer>,
    at_once: Arc<Semaphore>,
    sessions_at_once: Arc<Semaphore>,
    seen: HashMap<String, Seen>,
    /// Those that a list under way has not named yet, while there is one.
    unlisted: Option<HashSet<String>>,
    running: HashMap<String, Arc<AtomicBool>>,
    /// What came of those that this start has begun, until that was heard.
    ended: HashMap<String, Board>,
    begun: Begun,
    not_before: HashMap<String, Instant>,
    runs: JoinSet<Board>,
    /// Which object each run is for.
    run_of: HashMap<Id, String>,
}

impl Reconciler {
    /// One that has heard of nothing yet.
    pub fn new(
        client: Client,
        config: Config,
        pods: Arc<PodIndex>,
        capturer: Arc<Capturer>,
    ) -> Self {
        Self {
            client,
            config,
            agent: format!("{}.{:08x}", capturer.identity(), fastrand::u32(..)),
            pods,
            capturer,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            sessions_at_once: Arc::new(Semaphore::new(SESSIONS_AT_ONCE)),
            seen: HashMap::new(),
            unlisted: None,
            running: HashMap::new(),
            ended: HashMap::new(),
            begun: Begun::default(),
            not_before: HashMap::new(),
            runs: JoinSet::new(),
            run_of: HashMap::new(),
        }
    }

    /// Goes on until nothing can be heard any more.
    pub async fn run(mut self, mut heard: Receiver<Heard>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // All arms are cancel-safe: what was not received, ended or due yet is so in the next round.
            tokio::select! {
                said = heard.recv() => match said {
                    Some(said) => {
                        let uid = self.hear(said);
                        if let Some(uid) = uid {
                            self.look_at(&uid).await;
                        }
                    }
                    None => return,
                },
                Some(ended) = self.runs.join_next_with_id(), if !self.runs.is_empty() => {
                    if let Some(uid) = self.end(ended) {
                        self.look_at(&uid).await;
                    }
                }
                _ = look.tick() => {
                    let all: Vec<String> = self.seen.keys().cloned().collect();
                    for uid in all {
                        self.look_at(&uid).await;
                    }
                }
            }
        }
    }

    /// A run is over: what it said last is what came of it, whatever is heard of before that.
    fn end(&mut self, ended: Result<(Id, Board), JoinError>) -> Option<String> {
        let (id, board) = match ended {
            Ok((id, board)) => (id, board),
            Err(error) => {
                tracing::error!(%error, "taking a capture panicked");
                let mut board = Board::default();
                let why = "a fault of the agent ended it; its log says where";
                let failure = Failure::new(Reason::NodeError, why);
                board.failed(&failure, Timestamp::now());
                (error.id(), board)
            }
        };
        let uid = self.run_of.remove(&id)?;
        self.running.remove(&uid);
        if self.seen.contains_key(&uid) {
            self.ended.insert(uid.clone(), board);
        }
        Some(uid)
    }

    /// Remembers what was heard, and gives the object that it is about.
    fn hear(&mut self, heard: Heard) -> Option<String> {
        match heard {
            Heard::ListBegins => {
                self.unlisted = Some(self.seen.keys().cloned().collect());
                None
            }
            Heard::ListEnds => {
                for uid in self.unlisted.take().unwrap_or_default() {
                    // The list may be of an old cache. One that is really gone is noticed by the run when it says something.
                    if !self.running.contains_key(&uid) {
                        self.forget(&uid);
                    }
                }
                None
            }
            Heard::Gone(uid) => {
                self.forget(&uid);
                None
            }
            Heard::Is(capture) => {
                let seen = Seen::of(*capture, &self.config.node, &self.agent)?;
                let uid = seen.uid.clone();
                if let Some(unlisted) = &mut self.unlisted {
                    unlisted.remove(&uid);
                }
                self.remember(seen);
                Some(uid)
            }
        }
    }

    fn remember(&mut self, mut seen: Seen) {
        let is_ours = seen.is_of(&self.config.node, &self.agent);
        let known = self.seen.get(&seen.uid);
        if known.is_some_and(|known| known.is_newer_than(&seen)) {
            return;
        }
        if let Some(known) = known {
            seen.heard = known.heard;
        }
        // What is asked of pods of other nodes is remembered as far as there is room: somebody may ask for more than anybody can remember.
        // Without the request, that is: it is asked for again when the pod is here.
        let is_whole = |seen: &&Seen| seen.phase.is_none() && seen.spec.is_some();
        let whole = self.seen.values().filter(is_whole).count();
        if !is_ours && whole >= UNCLAIMED_MOST {
            seen.spec = None;
        }
        if self.seen.len() < MOST || is_ours || self.seen.contains_key(&seen.uid) {
            self.seen.insert(seen.uid.clone(), seen);
        }
    }

    /// An object is gone: what is under way for it was withdrawn.
    fn forget(&mut self, uid: &str) {
        self.seen.remove(uid);
        self.ended.remove(uid);
        self.not_before.remove(uid);
        if let Some(cancelled) = self.running.get(uid) {
            cancelled.store(true, Ordering::Relaxed);
        }
    }

    async fn look_at(&mut self, uid: &str) {
        let Some(seen) = self.seen.get(uid).cloned() else {
            return;
        };
        if self
            .not_before
            .get(uid)
            .is_some_and(|then| Instant::now() < *then)
        {
            return;
        }
        let now = Timestamp::now();
        let id = self.id_of(&seen);
        let spool = self.capturer.spool();
        let is_open = seen.is_of(&self.config.node, &self.agent) && seen.finished.is_none();
        // In this order: it is remembered as stored before its entry goes.
        let is_held = is_open && spool.holds(id);
        let told = is_open.then(|| spool.read_told(id)).flatten();
        let pod_is_here = self.pods.was_synced()
            && seen.phase.is_none()
            && self.pods.living(&seen.namespace, &seen.pod).is_some();
        let world = World {
            now,
            node: &self.config.node,
            agent: &self.agent,
            pod_is_here,
            is_running: self.running.contains_key(uid),
            has_ended: self.begun.contains(uid),
            is_held,
            is_stored: told.is_some(),
        };
        // What was said last, where what is heard may be older.
        let said = self.ended.get(uid).cloned();
        let heard = || Board(seen.status.as_deref().cloned().unwrap_or_default());
        let mut board = said.unwrap_or_else(heard);
        match decide::next(&seen, &world) {
            Next::Nothing => self.say_that_it_waits(&seen, board, id).await,
            Next::TakeOn if self.capturer.is_stopping() => {}
            Next::TakeOn => self.take_on(&seen).await,
            Next::Begin => self.begin(&seen, board).await,
            Next::SayEnd => {
                if let Some(board) = self.ended.get(uid).cloned() {
                    self.say(&seen, &board, None).await;
                }
            }
            Next::Cancel => {
                if let Some(cancelled) = self.running.get(uid) {
                    cancelled.store(true, Ordering::Relaxed);
                }
            }
            Next::SayShipping => {
                board.shipping(id, None, now);
                self.say(&seen, &board, None).await;
            }
            Next::SayStored => {
                if let Some(told) = told {
                    board.stored(&told.manifest, &told.key, now);
                    self.say(&seen, &board, None).await;
                }
            }
            Next::SayInterrupted => self.fail(&seen, board, Failure::stopped(id)).await,
            Next::SayLost => {
                let why = format!(
                    "capture {id} was taken and is not held on the node any more, and nothing says that it was stored: `salvage ls` tells whether it was; the agent's log says what was lost"
                );
                self.fail(&seen, board, Failure::new(Reason::Lost, why))
                    .await;
            }
            Next::NobodyTookIt => {
                let why = "no agent took it on within two minutes: is there a running pod of this name in this namespace, and does its node run an agent with captures enabled?";
                let failure = Failure::new(Reason::NobodyTookIt, why);
                board.failed(&failure, now);
                if self.say(&seen, &board, Some(&seen.version)).await.is_some() {
                    let kind = seen.spec.as_deref().map(|spec| spec.kind.as_str());
                    self.capturer.count_failure(kind, &failure);
                }
            }
            Next::Delete => self.delete(&seen).await,
        }
    }

    fn id_of(&self, seen: &Seen) -> CrashId {
        CrashId::of_request(&self.config.cluster, &seen.uid, seen.created)
    }

    async fn say_that_it_waits(&mut self, seen: &Seen, mut board: Board, id: CrashId) {
        let attempts = self.capturer.spool().attempts(id).unwrap_or(0);
        let is_shipping = seen.phase == Some(status::Phase::Shipping);
        if is_shipping && attempts > 0 && board.waits_for_store(attempts, Timestamp::now()) {
            self.say(seen, &board, None).await;
        }
    }

    /// Makes it ours, if nobody else has meanwhile, and begins.
    async fn take_on(&mut self, seen: &Seen) {
        let Some(seen) = &self.whole(seen).await else {
            return;
        };
        let Some(spec) = seen.spec.as_deref() else {
            return;
        };
        let Some(pod) = self.pods.living(&seen.namespace, &spec.pod) else {
            return;
        };
        let now = Timestamp::now();
        let mut board = Board::accepted(&self.config.node, &self.agent, &pod.uid, now);
        let refused = Request::of(spec)
            .err()
            .or_else(|| super::request::ttl(spec).err());
        if let Some(failure) = &refused {
            board.failed(failure, now);
        }
        let said = self.say(seen, &board, Some(&seen.version)).await;
        if let (Some(failure), true) = (&refused, said.is_some()) {
            self.capturer.count_failure(Some(&spec.kind), failure);
            return;
        }
        if let Some(board) = said
            && let Some(now) = self.seen.get(&seen.uid).cloned()
        {
            let seen = Seen {
                spec: seen.spec.clone(),
                ..now
            };
            self.begin(&seen, board).await;
        }
    }

    /// An object with its request, which there may have been no room for.
    async fn whole(&mut self, seen: &Seen) -> Option<Seen> {
        if seen.spec.is_some() {
            return Some(seen.clone());
        }
        let captures = self.api(&seen.namespace);
        let got = timeout(ANSWERS, captures.get_opt(&seen.name)).await;
        match got {
            Ok(Ok(Some(capture))) if capture.uid().as_deref() == Some(&seen.uid) => {
                Seen::of(capture, &self.config.node, &self.agent)
            }
            Ok(Ok(_)) => {
                self.forget(&seen.uid);
                None
            }
            _ => {
                self.not_before
                    .insert(seen.uid.clone(), Instant::now() + AGAIN);
                None
            }
        }
    }

    async fn begin(&mut self, seen: &Seen, board: Board) {
        let Some(spec) = seen.spec.as_deref() else {
            return;
        };
        let uid = board.0.pod_uid.clone().unwrap_or_default();
        let Some(pod) = self.pods.living_by_uid(&uid) else {
            let why = format!("pod {} that it was asked of is gone", spec.pod);
            let failure = Failure::new(Reason::NotRunning, why);
            return self.fail(seen, board, failure).await;
        };
        if self.capturer.is_stopping() {
            return;
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        self.running
            .insert(seen.uid.clone(), Arc::clone(&cancelled));
        let run = Run {
            captures: self.api(&seen.namespace),
            capturer: Arc::clone(&self.capturer),
            pods: Arc::clone(&self.pods),
            at_once: match spec.kind.parse() {
                Ok(CaptureKind::Trace | CaptureKind::Counters) => {
                    Arc::clone(&self.sessions_at_once)
                }
                _ => Arc::clone(&self.at_once),
            },
            cancelled,
            id: self.id_of(seen),
            uid: seen.uid.clone(),
            name: seen.name.clone(),
            spec: spec.clone(),
            pod,
            board,
        };
        self.begun.note(seen.uid.clone());
        let run = self.runs.spawn(run.run());
        self.run_of.insert(run.id(), seen.uid.clone());
    }

    async fn fail(&mut self, seen: &Seen, mut board: Board, failure: Failure) {
        tracing::warn!(
            capture = seen.name,
            namespace = seen.namespace,
            reason = failure.reason.name(),
            why = failure.message,
            "a capture failed"
        );
        board.failed(&failure, Timestamp::now());
        if self.say(seen, &board, None).await.is_some() {
            let kind = seen.spec.as_deref().map(|spec| spec.kind.as_str());
            self.capturer.count_failure(kind, &failure);
        }
    }

    /// Writes a status, of this version of the object where one is named. Gives what stands there then.
    async fn say(&mut self, seen: &Seen, board: &Board, version: Option<&str>) -> Option<Board> {
        let captures = self.api(&seen.namespace);
        let written = match version {
            Some(version) => write_version(&captures, &seen.name, board, version).await,
            None => write(&captures, &seen.name, &seen.uid, board).await,
        };
        match written {
            Written::Done(capture) => {
                self.not_before.remove(&seen.uid);
                if let Some(ended) = self.ended.get_mut(&seen.uid) {
                    ended.clone_from(board);
                }
                let status = capture.status.clone();
                if let Some(seen) = Seen::of(*capture, &self.config.node, &self.agent) {
                    self.remember(seen);
                }
                status.map(Board)
            }
            // The watch tells of what it is now.
            Written::Changed => None,
            Written::Gone => {
                self.forget(&seen.uid);
                None
            }
            Written::Not(why) => {
                tracing::warn!(
                    capture = seen.name,
                    namespace = seen.namespace,
                    why,
                    "the status of a capture cannot be written now"
                );
                self.not_before
                    .insert(seen.uid.clone(), Instant::now() + AGAIN);
                None
            }
        }
    }

    async fn delete(&mut self, seen: &Seen) {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(seen.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let captures = self.api(&seen.namespace);
        match timeout(ANSWERS, captures.delete(&seen.name, &params)).await {
            Ok(Ok(_)) => self.forget(&seen.uid),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                self.forget(&seen.uid)
            }
            _ => {
                self.not_before
                    .insert(seen.uid.clone(), Instant::now() + AGAIN);
            }
        }
    }

    fn api(&self, namespace: &str) -> Api<Capture> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// What this start has begun: none of them is begun again, whatever is heard. A list of an old cache may name one that is long gone, but none so old as the oldest of
/// as many as are remembered.
#[derive(Default)]
struct Begun {
    all: HashSet<String>,
    oldest_first: VecDeque<String>,
}

impl Begun {
    fn note(&mut self, uid: String) {
        if self.all.insert(uid.clone()) {
            self.oldest_first.push_back(uid);
        }
        if self.oldest_first.len() > MOST
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.all.remove(&oldest);
        }
    }

    fn contains(&self, uid: &str) -> bool {
        self.all.contains(uid)
    }
}

/// What a `Capture` under way says.
pub(super) fn shown(progress: &Progress) -> CaptureStatus {
    let mut board = Board::default();
    board.note(progress, Timestamp::now());
    board.0
}
