//! Whether a dump of a container could have been seen at all.

use std::path::{Path, PathBuf};

use crate::model::{KnownContainer, KnownPod, Mount, SubPath, VolumeAt};

/// The places where dumps are looked for, each with how many levels below it are looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Directories of the node.
    pub directories: Vec<(PathBuf, usize)>,
    /// Names of emptyDir volumes.
    pub volumes: Vec<(String, usize)>,
}

/// A place where dumps are looked for, as one mount shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Where it is below the mount; empty where the mount is in it.
    pub below: PathBuf,
    /// How many levels below the place the mount is.
    pub levels: usize,
    /// How many levels of the place are looked into.
    pub depth: usize,
    /// Whether the mounted directory is known, so that it is surely in the place.
    pub is_told: bool,
}

impl Coverage {
    /// Whether the container can write where dumps are looked for.
    pub fn has_source(&self, pod: &KnownPod, container: &KnownContainer) -> bool {
        container
            .mounts
            .iter()
            .filter(|mount| !mount.read_only)
            .any(|mount| !self.covered(pod, mount).is_empty())
    }

    /// The places that a mount shows.
    pub fn covered(&self, pod: &KnownPod, mount: &Mount) -> Vec<Covered> {
        let mut volumes = pod.volumes.iter();
        let volume = volumes.find(|volume| volume.name == mount.volume);
        match volume.map(|volume| &volume.at) {
            Some(VolumeAt::EmptyDir) => self.in_volume(&mount.volume, &mount.sub),
            Some(VolumeAt::HostPath(path)) => self.in_directories(path, &mount.sub),
            None => Vec::new(),
        }
    }

    /// How many levels of an emptyDir are looked into; absent where it is none of the places.
    pub fn depth_of_volume(&self, name: &str) -> Option<usize> {
        let of_name = self.volumes.iter().filter(|(volume, _)| volume == name);
        of_name.map(|(_, depth)| *depth).max()
    }

    fn in_volume(&self, name: &str, sub: &SubPath) -> Vec<Covered> {
        let covered = |depth| Covered {
            below: PathBuf::new(),
            levels: match sub {
                SubPath::Whole => 0,
                SubPath::Levels(levels) => levels.len(),
                SubPath::Untold => 1,
            },
            depth,
            is_told: true,
        };
        self.depth_of_volume(name)
            .map(covered)
            .into_iter()
            .collect()
    }

    fn in_directories(&self, volume: &Path, sub: &SubPath) -> Vec<Covered> {
        let mounted = match sub {
            SubPath::Levels(levels) => levels
                .iter()
                .fold(volume.to_owned(), |at, level| at.join(level)),
            SubPath::Whole | SubPath::Untold => volume.to_owned(),
        };
        let is_told = *sub != SubPath::Untold;
        let covered = self.directories.iter().filter_map(|(directory, depth)| {
            let (below, levels) = match mounted.strip_prefix(directory) {
                Ok(above) => (PathBuf::new(), above.components().count()),
                Err(_) => (directory.strip_prefix(&mounted).ok()?.to_owned(), 0),
            };
            Some(Covered {
                below,
                levels,
                depth: *depth,
                is_told,
            })
        });
        covered.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeVolume;

    fn pod() -> KnownPod {
        let volume = |name: &str, at| NodeVolume {
            name: name.into(),
            at,
        };
        KnownPod {
            volumes: vec![
                volume("scratch", VolumeAt::EmptyDir),
                volume("dumps", VolumeAt::HostPath("/var/crash".into())),
            ],
            ..KnownPod::default()
        }
    }

    fn mounting(volume: &str, sub: SubPath, read_only: bool) -> KnownContainer {
        KnownContainer {
            mounts: vec![Mount {
                volume: volume.into(),
                sub,
                read_only,
            }],
            ..KnownContainer::default()
        }
    }

    #[test]
    fn a_container_has_a_source_where_it_can_write_one() {
        let coverage = Coverage {
            directories: vec![("/var/crash/shop".into(), 2)],
            volumes: vec![("scratch".into(), 2)],
        };
        let level = |level: &str| SubPath::Levels(vec![level.into()]);
        let cases = [
            ("scratch", SubPath::Whole, false, true),
            ("scratch", SubPath::Whole, true, false),
            ("dumps", SubPath::Whole, false, true),
            ("dumps", level("shop"), false, true),
            ("dumps", level("bank"), false, false),
            ("dumps", SubPath::Untold, false, true),
            ("other", SubPath::Whole, false, false),
        ];
        for (volume, sub, read_only, has) in cases {
            let container = mounting(volume, sub.clone(), read_only);
            assert_eq!(
                coverage.has_source(&pod(), &container),
                has,
                "{volume} {sub:?}"
            );
        }
    }

    #[test]
    fn a_place_is_told_with_its_depth_and_where_a_mount_shows_it() {
        let coverage = Coverage {
            directories: vec![("/var/crash/shop".into(), 1)],
            volumes: vec![("scratch".into(), 2)],
        };
        let levels = |levels: &[&str]| {
            SubPath::Levels(levels.iter().map(|level| (*level).to_owned()).collect())
        };
        let cases = [
            ("scratch", SubPath::Whole, "", 0, 2, true),
            ("scratch", levels(&["a", "b", "c"]), "", 3, 2, true),
            ("dumps", SubPath::Whole, "shop", 0, 1, true),
            ("dumps", levels(&["shop", "cart-0"]), "", 1, 1, true),
            ("dumps", SubPath::Untold, "shop", 0, 1, false),
        ];
        for (volume, sub, below, levels, depth, is_told) in cases {
            let container = mounting(volume, sub.clone(), false);
            let expected = Covered {
                below: below.into(),
                levels,
                depth,
                is_told,
            };
            let covered = coverage.covered(&pod(), &container.mounts[0]);
            assert_eq!(covered, [expected], "{volume} {sub:?}");
        }
    }
}
