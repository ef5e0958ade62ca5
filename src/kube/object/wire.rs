//! The fields of a v1 Pod that are read, by their names in the API.
//!
//! Every field may be absent, `null` or of another type, and every list is bounded. Serialized, an object has what was read and no more.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::loose::{self, Element, Listed};
use super::meta::Meta;

/// Most containers of a pod, of all kinds; those of service meshes and build systems have a few dozen.
pub(super) const MAX_CONTAINERS: usize = 128;
/// Most mounts of a container, of volumes of all kinds.
const MAX_MOUNTS: usize = 1_024;
/// Most volumes of a pod that are directories of the node.
const MAX_VOLUMES: usize = 128;
/// Most variables of a container; one with service links turned into variables by hand has hundreds.
const MAX_VARIABLES: usize = 1_024;
/// Most conditions of a pod, of those that are read: a type comes once.
const MAX_CONDITIONS: usize = 1;

/// A v1 Pod.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodObject {
    /// What it is; absent in a list, where the list says it.
    #[serde(
        deserialize_with = "loose::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) kind: Option<String>,
    /// Its metadata.
    #[serde(deserialize_with = "loose::object")]
    pub(crate) metadata: Meta,
    /// What its author wanted.
    #[serde(deserialize_with = "loose::object")]
    pub(super) spec: Spec,
    /// What became of it.
    #[serde(deserialize_with = "loose::object")]
    pub(super) status: Status,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(deserialize_with = "loose::text")]
    pub(super) node_name: Option<String>,
    #[serde(deserialize_with = "loose::text")]
    pub(super) service_account_name: Option<String>,
    #[serde(deserialize_with = "loose::text")]
    pub(super) hostname: Option<String>,
    #[serde(deserialize_with = "loose::text")]
    pub(super) hostname_override: Option<String>,
    #[serde(deserialize_with = "loose::flag")]
    pub(super) host_network: Option<bool>,
    #[serde(deserialize_with = "loose::flag")]
    pub(super) host_users: Option<bool>,
    #[serde(deserialize_with = "loose::number")]
    pub(super) active_deadline_seconds: Option<i64>,
    #[serde(deserialize_with = "loose::object")]
    pub(super) security_context: SecurityContext,
    pub(super) volumes: Listed<Volume, MAX_VOLUMES>,
    pub(super) init_containers: Listed<Container, MAX_CONTAINERS>,
    pub(super) containers: Listed<Container, MAX_CONTAINERS>,
    pub(super) ephemeral_containers: Listed<Container, MAX_CONTAINERS>,
}

/// Of a pod or of a container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SecurityContext {
    #[serde(deserialize_with = "loose::number")]
    pub(super) run_as_user: Option<i64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Volume {
    #[serde(deserialize_with = "loose::text")]
    pub(super) name: Option<String>,
    #[serde(deserialize_with = "loose::maybe")]
    pub(super) empty_dir: Option<EmptyDir>,
    #[serde(deserialize_with = "loose::maybe")]
    pub(super) host_path: Option<HostPath>,
}

impl Element for Volume {
    fn wanted(&self) -> bool {
        let on_disk = |empty_dir: &EmptyDir| empty_dir.medium.is_none();
        self.empty_dir.as_ref().is_some_and(on_disk) || self.host_path.is_some()
    }

