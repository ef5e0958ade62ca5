//! The injection: the rendered policy applied to pods as the API server does it, its expressions evaluated by Google's CEL.
//!
//! `tests/tools/policy.py` is the API server; its head says what of Kubernetes' own is mapped there and so not proven.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, Document, every, rendered, repository, tool, types, walk};

/// What came of a pod: the bindings that met it, and the pod.
#[derive(Debug)]
struct Admitted {
    met: Vec<String>,
    pod: Value,
    operations: u64,
}

/// A namespace with labels.
fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

fn enabled() -> Value {
    namespace("shop", json!({"salvage.dev/dumps": "enabled"}))
}

fn request(pod: &Value, namespace: &Value) -> Value {
    json!({"pod": pod, "namespace": namespace})
}

/// A pod of these containers; `more` is laid over it.
fn pod(containers: Value, more: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "cart-1", "namespace": "shop"},
        "spec": {"containers": containers},
    });
    super::merge(&mut pod, more);
    pod
}

/// One container, and what it says besides its name and image.
fn container(name: &str, more: Value) -> Value {
    let mut container = json!({"name": name, "image": "registry.example/app:1"});
    super::merge(&mut container, more);
    container
}

/// The pods after admission, by the names of their requests, or why the API server would go on without the policy.
fn admit(
    objects: &[Value],
    requests: &[(&str, Value)],
) -> Result<BTreeMap<String, std::result::Result<Admitted, String>>> {
    let python = std::env::var("SALVAGE_TEST_PYTHON")
        .context("SALVAGE_TEST_PYTHON is not set: eval \"$(tests/provision)\"")?;
    let requests: serde_json::Map<_, _> = requests
        .iter()
        .map(|(name, request)| ((*name).to_owned(), request.clone()))
        .collect();
    let told = json!({"objects": objects, "requests": requests});
    let answers = tool(&python, "policy.py", &told)?;
    let answers = answers.as_object().context("answers")?;
    answers
        .iter()
        .map(|(name, answer)| {
            let admitted = match answer["error"].as_str() {
                Some(why) => Err(why.to_owned()),
                None => Ok(Admitted {
                    met: serde_json::from_value(answer["met"].clone())?,
                    pod: answer["pod"].clone(),
                    operations: answer["operations"].as_u64().context("a number")?,
                }),
            };
            Ok((name.clone(), admitted))
        })
        .collect()
}

/// Policy and bindings that the chart renders with these values.
fn policy(values: Value) -> Result<Vec<Value>> {
    let rendered = rendered(Case::of(values))?;
    let documents = rendered.documents.iter();
    let objects: Vec<_> = documents
        .filter(|document| document.kind().starts_with("MutatingAdmissionPolicy"))
        .map(|document: &Document| document.object.clone())
        .collect();
    ensure!(
        objects.len() == 3,
        "a policy with two bindings: {objects:#?}"
    );
    Ok(objects)
}

/// Pods after admission to the chart's policy; none may fail.
fn injected(values: Value, requests: &[(&str, Value)]) -> Result<BTreeMap<String, Admitted>> {
    let admitted = admit(&policy(values)?, requests)?;
    admitted
        .into_iter()
        .map(|(name, admitted)| {
            let admitted = admitted.map_err(|why| anyhow::anyhow!("{name}: {why}"))?;
            Ok((name, admitted))
        })
        .collect()
}

/// One pod in an enabled namespace.
fn injected_one(values: Value, pod: &Value) -> Result<Value> {
    let mut all = injected(values, &[("it", request(pod, &enabled()))])?;
    Ok(all.remove("it").context("an answer")?.pod)
}

/// The environment that a container without any gets.
fn environment() -> Vec<Value> {
    let variable = |name: &str, value: &str| json!({"name": name, "value": value});
    vec![
        variable("DOTNET_DbgEnableMiniDump", "1"),
        variable("COMPlus_DbgEnableMiniDump", "1"),
        variable("DOTNET_DbgMiniDumpType", "2"),
        variable("COMPlus_DbgMiniDumpType", "2"),
        variable("DOTNET_DbgMiniDumpName", "/var/salvage/%h.%e.%p.%t.dmp"),
        variable("COMPlus_DbgMiniDumpName", "/var/salvage/core.%d"),
        variable("DOTNET_EnableCrashReport", "1"),
        variable("COMPlus_EnableCrashReport", "1"),
        variable(
            "JAVA_TOOL_OPTIONS",
            "-XX:+HeapDumpOnOutOfMemoryError -XX:HeapDumpPath=/var/salvage -XX:ErrorFile=/var/salvage/hs_err_pid%p.log",
        ),
        variable(
            "NODE_OPTIONS",
            "--report-on-fatalerror --report-uncaught-exception --report-directory=/var/salvage",
        ),
    ]
}

