//! Whole objects: those of a real node, and hostile ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::PodObject;
use super::meta::{COLLECT, LOG};
use crate::model::{
    ContainerKind, ContainerStatus, KnownContainer, KnownPod, Mount, NodeVolume, SubPath,
    Terminated, VolumeAt,
};

/// A file of the recorded node, see `tests/data/kubernetes/README.md`.
fn recorded(name: &str) -> String {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kubernetes");
    std::fs::read_to_string(data.join(name)).expect("a recorded file")
}

fn items(name: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(&recorded(name)).expect("a list");
    list["items"].as_array().expect("items").clone()
}

/// The pods of the recorded list, by name.
fn listed() -> BTreeMap<String, KnownPod> {
    let pods = items("pod-list.json").into_iter().map(read);
    pods.map(|pod| (pod.name.clone(), pod)).collect()
}

/// The pods that the recorded watch told of, in its order.
fn watched() -> Vec<(String, Option<KnownPod>)> {
    let text = recorded("pod-watch.ndjson");
    let changes = text.lines().map(|line| {
        let change: Value = serde_json::from_str(line).expect("a change");
        let object: PodObject = serde_json::from_value(change["object"].clone()).expect("a pod");
        let kind = change["type"].as_str().expect("its type");
        (kind.to_owned(), object.known())
    });
    changes.collect()
}

fn object(pod: &Value) -> PodObject {
    serde_json::from_str(&pod.to_string()).expect("any object is read")
}

fn read(pod: Value) -> KnownPod {
    object(&pod).known().expect("a pod")
}

/// A pod with this specification.
fn pod(spec: Value) -> Value {
    json!({"metadata": {"uid": "u-1", "namespace": "shop", "name": "web-1"}, "spec": spec})
}

fn time(text: &str) -> Option<Timestamp> {
    Some(text.parse().expect("a time"))
}

fn mount(volume: &str, sub: SubPath) -> Mount {
    Mount {
        volume: volume.into(),
        sub,
        read_only: false,
    }
}

fn levels(path: &str) -> SubPath {
    SubPath::Levels(path.split('/').map(str::to_owned).collect())
}

#[test]
fn the_recorded_pods_belong_to_what_was_deployed() {
    let owners: BTreeSet<_> = listed()
        .into_values()
        .map(|pod| format!("{} {}/{}", pod.name, pod.owner.kind, pod.owner.name))
        .collect();
    let expected = [
        "bad-init Pod/bad-init",
        "checkout-5fb6b667cc-7l7bl Deployment/checkout",
        "finisher Pod/finisher",
        "ledger-0 StatefulSet/ledger",
        "report-29920177-6mcdf CronJob/report",
        "report-29920177-mvxns CronJob/report",
    ];
    assert_eq!(owners, expected.map(str::to_owned).into());
}

