//! What the agent's pod may do: asserted whole, so that nothing can be added beside it, in every combination.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Document, Rendered, every, walk};

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn the_agent_has_four_capabilities_and_for_captures_a_fifth() -> Result<()> {
    for (name, rendered) in every()? {
        let spec = &rendered.pod()?["spec"];
        let pod =
            json!({"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}});
        assert_eq!(spec["securityContext"], pod, "{name}");

        let containers = spec["containers"].as_array().context("containers")?;
        ensure!(
            containers.len() == 1 && spec.get("initContainers").is_none(),
            "{name}: {containers:#?}"
        );
        let mut expected = json!({
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": ["DAC_READ_SEARCH", "DAC_OVERRIDE", "FOWNER", "LEASE"]},
        });
        if takes_captures(name) {
            let add = expected["capabilities"]["add"].as_array_mut();
            add.context("a list")?.push(json!("SYS_PTRACE"));
        }
        match name.as_str() {
            "openshift" | "captures-on-openshift" => {
                expected["seLinuxOptions"] = json!({"type": "spc_t"})
            }
            "openshift-by-hand" => {
                expected["seLinuxOptions"] = json!({"type": "spc_t", "level": "s0"})
            }
            _ => {}
        }
        assert_eq!(containers[0]["securityContext"], expected, "{name}");
        assert_eq!(containers[0]["name"], "agent", "{name}");
        assert_eq!(
            containers[0]["args"],
            json!([
                "agent",
                "--config",
                "/etc/salvage/salvage.yaml",
                "--log-format",
                "json"
            ]),
            "{name}"
        );
        // The image's own entrypoint: there is no shell to run anything else.
        ensure!(containers[0].get("command").is_none(), "{name}");
    }
    Ok(())
}

/// The combinations with captures. What is asserted of them is what that one value adds.
fn takes_captures(name: &str) -> bool {
    name.starts_with("captures")
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn no_pod_shares_a_namespace_of_the_node_but_for_captures_that_of_processes() -> Result<()> {
    for (name, rendered) in every()? {
        for document in &rendered.documents {
            let mut found = Vec::new();
            walk(&document.object, "", &mut |path, value| {
                let key = path.rsplit('/').next().unwrap_or_default();
                let forbidden = [
                    "hostPID",
                    "hostIPC",
                    "hostNetwork",
                    "hostUsers",
                    "hostPort",
                    "sysctls",
                    "procMount",
                ];
                if forbidden.contains(&key) || (key == "privileged" && *value != json!(false)) {
                    found.push(path.to_owned());
                }
            });
            let expected: &[&str] = if takes_captures(name) && document.kind() == "DaemonSet" {
                &["/spec/template/spec/hostPID"]
            } else {
                &[]
            };
            assert_eq!(found, expected, "{name}: {}", document.id());
        }
    }
    Ok(())
}

/// Everything that the value adds, by what the defaults are without it.
#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn captures_add_what_is_listed_and_nothing_else() -> Result<()> {
    let of = |name: &str| every()?.get(name).with_context(|| name.to_owned());
    let (before, after) = (of("defaults")?, of("captures")?);
    let by_id = |rendered: &Rendered| -> BTreeMap<String, Value> {
        let documents = rendered.documents.iter();
        documents
            .map(|document| (document.id(), document.object.clone()))
            .collect()
    };
    let (before, mut after) = (by_id(before), by_id(after));
    let added: Vec<_> = after
        .keys()
        .filter(|id| !before.contains_key(*id))
        .collect();
    assert_eq!(
        added,
        [
            "ClusterRole/salvage-capture",
            "CustomResourceDefinition/captures.salvage.dev"
        ]
    );
    let people = &after["ClusterRole/salvage-capture"];
    let all = json!(["create", "get", "list", "watch", "delete"]);
    let rule = json!([{"apiGroups": ["salvage.dev"], "resources": ["captures"], "verbs": all}]);
    assert_eq!(people["rules"], rule);
    ensure!(people.get("aggregationRule").is_none(), "{people}");

    let set = after.get_mut("DaemonSet/salvage").context("the agent")?;
    let template = &mut set["spec"]["template"];
    let spec = template["spec"].as_object_mut().context("a pod")?;
    assert_eq!(spec.remove("hostPID"), Some(json!(true)));
    let add = &mut spec["containers"][0]["securityContext"]["capabilities"]["add"];
    let last = add.as_array_mut().context("capabilities")?.pop();
    assert_eq!(last, Some(json!("SYS_PTRACE")));
    let set = "DaemonSet/salvage";
    let checksum = "/spec/template/metadata/annotations/checksum~1config";
    let before_sum = before[set].pointer(checksum).context("a checksum")?;
    let after_sum = after.get_mut(set).and_then(|set| set.pointer_mut(checksum));
    *after_sum.context("a checksum")? = before_sum.clone();
    let role = after.get_mut("ClusterRole/salvage").context("a role")?;
    let rules = role["rules"].as_array_mut().context("rules")?;
    let status = json!({"apiGroups": ["salvage.dev"], "resources": ["captures/status"], "verbs": ["get", "update", "patch"]});
    let captures = json!({"apiGroups": ["salvage.dev"], "resources": ["captures"], "verbs": ["get", "list", "watch", "delete"]});
    assert_eq!((rules.pop(), rules.pop()), (Some(status), Some(captures)));
    let config = after.get_mut("ConfigMap/salvage").context("a ConfigMap")?;
    let text = &mut config["data"]["salvage.yaml"];
    let without = text
        .as_str()
        .context("text")?
        .replace("captures:\n  enabled: true\n", "");
    *text = json!(without);
    for (id, object) in &before {
        assert_eq!(after.get(id), Some(object), "{id}");
    }
    Ok(())
}

/// On OpenShift the agent may have what captures need exactly where they are on; who is admin of a namespace may capture only if a value says so.
#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn openshift_and_admins_are_given_captures_by_their_values() -> Result<()> {
    for (name, rendered) in every()? {
        for constraints in rendered.all("SecurityContextConstraints") {
            let object = &constraints.object;
            assert_eq!(object["allowHostPID"], takes_captures(name), "{name}");
            let allowed = &object["allowedCapabilities"];
            let given = &rendered.pod()?["spec"]["containers"][0]["securityContext"];
            assert_eq!(*allowed, given["capabilities"]["add"], "{name}");
        }
        for role in rendered.all("ClusterRole") {
            let labels = &role.object["metadata"]["labels"];
            let is_given = labels
                .get("rbac.authorization.k8s.io/aggregate-to-admin")
                .is_some();
            let expected = name == "captures-on-openshift" && role.name() == "salvage-capture";
            assert_eq!(is_given, expected, "{name}: {}", role.id());
        }
    }
    Ok(())
}

/// The pod that `helm test` starts must run where Pod Security is `restricted`.
#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn the_crash_test_is_an_ordinary_application() -> Result<()> {
    let mut pods = 0;
    for (name, rendered) in every()? {
        for pod in rendered.all("Pod") {
            pods += 1;
            let wrong = super::policy::against_restricted(&pod.object["spec"]);
            ensure!(wrong.is_empty(), "{name}: {wrong:?}");
        }
    }
    ensure!(pods > 20, "{pods} pods");
    Ok(())
}