fn mount(container: &str) -> Value {
    json!({"name": "salvage-dumps", "mountPath": "/var/salvage", "subPath": container})
}

/// The environment of a container as names with values.
fn variables(container: &Value) -> BTreeMap<&str, &str> {
    let all = container["env"].as_array().into_iter().flatten();
    all.filter_map(|variable| Some((variable["name"].as_str()?, variable["value"].as_str()?)))
        .collect()
}

#[test]
#[ignore = "needs Helm and CEL; tests/run provisions them"]
fn a_plain_pod_gets_volume_mount_and_environment() -> Result<()> {
    let plain = pod(json!([container("app", json!({}))]), json!({}));
    let expected = pod(
        json!([container(
            "app",
            json!({"env": environment(), "volumeMounts": [mount("app")]})
        )]),
        json!({
            "metadata": {"annotations": {
                "salvage.dev/injected": "emptyDir",
                "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "salvage-dumps",
            }},
            "spec": {"volumes": [{"name": "salvage-dumps", "emptyDir": {}}]},
        }),
    );
    assert_eq!(injected_one(json!({}), &plain)?, expected);

    let bounded = injected_one(
        json!({"injection": {"sizeLimit": "10Gi", "runtimes": ["java"]}}),
        &plain,
    )?;
    assert_eq!(
        bounded["spec"]["volumes"],
        json!([{"name": "salvage-dumps", "emptyDir": {"sizeLimit": "10Gi"}}])
    );
    assert_eq!(
        bounded["spec"]["containers"][0]["env"],
        json!([environment()[8]])
    );
    let volume_alone = injected_one(json!({"injection": {"runtimes": []}}), &plain)?;
    let only = container("app", json!({"volumeMounts": [mount("app")]}));
    assert_eq!(volume_alone["spec"]["containers"], json!([only]));
    Ok(())
}

