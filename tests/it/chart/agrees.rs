//! Chart and agent agree: the real program takes every configuration that the chart makes, and a pod is replaced exactly when its configuration is another.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Case, Rendered, every, render};
use crate::support::agent::SALVAGE;

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn the_agent_takes_the_configuration_of_every_combination() -> Result<()> {
    let directory = TempDir::new()?;
    let file = directory.path().join("salvage.yaml");
    for (name, rendered) in every()? {
        std::fs::write(&file, rendered.config()?)?;
        let output = Command::new(SALVAGE)
            .args(["agent", "--check", "--config"])
            .arg(&file)
            .env_clear()
            // As the pod has it.
            .env("SALVAGE_NODE", "node-17")
            .output()?;
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        ensure!(
            output.status.success(),
            "{name}: {}\n{err}\n{}",
            output.status,
            rendered.config()?
        );
        ensure!(out.contains("node: node-17"), "{name}: {out}");
    }
    Ok(())
}

/// Behind arguments that it knows, `--help` is help.
#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn the_program_takes_the_arguments_of_every_container() -> Result<()> {
    let mut seen = BTreeSet::new();
    for rendered in every()?.values() {
        let pods = rendered.all("Pod").into_iter().map(|pod| &pod.object);
        for pod in pods.chain([rendered.pod()?]) {
            let arguments = pod["spec"]["containers"][0]["args"].clone();
            let arguments: Vec<String> = serde_json::from_value(arguments)?;
            seen.insert(arguments);
        }
    }
    ensure!(seen.len() == 2, "{seen:?}");
    for arguments in seen {
        let output = Command::new(SALVAGE)
            .args(&arguments)
            .arg("--help")
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {said}");
    }
    Ok(())
}

/// What is said in values is what the agent reads, and the rest of what it reads is the chart's.
#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn the_configuration_says_what_the_values_say() -> Result<()> {
    let of = |name: &str| -> Result<Value> {
        let rendered = every()?.get(name).with_context(|| name.to_owned())?;
        Ok(serde_saphyr::from_str(rendered.config()?)?)
    };
    let volume = json!({"kubelet_volumes": {"volume": "salvage-dumps"}});
    let defaults = json!({
        "cluster": "prod-eu",
        "state_dir": "/var/lib/salvage",
        "listen": "0.0.0.0:9464",
        "sources": [volume],
        "store": {"url": "s3://my-crashes/prod", "region": "eu-central-1"},
        "shutdown": {"grace_period": "50s"},
        "kubernetes": {"enabled": true},
    });
    assert_eq!(of("defaults")?, defaults);
    assert_eq!(
        of("injection-on-host-path")?["sources"],
        json!([volume, {"path": "/var/lib/salvage-dumps", "layout": "{namespace}/{pod}/{uid}/{container}", "managed": true}])
    );
    assert_eq!(
        of("more-sources")?["sources"],
        json!([
            volume,
            {"path": "/var/crash"},
            {"path": "/var/dumps", "layout": "{namespace}/{pod}/{container}"},
            {"kubelet_volumes": {"volume": "dumps"}},
        ])
    );
    assert_eq!(
        of("stored-in-minio-with-keys")?["store"],
        json!({"url": "s3://my-crashes/prod", "region": "eu-central-1", "endpoint": "http://minio.minio.svc:9000", "path_style": true})
    );
    assert_eq!(
        of("stored-behind-a-private-authority")?["store"]["path_style"],
        json!(false)
    );
    assert_eq!(
        of("stored-on-a-claim")?["store"],
        json!({"url": "file:///mnt/crashes"})
    );
    let all = of("every-key-of-the-agent")?;
    assert_eq!(all["shutdown"]["grace_period"], "100s");
    assert_eq!(all["kubernetes"]["enabled"], json!(true));
    assert_eq!(
        all["kubernetes"]["selection"]["pods"]["matchLabels"],
        json!({"team": "a"})
    );
    assert_eq!(
        of("without-kubernetes")?["kubernetes"],
        json!({"enabled": false})
    );
    assert_eq!(of("captures")?["captures"], json!({"enabled": true}));
    let more = of("more-of-everything")?;
    assert_eq!(
        (&more["listen"], &more["state_dir"]),
        (&json!("[::]:9464"), &json!("/data/salvage"))
    );
    Ok(())
}

