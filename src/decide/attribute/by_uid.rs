//! The pod that the kernel or the kubelet names by its UID. Nobody else writes there, so it does not matter since when the index is complete.

use crate::model::{KnownContainer, KnownPod, Mount, SubPath};

use super::claims::{is_host_name, is_host_of};
use super::grounds::{Grounds, Source, shown};
use super::logged::are_of_one_name;
use super::narrow::{self, Left};
use super::place::Writer;
use super::{About, Found, LogDir, Node, Where, Who, Whose, cgroup};

/// The pod by a kubelet path or a cgroup.
pub(super) fn whose<'a>(about: &About<'a>, node: &Node<'a>, grounds: &mut Grounds) -> Whose<'a> {
    let Some((uid, id)) = identity(about, grounds) else {
        note_claims(about, None, grounds);
        return Whose::nobody();
    };
    let known = with_uid(&uid, node);
    let logs: Vec<&LogDir> = node.log_dirs.iter().filter(|log| log.uid == uid).collect();
    for log in &logs {
        let says = format!("pod {}/{}", shown(&log.namespace), shown(&log.pod));
        grounds.note_of(
            Source::LogDirectory,
            true,
            says,
            "names the pod of this uid",
        );
    }
    if known.is_empty() {
        return only_logged(&logs, about, grounds);
    }
    let fitting = borne_out(&known, &logs, &uid, grounds);
    let is_alone = fitting.len() == 1;
    let all = fitting.iter().map(|pod| Writer {
        pod,
        containers: Vec::new(),
    });
    let (pod, is_this_one) = match narrow::last(all.collect(), about.ended) {
        Left::One(writer) => (writer.pod, true),
        Left::OneName(writer) => (writer.pod, false),
        Left::Open => {
            note_claims(about, None, grounds);
            return Whose::among(Who::Nobody, known);
        }
    };
    // On the node's network the host name is the node's, and cannot contradict.
    let fits = |host: &str| pod.host_network || is_host_of(host, pod);
    note_claims(about, Some(&fits), grounds);
    let who = Who::Known(Found {
        containers: containers(pod, about, id.as_deref(), grounds),
        pod,
        is_this_one,
        is_trusted: node.synced_since.is_some() && is_alone,
    });
    Whose::among(who, fitting)
}

/// The pods that have this UID, as the kubelet knows it: a static pod has another at the API server. What the API server gave cannot be had twice, so such a
/// pod is the only one; a digest stands in an annotation, which anyone may copy.
fn with_uid<'a>(uid: &str, node: &Node<'a>) -> Vec<&'a KnownPod> {
    let pods = node.pods.iter().copied();
    let mut known: Vec<_> = pods.filter(|pod| pod.node_uid == uid).collect();
    if known.iter().any(|pod| pod.uid == uid) {
        known.retain(|pod| pod.uid == uid);
    }
    known
}

/// Those of the pods that the log directories of the UID do not contradict. The kubelet makes them for what it runs, which a pod with a copied digest
/// is not; so without one a digest names nobody.
fn borne_out<'a>(
    known: &[&'a KnownPod],
    logs: &[&LogDir],
    uid: &str,
    grounds: &mut Grounds,
) -> Vec<&'a KnownPod> {
    if logs.is_empty() {
        let mut given = known.to_vec();
        given.retain(|pod| pod.uid == uid);
        if given.is_empty() {
            let says = "none for this uid, which an annotation gives to a pod";
            grounds.note(Source::LogDirectory, true, says.into());
        }
        return given;
    }
    let is_of =
        |log: &&LogDir, pod: &KnownPod| log.namespace == pod.namespace && log.pod == pod.name;
    let mut fitting = known.to_vec();
    fitting.retain(|pod| logs.iter().all(|log| is_of(log, pod)));
    if fitting.is_empty() {
        let says = "the log directory gives this uid to another pod";
        grounds.conflict(says.to_owned(), says);
    }
    fitting
}

/// The pod of the log directories, where the index never saw the UID.
fn only_logged<'a>(logs: &[&'a LogDir], about: &About<'_>, grounds: &mut Grounds) -> Whose<'a> {
    let first = logs.first().filter(|_| are_of_one_name(logs));
    let Some(log) = first else {
        note_claims(about, None, grounds);
        return Whose::logged(Who::Nobody, logs.len());
    };
    let fits = |host: &str| is_host_name(host, &log.pod, &log.namespace);
    note_claims(about, Some(&fits), grounds);
    let who = Who::Logged {
        namespace: &log.namespace,
        pod: &log.pod,
        uid: Some(&log.uid),
    };
    Whose::logged(who, 1)
}

