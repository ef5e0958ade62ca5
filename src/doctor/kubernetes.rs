//! On a node: whether the API server answers the agent, what it lets it do, and what it says of the node's pods.

use std::sync::{Arc, Mutex, PoisonError};

use kube::Client;
use tokio::time::timeout;

use super::api::{self, Right, Trouble, may};
use super::pods::{Judge, Judged, Namespaces, Scope, SeenPod};
use super::{Finding, REQUEST};
use crate::config::{Config, Kubernetes};
use crate::kube::{ListError, each_pod};

const API: &str = "kubernetes.api";
const PODS: &str = "kubernetes.pods";
const NODE: &str = "kubernetes.node";

const LIST_PODS: Right = Right::new("list", "pods");
const WATCH_PODS: Right = Right::new("watch", "pods");
const CREATE_EVENTS: Right = Right::new("create", "events.events.k8s.io");

/// What a list of the node's pods brought.
#[derive(Default)]
struct Seen {
    pods: usize,
    /// Whether the agent's own pod is among them.
    own: bool,
    /// What became of the pod that was asked about, where it is among them.
    asked: Option<Asked>,
    judged: Vec<Judged>,
}

/// What became of a pod that was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It is the agent's own, which is not judged.
    Own,
    Judged,
}

/// Asks as the agent of this configuration.
pub(super) async fn examine(
    config: &Config,
    kubernetes: &Kubernetes,
    scope: &Scope,
) -> (Vec<Finding>, Vec<Judged>) {
    let client = match crate::kube::client().await {
        Ok(client) => client,
        Err(why) => return (vec![Finding::fail(API, "", why, "")], Vec::new()),
    };
    let judge = Judge {
        coverage: config.coverage(),
        selection: kubernetes.index.selection.clone(),
        // The agent has no right to see namespaces, and needs none.
        namespaces: Namespaces::default(),
        scope: scope.clone(),
    };
    let (listed, watch, events) = tokio::join!(
        list(&client, kubernetes, judge),
        may(&client, WATCH_PODS),
        may(&client, CREATE_EVENTS),
    );
    let mut findings = vec![judge_api(&listed)];
    let is_up = !matches!(listed, Err(Trouble::Failed(_)));
    if !is_up {
        return (findings, Vec::new());
    }
    findings.push(judge_list(&listed));
    findings.push(judge_right(
        PODS,
        WATCH_PODS,
        watch,
        "the pod index is never complete",
    ));
    if kubernetes.events.is_some() {
        findings.push(judge_right(
            "kubernetes.events",
            CREATE_EVENTS,
            events,
            "no pod tells by an Event that its crash is stored",
        ));
    }
    let Ok(seen) = listed else {
        return (findings, Vec::new());
    };
    findings.push(judge_node(
        &kubernetes.index.node,
        &seen,
        kubernetes.index.own.is_some(),
    ));
    if let Scope::Pod(pod) = scope
        && seen.judged.is_empty()
    {
        let subject = format!("{}/{}", pod.namespace, pod.name);
        findings.push(judge_asked(subject, &kubernetes.index.node, seen.asked));
    }
    (findings, seen.judged)
}

/// A pod that was asked about and of which no container was judged.
fn judge_asked(subject: String, node: &str, asked: Option<Asked>) -> Finding {
    const ID: &str = "pod";
    match asked {
        Some(Asked::Own) => Finding::skipped(ID, subject, "it is the agent's own pod", ""),
        Some(Asked::Judged) => Finding::skipped(ID, subject, "all its containers have ended", ""),
        None => Finding::fail(
            ID,
            subject,
            format!("no such pod is on the node {node}"),
            "ask on its own node, or from a machine with a kubeconfig",
        ),
    }
}

async fn list(client: &Client, kubernetes: &Kubernetes, judge: Judge) -> Result<Seen, Trouble> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let own = kubernetes.index.own.clone();
    let taken = Arc::clone(&seen);
    let take = move |pod: SeenPod| {
        let Some(known) = &pod.known else { return };
        let mut seen = taken.lock().unwrap_or_else(PoisonError::into_inner);
        seen.pods += 1;
        let is_own = own
            .as_ref()
            .is_some_and(|(namespace, name)| (namespace, name) == (&known.namespace, &known.name));
        seen.own |= is_own;
        if !judge.scope.has(&known.namespace, &known.name) {
            return;
        }
        seen.asked = Some(match is_own {
            true => Asked::Own,
            false => Asked::Judged,
        });
        if is_own {
            return;
        }
        let judged = judge.judge(&pod);
        seen.judged.extend(judged);
    };
    let listed = timeout(REQUEST, each_pod(client, &kubernetes.index.node, take)).await;
    match listed {
        Ok(Ok(_)) => {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(std::mem::take(&mut *seen))
        }
        Ok(Err(ListError::Asked(error))) => Err(api::trouble(LIST_PODS, &error)),
        // Its cause may have a piece of a pod in it, and that a secret.
        Ok(Err(error @ ListError::Read(_))) => Err(Trouble::Failed(error.to_string())),
        Err(_) => Err(Trouble::Failed(format!(
            "no whole list of pods within {} s",
            REQUEST.as_secs()
        ))),
    }
}