/// The kubelet gives the pod more time than the agent takes, or it is killed while it saves.
#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn the_agent_stops_before_its_pod_is_killed() -> Result<()> {
    let seconds = [20, 30, 60, 600, 3600];
    let cases = seconds.map(|seconds| {
        (
            seconds,
            Case::of(json!({"terminationGracePeriodSeconds": seconds})),
        )
    });
    for (name, rendered) in render(cases)? {
        let rendered = rendered.map_err(anyhow::Error::msg)?;
        let config: Value = serde_saphyr::from_str(rendered.config()?)?;
        let grace = config["shutdown"]["grace_period"]
            .as_str()
            .context("a period")?;
        let grace: u64 = grace.trim_end_matches('s').parse()?;
        let pod = rendered.pod()?["spec"]["terminationGracePeriodSeconds"]
            .as_u64()
            .context("a number")?;
        assert_eq!(pod.to_string(), name);
        ensure!(grace >= 10 && grace + 5 <= pod, "{grace} s of {pod} s");
    }
    Ok(())
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn pods_are_replaced_when_what_they_read_at_start_changes_and_not_otherwise() -> Result<()> {
    let keys = |secret: &str| json!({"store": {"credentials": {"accessKeyId": "AKIA", "secretAccessKey": secret}}});
    // Each changes what the agent reads at its start.
    let read = [
        json!({"cluster": "prod-us"}),
        json!({"store": {"url": "s3://other"}}),
        json!({"store": {"region": "us-east-1"}}),
        json!({"store": {"endpoint": "https://minio"}}),
        json!({"store": {"pathStyle": true}}),
        json!({"sources": [{"path": "/var/crash"}]}),
        json!({"config": {"spool": {"max_use": "1GiB"}}}),
        json!({"config": {"kubernetes": {"events": false}}}),
        json!({"injection": {"volume": "hostPath"}}),
        json!({"captures": {"enabled": true}}),
        json!({"stateDir": "/data"}),
        json!({"listenAddress": "127.0.0.1"}),
        keys("one"),
        keys("two"),
    ];
    // None of these does.
    let not_read = [
        json!({}),
        json!({"monitoring": {"enabled": true}}),
        json!({"networkPolicy": {"enabled": true}}),
        json!({"injection": {"enabled": false}}),
        json!({"injection": {"runtimes": ["java"]}}),
        json!({"image": {"tag": "0.2.0"}}),
        json!({"resources": {"limits": {"memory": "1Gi"}}}),
        json!({"podAnnotations": {"a": "b"}}),
        json!({"serviceAccount": {"annotations": {"a": "b"}}}),
        json!({"log": "debug"}),
        json!({"store": {"credentials": {"existingSecret": "keys"}}}),
    ];
    let name = |what: &str, n: usize| format!("{what} {n}");
    let cases = read
        .iter()
        .enumerate()
        .map(|(n, values)| (name("read", n), Case::of(values.clone())));
    let others = not_read
        .iter()
        .enumerate()
        .map(|(n, values)| (name("not read", n), Case::of(values.clone())));
    let all = render(cases.chain(others))?;
    let sums = |name: &str| -> Result<Value> {
        let rendered: &Rendered = all[name]
            .as_ref()
            .map_err(|why| anyhow::anyhow!("{name}: {why}"))?;
        let annotations = &rendered.pod()?["metadata"]["annotations"];
        Ok(json!([
            annotations["checksum/config"],
            annotations["checksum/credentials"]
        ]))
    };
    let before = sums("not read 0")?;
    ensure!(
        before[0].as_str().is_some_and(|sum| sum.len() == 64) && before[1].is_null(),
        "{before}"
    );
    let mut different = vec![before.clone()];
    for (n, values) in not_read.iter().enumerate() {
        assert_eq!(sums(&name("not read", n))?, before, "{values}");
    }
    for (n, values) in read.iter().enumerate() {
        let sums = sums(&name("read", n))?;
        ensure!(!different.contains(&sums), "{values} replaces no pod");
        different.push(sums);
    }
    Ok(())
}
