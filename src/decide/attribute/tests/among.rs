//! Whom selection has to ask: everyone who could have written the dump, whoever was chosen.

use super::*;

fn sharing(n: usize) -> Scene {
    let names = (0..n).map(|n| format!("cart-{n:02}"));
    scene(names.map(|name| pod("shop", &name).writes("app", ROOT, "")))
}

#[test]
fn all_that_write_there_are_told_although_one_was_chosen() {
    let all = ["uid-cart-00", "uid-cart-01", "uid-cart-02"];
    sharing(3).below("").unknown().among(&all);
    sharing(3)
        .host("cart-01")
        .below("")
        .probable("shop", "cart-01", "app")
        .among(&all);
    let mut three = sharing(3);
    if let Some(pod) = three.pods.first_mut() {
        *pod = pod.clone().ended("app", 0, 139).runs_as("app", 7);
    }
    three
        .file_uid(7)
        .below("")
        .probable("shop", "cart-00", "app")
        .among(&all);
    // Before lives do.
    let mut one_gone = sharing(3);
    if let Some(pod) = one_gone.pods.first_mut() {
        pod.gone = Some(at(-900));
    }
    one_gone.below("").unknown().among(&all);
}

#[test]
fn one_that_is_certain_is_the_only_one() {
    scene([tidy("shop", "cart-0"), tidy("shop", "cart-1")])
        .below("shop/cart-0/app")
        .exact("shop", "cart-0", "app")
        .among(&["uid-cart-0"]);
}

#[test]
fn without_the_api_server_they_are_those_known_to_write_there() {
    let pods = ["cart-0", "cart-1"].map(|name| pod("shop", name).writes("app", ROOT, ""));
    let two = scene(pods).unsynced();
    let uids = ["uid-cart-0", "uid-cart-1"];
    two.below("").unknown().among(&uids);
    two.below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .among(&uids);
}

#[test]
fn a_log_directory_alone_tells_none() {
    let decided = scene([])
        .unsynced()
        .log("shop", "cart-0", "uid-cart-0")
        .below("shop/cart-0/app");
    decided.probable("shop", "cart-0", "app").candidates(1);
    assert!(decided.0.among.is_empty() && decided.0.among_all);
}

#[test]
fn they_are_told_by_the_uid_that_the_api_server_gave() {
    let digest = "0123456789abcdef0123456789abcdef";
    let stat = pod("kube-system", "etcd-n1").writes("etcd", ROOT, digest);
    scene([stat.with(|pod| digest.clone_into(&mut pod.node_uid))])
        .layout("{uid}")
        .below(digest)
        .among(&["uid-etcd-n1"]);
}

#[test]
fn so_many_are_cut_and_it_is_said() {
    let full = sharing(AMONG).below("");
    assert_eq!((full.0.among.len(), full.0.among_all), (AMONG, true));
    let over = sharing(AMONG + 1).below("");
    over.unknown().candidates(AMONG + 1);
    assert_eq!((over.0.among.len(), over.0.among_all), (AMONG, false));
}