#[test]
fn a_deployment_told_from_a_pod_is_the_one_that_its_replica_set_names() {
    let pods = items("pod-list.json");
    let mut compared = 0;
    for set in items("replicasets.json") {
        let of_set = |pod: &&Value| {
            let owner = &pod["metadata"]["ownerReferences"][0];
            owner["uid"] == set["metadata"]["uid"]
        };
        for pod in pods.iter().filter(of_set) {
            let owner = read(pod.clone()).owner;
            let named = &set["metadata"]["ownerReferences"][0];
            assert_eq!(
                json!(owner),
                json!({"kind": named["kind"], "name": named["name"]})
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 1);
}

#[test]
fn a_recorded_pod_is_kept_with_its_mounts_and_its_containers_fate() {
    let pod = &listed()["checkout-5fb6b667cc-7l7bl"];
    let sha = "sha256:3323ed50445c09fdb3c907c9e1b840c6a4a845857e1d2e115a72639701ef61eb";
    let container = |name: &str, mounts, status| KnownContainer {
        name: name.into(),
        kind: ContainerKind::Main,
        image: Some("lab.local/busy:1".into()),
        image_digest: Some(sha.into()),
        run_as_user: None,
        liveness: None,
        mounts,
        status: Some(status),
    };
    let end = |id: &str, started, finished| {
        Some(Terminated {
            id: Some(id.into()),
            exit_code: 139,
            signal: None,
            reason: Some("Error".into()),
            started_at: time(started),
            finished_at: time(finished),
        })
    };
    let last = "dba885d0dcfeeb52eea58d004427f1e1a4f6f265100a7eab4a1350507fd16173";
    let before = "ebfbbded8139959772896bc3ab8cd15216682079bc28369e0f81ea192883ce6c";
    let sidecar = "445b76dacff386c2c1207592f24699871883514227e82cda4ad4488c0f4da71a";
    let api_mounts = vec![
        mount("dumps", levels("shop/checkout-5fb6b667cc-7l7bl/api")),
        mount("scratch", SubPath::Whole),
    ];
    let expected = KnownPod {
        uid: "29f83447-5763-4bfc-bc67-90e7a1524d07".into(),
        node_uid: "29f83447-5763-4bfc-bc67-90e7a1524d07".into(),
        namespace: "shop".into(),
        name: "checkout-5fb6b667cc-7l7bl".into(),
        owner: pod.owner.clone(),
        labels: [
            ("app", "checkout"),
            ("pod-template-hash", "5fb6b667cc"),
            ("team", "payments"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        service_account: Some("default".into()),
        created: time("2026-11-20T21:35:16Z"),
        start_time: time("2026-11-20T21:35:16Z"),
        host_users: true,
        volumes: vec![
            NodeVolume {
                name: "dumps".into(),
                at: VolumeAt::HostPath("/var/lib/crash-dumps".into()),
            },
            NodeVolume {
                name: "scratch".into(),
                at: VolumeAt::EmptyDir,
            },
        ],
        containers: vec![
            container(
                "api",
                api_mounts,
                ContainerStatus {
                    id: Some(last.into()),
                    restarts: 4,
                    running_since: None,
                    ended: end(last, "2026-11-20T21:37:07Z", "2026-11-20T21:37:11Z"),
                    ended_before: end(before, "2026-11-20T21:36:15Z", "2026-11-20T21:36:19Z"),
                },
            ),
            container(
                "sidecar",
                vec![mount("scratch", SubPath::Whole)],
                ContainerStatus {
                    id: Some(sidecar.into()),
                    running_since: time("2026-11-20T21:35:18Z"),
                    ..ContainerStatus::default()
                },
            ),
        ],
        ..KnownPod::default()
    };
    assert_eq!(pod, &expected);
}

#[test]
fn the_recorded_containers_are_of_their_kinds_and_a_status_may_say_little() {
    let pods = listed();
    let bad_init = &pods["bad-init"];
    let migrate = bad_init.container("migrate").expect("the init container");
    assert_eq!(migrate.kind, ContainerKind::Init);
    let status = migrate.status.as_ref().expect("its status");
    let ended = status.ended.as_ref().expect("its end");
    assert_eq!((status.restarts, ended.exit_code), (4, 3));
    // It waits for the init container: no id, no image, no start.
    let main = bad_init.container("main").expect("the main container");
    assert_eq!(main.kind, ContainerKind::Main);
    assert_eq!(
        (main.image_digest.as_ref(), main.status.as_ref()),
        (None, Some(&ContainerStatus::default()))
    );

    let db = pods["ledger-0"].container("db").expect("the database");
    let ended = db.status.as_ref().and_then(|status| status.ended.as_ref());
    let ended = ended.expect("its end");
    assert_eq!(
        (ended.exit_code, ended.reason.as_deref()),
        (137, Some("OOMKilled"))
    );
    // A host name that is the pod's own is none that it asks for.
    assert_eq!(pods["ledger-0"].host_name, None);
}

#[test]
fn a_watch_tells_of_every_pod_and_its_bookmarks_of_none() {
    let watched = watched();
    assert_eq!(watched.len(), 109);
    for (kind, pod) in &watched {
        assert_eq!(kind == "BOOKMARK", pod.is_none(), "{kind}");
    }
    // The last that was told of a pod is what the list has.
    let mut told = BTreeMap::new();
    for pod in watched.iter().filter_map(|(_, pod)| pod.as_ref()) {
        told.insert(pod.name.clone(), pod.clone());
    }
    for (name, pod) in listed() {
        assert_eq!(told.get(&name), Some(&pod), "{name}");
    }
}

#[test]
fn the_recorded_deletion_was_asked_for_before_the_grace_period_ended() {
    let stops: Vec<_> = watched()
        .into_iter()
        .filter_map(|(_, pod)| pod.filter(|pod| pod.name == "guaranteed")?.stopping)
        .collect();
    assert!(stops.iter().all(|stop| stop.why == "deleted"));
    // Of a grace period of one second. As the kubelet lets the pod go the period becomes none, and its end stays: whoever follows a pod keeps the
    // earlier time.
    let asked: Vec<_> = stops.into_iter().map(|stop| stop.since).collect();
    let (first, last) = (time("2026-11-20T21:36:57Z"), time("2026-11-20T21:36:58Z"));
    assert_eq!(asked, [first, first, first, last, last]);
}

#[test]
fn every_recorded_directory_of_logs_is_a_known_pods() {
    let known: BTreeSet<_> = listed()
        .into_values()
        .map(|pod| format!("pods/{}_{}_{}", pod.namespace, pod.name, pod.node_uid))
        .collect();
    let text = recorded("var-log.txt");
    let found: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("d ")?.strip_suffix(" -> "))
        .filter(|path| path.matches('/').count() == 1)
        .map(str::to_owned)
        .collect();
    assert_eq!(known, found);
}

#[test]
fn an_object_that_does_not_say_which_pod_it_is_is_none() {
    let whole = json!({"uid": "u", "namespace": "n", "name": "p"});
    assert!(object(&json!({"metadata": whole})).known().is_some());
    assert!(
        object(&json!({"metadata": whole, "kind": "Pod"}))
            .known()
            .is_some()
    );
    assert!(
        object(&json!({"metadata": whole, "kind": "Node"}))
            .known()
            .is_none()
    );
    for key in ["uid", "namespace", "name"] {
        for wrong in [
            json!(null),
            json!(""),
            json!(5),
            json!({"a": 1}),
            json!(["u"]),
        ] {
            let mut meta = whole.clone();
            meta[key] = wrong;
            assert!(
                object(&json!({ "metadata": meta })).known().is_none(),
                "{key}"
            );
        }
    }
    for wrong in [
        json!({}),
        json!({"metadata": null}),
        json!({"metadata": [whole]}),
    ] {
        assert!(object(&wrong).known().is_none());
    }
}

#[test]
fn a_pod_with_nothing_but_its_names_is_kept() {
    let bare = read(json!({"metadata": {"uid": "u", "namespace": "n", "name": "p"}}));
    let expected = KnownPod {
        uid: "u".into(),
        node_uid: "u".into(),
        namespace: "n".into(),
        name: "p".into(),
        owner: bare.owner.clone(),
        host_users: true,
        ..KnownPod::default()
    };
    assert_eq!(bare, expected);
    assert_eq!(
        (bare.owner.kind.as_str(), bare.owner.name.as_str()),
        ("Pod", "p")
    );
}

/// Every path to a value below this one.
fn paths(value: &Value, at: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                into.push(at.clone());
                paths(value, &at, into);
            }
        }
        Value::Array(elements) => {
            for (n, value) in elements.iter().enumerate() {
                let at = format!("{at}/{n}");
                into.push(at.clone());
                paths(value, &at, into);
            }
        }
        _ => {}
    }
}

