//! The DaemonSet: which nodes have no ready agent, and why.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Event, Node, NodeSelectorRequirement, Pod, PodSpec, Taint, Toleration,
};
use kube::api::ListParams;
use kube::{Api, Client};

use super::{CONTAINER, DAEMON_SET};
use crate::doctor::Finding;
use crate::doctor::api::{Right, ask};
use crate::model::Escaped;

const NODE: &str = "fleet.node";
const VERSIONS: &str = "fleet.versions";

/// Most objects of a page.
const PAGE: u32 = 500;

/// A pod of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AgentPod {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Where it runs, or is to run.
    pub(super) node: String,
    pub(super) image: String,
    pub(super) is_running: bool,
    pub(super) is_ready: bool,
    /// Why it does not run, as far as its status tells: a word and a sentence.
    pub(super) waits: Option<(String, String)>,
    /// The port of its metrics and health.
    pub(super) port: i32,
}

/// Looks at one DaemonSet; gives its pods.
pub(super) async fn examine(client: &Client, set: &DaemonSet) -> (Vec<Finding>, Vec<AgentPod>) {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let mut findings = judge_set(set);
    let (pods, nodes, events) = tokio::join!(
        agents(client, set),
        all::<Node>(
            Api::all(client.clone()),
            Right::new("list", "nodes"),
            ListParams::default()
        ),
        all::<Event>(
            Api::namespaced(client.clone(), namespace),
            Right::new("list", "events"),
            ListParams::default().fields(&format!(
                "involvedObject.kind=DaemonSet,involvedObject.name={name}"
            )),
        ),
    );
    let pods: Vec<AgentPod> = match pods {
        Ok(pods) => pods.iter().map(agent_pod).collect(),
        // Whether a node has an agent is not known without them.
        Err(trouble) => {
            findings.push(trouble.finding("fleet.agents", format!("{namespace}/{name}")));
            return (findings, Vec::new());
        }
    };
    findings.extend(judge_versions(&pods));
    let nodes = match nodes {
        Ok(nodes) => nodes,
        Err(trouble) => {
            findings.push(trouble.finding(NODE, ""));
            // Those that have a pod are told all the same.
            let of_pods: BTreeSet<&str> = pods.iter().map(|pod| pod.node.as_str()).collect();
            of_pods.into_iter().map(named).collect()
        }
    };
    let refused = events.ok().as_deref().and_then(last_refusal);
    findings.extend(judge_nodes(&nodes, &pods, set, refused.as_deref()));
    (findings, pods)
}

fn named(name: &str) -> Node {
    let mut node = Node::default();
    node.metadata.name = Some(name.to_owned());
    node
}

async fn agents(client: &Client, set: &DaemonSet) -> Result<Vec<Pod>, crate::doctor::api::Trouble> {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let labels = set
        .spec
        .as_ref()
        .and_then(|s| s.selector.match_labels.as_ref());
    let labels: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let params = ListParams::default().labels(&labels.join(","));
    let api = Api::namespaced(client.clone(), namespace);
    all(api, Right::new("list", "pods"), params).await
}

/// Every object, page by page.
async fn all<K>(
    api: Api<K>,
    right: Right,
    params: ListParams,
) -> Result<Vec<K>, crate::doctor::api::Trouble>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let mut params = params.limit(PAGE);
    let mut objects = Vec::new();
    loop {
        let page = ask(right, api.list(&params)).await?;
        objects.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(objects),
        }
    }
}

