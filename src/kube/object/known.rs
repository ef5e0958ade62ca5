//! What the agent keeps of a pod's object.

use std::time::Duration;

use super::bounds::{self, MAX_ID, MAX_IMAGE, MAX_LABEL_NAME, MAX_NAME, Room, within};
use super::expand::{Fixed, Variables};
use super::meta::{COLLECT, CONFIG_HASH, CONFIG_MIRROR, LOG, Meta, memory_capture};
use super::mounts::Places;
use super::wire::{self, MAX_CONTAINERS, PodObject};
use super::{owner, stopping};
use crate::model::{
    ContainerKind, ContainerStatus, KnownContainer, KnownPod, Liveness, Terminated,
};

/// Longest of a probe's times that is believed, in seconds: a year.
const PROBE_MAX: u64 = 365 * 86_400;

/// The word for containers that are started again whenever they end.
const ALWAYS: &str = "Always";

impl PodObject {
    /// What is kept of it; nothing, where it is no pod or does not say which, by names as the API server allows them.
    pub(crate) fn known(&self) -> Option<KnownPod> {
        if self.kind.as_deref().is_some_and(|kind| kind != "Pod") {
            return None;
        }
        let (meta, spec) = (&self.metadata, &self.spec);
        let uid = meta.uid.as_deref()?;
        let name = meta.name.as_deref()?;
        let fixed = Fixed {
            name,
            namespace: meta.namespace.as_deref()?,
            node_uid: static_uid(meta).unwrap_or(uid),
            node_name: spec.node_name.as_deref().unwrap_or_default(),
            service_account: spec.service_account_name.as_deref().unwrap_or_default(),
        };
        let allowed = [uid, fixed.namespace, name];
        let longest = [MAX_ID, MAX_NAME, MAX_NAME];
        if allowed.iter().zip(longest).any(|(s, max)| s.len() > max) {
            return None;
        }
        let mut places = Places::of(spec);
        let volumes = places.volumes(spec);
        let host_name = spec.hostname_override.as_ref().or(spec.hostname.as_ref());
        let host_name = host_name.filter(|host| *host != name);
        let mut pod = KnownPod {
            uid: uid.to_owned(),
            node_uid: fixed.node_uid.to_owned(),
            namespace: fixed.namespace.to_owned(),
            name: name.to_owned(),
            owner: owner::of(meta, name, spec.node_name.as_deref()),
            labels: bounds::labels(&meta.labels),
            opted_out: meta.forbids(COLLECT),
            no_log: meta.forbids(LOG),
            memory_capture: memory_capture(meta),
            service_account: within(spec.service_account_name.as_deref(), MAX_NAME),
            created: meta.creation_timestamp,
            start_time: self.status.start_time,
            host_name: within(host_name.map(String::as_str), MAX_NAME),
            host_network: spec.host_network == Some(true),
            host_users: spec.host_users != Some(false),
            stopping: stopping::of(self),
            volumes,
            containers: Vec::new(),
            gone: None,
        };
        let (mut images, mut fates) = (Room::for_images(), Room::for_fates());
        for (kind, container, statuses) in self.containers() {
            if pod.containers.len() == MAX_CONTAINERS {
                places.miss_container();
                break;
            }
            let name = container.name.as_ref();
            let Some(name) = name.filter(|name| name.len() <= MAX_LABEL_NAME) else {
                // Refused by the API server. Its mounts may be anything.
                places.miss_container();
                continue;
            };
            let status = statuses.iter().find(|s| s.name.as_ref() == Some(name));
            let image = container.image.as_deref();
            let image_id = status.and_then(|status| status.image_id.as_deref());
            let digest = image_id.and_then(digest);
            // Its ids come before its digest: they tell its starts apart.
            let status = status.map(|status| how_it_fared(status, &mut fates));
            let run_as_user = container.security_context.run_as_user;
            let run_as_user = run_as_user.or(spec.security_context.run_as_user);
            pod.containers.push(KnownContainer {
                name: name.clone(),
                kind,
                image: image.and_then(|image| images.keep(image, MAX_IMAGE)),
                image_digest: digest.and_then(|digest| fates.keep(digest, MAX_ID)),
                run_as_user: run_as_user.and_then(|user| user.try_into().ok()),
                liveness: container.liveness_probe.as_ref().map(liveness),
                mounts: places.mounts(container, &pod.volumes, || Variables::of(container, fixed)),
                status,
            });
        }
        places.reveal(&mut pod);
        Some(pod)
    }