#[test]
fn no_value_of_any_type_in_any_place_costs_the_pod() {
    let essential = [
        "/kind",
        "/metadata",
        "/metadata/uid",
        "/metadata/namespace",
        "/metadata/name",
    ];
    let mut tried = 0;
    // One with mounts and variables, one with an init container.
    for mut pod in items("pod-list.json").into_iter().take(2) {
        pod["metadata"]["managedFields"] = json!(null);
        let mut all = Vec::new();
        paths(&pod, "", &mut all);
        for path in all {
            for wrong in [
                json!(null),
                json!(-1.5),
                json!(u64::MAX),
                json!(true),
                json!("x"),
                json!(["x", {}]),
                json!({"x": []}),
            ] {
                let mut changed = pod.clone();
                *changed.pointer_mut(&path).expect("it is there") = wrong;
                let known = object(&changed).known();
                assert!(
                    known.is_some() || essential.contains(&path.as_str()),
                    "{path}"
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 2_000, "{tried}");
}

#[test]
fn annotations_of_others_are_not_held() {
    let long = "x".repeat(250 << 10);
    let mut pod = pod(json!({}));
    pod["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": long, "salvage.dev": "a", COLLECT: "false", LOG: "true", "a": 5});
    pod["metadata"]["managedFields"] = json!([{ "fieldsV1": long }]);
    let object = object(&pod);
    let kept: Vec<_> = object.metadata.annotations.keys().collect();
    assert_eq!(kept, [COLLECT, LOG]);
    assert!(serde_json::to_string(&object).expect("serializes").len() < 3_000);
}

#[test]
fn a_pod_opts_out_by_any_word_but_true() {
    for (value, out) in [
        (json!("false"), true),
        (json!("true"), false),
        (json!(" True\n"), false),
        (json!("TRUE"), false),
        (json!(""), true),
        (json!(" "), true),
        (json!("False"), true),
        (json!("FALSE "), true),
        (json!("no"), true),
        (json!("0"), true),
        (json!("flase"), true),
        (json!("true false"), true),
        (json!(false), true),
        (json!(true), true),
        (json!(null), true),
    ] {
        let mut pod = pod(json!({}));
        pod["metadata"]["annotations"] = json!({ COLLECT: value });
        let known = read(pod.clone());
        assert_eq!((known.opted_out, known.no_log), (out, false));
        pod["metadata"]["annotations"] = json!({ LOG: value });
        let known = read(pod);
        assert_eq!((known.opted_out, known.no_log), (false, out));
    }
    let absent = read(pod(json!({})));
    assert_eq!((absent.opted_out, absent.no_log), (false, false));
}

#[test]
fn a_static_pod_is_known_to_the_node_by_the_digest_of_its_file() {
    let digest = "1f3870be274f6c49b3e31a0c6728957f";
    let other = "2f3870be274f6c49b3e31a0c6728957f";
    let uid = "29f83447-5763-4bfc-bc67-90e7a1524d07";
    for (hash, mirror, expected) in [
        (json!(digest), json!(digest), digest),
        // Only the mark cannot be changed later.
        (json!(other), json!(digest), "u-1"),
        (json!(digest), json!(null), "u-1"),
        (json!(null), json!(digest), "u-1"),
        // Another pod's directory, and a way out of the kubelet's.
        (json!(uid), json!(uid), "u-1"),
        (json!("../x"), json!("../x"), "u-1"),
        (json!(""), json!(""), "u-1"),
    ] {
        let mut pod = pod(json!({
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{
                "name": "c",
                "env": [{"name": "U", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}],
                "volumeMounts": [{"name": "v", "subPathExpr": "$(U)"}],
            }],
        }));
        pod["metadata"]["annotations"] =
            json!({"kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": mirror});
        let known = read(pod);
        assert_eq!(
            (known.uid.as_str(), known.node_uid.as_str()),
            ("u-1", expected)
        );
        // The kubelet itself has no other UID for it.
        assert_eq!(known.containers[0].mounts, [mount("v", levels(expected))]);
    }
}

#[test]
fn volumes_and_mounts_of_other_kinds_are_left_out() {
    let known = read(pod(json!({
        "volumes": [
            {"name": "e", "emptyDir": {"medium": "", "sizeLimit": "1Gi"}},
            {"name": "m", "emptyDir": {"medium": "Memory"}},
            {"name": "b", "emptyDir": {"medium": "HugePages-2Mi"}},
            {"name": "h", "hostPath": {"path": "/var/dumps", "type": ""}},
            {"name": "s", "secret": {"secretName": "s"}},
            {"name": "n", "emptyDir": null},
            {"name": "p", "hostPath": {}},
            {"emptyDir": {}},
        ],
        "containers": [{"name": "c", "volumeMounts": [
            {"name": "e", "mountPath": "/e", "subPath": "a/b", "readOnly": true},
            {"name": "s", "mountPath": "/s"},
            {"name": "m", "mountPath": "/m"},
            {"name": "h", "mountPath": "/h", "subPathExpr": "$(GONE)", "readOnly": false},
            {"name": "h", "mountPath": "/i", "subPath": "../other"},
            {"name": "gone", "mountPath": "/g"},
            {"mountPath": "/x"},
            {"name": "e", "mountPath": "/j", "subPath": "", "subPathExpr": null},
        ]}],
    })));
    let names: Vec<_> = known.volumes.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["e", "h"]);
    assert_eq!(known.volumes[1].at, VolumeAt::HostPath("/var/dumps".into()));
    let expected = [
        Mount {
            read_only: true,
            ..mount("e", levels("a/b"))
        },
        mount("h", SubPath::Untold),
        mount("h", SubPath::Untold),
        mount("e", SubPath::Whole),
    ];
    assert_eq!(known.containers[0].mounts, expected);
}