    /// An `emptyDir` that is left out is nobody else's directory. Anyone may have 129 of them, but a `hostPath` only who may have one.
    fn missed(&self) -> bool {
        self.host_path.is_some()
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct EmptyDir {
    /// Absent on the node's disk. All others, `Memory` and `HugePages`, are file systems of their own, which are never looked into.
    #[serde(deserialize_with = "loose::text")]
    pub(super) medium: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct HostPath {
    #[serde(deserialize_with = "loose::text")]
    pub(super) path: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Container {
    #[serde(deserialize_with = "loose::text")]
    pub(super) name: Option<String>,
    #[serde(deserialize_with = "loose::text")]
    pub(super) image: Option<String>,
    #[serde(deserialize_with = "loose::text")]
    pub(super) restart_policy: Option<String>,
    #[serde(deserialize_with = "loose::object")]
    pub(super) security_context: SecurityContext,
    #[serde(deserialize_with = "loose::maybe")]
    pub(super) liveness_probe: Option<Probe>,
    pub(super) volume_mounts: Listed<VolumeMount, MAX_MOUNTS>,
    pub(super) env: Listed<Variable, MAX_VARIABLES>,
    pub(super) env_from: Listed<EnvFrom, 1>,
}

impl Element for Container {}

/// How the kubelet finds out whether a container lives: how often and how patiently it asks, not what.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Probe {
    #[serde(deserialize_with = "loose::number")]
    pub(super) period_seconds: Option<i64>,
    #[serde(deserialize_with = "loose::number")]
    pub(super) timeout_seconds: Option<i64>,
    #[serde(deserialize_with = "loose::number")]
    pub(super) failure_threshold: Option<i64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct VolumeMount {
    #[serde(deserialize_with = "loose::text")]
    pub(super) name: Option<String>,
    #[serde(deserialize_with = "loose::flag")]
    pub(super) read_only: Option<bool>,
    #[serde(deserialize_with = "loose::text")]
    pub(super) sub_path: Option<String>,
    #[serde(deserialize_with = "loose::text")]
    pub(super) sub_path_expr: Option<String>,
}

impl Element for VolumeMount {}

/// A variable of a container's environment. Read for the sub paths alone; [`super::PodObject::known`] leaves all of them behind.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Variable {
    #[serde(deserialize_with = "loose::text")]
    pub(super) name: Option<String>,
    #[serde(deserialize_with = "loose::text")]
    pub(super) value: Option<String>,
    #[serde(deserialize_with = "loose::maybe")]
    pub(super) value_from: Option<ValueFrom>,
}

impl Element for Variable {}

/// Without the value: environments hold secrets, and objects get into logs.
impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variable")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Where a variable's value comes from: a field of the pod, else something that is not read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ValueFrom {
    #[serde(deserialize_with = "loose::maybe")]
    pub(super) field_ref: Option<FieldRef>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct FieldRef {
    #[serde(deserialize_with = "loose::text")]
    pub(super) field_path: Option<String>,
}

/// Variables from a ConfigMap or a Secret: that there are any is all that is read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct EnvFrom {}

impl Element for EnvFrom {}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    #[serde(deserialize_with = "loose::text")]
    pub(super) reason: Option<String>,
    #[serde(deserialize_with = "loose::time")]
    pub(super) start_time: Option<Timestamp>,
    pub(super) conditions: Listed<Condition, MAX_CONDITIONS>,
    pub(super) init_container_statuses: Listed<ContainerStatus, MAX_CONTAINERS>,
    pub(super) container_statuses: Listed<ContainerStatus, MAX_CONTAINERS>,
    pub(super) ephemeral_container_statuses: Listed<ContainerStatus, MAX_CONTAINERS>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(deserialize_with = "loose::text", rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(deserialize_with = "loose::text")]
    pub(super) status: Option<String>,
    #[serde(deserialize_with = "loose::time")]
    pub(super) last_transition_time: Option<Timestamp>,
}

/// The condition of a pod that something asked to end.
pub(super) const DISRUPTION_TARGET: &str = "DisruptionTarget";

impl Element for Condition {
    fn wanted(&self) -> bool {
        self.kind.as_deref() == Some(DISRUPTION_TARGET) && self.status.as_deref() == Some("True")
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerStatus {
    #[serde(deserialize_with = "loose::text")]
    pub(super) name: Option<String>,
    #[serde(deserialize_with = "loose::text", rename = "containerID")]
    pub(super) container_id: Option<String>,
    #[serde(deserialize_with = "loose::text", rename = "imageID")]
    pub(super) image_id: Option<String>,
    #[serde(deserialize_with = "loose::number")]
    pub(super) restart_count: Option<i64>,
    #[serde(deserialize_with = "loose::object")]
    pub(super) state: State,
    #[serde(deserialize_with = "loose::object")]
    pub(super) last_state: State,
}

impl Element for ContainerStatus {}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    #[serde(deserialize_with = "loose::maybe")]
    pub(super) running: Option<Running>,
    #[serde(deserialize_with = "loose::maybe")]
    pub(super) terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Running {
    #[serde(deserialize_with = "loose::time")]
    pub(super) started_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Terminated {
    #[serde(deserialize_with = "loose::text", rename = "containerID")]
    pub(super) container_id: Option<String>,
    #[serde(deserialize_with = "loose::number")]
    pub(super) exit_code: Option<i64>,
    #[serde(deserialize_with = "loose::number")]
    pub(super) signal: Option<i64>,
    #[serde(deserialize_with = "loose::text")]
    pub(super) reason: Option<String>,
    #[serde(deserialize_with = "loose::time")]
    pub(super) started_at: Option<Timestamp>,
    #[serde(deserialize_with = "loose::time")]
    pub(super) finished_at: Option<Timestamp>,
}
