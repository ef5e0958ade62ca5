//! The pods that can write the directory, with a synced index. One alone whose name the levels have is known; among several, claims choose.

use crate::model::{KnownPod, Names};

use super::claims::{fit_pod, in_words, is_host_of, name_a_pod};
use super::grounds::{Grounds, Source, count, shown};
use super::narrow::{self, Left, may_have_lived};
use super::place::Writer;
use super::{About, Found, Node, Who, Whose};

/// Records who can write there.
pub(super) fn note(writers: &[Writer<'_>], node: &Node<'_>, grounds: &mut Grounds) {
    let unnamed = format!("{} may write there", count(writers.len(), "pod"));
    let says = match writers {
        [only] => {
            let pod = &only.pod;
            format!("only pod {}/{} may write there", pod.namespace, pod.name)
        }
        _ => unnamed.clone(),
    };
    let is_complete = node.synced_since.is_some();
    let says = if is_complete {
        says
    } else {
        format!("of the pods known, {unnamed}")
    };
    grounds.note_of(Source::Mounts, is_complete, says, unnamed);
}

/// The pod, by mounts and then by claims.
pub(super) fn whose<'a>(
    writers: Vec<Writer<'a>>,
    names: &Names,
    about: &About<'_>,
    node: &Node<'_>,
    grounds: &mut Grounds,
) -> Whose<'a> {
    let among = pods(&writers);
    // Complete since before the dump was written: whoever wrote it is among these.
    let is_complete = node.synced_since.is_some_and(|since| since <= about.ended);
    let levels_fit = writers.iter().any(|writer| fit_pod(names, writer.pod));
    if let Some(says) = in_words(names) {
        let is_trusted = is_complete && among.len() == 1;
        let unnamed = if levels_fit {
            "names a pod that may write there"
        } else {
            "names no pod that may write there"
        };
        grounds.note_of(Source::Layout, is_trusted, says, unnamed);
    }
    let mut left = living(&writers, about);
    if left.is_empty() {
        if !is_complete {
            let who = earlier(&writers, names, about, grounds);
            return Whose::among(who, among);
        }
        // Nobody else could have written it: then it is the clocks that are wrong.
        let says = "no pod that may write there lived when the dump was written";
        grounds.conflict(says.to_owned(), says);
        left = writers;
    }
    let agree = choose(&mut left, names, about, grounds);
    // A pod that wrote and went before the index began may be the one that a contradiction speaks of.
    if !agree || (!is_complete && grounds.contradict()) {
        return Whose::among(Who::Nobody, among);
    }
    narrow::pods(&mut left, about, grounds);
    let is_named = name_a_pod(names) && levels_fit && !grounds.contradict();
    let who = found(left, about, among.len() == 1 && is_complete && is_named);
    Whose::among(who, among)
}

/// The pods that write.
pub(super) fn pods<'a>(writers: &[Writer<'a>]) -> Vec<&'a KnownPod> {
    writers.iter().map(|writer| writer.pod).collect()
}

/// Those that may have lived when the dump was written.
pub(super) fn living<'a>(writers: &[Writer<'a>], about: &About<'_>) -> Vec<Writer<'a>> {
    let all = writers.iter();
    all.filter(|writer| may_have_lived(writer.pod, about.ended))
        .cloned()
        .collect()
}

/// Lets levels and claimed host names choose among the pods left. Returns whether what was believed agrees.
pub(super) fn choose(
    left: &mut Vec<Writer<'_>>,
    names: &Names,
    about: &About<'_>,
    grounds: &mut Grounds,
) -> bool {
    let all = pods(left);
    if all.iter().any(|pod| fit_pod(names, pod)) {
        left.retain(|writer| fit_pod(names, writer.pod));
    } else {
        let says = in_words(names).unwrap_or_default();
        grounds.conflict(
            format!("layout says {says}, which is no pod that may have written there"),
            "layout says a pod that cannot have written there",
        );
    }
    let mut agree = true;
    for claim in about.claims() {
        let source = claim.source.source();
        let host = shown(claim.host_name);
        let fits = |writer: &Writer<'_>| is_host_of(claim.host_name, writer.pod);
        let fitting = all
            .iter()
            .filter(|pod| is_host_of(claim.host_name, pod))
            .count();
        let unnamed = format!("names {fitting} of {}", count(all.len(), "pod"));
        grounds.note_of(source, false, format!("host {host}"), unnamed);
        if left.iter().any(fits) {
            left.retain(fits);
        } else if fitting > 0 {
            agree = false;
            grounds.conflict(
                format!(
                    "{} says {host}, other claims name another pod",
                    source.name()
                ),
                "claims name different pods",
            );
        } else if !all.iter().any(|pod| pod.host_network) {
            // With one on the node's network it may be the node's name.
            grounds.conflict(
                format!(
                    "{} says {host}, which is no pod that may have written there",
                    source.name()
                ),
                "a claimed host name is of no pod that may have written there",
            );
        }
    }
    agree
}

/// The outcome of narrowing.
pub(super) fn found<'a>(left: Vec<Writer<'a>>, about: &About<'_>, is_trusted: bool) -> Who<'a> {
    let (writer, is_this_one) = match narrow::last(left, about.ended) {
        Left::One(writer) => (writer, true),
        Left::OneName(writer) => (writer, false),
        Left::Open => return Who::Nobody,
    };
    Who::Known(Found {
        pod: writer.pod,
        containers: writer.containers,
        is_this_one,
        is_trusted: is_trusted && is_this_one,
    })
}

/// All that write there now were made after the dump, and the index began after it too. Where the levels name one of them, namespace and pod, it
/// has the name and the place of the one that went before it. Anything else would give one tenant's dump to the next.
fn earlier<'a>(
    writers: &[Writer<'a>],
    names: &Names,
    about: &About<'_>,
    grounds: &mut Grounds,
) -> Who<'a> {
    let says = "the pods that may write there were made after the dump or were gone before it";
    grounds.note(Source::Index, true, says.into());
    let mut left = writers.to_vec();
    let are_named = names.namespace.is_some() && names.pod.is_some();
    let agree = choose(&mut left, names, about, grounds);
    if !are_named || !agree || grounds.contradict() {
        return Who::Nobody;
    }
    match found(left, about, false) {
        Who::Known(found) => Who::Known(Found {
            is_this_one: false,
            ..found
        }),
        other => other,
    }
}
