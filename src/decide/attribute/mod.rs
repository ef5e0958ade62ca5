//! Which pod and container a dump is of.
//!
//! Evidence is of two kinds. What the kernel, the kubelet or the API server says is *trusted*: the cgroup, the UID in a kubelet path, which pods
//! mount a directory. What the process or the pod could choose is a *claim*: directory levels that others could have made, host names, a file's owner.
//!
//! ```text
//! by uid (cgroup, kubelet path) ─┐
//! by the pods that write there ──┼→ whose → container → exact | probable | unknown
//! by claims alone ───────────────┘
//! ```
//!
//! `exact` needs a trusted pod and container, no contradiction and a complete pod index; no claim ever gives it where two pods can write. A claim chooses among
//! the pods that trusted evidence leaves; one that names another is recorded and not believed. What is `unknown` carries no names at all, in its grounds
//! neither: every tenant may read it. Times compared are [`About::ended`], never a file's mtime, which its owner sets.

mod by_claims;
mod by_mounts;
mod by_uid;
mod cgroup;
mod claims;
mod container;
mod grounds;
mod logged;
mod narrow;
mod place;
#[cfg(test)]
mod tests;
mod unsynced;

use std::path::Path;

use jiff::Timestamp;

use crate::model::{
    Attribution, Confidence, Container, KnownContainer, KnownPod, Names, Owner, Pod,
};

use grounds::{Grounds, Source, shown};

pub use cgroup::belongs_to_container;

/// Claims looked at; there is one for each way of claiming.
const CLAIMS: usize = 8;

/// Most pods in [`Attributed::among`]. A directory that more can write is shared by the whole node.
const AMONG: usize = 64;

/// What is known of a dump.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Where it is, or whose process it is.
    pub place: Where<'a>,
    /// Host names it claims.
    pub claims: &'a [Claim<'a>],
    /// The file's owner, as the node counts users.
    pub file_uid: u32,
    /// When it was last written: the `CLOSE_WRITE` seen, else its ctime before the claim. Never its mtime.
    pub ended: Timestamp,
}

/// Where a dump is, or whose process it is.
#[derive(Clone, Copy, Debug)]
pub enum Where<'a> {
    /// In a directory of the node.
    HostDir {
        /// The directory that holds it, on the node, links resolved.
        dir: &'a Path,
        /// The source that `dir` is in, likewise.
        root: &'a Path,
        /// What the levels between them say.
        names: &'a Names,
    },
    /// In an emptyDir, at `pods/<uid>/volumes/kubernetes.io~empty-dir/<volume>/<levels>` of the kubelet's directory.
    KubeletVolume {
        /// The pod's UID in that path.
        uid: &'a str,
        /// The volume.
        volume: &'a str,
        /// The levels below it.
        levels: &'a [String],
    },
    /// Known by the cgroup of its process, which the kernel told.
    Cgroup {
        /// A cgroup's path, or all of `/proc/<pid>/cgroup`.
        path: &'a str,
    },
}

/// A host name that a dump claims.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Where it stands.
    pub source: ClaimSource,
    /// The host name.
    pub host_name: &'a str,
}

/// Where a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimSource {
    /// `HOSTNAME` in the process's first environment.
    Environment,
    /// The dump's file name (`%h`).
    FileName,
}

/// What is known of the node.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// Its name, which is the host name of its daemons and of pods on its network: a claim of it says nothing. While it is not known any claim
    /// may be it, and claims alone name nobody.
    pub name: Option<&'a str>,
    /// Its pods, living and dead, each UID once.
    pub pods: &'a [&'a KnownPod],
    /// Since when these have been all of them without a gap; absent while they are not.
    pub synced_since: Option<Timestamp>,
    /// Namespace and workload of the agent itself: it mounts every source and is no candidate in any.
    pub own: Option<(&'a str, &'a Owner)>,
    /// The kubelet's log directories.
    pub log_dirs: &'a [LogDir],
}

/// A directory `/var/log/pods/<namespace>_<pod>_<uid>`: names a pod while the API server is away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    /// The pod's namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its UID as the kubelet knows it.
    pub uid: String,
}

/// Whose dump it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributed {
    /// The pod's names; none where the crash is nobody's, no UID where several pods of one name may have written it.
    pub pod: Pod,
    /// The container's name.
    pub container: Container,
    /// The grounds.
    pub attribution: Attribution,
    /// How many pods trusted evidence (without any: the claims) left to choose from.
    pub candidates: usize,
    /// UIDs ([`KnownPod::uid`], sorted, at most 64) of the pods behind `candidates`: all that could have written the dump by trusted grounds, or by the
    /// claims where there are no others, before anything chose among them. Empty where a log directory alone names the pod, and where nothing names
    /// any. Given for what is `unknown` as well: whether it is collected is decided by them, and no manifest shows them.
    pub among: Vec<String>,
    /// Whether `among` has all of them; not where there were more than 64.
    pub among_all: bool,
}

/// The outcome for the pod, before its container is looked for.
struct Whose<'a> {
    who: Who<'a>,
    candidates: usize,
    /// The candidates, where they are pods of the index.
    among: Vec<&'a KnownPod>,
}

enum Who<'a> {
    Nobody,
    Known(Found<'a>),
    /// Known to the node only.
    Logged {
        namespace: &'a str,
        pod: &'a str,
        uid: Option<&'a str>,
    },
}

struct Found<'a> {
    pod: &'a KnownPod,
    /// Its containers that may have written the dump.
    containers: Vec<&'a KnownContainer>,
    /// Whether it is this pod of its name, and not one before or after it.
    is_this_one: bool,
    /// Whether trusted evidence names it, with a complete index.
    is_trusted: bool,
}

