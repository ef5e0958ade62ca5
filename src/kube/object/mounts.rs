//! A pod's volumes that are directories of the node, and where its containers mount them.
//!
//! Whether a dump's directory is one pod's alone is decided over all mounts of all pods. A mount that is not seen makes a pod look innocent: with
//! 1,025 mounts, the last of them another pod's directory, it could leave dumps there in that pod's name. So nothing is left out without a trace:
//! where mounts were too many or too long to keep, the pod counts as one that may write everywhere in its volumes, and where a `hostPath` volume was
//! left out, everywhere on the node. Its dumps then are not `exact`, which is what such a pod is owed.

use std::path::PathBuf;

use super::bounds::{MAX_KEPT_MOUNTS, MAX_LABEL_NAME, MAX_PATH, Room};
use super::expand::Variables;
use super::wire::{Container, HostPath, Spec, VolumeMount};
use crate::model::{KnownPod, Mount, NodeVolume, SubPath, VolumeAt};

/// Containers in which what was left out is stood in for. Two leave it open which of them it was; in all 128 it would be 16,000 mounts.
const STOOD_IN_FOR: usize = 2;

/// Collects the places of one pod, as far as there is room for them.
pub(super) struct Places {
    room: Room,
    mounts_left: usize,
    hidden: Hidden,
}

/// What of a pod was left out and may have been mounts.
struct Hidden {
    /// A directory of the node.
    volumes: bool,
    /// Mounts, or a container that may have had some.
    mounts: bool,
}

impl Places {
    /// Begins with what was left out of the pod's lists as they were read.
    pub(super) fn of(spec: &Spec) -> Self {
        let [init, main, ephemeral] = [
            &spec.init_containers,
            &spec.containers,
            &spec.ephemeral_containers,
        ];
        Self {
            room: Room::for_places(),
            mounts_left: MAX_KEPT_MOUNTS,
            hidden: Hidden {
                volumes: spec.volumes.cut,
                mounts: init.cut || main.cut || ephemeral.cut,
            },
        }
    }

    /// The volumes that are directories of the node.
    pub(super) fn volumes(&mut self, spec: &Spec) -> Vec<NodeVolume> {
        let mut known = Vec::new();
        for volume in &spec.volumes.items {
            let path = match &volume.host_path {
                // Refused by the API server.
                Some(HostPath { path: None }) => continue,
                Some(HostPath { path }) => path.as_deref(),
                None => None,
            };
            let Some(name) = volume.name.as_deref() else {
                continue;
            };
            let length = path.unwrap_or_default().len();
            // Its name may be needed again, in the mounts that stand in for others.
            let bytes = name.len() * (1 + STOOD_IN_FOR) + length;
            let fits = name.len() <= MAX_LABEL_NAME && length <= MAX_PATH;
            if !(fits && self.room.take(bytes)) {
                // As in a list that is too long: an `emptyDir` is nobody else's directory.
                self.hidden.volumes |= path.is_some();
                continue;
            }
            known.push(NodeVolume {
                name: name.to_owned(),
                at: path.map_or(VolumeAt::EmptyDir, |path| {
                    VolumeAt::HostPath(PathBuf::from(path))
                }),
            });
        }
        known
    }

