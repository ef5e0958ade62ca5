//! What the directories of a source mean: which of them are looked into, which hold dumps, and what their names say.

use std::ffi::{OsStr, OsString};

use crate::model::{Layout, Names};

/// From a pod's directory to its emptyDir volumes (kubelet, `pkg/kubelet/kubelet_getters.go`): the same files appear once more below `volume-subpaths`.
const TO_VOLUMES: [&str; 2] = ["volumes", "kubernetes.io~empty-dir"];

/// Levels above a volume's own: the pod's UID, those two, the volume's name.
const TO_DUMPS: usize = 4;

/// Levels of a volume that are looked into: its own for mounts without `subPath`, and two for the directory that a `subPath` or a program makes.
const IN_VOLUME: usize = 2;

/// What kind of place a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A directory with levels of this meaning; every one of them may hold dumps.
    Directory(Layout),
    /// The kubelet's directory of pods: each pod's emptyDir volume of this name, and nothing else there, may hold dumps.
    KubeletVolume(String),
}

impl Shape {
    /// How many directory levels lie between the source and its deepest files.
    pub fn depth(&self) -> usize {
        match self {
            Self::Directory(layout) => layout.depth(),
            Self::KubeletVolume(_) => TO_DUMPS + IN_VOLUME,
        }
    }

    /// Whether the directory `name` below these levels is one to look into. What lies beside a pod's volume holds its secrets.
    pub fn admits(&self, levels: &[OsString], name: &OsStr) -> bool {
        let Self::KubeletVolume(volume) = self else {
            return true;
        };
        match levels.len() {
            0 => is_uid(name),
            n @ 1..=2 => TO_VOLUMES.get(n - 1).is_some_and(|level| name == *level),
            3 => name == volume.as_str(),
            _ => true,
        }
    }

    /// Whether a file below these levels may be a dump.
    pub fn holds_dumps(&self, levels: &[OsString]) -> bool {
        match self {
            Self::Directory(_) => true,
            Self::KubeletVolume(_) => levels.len() >= TO_DUMPS,
        }
    }

    /// What these levels, outermost first, say.
    pub(super) fn names(&self, levels: &[OsString]) -> Names {
        match self {
            Self::Directory(layout) => layout.names(levels.iter().map(OsString::as_os_str)),
            Self::KubeletVolume(volume) => Names {
                uid: levels
                    .first()
                    .and_then(|uid| uid.to_str())
                    .map(str::to_owned),
                volume: Some(volume.clone()),
                below: levels.get(TO_DUMPS..).map(lossless).unwrap_or_default(),
                ..Names::default()
            },
        }
    }
}

/// Levels that are text; none where one is not, since half a path would be another directory.
fn lossless(levels: &[OsString]) -> Vec<String> {
    let text: Option<Vec<String>> = levels
        .iter()
        .map(|level| level.to_str().map(str::to_owned))
        .collect();
    text.unwrap_or_default()
}

/// A pod's UID, or the digest by which the kubelet knows a static pod.
fn is_uid(name: &OsStr) -> bool {
    let fit = |b: &u8| b.is_ascii_hexdigit() || *b == b'-';
    (8..=64).contains(&name.len()) && name.as_encoded_bytes().iter().all(fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "29f83447-5763-4bfc-bc67-90e7a1524d07";

    fn levels(levels: &[&str]) -> Vec<OsString> {
        levels.iter().map(OsString::from).collect()
    }

    /// The directories of a pod, as `find` listed them on a real node, that are looked into.
    #[test]
    fn of_a_pods_directory_only_the_volume_of_that_name_is_looked_into() {
        let listing = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/kubernetes/kubelet-dir.txt"
        );
        let listing = std::fs::read_to_string(listing).expect("the recorded listing");
        let shape = Shape::KubeletVolume("scratch".into());
        let looked_into = |path: &&str| {
            let parts: Vec<OsString> = path.split('/').map(OsString::from).collect();
            (0..parts.len()).all(|n| shape.admits(&parts[..n], &parts[n]))
        };
        let paths: Vec<&str> = listing
            .lines()
            .filter_map(|line| line.strip_prefix("d pods/"))
            .filter(looked_into)
            .filter(|path| path.contains('/') && !path.ends_with("/volumes"))
            .collect();
        let empty_dirs = format!("{UID}/volumes/kubernetes.io~empty-dir");
        assert_eq!(paths, [empty_dirs.clone(), format!("{empty_dirs}/scratch")]);
    }

    #[test]
    fn names_come_from_the_volumes_path() {
        let shape = Shape::KubeletVolume("dumps".into());
        let path = levels(&[UID, "volumes", "kubernetes.io~empty-dir", "dumps", "app"]);
        assert!(shape.holds_dumps(&path) && shape.holds_dumps(&path[..4]));
        assert!(!shape.holds_dumps(&path[..3]) && !shape.holds_dumps(&[]));
        let names = shape.names(&path);
        assert_eq!(names.uid.as_deref(), Some(UID));
        assert_eq!(names.volume.as_deref(), Some("dumps"));
        assert_eq!(names.below, ["app"]);
    }

    #[test]
    fn what_is_no_pod_is_not_looked_into() {
        let shape = Shape::KubeletVolume("dumps".into());
        for name in ["..", ".salvage", "plugins", "", "not-a-pod!"] {
            assert!(!shape.admits(&[], OsStr::new(name)), "{name}");
        }
        assert!(shape.admits(&[], OsStr::new("0123456789abcdef0123456789abcdef")));
    }
}
