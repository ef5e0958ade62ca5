//! Of whom a capture is: from a pod's name to the one process that is meant, by what the kernel says of processes.
//!
//! A process belongs to a container if its control group does: the container's id is a digest that the API server has from the runtime, and the groups above a
//! container's own are not its to name. A word that is missing is not guessed: where more than one process could be meant, they are named.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use super::failure::{Failure, Reason};
use super::memory::{CgroupTree, Memory};
use super::plan::{Probe, Process};
use crate::decide::belongs_to_container;
use crate::dotnet;
use crate::dotnet::find;
use crate::dotnet::ipc::Target;
use crate::kube::PodIndex;
use crate::model::{
    Attribution, Confidence, Container, Evidence, KnownContainer, KnownPod, Pod, escaped,
};

/// Most processes of a container that are looked into.
const PROCESSES_MAX: usize = 256;

/// How long they may take: each may answer slowly, and others wait for their turn.
const FIND_WITHIN: Duration = Duration::from_secs(5);

/// Longest text of a process's control groups that is read.
const CGROUP_MAX: u64 = 64 << 10;

/// Most that are named in a message.
const NAMED: usize = 8;

/// Of whom.
#[derive(Clone, Debug)]
pub enum Whom {
    /// A process in one of these containers of a pod.
    InPod {
        /// The containers that may be meant, which run.
        candidates: Vec<Candidate>,
        /// The process, as its container numbers it, where that was said.
        process: Option<i32>,
        /// Of several the one with most memory is meant.
        largest: bool,
    },
    /// A process of this machine.
    Process(i32),
}

/// A container that may be meant.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The pod's UID, as the node knows it.
    node_uid: String,
    /// The container's id.
    id: String,
    pod: Pod,
    container: Container,
    attribution: Attribution,
    probe: Option<Probe>,
}

/// The one process that is meant.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) target: Target,
    /// Stands for its container: one capture of it at a time.
    pub(super) key: String,
    /// Who that is, for people.
    pub(super) says: String,
    pub(super) pod: Pod,
    pub(super) container: Container,
    pub(super) attribution: Attribution,
    pub(super) process: Process,
    pub(super) probe: Option<Probe>,
    pub(super) memory_used: Option<u64>,
    pub(super) memory_limit: Option<u64>,
    pub(super) uid: u32,
}

impl Whom {
    /// A process of a pod of this node.
    ///
    /// # Errors
    /// [`Reason::NotRunning`] or [`Reason::NotSelected`].
    pub fn in_pod(
        pods: &PodIndex,
        pod: &KnownPod,
        container: Option<&str>,
        process: Option<i32>,
    ) -> Result<Self, Failure> {
        if !pods.is_collected(&pod.uid) {
            let why = format!(
                "pod {} is not to be collected from: its annotation salvage.dev/collect or the agent's selection says so",
                pod.name
            );
            return Err(Failure::new(Reason::NotSelected, why));
        }
        if let Some(name) = container
            && pod.container(name).is_none()
        {
            let names: Vec<&str> = pod
                .containers
                .iter()
                .map(|container| container.name.as_str())
                .collect();
            let why = format!(
                "pod {} has no container {}: it has {}",
                pod.name,
                escaped(name),
                names.join(", ")
            );
            return Err(Failure::new(Reason::NotRunning, why));
        }
        let wanted = pod
            .containers
            .iter()
            .filter(|known| container.is_none_or(|name| known.name == name));
        let candidates: Vec<Candidate> = wanted
            .filter_map(|known| Candidate::of(pods, pod, known))
            .collect();
        if candidates.is_empty() {
            let which = container.map_or_else(
                || "no container".to_owned(),
                |name| format!("container {name} of"),
            );
            let why = match container {
                Some(_) => format!("{which} pod {} does not run now", pod.name),
                None => format!("{which} of pod {} runs now", pod.name),
            };
            return Err(Failure::new(Reason::NotRunning, why));
        }
        Ok(Self::InPod {
            candidates,
            process,
            largest: false,
        })
    }