fn judge_api(listed: &Result<Seen, Trouble>) -> Finding {
    match listed {
        Err(Trouble::Failed(why)) => Finding::fail(
            API,
            "",
            format!("the API server cannot be asked: {why}"),
            "check the network and the NetworkPolicy between the agent and the API server; dumps are stored meanwhile, but nobody knows whose they are",
        ),
        _ => Finding::ok(API, "", "the API server answers"),
    }
}

fn judge_list(listed: &Result<Seen, Trouble>) -> Finding {
    match listed {
        Ok(seen) => Finding::ok(
            PODS,
            LIST_PODS,
            format!("allowed; {} pods are on the node", seen.pods),
        ),
        Err(Trouble::Denied(_)) => Finding::fail(
            PODS,
            LIST_PODS,
            "the agent may not list pods: nobody knows whose a dump is, and crashes without one are not seen",
            "bind its service account to a ClusterRole with pods: list, watch",
        ),
        Err(trouble) => trouble.finding(PODS, LIST_PODS),
    }
}

fn judge_right(
    id: &'static str,
    right: Right,
    answer: Result<bool, Trouble>,
    lost: &str,
) -> Finding {
    let remedy = format!("bind its service account to a ClusterRole that lets it {right}");
    match answer {
        Ok(true) => Finding::ok(id, right, "allowed"),
        Ok(false) if id == PODS => Finding::fail(
            id,
            right,
            format!("the agent may not {right}: {lost}"),
            remedy,
        ),
        Ok(false) => Finding::warn(
            id,
            right,
            format!("the agent may not {right}: {lost}"),
            remedy,
        ),
        Err(_) => Finding::skipped(
            id,
            right,
            "the API server does not tell whether it is allowed",
            "",
        ),
    }
}

fn judge_node(node: &str, seen: &Seen, knows_own: bool) -> Finding {
    let remedy = "set SALVAGE_NODE from spec.nodeName";
    if seen.pods == 0 {
        return Finding::fail(
            NODE,
            node,
            format!("no pod is on a node {node}: the name is not that of this Node"),
            remedy,
        );
    }
    if knows_own && !seen.own {
        return Finding::fail(
            NODE,
            node,
            format!(
                "the agent's own pod is not among the pods of {node}: it runs on another node, or SALVAGE_POD_NAME is not its name"
            ),
            remedy,
        );
    }
    Finding::ok(NODE, node, "the node's name is that of a Node with pods")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_node_without_pods_is_none() {
        let seen = |pods, own| Seen {
            pods,
            own,
            ..Seen::default()
        };
        assert_eq!(
            judge_node("a", &seen(0, false), false).verdict,
            Verdict::Fail
        );
        assert_eq!(
            judge_node("a", &seen(3, false), true).verdict,
            Verdict::Fail
        );
        assert_eq!(judge_node("a", &seen(3, false), false).verdict, Verdict::Ok);
        assert_eq!(judge_node("a", &seen(3, true), true).verdict, Verdict::Ok);
    }

    #[test]
    fn a_pod_that_was_asked_about_and_not_judged_is_told_with_why() {
        for (asked, verdict, words) in [
            (None, Verdict::Fail, "no such pod is on the node a"),
            (Some(Asked::Own), Verdict::Skipped, "agent's own"),
            (Some(Asked::Judged), Verdict::Skipped, "have ended"),
        ] {
            let found = judge_asked("shop/cart-0".to_owned(), "a", asked);
            assert_eq!(found.verdict, verdict, "{found:?}");
            assert!(found.cause.contains(words), "{found:?}");
        }
    }

    #[test]
    fn rights_are_told_one_by_one() {
        let pods = judge_right(PODS, WATCH_PODS, Ok(false), "x");
        assert_eq!(
            (pods.verdict, pods.subject.as_str()),
            (Verdict::Fail, "watch pods")
        );
        let events = judge_right("kubernetes.events", CREATE_EVENTS, Ok(false), "x");
        assert_eq!(events.verdict, Verdict::Warn);
        assert!(events.cause.contains("create events.events.k8s.io"));
        let denied = Err(Trouble::Denied(CREATE_EVENTS));
        assert_eq!(
            judge_right(PODS, WATCH_PODS, denied, "x").verdict,
            Verdict::Skipped
        );
        assert_eq!(CREATE_EVENTS.parts(), ("events.k8s.io", "events"));
    }
}
