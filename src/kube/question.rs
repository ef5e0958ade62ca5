//! Whose a dump is, asked of the pod index: gathers what `decide` weighs, and says whether the dump is to be collected.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::index::{PodIndex, State, container_facts, pod_facts};
use super::logs;
use crate::decide::{About, Attributed, Claim, ClaimSource, LogDir, Node, Where, attribute};
use crate::model::{Attribution, Confidence, Container, KnownPod, Names, Owner, Pod};

/// How long the names of the log directories are believed: many dumps may ask at once.
const LOGS_BELIEVED: Duration = Duration::from_secs(1);

/// What is asked of a dump.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The source it was found in.
    pub source: &'a OsStr,
    /// The levels from there to its directory.
    pub levels: Vec<&'a OsStr>,
    /// What these say.
    pub names: &'a Names,
    /// Its owner.
    pub file_uid: u32,
    /// The host name in it.
    pub host_name: Option<&'a str>,
    /// When its writing ended.
    pub ended: Timestamp,
}

/// Whether a dump is to be collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selected {
    /// It is.
    Yes,
    /// Its pod is not selected.
    No,
    /// Nobody knows whose it is, and it might be somebody's who is not.
    Unknown,
}

/// Whose a dump is.
#[derive(Clone, Debug, PartialEq)]
pub struct Whose {
    /// The pod, as the manifest says it.
    pub pod: Pod,
    /// The container, as the manifest says it.
    pub container: Container,
    /// The grounds.
    pub attribution: Attribution,
    /// Whether it is to be collected.
    pub selected: Selected,
}

impl PodIndex {
    /// Whose dump it is, as far as can be said at `now`.
    pub fn whose(&self, question: &Question<'_>, now: Timestamp) -> Whose {
        let log_dirs = self.log_dirs();
        let root = real(Path::new(question.source));
        let state = self.state();
        let pods: Vec<&KnownPod> = state.pods.values().collect();
        let own = self.own_owner(&state);
        let node = Node {
            name: Some(&self.config.node),
            pods: &pods,
            synced_since: state.synced_since(now),
            own: own
                .as_ref()
                .map(|(namespace, owner)| (namespace.as_str(), owner)),
            log_dirs: &log_dirs,
        };
        let dir = question
            .levels
            .iter()
            .fold(root.clone(), |dir, level| dir.join(level));
        let claimed = question.host_name.map(|host_name| Claim {
            source: ClaimSource::Environment,
            host_name,
        });
        let claims: Vec<Claim<'_>> = claimed.into_iter().collect();
        let about = About {
            place: match (&question.names.uid, &question.names.volume) {
                (Some(uid), Some(volume)) => Where::KubeletVolume {
                    uid,
                    volume,
                    levels: &question.names.below,
                },
                _ => Where::HostDir {
                    dir: &dir,
                    root: &root,
                    names: question.names,
                },
            },
            claims: &claims,
            file_uid: question.file_uid,
            ended: question.ended,
        };
        let found = attribute(&about, &node);
        let known = found.pod.uid.as_ref().and_then(|uid| state.pods.get(uid));
        let container = found.container.name.as_deref();
        Whose {
            selected: self.selected(&found, known, &state),
            container: known
                .zip(container)
                .and_then(|(pod, name)| pod.container(name))
                .map_or(found.container.clone(), |known| {
                    container_facts(known, None, 0)
                }),
            pod: known.map_or(found.pod, |pod| pod_facts(pod, &self.config.labels)),
            attribution: found.attribution,
        }
    }

    /// The kubelet's log directories, as of a moment ago.
    fn log_dirs(&self) -> Arc<[LogDir]> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        match &*logs {
            Some((then, dirs)) if then.elapsed() < LOGS_BELIEVED => Arc::clone(dirs),
            _ => {
                let dirs: Arc<[LogDir]> = logs::pods_with_logs(&self.config.log_dir).into();
                *logs = Some((Instant::now(), Arc::clone(&dirs)));
                dirs
            }
        }
    }

    /// Whether what was found so is to be collected: where it is not certain whose it is, only if everybody whose it may be is collected from.
    fn selected(&self, found: &Attributed, known: Option<&KnownPod>, state: &State) -> Selected {
        let selection = &self.config.selection;
        let is_exact = found.attribution.confidence == Confidence::Exact;
        if let Some(pod) = known.filter(|_| is_exact) {
            return match selection.selects(pod) {
                true => Selected::Yes,
                false => Selected::No,
            };
        }
        let among: Vec<&KnownPod> = found
            .among
            .iter()
            .filter_map(|uid| state.pods.get(uid))
            .collect();
        let selected = among.iter().filter(|pod| selection.selects(pod)).count();
        let namespace = found.pod.namespace.as_deref();
        if found.among_all && !among.is_empty() && selected == among.len() {
            return Selected::Yes;
        }
        if (found.among_all && !among.is_empty() && selected == 0)
            || namespace.is_some_and(|namespace| !selection.selects_namespace(namespace))
        {
            return Selected::No;
        }
        match selection.holds_unknown(state.opted_out) {
            true => Selected::Unknown,
            false => Selected::Yes,
        }
    }

    /// Whether anybody may not be collected from.
    pub fn may_exclude(&self) -> bool {
        self.config.selection.is_in_use() || self.state().opted_out
    }

    /// Whether a dump found at this place is certainly none to collect.
    pub fn excludes(&self, question: &Question<'_>, now: Timestamp) -> bool {
        self.whose(question, now).selected == Selected::No
    }

    /// The owner of the agent's own pods: they mount every source.
    fn own_owner(&self, state: &State) -> Option<(String, Owner)> {
        let (namespace, name) = self.config.own.as_ref()?;
        let own = state
            .pods
            .values()
            .find(|pod| pod.namespace == *namespace && pod.name == *name)?;
        Some((namespace.clone(), own.owner.clone()))
    }
}

/// The path with its links followed, as the mounts of pods name it; itself while it is not there.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