impl<'a> Whose<'a> {
    /// Decided among these pods of the index.
    fn among(who: Who<'a>, among: Vec<&'a KnownPod>) -> Self {
        Self {
            who,
            candidates: among.len(),
            among,
        }
    }

    /// Decided among so many log directories.
    fn logged(who: Who<'a>, candidates: usize) -> Self {
        Self {
            who,
            candidates,
            among: Vec::new(),
        }
    }

    fn nobody() -> Self {
        Self::among(Who::Nobody, Vec::new())
    }
}

impl<'a> Node<'a> {
    /// The pods without the agent's own.
    fn others(&self) -> Vec<&'a KnownPod> {
        let pods = self.pods.iter().copied();
        pods.filter(|pod| !self.is_own(pod)).collect()
    }

    /// Whether it is one of the agent's own.
    fn is_own(&self, pod: &KnownPod) -> bool {
        self.own
            .is_some_and(|(namespace, owner)| pod.namespace == namespace && pod.owner == *owner)
    }
}

impl<'a> About<'a> {
    fn claims(&self) -> impl Iterator<Item = Claim<'a>> + use<'a> {
        let claims = self.claims.iter().copied().take(CLAIMS);
        claims.filter(|claim| !claim.host_name.is_empty())
    }

    fn level_for_container(&self) -> Option<&str> {
        match self.place {
            Where::HostDir { names, .. } => names.container.as_deref(),
            _ => None,
        }
    }
}

impl ClaimSource {
    fn source(self) -> Source {
        match self {
            Self::Environment => Source::HostName,
            Self::FileName => Source::FileName,
        }
    }
}

/// Decides whose dump it is.
pub fn attribute(about: &About<'_>, node: &Node<'_>) -> Attributed {
    let mut grounds = Grounds::default();
    match node.synced_since {
        None => grounds.note(Source::Index, true, "not complete".into()),
        Some(since) if since > about.ended => {
            let says = "complete only since after the dump was written";
            grounds.note(Source::Index, true, says.into());
        }
        Some(_) => grounds.note(Source::Index, true, "complete".into()),
    }
    let is_of_node = |claim: &Claim<'_>| claims::is_host_of_node(claim.host_name, node.name);
    let (of_node, claims): (Vec<_>, Vec<_>) = about.claims().partition(is_of_node);
    for claim in of_node {
        let says = format!("host {}, as the node", shown(claim.host_name));
        grounds.note_of(claim.source.source(), false, says, "names the node");
    }
    let about = &About {
        claims: &claims,
        ..*about
    };
    let whose = match about.place {
        Where::HostDir { dir, root, names } => {
            let writers = place::writers(dir, root, &node.others());
            by_mounts::note(&writers, node, &mut grounds);
            if node.synced_since.is_none() {
                unsynced::whose(writers, names, about, node, &mut grounds)
            } else if writers.is_empty() {
                by_claims::whose(names, about, node, &mut grounds)
            } else {
                by_mounts::whose(writers, names, about, node, &mut grounds)
            }
        }
        Where::KubeletVolume { .. } | Where::Cgroup { .. } => {
            by_uid::whose(about, node, &mut grounds)
        }
    };
    conclude(whose, about, grounds)
}

fn conclude(whose: Whose<'_>, about: &About<'_>, mut grounds: Grounds) -> Attributed {
    let candidates = whose.candidates;
    let (among, among_all) = uids(&whose.among);
    let (pod, container, confidence) = match whose.who {
        Who::Nobody => (Pod::default(), None, Confidence::Unknown),
        Who::Known(found) => {
            let ran = container::choose(&found, about, &mut grounds);
            let exact = found.is_trusted && ran.is_trusted && !grounds.contradict();
            let confidence = if exact {
                Confidence::Exact
            } else {
                Confidence::Probable
            };
            let pod = Pod {
                namespace: Some(found.pod.namespace.clone()),
                name: Some(found.pod.name.clone()),
                uid: found.is_this_one.then(|| found.pod.uid.clone()),
                ..Pod::default()
            };
            (pod, ran.name, confidence)
        }
        Who::Logged {
            namespace,
            pod,
            uid,
        } => {
            let pod = Pod {
                namespace: Some(namespace.to_owned()),
                name: Some(pod.to_owned()),
                uid: uid.map(str::to_owned),
                ..Pod::default()
            };
            let container = about.level_for_container().map(str::to_owned);
            (pod, container, Confidence::Probable)
        }
    };
    let (evidence, conflicts) = match confidence {
        Confidence::Unknown => grounds.unnamed(),
        Confidence::Exact | Confidence::Probable => grounds.named(),
    };
    Attributed {
        pod,
        container: Container {
            name: container,
            ..Container::default()
        },
        attribution: Attribution {
            confidence,
            evidence,
            conflicts,
            candidates: several(candidates),
        },
        candidates,
        among,
        among_all,
    }
}

/// Their UIDs, and whether these are all.
fn uids(pods: &[&KnownPod]) -> (Vec<String>, bool) {
    let mut uids: Vec<&str> = pods.iter().map(|pod| pod.uid.as_str()).collect();
    // The index has no order of its own.
    uids.sort_unstable();
    uids.dedup();
    let all = uids.len() <= AMONG;
    uids.truncate(AMONG);
    (uids.into_iter().map(str::to_owned).collect(), all)
}

fn several(candidates: usize) -> Option<u32> {
    u32::try_from(candidates).ok().filter(|n| *n > 1)
}