    /// The same, and of several processes the one with most memory: nobody is there to be asked.
    pub(super) fn or_the_largest(self) -> Self {
        match self {
            Self::InPod {
                candidates,
                process,
                ..
            } => Self::InPod {
                candidates,
                process,
                largest: true,
            },
            other => other,
        }
    }

    /// Finds the process.
    pub(super) fn find(&self, proc: &Path) -> Result<Found, Failure> {
        match self {
            Self::Process(pid) => on_this_machine(proc, *pid),
            Self::InPod {
                candidates,
                process,
                largest,
            } => in_containers(proc, candidates, *process, *largest),
        }
    }
}

impl Candidate {
    /// A container that runs.
    pub(super) fn of(pods: &PodIndex, pod: &KnownPod, container: &KnownContainer) -> Option<Self> {
        let status = container.status.as_ref()?;
        let id = status
            .id
            .clone()
            .filter(|_| status.running_since.is_some())?;
        let (facts, container_facts, attribution) = pods.facts_of_living(pod, container);
        Some(Self {
            node_uid: pod.node_uid.clone(),
            id,
            pod: facts,
            container: container_facts,
            attribution,
            probe: container.liveness.map(|liveness| Probe {
                period: liveness.period,
                timeout: liveness.timeout,
                failure_threshold: liveness.failures,
            }),
        })
    }

    fn name(&self) -> &str {
        self.container.name.as_deref().unwrap_or("-")
    }
}

/// A runtime, and the container that it was found in.
struct Runtime<'a> {
    candidate: &'a Candidate,
    process: find::Process,
    target: Target,
}

fn in_containers(
    proc: &Path,
    candidates: &[Candidate],
    process: Option<i32>,
    largest: bool,
) -> Result<Found, Failure> {
    let mut runtimes = Vec::new();
    // How much the outcome of one tells, and what it is.
    let mut closest: Option<(u8, dotnet::Error)> = None;
    let mut seen_any = false;
    let until = Instant::now() + FIND_WITHIN;
    for candidate in candidates {
        let is_of = |text: &str| belongs_to_container(text, &candidate.node_uid, &candidate.id);
        let processes = find::processes_of(proc, is_of).map_err(|error| {
            Failure::new(
                Reason::NodeError,
                format!("{}: processes cannot be listed: {error}", proc.display()),
            )
        })?;
        seen_any |= !processes.is_empty();
        let meant = processes
            .into_iter()
            .filter(|found| process.is_none_or(|wanted| wanted == found.inner_pid));
        for found in meant.take(PROCESSES_MAX) {
            if Instant::now() > until {
                let why = format!(
                    "the processes of {} were not looked through within {} s: each has a socket that answers slowly",
                    named(candidates),
                    FIND_WITHIN.as_secs()
                );
                return Err(Failure::new(Reason::TimedOut, why));
            }
            let looked = find::inspect(proc, &found);
            let closeness = looked.closeness();
            match looked.target(found.pid) {
                Ok(target) => runtimes.push(Runtime {
                    candidate,
                    process: found,
                    target,
                }),
                Err(error) if closest.as_ref().is_none_or(|(best, _)| closeness > *best) => {
                    closest = Some((closeness, error));
                }
                Err(_) => {}
            }
        }
    }
    if largest {
        runtimes.sort_by_key(|runtime| runtime.process.rss_anon);
    } else if runtimes.len() > 1 {
        return Err(ambiguous(&runtimes));
    }
    if let Some(Runtime {
        candidate,
        process,
        target,
    }) = runtimes.pop()
    {
        return Ok(found_in(proc, candidate, &process, target));
    }
    Err(match (closest, process) {
        (Some((_, error)), _) => Failure::from(error),
        (None, Some(wanted)) if seen_any => Failure::new(
            Reason::NotRunning,
            format!("there is no process {wanted} in {}", named(candidates)),
        ),
        (None, _) => nobody(proc, candidates),
    })
}

