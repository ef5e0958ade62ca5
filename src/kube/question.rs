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
    /// Its name, where that may say something.
    pub file_name: Option<&'a OsStr>,
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
        let claim = |source| move |host_name| Claim { source, host_name };
        let said = question.host_name.map(claim(ClaimSource::Environment));
        let file_name = question.file_name.and_then(OsStr::to_str);
        let named = file_name.and_then(|name| host_name_in(name, &pods));
        let named = named.map(claim(ClaimSource::FileName));
        let claims: Vec<Claim<'_>> = said.into_iter().chain(named).collect();
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

/// Parts of a file's name that are looked at.
const PARTS: usize = 16;

/// Longest host name the kernel writes for `%h`.
const HOST_NAME: usize = 63;

/// The host name in a file's name, where `core_pattern` or a runtime put one (`core.%h.%p`): a part of it that is a pod's name, or that cut, or its host name.
/// Nothing says which part it is, so it must have a dash, as the names of all pods have that something made: `core` is no pod's.
fn host_name_in<'a>(file_name: &'a str, pods: &[&KnownPod]) -> Option<&'a str> {
    let is_of = |part: &str, pod: &KnownPod| {
        pod.name == part
            || pod.name.get(..HOST_NAME) == Some(part)
            || pod.host_name.as_deref() == Some(part)
    };
    let parts = file_name.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    parts
        .take(PARTS)
        .filter(|part| part.contains('-'))
        .find(|part| pods.iter().any(|pod| is_of(part, pod)))
}

/// The path with its links followed, as the mounts of pods name it; itself while it is not there.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_files_name_that_is_a_known_pods_is_its_host_name() {
        let pod = |name: &str| KnownPod {
            name: name.to_owned(),
            ..KnownPod::default()
        };
        let long = format!("{}-0", "a".repeat(70));
        let pods = [pod("cart-0"), pod("core"), pod(&long)];
        let pods: Vec<&KnownPod> = pods.iter().collect();
        let in_name = |name: &str| host_name_in(name, &pods).map(str::to_owned);
        for name in [
            "core.cart-0.1",
            "cart-0_1795000000",
            "dump%cart-0",
            "cart-0",
        ] {
            assert_eq!(in_name(name).as_deref(), Some("cart-0"), "{name}");
        }
        for name in ["core.1", "core", "cart.0", "xcart-0", "other-0.core", ""] {
            assert_eq!(in_name(name), None, "{name}");
        }
        assert_eq!(in_name(&format!("core.{}.7", "a".repeat(63))), None);
        let long = format!("{}-{}", "b".repeat(10), "c".repeat(80));
        let cut = &long[..63];
        let pods = [pod(&long)];
        let pods: Vec<&KnownPod> = pods.iter().collect();
        assert_eq!(host_name_in(&format!("core.{cut}.7"), &pods), Some(cut));
    }
}
