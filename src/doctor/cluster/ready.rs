//! What each agent says itself, through the API server's proxy.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use futures::{StreamExt, stream};
use http_body::Body as _;
use kube::Client;
use kube::client::Body;
use kube::core::{Request, Status};
use tokio::time::{Instant, timeout_at};

use super::fleet::AgentPod;
use crate::doctor::Finding;
use crate::doctor::agent;
use crate::doctor::api::{Right, Trouble, ask_within};

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

/// All are asked within this; what was said by then is told.
const LONGEST: Duration = Duration::from_secs(15);

/// Where so many do not answer and none does, the way there is shut for all.
const SILENT: usize = 8;

/// What is read of an answer; each part that is not ready has a line.
const BODY: usize = 64 * 1024;

/// Asks the agents that run.
pub(super) async fn examine(client: &Client, pods: &[AgentPod]) -> Vec<Finding> {
    let mut asked: Vec<&AgentPod> = pods.iter().filter(|pod| pod.is_running).collect();
    asked.sort_by_key(|pod| pod.is_ready);
    asked.truncate(ASKED);
    let all = asked.len();
    let mut answers = stream::iter(asked)
        .map(|pod| async move { (pod, ask(client, pod).await) })
        .buffered(AT_ONCE);
    let deadline = Instant::now() + LONGEST;
    let mut said = Vec::new();
    while !is_shut(&said) {
        match timeout_at(deadline, answers.next()).await {
            Ok(Some(answer)) => said.push(answer),
            Ok(None) | Err(_) => break,
        }
    }
    judge(&said, all)
}

fn is_shut(said: &[(&AgentPod, Said)]) -> bool {
    let failed = |(_, said): &(&AgentPod, Said)| matches!(said, Said::Trouble(Trouble::Failed(_)));
    said.len() >= SILENT && said.iter().all(failed)
}

async fn ask(client: &Client, pod: &AgentPod) -> Said {
    let path = format!("/api/v1/namespaces/{}/pods", pod.namespace);
    let name = format!("{}:{}", pod.name, pod.port);
    let request = match Request::new(path).get_subresource("proxy/readyz", &name) {
        Ok(request) => request,
        Err(error) => return Said::Trouble(Trouble::Failed(error.to_string())),
    };
    let answer = async {
        let (head, body) = client.send(request.map(Body::from)).await?.into_parts();
        said(head.status.as_u16(), &text(body).await?)
    };
    ask_within(ANSWER, PROXY, answer)
        .await
        .unwrap_or_else(Said::Trouble)
}

/// The beginning of a body: whoever is behind the proxy may send without end.
async fn text(body: Body) -> kube::Result<String> {
    let mut body = pin!(body);
    let mut text = Vec::new();
    while text.len() < BODY {
        let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await else {
            break;
        };
        if let Ok(data) = frame?.into_data() {
            text.extend_from_slice(&data[..data.len().min(BODY - text.len())]);
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The agent's own words are no `Status`; the API server's are, when it does not reach the agent.
fn said(code: u16, text: &str) -> kube::Result<Said> {
    if (200..300).contains(&code) {
        return Ok(Said::Ready);
    }
    let status = serde_json::from_str::<Status>(text).ok();
    match status.filter(|status| status.code != 0) {
        Some(status) => Err(kube::Error::Api(Box::new(status))),
        None if code == 503 => Ok(Said::NotReady(text.to_owned())),
        None => {
            let text: String = text.chars().take(200).collect();
            let status = Status::failure(&text, "").with_code(code);
            Err(kube::Error::Api(Box::new(status)))
        }
    }
}

fn judge(said: &[(&AgentPod, Said)], all: usize) -> Vec<Finding> {
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
    let unasked = all.saturating_sub(said.len());
    if unasked > 0 {
        findings.push(Finding::skipped(
            ID,
            "",
            format!("{unasked} further agents have not answered, or were not asked for that"),
            "",
        ));
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
        let found = judge(
            &[
                (&a, Said::Ready),
                (
                    &b,
                    Said::NotReady("store: no bucket\npods: forbidden\n".into()),
                ),
                (&c, Said::Trouble(Trouble::Failed("no route".into()))),
            ],
            10,
        );
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
                (Verdict::Skipped, ""),
            ]
        );
        let denied = || Said::Trouble(Trouble::Denied(PROXY));
        let found = judge(&[(&a, denied()), (&b, denied())], 2);
        assert_eq!(found.len(), 1);
        assert!(found[0].cause.contains("get pods/proxy"), "{found:?}");
        assert_eq!(found[0].verdict, Verdict::Skipped);
    }

    #[test]
    fn an_answer_is_the_agents_or_the_api_servers() {
        assert!(matches!(said(200, "ready"), Ok(Said::Ready)));
        let not = said(503, "store: no bucket\n");
        assert!(matches!(not, Ok(Said::NotReady(text)) if text == "store: no bucket\n"));
        let unreached = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"no route","reason":"ServiceUnavailable","code":503}"#;
        for (code, text) in [(503, unreached), (500, "oops")] {
            let Err(kube::Error::Api(status)) = said(code, text) else {
                panic!("{text} is no answer of an agent");
            };
            assert_eq!(status.code, code);
        }
    }

    #[test]
    fn a_way_that_is_shut_is_not_tried_to_the_end() {
        let pod = AgentPod::default();
        let failed = || (&pod, Said::Trouble(Trouble::Failed("no route".into())));
        let mut said: Vec<_> = (0..SILENT).map(|_| failed()).collect();
        assert!(is_shut(&said));
        assert!(!is_shut(&said[1..]));
        said.push((&pod, Said::Ready));
        assert!(!is_shut(&said));
    }
}
