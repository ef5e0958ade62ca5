//! Every value is in the schema and does something: each one, changed, changes what is rendered.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::refused::PASSED_ON;
use super::{Case, Rendered, chart, default_values, render};

/// Another value for each, and what else has to be said for it to matter.
fn table() -> Vec<(&'static str, Value, Value)> {
    let always = || json!({});
    let monitored = || json!({"monitoring": {"enabled": true}});
    let on_host_path = || json!({"injection": {"volume": "hostPath"}});
    let capturing = || json!({"captures": {"enabled": true}});
    let guarded = || json!({"networkPolicy": {"enabled": true}});
    let keys = json!({"store": {"credentials": {"accessKeyId": "a", "secretAccessKey": "b"}}});
    vec![
        ("affinity", json!({"nodeAffinity": null}), always()),
        ("captures.aggregateToAdmin", json!(true), capturing()),
        ("captures.crd", json!(false), capturing()),
        ("captures.enabled", json!(true), always()),
        ("cluster", json!("other"), always()),
        ("config", json!({"spool": {"max_use": "1GiB"}}), always()),
        ("extraEnv", json!([{"name": "A", "value": "b"}]), always()),
        (
            "extraEnvFrom",
            json!([{"secretRef": {"name": "a"}}]),
            always(),
        ),
        (
            "extraVolumeMounts",
            json!([{"name": "a", "mountPath": "/a"}]),
            always(),
        ),
        (
            "extraVolumes",
            json!([{"name": "a", "emptyDir": {}}]),
            always(),
        ),
        ("fullnameOverride", json!("other"), always()),
        (
            "image.digest",
            json!(format!("sha256:{}", "0".repeat(64))),
            always(),
        ),
        ("image.pullPolicy", json!("Always"), always()),
        ("image.repository", json!("other"), always()),
        ("image.tag", json!("other"), always()),
        ("imagePullSecrets", json!([{"name": "a"}]), always()),
        ("injection.apiVersion", json!("v1beta1"), always()),
        ("injection.dotnet.dumpType", json!(4), always()),
        ("injection.enabled", json!(false), always()),
        ("injection.hostPath", json!("/var/other"), on_host_path()),
        ("injection.node.excludeNetwork", json!(true), always()),
        ("injection.runtimes", json!(["java"]), always()),
        ("injection.sizeLimit", json!("1Gi"), always()),
        ("injection.volume", json!("hostPath"), always()),
        ("listenAddress", json!("[::]"), always()),
        ("log", json!("debug"), always()),
        (
            "monitoring.dashboards.annotations",
            json!({"a": "b"}),
            monitored(),
        ),
        ("monitoring.dashboards.enabled", json!(false), monitored()),
        (
            "monitoring.dashboards.labels",
            json!({"a": "b"}),
            monitored(),
        ),
        ("monitoring.enabled", json!(true), always()),
        ("monitoring.labels", json!({"a": "b"}), monitored()),
        ("monitoring.monitor.interval", json!("1m"), monitored()),
        (
            "monitoring.monitor.kind",
            json!("ServiceMonitor"),
            monitored(),
        ),
        ("monitoring.rules.enabled", json!(false), monitored()),
        ("nameOverride", json!("other"), always()),
        (
            "networkPolicy.egress",
            json!([{"ports": [{"port": 1}]}]),
            guarded(),
        ),
        ("networkPolicy.enabled", json!(true), always()),
        (
            "networkPolicy.scrapeFrom",
            json!([{"podSelector": {}}]),
            guarded(),
        ),
        ("nodeSelector", json!({"a": "b"}), always()),
        ("openshift.enabled", json!(true), always()),
        ("podAnnotations", json!({"a": "b"}), always()),
        ("podLabels", json!({"a": "b"}), always()),
        ("priorityClass.create", json!(true), always()),
        ("priorityClass.name", json!("other"), always()),
        (
            "priorityClass.value",
            json!(7),
            json!({"priorityClass": {"create": true}}),
        ),
        ("rbac.create", json!(false), always()),
        ("resources", json!({"limits": {"memory": "1Gi"}}), always()),
        ("seLinuxOptions", json!({"type": "spc_t"}), always()),
        ("serviceAccount.annotations", json!({"a": "b"}), always()),
        (
            "serviceAccount.create",
            json!(false),
            json!({"serviceAccount": {"name": "other"}}),
        ),
        ("serviceAccount.name", json!("other"), always()),
        ("sources", json!([{"path": "/a"}]), always()),
        ("stateDir", json!("/other"), always()),
        ("store.caConfigMap", json!("other"), always()),
        (
            "store.credentials.accessKeyId",
            json!("other"),
            keys.clone(),
        ),
        ("store.credentials.existingSecret", json!("other"), always()),
        ("store.credentials.secretAccessKey", json!("other"), keys),
        ("store.endpoint", json!("https://other"), always()),
        ("store.pathStyle", json!(true), always()),
        ("store.region", json!("other"), always()),
        ("store.url", json!("s3://other"), always()),
        (
            "store.volume",
            json!({"emptyDir": {}}),
            json!({"store": {"url": "file:///a"}}),
        ),
        ("terminationGracePeriodSeconds", json!(90), always()),
        (
            "test.tolerations",
            json!([{"operator": "Exists"}]),
            always(),
        ),
        ("tolerations", json!([]), always()),
        (
            "updateStrategy.rollingUpdate",
            json!({"maxUnavailable": 3}),
            always(),
        ),
        (
            "updateStrategy.type",
            json!("OnDelete"),
            json!({"updateStrategy": {"rollingUpdate": null}}),
        ),
    ]
}