#[test]
fn a_pods_settings_are_read() {
    let known = read(pod(json!({
        "hostname": "other", "hostNetwork": true, "hostUsers": false, "restartPolicy": "OnFailure",
        "securityContext": {"runAsUser": 1000},
        "initContainers": [
            {"name": "i", "restartPolicy": "Never"},
            {"name": "s", "restartPolicy": "Always", "securityContext": {"runAsUser": 0}},
        ],
        "containers": [{"name": "m", "securityContext": {"runAsUser": 4_294_967_296_u64}}],
        "ephemeralContainers": [{"name": "e", "securityContext": {}}],
    })));
    assert_eq!(known.host_name.as_deref(), Some("other"));
    assert!(known.host_network && !known.host_users);
    let told: Vec<_> = known
        .containers
        .iter()
        .map(|container| {
            (
                container.name.as_str(),
                container.kind,
                container.run_as_user,
            )
        })
        .collect();
    let expected = [
        ("i", ContainerKind::Init, Some(1000)),
        ("s", ContainerKind::Sidecar, Some(0)),
        ("m", ContainerKind::Main, None),
        ("e", ContainerKind::Ephemeral, Some(1000)),
    ];
    assert_eq!(told, expected);
    let named = read(pod(json!({"hostname": "a", "hostnameOverride": "b"})));
    assert_eq!(named.host_name.as_deref(), Some("b"));
    assert_eq!(read(pod(json!({"hostname": "web-1"}))).host_name, None);
}

