//! Everybody's pods, a page at a time.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::{GetParams, ListParams};
use kube::core::Request;
use kube::{Api, Client};
use serde::Deserialize;
use tokio::time::{Duration, Instant};

use crate::doctor::Finding;
use crate::doctor::api::{Right, Trouble, ask};
use crate::doctor::pods::{Judge, Judged, Namespaces, PodName, Scope, SeenPod};
use crate::model::KnownPod;

const ID: &str = "pods";

/// Pods of a page: some megabytes.
const PAGE: u32 = 250;

/// No page is begun after this; what was seen by then is told.
const LONGEST: Duration = Duration::from_secs(25);

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default)]
    items: Vec<SeenPod>,
}

/// Which namespaces ask for dumps by their label.
pub(super) async fn namespaces(client: &Client) -> (Vec<Finding>, Namespaces) {
    let api: Api<Namespace> = Api::all(client.clone());
    let params = ListParams::default().labels(Namespaces::LABEL).limit(1_000);
    match ask(Right::new("list", "namespaces"), api.list(&params)).await {
        Ok(list) => {
            let labels = list.items.into_iter().filter_map(|namespace| {
                let value = namespace.metadata.labels?.remove(Namespaces::LABEL)?;
                Some((namespace.metadata.name?, value))
            });
            (Vec::new(), Namespaces::of(labels))
        }
        Err(trouble) => {
            let finding = trouble.finding("namespaces", "");
            (vec![finding], Namespaces::default())
        }
    }
}

/// Judges the pods that are asked about; those of the agents are none.
pub(super) async fn examine(
    client: &Client,
    judge: &Judge,
    sets: &[DaemonSet],
) -> (Vec<Finding>, Vec<Judged>) {
    if let Scope::Pod(pod) = &judge.scope {
        return one(client, judge, pod).await;
    }
    let path = match &judge.scope {
        Scope::Namespace(namespace) => format!("/api/v1/namespaces/{namespace}/pods"),
        _ => "/api/v1/pods".to_owned(),
    };
    let mut judged = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    let begun = Instant::now();
    let mut pods = 0;
    loop {
        let page = match page(client, &path, &params).await {
            Ok(page) => page,
            Err(trouble) => return (vec![trouble.finding(ID, "")], judged),
        };
        for pod in &page.items {
            let is_agents = |known: &KnownPod| sets.iter().any(|set| is_of(known, set));
            if !pod.known.as_ref().is_some_and(is_agents) {
                pods += 1;
                judged.extend(judge.judge(pod));
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            None => break,
            Some(_) if begun.elapsed() > LONGEST => {
                let cause = format!(
                    "only the first {pods} pods were looked at: there are too many for one run"
                );
                let finding = Finding::skipped(ID, "", cause, "choose a namespace with -n");
                return (vec![finding], judged);
            }
            Some(token) => params.continue_token = Some(token),
        }
    }
    let looked = Finding::ok(ID, "", format!("{pods} pods were looked at"));
    (vec![looked], judged)
}

async fn page(client: &Client, path: &str, params: &ListParams) -> Result<Page, Trouble> {
    let request = Request::new(path).list(params);
    let request = request.map_err(|error| Trouble::Failed(error.to_string()))?;
    ask(Right::new("list", "pods"), client.request(request)).await
}

async fn one(client: &Client, judge: &Judge, pod: &PodName) -> (Vec<Finding>, Vec<Judged>) {
    let PodName { namespace, name } = pod;
    let subject = format!("{namespace}/{name}");
    let request = Request::new(format!("/api/v1/namespaces/{namespace}/pods"))
        .get(name, &GetParams::default());
    let asked = match request {
        Ok(request) => {
            ask(
                Right::new("get", "pods"),
                client.request::<SeenPod>(request),
            )
            .await
        }
        Err(error) => Err(Trouble::Failed(error.to_string())),
    };
    match asked {
        Ok(seen) => {
            let judged = judge.judge(&seen);
            let findings = match judged.is_empty() {
                true => vec![Finding::skipped(
                    "pod",
                    subject,
                    "all its containers have ended",
                    "",
                )],
                false => Vec::new(),
            };
            (findings, judged)
        }
        Err(Trouble::NotFound) => {
            let finding = Finding::fail(
                "pod",
                subject,
                "there is no such pod",
                "name its namespace with -n",
            );
            (vec![finding], Vec::new())
        }
        Err(trouble) => (vec![trouble.finding("pod", subject)], Vec::new()),
    }
}

fn is_of(pod: &KnownPod, set: &DaemonSet) -> bool {
    let labels = set
        .spec
        .as_ref()
        .and_then(|s| s.selector.match_labels.as_ref());
    let Some(labels) = labels.filter(|labels| !labels.is_empty()) else {
        return false;
    };
    set.metadata.namespace.as_deref() == Some(&pod.namespace)
        && labels
            .iter()
            .all(|(key, value)| pod.labels.get(key) == Some(value))
}
