//! The forms of a cgroup's path.

use super::super::cgroup::{InCgroup, belongs_to_container, in_cgroup};

const UID: &str = "29f83447-5763-4bfc-bc67-90e7a1524d07";
const SLICE: &str = "29f83447_5763_4bfc_bc67_90e7a1524d07";
const DIGEST: &str = "0123456789abcdef0123456789abcdef";
const ID: &str = "445b76dacff386c2c1207592f24699871883514227e82cda4ad4488c0f4da71a";

fn found(uid: &str, id: Option<&str>) -> Option<InCgroup> {
    Some(InCgroup {
        uid: uid.to_owned(),
        id: id.map(str::to_owned),
    })
}

/// In both versions: a line of version 2, and one of twelve of version 1.
#[track_caller]
fn names(path: &str, uid: &str, id: Option<&str>) {
    assert_eq!(in_cgroup(path), found(uid, id), "{path}");
    assert_eq!(in_cgroup(&format!("0::{path}\n")), found(uid, id));
    let first = format!("12:hugetlb:/\n9:name=systemd:{path}\n4:cpu,cpuacct:{path}\n0::/\n");
    assert_eq!(in_cgroup(&first), found(uid, id));
}

#[test]
fn cgroupfs_has_a_level_for_each_class_but_guaranteed() {
    for class in ["", "/burstable", "/besteffort"] {
        names(&format!("/kubepods{class}/pod{UID}/{ID}"), UID, Some(ID));
        names(
            &format!("/kubepods{class}/pod{DIGEST}/{ID}"),
            DIGEST,
            Some(ID),
        );
    }
}

#[test]
fn systemd_has_slices_with_underscores_and_a_scope_of_the_runtime() {
    for runtime in ["cri-containerd", "crio", "docker", "cri-o"] {
        let scope = format!("{runtime}-{ID}.scope");
        for class in ["burstable", "besteffort"] {
            let above = format!("/kubepods.slice/kubepods-{class}.slice/kubepods-{class}");
            names(&format!("{above}-pod{SLICE}.slice/{scope}"), UID, Some(ID));
            names(
                &format!("{above}-pod{DIGEST}.slice/{scope}"),
                DIGEST,
                Some(ID),
            );
        }
        let above = "/kubepods.slice/kubepods";
        names(&format!("{above}-pod{SLICE}.slice/{scope}"), UID, Some(ID));
    }
}

#[test]
fn a_node_that_is_a_container_has_a_root_of_its_own() {
    names(
        &format!("/kubelet/kubepods/burstable/pod{UID}/{ID}"),
        UID,
        Some(ID),
    );
    let slice = "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods";
    names(
        &format!("{slice}-pod{SLICE}.slice/cri-containerd-{ID}.scope"),
        UID,
        Some(ID),
    );
    let burstable = format!("{slice}-burstable.slice/kubelet-kubepods-burstable");
    names(
        &format!("{burstable}-pod{SLICE}.slice/cri-containerd-{ID}.scope"),
        UID,
        Some(ID),
    );
}

#[test]
fn groups_that_a_container_makes_in_its_own_change_nothing() {
    let inside = format!("/kubepods/pod{UID}/{ID}/kubepods/pod{DIGEST}/{ID}/init.scope");
    names(&inside, UID, Some(ID));
}

#[test]
fn what_stands_beside_the_containers_is_none() {
    names(&format!("/kubepods/burstable/pod{UID}"), UID, None);
    names(&format!("/kubepods/pod{UID}/crio-conmon-{ID}"), UID, None);
    names(&format!("/kubepods/pod{UID}/init.scope"), UID, None);
}

#[test]
fn other_paths_name_nobody() {
    let user = "/user.slice/user-1000.slice/user@1000.service";
    for path in [
        "",
        "/",
        "0::/",
        "nonsense",
        "/system.slice/kubelet.service",
        "/kubepods",
        "/kubepods/burstable",
        "/kubepods/pod",
        "/kubepods.slice/kubepods-pod.slice/x",
        "/kubepods/burstable/pod../x",
        &format!("/kubepods/pod{}/x", "a".repeat(65)),
        &format!("/kubepods/../pod{UID}/{ID}"),
        &format!("/../../pod{UID}/{ID}"),
        &format!("/kubepods/pod{UID}/../pod{DIGEST}/{ID}"),
        &format!("{user}/kubepods/pod{UID}/{ID}"),
        &format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-besteffort-pod{SLICE}.slice/{ID}"
        ),
        &format!("/evil-kubepods.slice/evil-kubepods-pod{SLICE}.slice/{ID}"),
        &format!("kubepods/pod{UID}/{ID}"),
    ] {
        assert_eq!(in_cgroup(path), None, "{path}");
    }
}

#[test]
fn hierarchies_that_differ_name_nobody() {
    let two = format!("2:cpu:/kubepods/pod{UID}/{ID}\n1:pids:/kubepods/pod{DIGEST}/{ID}");
    assert_eq!(in_cgroup(&two), None);
}

/// Recorded from a node (cgroup version 1 beside 2, cgroupfs): `fixtures/kubernetes/proc-cgroup.txt`.
#[test]
fn all_lines_of_a_real_node_name_one_pod() {
    let hierarchies = [
        "9:name=systemd",
        "8:pids",
        "7:blkio",
        "6:freezer",
        "5:devices",
        "4:memory",
        "3:cpuset",
        "2:cpuacct",
        "1:cpu",
        "0:",
    ];
    let lines = hierarchies.map(|h| format!("{h}:/kubepods/besteffort/pod{UID}/{ID}"));
    assert_eq!(in_cgroup(&lines.join("\n")), found(UID, Some(ID)));
}

#[test]
fn a_process_is_in_a_container_wherever_the_reader_is() {
    const UID: &str = "29f83447-5763-4bfc-bc67-90e7a1524d07";
    let id = "4f0e".repeat(16);
    let slice = UID.replace('-', "_");
    for text in [
        format!(
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice/cri-containerd-{id}.scope\n"
        ),
        format!("0::/../../kubepods-burstable-pod{slice}.slice/cri-containerd-{id}.scope/app\n"),
        format!("0::/../../../kubepods-pod{slice}.slice/crio-{id}.scope/container\n"),
        format!("9:name=systemd:/\n4:memory:/kubepods/besteffort/pod{UID}/{id}\n0::/\n"),
    ] {
        assert!(belongs_to_container(&text, UID, &id), "{text}");
        assert!(
            !belongs_to_container(&text, UID, &"5f0e".repeat(16)),
            "{text}"
        );
        assert!(
            !belongs_to_container(&text, "39f83447-5763-4bfc-bc67-90e7a1524d07", &id),
            "{text}"
        );
    }
}

#[test]
fn a_process_is_in_no_container_by_a_name_that_it_has_chosen() {
    const UID: &str = "29f83447-5763-4bfc-bc67-90e7a1524d07";
    const OTHER: &str = "39f83447-5763-4bfc-bc67-90e7a1524d07";
    let (id, other) = ("4f0e".repeat(16), "5f0e".repeat(16));
    for text in [
        format!("0::/kubepods/pod{OTHER}/{other}/pod{UID}/{id}\n"),
        format!("0::/kubepods/pod{UID}/{other}/{id}\n"),
        format!("4:memory:/kubepods/pod{UID}/{id}\n5:pids:/kubepods/pod{OTHER}/{other}\n"),
        format!("0::/user.slice/{id}\n"),
        "0::/\n".to_owned(),
        String::new(),
    ] {
        assert!(!belongs_to_container(&text, UID, &id), "{text}");
    }
}