#[test]
fn images_and_ids_are_told_without_what_the_runtime_adds() {
    for (id, expected) in [
        ("docker.io/library/busybox@sha256:ab", Some("sha256:ab")),
        ("docker-pullable://busybox@sha256:ab", Some("sha256:ab")),
        ("sha256:ab", Some("sha256:ab")),
        ("docker://ab", None),
        ("busybox@", None),
        ("", None),
    ] {
        let mut pod = pod(json!({"containers": [{"name": "c"}]}));
        pod["status"]["containerStatuses"] = json!([{"name": "c", "imageID": id}]);
        assert_eq!(
            read(pod).containers[0].image_digest.as_deref(),
            expected,
            "{id}"
        );
    }
    for (id, expected) in [
        ("containerd://ab", Some("ab")),
        ("cri-o://ab", Some("ab")),
        ("ab", Some("ab")),
        ("containerd://", None),
        ("", None),
    ] {
        let mut pod = pod(json!({"containers": [{"name": "c"}]}));
        pod["status"]["containerStatuses"] = json!([{"name": "c", "containerID": id}]);
        let status = read(pod).containers.remove(0).status.expect("a status");
        assert_eq!(status.id.as_deref(), expected, "{id}");
    }
}

#[test]
fn a_status_with_odd_numbers_and_times_is_kept() {
    let mut pod = pod(json!({"containers": [{"name": "c"}]}));
    pod["status"]["containerStatuses"] = json!([{
        "name": "c", "restartCount": -1,
        "state": {"terminated": {"exitCode": 128, "signal": 9, "startedAt": "1970-01-01T00:00:00Z", "finishedAt": null}},
        "lastState": {"terminated": {"exitCode": i64::MAX, "signal": 0, "startedAt": "yesterday", "finishedAt": "2026-11-20T21:36:57.5+01:00"}},
    }]);
    let status = read(pod).containers.remove(0).status.expect("a status");
    let expected = ContainerStatus {
        ended: Some(Terminated {
            exit_code: 128,
            signal: Some(9),
            ..Terminated::default()
        }),
        ended_before: Some(Terminated {
            exit_code: i32::MAX,
            finished_at: time("2026-11-20T20:36:57.5Z"),
            ..Terminated::default()
        }),
        ..ContainerStatus::default()
    };
    assert_eq!(status, expected);
}

#[test]
fn thousands_of_statuses_are_cut() {
    let mut pod = pod(json!({"containers": [{"name": "c0"}, {"name": "c300"}]}));
    let statuses: Vec<_> = (0..10_000)
        .map(|n| json!({"name": format!("c{n}")}))
        .collect();
    pod["status"] = json!({"containerStatuses": statuses, "initContainerStatuses": statuses});
    let object = object(&pod);
    assert_eq!(object.status.container_statuses.items.len(), 128);
    assert_eq!(object.status.init_container_statuses.items.len(), 128);
    let known = object.known().expect("a pod");
    let told: Vec<_> = known
        .containers
        .iter()
        .map(|c| c.status.is_some())
        .collect();
    assert_eq!(told, [true, false]);
}

/// Which volumes, other than by what is written, a container may write anywhere in.
fn may_write_anywhere(container: &KnownContainer) -> Vec<&str> {
    let anywhere = |mount: &&Mount| mount.sub == SubPath::Untold && !mount.read_only;
    let mounts = container.mounts.iter().filter(anywhere);
    mounts.map(|mount| mount.volume.as_str()).collect()
}

#[test]
fn a_pod_with_more_mounts_than_are_kept_may_write_anywhere_in_its_volumes() {
    let one = |name: &str, n: usize| vec![json!({"name": name, "subPath": "mine"}); n];
    for (name, mounts, expected) in [
        ("a", [512, 0, 0], vec![]),
        ("a", [513, 0, 0], vec!["a", "b"]),
        // They count over all containers, wherever the last is.
        ("a", [0, 256, 256], vec![]),
        ("a", [256, 0, 257], vec!["a", "b"]),
        // Those of other volumes are not kept, but of too many it is not known which they are of.
        ("config", [1_024, 1_024, 1_024], vec![]),
        ("config", [0, 0, 1_025], vec!["a", "b"]),
    ] {
        let containers = mounts.map(|n| json!({"name": "c", "volumeMounts": one(name, n)}));
        let known = read(pod(json!({
            "volumes": [{"name": "a", "hostPath": {"path": "/a"}}, {"name": "b", "emptyDir": {}}],
            "containers": containers,
        })));
        for container in &known.containers[..2] {
            assert_eq!(may_write_anywhere(container), expected, "{mounts:?}");
        }
        assert!(may_write_anywhere(&known.containers[2]).is_empty());
    }
}

