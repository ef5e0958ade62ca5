//! On a node, beside an agent: everything from the configuration to the node's pods, asked at once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::machine::{self, StateDir};
use super::pods::{Judged, Scope};
use super::sources::Facts;
use super::{Finding, PATIENCE, Report, agent, foreign, kubernetes, sources, store};
use crate::config::{Config, Error, Surroundings};
use crate::model::escaped;
use crate::sys::{self, Dir};

/// What a disk does takes milliseconds; a network file system whose server is gone never answers.
const DISK: Duration = Duration::from_secs(10);

/// Examines a node with the configuration at `path`.
///
/// # Errors
/// The configuration cannot be read at all. One that is refused is a finding.
pub async fn on_node(
    path: &Path,
    surroundings: &Surroundings,
    scope: &Scope,
) -> Result<Report, Error> {
    let config = match Config::read(path, surroundings) {
        Ok(config) => Arc::new(config),
        Err(error @ Error::Unreadable { .. }) => return Err(error),
        Err(error) => {
            let refused = Finding::fail(
                "config",
                escaped(path),
                format!(
                    "the configuration is refused, and an agent does not start with it: {error}"
                ),
                "correct it; salvage agent --check says whether it can be used",
            );
            let mut findings = vec![refused];
            findings.extend(on_disk("the kernel", || machine::examine_kernel(None)).await);
            return Ok(Report::new(findings, Vec::new()));
        }
    };
    // Before the first lease: when one breaks it sends a signal that kills.
    if let Err(error) = sys::ignore_lease_signal() {
        let cause = format!("SIGIO cannot be ignored, so no lease is tried: {error}");
        let finding = Finding::fail("signal", "", cause, "");
        return Ok(Report::new(vec![finding], Vec::new()));
    }
    let (agent, local, store, (api, pods)) = tokio::join!(
        agent::examine(config.listen),
        local(&config),
        within("store", store::as_agent(&config)),
        pods(&config, scope),
    );
    let mut findings = vec![accepted(path, &config, surroundings)];
    findings.extend(agent);
    findings.extend(store);
    findings.extend(local);
    findings.extend(api);
    Ok(Report::new(findings, pods))
}

fn accepted(path: &Path, config: &Config, surroundings: &Surroundings) -> Finding {
    let from = |set: bool, name: &str| match set {
        true => format!(" ({name})"),
        false => String::new(),
    };
    Finding::ok(
        "config",
        escaped(path),
        format!(
            "accepted: cluster {}{}, node {}{}, store {}",
            config.cluster,
            from(surroundings.cluster.is_some(), "SALVAGE_CLUSTER"),
            config.node,
            from(surroundings.node.is_some(), "SALVAGE_NODE"),
            config.store.url
        ),
    )
}

async fn within(what: &'static str, work: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    match timeout(PATIENCE, work).await {
        Ok(findings) => findings,
        Err(_) => {
            let cause = format!("no answer within {} s", PATIENCE.as_secs());
            vec![Finding::fail(what, "", cause, "")]
        }
    }
}

async fn pods(config: &Config, scope: &Scope) -> (Vec<Finding>, Vec<Judged>) {
    let Some(kubernetes) = &config.kubernetes else {
        let mut findings = Vec::new();
        if let Scope::Pod(pod) = scope {
            findings.push(Finding::fail(
                "pod",
                format!("{}/{}", pod.namespace, pod.name),
                "kubernetes.enabled is false, so nothing is known of pods",
                "set kubernetes.enabled: true, or ask from a machine with a kubeconfig",
            ));
        } else if !config.coverage().volumes.is_empty() {
            findings.push(Finding::warn(
                "kubernetes.api",
                "",
                "volumes of pods are a source, and kubernetes.enabled is false: nobody knows whose their dumps are",
                "set kubernetes.enabled: true",
            ));
        }
        return (findings, Vec::new());
    };
    match timeout(PATIENCE, kubernetes::examine(config, kubernetes, scope)).await {
        Ok(found) => found,
        Err(_) => {
            let cause = format!("no answer within {} s", PATIENCE.as_secs());
            let finding = Finding::fail("kubernetes.api", "", cause, "");
            (vec![finding], Vec::new())
        }
    }
}

/// Everything that is on this machine.
async fn local(config: &Arc<Config>) -> Vec<Finding> {
    let path = config.spool.state_dir.clone();
    let shared = Arc::clone(config);
    let (state, kernel) = tokio::join!(
        timeout(
            DISK,
            tokio::task::spawn_blocking(move || StateDir::gather(&path)),
        ),
        on_disk("the kernel", move || {
            let mut findings = machine::examine_limits(&shared);
            findings.extend(machine::examine_kernel(Some(&shared)));
            findings
        }),
    );
    let Ok(Ok(state)) = state else {
        let mut findings = vec![hung("state_dir", &config.spool.state_dir)];
        findings.extend(kernel);
        return findings;
    };
    let looked = look_at_sources(config, state.mount()).await;
    let copies = looked.iter().flatten().any(Facts::copies);
    let mut findings = state.judge(config, copies);
    let kubernetes = config.kubernetes.as_ref();
    let in_a_pod = kubernetes.is_some_and(|kubernetes| kubernetes.index.own.is_some());
    for (facts, source) in looked.iter().zip(&config.sources) {
        match facts {
            Some(facts) => findings.extend(facts.judge(kubernetes.is_some(), in_a_pod)),
            None => findings.push(hung("source.directory", &source.path)),
        }
    }
    findings.extend(judge_foreign(config, &looked).await);
    findings.extend(kernel);
    findings
}

/// What is known of each source; nothing of those whose file system does not answer.
async fn look_at_sources(config: &Config, state: u64) -> Vec<Option<Facts>> {
    let looks = config.sources.iter().cloned().map(|source| {
        let look = tokio::task::spawn_blocking(move || sources::gather(&source, state));
        async move { timeout(DISK, look).await.ok()?.ok() }
    });
    futures::future::join_all(looks).await
}

async fn judge_foreign(config: &Config, looked: &[Option<Facts>]) -> Vec<Finding> {
    let mut met = looked.iter().flatten().filter_map(Facts::met);
    let file = met.find_map(|(met, leases)| Some((met.file.as_ref()?, leases)));
    if let Some((file, leases)) = file {
        return foreign::judge(Some(file), leases, None);
    }
    let path = config.spool.state_dir.clone();
    let stand_in = tokio::task::spawn_blocking(move || {
        foreign::read_without_permission(&Dir::open(&path.canonicalize().ok()?).ok()?)
    });
    let stand_in = timeout(DISK, stand_in)
        .await
        .ok()
        .and_then(Result::ok)
        .flatten();
    foreign::judge(None, true, stand_in.as_ref())
}

async fn on_disk(
    what: &'static str,
    work: impl FnOnce() -> Vec<Finding> + Send + 'static,
) -> Vec<Finding> {
    match timeout(DISK, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(findings)) => findings,
        _ => vec![Finding::fail(
            "machine",
            "",
            format!("{what} does not answer within {} s", DISK.as_secs()),
            "",
        )],
    }
}

fn hung(id: &'static str, path: &Path) -> Finding {
    Finding::fail(
        id,
        escaped(path),
        format!(
            "its file system does not answer within {} s",
            DISK.as_secs()
        ),
        "look at the mount; a network file system waits for its server for ever",
    )
}
