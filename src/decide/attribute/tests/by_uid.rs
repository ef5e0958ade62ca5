//! Pods that the kubelet's path or the cgroup names by UID.

use super::*;

const ID: &str = "445b76dacff386c2c1207592f24699871883514227e82cda4ad4488c0f4da71a";

fn running(id: &str) -> KnownPod {
    pod("shop", "cart-0")
        .container("app", |c| {
            c.status.get_or_insert_default().id = Some(id.to_owned())
        })
        .container("side", |_| {})
}

#[test]
fn a_kubelet_path_names_the_pod_and_its_sub_path_the_container() {
    scene([
        pod("shop", "cart-0")
            .empty_dir("app", "app")
            .empty_dir("side", "side"),
        pod("shop", "cart-1").empty_dir("app", "app"),
    ])
    .in_volume("uid-cart-0", "app")
    .exact("shop", "cart-0", "app")
    .by(&["+kubelet path", "+index"])
    .candidates(1);
}

#[test]
fn an_index_synced_after_the_dump_is_enough_for_a_kubelet_path() {
    scene([pod("shop", "cart-0").empty_dir("app", "app")])
        .synced(60)
        .in_volume("uid-cart-0", "app")
        .exact("shop", "cart-0", "app");
}

#[test]
fn a_deleted_pod_s_volume_is_still_its_own() {
    scene([pod("shop", "cart-0").empty_dir("app", "").gone(-900)])
        .in_volume("uid-cart-0", "")
        .exact("shop", "cart-0", "app");
}

#[test]
fn a_static_pod_s_volume_has_the_digest_of_its_file() {
    let digest = "0123456789abcdef0123456789abcdef";
    let etcd = pod("kube-system", "etcd-n1")
        .empty_dir("etcd", "")
        .with(|pod| digest.clone_into(&mut pod.node_uid));
    let mut one = scene([etcd]).log("kube-system", "etcd-n1", digest);
    one.in_volume(digest, "")
        .exact("kube-system", "etcd-n1", "etcd");
    // The UID that the API server gave it is none of the kubelet's.
    one.in_volume("uid-etcd-n1", "").unknown();
    // The digest is an annotation's, and only the kubelet bears it out.
    one.logs.clear();
    one.in_volume(digest, "")
        .unknown()
        .by(&["+log directory"])
        .among(&["uid-etcd-n1"]);
}

const DIGEST: &str = "0123456789abcdef0123456789abcdef";

/// A static pod, or one with a copy of its annotations.
fn digested(namespace: &str, name: &str, digest: &str) -> KnownPod {
    pod(namespace, name)
        .empty_dir("app", "")
        .with(|pod| digest.clone_into(&mut pod.node_uid))
}

#[test]
fn of_pods_with_one_uid_the_log_directory_chooses_in_any_order() {
    let real = || digested("kube-system", "etcd-n1", DIGEST);
    let copy = || digested("mallory", "evil", DIGEST);
    for pods in [[real(), copy()], [copy(), real()]] {
        let mut two = scene(pods);
        two.in_volume(DIGEST, "")
            .unknown()
            .conflicts(0)
            .among(&["uid-etcd-n1", "uid-evil"]);
        two = two.log("kube-system", "etcd-n1", DIGEST);
        two.in_volume(DIGEST, "")
            .exact("kube-system", "etcd-n1", "app")
            .among(&["uid-etcd-n1"]);
        two.in_cgroup(&format!("/kubepods/pod{DIGEST}/{ID}")).is(
            Confidence::Probable,
            ("kube-system", "etcd-n1", "uid-etcd-n1"),
            "",
        );
        two.logs.clear();
        two = two.log("kube-system", "other-n1", DIGEST);
        two.in_volume(DIGEST, "")
            .unknown()
            .conflicts(1)
            .among(&["uid-etcd-n1", "uid-evil"]);
    }
}

#[test]
fn a_uid_that_the_api_server_gave_goes_before_a_copy_of_it() {
    let victim = || pod("shop", "cart-0").empty_dir("app", "");
    let copy = || digested("mallory", "evil", "uid-cart-0");
    for pods in [[victim(), copy()], [copy(), victim()]] {
        let mut two = scene(pods);
        two.in_volume("uid-cart-0", "")
            .exact("shop", "cart-0", "app")
            .among(&["uid-cart-0"]);
        two = two.log("mallory", "evil", "uid-cart-0");
        two.in_volume("uid-cart-0", "").unknown().conflicts(1);
    }
}

#[test]
fn a_copy_alone_is_not_the_pod_of_the_log_directory() {
    scene([digested("mallory", "evil", DIGEST)])
        .log("kube-system", "etcd-n1", DIGEST)
        .in_volume(DIGEST, "")
        .unknown()
        .conflicts(1)
        .among(&["uid-evil"]);
}