#[test]
fn a_pod_whose_paths_are_too_long_to_keep_may_write_anywhere() {
    let root = VolumeAt::HostPath(PathBuf::from("/"));
    for (lengths, hidden) in [
        (vec![4_096], false),
        (vec![4_097], true),
        (vec![1_400_000], true),
        (vec![4_000; 4], false),
        // Each may be, but not all of them.
        (vec![4_000; 6], true),
    ] {
        let volumes = lengths.iter().map(|length| {
            let path = format!("/{}", "p".repeat(length - 1));
            json!({"name": "h", "hostPath": {"path": path}})
        });
        let volumes: Vec<_> = volumes.collect();
        let known = read(pod(
            json!({"volumes": volumes, "containers": [{"name": "c"}]}),
        ));
        let everywhere = may_write_anywhere(&known.containers[0]).contains(&"");
        let on_the_node = known.volumes.iter().any(|volume| volume.at == root);
        assert_eq!((on_the_node, everywhere), (hidden, hidden), "{lengths:?}");
    }

    let long = "s".repeat(4_097);
    let many = "a/".repeat(2_000);
    let some = "s".repeat(4_000);
    for (subs, untold) in [
        (vec![&long], 1),
        // Short, but each of its levels takes a place.
        (vec![&many], 1),
        (vec![&some; 4], 0),
        (vec![&some; 7], 2),
    ] {
        let mounts: Vec<_> = subs
            .iter()
            .map(|sub| json!({"name": "h", "subPath": sub}))
            .collect();
        let known = read(pod(json!({
            "volumes": [{"name": "h", "hostPath": {"path": "/h"}}],
            "containers": [{"name": "c", "volumeMounts": mounts}],
        })));
        assert_eq!(known.containers[0].mounts.len(), subs.len());
        assert_eq!(may_write_anywhere(&known.containers[0]).len(), untold);
    }
}

#[test]
fn a_name_that_is_too_long_is_none() {
    let long = |n: usize| "n".repeat(n);
    for (key, longest) in [("uid", 256), ("namespace", 253), ("name", 253)] {
        for (length, kept) in [(longest, true), (longest + 1, false)] {
            let mut pod = pod(json!({}));
            pod["metadata"][key] = json!(long(length));
            assert_eq!(object(&pod).known().is_some(), kept, "{key}");
        }
    }
    for (length, kept) in [(253, true), (254, false)] {
        let known = read(pod(
            json!({"hostname": long(length), "serviceAccountName": long(length)}),
        ));
        assert_eq!(known.host_name.is_some(), kept);
        assert_eq!(known.service_account.is_some(), kept);
    }
    for (length, kept) in [(63, 2), (64, 1)] {
        let known = read(pod(json!({
            "volumes": [{"name": "a", "emptyDir": {}}],
            "containers": [{"name": "c"}, {"name": long(length)}],
        })));
        assert_eq!(known.containers.len(), kept);
        let stood_in_for = known.containers[0].mounts.len();
        assert_eq!(stood_in_for, 2 - kept);
    }
}

#[test]
fn words_of_a_container_that_are_too_long_are_absent() {
    for (more, kept) in [(0, true), (1, false)] {
        let text = |n: usize| "x".repeat(n + more);
        let mut pod = pod(json!({"containers": [{"name": "c", "image": text(1_024)}]}));
        let end = json!({"terminated": {"containerID": text(256), "reason": text(253)}});
        pod["status"]["containerStatuses"] = json!([{
            "name": "c", "containerID": format!("containerd://{}", text(256)),
            "imageID": format!("i@{}", text(256)), "state": end, "lastState": end,
        }]);
        let container = read(pod).containers.remove(0);
        let status = container.status.expect("a status");
        let ends = [status.ended, status.ended_before].map(|end| end.expect("an end"));
        let words = [container.image, container.image_digest, status.id];
        let of_ends = ends.into_iter().flat_map(|end| [end.id, end.reason]);
        for word in words.into_iter().chain(of_ends) {
            assert_eq!(word.is_some(), kept);
        }
    }
}

