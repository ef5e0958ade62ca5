//! Names, namespaces and labels: what an upgrade cannot change must not follow from values, and two releases must not take each other's objects.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{Case, Document, NAMESPACE, RELEASE, every, render, rendered};

const OF_THE_CLUSTER: [&str; 7] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "PriorityClass",
    "SecurityContextConstraints",
];

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn objects_stand_in_the_namespace_of_the_release_or_in_none() -> Result<()> {
    for (name, rendered) in every()? {
        let namespace = match name.as_str() {
            "names-of-its-own" => "ops",
            "a-release-with-a-long-name" => {
                "a-namespace-whose-name-is-as-long-as-kubernetes-lets-it-be-63x"
            }
            _ => NAMESPACE,
        };
        for document in &rendered.documents {
            let stands = document.object["metadata"]["namespace"].as_str();
            let expected = (!OF_THE_CLUSTER.contains(&document.kind())).then_some(namespace);
            assert_eq!(stands, expected, "{name}: {}", document.id());
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn names_are_short_enough_and_there_once() -> Result<()> {
    for (name, rendered) in every()? {
        let mut ids = BTreeSet::new();
        for document in &rendered.documents {
            let label = document.name();
            // That of a kind has its group in it.
            let is_kind = document.kind() == "CustomResourceDefinition";
            let of_dns = |c: char| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (is_kind && c == '.')
            };
            ensure!(
                (1..=63).contains(&label.len())
                    && label.chars().all(of_dns)
                    && !label.ends_with('-')
                    && !label.starts_with('-'),
                "{name}: {} ({} bytes)",
                document.id(),
                label.len()
            );
            ensure!(
                ids.insert(document.id()),
                "{name}: two of {}",
                document.id()
            );
            for (key, value) in document.object["metadata"]["labels"]
                .as_object()
                .context("labels")?
            {
                let value = value
                    .as_str()
                    .with_context(|| format!("{name}: {}: {key}", document.id()))?;
                ensure!(
                    value.len() <= 63,
                    "{name}: {}: {key}={value}",
                    document.id()
                );
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn objects_are_named_after_the_release_or_as_values_say() -> Result<()> {
    for (release, values, expected) in [
        ("salvage", json!({}), "salvage"),
        ("prod-salvage", json!({}), "prod-salvage"),
        ("crashes", json!({}), "crashes-salvage"),
        ("crashes", json!({"nameOverride": "dumps"}), "crashes-dumps"),
        ("crashes", json!({"fullnameOverride": "keeper"}), "keeper"),
    ] {
        let made = rendered(Case::of(values.clone()).named(release, "ops"))?;
        for document in &made.documents {
            ensure!(
                document.name().starts_with(expected),
                "{release} {values}: {}",
                document.id()
            );
        }
        assert_eq!(made.one("DaemonSet")?["metadata"]["name"], expected);
    }
    Ok(())
}

/// The selector of a DaemonSet cannot be changed: an upgrade that wants to is refused by the API server.
#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn no_value_but_the_names_changes_what_the_daemonset_selects() -> Result<()> {
    for (name, rendered) in every()? {
        let selector = &rendered.one("DaemonSet")?["spec"]["selector"]["matchLabels"];
        let (chart, release) = match name.as_str() {
            "names-of-its-own" => ("dumps", "tools"),
            "a-release-with-a-long-name" => (
                "salvage",
                "a-release-whose-name-is-as-long-as-helm-lets-it-be-53",
            ),
            _ => ("salvage", RELEASE),
        };
        let expected = json!({
            "app.kubernetes.io/name": chart,
            "app.kubernetes.io/instance": release,
            "app.kubernetes.io/component": "agent",
        });
        assert_eq!(*selector, expected, "{name}");
        let labels = &rendered.pod()?["metadata"]["labels"];
        for (key, value) in expected.as_object().context("labels")? {
            assert_eq!(labels[key], *value, "{name}: the pod's {key}");
        }
        // Agents and nothing else are scraped, and meant by the policy of the network.
        for kind in ["PodMonitor", "ServiceMonitor", "Service", "NetworkPolicy"] {
            for document in rendered.all(kind) {
                let spec = &document.object["spec"];
                let selects = match kind {
                    "Service" => &spec["selector"],
                    "NetworkPolicy" => &spec["podSelector"]["matchLabels"],
                    "ServiceMonitor" => {
                        let service = rendered.one("Service")?;
                        let on = &service["metadata"]["labels"];
                        for (key, value) in spec["selector"]["matchLabels"]
                            .as_object()
                            .context("labels")?
                        {
                            assert_eq!(on[key], *value, "{name}: the Service's {key}");
                        }
                        continue;
                    }
                    _ => &spec["selector"]["matchLabels"],
                };
                assert_eq!(*selects, expected, "{name}: {}", document.id());
            }
        }
        for pod in rendered.all("Pod") {
            ensure!(pod.object["metadata"]["labels"] != expected, "{name}");
            assert_ne!(
                pod.object["metadata"]["labels"]["app.kubernetes.io/component"], "agent",
                "{name}"
            );
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn labels_of_ones_own_do_not_take_the_pods_from_their_daemonset() -> Result<()> {
    for key in ["name", "instance", "component"] {
        let key = format!("app.kubernetes.io/{key}");
        let mut all = render([("it", Case::of(json!({"podLabels": {&key: "mine"}})))])?;
        match all.remove("it").context("an answer")? {
            Ok(rendered) => assert_ne!(rendered.pod()?["metadata"]["labels"][&key], "mine"),
            Err(why) => ensure!(why.contains("podLabels"), "{why}"),
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn two_releases_share_no_object_of_the_cluster() -> Result<()> {
    let everything = json!({
        "captures": {"enabled": true},
        "monitoring": {"enabled": true}, "priorityClass": {"create": true}, "openshift": {"enabled": true}, "networkPolicy": {"enabled": true},
    });
    let of_cluster = |release: &str, namespace: &str, crd: bool| -> Result<BTreeSet<String>> {
        let mut values = everything.clone();
        // A kind is there once for all.
        values["captures"]["crd"] = json!(crd);
        let made = rendered(Case::of(values).named(release, namespace))?;
        let of_cluster = made
            .documents
            .iter()
            .filter(|document| OF_THE_CLUSTER.contains(&document.kind()));
        Ok(of_cluster.map(Document::id).collect())
    };
    let (one, other) = (
        of_cluster("salvage", "one", true)?,
        of_cluster("salvage-too", "two", false)?,
    );
    let kinds: BTreeSet<_> = one.iter().filter_map(|id| id.split('/').next()).collect();
    assert_eq!(kinds, OF_THE_CLUSTER.into());
    ensure!(one.is_disjoint(&other), "{:?}", one.intersection(&other));
    Ok(())
}
