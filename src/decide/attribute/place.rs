//! Which pods can write a directory of the node.
//!
//! Paths are compared level by level, as written; the caller gives the directory with its links resolved. Whatever cannot be followed
//! in thought is taken to reach further than it may: a pod too many costs certainty, one too few would let it forge.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::model::{KnownContainer, KnownPod, Mount, SubPath, VolumeAt};

/// Levels compared. Deeper ones are dropped, which only widens what a mount reaches.
const DEPTH: usize = 64;

/// A pod that can write the directory, and those of its containers that can.
#[derive(Clone, Debug)]
pub(super) struct Writer<'a> {
    pub(super) pod: &'a KnownPod,
    pub(super) containers: Vec<&'a KnownContainer>,
}

type Levels<'a> = Vec<&'a OsStr>;

/// A directory that a container can write, with all below it.
struct Reach<'a> {
    pod: usize,
    container: &'a KnownContainer,
    levels: Levels<'a>,
    /// How many of them are the volume's own.
    volume: usize,
}

/// The pods with a writable mount of `dir` or of anything above or below it, in the order given. `root` is the source that holds `dir`.
pub(super) fn writers<'a>(dir: &Path, root: &Path, pods: &[&'a KnownPod]) -> Vec<Writer<'a>> {
    let (dir, root) = (clean(dir), clean(root));
    let mut reaches: Vec<Reach<'a>> = Vec::new();
    for (n, pod) in pods.iter().copied().enumerate() {
        reaches.extend(of_pod(n, pod));
    }
    // A pod that writes above or below `dir` is a candidate anyway, and then nothing is gained by its links.
    let elsewhere: HashSet<&[&OsStr]> = reaches
        .iter()
        .map(|reach| reach.levels.as_slice())
        .filter(|levels| !are_related(levels, &dir))
        .collect();
    let mut writers: Vec<(usize, Writer<'a>)> = Vec::new();
    for reach in &reaches {
        if !are_related(&reach.levels, &dir) && !may_be_led_to(reach, &dir, &root, &elsewhere) {
            continue;
        }
        match writers.last_mut() {
            Some((n, writer)) if *n == reach.pod => {
                let known = writer.containers.last().copied();
                if known.is_none_or(|last| !std::ptr::eq(last, reach.container)) {
                    writer.containers.push(reach.container);
                }
            }
            _ => {
                let writer = pods.get(reach.pod).map(|pod| Writer {
                    pod,
                    containers: vec![reach.container],
                });
                writers.extend(writer.map(|writer| (reach.pod, writer)));
            }
        }
    }
    writers.into_iter().map(|(_, writer)| writer).collect()
}

fn of_pod(n: usize, pod: &KnownPod) -> impl Iterator<Item = Reach<'_>> {
    let volumes: HashMap<&str, &Path> = pod
        .volumes
        .iter()
        .filter_map(|volume| match &volume.at {
            VolumeAt::HostPath(path) => Some((volume.name.as_str(), path.as_path())),
            VolumeAt::EmptyDir => None,
        })
        .collect();
    pod.containers.iter().flat_map(move |container| {
        let writable = container.mounts.iter().filter(|mount| !mount.read_only);
        let reaches = writable.filter_map(|mount| {
            let (levels, volume) = reach_of(volumes.get(mount.volume.as_str())?, mount);
            Some(Reach {
                pod: n,
                container,
                levels,
                volume,
            })
        });
        reaches.collect::<Vec<_>>()
    })
}

/// The directory a mount shows, as far as it can be told, and how many of its levels are the volume's.
fn reach_of<'a>(volume: &'a Path, mount: &'a Mount) -> (Levels<'a>, usize) {
    let volume = clean(volume);
    let own = volume.len();
    let SubPath::Levels(sub) = &mount.sub else {
        return (volume, own);
    };
    let mut levels = volume;
    for level in sub {
        let Some(more) = split(level.as_bytes()) else {
            levels.truncate(own);
            break;
        };
        levels.extend(more);
        levels.truncate(DEPTH);
    }
    (levels, own)
}

/// The levels of an absolute path. A path with `.` or `..` in it may lead anywhere, as do the kernel's own links below `/proc` (`/proc/1/root`) and
/// `/dev/fd`; the API server refuses the first, and nothing refuses the others.
fn clean(path: &Path) -> Levels<'_> {
    let bytes = path.as_os_str().as_bytes();
    let levels = bytes.strip_prefix(b"/").and_then(split).unwrap_or_default();
    let first: Vec<&[u8]> = levels.iter().take(2).map(|l| l.as_bytes()).collect();
    match first.as_slice() {
        [b"proc", _] | [b"dev", b"fd"] => Vec::new(),
        _ => levels,
    }
}

/// The levels, the first of them where there are very many; none where one is `.` or `..`.
fn split(bytes: &[u8]) -> Option<Levels<'_>> {
    let mut levels = Vec::new();
    for level in bytes
        .split(|b| *b == b'/')
        .filter(|level| !level.is_empty())
    {
        if level == b"." || level == b".." {
            return None;
        }
        if levels.len() < DEPTH {
            levels.push(OsStr::from_bytes(level));
        }
    }
    Some(levels)
}

/// Whether one is the other or above it.
fn are_related(a: &[&OsStr], b: &[&OsStr]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b)
}

/// Whether the mount may show `dir` through a link. A pod that writes `<volume>/a` can leave a link there, and the kubelet follows it for a
/// mount of `<volume>/a/link`, within the volume; so a tenant's second pod could write a directory that its object never names.
/// A `hostPath` is followed anywhere. That is minded below the source only, where tenants are expected: drivers mount the kubelet's
/// directory and directories in it by the dozen, and who may mount those needs no forgery.
fn may_be_led_to(
    reach: &Reach<'_>,
    dir: &[&OsStr],
    root: &[&OsStr],
    elsewhere: &HashSet<&[&OsStr]>,
) -> bool {
    (0..reach.levels.len()).any(|n| {
        let (above, _) = reach.levels.split_at(n);
        let (volume, _) = reach.levels.split_at(reach.volume);
        elsewhere.contains(above)
            && if n >= reach.volume {
                are_related(volume, dir)
            } else {
                above.starts_with(root)
            }
    })
}
