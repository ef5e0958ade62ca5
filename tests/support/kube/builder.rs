//! Pods as a kubelet reports them: what the recorded ones have, with names and ends of a test's choice.

use jiff::Timestamp;
use serde_json::{Value, json};

/// A pod under construction.
#[derive(Clone)]
pub(crate) struct PodBuilder {
    pod: Value,
    uid: String,
    created: Timestamp,
}

/// Where a container sees a volume.
#[derive(Clone, Copy)]
pub(crate) struct Mount<'a> {
    volume: &'a str,
    path: &'a str,
    sub_path: Option<&'a str>,
    sub_path_expr: Option<&'a str>,
    read_only: bool,
}

impl<'a> Mount<'a> {
    pub(crate) fn new(volume: &'a str, path: &'a str) -> Self {
        Self {
            volume,
            path,
            sub_path: None,
            sub_path_expr: None,
            read_only: false,
        }
    }

    pub(crate) fn sub_path(self, sub_path: &'a str) -> Self {
        Self {
            sub_path: Some(sub_path),
            ..self
        }
    }

    /// `$(NAMESPACE)/$(POD)/app` for example.
    pub(crate) fn sub_path_expr(self, expression: &'a str) -> Self {
        Self {
            sub_path_expr: Some(expression),
            ..self
        }
    }

    pub(crate) fn read_only(self) -> Self {
        Self {
            read_only: true,
            ..self
        }
    }

    fn json(self) -> Value {
        let mut mount = json!({"name": self.volume, "mountPath": self.path});
        if let Some(sub_path) = self.sub_path {
            mount["subPath"] = json!(sub_path);
        }
        if let Some(expression) = self.sub_path_expr {
            mount["subPathExpr"] = json!(expression);
        }
        if self.read_only {
            mount["readOnly"] = json!(true);
        }
        mount
    }
}

/// How a start of a container ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    code: i32,
    reason: String,
    signal: Option<i32>,
    started: Timestamp,
    finished: Timestamp,
    /// With its scheme, `containerd://…`.
    id: String,
}

impl Ended {
    /// After a run of ten seconds. The id may have its scheme or not, and may be empty.
    pub(crate) fn new(code: i32, reason: &str, finished: Timestamp, id: &str) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            signal: None,
            started: finished - jiff::SignedDuration::from_secs(10),
            finished,
            id: with_scheme(id),
        }
    }

    /// A `signal` field besides the exit code: CRI-O and older runtimes do so.
    pub(crate) fn signal(mut self, signal: i32) -> Self {
        self.signal = Some(signal);
        self
    }

    /// Another start.
    pub(crate) fn started(mut self, started: Timestamp) -> Self {
        self.started = started;
        self
    }

    fn json(&self) -> Value {
        let mut terminated = json!({
            "exitCode": self.code,
            "reason": self.reason,
            "startedAt": time(self.started),
            "finishedAt": time(self.finished),
        });
        if let Some(signal) = self.signal {
            terminated["signal"] = json!(signal);
        }
        if !self.id.is_empty() {
            terminated["containerID"] = json!(self.id);
        }
        json!({"terminated": terminated})
    }
}

/// What a container does now.
#[derive(Clone, Debug)]
pub(crate) enum Now {
    /// Runs since, with this id.
    Running(Timestamp, String),
    /// Has ended.
    Terminated(Ended),
    /// Waits for this reason, `CrashLoopBackOff` or `ContainerCreating` for example.
    Waiting(&'static str),
}

impl Now {
    pub(crate) fn running(since: Timestamp, id: &str) -> Self {
        Self::Running(since, with_scheme(id))
    }

    fn json(&self) -> Value {
        match self {
            Self::Running(since, _) => json!({"running": {"startedAt": time(*since)}}),
            Self::Terminated(ended) => ended.json(),
            Self::Waiting(reason) => json!({"waiting": {"reason": reason}}),
        }
    }
}

impl PodBuilder {
    /// A pod without containers that was made a minute ago.
    pub(crate) fn new(namespace: &str, name: &str, uid: &str) -> Self {
        let created = Timestamp::now() - jiff::SignedDuration::from_mins(1);
        let created = super::recorded::seconds(created);
        let condition = |name: &str, status: &str| {
            json!({
                "type": name,
                "observedGeneration": 1,
                "status": status,
                "lastProbeTime": null,
                "lastTransitionTime": time(created),
            })
        };
        let pod = json!({
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid,
                "generation": 1,
                "creationTimestamp": time(created),
            },
            "spec": {
                "volumes": [{
                    "name": "kube-api-access-x7k2p",
                    "projected": {
                        "sources": [
                            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                        ],
                        "defaultMode": 420,
                    },
                }],
                "containers": [],
                "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 30,
                "dnsPolicy": "ClusterFirst",
                "serviceAccountName": "default",
                "serviceAccount": "default",
                "securityContext": {},
                "schedulerName": "default-scheduler",
                "tolerations": [{
                    "key": "node.kubernetes.io/not-ready",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 300,
                }],
                "priority": 0,
                "enableServiceLinks": true,
                "preemptionPolicy": "PreemptLowerPriority",
            },
            "status": {
                "observedGeneration": 1,
                "phase": "Running",
                "conditions": [
                    condition("PodReadyToStartContainers", "True"),
                    condition("Initialized", "True"),
                    condition("Ready", "False"),
                    condition("ContainersReady", "False"),
                    condition("PodScheduled", "True"),
                ],
                "hostIP": "10.244.255.1",
                "hostIPs": [{"ip": "10.244.255.1"}],
                "podIP": "10.244.0.24",
                "podIPs": [{"ip": "10.244.0.24"}],
                "startTime": time(created),
                "qosClass": "BestEffort",
            },
        });
        Self {
            pod,
            uid: uid.to_owned(),
            created,
        }
    }

