//! What a process or a directory level claims, against what is known of a pod. Nothing here makes a claim true.

use crate::model::{KnownPod, Names};

use super::grounds::shown;

/// Longest host name the kubelet sets.
const HOST_NAME: usize = 63;

/// Whether a process that says this host name may have run in the pod. On the node's network the host name is the node's, which says nothing.
pub(super) fn is_host_of(host: &str, pod: &KnownPod) -> bool {
    let set = pod.host_name.as_deref();
    !pod.host_network
        && (is_host_name(host, &pod.name, &pod.namespace)
            || set.is_some_and(|set| is_host_name(host, set, &pod.namespace)))
}

/// Whether it is the node's own host name. Nodes are named with or without a domain, whichever their host name has, and not always with the same one; so
/// the first labels are compared. Its daemons and the pods on its network say it, and a tenant's pod may be named like it.
pub(super) fn is_host_of_node(host: &str, node: Option<&str>) -> bool {
    let label = first_label(host);
    !label.is_empty() && node.is_some_and(|node| first_label(node).eq_ignore_ascii_case(label))
}

fn first_label(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

/// Whether a pod of this name, or with this name set as its host name, calls itself `host`: as it stands; cut at 63 bytes, without the
/// dashes and dots that then stand at the end; or followed by its domain (`setHostnameAsFQDN`).
pub(super) fn is_host_name(host: &str, name: &str, namespace: &str) -> bool {
    let cut = name
        .get(..HOST_NAME)
        .map(|cut| cut.trim_end_matches(['-', '.']));
    let domain = host.strip_prefix(name).filter(|rest| rest.starts_with('.'));
    let is_of_namespace = |domain: &str| {
        let mut labels = domain.split('.').skip(2);
        labels.next() == Some(namespace) && labels.next() == Some("svc")
    };
    !host.is_empty() && (host == name || cut == Some(host) || domain.is_some_and(is_of_namespace))
}

/// Whether the levels name a pod, and not only a namespace or a container.
pub(super) fn name_a_pod(names: &Names) -> bool {
    names.pod.is_some() || names.uid.is_some()
}

/// Whether no level names something else than this pod.
pub(super) fn fit(names: &Names, namespace: &str, pod: &str, uids: &[&str]) -> bool {
    let is = |said: &Option<String>, known: &str| said.as_deref().is_none_or(|said| said == known);
    is(&names.namespace, namespace)
        && is(&names.pod, pod)
        && names.uid.as_deref().is_none_or(|uid| uids.contains(&uid))
}

/// The same for a pod of the index.
pub(super) fn fit_pod(names: &Names, pod: &KnownPod) -> bool {
    fit(names, &pod.namespace, &pod.name, &[&pod.uid, &pod.node_uid])
}

/// What the levels say, in words; nothing where they say nothing.
pub(super) fn in_words(names: &Names) -> Option<String> {
    let said: Vec<String> = [
        ("namespace", &names.namespace),
        ("pod", &names.pod),
        ("container", &names.container),
        ("uid", &names.uid),
    ]
    .into_iter()
    .filter_map(|(what, name)| Some(format!("{what} {}", shown(name.as_deref()?))))
    .collect();
    (!said.is_empty()).then(|| said.join(", "))
}
