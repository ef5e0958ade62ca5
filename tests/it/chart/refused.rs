//! What is wrong is refused with the key in question, in words that say what to do, and without Helm's own trouble around them.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, default_values, render};

/// Ensures that a refusal says all of `words`, and little else.
fn ensure_readable(what: &str, why: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(why.contains(word), "{what}: nothing of `{word}` in: {why}");
    }
    for noise in [
        "error calling include",
        "executing \"",
        "nil pointer",
        "interface {}",
        "<no value>",
        "map[",
    ] {
        ensure!(!why.contains(noise), "{what}: `{noise}` in: {why}");
    }
    ensure!(
        why.len() < 500 && why.lines().count() <= 6,
        "{what}: this is long: {why}"
    );
    Ok(())
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn wrong_values_are_refused_with_their_key() -> Result<()> {
    let store = json!({"url": "s3://b"});
    // By name: the values, whole, and what the refusal says.
    let table: Vec<(&str, Value, &[&str])> = vec![
        ("nothing at all", json!({}), &["cluster", "store.url"]),
        (
            "no cluster",
            json!({"store": store}),
            &["--set cluster=NAME"],
        ),
        ("no store", json!({"cluster": "c"}), &["--set store.url="]),
        (
            "a cluster that no key can have",
            json!({"cluster": "a/b", "store": store}),
            &["cluster"],
        ),
        (
            "a cluster of another type",
            json!({"cluster": 17, "store": store}),
            &["cluster", "number", "string"],
        ),
        (
            "a bucket without its scheme",
            json!({"cluster": "c", "store": {"url": "my-crashes"}}),
            &["/store/url"],
        ),
        (
            "another kind of store",
            json!({"cluster": "c", "store": {"url": "gs://b"}}),
            &["/store/url"],
        ),
        (
            "a directory of no root",
            json!({"cluster": "c", "store": {"url": "file://crashes"}}),
            &["/store/url"],
        ),
        (
            "an endpoint without its scheme",
            json!({"cluster": "c", "store": {"url": "s3://b", "endpoint": "minio:9000"}}),
            &["/store/endpoint"],
        ),
        (
            "a path style in words",
            json!({"cluster": "c", "store": {"url": "s3://b", "pathStyle": "yes"}}),
            &["pathStyle", "string"],
        ),
    ];
    let over: Vec<(&str, Value, &[&str])> = vec![
        (
            "both forms of keys",
            json!({"store": {"credentials": {"existingSecret": "a", "accessKeyId": "b", "secretAccessKey": "c"}}}),
            &["existingSecret", "accessKeyId"],
        ),
        (
            "one half of a key",
            json!({"store": {"credentials": {"accessKeyId": "b"}}}),
            &["accessKeyId", "secretAccessKey", "together"],
        ),
        (
            "the other half",
            json!({"store": {"credentials": {"secretAccessKey": "b"}}}),
            &["accessKeyId", "secretAccessKey", "together"],
        ),
        (
            "a volume for a bucket",
            json!({"store": {"volume": {"emptyDir": {}}}}),
            &["store.volume", "file:///"],
        ),
        (
            "an unknown volume",
            json!({"injection": {"volume": "csi"}}),
            &["/injection/volume", "emptyDir", "hostPath"],
        ),
        (
            "an unknown version",
            json!({"injection": {"apiVersion": "v1alpha1"}}),
            &["/injection/apiVersion", "v1beta1"],
        ),
        (
            "an unknown runtime",
            json!({"injection": {"runtimes": ["ruby"]}}),
            &["/injection/runtimes/0", "dotnet"],
        ),
        (
            "a runtime in place of a list",
            json!({"injection": {"runtimes": "java"}}),
            &["/injection/runtimes", "array"],
        ),
        (
            "an unknown dump type",
            json!({"injection": {"dotnet": {"dumpType": 5}}}),
            &["/injection/dotnet/dumpType"],
        ),
        (
            "a bound for a directory of the node",
            json!({"injection": {"volume": "hostPath", "sizeLimit": "1Gi"}}),
            &["injection.sizeLimit", "hostPath", "spool"],
        ),
        (
            "a bound that is no quantity",
            json!({"injection": {"sizeLimit": "much"}}),
            &["/injection/sizeLimit"],
        ),
        (
            "a directory of everybody",
            json!({"injection": {"hostPath": "/home"}}),
            &["/injection/hostPath"],
        ),
        (
            "a directory of the node where pods may have none",
            json!({"injection": {"volume": "hostPath"}, "openshift": {"enabled": true}}),
            &["injection.volume", "OpenShift", "emptyDir"],
        ),
        (
            "the account of everybody",
            json!({"serviceAccount": {"create": false}}),
            &["serviceAccount.name"],
        ),
        (
            "days to stop within a minute",
            json!({"config": {"shutdown": {"grace_period": "1d"}}}),
            &[
                "config.shutdown.grace_period",
                "terminationGracePeriodSeconds",
            ],
        ),
        (
            "a relative path",
            json!({"injection": {"hostPath": "var/dumps"}}),
            &["/injection/hostPath"],
        ),
        (
            "a path out of itself",
            json!({"stateDir": "/var/../etc\n"}),
            &["/stateDir"],
        ),
        (
            "negative time to stop",
            json!({"terminationGracePeriodSeconds": -1}),
            &["/terminationGracePeriodSeconds"],
        ),
        (
            "too little time to stop",
            json!({"terminationGracePeriodSeconds": 5}),
            &["/terminationGracePeriodSeconds", "20"],
        ),
        (
            "time in words",
            json!({"terminationGracePeriodSeconds": "60s"}),
            &["/terminationGracePeriodSeconds", "integer"],
        ),
        (
            "an agent that stops after its pod",
            json!({"config": {"shutdown": {"grace_period": "90s"}}}),
            &[
                "config.shutdown.grace_period",
                "terminationGracePeriodSeconds",
            ],
        ),
        (
            "the same in minutes",
            json!({"config": {"shutdown": {"grace_period": "2m"}}}),
            &[
                "config.shutdown.grace_period",
                "terminationGracePeriodSeconds",
            ],
        ),
        (
            "captures without what they need",
            json!({"config": {"captures": {"enabled": true}}}),
            &["config.captures.enabled", "--set captures.enabled=true"],
        ),
        (
            "captures that are on and off",
            json!({"captures": {"enabled": true}, "config": {"captures": {"enabled": false}}}),
            &["config.captures.enabled", "--set captures.enabled=false"],
        ),
        (
            "captures that nobody can ask for",
            json!({"captures": {"enabled": true}, "config": {"kubernetes": {"enabled": false}}}),
            &["captures.enabled", "config.kubernetes.enabled"],
        ),
        (
            "an unknown monitor",
            json!({"monitoring": {"monitor": {"kind": "Probe"}}}),
            &["/monitoring/monitor/kind", "PodMonitor"],
        ),
        (
            "an interval without a unit",
            json!({"monitoring": {"monitor": {"interval": "30"}}}),
            &["/monitoring/monitor/interval"],
        ),
        (
            "a label that is a number",
            json!({"monitoring": {"labels": {"a": 1}}}),
            &["/monitoring/labels/a", "string"],
        ),
        (
            "a digest cut short",
            json!({"image": {"digest": "sha256:abc"}}),
            &["/image/digest"],
        ),
        (
            "an unknown policy to pull",
            json!({"image": {"pullPolicy": "Sometimes"}}),
            &["/image/pullPolicy"],
        ),
        (
            "a port with the address",
            json!({"listenAddress": "0.0.0.0:9464"}),
            &["/listenAddress"],
        ),
        (
            "variables as a map",
            json!({"extraEnv": {"A": "b"}}),
            &["/extraEnv", "array"],
        ),
        (
            "a variable without a name",
            json!({"extraEnv": [{"value": "b"}]}),
            &["/extraEnv/0", "name"],
        ),
        (
            "tolerations as a map",
            json!({"tolerations": {"operator": "Exists"}}),
            &["/tolerations", "array"],
        ),
        (
            "a toleration misspelt",
            json!({"tolerations": [{"opertor": "Exists"}]}),
            &["/tolerations/0", "opertor"],
        ),
        (
            "sources as a map",
            json!({"sources": {"path": "/a"}}),
            &["/sources", "array"],
        ),
        (
            "a configuration as text",
            json!({"config": "spool: {}"}),
            &["/config", "object"],
        ),
        (
            "no rollout at all",
            json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}),
            &["/updateStrategy/rollingUpdate/maxUnavailable"],
        ),
        (
            "two agents on a node",
            json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}}),
            &["maxSurge"],
        ),
        (
            "a switch in words",
            json!({"networkPolicy": {"enabled": "yes"}}),
            &["/networkPolicy/enabled", "boolean"],
        ),
        (
            "an SELinux type alone",
            json!({"seLinuxOptions": "spc_t"}),
            &["/seLinuxOptions", "object"],
        ),
    ];
    let cases = table
        .iter()
        .map(|(name, values, _)| (*name, Case::bare(values.clone())));
    let others = over
        .iter()
        .map(|(name, values, _)| (*name, Case::of(values.clone())));
    let mut all = render(cases.chain(others))?;
    for (name, _, words) in table.iter().chain(&over) {
        match all.remove(*name).context("an answer")? {
            Ok(_) => anyhow::bail!("{name} is rendered"),
            Err(why) => ensure_readable(name, &why, words)?,
        }
    }
    Ok(())
}

