//! The package, as `helm package` makes it: whole, although dashboards and alert rules lie elsewhere in the repository; and what the monitoring objects make of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{chart, every, helm, repository};

fn dashboards() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(repository().join("dashboards"))? {
        let name = entry?.file_name().into_string().ok().context("UTF-8")?;
        if name.ends_with(".json") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn the_package_has_the_dashboards_and_rules_and_renders_the_same() -> Result<()> {
    let directory = TempDir::new()?;
    let values =
        json!({"cluster": "c", "store": {"url": "s3://b"}, "monitoring": {"enabled": true}});
    let case = json!({"values": values, "release": "salvage", "namespace": "salvage"});
    let told = json!({"chart": chart(), "cases": {"it": case}, "package": directory.path()});
    let from_source = helm(&told)?;
    let version = from_source["metadata"]["version"]
        .as_str()
        .context("a version")?;
    let archive = from_source["archive"].as_str().context("an archive")?;
    ensure!(
        archive.ends_with(&format!("/salvage-{version}.tgz")),
        "{archive}"
    );
    // Version of the program and of what installs it.
    assert_eq!(
        from_source["metadata"]["appVersion"],
        env!("CARGO_PKG_VERSION")
    );

    let unpacked = directory.path().join("salvage");
    let mut names = dashboards()?;
    ensure!(!names.is_empty(), "no dashboards");
    names.push("alerts.yaml".into());
    for name in names {
        let packed = std::fs::read(unpacked.join("files/dashboards").join(&name))
            .with_context(|| name.clone())?;
        let here = std::fs::read(repository().join("dashboards").join(&name))?;
        ensure!(packed == here, "{name} is another file in the package");
    }
    for name in [
        "values.schema.json",
        "values-eks-irsa.yaml",
        "templates/NOTES.txt",
    ] {
        ensure!(
            unpacked.join(name).is_file(),
            "{name} is not in the package"
        );
    }
    // Every release keeps the whole chart in a Secret: only what it reads is in it.
    let tests = unpacked.join("files/dashboards/alerts.test.yaml");
    ensure!(
        !tests.exists(),
        "the tests of the alerts are in the package"
    );
    let from_package = helm(&json!({"chart": archive, "cases": {"it": case}}))?;
    assert_eq!(
        from_package["cases"]["it"]["texts"],
        from_source["cases"]["it"]["texts"]
    );
    Ok(())
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn the_sidecar_gets_every_dashboard_as_it_is() -> Result<()> {
    for (name, folder, label) in [
        ("monitored-by-pod", ("grafana_folder", "salvage"), "1"),
        ("dashboards-alone", ("grafana_folder", "salvage"), "1"),
        ("monitored-by-service", ("folder", "crashes"), "yes"),
    ] {
        let rendered = every()?.get(name).with_context(|| name.to_owned())?;
        let mut found = BTreeMap::new();
        for config in rendered.all("ConfigMap") {
            if config.template != "dashboards.yaml" {
                continue;
            }
            assert_eq!(
                config.object["metadata"]["labels"]["grafana_dashboard"], label,
                "{name}"
            );
            assert_eq!(
                config.object["metadata"]["annotations"][folder.0], folder.1,
                "{name}"
            );
            for (file, text) in config.object["data"].as_object().context("data")? {
                let text = text.as_str().context("text")?.to_owned();
                // The largest object that the API server takes, and what `kubectl apply` can note of it.
                ensure!(text.len() < 256 << 10, "{file} has {} bytes", text.len());
                found.insert(file.clone(), serde_json::from_str::<Value>(&text)?);
            }
        }
        let mut expected = BTreeMap::new();
        for file in dashboards()? {
            let text = std::fs::read(repository().join("dashboards").join(&file))?;
            expected.insert(format!("salvage-{file}"), serde_json::from_slice(&text)?);
        }
        ensure!(found == expected, "{name}: {:?}", found.keys());
    }
    Ok(())
}

#[test]
#[ignore = "needs Helm and promtool; tests/run provisions them"]
fn prometheus_takes_the_rules_of_the_rule_object() -> Result<()> {
    let directory = TempDir::new()?;
    let here = std::fs::read_to_string(repository().join("dashboards/alerts.yaml"))?;
    let here: Value = serde_saphyr::from_str(&here)?;
    let mut checked = 0;
    for (name, rendered) in every()? {
        for rule in rendered.all("PrometheusRule") {
            let spec = &rule.object["spec"];
            ensure!(
                spec["groups"] == here["groups"],
                "{name}: other rules than in dashboards/alerts.yaml"
            );
            let file = directory.path().join("rules.yaml");
            // JSON is YAML.
            std::fs::write(&file, serde_json::to_vec(spec)?)?;
            promtool(&file).with_context(|| name.clone())?;
            checked += 1;
        }
    }
    ensure!(checked >= 3, "{checked} were checked");
    Ok(())
}

fn promtool(file: &Path) -> Result<()> {
    let output = Command::new("promtool")
        .args(["check", "rules"])
        .arg(file)
        .output()?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
    Ok(())
}

/// What the dashboards and alerts take for granted of every series.
#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn monitors_keep_the_labels_of_a_crash_and_add_cluster_and_node() -> Result<()> {
    let mut monitors = 0;
    for (name, rendered) in every()? {
        for (kind, endpoints) in [
            ("PodMonitor", "podMetricsEndpoints"),
            ("ServiceMonitor", "endpoints"),
        ] {
            for monitor in rendered.all(kind) {
                monitors += 1;
                let endpoints = monitor.object["spec"][endpoints]
                    .as_array()
                    .context("endpoints")?;
                let [endpoint] = &endpoints[..] else {
                    anyhow::bail!("{name}: {endpoints:#?}");
                };
                assert_eq!(
                    (&endpoint["port"], &endpoint["path"]),
                    (&json!("metrics"), &json!("/metrics"))
                );
                assert_eq!(
                    endpoint["honorLabels"], true,
                    "{name}: the crash's namespace is the agent's otherwise"
                );
                let relabelings = endpoint["relabelings"].as_array().context("relabelings")?;
                for wanted in [
                    json!({"action": "replace", "targetLabel": "job", "replacement": "salvage"}),
                    json!({"action": "replace", "targetLabel": "cluster", "replacement": "prod-eu"}),
                    json!({"action": "replace", "targetLabel": "node", "sourceLabels": ["__meta_kubernetes_pod_node_name"]}),
                ] {
                    ensure!(
                        relabelings.contains(&wanted),
                        "{name}: no {wanted} in {relabelings:#?}"
                    );
                }
            }
        }
    }
    ensure!(monitors >= 3, "{monitors} monitors");
    Ok(())
}
