//! The agents' configuration, out of the ConfigMap that their pods mount.

use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Container};
use kube::{Api, Client};

use super::CONTAINER;
use crate::config::{Config, Surroundings};
use crate::doctor::Finding;
use crate::doctor::api::{Right, ask};

const ID: &str = "config";

/// Where an agent reads it from when nobody says.
const DEFAULT: &str = "/etc/salvage/salvage.yaml";

/// Reads and checks it.
pub(super) async fn read(client: &Client, set: &DaemonSet) -> (Vec<Finding>, Option<Config>) {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let Some(place) = place(set) else {
        let finding = Finding::skipped(
            ID,
            "",
            "the DaemonSet mounts no ConfigMap at the place of its configuration",
            "",
        );
        return (vec![finding], None);
    };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = match ask(Right::new("get", "configmaps"), api.get(&place.map)).await {
        Ok(map) => map,
        Err(trouble) => {
            let subject = format!("{namespace}/{}", place.map);
            return (vec![trouble.finding(ID, subject)], None);
        }
    };
    let (finding, config) = check(namespace, &place, &map, set);
    (vec![finding], config)
}

/// A ConfigMap and a key in it.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    map: String,
    key: String,
}

fn agent(set: &DaemonSet) -> Option<&Container> {
    let pod = set.spec.as_ref()?.template.spec.as_ref()?;
    let named = pod.containers.iter().find(|c| c.name == CONTAINER);
    named.or(pod.containers.first())
}

fn place(set: &DaemonSet) -> Option<Place> {
    let container = agent(set)?;
    let file = config_path(container);
    let pod = set.spec.as_ref()?.template.spec.as_ref()?;
    let volumes = pod.volumes.as_deref().unwrap_or_default();
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let mount = mounts
        .iter()
        .filter(|mount| file.starts_with(&mount.mount_path))
        .max_by_key(|mount| mount.mount_path.len())?;
    let volume = volumes.iter().find(|volume| volume.name == mount.name)?;
    let map = volume.config_map.as_ref()?.name.clone();
    Some(Place {
        map,
        key: file.file_name()?.to_str()?.to_owned(),
    })
}

/// What `--config` says in its arguments.
fn config_path(container: &Container) -> PathBuf {
    let arguments = container.args.as_deref().unwrap_or_default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if let Some(path) = argument.strip_prefix("--config=") {
            return path.into();
        }
        if argument == "--config"
            && let Some(path) = rest.next()
        {
            return path.into();
        }
    }
    DEFAULT.into()
}

fn check(
    namespace: &str,
    place: &Place,
    map: &ConfigMap,
    set: &DaemonSet,
) -> (Finding, Option<Config>) {
    let subject = format!("{namespace}/{}", place.map);
    let Some(text) = map.data.as_ref().and_then(|data| data.get(&place.key)) else {
        let cause = format!("the ConfigMap has no key {}", place.key);
        return (Finding::fail(ID, subject, cause, ""), None);
    };
    let surroundings = Surroundings {
        cluster: variable(set, "SALVAGE_CLUSTER"),
        // Each agent has its own.
        node: Some("node".to_owned()),
        pod: None,
        host_name: None,
        cpus: 1,
    };
    match Config::parse(text, Path::new(&place.key), &surroundings) {
        Ok(config) => {
            let name = set.metadata.name.as_deref().unwrap_or_default();
            let endpoint = match &config.store.endpoint {
                Some(endpoint) => format!(" at {}", endpoint.origin().ascii_serialization()),
                None => String::new(),
            };
            let accepted = format!(
                "accepted: cluster {}, store {}{endpoint}, as the DaemonSet {namespace}/{name} says",
                config.cluster, config.store.url
            );
            (Finding::ok(ID, subject, accepted), Some(config))
        }
        Err(error) => {
            let cause =
                format!("the configuration is refused, and no agent starts with it: {error}");
            let remedy = "correct the values of the chart";
            (Finding::fail(ID, subject, cause, remedy), None)
        }
    }
}

/// A variable of the agents whose value stands in the DaemonSet.
fn variable(set: &DaemonSet, name: &str) -> Option<String> {
    let all = agent(set)?.env.as_deref().unwrap_or_default();
    let variable = all.iter().find(|variable| variable.name == name)?;
    variable.value.clone().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(arguments: serde_json::Value) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": {"name": "salvage", "namespace": "salvage"},
            "spec": {
                "selector": {},
                "template": {"spec": {
                    "containers": [{
                        "name": "agent",
                        "args": arguments,
                        "env": [{"name": "SALVAGE_CLUSTER", "value": "prod"}],
                        "volumeMounts": [
                            {"name": "root", "mountPath": "/etc"},
                            {"name": "config", "mountPath": "/etc/salvage"},
                        ],
                    }],
                    "volumes": [
                        {"name": "config", "configMap": {"name": "salvage-config"}},
                        {"name": "root", "emptyDir": {}},
                    ],
                }},
            },
        }))
        .expect("a DaemonSet")
    }

    #[test]
    fn the_config_map_is_the_one_that_is_mounted_where_the_agent_reads() {
        for arguments in [
            json!(["agent", "--config", "/etc/salvage/salvage.yaml"]),
            json!(["agent", "--config=/etc/salvage/salvage.yaml"]),
            json!([]),
        ] {
            let place = place(&set(arguments)).expect("a place");
            assert_eq!(
                (place.map.as_str(), place.key.as_str()),
                ("salvage-config", "salvage.yaml")
            );
        }
        let elsewhere = json!(["agent", "--config", "/etc/other.yaml"]);
        assert_eq!(place(&set(elsewhere)), None);
    }

    #[test]
    fn what_stands_in_it_is_checked_as_an_agent_does() {
        let place = Place {
            map: "salvage-config".into(),
            key: "salvage.yaml".into(),
        };
        let map = |text: &str| ConfigMap {
            data: Some([("salvage.yaml".to_owned(), text.to_owned())].into()),
            ..ConfigMap::default()
        };
        let good = "state_dir: /var/lib/salvage\nsources: [{kubelet_volumes: {volume: salvage-dumps}}]\nstore: {url: 's3://dumps'}\n";
        let (finding, config) = check("salvage", &place, &map(good), &set(json!([])));
        assert_eq!(
            config.map(|config| config.cluster).as_deref(),
            Some("prod"),
            "{finding:?}"
        );
        assert!(
            finding
                .cause
                .contains("as the DaemonSet salvage/salvage says"),
            "{finding:?}"
        );
        let typo = good.replace("state_dir", "stat_dir");
        let (finding, config) = check("salvage", &place, &map(&typo), &set(json!([])));
        assert!(
            config.is_none() && finding.cause.contains("stat_dir"),
            "{finding:?}"
        );
        let (finding, _) = check("salvage", &place, &ConfigMap::default(), &set(json!([])));
        assert!(finding.cause.contains("no key salvage.yaml"));
    }
}
