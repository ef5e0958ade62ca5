//! Takes one capture: finds the process, plans, asks the runtime, and gives what comes to the spool. Blocks, on a thread of its own.
//!
//! ```text
//! Job ──► whom: the one runtime ──► plan ──► Spool::receive (room reserved) ──► dotnet ──bytes──► spool ──► an entry, as of a crash
//!                                   └─ refuses, with the numbers                 └─ whatever ends it early: the process goes on, nothing is left
//! ```
//!
//! One capture at a time for each container. Bytes are taken as fast as the disk takes them: nothing here waits for a store.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::failure::{Failure, Reason};
use super::leftovers::Leftovers;
use super::metrics::Metrics;
use super::plan::{self, Concern, Estimate, Speed, Subject};
use super::request::{Request, What};
use super::spooled::{Spooled, Tell};
use super::under_way::UnderWay;
use super::whom::{Found, Whom};
use super::{counters, events};
use crate::dotnet::counters::Row;
use crate::dotnet::{self, Limits, Refused};
use crate::model::{CaptureKind, CrashId, HeapType, MemoryUse, Taken, Trigger};
use crate::spool::{Captured, Received, Receiving, Spool};
use crate::telemetry::chain;

/// Longest time that a dump may take: 500 GB at 150 MB/s.
const DUMP_WITHIN: Duration = Duration::from_secs(3_600);

/// Longest time for a heap snapshot to come to its end.
const GCDUMP_WITHIN: Duration = Duration::from_secs(600);

/// Longest time for a dump of a container that runs out of memory: others wait for their turn.
const MEMORY_WITHIN: Duration = Duration::from_secs(120);

/// How often it is looked whether all has ended.
const IDLE_LOOK: Duration = Duration::from_millis(20);

/// What is to be taken, of whom, and why.
#[derive(Debug)]
pub struct Job {
    /// The id that it will have.
    pub id: CrashId,
    /// What is asked for.
    pub request: Request,
    /// Of whom.
    pub whom: Whom,
    /// What made us.
    pub trigger: Trigger,
    /// Name of the object that asks for it.
    pub asked_by: Option<String>,
    /// The container's memory, where that is why.
    pub memory: Option<MemoryUse>,
}

/// How far a capture is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What was found out before the process was touched.
    pub begun: Option<Begun>,
    /// Bytes that are here.
    pub bytes: u64,
    /// The last values of counters.
    pub values: Vec<Row>,
}

/// What was found out before the process was touched.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Name of the container.
    pub container: Option<String>,
    /// The process, as its container numbers it.
    pub process: i32,
    /// What it will take.
    pub estimate: Estimate,
    /// What speaks against it, and did not keep it from being taken.
    pub concerns: Vec<Concern>,
}

/// A capture that is in the spool.
#[derive(Clone, Debug)]
pub struct Done {
    /// Its id.
    pub id: CrashId,
    /// Its bytes.
    pub bytes: u64,
    /// How long the process stood still.
    pub pause: Option<Duration>,
    /// Whether it is whole, as far as that is known without looking into it.
    pub complete: Option<bool>,
    /// The types that have most of the heap.
    pub types: Vec<HeapType>,
    /// What whoever asked should know.
    pub note: Option<String>,
}

/// How it is taken on this node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where processes are seen: `/proc`, of the node's own pid namespace.
    pub proc: PathBuf,
}

/// Takes captures.
#[derive(Debug)]
pub struct Capturer {
    config: Config,
    spool: Arc<Spool>,
    leftovers: Leftovers,
    identity: String,
    under_way: UnderWay,
    speeds: Mutex<Speeds>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Speeds {
    dump: Speed,
    heap_walk: Speed,
}

/// What the runtime gave.
pub(super) struct Given {
    pub(super) pause: Option<Duration>,
    pub(super) complete: Option<bool>,
    pub(super) types: Vec<HeapType>,
    pub(super) note: Option<String>,
}

impl Capturer {
    /// One that takes into this spool.
    ///
    /// # Errors
    /// The directory for its records cannot be made.
    pub fn new(config: Config, spool: Arc<Spool>, metrics: Metrics) -> std::io::Result<Self> {
        let leftovers = Leftovers::open(spool.state_dir())?;
        let identity = leftovers.identity()?;
        Ok(Self {
            config,
            spool,
            identity,
            leftovers,
            under_way: UnderWay::default(),
            speeds: Mutex::new(Speeds {
                dump: Speed::DUMP,
                heap_walk: Speed::HEAP_WALK,
            }),
            metrics,
        })
    }

