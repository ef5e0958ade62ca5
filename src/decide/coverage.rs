//! Whether a dump of a container could have been seen at all.

use std::path::{Path, PathBuf};

use crate::model::{KnownContainer, KnownPod, SubPath, VolumeAt};

/// The places where dumps are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Directories of the node.
    pub directories: Vec<PathBuf>,
    /// Names of emptyDir volumes.
    pub volumes: Vec<String>,
}

impl Coverage {
    /// Whether the container can write where dumps are looked for.
    pub fn has_source(&self, pod: &KnownPod, container: &KnownContainer) -> bool {
        container
            .mounts
            .iter()
            .filter(|mount| !mount.read_only)
            .any(|mount| {
                let mut volumes = pod.volumes.iter();
                let volume = volumes.find(|volume| volume.name == mount.volume);
                match volume.map(|volume| &volume.at) {
                    Some(VolumeAt::EmptyDir) => self.volumes.contains(&mount.volume),
                    Some(VolumeAt::HostPath(path)) => self.holds(path, &mount.sub),
                    None => false,
                }
            })
    }

    fn holds(&self, volume: &Path, sub: &SubPath) -> bool {
        let mounted = match sub {
            SubPath::Levels(levels) => levels
                .iter()
                .fold(volume.to_owned(), |at, level| at.join(level)),
            SubPath::Whole | SubPath::Untold => volume.to_owned(),
        };
        let mut directories = self.directories.iter();
        directories.any(|dir| mounted.starts_with(dir) || dir.starts_with(&mounted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Mount, NodeVolume};

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
            directories: vec!["/var/crash/shop".into()],
            volumes: vec!["scratch".into()],
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
}
