//! Which ends of containers were counted: the checkpoint that makes each a crash once, over new lists, lost watches and restarts of the agent.
//!
//! `<state_dir>/pods/<uid>.json` holds what was counted of a pod's containers, `<state_dir>/pods/since.json` since when this node's pods are counted. A death is
//! durable with whoever mourns it before it counts as counted: stopped in between, it is told again, and known there.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::index::container_facts;
use super::logs::Logs;
use super::{Metrics, Mourner, PodIndex};
use crate::decide::{Counted, Coverage, End, new_ends};
use crate::model::{Death, KnownContainer, KnownPod, Start, escaped};
use crate::sys::{Dir, write_durably};

const VERSION: u32 = 1;

/// Largest file read; one of a pod with hundreds of containers has some 100 KiB.
const FILE_MAX: u64 = 1 << 20;

const SINCE: &str = "since.json";

/// Most pods that are gone and remembered: a node of short jobs has hundreds an hour.
const GONE_MAX: usize = 4_096;

/// Longest UID that names a file; the API server's have 36 characters.
const UID_MAX: usize = 64;

/// What was counted of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    version: u32,
    containers: BTreeMap<String, Counted>,
    /// When it was no longer there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<Timestamp>,
}

/// Since when pods are counted, and what must not be forgotten of them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Since {
    version: u32,
    since: Timestamp,
    /// Whether a pod of this node has ever opted out.
    #[serde(default)]
    opted_out: bool,
}

/// Counts the ends of containers.
pub struct Census {
    dir: Dir,
    state: Mutex<State>,
    index: Arc<PodIndex>,
    mourner: Arc<dyn Mourner>,
    logs: Option<Logs>,
    coverage: Coverage,
    metrics: Metrics,
    keep_gone: Duration,
}

#[derive(Debug, Default)]
struct State {
    pods: HashMap<String, Memory>,
    since: Option<Since>,
}

/// What a census works with.
pub struct Parts {
    /// The pods.
    pub index: Arc<PodIndex>,
    /// Who takes deaths over.
    pub mourner: Arc<dyn Mourner>,
    /// The last lines of containers, if they are taken.
    pub logs: Option<Logs>,
    /// Where a dump would be seen.
    pub coverage: Coverage,
    /// What is counted.
    pub metrics: Metrics,
    /// How long a pod is remembered when it is gone.
    pub keep_gone: Duration,
}