/// No process of the container is there, or none of other pods can be seen at all.
fn nobody(proc: &Path, candidates: &[Candidate]) -> Failure {
    let is_of_a_pod = |text: &str| text.contains("/pod") || text.contains("-pod");
    let who = named(candidates);
    match find::processes_of(proc, is_of_a_pod).is_ok_and(|processes| !processes.is_empty()) {
        true => Failure::new(
            Reason::NotRunning,
            format!(
                "no process of {who} is there: it has just ended, or is being started; ask again"
            ),
        ),
        false => Failure::new(
            Reason::PermissionDenied,
            format!(
                "no process of {who}, or of any other pod, is seen from here: the agent needs hostPID: true, which the chart's captures.enabled gives it"
            ),
        ),
    }
}

fn found_in(proc: &Path, candidate: &Candidate, process: &find::Process, target: Target) -> Found {
    let memory = memory_of(proc, process.pid);
    Found {
        key: candidate.id.clone(),
        says: format!("container {}", candidate.name()),
        pod: candidate.pod.clone(),
        container: candidate.container.clone(),
        attribution: candidate.attribution.clone(),
        process: plan_process(process),
        probe: candidate.probe,
        memory_used: memory.map(|memory| memory.working_set),
        memory_limit: memory.and_then(|memory| memory.limit),
        uid: process.uid,
        target,
    }
}

/// What the kernel says of the control groups of a process. A process's groups are a dozen lines.
pub(super) fn cgroup_of(proc: &Path, pid: i32) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(proc.join(pid.to_string()).join("cgroup"))?;
    file.take(CGROUP_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The memory of the process's container; nothing where that cannot be read, which is no reason not to take a capture.
fn memory_of(proc: &Path, pid: i32) -> Option<Memory> {
    let text = cgroup_of(proc, pid).ok()?;
    let tree = CgroupTree::open(proc).ok()?;
    let group = tree.place(u32::try_from(pid).ok()?, &text).ok()?;
    tree.read(&group).ok()
}

fn on_this_machine(proc: &Path, pid: i32) -> Result<Found, Failure> {
    let process = find::process(proc, pid).map_err(|error| {
        Failure::new(
            Reason::NotRunning,
            format!("there is no process {pid} that can be looked at: {error}"),
        )
    })?;
    let target = find::inspect(proc, &process).target(pid)?;
    let memory = memory_of(proc, pid);
    Ok(Found {
        key: format!("process {pid}"),
        says: format!("process {pid}"),
        pod: Pod::default(),
        container: Container::default(),
        attribution: Attribution {
            confidence: Confidence::Unknown,
            evidence: vec![Evidence {
                source: "process".to_owned(),
                says: format!("it was asked for by its number {pid}"),
                trusted: true,
            }],
            conflicts: Vec::new(),
            candidates: None,
        },
        process: plan_process(&process),
        probe: None,
        memory_used: memory.map(|memory| memory.working_set),
        memory_limit: memory.and_then(|memory| memory.limit),
        uid: process.uid,
        target,
    })
}

fn plan_process(process: &find::Process) -> Process {
    Process {
        rss: process.rss,
        rss_anon: process.rss_anon,
        vm_size: process.size,
        threads: u32::try_from(process.threads).unwrap_or(u32::MAX),
    }
}

fn named(candidates: &[Candidate]) -> String {
    let names: Vec<&str> = candidates.iter().map(Candidate::name).collect();
    match names.as_slice() {
        [one] => format!("container {one}"),
        several => format!("containers {}", several.join(", ")),
    }
}

fn ambiguous(runtimes: &[Runtime<'_>]) -> Failure {
    let first = runtimes.first().map(|runtime| runtime.candidate.name());
    let one_container = runtimes
        .iter()
        .all(|runtime| Some(runtime.candidate.name()) == first);
    let list: Vec<String> = runtimes
        .iter()
        .take(NAMED)
        .map(|runtime| match one_container {
            true => format!("{} ({})", runtime.process.inner_pid, runtime.process.comm),
            false => format!(
                "{} in container {}",
                runtime.process.inner_pid,
                runtime.candidate.name()
            ),
        })
        .collect();
    let remedy = match one_container {
        true => "name one as spec.process, or with --process",
        false => "name one as spec.container, or with --container",
    };
    let count = runtimes.len();
    Failure::new(
        Reason::Ambiguous,
        format!("{count} processes run .NET: {}: {remedy}", list.join(", ")),
    )
}
