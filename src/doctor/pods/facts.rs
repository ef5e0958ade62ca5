//! What is read of a pod's object beyond what an agent keeps of it.
//!
//! A doctor looks once, so the whole object is read and dropped, one pod after another.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Deserializer};

use super::quantity;
use super::runtimes::{OPTIONS, Told, Variables, told};
use crate::decide::{Coverage, Covered};
use crate::kube::WatchedPod;
use crate::model::{ContainerKind, KnownContainer, KnownPod, VolumeAt};

/// The label by which a namespace or a pod asks to be made to leave dumps.
pub(super) const DUMPS: &str = "salvage.dev/dumps";

/// A pod as the API server sent it.
#[derive(Default)]
pub(in crate::doctor) struct SeenPod {
    /// What an agent keeps of it; absent where the object is none.
    pub(in crate::doctor) known: Option<KnownPod>,
    object: Pod,
}

impl<'de> Deserialize<'de> for SeenPod {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        let known = WatchedPod::deserialize(&value).ok();
        Ok(Self {
            known: known.and_then(|watched| watched.pod),
            // What cannot be read is judged by what an agent keeps alone.
            object: serde_json::from_value(value).unwrap_or_default(),
        })
    }
}

/// What of a container is judged.
pub(super) struct Facts {
    pub(super) name: String,
    /// Its mounts of places where dumps are looked for, those included that cannot be written.
    pub(super) places: Vec<Place>,
    /// Where all its mounts are.
    pub(super) mounts: Vec<PathBuf>,
    /// What its variables make write.
    pub(super) told: Told,
    /// Names of variables that hold a runtime's options and may come from elsewhere as a whole: `envFrom`.
    pub(super) from_elsewhere: Vec<&'static str>,
    pub(super) memory_limit: Option<u64>,
}

/// A mount of a place where dumps are looked for.
pub(super) struct Place {
    pub(super) volume: String,
    /// Where the mount is.
    pub(super) mount: PathBuf,
    /// Where the container sees the place: there, or below.
    pub(super) path: PathBuf,
    /// How many levels of the place are above `path`, and how many are looked into.
    pub(super) levels: usize,
    pub(super) depth: usize,
    /// Whether the mounted directory is known.
    pub(super) is_told: bool,
    pub(super) read_only: bool,
    pub(super) kind: PlaceKind,
}

impl Place {
    /// Whether a dump that is left there can be taken.
    pub(super) fn is_usable(&self) -> bool {
        !self.read_only && self.kind != PlaceKind::Memory
    }
}

/// What kind of volume it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaceKind {
    /// An emptyDir on the node's disk, and the most that may be in it.
    EmptyDir(Option<u64>),
    /// An emptyDir that is a file system in memory, which is not looked into.
    Memory,
    /// A directory of the node.
    HostPath,
}

impl SeenPod {
    /// The node it runs on.
    pub(in crate::doctor) fn node(&self) -> Option<&str> {
        self.object.spec.as_ref()?.node_name.as_deref()
    }