fn judge_set(set: &DaemonSet) -> Vec<Finding> {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let subject = format!(
        "{namespace}/{}",
        set.metadata.name.as_deref().unwrap_or_default()
    );
    let Some(status) = &set.status else {
        let cause = "the DaemonSet has no status yet: no controller has looked at it";
        return vec![Finding::fail(DAEMON_SET, subject, cause, "")];
    };
    let (desired, ready) = (status.desired_number_scheduled, status.number_ready);
    let updated = status.updated_number_scheduled.unwrap_or(0);
    let shown =
        format!("{ready} of {desired} agents are ready, {updated} are of the newest template");
    vec![if desired == 0 {
        Finding::fail(
            DAEMON_SET,
            subject,
            "the DaemonSet is for no node",
            "look at nodeSelector, affinity and tolerations",
        )
    } else if ready < desired {
        Finding::fail(DAEMON_SET, subject, shown, "see fleet.node for each")
    } else if updated < desired {
        Finding::warn(
            DAEMON_SET,
            subject,
            shown,
            "wait for the rollout (kubectl rollout status), or look why it stands",
        )
    } else {
        Finding::ok(DAEMON_SET, subject, shown)
    }]
}

fn judge_versions(pods: &[AgentPod]) -> Option<Finding> {
    let mut images: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in pods {
        *images.entry(&pod.image).or_default() += 1;
    }
    let shown: Vec<String> = images
        .iter()
        .map(|(image, count)| format!("{image} ({count})"))
        .collect();
    let shown = shown.join(", ");
    match images.len() {
        0 => None,
        1 => Some(Finding::ok(VERSIONS, "", format!("all agents run {shown}"))),
        _ => Some(Finding::warn(
            VERSIONS,
            "",
            format!("agents of several versions run: {shown}"),
            "wait for the rollout, or delete the pods of the older ones (updateStrategy OnDelete)",
        )),
    }
}

fn agent_pod(pod: &Pod) -> AgentPod {
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let container = spec.and_then(|spec| {
        let named = spec.containers.iter().find(|c| c.name == CONTAINER);
        named.or(spec.containers.first())
    });
    let conditions = status
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default();
    let is = |kind: &str, value: &str| {
        conditions
            .iter()
            .find(|c| c.type_ == kind && c.status == value)
    };
    let ports = container
        .and_then(|c| c.ports.as_deref())
        .unwrap_or_default();
    let metrics = ports.iter().find(|p| p.name.as_deref() == Some("metrics"));
    AgentPod {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        node: spec.and_then(node_of).unwrap_or_default(),
        image: container.and_then(|c| c.image.clone()).unwrap_or_default(),
        is_running: status.and_then(|s| s.phase.as_deref()) == Some("Running"),
        is_ready: is("Ready", "True").is_some(),
        waits: waits(pod).or_else(|| {
            let unscheduled = is("PodScheduled", "False")?;
            let message = unscheduled.message.clone().unwrap_or_default();
            Some(("not scheduled".to_owned(), message))
        }),
        port: metrics.map_or(9464, |port| port.container_port),
    }
}