#[test]
#[ignore = "needs Helm and CEL; tests/run provisions them"]
fn what_a_pod_says_itself_stays() -> Result<()> {
    let env = |name: &str, value: &str| json!({"name": name, "value": value});
    let own_path = json!([{"name": "data", "mountPath": "/var/salvage"}]);
    let above = json!([{"name": "data", "mountPath": "/var"}]);
    let below = json!([{"name": "data", "mountPath": "/var/salvage/deep/"}]);
    let beside = json!([{"name": "data", "mountPath": "/var/salvage2"}]);
    let containers = json!([
        container(
            "opted-out",
            json!({"env": [env("DOTNET_DbgEnableMiniDump", "0")]})
        ),
        container(
            "old-prefix",
            json!({"env": [env("COMPlus_DbgMiniDumpName", "/tmp/core")]})
        ),
        container(
            "own-options",
            json!({"env": [env("JAVA_TOOL_OPTIONS", "-Xmx1g"), env("NODE_OPTIONS", "--inspect")]})
        ),
        container(
            "options-from-elsewhere",
            json!({"envFrom": [{"configMapRef": {"name": "options"}}]})
        ),
        container(
            "by-reference",
            json!({"env": [{"name": "NODE_OPTIONS", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}]})
        ),
        container("own-mount", json!({"volumeMounts": own_path})),
        container("mount-above", json!({"volumeMounts": above})),
        container("mount-below", json!({"volumeMounts": below})),
        container("mount-beside", json!({"volumeMounts": beside})),
    ]);
    let data = json!({"spec": {"volumes": [{"name": "data", "emptyDir": {}}]}});
    let before = pod(containers, data);
    let after = injected_one(json!({}), &before)?;
    let container = |name: &str| -> Result<&Value> {
        let all = after["spec"]["containers"]
            .as_array()
            .context("containers")?;
        all.iter()
            .find(|container| container["name"] == name)
            .with_context(|| name.to_owned())
    };

    // All that was there is there, where it was.
    let mut missing = Vec::new();
    walk(&before, "", &mut |path, value| {
        let leaf = !value.is_object() && !value.is_array();
        if leaf && after.pointer(path) != Some(value) {
            missing.push(path.to_owned());
        }
    });
    ensure!(missing.is_empty(), "{missing:?} of {before:#} in {after:#}");

    let opted_out = variables(container("opted-out")?);
    assert_eq!(opted_out["DOTNET_DbgEnableMiniDump"], "0");
    ensure!(
        !opted_out.contains_key("COMPlus_DbgEnableMiniDump"),
        "the other prefix says otherwise: {opted_out:?}"
    );
    let old = variables(container("old-prefix")?);
    assert_eq!(old["COMPlus_DbgMiniDumpName"], "/tmp/core");
    // It would win over the name that the pod chose.
    ensure!(!old.contains_key("DOTNET_DbgMiniDumpName"), "{old:?}");
    assert_eq!(old["DOTNET_DbgEnableMiniDump"], "1");
    let options = variables(container("own-options")?);
    assert_eq!(
        (options["JAVA_TOOL_OPTIONS"], options["NODE_OPTIONS"]),
        ("-Xmx1g", "--inspect")
    );
    let elsewhere = variables(container("options-from-elsewhere")?);
    ensure!(
        !elsewhere.contains_key("JAVA_TOOL_OPTIONS") && !elsewhere.contains_key("NODE_OPTIONS"),
        "{elsewhere:?}"
    );
    assert_eq!(elsewhere["DOTNET_DbgEnableMiniDump"], "1");
    let by_reference = container("by-reference")?["env"].to_string();
    assert_eq!(
        by_reference.matches("NODE_OPTIONS").count(),
        1,
        "{by_reference}"
    );
    for name in ["own-mount", "mount-above", "mount-below"] {
        ensure!(
            container(name)?.get("env").is_none(),
            "{name}: {:#}",
            container(name)?
        );
        assert_eq!(
            container(name)?["volumeMounts"].as_array().map(Vec::len),
            Some(1),
            "{name}"
        );
    }
    assert_eq!(
        container("mount-beside")?["volumeMounts"][1],
        mount("mount-beside")
    );
    // The pod's other volumes come first, as they were.
    assert_eq!(
        after["spec"]["volumes"],
        json!([{"name": "data", "emptyDir": {}}, {"name": "salvage-dumps", "emptyDir": {}}])
    );
    Ok(())
}

#[test]
#[ignore = "needs Helm and CEL; tests/run provisions them"]
fn a_volume_of_its_own_with_that_name_is_the_pods_affair() -> Result<()> {
    let own = pod(
        json!([container("app", json!({}))]),
        json!({"spec": {"volumes": [{"name": "salvage-dumps", "persistentVolumeClaim": {"claimName": "dumps"}}]}}),
    );
    assert_eq!(injected_one(json!({}), &own)?, own);
    Ok(())
}

#[test]
#[ignore = "needs Helm and CEL; tests/run provisions them"]
fn init_containers_and_sidecars_get_it_too_each_by_its_own_name() -> Result<()> {
    let before = pod(
        json!([
            container("app", json!({})),
            container("proxy", json!({"env": [{"name": "A", "value": "b"}]}))
        ]),
        json!({"spec": {"initContainers": [
            container("migrate", json!({})),
            container("sidecar", json!({"restartPolicy": "Always", "volumeMounts": [{"name": "x", "mountPath": "/x"}]})),
        ]}}),
    );
    let after = injected_one(json!({}), &before)?;
    for (list, at, name, mounts) in [
        ("containers", 0, "app", json!([mount("app")])),
        ("containers", 1, "proxy", json!([mount("proxy")])),
        ("initContainers", 0, "migrate", json!([mount("migrate")])),
        (
            "initContainers",
            1,
            "sidecar",
            json!([{"name": "x", "mountPath": "/x"}, mount("sidecar")]),
        ),
    ] {
        let container = &after["spec"][list][at];
        assert_eq!(
            (&container["name"], &container["volumeMounts"]),
            (&json!(name), &mounts)
        );
        let mut expected = environment();
        if name == "proxy" {
            expected.insert(0, json!({"name": "A", "value": "b"}));
        }
        assert_eq!(container["env"], Value::from(expected), "{name}");
    }
    assert_eq!(
        after["spec"]["initContainers"][1]["restartPolicy"],
        "Always"
    );
    Ok(())
}