/// The bytes of all texts in a pod.
fn text_of(pod: &KnownPod) -> usize {
    let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let end = |end: &Option<Terminated>| end.as_ref().map_or(0, |e| len(&e.id) + len(&e.reason));
    let status =
        |status: &ContainerStatus| len(&status.id) + end(&status.ended) + end(&status.ended_before);
    let mount = |mount: &Mount| {
        let sub = match &mount.sub {
            SubPath::Levels(levels) => levels.iter().map(String::len).sum(),
            SubPath::Whole | SubPath::Untold => 0,
        };
        mount.volume.len() + sub
    };
    let container = |container: &KnownContainer| {
        container.name.len()
            + len(&container.image)
            + len(&container.image_digest)
            + container.mounts.iter().map(mount).sum::<usize>()
            + container.status.as_ref().map_or(0, status)
    };
    let volume = |volume: &NodeVolume| {
        let path = match &volume.at {
            VolumeAt::HostPath(path) => path.as_os_str().len(),
            VolumeAt::EmptyDir => 0,
        };
        volume.name.len() + path
    };
    let names = [&pod.uid, &pod.node_uid, &pod.namespace, &pod.name];
    names.map(String::len).iter().sum::<usize>()
        + pod.owner.kind.len()
        + pod.owner.name.len()
        + pod
            .labels
            .iter()
            .map(|(k, v)| k.len() + v.len())
            .sum::<usize>()
        + len(&pod.service_account)
        + len(&pod.host_name)
        + pod
            .stopping
            .as_ref()
            .map_or(0, |stopping| stopping.why.len())
        + pod.volumes.iter().map(volume).sum::<usize>()
        + pod.containers.iter().map(container).sum::<usize>()
}

/// A pod with as much as is kept, or as much as an object can have, of texts that are as long as they may be, or longer.
fn fat(number: usize, name: usize, path: usize, word: usize) -> Value {
    let text = |n: usize| "x".repeat(n);
    let unique = |n: usize| format!("{n:0>name$}");
    let end = json!({"terminated": {"containerID": text(word), "reason": text(word.min(253))}});
    let statuses: Vec<_> = (0..number)
        .map(|n| {
            json!({
                "name": unique(n), "containerID": text(word), "imageID": format!("i@{}", text(word)),
                "state": end, "lastState": end,
            })
        })
        .collect();
    let mounts: Vec<_> = (0..number.min(40))
        .map(|n| json!({"name": unique(n), "subPath": text(path)}))
        .collect();
    let containers: Vec<_> = (0..number)
        .map(|n| json!({"name": unique(n), "image": text(4 * word), "volumeMounts": mounts}))
        .collect();
    let volumes: Vec<_> = (0..number)
        .map(|n| json!({"name": unique(n), "hostPath": {"path": text(path)}}))
        .collect();
    let labels: BTreeMap<_, _> = (0..4 * number)
        .map(|n| (format!("{n:0>width$}", width = word.min(317)), text(63)))
        .collect();
    let mut pod = pod(json!({
        "hostname": text(253), "serviceAccountName": text(253),
        "volumes": volumes, "containers": containers,
    }));
    pod["metadata"] = json!({
        "uid": text(256), "namespace": text(253), "name": format!("y{}", text(252)), "labels": labels,
        "ownerReferences": [{"kind": text(253), "name": text(253), "controller": true}],
    });
    pod["status"] = json!({"containerStatuses": statuses, "reason": "DeadlineExceeded"});
    pod
}

#[test]
fn no_pod_keeps_much_more_than_64_kib_of_text() {
    let mut most = 0;
    for number in [1, 8, 40, 128, 129] {
        for name in [3, 63, 64] {
            for path in [1, 30, 300, 4_097] {
                for word in [64, 256, 257] {
                    if number * number * path > 1 << 20 {
                        continue;
                    }
                    let known = read(fat(number, name, path, word));
                    let mounts = known.containers.iter().map(|c| c.mounts.len());
                    assert!(mounts.sum::<usize>() <= 512 + 2 * 129);
                    let bytes = text_of(&known);
                    // The rooms are 56 KiB; 128 names of containers are 8, and the pod's own names 2.
                    assert!(bytes <= 68 << 10, "{number} {name} {path} {word}: {bytes}");
                    most = most.max(bytes);
                }
            }
        }
    }
    // The bounds are met, or the test shows nothing.
    assert!(most > 56 << 10, "{most}");
}