/// Its node; before it is scheduled the one that the DaemonSet made it for.
fn node_of(spec: &PodSpec) -> Option<String> {
    if let Some(name) = &spec.node_name {
        return Some(name.clone());
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let mut fields = required
        .node_selector_terms
        .iter()
        .flat_map(|term| term.match_fields.as_deref().unwrap_or_default());
    let name = fields.find(|field| field.key == "metadata.name")?;
    name.values.as_ref()?.first().cloned()
}

fn waits(pod: &Pod) -> Option<(String, String)> {
    let status = pod.status.as_ref()?;
    if status.phase.as_deref() == Some("Failed") {
        let reason = status.reason.clone().unwrap_or_else(|| "Failed".to_owned());
        return Some((reason, status.message.clone().unwrap_or_default()));
    }
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    // Behind them the others run.
    let is_pending = status.phase.as_deref() == Some("Pending");
    let init = status.init_container_statuses.as_deref();
    let init = init.filter(|_| is_pending).unwrap_or_default();
    containers.iter().chain(init).find_map(|container| {
        let state = container.state.as_ref()?;
        if let Some(waiting) = &state.waiting {
            let reason = waiting
                .reason
                .clone()
                .unwrap_or_else(|| "waiting".to_owned());
            return Some((reason, waiting.message.clone().unwrap_or_default()));
        }
        // One that did what it is for keeps nothing waiting.
        let ended = state
            .terminated
            .as_ref()
            .filter(|ended| ended.exit_code != 0)?;
        let reason = ended
            .reason
            .clone()
            .unwrap_or_else(|| "terminated".to_owned());
        Some((reason, format!("exit code {}", ended.exit_code)))
    })
}

/// What helps against a word that the kubelet waits with.
const REMEDIES: [(&str, &str); 8] = [
    (
        "ImagePullBackOff",
        "check image.repository and image.tag, and imagePullSecrets for a private registry",
    ),
    (
        "ErrImagePull",
        "check image.repository and image.tag, and imagePullSecrets for a private registry",
    ),
    ("InvalidImageName", "check image.repository and image.tag"),
    (
        "CreateContainerConfigError",
        "make the Secret or ConfigMap that its environment names",
    ),
    (
        "CreateContainerError",
        "look at its events: kubectl describe pod",
    ),
    (
        "CrashLoopBackOff",
        "look at its log: kubectl logs --previous",
    ),
    (
        "ContainerCreating",
        "look at its events (kubectl describe pod): a volume may not be mountable",
    ),
    (
        "not scheduled",
        "make room on the node, or give the agents a PriorityClass",
    ),
];

fn remedy(word: &str) -> &'static str {
    let known = REMEDIES.iter().find(|(known, _)| *known == word);
    known.map_or("look at its events: kubectl describe pod", |(_, remedy)| {
        remedy
    })
}

fn judge_nodes(
    nodes: &[Node],
    pods: &[AgentPod],
    set: &DaemonSet,
    refused: Option<&str>,
) -> Vec<Finding> {
    let mut by_node: BTreeMap<&str, Vec<&AgentPod>> = BTreeMap::new();
    for pod in pods {
        by_node.entry(&pod.node).or_default().push(pod);
    }
    let mut findings = Vec::new();
    let mut ready = 0;
    for node in nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let its = by_node.get(name).map_or(&[][..], Vec::as_slice);
        if its.iter().any(|pod| pod.is_ready) {
            ready += 1;
            continue;
        }
        findings.push(match its.first() {
            Some(pod) => judge_pod(name, pod),
            None => judge_bare(name, node, set, refused),
        });
    }
    if ready > 0 {
        let of = nodes.len();
        let all = Finding::ok(
            NODE,
            "",
            format!("{ready} of {of} nodes have a ready agent"),
        );
        findings.insert(0, all);
    }
    findings
}

fn judge_pod(node: &str, pod: &AgentPod) -> Finding {
    match &pod.waits {
        Some((word, message)) => {
            let message: String = message.chars().take(200).collect();
            let message = Escaped::bytes(message.trim().as_bytes()).to_string();
            let told = match message.is_empty() {
                true => String::new(),
                false => format!(": {message}"),
            };
            Finding::fail(
                NODE,
                node,
                format!("its agent does not run: {word}{told}"),
                remedy(word),
            )
        }
        None if pod.is_running => Finding::fail(
            NODE,
            node,
            "its agent runs and is not ready",
            "see agent.ready, or its log: kubectl logs",
        ),
        None => Finding::fail(
            NODE,
            node,
            "its agent does not run yet",
            "look at its events: kubectl describe pod",
        ),
    }
}