    /// What tells the state directory from every other.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Where captures go.
    pub fn spool(&self) -> &Arc<Spool> {
        &self.spool
    }

    /// Takes it.
    ///
    /// # Errors
    /// Why there is none. The process goes on, and nothing is left of it here or there.
    pub fn take(
        &self,
        job: Job,
        cancelled: &Arc<AtomicBool>,
        tell: Tell<'_>,
    ) -> Result<Done, Failure> {
        let (id, kind) = (job.id, job.request.kind());
        let _under_way = self.under_way.begin(id, cancelled);
        let taken = match self.is_stopping() {
            true => Err(Failure::stopped(id)),
            false => self.take_found(job, cancelled, tell),
        };
        let taken = taken.map_err(|failure| match failure.reason {
            Reason::Cancelled if self.is_stopping() => Failure::new(
                Reason::AgentStopped,
                format!("{}; the agent is being stopped: ask again", failure.message),
            ),
            _ => failure,
        });
        self.metrics.ended(kind, taken.as_ref().err());
        taken
    }

    /// Takes no more, and ends what is under way.
    pub fn stop(&self) {
        self.under_way.stop();
    }

    /// Whether no more is taken.
    pub fn is_stopping(&self) -> bool {
        self.under_way.is_stopping()
    }

    /// Waits until nothing is under way and no process is held, or until then.
    pub fn wait_until_idle(&self, until: Instant) {
        let is_busy = || !self.under_way.is_idle() || dotnet::dumps_ending() > 0;
        while is_busy() && Instant::now() < until {
            std::thread::sleep(IDLE_LOOK);
        }
    }

    /// Counts one that failed without having been begun here.
    pub fn count_failure(&self, kind: Option<&str>, failure: &Failure) {
        if let Some(kind) = kind.and_then(|kind| kind.parse::<CaptureKind>().ok()) {
            self.metrics.ended(kind, Some(failure));
        }
    }

    fn take_found(
        &self,
        job: Job,
        cancelled: &AtomicBool,
        tell: Tell<'_>,
    ) -> Result<Done, Failure> {
        let found = job.whom.find(&self.config.proc)?;
        let turn = self.under_way.turn(found.key.clone(), job.id);
        let _turn = turn.map_err(|other| {
            let what = format!(
                "capture {other} of {} is under way: ask again when it has ended",
                found.says
            );
            Failure::new(Reason::Busy, what)
        })?;
        let (plan, bytes) = self.plan(&job.request, &found)?;
        let begun = Begun {
            container: found.container.name.clone(),
            process: found.target.inner_pid(),
            estimate: plan.estimate,
            concerns: plan.verdict.concerns().to_vec(),
        };
        let mut receiving = self.spool.receive(job.id, bytes)?;
        tell(&mut |progress| progress.begun = Some(begun.clone()));
        let (started, began) = (Timestamp::now(), Instant::now());
        let given = self.ask(&job, &found, cancelled, &mut receiving, tell)?;
        let took = began.elapsed();
        if let Some(pause) = given.pause {
            self.learn(&job.request, &found, receiving.written(), pause);
            self.metrics.took(job.request.kind(), pause);
        }
        let bytes = receiving.written();
        let taken = Taken {
            kind: job.request.kind(),
            dump_type: job.request.dump_type(),
            trigger: job.trigger,
            request: job.asked_by,
            started,
            took_ms: milliseconds(took),
            pause_ms: given.pause.map(milliseconds),
            complete: given.complete,
            note: given.note.clone(),
            providers: job.request.providers(),
            memory: job.memory,
            types: given.types.clone(),
        };
        let id = receiving.finish(Received {
            captured: Captured {
                taken,
                pod: found.pod,
                container: found.container,
                attribution: found.attribution,
            },
            name: name_of(&job.request).to_owned(),
            uid: found.uid,
        })?;
        tracing::info!(capture = %id, kind = %job.request.kind(), bytes, pause = ?given.pause, "capture taken");
        Ok(Done {
            id,
            bytes,
            pause: given.pause,
            complete: given.complete,
            types: given.types,
            note: given.note,
        })
    }

