//! Which mounts reach a directory.

use super::*;

/// The victim of these scenes, with another tenant's pod that mounts `path` and `sub`.
fn beside(path: &str, sub: SubPath, read_only: bool) -> Scene {
    let volume = VolumeAt::HostPath(PathBuf::from(path));
    let other = pod("mallory", "evil").mount("evil", volume, sub, read_only);
    scene([tidy("shop", "cart-0"), other])
}

#[track_caller]
fn counts(path: &str, sub: SubPath, candidates: usize) {
    let decided = beside(path, sub, false).below("shop/cart-0/app");
    decided.candidates(candidates);
    match candidates {
        1 => decided.exact("shop", "cart-0", "app"),
        _ => decided.probable("shop", "cart-0", "app").by(&["-layout"]),
    };
}

#[test]
fn a_pod_that_mounts_an_ancestor_takes_the_certainty_away() {
    for above in [
        "/",
        "/var",
        "/var/crash",
        "/var/crash/shop",
        "//var//crash/",
    ] {
        counts(above, SubPath::Whole, 2);
    }
    counts(ROOT, subs("shop"), 2);
    counts("/var", subs("crash/shop"), 2);
}

#[test]
fn a_pod_that_mounts_the_same_or_below_takes_the_certainty_away() {
    counts("/var/crash/shop/cart-0/app", SubPath::Whole, 2);
    counts("/var/crash/shop/cart-0/app/deeper/still", SubPath::Whole, 2);
    counts(ROOT, subs("shop/cart-0/app/deeper"), 2);
}

#[test]
fn a_read_only_mount_writes_nothing() {
    beside("/", SubPath::Whole, true)
        .below("shop/cart-0/app")
        .exact("shop", "cart-0", "app")
        .candidates(1);
}

#[test]
fn a_pod_elsewhere_is_no_candidate() {
    counts(ROOT, subs("mallory/evil/app"), 1);
    counts("/srv", SubPath::Whole, 1);
}

#[test]
fn a_path_that_only_begins_alike_is_elsewhere() {
    counts("/var/crash2", SubPath::Whole, 1);
    counts("/var/cras", SubPath::Whole, 1);
    counts(ROOT, subs("shop/cart-0/app2"), 1);
    counts(ROOT, subs("shop/cart-00/app"), 1);
}

#[test]
fn a_sub_path_that_cannot_be_told_may_be_any_below_its_volume() {
    counts(ROOT, SubPath::Untold, 2);
    counts("/var/crash/shop", SubPath::Untold, 2);
    counts("/var/crash/mallory", SubPath::Untold, 1);
}

#[test]
fn dots_in_a_path_lead_anywhere_and_in_a_sub_path_anywhere_in_the_volume() {
    counts("/var/crash/mallory/../shop", SubPath::Whole, 2);
    counts("/var/crash/../../etc", SubPath::Whole, 2);
    counts("/var/./crash", SubPath::Whole, 2);
    counts("/srv/../var/crash", SubPath::Whole, 2);
    counts(&format!("{}/../../var", "/a".repeat(70)), SubPath::Whole, 2);
    counts(ROOT, subs("mallory/../shop/cart-0"), 2);
    counts("/srv", subs("../var/crash"), 1);
    counts(
        "/var/crash/shop",
        SubPath::Levels(vec!["a/../cart-0".into()]),
        2,
    );
    counts(ROOT, subs("../crash/shop"), 2);
    counts(ROOT, subs("./x"), 2);
}

#[test]
fn a_path_that_is_not_absolute_may_be_anywhere() {
    counts("srv", SubPath::Whole, 2);
    counts("", SubPath::Whole, 2);
}

#[test]
fn the_kernels_own_links_lead_anywhere() {
    counts("/proc/1/root/var/crash", SubPath::Whole, 2);
    counts("/proc/self/cwd", SubPath::Whole, 2);
    counts("/dev/fd/3", SubPath::Whole, 2);
    counts("/proc", SubPath::Whole, 1);
    counts("/dev/shm", SubPath::Whole, 1);
}

#[test]
fn a_path_of_very_many_levels_is_compared_as_far_as_it_matters() {
    let deep = "/a".repeat(100_000);
    counts(&deep, SubPath::Whole, 1);
    counts(&format!("{ROOT}{deep}"), SubPath::Whole, 1);
    counts(ROOT, SubPath::Levels(vec!["a".into(); 100_000]), 1);
}

#[test]
fn a_dump_s_directory_with_dots_counts_everyone() {
    let names = Names::default();
    scene([tidy("shop", "cart-0"), tidy("bank", "vault-0")])
        .in_dir("/var/crash/../crash/shop/cart-0/app", &names)
        .unknown()
        .candidates(2);
}

#[test]
fn an_empty_dir_of_the_same_name_reaches_nothing_of_the_node() {
    scene([
        tidy("shop", "cart-0"),
        pod("shop", "cart-1").empty_dir("app", ""),
    ])
    .below("shop/cart-0/app")
    .exact("shop", "cart-0", "app");
}

#[test]
fn a_link_left_in_one_mount_may_lead_another_there() {
    // `first` writes `mallory/first` and can leave a link in it; the kubelet follows it for `second`, within the volume.
    let first = pod("mallory", "first").writes("evil", ROOT, "mallory/first");
    let second = pod("mallory", "second").writes("evil", ROOT, "mallory/first/link");
    scene([tidy("shop", "cart-0"), first.clone(), second.clone()])
        .below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .candidates(2);
    // One pod's two containers can do the same, and a pod that is gone could.
    let alone = first.clone().writes("later", ROOT, "mallory/first/link");
    scene([tidy("shop", "cart-0"), alone])
        .below("shop/cart-0/app")
        .candidates(2);
    scene([tidy("shop", "cart-0"), first.gone(-3000), second])
        .below("shop/cart-0/app")
        .candidates(2);
}

#[test]
fn a_link_below_the_source_may_lead_a_whole_volume_there() {
    let first = pod("mallory", "first").writes("evil", ROOT, "mallory/first");
    let second = pod("mallory", "second").writes("evil", "/var/crash/mallory/first/link", "");
    scene([tidy("shop", "cart-0"), first, second])
        .below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .candidates(2);
}

#[test]
fn drivers_that_mount_directories_in_each_other_are_no_candidates() {
    let driver = pod("kube-system", "csi-x")
        .writes("driver", "/var/lib/kubelet", "")
        .writes("registrar", "/var/lib/kubelet/plugins/x", "");
    scene([tidy("shop", "cart-0"), driver])
        .below("shop/cart-0/app")
        .exact("shop", "cart-0", "app");
}

#[test]
fn a_pod_that_mounts_the_whole_source_makes_no_candidates_of_all_the_others() {
    let whole = pod("logs", "shipper").writes("shipper", ROOT, "");
    scene([
        tidy("shop", "cart-0"),
        tidy("shop", "cart-1"),
        tidy("bank", "vault-0"),
        whole,
    ])
    .below("shop/cart-0/app")
    .probable("shop", "cart-0", "app")
    .candidates(2);
}