/// The volumes of the agent with their mounts, as `docs/security.md` lists them: name, source, mount.
fn expected_volumes(name: &str) -> Vec<(&'static str, Value, Value)> {
    let directory = |path: &str, kind: &str| json!({"hostPath": {"path": path, "type": kind}});
    let made = |path: &str| directory(path, "DirectoryOrCreate");
    let watched = |path: &str| json!({"mountPath": path, "mountPropagation": "HostToContainer"});
    let read = |path: &str| json!({"mountPath": path, "readOnly": true});
    let configuration = match name {
        "names-of-its-own" => "crash-keeper",
        "a-release-with-a-long-name" => "a-release-whose-name-is-as-long-as-helm",
        _ => "salvage",
    };
    let (state, pods, logs) = match name {
        "more-of-everything" => ("/data/salvage", "/var/lib/kubelet/pods", "/var/log/pods"),
        "every-key-of-the-agent" => (
            "/var/lib/salvage",
            "/var/lib/k0s/kubelet/pods",
            "/data/log/pods",
        ),
        _ => ("/var/lib/salvage", "/var/lib/kubelet/pods", "/var/log/pods"),
    };
    let mut volumes = vec![
        (
            "config",
            json!({"configMap": {"name": configuration}}),
            read("/etc/salvage"),
        ),
        ("state", made(state), json!({"mountPath": state})),
        ("kubelet-pods", directory(pods, "Directory"), watched(pods)),
    ];
    if name != "without-kubernetes" {
        volumes.push(("pod-logs", directory(logs, "Directory"), read(logs)));
    }
    match name {
        "injection-on-host-path" | "injection-off-and-host-path" => {
            let path = "/var/lib/salvage-dumps";
            volumes.push(("source-0", made(path), watched(path)));
        }
        "injection-on-another-host-path" => {
            volumes.push(("source-0", made("/data/dumps"), watched("/data/dumps")));
        }
        "more-sources" => {
            volumes.push(("source-0", made("/var/crash"), watched("/var/crash")));
            volumes.push(("source-1", made("/var/dumps"), watched("/var/dumps")));
        }
        "kind" => {
            let path = "/var/lib/salvage-store";
            volumes.push(("store", made(path), json!({"mountPath": path})));
        }
        "stored-on-a-claim" => {
            let claim = json!({"persistentVolumeClaim": {"claimName": "crashes"}});
            volumes.push(("store", claim, json!({"mountPath": "/mnt/crashes"})));
        }
        "stored-behind-a-private-authority" => {
            let authority = json!({"configMap": {"name": "company-ca"}});
            volumes.push(("store-ca", authority, read("/etc/salvage-ca")));
        }
        "more-of-everything" => {
            let secret = json!({"secret": {"secretName": "aws-config"}});
            volumes.push(("aws", secret, read("/etc/aws")));
        }
        _ => {}
    }
    volumes
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn the_agent_sees_the_directories_that_it_needs_and_no_others() -> Result<()> {
    for (name, rendered) in every()? {
        let spec = &rendered.pod()?["spec"];
        let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
        for (volume, source, mount) in expected_volumes(name) {
            let named = |value: Value| {
                let mut named = json!({"name": volume});
                super::merge(&mut named, value);
                named
            };
            volumes.push(named(source));
            mounts.push(named(mount));
        }
        assert_eq!(spec["volumes"], Value::from(volumes), "{name}");
        assert_eq!(
            spec["containers"][0]["volumeMounts"],
            Value::from(mounts),
            "{name}"
        );
    }
    Ok(())
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn the_environment_names_the_pod_and_carries_keys_by_reference_only() -> Result<()> {
    for (name, rendered) in every()? {
        let env = &rendered.pod()?["spec"]["containers"][0]["env"];
        let of_pod = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let log = match name.as_str() {
            "more-of-everything" => "salvage::ship=debug,info",
            _ => "info",
        };
        let mut expected = vec![
            of_pod("SALVAGE_NODE", "spec.nodeName"),
            of_pod("SALVAGE_POD_NAMESPACE", "metadata.namespace"),
            of_pod("SALVAGE_POD_NAME", "metadata.name"),
            json!({"name": "SALVAGE_LOG", "value": log}),
        ];
        let keys = match name.as_str() {
            "stored-in-minio-with-keys" => Some("salvage-store"),
            "stored-behind-a-private-authority" => Some("store-keys"),
            "gke" | "aks" | "openshift" => Some("salvage-store"),
            _ => None,
        };
        for key in keys
            .iter()
            .flat_map(|_| ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
        {
            expected.push(
                json!({"name": key, "valueFrom": {"secretKeyRef": {"name": keys, "key": key}}}),
            );
        }
        match name.as_str() {
            "stored-behind-a-private-authority" => {
                expected.push(json!({"name": "SSL_CERT_FILE", "value": "/etc/salvage-ca/ca.crt"}));
            }
            "more-of-everything" => {
                expected.push(json!({"name": "HTTPS_PROXY", "value": "http://proxy:3128"}));
                expected.push(json!({"name": "NO_PROXY", "value": "10.0.0.0/8"}));
            }
            _ => {}
        }
        assert_eq!(*env, Value::from(expected), "{name}");
    }
    Ok(())
}

fn rules(rendered: &Rendered, kind: &str) -> Vec<Value> {
    let roles = rendered.all(kind);
    let rules = roles
        .iter()
        .filter_map(|role| role.object["rules"].as_array());
    rules.flatten().cloned().collect()
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn the_cluster_gives_it_pods_to_watch_and_events_to_create() -> Result<()> {
    for (name, rendered) in every()? {
        let pods = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]});
        let events = |verb: &str| json!({"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": [verb]});
        let of_cluster = match name.as_str() {
            "without-kubernetes" | "an-account-that-is-there" => vec![],
            "without-events" => vec![pods],
            "captures" | "captures-on-openshift" => {
                let of_captures = |resource: &str, verbs: &[&str]| json!({"apiGroups": ["salvage.dev"], "resources": [resource], "verbs": verbs});
                vec![
                    pods,
                    events("create"),
                    of_captures("captures", &["get", "list", "watch", "delete"]),
                    of_captures("captures/status", &["get", "update", "patch"]),
                    // That of people, which nobody is bound to.
                    of_captures("captures", &["create", "get", "list", "watch", "delete"]),
                ]
            }
            _ => vec![pods, events("create")],
        };
        let bound = !of_cluster.is_empty();
        assert_eq!(rules(rendered, "ClusterRole"), of_cluster, "{name}");
        assert_eq!(
            rendered.all("ClusterRoleBinding").len(),
            usize::from(bound),
            "{name}"
        );

        // The pod of `helm test` looks for the Event of its crash, in its own namespace and with an account of its own.
        let of_test = match name.as_str() {
            "without-kubernetes" | "without-events" => vec![],
            _ => vec![events("list")],
        };
        assert_eq!(rules(rendered, "Role"), of_test, "{name}");

        let pod = &rendered.pod()?["spec"];
        let account = pod["serviceAccountName"].as_str().context("an account")?;
        assert_eq!(
            pod["automountServiceAccountToken"],
            json!(name != "without-kubernetes"),
            "{name}"
        );
        for binding in rendered
            .all("ClusterRoleBinding")
            .into_iter()
            .chain(rendered.all("RoleBinding"))
        {
            let role = binding.object["roleRef"]["name"]
                .as_str()
                .context("a role")?;
            let kind = binding.object["roleRef"]["kind"]
                .as_str()
                .context("a kind")?;
            let there = rendered
                .all(kind)
                .iter()
                .any(|document| document.name() == role);
            ensure!(there, "{name}: {} binds {kind}/{role}", binding.id());
        }
        for binding in rendered.all("ClusterRoleBinding") {
            let namespace = namespace_of(rendered)?;
            let subject =
                json!([{"kind": "ServiceAccount", "name": account, "namespace": namespace}]);
            assert_eq!(binding.object["subjects"], subject, "{name}");
        }
        // Nobody else's pod gets the token by naming the account.
        for account in rendered.all("ServiceAccount") {
            assert_eq!(
                account.object["automountServiceAccountToken"],
                json!(false),
                "{name}"
            );
        }
    }
    Ok(())
}

fn namespace_of(rendered: &Rendered) -> Result<&str> {
    let set = rendered.one("DaemonSet")?;
    set["metadata"]["namespace"].as_str().context("a namespace")
}

/// What the API server would refuse or silently merge, which no schema says.
#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn volumes_mounts_and_variables_of_each_pod_are_there_once() -> Result<()> {
    for (name, rendered) in every()? {
        let pods = rendered
            .all("Pod")
            .into_iter()
            .map(|pod: &Document| &pod.object["spec"]);
        for spec in pods.chain([&rendered.pod()?["spec"]]) {
            let list = |value: &Value, key: &str| -> Vec<String> {
                let items = value.as_array().into_iter().flatten();
                items
                    .filter_map(|item| item[key].as_str())
                    .map(str::to_owned)
                    .collect()
            };
            let once = |mut all: Vec<String>| {
                let count = all.len();
                all.sort();
                all.dedup();
                all.len() == count
            };
            let container = &spec["containers"][0];
            let volumes = list(&spec["volumes"], "name");
            ensure!(once(volumes.clone()), "{name}: {volumes:?}");
            let mounts = &container["volumeMounts"];
            ensure!(once(list(mounts, "mountPath")), "{name}: {mounts:#}");
            ensure!(
                once(list(&container["env"], "name")),
                "{name}: {:#}",
                container["env"]
            );
            for mounted in list(mounts, "name") {
                ensure!(volumes.contains(&mounted), "{name}: no volume {mounted}");
            }
        }
    }
    Ok(())
}