    /// Its containers of all kinds, each with the statuses among which its own is.
    fn containers(
        &self,
    ) -> impl Iterator<Item = (ContainerKind, &wire::Container, &[wire::ContainerStatus])> {
        let (spec, status) = (&self.spec, &self.status);
        let init = spec.init_containers.items.iter().map(|container| {
            let kind = match container.restart_policy.as_deref() {
                Some(ALWAYS) => ContainerKind::Sidecar,
                _ => ContainerKind::Init,
            };
            (kind, container, &status.init_container_statuses.items[..])
        });
        let main = spec.containers.items.iter().map(|container| {
            let statuses = &status.container_statuses.items[..];
            (ContainerKind::Main, container, statuses)
        });
        let ephemeral = spec.ephemeral_containers.items.iter().map(|container| {
            let statuses = &status.ephemeral_container_statuses.items[..];
            (ContainerKind::Ephemeral, container, statuses)
        });
        init.chain(main).chain(ephemeral)
    }
}

/// How patient a probe is, with the API's defaults where it does not say.
fn liveness(probe: &wire::Probe) -> Liveness {
    let seconds = |written: Option<i64>, default: u64| {
        let written = written.and_then(|n| u64::try_from(n).ok());
        let seconds = written.filter(|n| *n > 0).unwrap_or(default);
        Duration::from_secs(seconds.min(PROBE_MAX))
    };
    let failures = probe.failure_threshold.and_then(|n| u32::try_from(n).ok());
    Liveness {
        period: seconds(probe.period_seconds, 10),
        timeout: seconds(probe.timeout_seconds, 1),
        failures: failures.filter(|n| *n > 0).unwrap_or(3),
    }
}

/// The UID by which the kubelet knows a static pod: an MD5 of its file, where the pod's object stands for one.
///
/// Anyone may make a pod with these annotations. Of the two only the mark cannot be changed later, so the other is believed while it says the same;
/// and no digest looks like the UID of a pod that the API server made, whose directory would else be claimed with it, or like a path. (A static pod
/// whose file says a UID of its own has that one instead of a digest, and is not known by it.)
fn static_uid(meta: &Meta) -> Option<&str> {
    let hash = meta.annotations.get(CONFIG_HASH)?;
    let marked = meta.annotations.get(CONFIG_MIRROR)? == hash;
    let digest = hash.len() == 32 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (marked && digest).then_some(hash)
}

/// The digest in an image's id: `repository@sha256:...`, or the digest alone for an image that came from no registry.
fn digest(image_id: &str) -> Option<&str> {
    match image_id.rsplit_once('@') {
        Some((_, digest)) => Some(digest).filter(|digest| !digest.is_empty()),
        None => image_id.starts_with("sha256:").then_some(image_id),
    }
}

fn how_it_fared(status: &wire::ContainerStatus, room: &mut Room) -> ContainerStatus {
    let restarts = status.restart_count.unwrap_or_default().max(0);
    let running = status.state.running.as_ref();
    let ended = status.state.terminated.as_ref();
    let ended_before = status.last_state.terminated.as_ref();
    ContainerStatus {
        id: bare_id(status.container_id.as_deref(), room),
        restarts: restarts.try_into().unwrap_or(u32::MAX),
        running_since: running.and_then(|running| running.started_at),
        ended: ended.map(|end| terminated(end, room)),
        ended_before: ended_before.map(|end| terminated(end, room)),
    }
}

fn terminated(end: &wire::Terminated, room: &mut Room) -> Terminated {
    let reason = end.reason.as_deref();
    let number = |n: i64| i32::try_from(n).unwrap_or(i32::MAX);
    Terminated {
        id: bare_id(end.container_id.as_deref(), room),
        exit_code: number(end.exit_code.unwrap_or_default()),
        signal: end.signal.map(number).filter(|signal| *signal != 0),
        reason: reason.and_then(|reason| room.keep(reason, MAX_NAME)),
        started_at: end.started_at,
        finished_at: end.finished_at,
    }
}

/// A container's id as the node knows it: the API has it with the runtime's name, `containerd://4f0e...`.
fn bare_id(id: Option<&str>, room: &mut Room) -> Option<String> {
    let id = id?;
    let bare = id.split_once("://").map_or(id, |(_, bare)| bare);
    let bare = Some(bare).filter(|bare| !bare.is_empty())?;
    room.keep(bare, MAX_ID)
}