    /// The pod as it is so far.
    pub(crate) fn build(&self) -> Value {
        self.pod.clone()
    }

    /// On another node than the server's.
    pub(crate) fn node(self, node: &str) -> Self {
        self.with("/spec", "nodeName", json!(node))
    }

    /// Its controller: `("ReplicaSet", "checkout-5fb6b667cc")`.
    pub(crate) fn owner(self, kind: &str, name: &str) -> Self {
        let version = match kind {
            "Job" | "CronJob" => "batch/v1",
            "Node" => "v1",
            _ => "apps/v1",
        };
        let owner = json!([{
            "apiVersion": version,
            "kind": kind,
            "name": name,
            "uid": uid_like(&format!("{kind}/{name}")),
            "controller": true,
            "blockOwnerDeletion": true,
        }]);
        self.with("/metadata", "ownerReferences", owner)
    }

    pub(crate) fn label(mut self, name: &str, value: &str) -> Self {
        self.pod["metadata"]["labels"][name] = json!(value);
        self
    }

    pub(crate) fn annotation(mut self, name: &str, value: &str) -> Self {
        self.pod["metadata"]["annotations"][name] = json!(value);
        self
    }

    /// A field of the spec: `hostname`, `hostNetwork`, `securityContext`, …
    pub(crate) fn spec(self, field: &str, value: Value) -> Self {
        self.with("/spec", field, value)
    }

    /// A container that has not been started yet.
    pub(crate) fn container(self, name: &str, mounts: &[Mount<'_>]) -> Self {
        self.contained("containers", name, mounts, None)
    }

    /// A container that runs to its end before the others start.
    pub(crate) fn init_container(self, name: &str, mounts: &[Mount<'_>]) -> Self {
        self.contained("initContainers", name, mounts, None)
    }

    /// One that starts before the others and lives beside them.
    pub(crate) fn sidecar(self, name: &str, mounts: &[Mount<'_>]) -> Self {
        self.contained("initContainers", name, mounts, Some("Always"))
    }

    /// A field of a container's spec: `securityContext`, `env`, `image`, …
    pub(crate) fn container_field(mut self, container: &str, field: &str, value: Value) -> Self {
        self.find("spec", ["containers", "initContainers"], container)[field] = value;
        self
    }

    pub(crate) fn host_path_volume(self, name: &str, path: &str) -> Self {
        self.volume(json!({"name": name, "hostPath": {"path": path, "type": "Directory"}}))
    }

    pub(crate) fn empty_dir(self, name: &str) -> Self {
        self.volume(json!({"name": name, "emptyDir": {}}))
    }

    /// Any other volume.
    pub(crate) fn volume(mut self, volume: Value) -> Self {
        self.list("spec", "volumes").push(volume);
        self
    }

    /// What a container does now, after so many restarts, and how the start before ended.
    pub(crate) fn status(
        mut self,
        container: &str,
        restarts: u32,
        now: Now,
        last: Option<Ended>,
    ) -> Self {
        let lists = ["containerStatuses", "initContainerStatuses"];
        let status = self.find("status", lists, container);
        let running = matches!(now, Now::Running(..));
        status["restartCount"] = json!(restarts);
        status["ready"] = json!(running);
        status["started"] = json!(running);
        status["state"] = now.json();
        status["lastState"] = last.as_ref().map_or(json!({}), Ended::json);
        // Of the newest container there is; while the next one waits it names the one that ended.
        let id = match (&now, &last) {
            (Now::Running(_, id), _) => id.clone(),
            (Now::Terminated(ended), _) => ended.id.clone(),
            (Now::Waiting(_), Some(last)) => last.id.clone(),
            (Now::Waiting(_), None) => String::new(),
        };
        if !id.is_empty() {
            status["containerID"] = json!(id);
            status["imageID"] =
                json!("sha256:3323ed50445c09fdb3c907c9e1b840c6a4a845857e1d2e115a72639701ef61eb");
        }
        self
    }

    /// `Pending`, `Running`, `Succeeded` or `Failed`.
    pub(crate) fn phase(self, phase: &str) -> Self {
        self.with("/status", "phase", json!(phase))
    }

    /// Why the whole pod ended: `Evicted`, `DeadlineExceeded`, `NodeShutdown`, …
    pub(crate) fn reason(self, reason: &str, message: &str) -> Self {
        self.with("/status", "reason", json!(reason))
            .with("/status", "message", json!(message))
    }

    /// One more condition that is true: `("DisruptionTarget", "EvictionByEvictionAPI")`.
    pub(crate) fn condition(mut self, name: &str, reason: &str) -> Self {
        let condition = json!({
            "type": name,
            "status": "True",
            "reason": reason,
            "lastProbeTime": null,
            "lastTransitionTime": time(self.created),
        });
        self.list("status", "conditions").push(condition);
        self
    }

    /// Asked to end now, within so many seconds.
    pub(crate) fn deleted(self, grace: u32) -> Self {
        self.deleted_at(Timestamp::now(), grace)
    }

    /// Asked to end at this time. `deletionTimestamp` is when the grace period ends, as the API server sets it.
    pub(crate) fn deleted_at(self, when: Timestamp, grace: u32) -> Self {
        let end = when + jiff::SignedDuration::from_secs(i64::from(grace));
        self.with("/metadata", "deletionTimestamp", time(end)).with(
            "/metadata",
            "deletionGracePeriodSeconds",
            json!(grace),
        )
    }

    /// Some 40 KB of what real pods carry and nobody here needs.
    pub(crate) fn large(mut self) -> Self {
        let fields: serde_json::Map<String, Value> = (0..250)
            .map(|n| {
                (
                    format!("k:{{\"name\":\"SETTING_{n:03}\"}}"),
                    json!({".": {}, "f:name": {}, "f:value": {}}),
                )
            })
            .collect();
        self.pod["metadata"]["managedFields"] = json!([{
            "manager": "kube-controller-manager",
            "operation": "Update",
            "apiVersion": "v1",
            "time": time(self.created),
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {"f:env": fields}}}},
        }]);
        let env: Vec<Value> = (0..250)
            .map(|n| json!({"name": format!("SETTING_{n:03}"), "value": format!("value-{n}-")}))
            .collect();
        let applied = json!({"spec": {"containers": [{"name": "app", "env": env}]}}).to_string();
        for container in self.list("spec", "containers") {
            container["env"] = json!(env);
        }
        self.annotation("kubectl.kubernetes.io/last-applied-configuration", &applied)
    }