#[test]
fn a_static_pod_that_was_shown_anew_is_known_by_name() {
    let shown = |uid: &str| {
        digested("kube-system", "etcd-n1", DIGEST).with(|pod| uid.clone_into(&mut pod.uid))
    };
    let names = |uid| ("kube-system", "etcd-n1", uid);
    let anew = |gone, made| {
        scene([shown("uid-old").gone(gone), shown("uid-new").made(made)])
            .log("kube-system", "etcd-n1", DIGEST)
            .in_volume(DIGEST, "")
    };
    anew(-900, -890)
        .is(Confidence::Probable, names("uid-new"), "app")
        .among(&["uid-new", "uid-old"]);
    anew(-5, 5).is(Confidence::Probable, names(""), "app");
}

#[test]
fn log_directories_that_differ_on_a_uid_name_nobody() {
    let two = || {
        scene([])
            .log("shop", "cart-0", "uid-cart-0")
            .log("bank", "vault-0", "uid-cart-0")
    };
    two().in_volume("uid-cart-0", "").unknown().candidates(2);
    let mut known = two();
    known.pods.push(pod("shop", "cart-0").empty_dir("app", ""));
    known.in_volume("uid-cart-0", "").unknown().conflicts(1);
}

#[test]
fn a_kubelet_path_of_no_known_pod_is_unknown() {
    scene([pod("shop", "cart-0").empty_dir("app", "app")])
        .host("cart-0")
        .in_volume("uid-nobody", "app")
        .unknown()
        .by(&["+kubelet path", "-hostname"])
        .candidates(0);
}

#[test]
fn a_kubelet_path_of_a_pod_with_a_log_directory_only_is_probable() {
    scene([])
        .log("shop", "cart-9", "uid-cart-9")
        .in_volume("uid-cart-9", "app")
        .probable("shop", "cart-9", "")
        .by(&["+kubelet path", "+log directory"])
        .candidates(1);
}

#[test]
fn a_host_name_does_not_beat_a_kubelet_path() {
    scene([
        pod("shop", "cart-0").empty_dir("app", ""),
        pod("bank", "vault-0").empty_dir("app", ""),
    ])
    .host("vault-0")
    .in_volume("uid-cart-0", "")
    .probable("shop", "cart-0", "app")
    .conflicts(1)
    .by(&["+kubelet path", "-hostname"]);
}

#[test]
fn a_log_directory_that_gives_the_uid_to_another_pod_is_a_conflict() {
    scene([pod("shop", "cart-0").empty_dir("app", "")])
        .log("bank", "vault-0", "uid-cart-0")
        .in_volume("uid-cart-0", "")
        .unknown()
        .conflicts(1)
        .by(&["+log directory"])
        .among(&["uid-cart-0"]);
}

#[test]
fn the_agents_own_volume_is_its_own() {
    let owner = Owner {
        kind: "DaemonSet".into(),
        name: "salvage".into(),
    };
    let own = pod("salvage", "salvage-x7").with(|pod| pod.owner = owner.clone());
    let mut mine = scene([own.empty_dir("agent", "")]);
    mine.own = Some(("salvage".into(), owner));
    mine.in_volume("uid-salvage-x7", "")
        .exact("salvage", "salvage-x7", "agent");
}

#[test]
fn a_host_name_of_the_node_does_not_contradict_a_pod_on_its_network() {
    scene([pod("shop", "cart-0")
        .empty_dir("app", "")
        .with(|pod| pod.host_network = true)])
    .host("node-17")
    .in_volume("uid-cart-0", "")
    .exact("shop", "cart-0", "app");
}

#[test]
fn a_cgroup_names_pod_and_container() {
    scene([running(ID), pod("shop", "cart-1")])
        .in_cgroup(&format!("/kubepods/burstable/poduid-cart-0/{ID}"))
        .exact("shop", "cart-0", "app")
        .by(&["+cgroup"]);
}

#[test]
fn a_cgroup_names_the_start_before_as_well() {
    let ended = pod("shop", "cart-0")
        .ended("app", -1, 139)
        .container("side", |_| {});
    let id = format!("{:0>64}", "e");
    scene([ended])
        .in_cgroup(&format!("/kubepods/poduid-cart-0/{id}"))
        .exact("shop", "cart-0", "app");
}

#[test]
fn a_cgroup_with_an_id_that_the_status_has_not_yet_names_the_pod_only() {
    scene([running(&ID.replace('4', "5"))])
        .in_cgroup(&format!("/kubepods/besteffort/poduid-cart-0/{ID}"))
        .probable("shop", "cart-0", "")
        .conflicts(0);
}

#[test]
fn a_cgroup_and_a_host_name_in_conflict_are_not_exact() {
    scene([running(ID), pod("bank", "vault-0")])
        .file_name("vault-0")
        .in_cgroup(&format!("/kubepods/poduid-cart-0/{ID}"))
        .probable("shop", "cart-0", "app")
        .conflicts(1);
}

#[test]
fn a_process_outside_all_pods_is_nobody_s() {
    scene([running(ID)])
        .host("cart-0")
        .in_cgroup("/system.slice/kubelet.service")
        .unknown()
        .by(&["+cgroup", "-hostname"]);
}
