//! From a laptop: what the API server tells of the agents and of everybody's pods.
//!
//! ```text
//! DaemonSet ─► its pods, nodes, Events ─► fleet: who has no ready agent, and why
//!     ├──────► its pods' /readyz, through the API server's proxy
//!     └──────► ConfigMap ─► the agents' configuration ─┬─► store, as whoever asks
//!                                                      └─► all pods: who would leave no dump
//! ```
//!
//! Whoever asks has rights of their own: what those do not allow is skipped by name, and the rest is done.

mod config;
mod fleet;
mod ready;
mod workloads;

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::time::timeout;

use super::api::{Right, Trouble, ask};
use super::pods::{Judge, Judged, Scope};
use super::{Finding, PATIENCE, Report, Verdict, store};
use crate::decide::Selection;
use crate::store::{StoreConfig, StoreUrl};

/// The label of the agents' DaemonSet, whatever the chart's release is called.
const AGENTS: &str = "salvage.dev/agent=true";

/// The agents' container.
const CONTAINER: &str = "agent";

const API: &str = "kubernetes.api";
const DAEMON_SET: &str = "fleet.daemonset";

/// What is asked from a laptop.
#[derive(Clone, Debug, Default)]
pub struct Laptop {
    /// Where the agents are; everywhere where it is absent.
    pub agent_namespace: Option<String>,
    /// The store to examine in place of the agents' own.
    pub store: Option<StoreConfig>,
    /// Which pods are judged.
    pub scope: Scope,
}

/// Examines the cluster of the current context.
///
/// # Errors
/// No cluster is known and no store was named, so there is nothing to examine.
pub async fn of_cluster(laptop: &Laptop) -> Result<Report, String> {
    let client = match (crate::kube::client().await, &laptop.store) {
        (Ok(client), _) => client,
        (Err(why), None) => return Err(why),
        (Err(why), Some(store)) => {
            let mut findings = vec![Finding::skipped(API, "", why, "")];
            findings.extend(store::as_person(store).await);
            return Ok(Report::new(findings, Vec::new()));
        }
    };
    Ok(examine(&client, laptop).await)
}

async fn examine(client: &Client, laptop: &Laptop) -> Report {
    let mut findings = Vec::new();
    let sets = match daemon_sets(client, laptop).await {
        Ok(sets) => {
            findings.push(Finding::ok(API, "", "the API server answers"));
            sets
        }
        Err(Trouble::Failed(why)) => {
            findings.push(Finding::fail(
                API,
                "",
                format!("the API server cannot be asked: {why}"),
                "look whether kubectl reaches it with the same KUBECONFIG and context",
            ));
            if let Some(store) = &laptop.store {
                findings.extend(store::as_person(store).await);
            }
            return Report::new(findings, Vec::new());
        }
        Err(trouble) => {
            findings.push(trouble.finding(DAEMON_SET, ""));
            Vec::new()
        }
    };
    if sets.is_empty() && findings.iter().all(|f| f.id != DAEMON_SET) {
        findings.push(Finding::fail(
            DAEMON_SET,
            laptop.agent_namespace.as_deref().unwrap_or_default(),
            format!("there is no DaemonSet with the label {AGENTS}, so no node has an agent"),
            "install the chart, or name the right place with --agent-namespace",
        ));
    }
    // Anybody may label a DaemonSet, and what it names as the store is sent signed requests.
    let first = sets.first().filter(|_| sets.len() == 1);
    if sets.len() > 1 {
        findings.push(several(&sets));
    }
    let (fleets, read) = tokio::join!(
        futures::future::join_all(sets.iter().map(|set| fleet(client, set))),
        read_config(client, first),
    );
    findings.extend(fleets.into_iter().flatten());
    let (found, agents) = read;
    findings.extend(found);
    let (stored, (found, pods)) = tokio::join!(
        examine_store(laptop, agents.as_ref()),
        judge_pods(client, laptop, &sets, agents.as_ref()),
    );
    findings.extend(stored);
    findings.extend(found);
    Report::new(findings, pods)
}

fn several(sets: &[DaemonSet]) -> Finding {
    let name = |set: &DaemonSet| {
        let metadata = &set.metadata;
        format!(
            "{}/{}",
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default()
        )
    };
    let names: Vec<String> = sets.iter().map(name).collect();
    Finding::skipped(
        "config",
        names.join(", "),
        "several DaemonSets say that they are the agents, so none is believed what its store is",
        "name the namespace of the right one with --agent-namespace",
    )
}

async fn daemon_sets(client: &Client, laptop: &Laptop) -> Result<Vec<DaemonSet>, Trouble> {
    let api: Api<DaemonSet> = match &laptop.agent_namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let right = Right::new("list", "daemonsets.apps");
    let params = ListParams::default().labels(AGENTS).limit(100);
    Ok(ask(right, api.list(&params)).await?.items)
}

async fn fleet(client: &Client, set: &DaemonSet) -> Vec<Finding> {
    let Ok((mut findings, agents)) = timeout(PATIENCE, fleet::examine(client, set)).await else {
        let cause = format!("no answer within {} s", PATIENCE.as_secs());
        return vec![Finding::fail(DAEMON_SET, "", cause, "")];
    };
    findings.extend(ready::examine(client, &agents).await);
    findings
}

async fn read_config(
    client: &Client,
    set: Option<&DaemonSet>,
) -> (Vec<Finding>, Option<crate::config::Config>) {
    match set {
        Some(set) => config::read(client, set).await,
        None => (Vec::new(), None),
    }
}

async fn examine_store(laptop: &Laptop, agents: Option<&crate::config::Config>) -> Vec<Finding> {
    if let Some(store) = &laptop.store {
        return store::as_person(store).await;
    }
    let Some(config) = agents.map(|config| &config.store) else {
        return Vec::new();
    };
    if matches!(config.url, StoreUrl::File(_)) {
        return vec![Finding::skipped(
            "store.list",
            &config.url,
            "the store is a directory of the nodes",
            "run salvage doctor in an agent's pod",
        )];
    }
    let mut findings = store::as_person(config).await;
    // The agents have another identity, and another way there: that somebody here has none keeps no dump from being stored.
    for finding in &mut findings {
        if finding.verdict == Verdict::Fail {
            finding.verdict = Verdict::Warn;
            finding.cause = format!("as you, from here: {}", finding.cause);
        }
    }
    findings
}

async fn judge_pods(
    client: &Client,
    laptop: &Laptop,
    sets: &[DaemonSet],
    agents: Option<&crate::config::Config>,
) -> (Vec<Finding>, Vec<Judged>) {
    let Some(config) = agents else {
        let finding = Finding::skipped(
            "pods",
            "",
            "where dumps are looked for is not known without the agents' configuration",
            "",
        );
        return (vec![finding], Vec::new());
    };
    let selection = config.kubernetes.as_ref();
    let selection = selection.map(|kubernetes| kubernetes.index.selection.clone());
    let (mut findings, namespaces) = workloads::namespaces(client).await;
    let judge = Judge {
        coverage: config.coverage(),
        selection: selection.unwrap_or_else(Selection::default),
        namespaces,
        scope: laptop.scope.clone(),
    };
    let (found, pods) = workloads::examine(client, &judge, sets).await;
    findings.extend(found);
    (findings, pods)
}