#[test]
#[ignore = "needs Helm and CEL; tests/run provisions them"]
fn who_asked_for_it_gets_it_and_nobody_else() -> Result<()> {
    let with = |labels: Value| {
        pod(
            json!([container("app", json!({}))]),
            json!({"metadata": {"labels": labels}}),
        )
    };
    let (yes, no) = (
        json!({"salvage.dev/dumps": "enabled"}),
        json!({"salvage.dev/dumps": "disabled"}),
    );
    let other = json!({"salvage.dev/dumps": "perhaps"});
    let plain = namespace("shop", json!({}));
    let off = namespace("shop", no.clone());
    let with_spec = |spec: Value| pod(json!([container("app", json!({}))]), json!({"spec": spec}));
    let mirror = pod(
        json!([container("app", json!({}))]),
        json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "0123"}}}),
    );
    let agent = every()?.get("defaults").context("the defaults")?.pod()?;
    let agent = json!({"apiVersion": "v1", "kind": "Pod", "metadata": agent["metadata"], "spec": agent["spec"]});
    let own = namespace("salvage", yes.clone());
    let by = |binding: &'static str| Some(binding);
    let (by_namespace, by_pod) = (by("salvage-dumps-by-namespace"), by("salvage-dumps-by-pod"));
    let table = [
        ("nobody asked", with(json!({})), plain.clone(), None),
        (
            "the namespace asked",
            with(json!({})),
            enabled(),
            by_namespace,
        ),
        ("both asked", with(yes.clone()), enabled(), by_namespace),
        ("the pod opted out", with(no.clone()), enabled(), None),
        (
            "the pod asked alone",
            with(yes.clone()),
            plain.clone(),
            by_pod,
        ),
        (
            "the pod asked where the namespace said no",
            with(yes.clone()),
            off.clone(),
            by_pod,
        ),
        ("the pod said no by itself", with(no), plain.clone(), None),
        ("the namespace said no", with(json!({})), off, None),
        (
            "a word that means nothing",
            with(other.clone()),
            plain,
            None,
        ),
        (
            "the same in an enabled namespace",
            with(other),
            enabled(),
            by_namespace,
        ),
        (
            "Windows by its spec",
            with_spec(json!({"os": {"name": "windows"}})),
            enabled(),
            None,
        ),
        (
            "Windows by its node",
            with_spec(json!({"nodeSelector": {"kubernetes.io/os": "windows"}})),
            enabled(),
            None,
        ),
        (
            "Linux, said",
            with_spec(
                json!({"os": {"name": "linux"}, "nodeSelector": {"kubernetes.io/os": "linux"}}),
            ),
            enabled(),
            by_namespace,
        ),
        ("what shows a static pod", mirror, enabled(), None),
        ("the agent", agent, own.clone(), None),
        (
            "another pod beside the agents",
            with(yes.clone()),
            own,
            None,
        ),
        (
            "the cluster's own pods",
            with(yes.clone()),
            namespace("kube-system", yes),
            None,
        ),
    ];
    let requests: Vec<_> = table
        .iter()
        .map(|(name, pod, namespace, _)| (*name, request(pod, namespace)))
        .collect();
    let all = injected(json!({}), &requests)?;
    for (name, pod, _, by) in &table {
        let admitted = &all[*name];
        let expected: Vec<_> = by.iter().map(|binding| (*binding).to_owned()).collect();
        assert_eq!(admitted.met, expected, "{name}");
        assert_eq!(
            admitted.pod == *pod,
            by.is_none(),
            "{name}: {:#}",
            admitted.pod
        );
    }
    Ok(())
}