/// The UID, and the container's id where it is told.
fn identity(about: &About<'_>, grounds: &mut Grounds) -> Option<(String, Option<String>)> {
    match about.place {
        Where::KubeletVolume { uid, volume, .. } => {
            let says = format!("pod uid {}, volume {}", shown(uid), shown(volume));
            grounds.note_of(Source::KubeletPath, true, says, "names a pod by its uid");
            Some((uid.to_owned(), None))
        }
        Where::Cgroup { path } => {
            let Some(inside) = cgroup::in_cgroup(path) else {
                grounds.note(Source::Cgroup, true, "names no pod".into());
                return None;
            };
            let says = match &inside.id {
                Some(id) => format!("pod uid {}, container id {id}", inside.uid),
                None => format!("pod uid {}", inside.uid),
            };
            grounds.note_of(Source::Cgroup, true, says, "names a pod by its uid");
            Some((inside.uid, inside.id))
        }
        Where::HostDir { .. } => None,
    }
}

/// Claims are recorded, and contradict where they do not fit the pod; one without a pod says nothing.
fn note_claims(about: &About<'_>, fits: Option<&dyn Fn(&str) -> bool>, grounds: &mut Grounds) {
    for claim in about.claims() {
        let source = claim.source.source();
        let host = shown(claim.host_name);
        grounds.note_of(source, false, format!("host {host}"), "names a host");
        if fits.is_some_and(|fits| !fits(claim.host_name)) {
            let says = format!("{} says {host}, which is not this pod", source.name());
            grounds.conflict(says, "a claimed host name is not this pod's");
        }
    }
}

/// The containers that may have written the dump.
fn containers<'a>(
    pod: &'a KnownPod,
    about: &About<'_>,
    id: Option<&str>,
    grounds: &mut Grounds,
) -> Vec<&'a KnownContainer> {
    match about.place {
        Where::KubeletVolume { volume, levels, .. } => in_volume(pod, volume, levels, grounds),
        _ => {
            let has_id = |container: &&KnownContainer| id.is_some_and(|id| has_id(container, id));
            pod.containers.iter().filter(has_id).collect()
        }
    }
}

/// Whether a start of the container has this id. The status knows the last two.
fn has_id(container: &KnownContainer, id: &str) -> bool {
    container.status.as_ref().is_some_and(|status| {
        let ended = [&status.ended, &status.ended_before].into_iter().flatten();
        let mut ids = ended.map(|end| &end.id).chain([&status.id]).flatten();
        ids.any(|known| known == id)
    })
}

/// Those whose `subPath` leads there; else those that mount the volume and may have written there.
fn in_volume<'a>(
    pod: &'a KnownPod,
    volume: &str,
    levels: &[String],
    grounds: &mut Grounds,
) -> Vec<&'a KnownContainer> {
    let with = |fits: &dyn Fn(&SubPath) -> bool| -> Vec<&'a KnownContainer> {
        let writes = |mount: &Mount| !mount.read_only && mount.volume == volume && fits(&mount.sub);
        let all = pod.containers.iter();
        all.filter(|container| container.mounts.iter().any(writes))
            .collect()
    };
    let is_told = |sub: &[String]| !sub.iter().any(|l| l.is_empty() || l == "." || l == "..");
    let leads_there = |sub: &SubPath| match sub {
        SubPath::Levels(sub) => !sub.is_empty() && levels.starts_with(sub),
        SubPath::Whole | SubPath::Untold => false,
    };
    let may_lead_there = |sub: &SubPath| match sub {
        SubPath::Levels(sub) => levels.starts_with(sub) || !is_told(sub),
        SubPath::Whole | SubPath::Untold => true,
    };
    if with(&leads_there).is_empty() {
        let may = with(&may_lead_there);
        if may.is_empty() {
            let says = "no container of the pod is known to write there";
            grounds.conflict(says.to_owned(), says);
        }
        return may;
    }
    with(&|sub| match sub {
        SubPath::Whole => false,
        SubPath::Levels(told) if told.is_empty() => false,
        sub => may_lead_there(sub),
    })
}
