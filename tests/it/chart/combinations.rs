//! The combinations of values that every test looks at: the value files of the platforms, and values that people combine.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Case, chart};

/// The one that the others are compared with.
pub(super) const DEFAULTS: &str = "defaults";

/// Every combination by its name; a value file has its own.
pub(super) fn all() -> Result<Vec<(String, Case)>> {
    let mut all: Vec<_> = named()
        .into_iter()
        .map(|(name, case)| (name.to_owned(), case.linted()))
        .collect();
    for entry in std::fs::read_dir(chart())? {
        let name = entry?.file_name().into_string().ok().context("UTF-8")?;
        if let Some(platform) = name.strip_prefix("values-") {
            let platform = platform.strip_suffix(".yaml").context("a value file")?;
            all.push((platform.to_owned(), Case::file(&name).linted()));
        }
    }
    Ok(all)
}

fn named() -> Vec<(&'static str, Case)> {
    let of = |values: Value| Case::of(values);
    vec![
        (DEFAULTS, of(json!({}))),
        (
            "injection-on-host-path",
            of(json!({"injection": {"volume": "hostPath"}})),
        ),
        (
            "injection-on-another-host-path",
            of(
                json!({"injection": {"volume": "hostPath", "hostPath": "/data/dumps", "runtimes": ["node"]}}),
            ),
        ),
        (
            "injection-v1beta1",
            of(json!({"injection": {"apiVersion": "v1beta1"}})),
        ),
        (
            "injection-off",
            of(json!({"injection": {"enabled": false}})),
        ),
        (
            "injection-off-and-host-path",
            of(json!({"injection": {"enabled": false, "volume": "hostPath"}})),
        ),
        (
            "injection-of-java-bounded",
            of(json!({"injection": {"sizeLimit": "10Gi", "runtimes": ["java"]}})),
        ),
        (
            "injection-of-full-dotnet-dumps",
            of(json!({"injection": {"runtimes": ["dotnet"], "dotnet": {"dumpType": 4}}})),
        ),
        (
            "injection-of-a-volume-alone",
            of(json!({"injection": {"runtimes": []}})),
        ),
        (
            "more-sources",
            of(json!({"sources": [
                {"path": "/var/crash"},
                {"path": "/var/dumps", "layout": "{namespace}/{pod}/{container}"},
                {"kubelet_volumes": {"volume": "dumps"}},
            ]})),
        ),
        (
            "stored-on-a-claim",
            of(json!({"store": {
                "url": "file:///mnt/crashes", "region": "",
                "volume": {"persistentVolumeClaim": {"claimName": "crashes"}},
            }})),
        ),
        (
            "stored-in-minio-with-keys",
            of(json!({"store": {
                "endpoint": "http://minio.minio.svc:9000", "pathStyle": true,
                "credentials": {"accessKeyId": "AKIAEXAMPLE", "secretAccessKey": "0123456789+/="},
            }})),
        ),
        (
            "stored-behind-a-private-authority",
            of(json!({"store": {
                "endpoint": "https://minio.example:9000", "pathStyle": false, "caConfigMap": "company-ca",
                "credentials": {"existingSecret": "store-keys"},
            }})),
        ),
        (
            "monitored-by-pod",
            of(
                json!({"monitoring": {"enabled": true, "labels": {"release": "kube-prometheus-stack"}}}),
            ),
        ),
        (
            "monitored-by-service",
            of(json!({"monitoring": {
                "enabled": true,
                "monitor": {"kind": "ServiceMonitor", "interval": "1m"},
                "dashboards": {"labels": {"grafana_dashboard": "yes"}, "annotations": {"folder": "crashes"}},
            }})),
        ),
        (
            "dashboards-alone",
            of(
                json!({"monitoring": {"enabled": true, "monitor": {"kind": "none"}, "rules": {"enabled": false}}}),
            ),
        ),
        ("captures", of(json!({"captures": {"enabled": true}}))),
        (
            "captures-on-openshift",
            of(
                json!({"captures": {"enabled": true, "crd": false, "aggregateToAdmin": true}, "openshift": {"enabled": true}}),
            ),
        ),
        (
            "network-policy",
            of(json!({
                "store": {"endpoint": "https://minio.example:9000"},
                "networkPolicy": {
                    "enabled": true,
                    "scrapeFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
                    "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 3128, "protocol": "TCP"}]}],
                },
            })),
        ),
        (
            "network-policy-as-it-is",
            of(json!({"networkPolicy": {"enabled": true}})),
        ),
        (
            "priority",
            of(json!({"priorityClass": {"create": true, "value": 500_000}})),
        ),
        (
            "priority-that-is-there",
            of(json!({"priorityClass": {"name": "system-node-critical"}})),
        ),
        (
            "without-events",
            of(json!({"config": {"kubernetes": {"events": false}}})),
        ),
        (
            "without-kubernetes",
            of(json!({"config": {"kubernetes": {"enabled": false}}})),
        ),
        (
            "openshift-by-hand",
            of(
                json!({"openshift": {"enabled": true}, "seLinuxOptions": {"type": "spc_t", "level": "s0"}}),
            ),
        ),
        (
            "every-key-of-the-agent",
            of(json!({
                "terminationGracePeriodSeconds": 120,
                "config": {
                    "compression": {"level": 3, "workers": 2},
                    "spool": {"max_use": "50GiB", "keep_free": "10GiB", "keep_free_inodes": 20_000},
                    "limits": {"max_dump_size": "1TiB", "max_dump_data": "128GiB"},
                    "settle": {"quiet_period": "1m", "limit": "20m"},
                    "shutdown": {"grace_period": "100s"},
                    "kubernetes": {
                        "kubelet_dir": "/var/lib/k0s/kubelet", "pod_logs_dir": "/data/log/pods", "start_jitter": "30s",
                        "join_window": "1m", "keep_gone_pods": "12h", "labels": ["app", "team"],
                        "log": {"enabled": true, "lines": 1000, "max_bytes": "2MiB", "exclude_namespaces": ["vault"]},
                        "selection": {
                            "namespaces": ["shop", "pay"], "exclude_namespaces": ["kube-system"], "unknown": "ship",
                            "pods": {"matchLabels": {"team": "a"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["web"]}]},
                        },
                    },
                },
            })),
        ),
        (
            "names-of-its-own",
            of(json!({"nameOverride": "dumps", "fullnameOverride": "crash-keeper"}))
                .named("tools", "ops"),
        ),
        (
            "a-release-with-a-long-name",
            of(json!({"monitoring": {"enabled": true}, "priorityClass": {"create": true}})).named(
                "a-release-whose-name-is-as-long-as-helm-lets-it-be-53",
                "a-namespace-whose-name-is-as-long-as-kubernetes-lets-it-be-63x",
            ),
        ),
        (
            "an-account-that-is-there",
            of(
                json!({"serviceAccount": {"create": false, "name": "crash-reader"}, "rbac": {"create": false}}),
            ),
        ),
        (
            "an-account-with-a-role",
            of(
                json!({"serviceAccount": {"name": "keeper", "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/salvage"}}}),
            ),
        ),
        (
            "more-of-everything",
            of(json!({
                "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}, {"name": "NO_PROXY", "value": "10.0.0.0/8"}],
                "extraEnvFrom": [{"secretRef": {"name": "store-keys"}}],
                "extraVolumes": [{"name": "aws", "secret": {"secretName": "aws-config"}}],
                "extraVolumeMounts": [{"name": "aws", "mountPath": "/etc/aws", "readOnly": true}],
                "podLabels": {"team": "platform"}, "podAnnotations": {"sidecar.istio.io/inject": "false"},
                "imagePullSecrets": [{"name": "registry"}],
                "log": "salvage::ship=debug,info", "listenAddress": "[::]", "stateDir": "/data/salvage",
            })),
        ),
        (
            "image-by-digest",
            of(json!({"image": {
                "repository": "registry.example/salvage", "tag": "0.1.0-rc.1", "pullPolicy": "Always",
                "digest": format!("sha256:{}", "0123456789abcdef".repeat(4)),
            }})),
        ),
        (
            "on-some-nodes",
            of(json!({
                "nodeSelector": {"pool": "apps"}, "tolerations": [], "affinity": {"nodeAffinity": null},
                "updateStrategy": {"type": "OnDelete", "rollingUpdate": null},
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "512Mi"}},
                "test": {"tolerations": [{"operator": "Exists"}]},
            })),
        ),
    ]
}
