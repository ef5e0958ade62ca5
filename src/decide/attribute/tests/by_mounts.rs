//! Directories that pods mount: one writer, several, and what the levels say.

use super::*;

#[test]
fn the_only_writer_whose_name_the_levels_have_is_exact() {
    scene([tidy("shop", "cart-0"), tidy("shop", "cart-1")])
        .below("shop/cart-0/app")
        .exact("shop", "cart-0", "app")
        .by(&["+index", "+mounts", "+layout"])
        .candidates(1);
}

#[test]
fn all_sources_that_agree_are_exact_and_all_recorded() {
    scene([tidy("shop", "cart-0").runs_as("app", 7)])
        .host("cart-0")
        .file_name("cart-0")
        .file_uid(7)
        .below("shop/cart-0/app")
        .exact("shop", "cart-0", "app")
        .by(&["+mounts", "+layout", "-hostname", "-file name"]);
}

#[test]
fn the_only_writer_without_levels_is_probable() {
    scene([pod("shop", "cart-0").writes("app", ROOT, "")])
        .layout("")
        .below("")
        .probable("shop", "cart-0", "app")
        .by(&["+mounts"])
        .not_by("layout");
}

#[test]
fn levels_that_name_only_a_namespace_are_no_identity() {
    scene([pod("shop", "cart-0").writes("app", ROOT, "shop")])
        .layout("{namespace}")
        .below("shop")
        .probable("shop", "cart-0", "app")
        .by(&["+layout"]);
}

#[test]
fn levels_may_name_a_pod_by_its_uid_alone() {
    scene([pod("shop", "cart-0").writes("app", ROOT, "uid-cart-0")])
        .layout("{uid}")
        .below("uid-cart-0")
        .exact("shop", "cart-0", "app");
}

#[test]
fn levels_filled_by_a_static_pod_have_the_uid_of_the_kubelet() {
    let digest = "0123456789abcdef0123456789abcdef";
    let stat = pod("kube-system", "etcd-n1")
        .writes("etcd", ROOT, digest)
        .with(|pod| digest.clone_into(&mut pod.node_uid));
    scene([stat])
        .layout("{uid}")
        .below(digest)
        .exact("kube-system", "etcd-n1", "etcd");
}

#[test]
fn levels_against_the_only_writer_are_a_conflict_and_not_believed() {
    scene([pod("shop", "cart-0").writes("app", ROOT, "")])
        .below("bank/vault-0/app")
        .probable("shop", "cart-0", "app")
        .conflicts(1)
        .by(&["+layout", "+mounts"]);
}

#[test]
fn a_host_name_against_the_only_writer_is_a_conflict_and_not_believed() {
    scene([tidy("shop", "cart-0"), tidy("bank", "vault-0")])
        .host("vault-0")
        .below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .conflicts(1)
        .by(&["-hostname"]);
}

#[test]
fn a_host_name_in_the_file_name_contradicts_likewise() {
    scene([tidy("shop", "cart-0")])
        .file_name("vault-0")
        .below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .conflicts(1)
        .by(&["-file name"]);
}

#[test]
fn claims_choose_among_two_writers_and_give_no_certainty() {
    let pods = || ["cart-0", "cart-1"].map(|name| pod("shop", name).writes("app", ROOT, ""));
    scene(pods())
        .host("cart-1")
        .below("")
        .probable("shop", "cart-1", "app")
        .candidates(2);
    scene(pods())
        .file_name("cart-0")
        .below("")
        .probable("shop", "cart-0", "app");
    scene(pods())
        .below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .by(&["-layout"])
        .conflicts(0);
}

#[test]
fn two_writers_and_nothing_else_are_unknown_and_counted() {
    let decided =
        scene(["cart-0", "cart-1"].map(|name| pod("shop", name).writes("app", ROOT, ""))).below("");
    decided.unknown().candidates(2).by(&["+mounts"]);
    assert_eq!(decided.0.attribution.candidates, Some(2));
    let says = &decided.0.attribution.evidence;
    assert!(says.iter().any(|e| e.says == "2 pods may write there"));
}

#[test]
fn claims_for_different_candidates_are_unknown() {
    let pods = ["cart-0", "cart-1"].map(|name| pod("shop", name).writes("app", ROOT, ""));
    let two = scene(pods);
    let by_host = two.host("cart-1");
    by_host.below("shop/cart-0/app").unknown().conflicts(1);
    let by_both = by_host.file_name("cart-0");
    by_both.below("").unknown().conflicts(1);
}