/// Objects of Kubernetes that the chart passes on, and maps with keys of the user's own.
pub(super) const PASSED_ON: [&str; 9] = [
    "affinity",
    "config",
    "monitoring.labels",
    "monitoring.dashboards.labels",
    "monitoring.dashboards.annotations",
    "nodeSelector",
    "resources",
    "store.volume",
    "updateStrategy.rollingUpdate",
];

/// The objects among the values whose keys are the chart's, as paths; the whole is the empty one.
fn objects(values: &Value, path: &str, found: &mut Vec<String>) {
    if PASSED_ON.contains(&path) {
        return;
    }
    let Some(map) = values.as_object() else {
        return;
    };
    // One without keys takes those of the user.
    if map.is_empty() {
        return;
    }
    found.push(path.to_owned());
    for (key, value) in map {
        let path = format!("{path}.{key}");
        objects(value, path.trim_start_matches('.'), found);
    }
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn an_unknown_key_is_refused_at_every_level() -> Result<()> {
    let mut paths = Vec::new();
    objects(&default_values()?, "", &mut paths);
    ensure!(paths.len() > 15, "{paths:?}");
    let misspelt = |path: &String| {
        let mut value = json!({"mispelt": 1});
        for key in path.split('.').rev().filter(|key| !key.is_empty()) {
            value = json!({key: value});
        }
        (path.clone(), Case::of(value))
    };
    for (path, answer) in render(paths.iter().map(misspelt))? {
        match answer {
            Ok(_) => anyhow::bail!("`{path}.mispelt` is rendered"),
            Err(why) => {
                let at = path.replace('.', "/");
                ensure_readable(&path, &why, &["mispelt", &at])?;
            }
        }
    }
    Ok(())
}