/// A node for which there is no pod of the DaemonSet at all.
fn judge_bare(name: &str, node: &Node, set: &DaemonSet, refused: Option<&str>) -> Finding {
    let template = set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let selector = template.and_then(|spec| spec.node_selector.as_ref());
    let labels = node.metadata.labels.as_ref();
    let missing = selector
        .into_iter()
        .flatten()
        .find(|(key, value)| labels.and_then(|labels| labels.get(*key)) != Some(value));
    if let Some((key, value)) = missing {
        return Finding::skipped(
            NODE,
            name,
            format!("the agents' nodeSelector ({key}: {value}) leaves it out"),
            "",
        );
    }
    if let Some(key) = template.and_then(|spec| left_out(spec, node)) {
        return Finding::skipped(
            NODE,
            name,
            format!("the agents' nodeAffinity ({key}) leaves it out"),
            "",
        );
    }
    let tolerations = template.and_then(|spec| spec.tolerations.as_deref());
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    let against = taints
        .unwrap_or_default()
        .iter()
        .find(|taint| repels(taint, tolerations.unwrap_or_default()));
    if let Some(taint) = against {
        let value = taint.value.as_deref().unwrap_or_default();
        return Finding::fail(
            NODE,
            name,
            format!(
                "it has no agent: its taint {}={value}:{} is not tolerated",
                taint.key, taint.effect
            ),
            "tolerate it (tolerations), or {operator: Exists} for every node",
        );
    }
    match refused {
        Some(why) if why.contains("PodSecurity") => Finding::fail(
            NODE,
            name,
            format!("it has no agent: Pod Security forbids its pod: {why}"),
            "label the agents' namespace pod-security.kubernetes.io/enforce: privileged",
        ),
        Some(why) => Finding::fail(
            NODE,
            name,
            format!("it has no agent: its pod is refused: {why}"),
            "look at the events of the DaemonSet: kubectl describe daemonset",
        ),
        None => Finding::fail(
            NODE,
            name,
            "it has no agent",
            "look at the events of the DaemonSet (kubectl describe daemonset), and at its affinity",
        ),
    }
}

/// The label by which the required affinity leaves a node out: none of the terms matches. A term that cannot be judged here may match.
fn left_out<'a>(spec: &'a PodSpec, node: &Node) -> Option<&'a str> {
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let mut against = None;
    for term in &required.node_selector_terms {
        let mut expressions = term.match_expressions.iter().flatten();
        let unmet = expressions.find(|expression| !may_match(expression, node))?;
        against = against.or(Some(unmet.key.as_str()));
    }
    against
}

fn may_match(expression: &NodeSelectorRequirement, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let value = labels.and_then(|labels| labels.get(&expression.key));
    let is_among = || {
        let mut values = expression.values.iter().flatten();
        value.is_some_and(|value| values.any(|wanted| wanted == value))
    };
    match expression.operator.as_str() {
        "In" => is_among(),
        "NotIn" => !is_among(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => true,
    }
}

/// Taints that the DaemonSet controller tolerates for all its pods.
const TOLERATED_BY_ALL: [&str; 6] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/unschedulable",
];

fn repels(taint: &Taint, tolerations: &[Toleration]) -> bool {
    if taint.effect == "PreferNoSchedule" || TOLERATED_BY_ALL.contains(&taint.key.as_str()) {
        return false;
    }
    let tolerates = |toleration: &Toleration| {
        let effect = toleration.effect.as_deref().filter(|e| !e.is_empty());
        let key = toleration.key.as_deref().filter(|key| !key.is_empty());
        let exists = toleration.operator.as_deref() == Some("Exists");
        let same_value = toleration.value.as_deref().unwrap_or_default()
            == taint.value.as_deref().unwrap_or_default();
        effect.is_none_or(|effect| effect == taint.effect)
            && match key {
                Some(key) => key == taint.key && (exists || same_value),
                None => exists,
            }
    };
    !tolerations.iter().any(tolerates)
}

