//! Takes a capture of a container before it runs out of memory: the kernel's killer leaves no dump.
//!
//! ```text
//! every second: living pods with a rule or an annotation ──► memory of their containers' control groups ──► Budget ──fires──► Capturer
//! ```
//!
//! What was spent is on disk before a capture begins, so an agent that is started anew gives nobody a new budget. A container that is captured because of its memory
//! is captured in spite of what the plan says against it: it is about to be killed, and whoever made the rule knows that.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::Reason;
use super::memory::{
    Annotated, Budget, CAPTURE_AT_MEMORY, CAPTURE_TAKE, CgroupTree, Fire, Instance, MemoryCgroup,
    Opened, Rule, Seen, Take, TreeError, Workload, rule_for,
};
use super::request::{Request, What};
use super::take::{Capturer, Job};
use super::whom::{Whom, cgroup_of};
use crate::decide::belongs_to_container;
use crate::dotnet::find;
use crate::kube::PodIndex;
use crate::model::{CrashId, KnownContainer, KnownPod, MemoryUse, Trigger};
use crate::telemetry::chain;

/// Captures of this kind that are taken at once: each stops a process that is short of memory.
pub(super) const AT_ONCE: usize = 1;

/// How often processes are looked through for containers whose control group is not known yet: a container that has no process is rare, and a look at a thousand
/// processes takes milliseconds.
const SEARCH: Duration = Duration::from_secs(5);

/// How soon a container without a runtime is looked into again while its memory is high, at first and at last: others wait meanwhile.
const RUNTIME_AGAIN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_600));

/// How often it is tried to reach the control groups, where they cannot be.
const AGAIN: Duration = Duration::from_secs(60);

/// What is guarded.
#[derive(Clone, Debug)]
pub struct Config {
    /// The operator's rules, the first that selects a namespace counts.
    pub rules: Vec<Rule>,
    /// What holds for a pod that asks for it by annotation, where no rule selects it.
    pub usual: Rule,
    /// Whether pods may ask for it by annotation.
    pub annotations: bool,
    /// How often memory is looked at.
    pub poll: Duration,
    /// Where processes are seen.
    pub proc: PathBuf,
}

/// Looks at memory.
pub struct Guard {
    config: Config,
    pods: Arc<PodIndex>,
    capturer: Arc<Capturer>,
    budget: Budget,
    tree: Option<CgroupTree>,
    tree_after: Instant,
    groups: HashMap<String, MemoryCgroup>,
    /// Containers that were looked into.
    runtimes: HashMap<String, Runtime>,
    search_after: Instant,
    /// Annotations that were complained of already.
    complained: HashSet<String>,
    at_once: Arc<Semaphore>,
}

/// Whether a container has a runtime.
enum Runtime {
    Is,
    /// It had none then, and is looked into again after so long.
    None(Instant, Duration),
}

/// A container that is to be looked at.
struct Watched {
    pod: KnownPod,
    container: String,
    id: String,
    rule: Rule,
}

