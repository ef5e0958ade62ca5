//! While the API server is away: the pods known so far may not be all, so nothing is `exact`, and levels are believed only where a pod known so far, or the
//! kubelet's log directory, bears them out.

use std::collections::HashSet;

use crate::model::Names;

use super::by_claims::note_claims;
use super::by_mounts::{choose, found, living, pods};
use super::claims::{fit_pod, in_words, name_a_pod};
use super::grounds::{Grounds, Source};
use super::place::Writer;
use super::{About, Found, Node, Who, Whose, logged, narrow};

/// The pod by its levels.
pub(super) fn whose<'a>(
    writers: Vec<Writer<'a>>,
    names: &Names,
    about: &About<'_>,
    node: &Node<'a>,
    grounds: &mut Grounds,
) -> Whose<'a> {
    let among = pods(&writers);
    if let Some(says) = in_words(names) {
        grounds.note_of(Source::Layout, false, says, "names a pod");
    }
    if !name_a_pod(names) {
        note_claims(about, &writers, grounds);
        return Whose::among(Who::Nobody, among);
    }
    let mut fitting = writers;
    fitting.retain(|writer| fit_pod(names, writer.pod));
    if fitting.is_empty() && node.others().iter().any(|pod| fit_pod(names, pod)) {
        let says = "layout says a pod that does not write there";
        grounds.conflict(says.to_owned(), says);
        note_claims(about, &[], grounds);
        return Whose::among(Who::Nobody, among);
    }
    let seen: HashSet<&str> = node.pods.iter().map(|pod| pod.node_uid.as_str()).collect();
    let mut unseen = logged::fitting(names, node, grounds);
    unseen.retain(|log| !seen.contains(log.uid.as_str()));
    let mut left = living(&fitting, about);
    if left.is_empty() {
        return logged::whose(&unseen, about, grounds);
    }
    if !choose(&mut left, names, about, grounds) || grounds.contradict() {
        return Whose::among(Who::Nobody, among);
    }
    narrow::pods(&mut left, about, grounds);
    let who = match found(left, about, false) {
        Who::Known(found) => with_unseen(found, &unseen),
        other => other,
    };
    Whose::among(who, among)
}

/// A pod that is known, where the node has had others that the levels fit as well.
fn with_unseen<'a>(found: Found<'a>, unseen: &[&super::LogDir]) -> Who<'a> {
    let is_its_name =
        |log: &&super::LogDir| log.namespace == found.pod.namespace && log.pod == found.pod.name;
    if !unseen.iter().all(is_its_name) {
        return Who::Nobody;
    }
    Who::Known(Found {
        is_this_one: found.is_this_one && unseen.is_empty(),
        ..found
    })
}