/// Pods of every shape, for what must hold of all of them.
fn shapes() -> Vec<(&'static str, Value)> {
    let many: Vec<_> = (0..40)
        .map(|n| match n % 3 {
            0 => container(&format!("c{n}"), json!({})),
            1 => container(
                &format!("c{n}"),
                json!({"env": [{"name": "A", "value": "b"}]}),
            ),
            _ => container(
                &format!("c{n}"),
                json!({"volumeMounts": [{"name": "x", "mountPath": "/x"}]}),
            ),
        })
        .collect();
    let volumes = json!({"spec": {"volumes": [{"name": "x", "emptyDir": {}}]}});
    vec![
        (
            "plain",
            pod(json!([container("app", json!({}))]), json!({})),
        ),
        (
            "nothing but lists that are empty",
            pod(
                json!([container("app", json!({"env": [], "volumeMounts": []}))]),
                json!({"spec": {"volumes": []}}),
            ),
        ),
        (
            "no name yet",
            pod(
                json!([container("app", json!({}))]),
                json!({"metadata": {"name": "", "generateName": "cart-"}}),
            ),
        ),
        ("many", pod(Value::from(many), volumes)),
        (
            "annotated",
            pod(
                json!([container("app", json!({}))]),
                json!({"metadata": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "cache,tmp", "a/b~c": "d"}}}),
            ),
        ),
        (
            "evictable already",
            pod(
                json!([container("app", json!({}))]),
                json!({"metadata": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "cache,salvage-dumps"}}}),
            ),
        ),
        (
            "with an init container that mounts the path",
            pod(
                json!([container("app", json!({}))]),
                json!({"spec": {
                    "initContainers": [container("first", json!({"volumeMounts": [{"name": "x", "mountPath": "/var/salvage"}]})), container("second", json!({}))],
                    "volumes": [{"name": "x", "emptyDir": {}}],
                }}),
            ),
        ),
    ]
}