/// The values that people set, as paths.
fn leaves(values: &Value, path: &str, found: &mut BTreeSet<String>) {
    match values.as_object() {
        Some(map) if !map.is_empty() && !PASSED_ON.contains(&path) => {
            for (key, value) in map {
                let path = format!("{path}.{key}");
                leaves(value, path.trim_start_matches('.'), found);
            }
        }
        _ => drop(found.insert(path.to_owned())),
    }
}

fn at(path: &str, mut value: Value) -> Value {
    for key in path.split('.').rev() {
        value = json!({key: value});
    }
    value
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn every_value_changes_what_is_rendered() -> Result<()> {
    let mut known = BTreeSet::new();
    leaves(&default_values()?, "", &mut known);
    let table = table();
    let listed: BTreeSet<_> = table.iter().map(|(path, ..)| (*path).to_owned()).collect();
    ensure!(
        known == listed,
        "not in the table of this test, or not in values.yaml: {:?}",
        known.symmetric_difference(&listed)
    );
    let mut cases = Vec::new();
    for (path, other, besides) in &table {
        let mut changed = besides.clone();
        super::merge(&mut changed, at(path, other.clone()));
        cases.push((format!("{path} before"), Case::of(besides.clone())));
        cases.push((format!("{path} after"), Case::of(changed)));
    }
    let all = render(cases)?;
    for (path, ..) in &table {
        let of = |when: &str| -> Result<&Rendered> {
            let answer = all.get(&format!("{path} {when}")).context("an answer")?;
            answer
                .as_ref()
                .map_err(|why| anyhow::anyhow!("{path} {when}: {why}"))
        };
        // What is said at the end of an installation is no effect.
        let objects = |rendered: &Rendered| -> Vec<Value> {
            let documents = rendered.documents.iter();
            documents.map(|document| document.object.clone()).collect()
        };
        ensure!(
            objects(of("before")?) != objects(of("after")?),
            "{path} changes nothing"
        );
    }
    Ok(())
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn every_value_is_in_the_schema_and_is_of_its_type() -> Result<()> {
    let text = std::fs::read(chart().join("values.schema.json"))?;
    let schema: Value = serde_json::from_slice(&text)?;
    let mut known = BTreeSet::new();
    leaves(&default_values()?, "", &mut known);
    for path in known {
        let mut place = &schema;
        for key in path.split('.') {
            place = place["properties"]
                .get(key)
                .with_context(|| format!("{path} is not in the schema"))?;
        }
        // `{}` would take anything.
        let says = ["type", "enum", "$ref", "anyOf"];
        ensure!(
            says.iter().any(|word| place.get(word).is_some()),
            "the schema says nothing of {path}"
        );
    }
    // The defaults themselves are right by it, but for what is required: Helm has checked it in every other test.
    Ok(())
}