    fn contained(
        mut self,
        list: &str,
        name: &str,
        mounts: &[Mount<'_>],
        restarts: Option<&str>,
    ) -> Self {
        let mut all = vec![json!({
            "name": "kube-api-access-x7k2p",
            "readOnly": true,
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        })];
        all.extend(mounts.iter().map(|mount| mount.json()));
        let mut container = json!({
            "name": name,
            "image": "registry.example/shop/app:1.4.2",
            "resources": {},
            "volumeMounts": all,
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "imagePullPolicy": "IfNotPresent",
        });
        if let Some(policy) = restarts {
            container["restartPolicy"] = json!(policy);
        }
        self.list("spec", list).push(container);
        let statuses = match list {
            "containers" => "containerStatuses",
            _ => "initContainerStatuses",
        };
        self.list("status", statuses).push(json!({
            "name": name,
            "state": {"waiting": {"reason": "ContainerCreating"}},
            "lastState": {},
            "ready": false,
            "restartCount": 0,
            "image": "registry.example/shop/app:1.4.2",
            "imageID": "",
            "started": false,
        }));
        self
    }

    fn with(mut self, at: &str, field: &str, value: Value) -> Self {
        let object = self.pod.pointer_mut(at).expect("every pod has it");
        object[field] = value;
        self
    }

    fn list(&mut self, part: &str, name: &str) -> &mut Vec<Value> {
        let list = &mut self.pod[part][name];
        if list.is_null() {
            *list = json!([]);
        }
        list.as_array_mut().expect("a list")
    }

    fn find(&mut self, part: &str, lists: [&str; 2], name: &str) -> &mut Value {
        let uid = self.uid.clone();
        let part = self.pod[part].as_object_mut().expect("an object");
        let lists = part
            .iter_mut()
            .filter(|(list, _)| lists.contains(&list.as_str()));
        let mut items = lists.filter_map(|(_, list)| list.as_array_mut()).flatten();
        items
            .find(|item| item["name"] == name)
            .unwrap_or_else(|| panic!("{uid} has no container {name}"))
    }
}

/// A container id as containerd makes them, always the same for the n-th start of a pod's container.
pub(crate) fn container_id(uid: &str, container: &str, start: u32) -> String {
    let digits = |part: u8| hash(&format!("{uid}/{container}/{start}/{part}"));
    let digits: String = (0..4)
        .map(|part| format!("{:016x}", digits(part)))
        .collect();
    format!("containerd://{digits}")
}

fn with_scheme(id: &str) -> String {
    if id.is_empty() || id.contains("://") {
        return id.to_owned();
    }
    format!("containerd://{id}")
}

fn uid_like(text: &str) -> String {
    let (high, low) = (hash(text), hash(&format!("{text}+")));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

/// FNV-1a: the same on every run, unlike the standard library's.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn time(time: Timestamp) -> Value {
    json!(super::recorded::seconds(time).to_string())
}