impl Census {
    /// Opens what was counted, in `state_dir`, which nobody else uses.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn open(state_dir: &Path, parts: Parts) -> io::Result<Self> {
        let state = Dir::open(&state_dir.canonicalize()?)?;
        match state.create_dir("pods".as_ref()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => state.sync()?,
        }
        let dir = state.open_dir("pods".as_ref())?;
        let Parts {
            index,
            mourner,
            logs,
            coverage,
            metrics,
            keep_gone,
        } = parts;
        let state = load(&dir)?;
        if state.since.is_some_and(|since| since.opted_out) {
            index.remember_opt_outs();
        }
        let state = Mutex::new(state);
        Ok(Self {
            dir,
            state,
            index,
            mourner,
            logs,
            coverage,
            metrics,
            keep_gone,
        })
    }

    /// Counts what is new of a pod. Blocks on the disk where something is.
    ///
    /// # Errors
    /// Why not all of it could be counted now, for people: look at the pod again later.
    pub(super) fn look(&self, pod: &KnownPod, now: Timestamp) -> Result<(), String> {
        if !fits_file(&pod.uid) {
            return Ok(());
        }
        let (known, met) = self.known(pod);
        let mut memory = known.clone().unwrap_or_default();
        memory.version = VERSION;
        let mut failed = None;
        for container in &pod.containers {
            let counted = memory.containers.get(&container.name);
            let (ends, after) = new_ends(pod, container, counted, met, now);
            match self.mourn(pod, container, ends, now) {
                Ok(()) if after == Counted::default() => {}
                Ok(()) => {
                    memory.containers.insert(container.name.clone(), after);
                }
                Err(error) => failed = Some(error),
            }
        }
        // One that is met with a past is remembered although it has no end yet: those that come are news, whoever sees them.
        let is_news = match &known {
            Some(known) => *known != memory,
            None => !met || !memory.containers.is_empty(),
        };
        if is_news {
            self.remember(&pod.uid, memory)
                .map_err(|error| error.to_string())?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Whether looking at the pod would change nothing.
    pub(super) fn is_old(&self, pod: &KnownPod, now: Timestamp) -> bool {
        let (known, met) = self.known(pod);
        let containers = known.as_ref().map(|known| &known.containers);
        met && pod.containers.iter().all(|container| {
            let counted = containers.and_then(|known| known.get(&container.name));
            let (ends, after) = new_ends(pod, container, counted, met, now);
            ends.is_empty() && counted.cloned().unwrap_or_default() == after
        })
    }

    /// What was counted of a pod, and whether all ends of its containers that were not counted are news: it was met before, or made since pods are counted.
    fn known(&self, pod: &KnownPod) -> (Option<Memory>, bool) {
        let state = self.state();
        let known = state.pods.get(&pod.uid).cloned();
        let made = state.since.zip(pod.created);
        let met = known.is_some() || made.is_some_and(|(since, made)| made >= since.since);
        (known, met)
    }

    fn mourn(
        &self,
        pod: &KnownPod,
        container: &KnownContainer,
        ends: Vec<End>,
        now: Timestamp,
    ) -> Result<(), String> {
        let selected = self.index.selection().selects(pod);
        for end in ends {
            let (number, terminated, count) = match end {
                End::Seen {
                    stop: Some(why),
                    number,
                    terminated,
                } => {
                    tracing::debug!(
                        namespace = pod.namespace,
                        pod = pod.name,
                        container = container.name,
                        start = number,
                        code = terminated.exit_code,
                        why,
                        "a container ended and did not crash"
                    );
                    continue;
                }
                End::Seen {
                    number, terminated, ..
                } => (number, Some(terminated), 1),
                End::Unseen { number, count } => {
                    // What was recorded may not be counted here yet: the agent was stopped, or its state could not be written.
                    let first = u64::from(number) + 1 - u64::from(count.min(number + 1));
                    let last = self.mourner.last(&pod.uid, &container.name);
                    let first = first.max(last.map_or(0, |last| u64::from(last) + 1));
                    match u32::try_from((u64::from(number) + 1).saturating_sub(first)) {
                        Ok(0) | Err(_) => continue,
                        Ok(count) => (number, None, count),
                    }
                }
            };
            let unseen = terminated.is_none().then_some(count);
            if !selected {
                continue;
            }
            let mut facts = container_facts(container, terminated.as_ref(), number);
            facts.start_number = Some(number);
            let death = Death {
                start: Start {
                    uid: pod.uid.clone(),
                    container: container.name.clone(),
                    number,
                },
                pod: self.index.pod_facts(pod),
                container: facts,
                terminated,
                count,
                seen: now,
                has_source: self.coverage.has_source(pod, container),
            };
            let seen = death.terminated.is_some();
            let lines = || self.logs.as_ref()?.last_lines(pod, container, number);
            let log = seen.then(lines).flatten();
            if self.mourner.died(death, log)? {
                self.metrics.unseen(unseen.unwrap_or(0));
            }
        }
        Ok(())
    }

    /// Notes that all pods of this node are known, from when on every end of a pod that is made is ours to count; and forgets pods that are gone for long. To be
    /// called whenever a list was whole, and from time to time.
    pub(super) fn tidy(&self, now: Timestamp) {
        self.note_since(now);
        let remembered = self.index.remembered();
        let keep = SignedDuration::try_from(self.keep_gone).unwrap_or(SignedDuration::MAX);
        let mut lost: Vec<(Option<Timestamp>, String)> = {
            let state = self.state();
            let pods = state.pods.iter();
            pods.filter(|(uid, _)| remembered.get(*uid) != Some(&false))
                .map(|(uid, memory)| (memory.gone, uid.clone()))
                .collect()
        };
        // The longest gone first; those that are not marked yet are the newest.
        lost.sort_by_key(|(gone, _)| gone.unwrap_or(Timestamp::MAX));
        let too_many = lost.len().saturating_sub(GONE_MAX);
        for (n, (gone, uid)) in lost.into_iter().enumerate() {
            match gone {
                Some(gone) if n < too_many || now.duration_since(gone) > keep => {
                    self.state().pods.remove(&uid);
                    let _ = self.dir.remove_file(file_of(&uid).as_ref());
                }
                Some(_) => {}
                // Only in memory, and from its file at the next start: writing a file for each would take as long as all the rest.
                None => {
                    if let Some(memory) = self.state().pods.get_mut(&uid) {
                        memory.gone = Some(now);
                    }
                }
            }
        }
    }

    fn note_since(&self, now: Timestamp) {
        let known = self.state().since;
        let since = Since {
            version: VERSION,
            since: known.map_or(now, |known| known.since),
            opted_out: self.index.has_opt_outs(),
        };
        if known.is_some_and(|known| known.opted_out == since.opted_out) {
            return;
        }
        match self.write(SINCE.into(), &since) {
            Ok(()) => self.state().since = Some(since),
            Err(error) => {
                tracing::warn!(%error, "that pods are counted from now on could not be written");
            }
        }
    }

    /// Kept in memory even where the disk refuses it: what is counted is durable with the mourner.
    fn remember(&self, uid: &str, memory: Memory) -> io::Result<()> {
        let written = self.write(file_of(uid), &memory);
        self.state().pods.insert(uid.to_owned(), memory);
        written
    }

    fn write(&self, name: OsString, what: &impl Serialize) -> io::Result<()> {
        let json = serde_json::to_vec(what).map_err(io::Error::other)?;
        write_durably(&self.dir, &name, &json)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(dir: &Dir) -> io::Result<State> {
    let mut state = State::default();
    for entry in dir.entries()? {
        let name = entry?.name;
        let text = name.to_string_lossy().into_owned();
        if text == SINCE {
            state.since = read(dir, &name);
        } else if let Some(memory) = text
            .strip_suffix(".json")
            .filter(|uid| fits_file(uid))
            .and_then(|uid| Some((uid.to_owned(), read::<Memory>(dir, &name)?)))
        {
            state.pods.insert(memory.0, memory.1);
        } else {
            if !text.starts_with('.') {
                tracing::warn!(file = %escaped(&name), "what was counted of a pod cannot be read and is removed; what its status shows of the last hour is counted anew");
            }
            dir.remove_file(&name)?;
        }
    }
    Ok(state)
}

fn read<T: DeserializeOwned + Versioned>(dir: &Dir, name: &OsString) -> Option<T> {
    let mut json = Vec::new();
    let file = dir.open_file(name).ok()?;
    file.take(FILE_MAX).read_to_end(&mut json).ok()?;
    let read: T = serde_json::from_slice(&json).ok()?;
    (read.version() == VERSION).then_some(read)
}

trait Versioned {
    fn version(&self) -> u32;
}

impl Versioned for Memory {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Versioned for Since {
    fn version(&self) -> u32 {
        self.version
    }
}

fn file_of(uid: &str) -> OsString {
    format!("{uid}.json").into()
}

/// A UID is a name of the API server's, and yet nothing is made of it that leads elsewhere.
fn fits_file(uid: &str) -> bool {
    let fit = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !uid.is_empty() && uid.len() <= UID_MAX && uid.bytes().all(fit) && uid != "since"
}
