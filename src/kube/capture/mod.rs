//! The custom resource `captures.salvage.dev`: somebody asks for a capture of a process in a pod of the same namespace.
//!
//! Who may capture is who may create these: there is no port to guard. The schema that the API server checks them by is made of these types. What an agent reads
//! is read leniently all the same: one object of another version must not keep it from the others.

#![expect(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derive makes a module of its own for the schema, and each column is an attribute"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

mod watch;

pub use watch::{Config as CaptureWatchConfig, Heard, hear};

/// What is asked for. It cannot be changed: what was asked for is what was done.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "salvage.dev",
    version = "v1alpha1",
    kind = "Capture",
    plural = "captures",
    namespaced,
    shortname = "cap",
    status = "CaptureStatus",
    doc = "Asks the agent on a pod's node for a dump, gcdump, trace or counters of a .NET process in the pod.",
    printcolumn(json_path = ".spec.pod", name = "Pod", type_ = "string"),
    printcolumn(json_path = ".spec.kind", name = "Kind", type_ = "string"),
    printcolumn(json_path = ".status.phase", name = "Phase", type_ = "string"),
    printcolumn(json_path = ".status.bytes", name = "Bytes", type_ = "integer"),
    printcolumn(json_path = ".status.crashID", name = "ID", type_ = "string"),
    printcolumn(
        json_path = ".metadata.creationTimestamp",
        name = "Age",
        type_ = "date"
    ),
    printcolumn(
        json_path = ".status.message",
        name = "Message",
        type_ = "string",
        priority = 1
    )
)]
#[x_kube(validation = kube::core::Rule::new("self == oldSelf").message("a request cannot be changed: create another one"))]
#[serde(rename_all = "camelCase")]
pub struct CaptureSpec {
    /// Name of the pod, in the namespace of this object.
    #[schemars(length(min = 1, max = 253))]
    pub pod: String,
    /// Name of the container; needed where several of the pod run .NET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// The process id as it is inside of the container; needed where several in the container run .NET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub process: Option<i32>,
    /// What is taken: `dump`, `gcdump`, `trace` or `counters`.
    #[schemars(schema_with = "kinds")]
    pub kind: String,
    /// Of a dump: `mini`, `triage`, `heap` or `full`; `heap` if nothing is said.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "dump_types")]
    pub dump_type: Option<String>,
    /// Of a trace or of counters: how long, such as `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub duration: Option<String>,
    /// Of a trace: `cpu-sampling`, `gc`, `http` or `contention`; `cpu-sampling` if neither this nor `providers` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub profile: Option<String>,
    /// Of a trace: further sources of events, each `NAME[:KEYWORDS[:LEVEL[:ARGUMENTS]]]`. Of counters: names of sources, `System.Runtime` if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub providers: Vec<String>,
    /// Of counters: names of meters, as `System.Diagnostics.Metrics` has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub meters: Vec<String>,
    /// Of counters: how often they are read, in whole seconds, such as `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub interval: Option<String>,
    /// Most bytes that are taken, such as `2GiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub max_bytes: Option<String>,
    /// Go on where the plan says that the process or its container would come to harm.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// How long this object stays when it has ended, such as `24h`, which it is if nothing is said. What is stored stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub ttl: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaptureStatus {
    /// How far it has come: `Accepted`, `Capturing`, `Shipping`, `Stored` or `Failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The node whose agent took it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Which agent, by its state, and which start of it: another one does not begin again what this one had begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The pod that it is of.
    #[serde(rename = "podUID", default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The container that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The process id as it is inside of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<i32>,
    /// `Accepted`, `Captured` and `Stored`: whether, since when, and why or why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// What it was expected to take, before the process was touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<CaptureEstimate>,
    /// The id that `salvage get` knows it by.
    #[serde(rename = "crashID", default, skip_serializing_if = "Option::is_none")]
    pub crash_id: Option<String>,
    /// The key of its manifest in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Bytes that were taken so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Bytes that it takes in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<i64>,
    /// How long the process stood still, such as `812ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<String>,
    /// Whether it holds all that it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<bool>,
    /// What happened, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the runtime was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub started_at: Option<Time>,
    /// When it had ended, in one way or the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub finished_at: Option<Time>,
    /// The last values of counters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counters: Vec<CounterValue>,
    /// The types that have most of a heap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<TypeCount>,
}

/// What a capture was expected to take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaptureEstimate {
    /// How long the process would stand still, such as `4s`.
    pub pause: String,
    /// Bytes that would be taken.
    pub bytes: i64,
    /// Bytes of the container's memory that it would take.
    pub memory: i64,
}

/// A counter's last value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CounterValue {
    /// Its source and its name, with its unit and its tags.
    pub name: String,
    /// Its value, as text: the API has no numbers with a fraction.
    pub value: String,
}

/// How much of a heap a type has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TypeCount {
    /// Its name.
    pub name: String,
    /// Its living objects.
    pub instances: i64,
    /// Bytes that they take themselves.
    pub bytes: i64,
}

fn kinds(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": crate::model::CaptureKind::ALL.map(crate::model::CaptureKind::name)})
}

fn dump_types(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "nullable": true, "enum": crate::model::DumpType::ALL.map(crate::model::DumpType::name)})
}

fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "nullable": true, "format": "date-time"})
}

/// `metav1.Condition`, as the API's conventions want it.
fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {"type": "string"},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "observedGeneration": {"type": "integer", "format": "int64"},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "reason": {"type": "string"},
                "message": {"type": "string"}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::CustomResourceExt;

    /// The chart's own, which is made of these types.
    #[test]
    fn the_charts_definition_is_that_of_the_types() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/helm/salvage/files/captures.yaml"
        );
        let made = serde_saphyr::to_string(&Capture::crd().spec).expect("as YAML");
        if std::env::var_os("SALVAGE_UPDATE").is_some() {
            std::fs::write(path, &made).expect("the chart is written");
        }
        let written = std::fs::read_to_string(path).expect("the chart has it");
        assert_eq!(written, made, "run with SALVAGE_UPDATE=1 to write it anew");
    }

    #[test]
    fn what_is_asked_for_cannot_be_changed() {
        let crd = serde_json::to_value(Capture::crd()).expect("JSON");
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let spec = &schema["properties"]["spec"];
        assert_eq!(
            spec["x-kubernetes-validations"][0]["rule"],
            "self == oldSelf"
        );
        assert_eq!(spec["required"], serde_json::json!(["kind", "pod"]));
    }
}