    /// Whether its containers have ended for good.
    pub(super) fn is_over(&self) -> bool {
        let phase = self.object.status.as_ref().and_then(|s| s.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    /// What each of its containers can write where; those that run for as long as the pod does.
    pub(super) fn containers(&self, coverage: &Coverage) -> Vec<Facts> {
        let (Some(known), Some(spec)) = (&self.known, &self.object.spec) else {
            return Vec::new();
        };
        let volumes = spec.volumes.as_deref().unwrap_or_default();
        let volumes: BTreeMap<&str, &Volume> =
            volumes.iter().map(|v| (v.name.as_str(), v)).collect();
        let init = spec.init_containers.as_deref().unwrap_or_default();
        let all = spec.containers.iter().chain(init);
        let lasting = all.filter_map(|container| {
            let kept = known.container(&container.name)?;
            let lasts = matches!(kept.kind, ContainerKind::Main | ContainerKind::Sidecar);
            lasts.then(|| facts(known, kept, container, &volumes, coverage))
        });
        lasting.collect()
    }

    /// The most that the pod's files on the node may take; absent where nothing limits them.
    pub(super) fn ephemeral_limit(&self) -> Option<u64> {
        let containers = &self.object.spec.as_ref()?.containers;
        let limits = containers
            .iter()
            .filter_map(|container| limit(container.resources.as_ref(), "ephemeral-storage"));
        // The kubelet adds up those that are set, and evicts the pod beyond that.
        limits.reduce(u64::saturating_add)
    }
}

fn facts(
    pod: &KnownPod,
    kept: &KnownContainer,
    container: &Container,
    volumes: &BTreeMap<&str, &Volume>,
    coverage: &Coverage,
) -> Facts {
    let variables = variables(container);
    Facts {
        name: container.name.clone(),
        places: places(pod, kept, container, volumes, coverage),
        mounts: container
            .volume_mounts
            .iter()
            .flatten()
            .map(|mount| PathBuf::from(&mount.mount_path))
            .collect(),
        from_elsewhere: from_elsewhere(container, &variables),
        told: told(&variables),
        memory_limit: limit(container.resources.as_ref(), "memory"),
    }
}

fn variables(container: &Container) -> Variables {
    let all = container.env.as_deref().unwrap_or_default();
    all.iter()
        .map(|variable| {
            let value = match (&variable.value, &variable.value_from) {
                (None, Some(_)) => None,
                (value, _) => Some(value.clone().unwrap_or_default()),
            };
            (variable.name.clone(), value)
        })
        .collect()
}

fn from_elsewhere(container: &Container, variables: &Variables) -> Vec<&'static str> {
    if container.env_from.iter().flatten().next().is_none() {
        return Vec::new();
    }
    let missing = OPTIONS
        .into_iter()
        .filter(|name| !variables.contains_key(*name));
    missing.collect()
}

fn places(
    pod: &KnownPod,
    kept: &KnownContainer,
    container: &Container,
    volumes: &BTreeMap<&str, &Volume>,
    coverage: &Coverage,
) -> Vec<Place> {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    // The agent keeps those of volumes that are directories of the node, in this order.
    let is_kept = |name: &str| pod.volumes.iter().any(|volume| volume.name == name);
    let mut known = kept.mounts.iter();
    let mut places = Vec::new();
    for mount in mounts {
        let at = |kind, covered: Covered| Place {
            volume: mount.name.clone(),
            mount: PathBuf::from(&mount.mount_path),
            path: PathBuf::from(&mount.mount_path).join(covered.below),
            levels: covered.levels,
            depth: covered.depth,
            is_told: covered.is_told,
            read_only: mount.read_only == Some(true),
            kind,
        };
        if !is_kept(&mount.name) {
            let volume = volumes.get(mount.name.as_str());
            if let Some(depth) = coverage.depth_of_volume(&mount.name)
                && volume.is_some_and(|v| is_in_memory(v))
            {
                let covered = Covered {
                    below: PathBuf::new(),
                    levels: 0,
                    depth,
                    is_told: true,
                };
                places.push(at(PlaceKind::Memory, covered));
            }
            continue;
        }
        let Some(as_kept) = known.next() else { break };
        let volume = pod.volumes.iter().find(|v| v.name == mount.name);
        let kind = match volume.map(|volume| &volume.at) {
            Some(VolumeAt::HostPath(_)) => PlaceKind::HostPath,
            _ => PlaceKind::EmptyDir(volumes.get(mount.name.as_str()).and_then(|v| size(v))),
        };
        // The agent's own answer.
        let covered = coverage.covered(pod, as_kept).into_iter();
        places.extend(covered.map(|covered| at(kind, covered)));
    }
    places
}

fn is_in_memory(volume: &Volume) -> bool {
    let medium = volume.empty_dir.as_ref().and_then(|e| e.medium.as_deref());
    medium.is_some_and(|medium| !medium.is_empty())
}

fn size(volume: &Volume) -> Option<u64> {
    let limit = volume.empty_dir.as_ref()?.size_limit.as_ref()?;
    // 0 is how "no limit" is written as well.
    quantity::bytes(&limit.0).filter(|limit| *limit > 0)
}

fn limit(resources: Option<&ResourceRequirements>, name: &str) -> Option<u64> {
    let limits: &BTreeMap<String, Quantity> = resources?.limits.as_ref()?;
    quantity::bytes(&limits.get(name)?.0)
}