/// Why the DaemonSet's controller could not make a pod, the last time it could not.
fn last_refusal(events: &[Event]) -> Option<String> {
    let failed = events
        .iter()
        .filter(|event| event.reason.as_deref() == Some("FailedCreate"));
    let last = failed.max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0))?;
    let message = last.message.as_deref()?;
    let message: String = message.chars().take(300).collect();
    Some(Escaped::bytes(message.as_bytes()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use serde_json::{Value, json};

    fn set(desired: i32, ready: i32, updated: i32) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": {"name": "salvage", "namespace": "salvage"},
            "spec": {
                "selector": {"matchLabels": {"app.kubernetes.io/name": "salvage"}},
                "template": {"spec": {
                    "containers": [],
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "tolerations": [{"key": "gpu", "operator": "Exists"}],
                }},
            },
            "status": {
                "desiredNumberScheduled": desired, "numberReady": ready, "updatedNumberScheduled": updated,
                "currentNumberScheduled": desired, "numberMisscheduled": 0,
            },
        }))
        .expect("a DaemonSet")
    }

    fn node(name: &str, os: &str, taints: Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/os": os}},
            "spec": {"taints": taints},
        }))
        .expect("a Node")
    }

    fn pod(node: &str, status: Value) -> AgentPod {
        let pod = json!({
            "metadata": {"name": format!("salvage-{node}"), "namespace": "salvage"},
            "spec": {"nodeName": node, "containers": [{"name": "agent", "image": "salvage:1"}]},
            "status": status,
        });
        agent_pod(&serde_json::from_value(pod).expect("a Pod"))
    }

    #[test]
    fn a_daemon_set_is_whole_when_all_its_agents_are_ready_and_new() {
        for (numbers, verdict) in [
            ((3, 3, 3), Verdict::Ok),
            ((3, 2, 3), Verdict::Fail),
            ((3, 3, 1), Verdict::Warn),
            ((0, 0, 0), Verdict::Fail),
        ] {
            let found = judge_set(&set(numbers.0, numbers.1, numbers.2));
            assert_eq!(found[0].verdict, verdict, "{numbers:?}");
        }
    }

    #[test]
    fn a_node_without_a_ready_agent_is_told_with_why() {
        let waiting = |reason: &str| {
            json!({"phase": "Pending", "containerStatuses": [{
                "name": "agent", "ready": false, "restartCount": 0, "image": "", "imageID": "",
                "state": {"waiting": {"reason": reason, "message": "the kubelet's words"}},
            }]})
        };
        let ready =
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        let unready =
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]});
        let unscheduled = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "Insufficient memory"}]});
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on disk"});
        let pods = [
            pod("a", ready),
            pod("b", waiting("ImagePullBackOff")),
            pod("c", waiting("CreateContainerConfigError")),
            pod("d", unready),
            pod("e", unscheduled),
            pod("f", evicted),
        ];
        let none = || json!([]);
        let nodes = [
            node("a", "linux", none()),
            node("b", "linux", none()),
            node("c", "linux", none()),
            node("d", "linux", none()),
            node("e", "linux", none()),
            node("f", "linux", none()),
            node("g", "windows", none()),
            node(
                "h",
                "linux",
                json!([{"key": "team", "value": "db", "effect": "NoSchedule"}]),
            ),
            node(
                "i",
                "linux",
                json!([{"key": "gpu", "effect": "NoSchedule"}]),
            ),
        ];
        let refused = "Error creating: pods \"salvage-\" is forbidden: violates PodSecurity \"baseline:latest\"";
        let found = judge_nodes(&nodes, &pods, &set(8, 1, 8), Some(refused));
        let told: Vec<_> = found
            .iter()
            .map(|f| (f.subject.as_str(), f.verdict, f.cause.as_str()))
            .collect();
        assert_eq!(
            told[0],
            ("", Verdict::Ok, "1 of 9 nodes have a ready agent")
        );
        for (at, (node, verdict, words)) in [
            ("b", Verdict::Fail, "ImagePullBackOff: the kubelet's words"),
            ("c", Verdict::Fail, "CreateContainerConfigError"),
            ("d", Verdict::Fail, "runs and is not ready"),
            ("e", Verdict::Fail, "Insufficient memory"),
            ("f", Verdict::Fail, "Evicted: low on disk"),
            ("g", Verdict::Skipped, "nodeSelector"),
            (
                "h",
                Verdict::Fail,
                "taint team=db:NoSchedule is not tolerated",
            ),
            ("i", Verdict::Fail, "Pod Security forbids its pod"),
        ]
        .into_iter()
        .enumerate()
        {
            let found = told[at + 1];
            assert_eq!((found.0, found.1), (node, verdict), "{told:#?}");
            assert!(found.2.contains(words), "{found:?}");
        }
    }

    #[test]
    fn a_node_that_the_affinity_leaves_out_needs_no_agent() {
        let fargate = node("fargate", "linux", json!([]));
        for (expressions, is_out) in [
            (
                json!([{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]),
                false,
            ),
            (
                json!([{"key": "kubernetes.io/os", "operator": "NotIn", "values": ["linux"]}]),
                true,
            ),
            (
                json!([{"key": "kubernetes.io/os", "operator": "DoesNotExist"}]),
                true,
            ),
            (json!([{"key": "type", "operator": "Exists"}]), true),
            (
                json!([{"key": "cores", "operator": "Gt", "values": ["4"]}]),
                false,
            ),
        ] {
            let spec = json!({"containers": [], "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": expressions}]},
            }}});
            let spec: PodSpec = serde_json::from_value(spec).expect("a PodSpec");
            assert_eq!(left_out(&spec, &fargate).is_some(), is_out, "{spec:?}");
        }
    }

    #[test]
    fn what_has_ended_well_keeps_no_agent_waiting() {
        let ended = |code: i32| {
            json!([{
                "name": "init", "ready": true, "restartCount": 0, "image": "", "imageID": "",
                "state": {"terminated": {"exitCode": code, "reason": "Completed"}},
            }])
        };
        for (phase, code, waits) in [
            ("Running", 0, false),
            ("Running", 1, false),
            ("Pending", 0, false),
            ("Pending", 1, true),
        ] {
            let status = json!({"phase": phase, "initContainerStatuses": ended(code)});
            assert_eq!(pod("a", status).waits.is_some(), waits, "{phase} {code}");
        }
    }

    #[test]
    fn taints_are_tolerated_as_kubernetes_does() {
        let taint = |key: &str, value: &str, effect: &str| Taint {
            key: key.into(),
            value: Some(value.into()),
            effect: effect.into(),
            ..Taint::default()
        };
        let toleration = |json: Value| -> Vec<Toleration> {
            vec![serde_json::from_value(json).expect("a toleration")]
        };
        let db = taint("team", "db", "NoSchedule");
        for (json, is_repelled) in [
            (json!({"operator": "Exists"}), false),
            (json!({"key": "team", "operator": "Exists"}), false),
            (json!({"key": "team", "value": "db"}), false),
            (json!({"key": "team", "value": "web"}), true),
            (
                json!({"key": "team", "value": "db", "effect": "NoExecute"}),
                true,
            ),
            (json!({"key": "other", "operator": "Exists"}), true),
        ] {
            let tolerations = toleration(json.clone());
            assert_eq!(repels(&db, &tolerations), is_repelled, "{json}");
        }
        assert!(!repels(&taint("x", "", "PreferNoSchedule"), &[]));
        assert!(!repels(
            &taint("node.kubernetes.io/not-ready", "", "NoExecute"),
            &[]
        ));
    }

    #[test]
    fn several_versions_are_told_with_their_numbers() {
        let with = |image: &str| AgentPod {
            image: image.into(),
            ..AgentPod::default()
        };
        let one = judge_versions(&[with("a:1"), with("a:1")]).expect("a finding");
        assert_eq!(one.verdict, Verdict::Ok);
        let two = judge_versions(&[with("a:1"), with("a:2"), with("a:2")]).expect("a finding");
        assert_eq!(two.verdict, Verdict::Warn);
        assert!(two.cause.contains("a:1 (1), a:2 (2)"), "{two:?}");
    }
}
