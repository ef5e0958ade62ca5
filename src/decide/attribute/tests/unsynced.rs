//! While the API server is away.

use super::*;

#[test]
fn a_kubelet_path_and_a_log_directory_name_the_pod() {
    scene([])
        .unsynced()
        .log("shop", "cart-0", "uid-cart-0")
        .log("shop", "cart-1", "uid-cart-1")
        .host("cart-0")
        .in_volume("uid-cart-0", "app")
        .probable("shop", "cart-0", "")
        .by(&["+kubelet path", "+log directory", "+index", "-hostname"]);
}

#[test]
fn a_kubelet_path_without_a_log_directory_is_unknown() {
    scene([])
        .unsynced()
        .in_volume("uid-cart-0", "app")
        .unknown();
}

#[test]
fn a_host_name_against_the_log_directory_is_a_conflict() {
    scene([])
        .unsynced()
        .log("shop", "cart-0", "uid-cart-0")
        .host("vault-0")
        .in_volume("uid-cart-0", "app")
        .probable("shop", "cart-0", "")
        .conflicts(1);
}

#[test]
fn a_pod_known_from_before_is_never_exact() {
    let before = || {
        let known = tidy("shop", "cart-0").empty_dir("app", "app");
        scene([known]).unsynced().host("cart-0")
    };
    before()
        .in_volume("uid-cart-0", "app")
        .probable("shop", "cart-0", "app");
    before()
        .below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .by(&["-mounts", "-layout"]);
    let id = "a".repeat(64);
    before()
        .in_cgroup(&format!("/kubepods/poduid-cart-0/{id}"))
        .probable("shop", "cart-0", "");
}

#[test]
fn a_cgroup_and_a_log_directory_name_the_pod() {
    let uid = "29f83447-5763-4bfc-bc67-90e7a1524d07";
    scene([])
        .unsynced()
        .log("shop", "cart-0", uid)
        .in_cgroup(&format!("/kubepods/pod{uid}/{}", "a".repeat(64)))
        .is(Confidence::Probable, ("shop", "cart-0", uid), "")
        .by(&["+cgroup", "+log directory"]);
}

#[test]
fn levels_that_a_log_directory_bears_out_are_probable() {
    scene([])
        .unsynced()
        .log("shop", "cart-0", "uid-cart-0")
        .below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .by(&["-layout", "+log directory"]);
}

#[test]
fn levels_with_a_uid_must_fit_the_log_directory_s() {
    let logged =
        scene([])
            .unsynced()
            .layout("{namespace}/{pod}/{uid}")
            .log("shop", "cart-0", "uid-cart-0");
    logged
        .below("shop/cart-0/uid-cart-0")
        .probable("shop", "cart-0", "");
    logged.below("shop/cart-0/uid-before").unknown();
}

#[test]
fn levels_that_nothing_bears_out_are_unknown() {
    scene([]).unsynced().below("shop/cart-0/app").unknown();
    scene([])
        .unsynced()
        .log("bank", "cart-0", "uid-other")
        .below("shop/cart-0/app")
        .unknown();
}

#[test]
fn levels_and_a_host_name_in_conflict_are_unknown() {
    let logged = || scene([]).unsynced().log("shop", "cart-0", "uid-cart-0");
    logged()
        .host("other")
        .below("shop/cart-0/app")
        .unknown()
        .conflicts(1);
    let mut known = logged().host("other");
    known.pods.push(tidy("shop", "cart-0"));
    known.below("shop/cart-0/app").unknown().conflicts(1);
}

#[test]
fn log_directories_of_one_name_name_the_pod_without_its_uid() {
    let logged = || {
        scene([])
            .unsynced()
            .log("shop", "cart-0", "uid-old")
            .log("shop", "cart-0", "uid-new")
    };
    let names = ("shop", "cart-0", "");
    logged()
        .below("shop/cart-0/app")
        .is(Confidence::Probable, names, "app");
    let mut known = logged();
    known.pods.push(tidy("shop", "cart-0").uid("uid-old"));
    known
        .below("shop/cart-0/app")
        .is(Confidence::Probable, names, "app");
}

#[test]
fn log_directories_of_two_tenants_do_not_tell() {
    let two = || {
        scene([])
            .unsynced()
            .layout("*/{pod}")
            .log("shop", "web-0", "uid-web-0")
            .log("bank", "web-0", "uid-other")
    };
    two().below("x/web-0").unknown().candidates(2);
    let mut known = two();
    let writer = pod("shop", "web-0").writes("app", ROOT, "x/web-0");
    known.pods.push(writer);
    known.below("x/web-0").unknown();
}

#[test]
fn a_pod_known_from_before_that_has_gone_leaves_the_log_directory_of_the_next() {
    let mut next = scene([tidy("shop", "cart-0").uid("uid-old").gone(-900)])
        .unsynced()
        .log("shop", "cart-0", "uid-old");
    next.below("shop/cart-0/app").unknown();
    next = next.log("shop", "cart-0", "uid-new");
    next.below("shop/cart-0/app")
        .is(Confidence::Probable, ("shop", "cart-0", "uid-new"), "app");
}

#[test]
fn levels_of_a_known_pod_that_does_not_write_there_are_a_conflict() {
    scene([pod("shop", "cart-0")])
        .unsynced()
        .log("shop", "cart-0", "uid-cart-0")
        .below("shop/cart-0/app")
        .unknown()
        .conflicts(1);
}

#[test]
fn claims_alone_are_unknown() {
    scene([pod("shop", "cart-0"), pod("bank", "vault-0")])
        .unsynced()
        .log("shop", "cart-0", "uid-cart-0")
        .host("cart-0")
        .below("")
        .unknown()
        .by(&["+index", "-hostname"]);
}

#[test]
fn mounts_alone_are_unknown() {
    scene([pod("shop", "cart-0").writes("app", ROOT, "")])
        .unsynced()
        .below("")
        .unknown()
        .by(&["-mounts"])
        .candidates(1);
}
