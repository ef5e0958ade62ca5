//! Pods that the index never saw and the node still knows, by the log directories that the kubelet made for them.

use crate::model::Names;

use super::by_claims::note_claims;
use super::claims::{fit, is_host_name};
use super::grounds::{Grounds, Source, count, shown};
use super::{About, LogDir, Node, Who, Whose};

/// The log directories that the levels fit.
pub(super) fn fitting<'a>(
    names: &Names,
    node: &Node<'a>,
    grounds: &mut Grounds,
) -> Vec<&'a LogDir> {
    let fits = |log: &&LogDir| fit(names, &log.namespace, &log.pod, &[&log.uid]);
    let logs: Vec<_> = node.log_dirs.iter().filter(fits).collect();
    let unnamed = format!("{} fit the levels", count(logs.len(), "log directory"));
    let says = match logs.as_slice() {
        [only] => format!("of pod {}/{}", shown(&only.namespace), shown(&only.pod)),
        _ => unnamed.clone(),
    };
    grounds.note_of(Source::LogDirectory, true, says, unnamed);
    logs
}

/// The pod whose log directories these are. What else is claimed only contradicts.
pub(super) fn whose<'a>(
    logs: &[&'a LogDir],
    about: &About<'_>,
    grounds: &mut Grounds,
) -> Whose<'a> {
    note_claims(about, &[], grounds);
    let Some((first, rest)) = logs.split_first() else {
        return Whose::nobody();
    };
    let candidates = logs.len();
    for claim in about.claims() {
        if !is_host_name(claim.host_name, &first.pod, &first.namespace) {
            let host = shown(claim.host_name);
            let says = format!(
                "{} says {host}, layout another pod",
                claim.source.source().name()
            );
            grounds.conflict(says, "layout and host name say different pods");
        }
    }
    if grounds.contradict() || !are_of_one_name(logs) {
        return Whose::logged(Who::Nobody, candidates);
    }
    let who = Who::Logged {
        namespace: &first.namespace,
        pod: &first.pod,
        uid: rest.is_empty().then_some(first.uid.as_str()),
    };
    Whose::logged(who, candidates)
}

pub(super) fn are_of_one_name(logs: &[&LogDir]) -> bool {
    logs.windows(2).all(|pair| match pair {
        [a, b] => a.namespace == b.namespace && a.pod == b.pod,
        _ => true,
    })
}
