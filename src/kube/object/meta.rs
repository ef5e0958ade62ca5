//! A pod's metadata, as far as it is read.
//!
//! The only place that knows its type: whoever hands the object to `kube`, which wants `k8s_openapi`'s `ObjectMeta`, makes one of `resource_version` and
//! keeps the rest from it. Of a recorded object `managedFields` and annotations are more than half, and anyone may store 256 KiB of the latter.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::loose::{self, Element, Listed};
use crate::model::MemoryCapture;

/// The annotation by which a pod asks not to be collected from: `"false"`, or anything else but `"true"`.
pub(crate) const COLLECT: &str = "salvage.dev/collect";
/// The annotation by which a pod asks that its log is not taken, in the same way.
pub(crate) const LOG: &str = "salvage.dev/log";
/// The annotation by which a pod asks for a capture when its memory comes near its limit: `"90%"`, or `"off"`.
pub(super) const CAPTURE_AT: &str = "salvage.dev/capture-at-memory";
/// The annotation that says what is captured then.
pub(super) const CAPTURE_TAKE: &str = "salvage.dev/capture-take";
/// Longest value of these that is kept: what is cut is none of their words.
const CAPTURE_MAX: usize = 32;
/// The only value of these by which a pod asks for nothing.
const YES: &str = "true";
/// What our annotations begin with.
const OURS: &str = "salvage.dev/";
/// The UID that the kubelet uses for a static pod.
pub(super) const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Marks the object of a static pod. The API server refuses to add, change or remove it later.
pub(super) const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// Most owners kept; only one of them can be the controller, and the others are not kept.
const MAX_OWNERS: usize = 1;

/// The metadata of a pod.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Meta {
    /// Its name.
    #[serde(deserialize_with = "loose::text")]
    pub(crate) name: Option<String>,
    /// Its namespace.
    #[serde(deserialize_with = "loose::text")]
    pub(crate) namespace: Option<String>,
    /// Its UID.
    #[serde(deserialize_with = "loose::text")]
    pub(crate) uid: Option<String>,
    /// Where a watch can go on from.
    #[serde(deserialize_with = "loose::text")]
    pub(crate) resource_version: Option<String>,
    /// When it was made.
    #[serde(deserialize_with = "loose::time")]
    pub(crate) creation_timestamp: Option<Timestamp>,
    /// When its grace period ends, once it is deleted.
    #[serde(deserialize_with = "loose::time")]
    pub(crate) deletion_timestamp: Option<Timestamp>,
    /// How long the grace period is.
    #[serde(deserialize_with = "loose::number")]
    pub(crate) deletion_grace_period_seconds: Option<i64>,
    /// Its labels.
    #[serde(deserialize_with = "labels")]
    pub(crate) labels: BTreeMap<String, String>,
    /// Ours, and what tells a static pod.
    #[serde(deserialize_with = "annotations")]
    pub(crate) annotations: BTreeMap<String, String>,
    /// What controls it.
    pub(super) owner_references: Listed<OwnerReference, MAX_OWNERS>,
}

impl Meta {
    /// Whether the pod forbids what this annotation is about. Who wrote `"False"`, `"no"` or a slip of the pen meant to forbid it: what was allowed
    /// anyway needs no annotation.
    pub(super) fn forbids(&self, annotation: &str) -> bool {
        let value = self.annotations.get(annotation);
        value.is_some_and(|value| !value.trim().eq_ignore_ascii_case(YES))
    }
}

/// What the pod says of captures before it runs out of memory.
pub(super) fn memory_capture(meta: &Meta) -> MemoryCapture {
    let value = |annotation: &str| {
        let value = meta.annotations.get(annotation)?;
        Some(value.chars().take(CAPTURE_MAX).collect())
    };
    MemoryCapture {
        at: value(CAPTURE_AT),
        take: value(CAPTURE_TAKE),
    }
}

/// Something that a pod belongs to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct OwnerReference {
    #[serde(deserialize_with = "loose::text")]
    pub(super) kind: Option<String>,
    #[serde(deserialize_with = "loose::text")]
    pub(super) name: Option<String>,
    #[serde(deserialize_with = "loose::flag")]
    pub(super) controller: Option<bool>,
}

impl Element for OwnerReference {
    fn wanted(&self) -> bool {
        self.controller == Some(true)
    }
}

fn labels<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    loose::texts(from, |_| true, None)
}

/// Ours and those that tell a static pod. The others are passed over while they are read: `last-applied-configuration` alone is as long as the
/// rest of the object, and anyone may store 256 KiB of them.
fn annotations<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let wanted = |key: &str| key.starts_with(OURS) || key == CONFIG_HASH || key == CONFIG_MIRROR;
    // The API server sends texts only. One of ours that is none was written all the same, and must not count as absent.
    loose::texts(from, wanted, Some(""))
}
