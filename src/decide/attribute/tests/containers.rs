//! Which container of a known pod it was.

use super::*;

fn two(sub: &str) -> KnownPod {
    pod("shop", "cart-0")
        .empty_dir("app", sub)
        .empty_dir("side", sub)
}

#[test]
fn a_sub_path_above_the_dump_s_directory_names_its_container() {
    scene([pod("shop", "cart-0")
        .empty_dir("app", "app")
        .empty_dir("side", "side")])
    .in_volume("uid-cart-0", "app/deep/er")
    .exact("shop", "cart-0", "app");
}

#[test]
fn a_sub_path_is_compared_by_levels() {
    scene([pod("shop", "cart-0")
        .empty_dir("app", "app")
        .empty_dir("app2", "app2")])
    .in_volume("uid-cart-0", "app2")
    .exact("shop", "cart-0", "app2");
}

#[test]
fn a_sub_path_goes_before_a_mount_of_the_whole_volume() {
    let both = scene([pod("shop", "cart-0")
        .empty_dir("app", "app")
        .empty_dir("side", "")]);
    both.in_volume("uid-cart-0", "app")
        .exact("shop", "cart-0", "app");
    both.in_volume("uid-cart-0", "")
        .exact("shop", "cart-0", "side");
}

#[test]
fn of_two_containers_with_one_volume_none_is_named() {
    for sub in ["", "both"] {
        scene([two(sub)])
            .in_volume("uid-cart-0", "both")
            .probable("shop", "cart-0", "")
            .conflicts(0);
    }
}

#[test]
fn a_sub_path_that_cannot_be_told_may_be_the_one() {
    let untold = |pod: KnownPod| pod.mount("side", VolumeAt::EmptyDir, SubPath::Untold, false);
    scene([untold(pod("shop", "cart-0").empty_dir("app", "app"))])
        .in_volume("uid-cart-0", "app")
        .probable("shop", "cart-0", "");
    let dots = pod("shop", "cart-0").empty_dir("app", "app");
    scene([dots.empty_dir("side", "x/../app")])
        .in_volume("uid-cart-0", "app")
        .probable("shop", "cart-0", "");
    scene([untold(pod("shop", "cart-0"))])
        .in_volume("uid-cart-0", "x")
        .exact("shop", "cart-0", "side");
}

#[test]
fn a_container_that_mounts_it_read_only_did_not_write_it() {
    scene([pod("shop", "cart-0").empty_dir("app", "").mount(
        "side",
        VolumeAt::EmptyDir,
        SubPath::Whole,
        true,
    )])
    .in_volume("uid-cart-0", "")
    .exact("shop", "cart-0", "app");
}

#[test]
fn a_place_where_no_container_writes_is_a_conflict() {
    scene([pod("shop", "cart-0").empty_dir("app", "app")])
        .in_volume("uid-cart-0", "")
        .probable("shop", "cart-0", "")
        .conflicts(1);
}

#[test]
fn containers_of_every_kind_write() {
    for kind in [
        ContainerKind::Init,
        ContainerKind::Sidecar,
        ContainerKind::Ephemeral,
    ] {
        let written = scene([pod("shop", "cart-0")
            .writes("other", ROOT, "shop/cart-0/app")
            .container("other", |c| c.kind = kind)]);
        written
            .layout("{namespace}/{pod}/*")
            .below("shop/cart-0/app")
            .exact("shop", "cart-0", "other");
        let beside = scene([
            tidy("shop", "cart-0"),
            pod("mallory", "evil")
                .writes("evil", ROOT, "")
                .container("evil", |c| c.kind = kind),
        ]);
        beside
            .below("shop/cart-0/app")
            .probable("shop", "cart-0", "app")
            .candidates(2);
        let volume = scene([pod("shop", "cart-0")
            .empty_dir("other", "")
            .container("other", |c| c.kind = kind)]);
        volume
            .in_volume("uid-cart-0", "")
            .exact("shop", "cart-0", "other");
    }
}

#[test]
fn of_several_containers_the_level_chooses_without_certainty() {
    scene([tidy("shop", "cart-0").writes("side", ROOT, "shop/cart-0")])
        .below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .conflicts(0)
        .candidates(1);
}

#[test]
fn a_level_that_names_no_container_of_the_directory_is_a_conflict() {
    scene([pod("shop", "cart-0").writes("app", ROOT, "shop/cart-0")])
        .below("shop/cart-0/side")
        .probable("shop", "cart-0", "app")
        .conflicts(1);
}

#[test]
fn the_file_s_owner_narrows_the_containers() {
    let both = two("").runs_as("app", 1000).runs_as("side", 2000);
    scene([both.clone()])
        .file_uid(2000)
        .in_volume("uid-cart-0", "")
        .probable("shop", "cart-0", "side")
        .by(&["-uid"]);
    scene([both])
        .file_uid(3000)
        .in_volume("uid-cart-0", "")
        .probable("shop", "cart-0", "");
}

#[test]
fn a_termination_narrows_the_containers() {
    scene([two("").ended("app", -2, 139)])
        .in_volume("uid-cart-0", "")
        .probable("shop", "cart-0", "app")
        .by(&["-termination"]);
}