const MODES: [&str; 2] = [r#"{}"#, r#"{"injection": {"volume": "hostPath"}}"#];

#[test]
#[ignore = "needs Helm and CEL; tests/run provisions them"]
fn what_comes_out_is_a_pod_and_nothing_is_there_twice() -> Result<()> {
    for mode in MODES {
        let shapes = shapes();
        let requests: Vec<_> = shapes
            .iter()
            .map(|(name, pod)| (*name, request(pod, &enabled())))
            .collect();
        for (name, admitted) in injected(serde_json::from_str(mode)?, &requests)? {
            assert_eq!(admitted.met.len(), 1, "{name}");
            let strange = types::strange(&admitted.pod)?;
            ensure!(strange.is_empty(), "{name}: {strange:?}");
            let spec = &admitted.pod["spec"];
            let lists = ["containers", "initContainers"]
                .map(|list| spec[list].as_array().cloned().unwrap_or_default());
            for container in lists.iter().flatten() {
                let text = |key: &str, field: &str| -> Vec<String> {
                    let all = container[key].as_array().into_iter().flatten();
                    all.filter_map(|item| item[field].as_str())
                        .map(str::to_owned)
                        .collect()
                };
                for (key, field) in [("env", "name"), ("volumeMounts", "mountPath")] {
                    let mut all = text(key, field);
                    all.sort();
                    let count = all.len();
                    all.dedup();
                    assert_eq!(all.len(), count, "{name}: {container:#}");
                }
                let own = container["name"].as_str().context("a name")?;
                let mounts = container["volumeMounts"].as_array().context("mounts")?;
                let ours: Vec<_> = mounts
                    .iter()
                    .filter(|mount| mount["name"] == "salvage-dumps")
                    .collect();
                match (own, &ours[..]) {
                    ("first", []) => {}
                    (_, [ours]) => {
                        let by = ours["subPath"]
                            .as_str()
                            .or(ours["subPathExpr"].as_str())
                            .unwrap_or_default();
                        assert_eq!(by.rsplit('/').next(), Some(own), "{name}: {ours}");
                    }
                    (_, several) => anyhow::bail!("{name}: {own} has {several:?}"),
                }
            }
        }
    }
    let annotation = |pod: &Value| {
        pod["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"].clone()
    };
    for (name, pod) in shapes() {
        let after = injected_one(json!({}), &pod)?;
        match name {
            "annotated" => {
                assert_eq!(annotation(&after), "cache,tmp,salvage-dumps");
                assert_eq!(after["metadata"]["annotations"]["a/b~c"], "d");
            }
            "evictable already" => assert_eq!(annotation(&after), "cache,salvage-dumps"),
            _ => assert_eq!(annotation(&after), "salvage-dumps", "{name}"),
        }
    }
    Ok(())
}

/// The API server applies a policy again when another one changed the pod.
#[test]
#[ignore = "needs Helm and CEL; tests/run provisions them"]
fn applied_again_it_changes_nothing_and_serves_containers_that_came_since() -> Result<()> {
    for mode in MODES {
        let values: Value = serde_json::from_str(mode)?;
        for (name, pod) in shapes() {
            let mut again = request(&pod, &enabled());
            again["times"] = json!(3);
            let all = injected(
                values.clone(),
                &[("once", request(&pod, &enabled())), ("again", again)],
            )?;
            assert_eq!(all["again"].pod, all["once"].pod, "{name}");
        }
        let mut pod = injected_one(
            values.clone(),
            &pod(json!([container("app", json!({}))]), json!({})),
        )?;
        let app = pod["spec"]["containers"][0].clone();
        pod["spec"]["containers"] = json!([container("mesh", json!({})), app]);
        let pod = injected_one(values, &pod)?;
        let mesh = &pod["spec"]["containers"][0];
        assert_eq!(mesh["volumeMounts"][0]["name"], "salvage-dumps");
        assert_eq!(
            mesh["env"].as_array().map(Vec::len),
            app["env"].as_array().map(Vec::len)
        );
        assert_eq!(pod["spec"]["containers"][1], app);
        assert_eq!(pod["spec"]["volumes"].as_array().map(Vec::len), Some(1));
    }
    Ok(())
}

#[test]
#[ignore = "needs Helm and CEL; tests/run provisions them"]
fn a_directory_of_the_node_is_named_after_the_pod_and_only_used_where_it_may_be() -> Result<()> {
    let values = || json!({"injection": {"volume": "hostPath", "runtimes": ["node"]}});
    let plain = pod(json!([container("app", json!({}))]), json!({}));
    let after = injected_one(values(), &plain)?;
    assert_eq!(
        after["spec"]["volumes"],
        json!([{"name": "salvage-dumps", "hostPath": {"path": "/var/lib/salvage-dumps", "type": "DirectoryOrCreate"}}])
    );
    let app = &after["spec"]["containers"][0];
    assert_eq!(
        app["volumeMounts"],
        json!([{"name": "salvage-dumps", "mountPath": "/var/salvage", "subPathExpr": "$(SALVAGE_NAMESPACE)/$(SALVAGE_POD)/$(SALVAGE_POD_UID)/app"}])
    );
    let of_pod = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    assert_eq!(
        app["env"],
        json!([
            of_pod("SALVAGE_NAMESPACE", "metadata.namespace"),
            of_pod("SALVAGE_POD", "metadata.name"),
            of_pod("SALVAGE_POD_UID", "metadata.uid"),
            environment()[9],
        ])
    );
    // What the agent is told of the directory's levels is what the mount makes.
    let rendered = rendered(Case::of(values()))?;
    ensure!(
        rendered
            .config()?
            .contains("'{namespace}/{pod}/{uid}/{container}'"),
        "{}",
        rendered.config()?
    );

    let level = |level: &str| {
        namespace(
            "shop",
            json!({"salvage.dev/dumps": "enabled", "pod-security.kubernetes.io/enforce": level}),
        )
    };
    let levels = ["privileged", "baseline", "restricted"];
    let requests = levels.map(|name| (name, request(&plain, &level(name))));
    let on_host = injected(values(), &requests)?;
    let on_volume = injected(json!({}), &requests)?;
    for name in levels {
        assert_eq!(
            on_host[name].met.len(),
            usize::from(name == "privileged"),
            "{name}"
        );
        assert_eq!(on_volume[name].met.len(), 1, "{name}");
    }
    Ok(())
}

#[test]
#[ignore = "needs Helm and CEL; tests/run provisions them"]
fn the_older_version_of_the_api_gets_the_same_policy() -> Result<()> {
    let without_version = |mut objects: Vec<Value>, version: &str| -> Result<Vec<Value>> {
        for object in &mut objects {
            assert_eq!(
                object["apiVersion"],
                format!("admissionregistration.k8s.io/{version}")
            );
            object["apiVersion"] = Value::Null;
        }
        Ok(objects)
    };
    for mode in MODES {
        let mut older: Value = serde_json::from_str(mode)?;
        super::merge(&mut older, json!({"injection": {"apiVersion": "v1beta1"}}));
        assert_eq!(
            without_version(policy(older)?, "v1beta1")?,
            without_version(policy(serde_json::from_str(mode)?)?, "v1")?
        );
    }
    Ok(())
}

/// What Pod Security `restricted` has against a pod, by its rules of Kubernetes 1.36.
pub(super) fn against_restricted(spec: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    for shared in ["hostNetwork", "hostPID", "hostIPC"] {
        must(spec[shared].as_bool() != Some(true), shared.to_owned());
    }
    let allowed = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let kinds = volume
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| *key != "name");
        for (kind, _) in kinds {
            must(
                allowed.contains(&kind.as_str()),
                format!("volume of type {kind}"),
            );
        }
    }
    let of_pod = &spec["securityContext"];
    must(of_pod.get("sysctls").is_none(), "sysctls".into());
    let seccomp = |context: &Value| {
        context["seccompProfile"]["type"]
            .as_str()
            .map(|kind| ["RuntimeDefault", "Localhost"].contains(&kind))
    };
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let containers = lists
        .iter()
        .flat_map(|list| spec[*list].as_array().into_iter().flatten());
    for container in containers {
        let own = &container["securityContext"];
        let name = &container["name"];
        let either = |key: &str| {
            if own[key].is_null() {
                &of_pod[key]
            } else {
                &own[key]
            }
        };
        must(
            own["privileged"].as_bool() != Some(true),
            format!("{name}: privileged"),
        );
        must(
            own["allowPrivilegeEscalation"] == false,
            format!("{name}: allowPrivilegeEscalation"),
        );
        must(
            *either("runAsNonRoot") == true,
            format!("{name}: runAsNonRoot"),
        );
        must(*either("runAsUser") != 0, format!("{name}: runAsUser"));
        must(
            seccomp(own).or(seccomp(of_pod)) == Some(true),
            format!("{name}: seccompProfile"),
        );
        must(
            own["capabilities"]["drop"]
                .as_array()
                .is_some_and(|drop| drop.contains(&json!("ALL"))),
            format!("{name}: capabilities"),
        );
        for added in own["capabilities"]["add"].as_array().into_iter().flatten() {
            must(added == "NET_BIND_SERVICE", format!("{name}: {added}"));
        }
        must(
            own["procMount"]
                .as_str()
                .is_none_or(|kind| kind == "Default"),
            format!("{name}: procMount"),
        );
        let selinux = either("seLinuxOptions");
        must(
            selinux.get("user").is_none() && selinux.get("role").is_none(),
            format!("{name}: seLinuxOptions"),
        );
        for port in container["ports"].as_array().into_iter().flatten() {
            must(
                port["hostPort"].as_u64().unwrap_or_default() == 0,
                format!("{name}: hostPort"),
            );
        }
    }
    wrong
}