impl Guard {
    /// One that has looked at nothing yet.
    ///
    /// # Errors
    /// What was spent cannot be kept.
    pub fn open(
        config: Config,
        pods: Arc<PodIndex>,
        capturer: Arc<Capturer>,
    ) -> Result<Self, super::memory::BudgetError> {
        let (budget, opened) = Budget::open(capturer.spool().state_dir(), Timestamp::now())?;
        if let Opened::Unreadable(error) = opened {
            tracing::warn!(%error, "what captures were taken before cannot be read: none is taken by memory for one window of each rule");
        }
        Ok(Self {
            config,
            pods,
            capturer,
            budget,
            tree: None,
            tree_after: Instant::now(),
            groups: HashMap::new(),
            runtimes: HashMap::new(),
            search_after: Instant::now(),
            complained: HashSet::new(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Looks again and again, as long as it runs.
    pub async fn run(mut self) {
        let mut look = tokio::time::interval(self.config.poll);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let threads = Handle::current();
        loop {
            look.tick().await;
            let threads = threads.clone();
            let looked = tokio::task::spawn_blocking(move || {
                self.look(&threads);
                self
            });
            match looked.await {
                Ok(guard) => self = guard,
                Err(error) => {
                    tracing::error!(%error, "looking at the memory of containers has ended: none is captured by it any more");
                    return;
                }
            }
        }
    }

    fn look(&mut self, threads: &Handle) {
        let watched = self.watched();
        self.groups
            .retain(|id, _| watched.iter().any(|one| one.id == *id));
        self.runtimes
            .retain(|id, _| watched.iter().any(|one| one.id == *id));
        if watched.is_empty() || !self.reach_tree() {
            return;
        }
        self.search(&watched);
        if self.capturer.is_stopping() {
            return;
        }
        for one in &watched {
            // While one is taken the others wait: what they would spend they could not use.
            let Ok(permit) = Arc::clone(&self.at_once).try_acquire_owned() else {
                return;
            };
            if let Some(fire) = self.look_at(one) {
                self.fire(one, fire, permit, threads);
            }
        }
    }

    /// Containers that run, of pods that have a rule.
    fn watched(&mut self) -> Vec<Watched> {
        let has_any = !self.config.rules.is_empty();
        let asks = |pod: &KnownPod| pod.memory_capture != Default::default();
        let wanted = |pod: &KnownPod| {
            pod.stopping.is_none() && (has_any || (self.config.annotations && asks(pod)))
        };
        let pods = self.pods.all_living(wanted);
        let mut watched = Vec::new();
        for pod in pods {
            let Some(rule) = self.rule_of(&pod) else {
                continue;
            };
            if !self.pods.is_collected(&pod.uid) {
                continue;
            }
            let running = |container: &KnownContainer| {
                let status = container.status.as_ref()?;
                status.running_since?;
                Some((container.name.clone(), status.id.clone()?))
            };
            let containers: Vec<_> = pod.containers.iter().filter_map(running).collect();
            for (container, id) in containers {
                watched.push(Watched {
                    pod: pod.clone(),
                    container,
                    id,
                    rule: rule.clone(),
                });
            }
        }
        watched
    }

    fn rule_of(&mut self, pod: &KnownPod) -> Option<Rule> {
        let asked = &pod.memory_capture;
        let annotated = match self.config.annotations {
            true => Annotated::read(|key| match key {
                CAPTURE_AT_MEMORY => asked.at.as_deref(),
                CAPTURE_TAKE => asked.take.as_deref(),
                _ => None,
            }),
            false => Ok(Annotated::Nothing),
        };
        let config = &self.config;
        let rule = annotated
            .map_err(|error| error.to_string())
            .and_then(|annotated| {
                let rule = rule_for(&config.rules, &config.usual, &pod.namespace, annotated);
                rule.map_err(|error| format!("annotation {CAPTURE_AT_MEMORY}: {error}"))
            });
        match rule {
            Ok(rule) => rule,
            Err(why) => {
                if self.complained.len() > 1_024 {
                    self.complained.clear();
                }
                if self.complained.insert(pod.uid.clone()) {
                    tracing::warn!(
                        pod = pod.name,
                        namespace = pod.namespace,
                        why,
                        "a pod asks for captures in a way that is none"
                    );
                }
                None
            }
        }
    }

    fn reach_tree(&mut self) -> bool {
        if self.tree.is_none() && Instant::now() >= self.tree_after {
            self.tree_after = Instant::now() + AGAIN;
            match CgroupTree::open(&self.config.proc) {
                Ok(tree) => {
                    if !tree.is_whole() {
                        tracing::warn!(
                            "the node's control groups are not seen as a whole, so each container's own are looked at: limits of pods do not count, and a container that may mount is believed"
                        );
                    }
                    self.tree = Some(tree);
                }
                Err(error) => {
                    tracing::error!(
                        error = chain(&error),
                        "the memory of containers cannot be looked at: none is captured before it runs out of it"
                    );
                }
            }
        }
        self.tree.is_some()
    }

    /// Looks for the control groups of containers that are not known yet.
    fn search(&mut self, watched: &[Watched]) {
        let unknown: Vec<&Watched> = watched
            .iter()
            .filter(|one| !self.groups.contains_key(&one.id))
            .collect();
        let Some(tree) = self.tree.as_ref().filter(|_| !unknown.is_empty()) else {
            return;
        };
        if Instant::now() < self.search_after {
            return;
        }
        self.search_after = Instant::now() + SEARCH;
        let of = |text: &str| {
            let is_it = |one: &&&Watched| belongs_to_container(text, &one.pod.node_uid, &one.id);
            unknown.iter().find(is_it)
        };
        let processes = match find::processes_of(&self.config.proc, |text| of(text).is_some()) {
            Ok(processes) => processes,
            Err(error) => {
                tracing::warn!(%error, "processes cannot be listed");
                return;
            }
        };
        for process in processes {
            let text = cgroup_of(&self.config.proc, process.pid).unwrap_or_default();
            let pid = u32::try_from(process.pid).unwrap_or_default();
            if let (Some(one), Ok(group)) = (of(&text), tree.place(pid, &text)) {
                self.groups.entry(one.id.clone()).or_insert(group);
            }
        }
    }

    fn look_at(&mut self, one: &Watched) -> Option<Fire> {
        let group = self.groups.get(&one.id)?;
        let memory = match self.tree.as_ref()?.read(group) {
            Ok(memory) => memory,
            Err(TreeError::Gone(_)) => {
                self.groups.remove(&one.id);
                self.budget.forget(&Instance(one.id.clone()));
                return None;
            }
            Err(error) => {
                tracing::debug!(
                    container = one.container,
                    pod = one.pod.name,
                    error = chain(&error),
                    "the memory of a container cannot be read"
                );
                return None;
            }
        };
        let seen = Seen {
            used: memory.working_set,
            limit: memory.limit,
        };
        let workload = Workload {
            namespace: one.pod.namespace.clone(),
            owner: one.pod.owner.clone(),
            container: one.container.clone(),
        };
        let is_high = seen
            .limit
            .is_some_and(|limit| one.rule.at().is_reached(seen.used, limit));
        // Below the share it may be armed again, whatever it runs.
        if is_high && !self.has_runtime(one) {
            return None;
        }
        if !is_high && matches!(self.runtimes.get(&one.id), Some(Runtime::None(..))) {
            self.runtimes.remove(&one.id);
        }
        let instance = Instance(one.id.clone());
        let now = Timestamp::now();
        match self
            .budget
            .observe(now, &instance, &workload, &one.rule, seen)
        {
            Ok(fire) => fire,
            Err(error) => {
                tracing::error!(error = chain(&error), "a capture by memory was not begun");
                None
            }
        }
    }

    /// Whether a process of the container runs .NET. Looked for once when its memory is high, and again after a while: what has none must not spend its workload's
    /// budget, and most containers of a node have none.
    fn has_runtime(&mut self, one: &Watched) -> bool {
        let again = match self.runtimes.get(&one.id) {
            Some(Runtime::Is) => return true,
            Some(Runtime::None(then, again)) if then.elapsed() < *again => return false,
            Some(Runtime::None(_, again)) => (*again * 2).min(RUNTIME_AGAIN.1),
            None => RUNTIME_AGAIN.0,
        };
        let whom = Whom::in_pod(&self.pods, &one.pod, Some(&one.container), None);
        let found = whom.and_then(|whom| whom.or_the_largest().find(&self.config.proc));
        if let Err(failure) = &found {
            tracing::debug!(
                pod = one.pod.name,
                container = one.container,
                why = failure.message,
                "a container whose memory is high cannot be captured"
            );
        }
        let runtime = match &found {
            Ok(_) => Runtime::Is,
            // Those that could not be looked into now may well have one, but each look may have taken its time.
            Err(failure) if matches!(failure.reason, Reason::NoRuntime | Reason::TimedOut) => {
                Runtime::None(Instant::now(), again)
            }
            Err(_) => Runtime::None(Instant::now(), RUNTIME_AGAIN.0),
        };
        self.runtimes.insert(one.id.clone(), runtime);
        found.is_ok()
    }

    fn fire(&self, one: &Watched, fire: Fire, permit: OwnedSemaphorePermit, threads: &Handle) {
        let (pod, container) = (one.pod.clone(), one.container.clone());
        tracing::warn!(
            pod = pod.name,
            namespace = pod.namespace,
            container,
            used = fire.used,
            limit = fire.limit,
            take = %fire.take,
            left = fire.left,
            "a container's memory is near its limit; a capture of it is taken"
        );
        let whom = Whom::in_pod(&self.pods, &pod, Some(&container), None);
        let job = whom.map(|whom| Job {
            id: CrashId::new(Timestamp::now(), fastrand::u128(..)),
            request: Request {
                what: match fire.take {
                    Take::Gcdump => What::Gcdump,
                    Take::Dump(kind) => What::Dump(kind),
                },
                max_bytes: None,
                force: true,
            },
            whom: whom.or_the_largest(),
            trigger: Trigger::Memory,
            asked_by: None,
            memory: Some(MemoryUse {
                used: fire.used,
                limit: fire.limit,
            }),
        });
        let capturer = Arc::clone(&self.capturer);
        threads.spawn_blocking(move || {
            // Only the end of the agent ends it early.
            let cancelled = Arc::new(AtomicBool::new(false));
            let taken = job.and_then(|job| capturer.take(job, &cancelled, &|_| {}));
            if let Err(failure) = taken {
                tracing::warn!(
                    pod = pod.name,
                    namespace = pod.namespace,
                    container,
                    reason = failure.reason.name(),
                    why = failure.message,
                    "a capture by memory failed"
                );
            }
            drop(permit);
        });
    }
}