#[test]
fn a_claim_outside_the_candidates_is_recorded_and_the_others_still_choose() {
    scene([
        pod("shop", "cart-0").writes("app", ROOT, ""),
        pod("shop", "cart-1").writes("app", ROOT, ""),
        pod("bank", "vault-0"),
    ])
    .host("vault-0")
    .below("shop/cart-0/app")
    .probable("shop", "cart-0", "app")
    .conflicts(1);
}

#[test]
fn levels_outside_the_candidates_are_recorded_and_not_believed() {
    scene([
        pod("shop", "cart-0").writes("app", ROOT, ""),
        pod("shop", "cart-1").writes("app", ROOT, ""),
        pod("bank", "vault-0"),
    ])
    .below("bank/vault-0/app")
    .unknown()
    .conflicts(1)
    .candidates(2);
}

#[test]
fn the_agents_own_pods_are_no_candidates() {
    let daemon = Owner {
        kind: "DaemonSet".into(),
        name: "salvage".into(),
    };
    let own = |namespace: &str| {
        pod(namespace, "salvage-x7")
            .writes("agent", ROOT, "")
            .with(|pod| pod.owner = daemon.clone())
    };
    let mut mine = scene([own("salvage"), tidy("shop", "cart-0")]);
    mine.below("shop/cart-0/app").candidates(2);
    mine.own = Some(("salvage".into(), daemon.clone()));
    mine.below("shop/cart-0/app").exact("shop", "cart-0", "app");
    // Another workload beside it is not the agent.
    let beside = pod("salvage", "other").writes("other", ROOT, "");
    mine.pods.push(beside);
    mine.below("shop/cart-0/app").candidates(2);
    // A workload of the same name in another namespace is somebody else's.
    let mut other = scene([own("shop"), tidy("shop", "cart-0")]);
    other.own = mine.own;
    other
        .below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .candidates(2);
}

#[test]
fn a_deleted_pod_is_found_in_the_index() {
    scene([tidy("shop", "cart-0").gone(5)])
        .host("cart-0")
        .below("shop/cart-0/app")
        .exact("shop", "cart-0", "app");
}

#[test]
fn an_index_synced_after_the_dump_makes_the_levels_no_more_than_probable() {
    let late = scene([tidy("shop", "cart-0")]).synced(1);
    late.below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .by(&["-layout", "+index"]);
    let in_time = late.synced(0);
    in_time
        .below("shop/cart-0/app")
        .exact("shop", "cart-0", "app");
}

#[test]
fn with_an_index_synced_after_the_dump_a_contradiction_may_speak_of_a_pod_that_is_gone() {
    scene([pod("shop", "cart-0").writes("app", ROOT, "")])
        .synced(1)
        .host("vault-0")
        .below("")
        .unknown()
        .conflicts(1)
        .candidates(1);
    scene([pod("shop", "cart-0").writes("app", ROOT, "")])
        .synced(1)
        .below("bank/vault-0/app")
        .unknown();
}

#[test]
fn of_two_pods_of_one_name_the_one_that_lived_wrote_it() {
    let anew = |gone, made| {
        scene([
            tidy("shop", "cart-0").uid("uid-old").gone(gone),
            tidy("shop", "cart-0").uid("uid-new").made(made),
        ])
    };
    let names = |uid| ("shop", "cart-0", uid);
    anew(4, 6)
        .below("shop/cart-0/app")
        .is(Confidence::Probable, names("uid-old"), "app")
        .candidates(2);
    anew(-400, -398)
        .below("shop/cart-0/app")
        .is(Confidence::Probable, names("uid-new"), "app");
    // Between two lives, by clocks that differ: one name all the same.
    anew(-5, 5)
        .host("cart-0")
        .below("shop/cart-0/app")
        .is(Confidence::Probable, names(""), "app");
}

#[test]
fn a_pod_made_anew_is_not_the_one_before_it_that_the_index_never_saw() {
    let anew = || scene([tidy("shop", "cart-0").made(900)]).synced(1000);
    anew()
        .below("shop/cart-0/app")
        .is(Confidence::Probable, ("shop", "cart-0", ""), "app")
        .by(&["+index"]);
    // Without both names it may be another tenant's.
    anew()
        .layout("*/{pod}/*")
        .below("shop/cart-0/app")
        .unknown();
    anew().layout("").below("").unknown();
    anew().host("other").below("shop/cart-0/app").unknown();
}

#[test]
fn clocks_that_rule_out_every_writer_rule_out_none() {
    scene([tidy("shop", "cart-0").made(900)])
        .below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .conflicts(1);
}
