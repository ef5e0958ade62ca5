//! The pod as `kube` handles it: known the moment it is read, so that nothing of its object but that is ever held.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Deserializer};

use super::object::PodObject;
use crate::model::KnownPod;

/// A pod that was listed or watched.
#[derive(Clone, Debug, Default)]
pub struct WatchedPod {
    /// Where a watch goes on from; nothing else of it is kept.
    meta: ObjectMeta,
    /// The pod; none where the object is none.
    pub pod: Option<KnownPod>,
}

impl WatchedPod {
    /// Where a watch goes on from after it.
    pub(super) fn version(&self) -> Option<&str> {
        self.meta.resource_version.as_deref()
    }
}

impl<'de> Deserialize<'de> for WatchedPod {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let object = PodObject::deserialize(from)?;
        Ok(Self {
            meta: ObjectMeta {
                resource_version: object.metadata.resource_version.clone(),
                ..ObjectMeta::default()
            },
            pod: object.known(),
        })
    }
}

impl Resource for WatchedPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}
