//! The pod and container in a process's cgroup, as the kubelet's two drivers and the runtimes write it:
//!
//! ```text
//! cgroupfs  /kubepods/burstable/pod<uid>/<id>
//! systemd   /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope
//! ```
//!
//! A guaranteed pod has no level for its class; systemd writes the UID with `_` for `-`; a static pod's UID is a digest without either.

/// Lines looked at: version 1 has one for each of a dozen hierarchies.
const LINES: usize = 64;

/// The longest UID or id taken: they have 36 and 64 characters.
const ID_MAX: usize = 64;

/// Container ids are digests; anything shorter is the name of something else.
const ID_MIN: usize = 32;

/// The classes that have a level of their own.
const CLASSES: [&str; 2] = ["burstable", "besteffort"];

/// What a cgroup says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InCgroup {
    /// The UID as the kubelet knows the pod.
    pub(super) uid: String,
    /// The container's id, without the runtime's scheme.
    pub(super) id: Option<String>,
}

/// Reads one path, or all lines of `/proc/<pid>/cgroup`. Lines that name no pod say nothing (`0::/` beside version 1); two that name
/// different ones make it worthless.
pub(super) fn in_cgroup(text: &str) -> Option<InCgroup> {
    let mut found: Option<InCgroup> = None;
    for line in text.lines().take(LINES) {
        let path = if line.starts_with('/') {
            line
        } else {
            line.splitn(3, ':').nth(2).unwrap_or_default()
        };
        let Some(here) = in_path(path) else { continue };
        match &found {
            Some(before) if *before != here => return None,
            _ => found = Some(here),
        }
    }
    found
}

/// Whether all that `/proc/<pid>/cgroup` says of pods is that the process is in this container of this pod.
///
/// Asked of processes that are looked at for a container whose id is known, and so from wherever the reader is: in a control group namespace of its own it sees others as
/// `/../../kubepods-burstable-pod<uid>.slice/...`. The first level of a pod counts, and the container's directly below it: further down a container names the
/// groups itself.
pub fn belongs_to_container(text: &str, node_uid: &str, id: &str) -> bool {
    let plain = |uid: &str| uid.replace(['-', '_'], "");
    let wanted = (plain(node_uid), id);
    let mut in_it = false;
    for line in text.lines().take(LINES) {
        let path = line.splitn(3, ':').nth(2).unwrap_or_default();
        let mut levels = path.split('/').skip_while(|level| pod_of(level).is_none());
        let Some(uid) = levels.next().and_then(pod_of) else {
            continue;
        };
        let id = levels.next().and_then(container_id).unwrap_or_default();
        if (plain(uid), id.as_str()) != (wanted.0.clone(), wanted.1) {
            return false;
        }
        in_it = true;
    }
    in_it
}

/// The UID in the name of a pod's level.
fn pod_of(level: &str) -> Option<&str> {
    let uid = match level.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?.1,
        None => level.strip_prefix("pod")?,
    };
    let is_uid = |b: u8| b.is_ascii_hexdigit() || b == b'-' || b == b'_';
    ((ID_MIN..=ID_MAX).contains(&uid.len()) && uid.bytes().all(is_uid)).then_some(uid)
}

/// Only a path that begins with the kubelet's root counts: below its own cgroup a container may name groups as it likes, and so may
/// a person logged in to the node.
fn in_path(path: &str) -> Option<InCgroup> {
    let path = path.strip_prefix('/')?;
    if path.split('/').any(|level| level == "..") {
        // As seen from another cgroup namespace: what lies above is not told.
        return None;
    }
    let mut levels = path.split('/').peekable();
    // Nodes that are containers themselves (kind) give their kubelet a root of its own.
    levels.next_if(|level| ["kubelet", "kubelet.slice"].contains(level));
    let root = levels.next()?;
    let uid = match root.strip_suffix(".slice") {
        Some(slice) => {
            (slice == "kubepods" || slice == "kubelet-kubepods").then_some(())?;
            let class = levels.next_if(|level| CLASSES.iter().any(|c| is_class(level, slice, c)));
            let parent = class
                .and_then(|c| c.strip_suffix(".slice"))
                .unwrap_or(slice);
            let own = levels.next()?.strip_suffix(".slice")?;
            own.strip_prefix(parent)?
                .strip_prefix("-pod")?
                .replace('_', "-")
        }
        None => {
            (root == "kubepods").then_some(())?;
            levels.next_if(|level| CLASSES.contains(level));
            levels.next()?.strip_prefix("pod")?.to_owned()
        }
    };
    let is_uid = |uid: &str| uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (!uid.is_empty() && uid.len() <= ID_MAX && is_uid(&uid)).then(|| InCgroup {
        uid,
        id: levels.next().and_then(container_id),
    })
}

fn is_class(level: &str, root: &str, class: &str) -> bool {
    let inner = level.strip_suffix(".slice");
    inner
        .and_then(|l| l.strip_prefix(root))
        .and_then(|l| l.strip_prefix('-'))
        == Some(class)
}

/// `<id>`, `crio-<id>`, `cri-containerd-<id>.scope`; but `crio-conmon-<id>` holds the runtime's own process.
fn container_id(level: &str) -> Option<String> {
    let name = level.strip_suffix(".scope").unwrap_or(level);
    let (runtime, id) = name.rsplit_once('-').unwrap_or(("", name));
    let is_id = (ID_MIN..=ID_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit());
    (is_id && !runtime.ends_with("conmon")).then(|| id.to_owned())
}
