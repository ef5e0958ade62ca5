//! A directory that no pod mounts, as the kernel's core directory, with a synced index: only claims tell, and never more than `probable`.

use crate::model::{KnownPod, Names};

use super::by_mounts::{found, living, pods};
use super::claims::{fit_pod, in_words, is_host_name, is_host_of, name_a_pod};
use super::grounds::{Grounds, Source, count, shown};
use super::place::Writer;
use super::{About, Claim, Found, LogDir, Node, Who, Whose, logged, narrow};

/// The pod by what is claimed.
pub(super) fn whose<'a>(
    names: &Names,
    about: &About<'_>,
    node: &Node<'a>,
    grounds: &mut Grounds,
) -> Whose<'a> {
    if let Some(says) = in_words(names) {
        grounds.note_of(Source::Layout, false, says, "names what nobody may write");
    }
    if name_a_pod(names) {
        if node.others().iter().any(|pod| fit_pod(names, pod)) {
            grounds.conflict(
                "layout says a pod that does not write there".to_owned(),
                "layout says a pod that does not write there",
            );
            note_claims(about, &[], grounds);
            return Whose::nobody();
        }
        let logs = logged::fitting(names, node, grounds);
        return logged::whose(&logs, about, grounds);
    }
    // With the agent's own, so that nobody has its dump by taking its name.
    let all: Vec<Writer<'_>> = node
        .pods
        .iter()
        .filter(|pod| fit_pod(names, pod))
        .map(|pod| Writer {
            pod,
            containers: pod.containers.iter().collect(),
        })
        .collect();
    let mut left = living(&all, about);
    note_claims(about, &left, grounds);
    let (named, unnamed): (Vec<_>, Vec<_>) = about.claims().partition(|claim| {
        let mut pods = left.iter();
        pods.any(|writer| is_host_of(claim.host_name, writer.pod))
    });
    left.retain(|writer| {
        let mut claims = named.iter();
        claims.any(|claim| is_host_of(claim.host_name, writer.pod))
    });
    let by_any = pods(&left);
    for claim in &named {
        left.retain(|writer| is_host_of(claim.host_name, writer.pod));
    }
    if named.is_empty() {
        return Whose::nobody();
    }
    if left.is_empty() || !unnamed.is_empty() {
        let says = "claimed host names differ";
        grounds.conflict(says.to_owned(), says);
        return Whose::among(Who::Nobody, by_any);
    }
    let among = pods(&left);
    if node.name.is_none() || are_of_several_namespaces(&among) {
        return Whose::among(Who::Nobody, among);
    }
    narrow::pods(&mut left, about, grounds);
    match found(left, about, false) {
        Who::Known(found) => believed(found, among, &named, about, node, grounds),
        other => Whose::among(other, among),
    }
}

/// A name and a host name are what their author likes, and whom `narrow` leaves is for him to arrange: a pod that takes another tenant's name and ends
/// all the time would have the other's dump. So among those that claims fit nothing chooses across namespaces.
fn are_of_several_namespaces(pods: &[&KnownPod]) -> bool {
    pods.windows(2).any(|pair| match pair {
        [a, b] => a.namespace != b.namespace,
        _ => false,
    })
}

/// Lets go of a pod that only claims name, and that they fit alone, where it may yet be another tenant's name that it has.
///
/// A name is at least its namespace's only one, and who has none of it at the time is out of question. A host name can be set in any number of pods to
/// whatever a pod is, was or will be called. So it is believed only where the index was complete before the dump, and none of it in another namespace
/// has that name or host name, though it were gone long since, or on the node's network with `HOSTNAME` set to its name.
fn believed<'a>(
    found: Found<'a>,
    mut among: Vec<&'a KnownPod>,
    named: &[Claim<'_>],
    about: &About<'_>,
    node: &Node<'a>,
    grounds: &mut Grounds,
) -> Whose<'a> {
    let pod = found.pod;
    if node.is_own(pod) {
        return Whose::among(Who::Nobody, among);
    }
    let is_named = |name: &str, namespace: &str| {
        let mut claims = named.iter();
        claims.all(|claim| is_host_name(claim.host_name, name, namespace))
    };
    let is_seen = |log: &LogDir| node.pods.iter().any(|pod| pod.node_uid == log.uid);
    let has_unseen = node.log_dirs.iter().any(|log| {
        log.namespace != pod.namespace && is_named(&log.pod, &log.namespace) && !is_seen(log)
    });
    if has_unseen {
        let says = "of a pod in another namespace that the index never saw";
        grounds.note(Source::LogDirectory, true, says.into());
        return Whose::among(Who::Nobody, among);
    }
    if is_named(&pod.name, &pod.namespace) {
        return Whose::among(Who::Known(found), among);
    }
    let others = node.pods.iter().copied().filter(|other| {
        let set = other.host_name.as_deref();
        other.namespace != pod.namespace
            && [Some(other.name.as_str()), set]
                .into_iter()
                .flatten()
                .any(|name| is_named(name, &other.namespace))
    });
    let before = among.len();
    among.extend(others);
    let is_complete = node.synced_since.is_some_and(|since| since <= about.ended);
    if is_complete && among.len() == before {
        return Whose::among(Who::Known(found), among);
    }
    let says = "a host name that is set may be another pod's name";
    grounds.note(Source::HostName, false, says.into());
    Whose::among(Who::Nobody, among)
}

/// Records the claims, and how many of these pods they fit.
pub(super) fn note_claims(about: &About<'_>, pods: &[Writer<'_>], grounds: &mut Grounds) {
    for claim in about.claims() {
        let fitting = pods.iter().filter(|w| is_host_of(claim.host_name, w.pod));
        let unnamed = format!("names {}", count(fitting.count(), "pod"));
        let says = format!("host {}", shown(claim.host_name));
        grounds.note_of(claim.source.source(), false, says, unnamed);
    }
}