    /// The mounts of these volumes in a container. Its variables are asked for when a sub path needs them: few do.
    pub(super) fn mounts<'a>(
        &mut self,
        container: &'a Container,
        volumes: &[NodeVolume],
        variables: impl FnOnce() -> Variables<'a>,
    ) -> Vec<Mount> {
        self.hidden.mounts |= container.volume_mounts.cut;
        let mounts = container.volume_mounts.items.iter().filter(|mount| {
            let name = mount.name.as_ref();
            volumes.iter().any(|volume| Some(&volume.name) == name)
        });
        let mounts: Vec<_> = mounts.collect();
        let has_variables = mounts.iter().any(|mount| mount.sub_path_expr.is_some());
        let variables = has_variables.then(variables);
        let mut known = Vec::new();
        for mount in mounts {
            let Some(volume) = &mount.name else {
                continue;
            };
            if self.mounts_left == 0 || !self.room.take(volume.len()) {
                self.hidden.mounts = true;
                break;
            }
            self.mounts_left -= 1;
            let mut sub = sub_path(mount, variables.as_ref());
            if !self.room.take(size(&sub)) {
                sub = SubPath::Untold;
            }
            known.push(Mount {
                volume: volume.clone(),
                sub,
                read_only: mount.read_only == Some(true),
            });
        }
        known
    }

    /// A container was left out.
    pub(super) fn miss_container(&mut self) {
        self.hidden.mounts = true;
    }

    /// Stands in for what was left out, so that neither the pod nor one of its containers is taken for the only one that mounts a directory.
    pub(super) fn reveal(self, pod: &mut KnownPod) {
        let Hidden { volumes, mounts } = self.hidden;
        if volumes {
            pod.volumes.push(NodeVolume {
                name: String::new(),
                at: VolumeAt::HostPath(PathBuf::from("/")),
            });
        }
        if volumes || mounts {
            for container in pod.containers.iter_mut().take(STOOD_IN_FOR) {
                container.mounts.extend(pod.volumes.iter().map(anywhere));
            }
        }
    }
}

/// What a sub path takes of the room. A level counts with its place in memory: a path of 4,096 bytes may have 2,048 of them.
fn size(sub: &SubPath) -> usize {
    match sub {
        SubPath::Whole | SubPath::Untold => 0,
        SubPath::Levels(levels) => levels
            .iter()
            .map(|level| level.len() + size_of::<String>())
            .sum(),
    }
}

/// A mount that may be of any directory of the volume.
fn anywhere(volume: &NodeVolume) -> Mount {
    Mount {
        volume: volume.name.clone(),
        sub: SubPath::Untold,
        read_only: false,
    }
}

fn sub_path(mount: &VolumeMount, variables: Option<&Variables<'_>>) -> SubPath {
    let expanded;
    let path = match (&mount.sub_path_expr, variables) {
        (Some(expression), Some(variables)) => {
            let Some(path) = variables.expand(expression) else {
                return SubPath::Untold;
            };
            expanded = path;
            &expanded
        }
        (Some(_), None) => return SubPath::Untold,
        (None, _) => match &mount.sub_path {
            Some(path) => path,
            None => return SubPath::Whole,
        },
    };
    levels(path)
}

/// The levels of a path, as the kubelet joins it to the volume's. What it refuses starts no container, and what is not understood is not told.
fn levels(path: &str) -> SubPath {
    let refused = path.starts_with('/') || path.len() > MAX_PATH || path.contains('\0');
    if refused || path.split('/').any(|level| level == "..") {
        return SubPath::Untold;
    }
    let levels = path.split('/').filter(|level| !matches!(*level, "" | "."));
    let levels: Vec<_> = levels.map(str::to_owned).collect();
    if levels.is_empty() {
        return SubPath::Whole;
    }
    SubPath::Levels(levels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_path_is_what_the_kubelet_joins_to_the_volumes_path() {
        let told = |levels: &[&str]| SubPath::Levels(levels.iter().map(|&l| l.into()).collect());
        for (path, expected) in [
            ("a", told(&["a"])),
            ("a/b", told(&["a", "b"])),
            ("a//b/", told(&["a", "b"])),
            ("./a/./b", told(&["a", "b"])),
            ("..a/b..", told(&["..a", "b.."])),
            ("$(A)", told(&["$(A)"])),
            ("", SubPath::Whole),
            (".", SubPath::Whole),
            ("..", SubPath::Untold),
            ("a/../b", SubPath::Untold),
            ("/a", SubPath::Untold),
            ("/", SubPath::Untold),
            ("a\0b", SubPath::Untold),
        ] {
            assert_eq!(levels(path), expected, "{path:?}");
        }
        assert_eq!(levels(&"a/".repeat(3_000)), SubPath::Untold);
    }
}