#[test]
fn images_do_not_take_the_room_of_ids() {
    let count = 64;
    let containers: Vec<_> = (0..count)
        .map(|n| json!({"name": format!("c{n}"), "image": "i".repeat(1_024)}))
        .collect();
    let (id, digest) = ("d".repeat(64), format!("i@sha256:{}", "e".repeat(64)));
    let end = json!({"terminated": {"containerID": id, "reason": "OOMKilled"}});
    let statuses: Vec<_> = (0..count)
        .map(|n| {
            json!({
                "name": format!("c{n}"), "containerID": id, "imageID": digest,
                "state": end, "lastState": end,
            })
        })
        .collect();
    let mut pod = pod(json!({ "containers": containers }));
    pod["status"]["containerStatuses"] = json!(statuses);
    let known = read(pod);
    let whole = |container: &&KnownContainer| {
        let status = container.status.as_ref();
        let id = status.and_then(|status| status.id.as_ref());
        id.is_some() && container.image_digest.is_some()
    };
    assert_eq!(known.containers.iter().filter(whole).count(), count);
    let with_image = known.containers.iter().filter(|c| c.image.is_some());
    assert_eq!(with_image.count(), 6);
}

#[test]
fn a_pod_with_more_containers_than_are_kept_may_write_anywhere_in_its_volumes() {
    let containers =
        |n: usize| -> Vec<_> { (0..n).map(|n| json!({"name": format!("c{n}")})).collect() };
    for (init, main, expected) in [(100, 28, vec![]), (100, 29, vec!["a"]), (300, 0, vec!["a"])] {
        let known = read(pod(json!({
            "volumes": [{"name": "a", "emptyDir": {}}],
            "initContainers": containers(init), "containers": containers(main),
        })));
        assert_eq!(known.containers.len(), 128);
        for container in &known.containers[..2] {
            assert_eq!(may_write_anywhere(container), expected, "{init} {main}");
        }
    }
}

#[test]
fn a_pod_with_more_directories_of_the_node_than_are_kept_may_write_anywhere_on_it() {
    let host = |n: usize| json!({"name": format!("h{n}"), "hostPath": {"path": "/h"}});
    let empty = |n: usize| json!({"name": format!("e{n}"), "emptyDir": {}});
    let secret = |n: usize| json!({"name": format!("s{n}"), "secret": {}});
    let all = |volumes: Vec<Value>| {
        read(pod(
            json!({"volumes": volumes, "containers": [{"name": "c"}]}),
        ))
    };
    let root = VolumeAt::HostPath(PathBuf::from("/"));
    let everywhere = |known: &KnownPod| {
        known.volumes.iter().any(|volume| volume.at == root)
            && may_write_anywhere(&known.containers[0]).contains(&"")
    };
    assert!(everywhere(&all((0..129).map(host).collect())));
    assert!(!everywhere(&all((0..128).map(host).collect())));
    // Whoever may not have a directory of the node cannot make it doubtful whose the others' are.
    assert!(!everywhere(&all((0..999).map(empty).collect())));
    assert!(!everywhere(&all((0..999)
        .map(secret)
        .chain((0..128).map(host))
        .collect())));
    assert!(everywhere(&all((0..128)
        .map(empty)
        .chain([host(0)])
        .collect())));
}

#[test]
fn what_was_read_survives_being_written() {
    for pod in items("pod-list.json") {
        let once = object(&pod);
        let again: PodObject = serde_json::from_value(json!(once)).expect("what it wrote");
        assert_eq!(again.known(), once.known());
        assert_eq!(json!(again), json!(once));
    }
}

#[test]
fn an_environment_is_not_shown() {
    let pod =
        pod(json!({"containers": [{"name": "c", "env": [{"name": "TOKEN", "value": "hunter2"}]}]}));
    let shown = format!("{:?}", object(&pod));
    assert!(
        shown.contains("TOKEN") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn a_probe_is_as_patient_as_it_says_or_as_the_api_has_it() {
    let liveness = |probe: serde_json::Value| {
        let pod: PodObject = serde_json::from_value(json!({
            "metadata": {"uid": "u", "name": "cart", "namespace": "shop"},
            "spec": {"containers": [{"name": "app", "livenessProbe": probe}]}
        }))
        .expect("a pod");
        let known = pod.known().expect("known").containers.remove(0).liveness;
        known.map(|known| {
            (
                known.period.as_secs(),
                known.timeout.as_secs(),
                known.failures,
            )
        })
    };
    assert_eq!(liveness(json!(null)), None);
    assert_eq!(liveness(json!({"httpGet": {"port": 80}})), Some((10, 1, 3)));
    let patient = json!({"periodSeconds": 20, "timeoutSeconds": 5, "failureThreshold": 6});
    assert_eq!(liveness(patient), Some((20, 5, 6)));
    let strange = json!({"periodSeconds": -1, "timeoutSeconds": "x", "failureThreshold": 0});
    assert_eq!(liveness(strange), Some((10, 1, 3)));
}
