//! What each agent says itself, through the API server's proxy.

use std::time::Duration;

use futures::{StreamExt, stream};
use kube::Client;
use kube::core::Request;

use super::fleet::AgentPod;
use crate::doctor::Finding;
use crate::doctor::agent;
use crate::doctor::api::{Right, Trouble, ask_within, trouble};

const ID: &str = "agent.ready";

const PROXY: Right = Right::new("get", "pods/proxy");

/// Most agents that are asked: those that are not ready first. In a large cluster the kubelets' probes say of the others what asking would.
const ASKED: usize = 100;

/// Agents asked at once: each goes through the API server.
const AT_ONCE: usize = 8;

/// An agent that the API server does not reach is given up then.
const ANSWER: Duration = Duration::from_secs(5);

/// What asking one brought.
enum Said {
    Ready,
    /// The lines of its answer.
    NotReady(String),
    Trouble(Trouble),
}

/// Asks the agents that run.
pub(super) async fn examine(client: &Client, pods: &[AgentPod]) -> Vec<Finding> {
    let mut asked: Vec<&AgentPod> = pods.iter().filter(|pod| pod.is_running).collect();
    asked.sort_by_key(|pod| pod.is_ready);
    asked.truncate(ASKED);
    let said: Vec<(&AgentPod, Said)> = stream::iter(asked)
        .map(|pod| async move { (pod, ask(client, pod).await) })
        .buffered(AT_ONCE)
        .collect()
        .await;
    judge(&said)
}

async fn ask(client: &Client, pod: &AgentPod) -> Said {
    let path = format!("/api/v1/namespaces/{}/pods", pod.namespace);
    let name = format!("{}:{}", pod.name, pod.port);
    let request = match Request::new(path).get_subresource("proxy/readyz", &name) {
        Ok(request) => request,
        Err(error) => return Said::Trouble(Trouble::Failed(error.to_string())),
    };
    let answer = async {
        match client.request_text(request).await {
            Ok(_) => Ok(Said::Ready),
            // The agent's own words are no `Status`; the API server's are, when it does not reach the agent.
            Err(kube::Error::Api(status)) if status.code == 503 && is_agents(&status) => {
                Ok(Said::NotReady(status.message.clone()))
            }
            Err(error) => Err(error),
        }
    };
    ask_within(ANSWER, PROXY, answer)
        .await
        .unwrap_or_else(Said::Trouble)
}

/// The library makes a status of its own of what is none.
fn is_agents(status: &kube::core::Status) -> bool {
    matches!(
        trouble(PROXY, &kube::Error::Api(Box::new(status.clone()))),
        Trouble::Failed(_)
    ) && status.reason == "Failed to parse error data"
}

fn judge(said: &[(&AgentPod, Said)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut ready = 0;
    for (pod, said) in said {
        match said {
            Said::Ready => ready += 1,
            Said::NotReady(body) => findings.extend(agent::not_ready(body).map(|mut finding| {
                finding.subject = format!("{}: {}", pod.node, finding.subject);
                finding
            })),
            // One refusal is all of them.
            Said::Trouble(denied @ Trouble::Denied(_)) => {
                return vec![denied.finding(ID, "")];
            }
            Said::Trouble(Trouble::NotFound) => {}
            Said::Trouble(Trouble::Failed(why)) => findings.push(Finding::skipped(
                ID,
                &pod.node,
                format!("the API server does not reach the agent: {why}"),
                "let the API server reach port 9464 of the agents (NetworkPolicy), or look at its log",
            )),
        }
    }
    if ready > 0 {
        let of = said.len();
        findings.insert(
            0,
            Finding::ok(
                ID,
                "",
                format!("{ready} of {of} agents that were asked are ready"),
            ),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn each_agent_says_why_it_is_not_ready_and_a_refusal_is_said_once() {
        let pod = |node: &str| AgentPod {
            node: node.into(),
            ..AgentPod::default()
        };
        let (a, b, c) = (pod("a"), pod("b"), pod("c"));
        let found = judge(&[
            (&a, Said::Ready),
            (
                &b,
                Said::NotReady("store: no bucket\npods: forbidden\n".into()),
            ),
            (&c, Said::Trouble(Trouble::Failed("no route".into()))),
        ]);
        let told: Vec<_> = found
            .iter()
            .map(|f| (f.verdict, f.subject.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (Verdict::Ok, ""),
                (Verdict::Fail, "b: store"),
                (Verdict::Fail, "b: pods"),
                (Verdict::Skipped, "c"),
            ]
        );
        let denied = || Said::Trouble(Trouble::Denied(PROXY));
        let found = judge(&[(&a, denied()), (&b, denied())]);
        assert_eq!(found.len(), 1);
        assert!(found[0].cause.contains("get pods/proxy"), "{found:?}");
        assert_eq!(found[0].verdict, Verdict::Skipped);
    }
}