#[test]
#[ignore = "needs Helm and CEL; tests/run provisions them"]
fn with_an_empty_dir_a_restricted_pod_stays_one() -> Result<()> {
    let closed = json!({"securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true}});
    let before = pod(
        json!([container("app", closed.clone())]),
        json!({"spec": {
            "initContainers": [container("first", closed)],
            "securityContext": {"runAsNonRoot": true, "runAsUser": 12345, "seccompProfile": {"type": "RuntimeDefault"}},
        }}),
    );
    assert_eq!(against_restricted(&before["spec"]), [""; 0]);
    let after = injected_one(json!({}), &before)?;
    assert_eq!(against_restricted(&after["spec"]), [""; 0]);
    let on_host = injected_one(json!({"injection": {"volume": "hostPath"}}), &before)?;
    assert_eq!(
        against_restricted(&on_host["spec"]),
        ["volume of type hostPath"]
    );
    Ok(())
}

fn recorded() -> Result<Vec<Value>> {
    let path = repository().join("tests/data/kubernetes/injection-policy.yaml");
    let text = std::fs::read_to_string(path)?;
    let parts = text.split("\n---\n");
    parts
        .map(|part| Ok(serde_saphyr::from_str(part)?))
        .collect()
}

/// A real API server took this policy, and did this with it: so the driver is one that can be believed.
#[test]
#[ignore = "needs CEL; tests/run provisions it"]
fn the_driver_does_with_the_recorded_policy_what_the_api_server_did() -> Result<()> {
    let before = pod(
        json!([
            container("app", json!({})),
            container(
                "quiet",
                json!({"env": [{"name": "DOTNET_DbgEnableMiniDump", "value": "0"}]})
            ),
        ]),
        json!({}),
    );
    let requests = [
        ("labelled", request(&before, &enabled())),
        (
            "not labelled",
            request(&before, &namespace("shop", json!({}))),
        ),
    ];
    let all = admit(&recorded()?, &requests)?;
    let of = |name: &str| {
        all[name]
            .as_ref()
            .map_err(|why| anyhow::anyhow!("{name}: {why}"))
    };
    assert_eq!(of("not labelled")?.pod, before);
    let admitted = of("labelled")?;
    assert_eq!(admitted.operations, 2 + (1 + 4 + 1 + 1) + (3 + 1 + 1));
    let containers = &admitted.pod["spec"]["containers"];
    let of_pod = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let name = json!({"name": "DOTNET_DbgMiniDumpName", "value": "/var/salvage/%h.%e.%p.%t.dmp"});
    let (of_namespace, of_name) = (
        of_pod("SALVAGE_NAMESPACE", "metadata.namespace"),
        of_pod("SALVAGE_POD", "metadata.name"),
    );
    let on = |value: &str| json!({"name": "DOTNET_DbgEnableMiniDump", "value": value});
    assert_eq!(
        containers[0]["env"],
        json!([of_namespace, of_name, on("1"), name])
    );
    assert_eq!(
        containers[1]["env"],
        json!([on("0"), of_namespace, of_name, name])
    );
    assert_eq!(containers[1]["volumeMounts"], json!([mount("quiet")]));
    assert_eq!(
        admitted.pod["spec"]["volumes"],
        json!([{"name": "salvage-dumps", "emptyDir": {}}])
    );
    Ok(())
}

/// What the API server answers with an error must be one here.
#[test]
#[ignore = "needs CEL; tests/run provisions it"]
fn the_driver_refuses_what_the_api_server_refuses() -> Result<()> {
    let before = pod(json!([container("app", json!({}))]), json!({}));
    let add = |path: &str, value: &str| {
        format!("[JSONPatch{{op: \"add\", path: \"{path}\", value: {value}}}]")
    };
    for (what, expression, word) in [
        (
            "a type of another place",
            add("/spec/volumes", "[Object.spec.containers{name: \"a\"}]"),
            "unexpected type name",
        ),
        (
            "a value of another place",
            add("/spec/containers/0", "Object.spec.volumes{name: \"a\"}"),
            "Object.spec.volumes",
        ),
        (
            "an inner type of another place",
            add(
                "/spec/volumes",
                "[Object.spec.volumes{name: \"a\", emptyDir: Object.spec.emptyDir{}}]",
            ),
            "unexpected type name",
        ),
        (
            "a list that is not there",
            add("/spec/containers/0/env/-", "{\"name\": \"a\"}"),
            "missing path",
        ),
        (
            "a place that is not there",
            add("/spec/containers/7/image", "\"a\""),
            "missing path",
        ),
        (
            "an unknown variable",
            add("/spec/a", "variables.unknown"),
            "undeclared reference",
        ),
        (
            "an unknown function",
            add("/spec/a", "unknown(object)"),
            "undeclared reference",
        ),
        (
            "a field that is not there",
            add("/spec/a", "object.spec.nothing"),
            "nothing",
        ),
        (
            "no CEL at all",
            "[JSONPatch{op: ".to_owned(),
            "compilation failed",
        ),
        (
            "an operation with a field of its own",
            "[JSONPatch{op: \"add\", path: \"/spec/a\", valeu: 1}]".to_owned(),
            "valeu",
        ),
    ] {
        let mut objects = recorded()?;
        objects[0]["spec"]["mutations"][0]["jsonPatch"]["expression"] = json!(expression);
        let mut all = admit(&objects, &[("it", request(&before, &enabled()))])?;
        match all.remove("it").context("an answer")? {
            Ok(admitted) => anyhow::bail!("{what}: {admitted:#?}"),
            Err(why) => ensure!(why.contains(word), "{what}: {why}"),
        }
    }
    Ok(())
}