    /// What it will cost, and what is reserved for it.
    fn plan(&self, request: &Request, found: &Found) -> Result<(plan::Plan, u64), Failure> {
        let speeds = self.speeds.lock().unwrap_or_else(PoisonError::into_inner);
        let (dump_speed, heap_walk_speed) = (speeds.dump, speeds.heap_walk);
        drop(speeds);
        let plan = plan::plan(&plan::Request {
            subject: match &request.what {
                What::Dump(kind) => Subject::Dump(*kind),
                What::Gcdump => Subject::Gcdump,
                What::Trace { duration, .. } => Subject::Trace(*duration),
                What::Counters { duration, .. } => Subject::Counters(*duration),
            },
            process: found.process,
            dump_speed,
            heap_walk_speed,
            probe: found.probe,
            memory_used: found.memory_used,
            memory_limit: found.memory_limit,
            buffer_mb: events::buffer_mb(request.kind(), found),
            room: self.spool.room_to_receive(),
            max_bytes: request.most_bytes(),
            force: request.force,
        });
        let concerns = plan.verdict.concerns();
        if !plan.verdict.allows() {
            let why: Vec<String> = concerns.iter().map(ToString::to_string).collect();
            let reason = match concerns.first() {
                Some(concern) if concern.is_of_room() => Reason::NoRoom,
                Some(concern) if concern.is_of_size() => Reason::TooLarge,
                _ => Reason::WouldHarm,
            };
            return Err(Failure::new(reason, why.join("; ")));
        }
        let bytes = plan.estimate.bytes.min(request.most_bytes());
        Ok((plan, bytes))
    }

    fn ask(
        &self,
        job: &Job,
        found: &Found,
        cancelled: &AtomicBool,
        receiving: &mut Receiving,
        tell: Tell<'_>,
    ) -> Result<Given, Failure> {
        let within = match job.request.kind() {
            CaptureKind::Dump => DUMP_WITHIN,
            CaptureKind::Gcdump => GCDUMP_WITHIN,
            CaptureKind::Trace | CaptureKind::Counters => job.request.duration(),
        };
        let within = match job.trigger {
            Trigger::Memory => within.min(MEMORY_WITHIN),
            Trigger::Request => within,
        };
        let limits = Limits {
            deadline: Instant::now() + within,
            max_bytes: job.request.most_bytes(),
            cancelled,
        };
        let mut sink = Spooled::new(receiving, tell);
        let mut unnoted = None;
        let given = match &job.request.what {
            What::Dump(kind) => {
                let mut record = |leftover: &dotnet::Leftover| {
                    let noted = self.leftovers.note(job.id, leftover);
                    noted.map_err(|error| {
                        let why = format!("where it is taken cannot be noted: {error}");
                        unnoted = Some(Failure::new(Reason::NodeError, why.clone()));
                        Refused(why)
                    })
                };
                let dumped = dotnet::dump(&found.target, *kind, &limits, &mut sink, &mut record);
                if !dumped.as_ref().is_err_and(dotnet::Error::leaves_something) {
                    self.leftovers.forget(job.id);
                }
                dumped.map(|dumped| Given {
                    pause: Some(dumped.pause),
                    complete: None,
                    types: Vec::new(),
                    note: events::note_of_dump(&dumped),
                })
            }
            What::Gcdump => {
                let buffer_mb = events::buffer_mb(job.request.kind(), found);
                events::gcdump(&found.target, buffer_mb, &limits, &mut sink)
            }
            What::Trace {
                profiles,
                providers,
                ..
            } => events::trace(&found.target, profiles, providers, &limits, &mut sink),
            What::Counters { wanted, .. } => {
                counters::take(&found.target, wanted, &limits, &mut sink)
            }
        };
        // What the spool or its records said is more to the point than that something was refused.
        match (given, unnoted.or(sink.refused.take())) {
            (Err(error), Some(refused)) => Err(refused.with(&error)),
            (Err(error), None) if error.reason() == "Refused" => {
                Err(Failure::new(Reason::TooLarge, chain(&error)))
            }
            (given, _) => given.map_err(Failure::from),
        }
    }

    fn learn(&self, request: &Request, found: &Found, bytes: u64, took: Duration) {
        let mut speeds = self.speeds.lock().unwrap_or_else(PoisonError::into_inner);
        match request.what {
            What::Dump(_) => speeds.dump.learn(bytes, took),
            What::Gcdump => speeds.heap_walk.learn(found.process.rss_anon, took),
            What::Trace { .. } | What::Counters { .. } => {}
        }
    }
}

/// The name that a file of it would have.
fn name_of(request: &Request) -> &'static str {
    match request.kind() {
        CaptureKind::Dump => "dump.core",
        CaptureKind::Gcdump => "gcdump.nettrace",
        CaptureKind::Trace => "trace.nettrace",
        CaptureKind::Counters => "counters.jsonl",
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
