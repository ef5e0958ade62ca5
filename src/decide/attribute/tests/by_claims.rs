//! Directories that nobody mounts, and host names.

use super::*;

fn kernel(pods: impl IntoIterator<Item = KnownPod>) -> Scene {
    scene(pods.into_iter().map(|pod| pod.container("app", |_| {}))).layout("")
}

#[test]
fn one_pod_of_the_claimed_host_name_is_probable() {
    let two = || kernel([pod("shop", "cart-0"), pod("shop", "cart-1")]);
    two()
        .host("cart-1")
        .below("")
        .probable("shop", "cart-1", "app")
        .by(&["-hostname"]);
    two()
        .file_name("cart-0")
        .below("")
        .probable("shop", "cart-0", "app")
        .by(&["-file name"]);
    two()
        .host("cart-0")
        .file_name("cart-0")
        .below("")
        .probable("shop", "cart-0", "app")
        .conflicts(0);
}

#[test]
fn claims_that_contradict_each_other_are_unknown() {
    let two = || kernel([pod("shop", "cart-0"), pod("shop", "cart-1")]);
    two()
        .host("cart-0")
        .file_name("cart-1")
        .below("")
        .unknown()
        .conflicts(1)
        .among(&["uid-cart-0", "uid-cart-1"]);
    two()
        .host("cart-0")
        .file_name("elsewhere")
        .below("")
        .unknown()
        .conflicts(1)
        .among(&["uid-cart-0"]);
}

#[test]
fn a_host_name_of_no_pod_is_unknown() {
    kernel([pod("shop", "cart-0")])
        .host("elsewhere")
        .below("")
        .unknown()
        .conflicts(0)
        .among(&[]);
}

#[test]
fn nothing_claimed_is_nothing_known() {
    kernel([pod("shop", "cart-0")])
        .below("")
        .unknown()
        .candidates(0);
    kernel([pod("shop", "cart-0")]).host("").below("").unknown();
}

#[test]
fn pods_of_one_name_in_two_namespaces_do_not_tell() {
    let pods = [pod("shop", "web-0"), pod("bank", "web-0").uid("uid-other")];
    kernel(pods).host("web-0").below("").unknown().candidates(2);
}

#[test]
fn nothing_narrows_across_namespaces_what_only_claims_say() {
    // The other's pod runs on behind its probe, and the one that took its name sees to it that it ends when others do.
    let pods = || {
        let pod = |namespace, uid: &str| pod(namespace, "web-0").uid(uid);
        (pod("shop", "uid-web-0"), pod("mallory", "uid-other"))
    };
    let (victim, evil) = pods();
    kernel([victim, evil.ended("app", 1, 139)])
        .host("web-0")
        .below("")
        .unknown()
        .not_by("termination")
        .among(&["uid-other", "uid-web-0"]);
    let (victim, evil) = pods();
    kernel([victim.runs_as("app", 1), evil.runs_as("app", 2)])
        .file_uid(2)
        .host("web-0")
        .below("")
        .unknown()
        .not_by("uid");
    let set = pod("mallory", "evil").with(|pod| pod.host_name = Some("web-0".into()));
    kernel([pods().0, set.ended("app", 1, 139)])
        .host("web-0")
        .below("")
        .unknown()
        .among(&["uid-evil", "uid-web-0"]);
}

#[test]
fn pods_of_one_namespace_are_narrowed_like_others() {
    let till = |name| pod("shop", name).with(|pod| pod.host_name = Some("till".into()));
    kernel([till("till-a"), till("till-b").ended("app", 1, 139)])
        .host("till")
        .below("")
        .probable("shop", "till-b", "app")
        .by(&["-termination"])
        .among(&["uid-till-a", "uid-till-b"]);
}

#[test]
fn the_node_s_name_is_no_pod_s() {
    let named = |name: &str| {
        let by_host = pod("mallory", "evil").with(|pod| pod.host_name = Some(name.to_owned()));
        [pod("mallory", name), by_host]
    };
    let says = [
        ("node-17", "node-17"),
        ("node-17", "NODE-17"),
        ("node-17", "node-17.internal"),
        ("node-17.internal", "node-17"),
        ("Node-17.internal", "node-17.internal"),
        ("node-17.eu.internal", "node-17.ec2.internal"),
    ];
    for (node, host) in says {
        for evil in named(host) {
            let mut one = kernel([evil.ended("app", 0, 139)]).host(host);
            one.node = Some(node);
            one.below("")
                .unknown()
                .conflicts(0)
                .by(&["-hostname"])
                .among(&[]);
        }
    }
    // Beside another claim it says nothing, and the other counts.
    kernel([pod("shop", "cart-0"), pod("mallory", "node-17")])
        .host("cart-0")
        .file_name("node-17")
        .below("")
        .probable("shop", "cart-0", "app")
        .conflicts(0)
        .among(&["uid-cart-0"]);
    // Another node's is a name like others.
    for host in ["node-1", "node-171", "xnode-17"] {
        kernel([pod("shop", host)])
            .host(host)
            .below("")
            .probable("shop", host, "app");
    }
}

#[test]
fn while_the_node_s_name_is_not_known_claims_alone_name_nobody() {
    let mut one = kernel([pod("shop", "cart-0")]).host("cart-0");
    one.node = None;
    one.below("").unknown().among(&["uid-cart-0"]);
}

#[test]
fn the_node_s_name_chooses_no_writer_and_contradicts_none() {
    let all = |name| pod("mallory", name).writes("app", ROOT, "");
    scene([
        pod("shop", "cart-0").writes("app", ROOT, ""),
        all("node-17"),
    ])
    .host("node-17.internal")
    .below("")
    .unknown()
    .among(&["uid-cart-0", "uid-node-17"]);
    // `HOSTNAME` set from `spec.nodeName`.
    scene([tidy("shop", "cart-0").empty_dir("app", "")])
        .host("node-17")
        .below("shop/cart-0/app")
        .exact("shop", "cart-0", "app")
        .by(&["-hostname"]);
    scene([pod("shop", "cart-0").empty_dir("app", "")])
        .host("node-17")
        .in_volume("uid-cart-0", "")
        .exact("shop", "cart-0", "app");
}

#[test]
fn a_pod_that_did_not_live_then_is_not_claimed() {
    kernel([pod("shop", "cart-0").made(400)])
        .host("cart-0")
        .below("")
        .unknown();
    kernel([pod("shop", "cart-0").gone(-400)])
        .host("cart-0")
        .below("")
        .unknown();
}

#[test]
fn a_host_name_is_the_pod_s_cut_at_63_bytes() {
    let long = "a".repeat(70);
    kernel([pod("shop", &long)])
        .host(&long[..63])
        .below("")
        .probable("shop", &long, "app");
    // The kubelet drops what a host name cannot end with.
    let dashed = format!("{}--{}", "a".repeat(61), "b".repeat(9));
    kernel([pod("shop", &dashed)])
        .host(&"a".repeat(61))
        .below("")
        .probable("shop", &dashed, "app");
    kernel([pod("shop", &long)])
        .host(&long[..62])
        .below("")
        .unknown();
}

#[test]
fn a_cut_host_name_that_two_pods_share_does_not_tell() {
    let long = |end: &str| format!("{}{end}", "a".repeat(63));
    kernel([pod("shop", &long("-x1")), pod("shop", &long("-x2"))])
        .host(&"a".repeat(63))
        .below("")
        .unknown()
        .candidates(2);
}

#[test]
fn a_host_name_set_in_the_pod_is_its_own() {
    let named = pod("shop", "cart-0").with(|pod| pod.host_name = Some("till".into()));
    kernel([named.clone()])
        .host("till")
        .below("")
        .probable("shop", "cart-0", "app");
    // HOSTNAME may be set to the pod's name all the same.
    kernel([named])
        .host("cart-0")
        .below("")
        .probable("shop", "cart-0", "app");
}

#[test]
fn a_host_name_set_to_another_pod_s_name_does_not_tell() {
    let evil = pod("mallory", "evil").with(|pod| pod.host_name = Some("cart-0".into()));
    kernel([pod("shop", "cart-0"), evil])
        .host("cart-0")
        .below("")
        .unknown()
        .candidates(2);
}

#[test]
fn a_host_name_that_is_set_is_not_believed_where_it_may_be_another_tenant_s() {
    let evil = || pod("mallory", "evil").with(|pod| pod.host_name = Some("cart-0".into()));
    let victims: [fn(KnownPod) -> KnownPod; 4] = [
        // Gone, as far as clocks tell.
        |pod| pod.gone(-900),
        // Says its own name, by `env`.
        |pod| pod.with(|pod| pod.host_network = true),
        // Made when the clocks say it was too late.
        |pod| pod.made(900),
        |pod| {
            pod.gone(-900).with(|pod| {
                "cart-x".clone_into(&mut pod.name);
                pod.host_name = Some("cart-0".into());
            })
        },
    ];
    for victim in victims {
        kernel([victim(pod("shop", "cart-0")), evil()])
            .host("cart-0")
            .below("")
            .unknown()
            .by(&["-hostname"])
            .among(&["uid-cart-0", "uid-evil"]);
        // A pod's own name is, as the other could not have written it.
        let named = pod("bank", "cart-0").uid("uid-other");
        kernel([victim(pod("shop", "cart-0")), named])
            .host("cart-0")
            .below("")
            .is(Confidence::Probable, ("bank", "cart-0", "uid-other"), "app");
    }
    // One that went before the index began.
    kernel([evil()])
        .synced(1)
        .host("cart-0")
        .below("")
        .unknown()
        .among(&["uid-evil"]);
    kernel([pod("shop", "cart-0")])
        .synced(1)
        .host("cart-0")
        .below("")
        .probable("shop", "cart-0", "app");
    kernel([evil()])
        .host("cart-0")
        .below("")
        .probable("mallory", "evil", "app");
    // Its own tenant's pod that is gone is none to protect.
    kernel([evil(), pod("mallory", "cart-0").gone(-900)])
        .host("cart-0")
        .below("")
        .probable("mallory", "evil", "app");
}

#[test]
fn a_log_directory_of_another_tenant_s_pod_that_the_index_never_saw_makes_a_claim_doubtful() {
    let one = || kernel([pod("mallory", "cart-0")]).synced(1).host("cart-0");
    one()
        .log("shop", "cart-0", "uid-before")
        .below("")
        .unknown()
        .by(&["+log directory"]);
    one()
        .log("mallory", "cart-0", "uid-before")
        .log("shop", "cart-1", "uid-beside")
        .below("")
        .probable("mallory", "cart-0", "app");
    // One that is seen is judged by what is known of it.
    let mut seen = one().log("shop", "cart-0", "uid-before");
    let before = pod("shop", "cart-0").uid("uid-before").gone(-900);
    seen.pods.push(before);
    seen.below("").probable("mallory", "cart-0", "app");
}

#[test]
fn a_pod_on_the_node_s_network_has_the_node_s_name() {
    let on_node = || pod("shop", "cart-0").with(|pod| pod.host_network = true);
    kernel([on_node()]).host("cart-0").below("").unknown();
    // Where it writes, a name that is no candidate's may be the node's.
    let writes = on_node().writes("app", ROOT, "shop/cart-0/app");
    scene([writes])
        .host("node-17")
        .below("shop/cart-0/app")
        .exact("shop", "cart-0", "app");
}

#[test]
fn a_host_name_with_its_domain_is_the_pod_s() {
    let full = "cart-0.cart.shop.svc.cluster.local";
    scene([tidy("shop", "cart-0")])
        .host(full)
        .below("shop/cart-0/app")
        .exact("shop", "cart-0", "app");
    scene([tidy("bank", "cart-0")])
        .host(full)
        .below("bank/cart-0/app")
        .conflicts(1);
    scene([tidy("shop", "cart-0")])
        .host("cart-0.example")
        .below("shop/cart-0/app")
        .conflicts(1);
}

#[test]
fn the_agent_is_not_claimed() {
    let owner = Owner {
        kind: "DaemonSet".into(),
        name: "salvage".into(),
    };
    let mut mine = kernel([pod("salvage", "agent-1").with(|pod| pod.owner = owner.clone())]);
    mine.own = Some(("salvage".into(), owner));
    let evil = pod("mallory", "agent-1").uid("uid-evil");
    let mut mine = mine.host("agent-1");
    mine.below("").unknown().among(&["uid-agent-1"]);
    // Neither is its dump another's that has its name.
    mine.pods.push(evil);
    mine.below("").unknown().among(&["uid-agent-1", "uid-evil"]);
}

#[test]
fn levels_that_name_a_pod_which_mounts_nothing_there_are_a_conflict() {
    scene([pod("shop", "cart-0").container("app", |_| {})])
        .host("cart-0")
        .below("shop/cart-0/app")
        .unknown()
        .conflicts(1)
        .by(&["-layout", "-hostname"]);
}

#[test]
fn levels_of_a_pod_that_the_index_never_saw_need_its_log_directory() {
    let seen = || scene([]).synced(30);
    seen().host("cart-0").below("shop/cart-0/app").unknown();
    let logged = || seen().log("shop", "cart-0", "uid-cart-0");
    logged()
        .host("cart-0")
        .below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .by(&["+log directory", "-layout"]);
    logged()
        .host("other")
        .below("shop/cart-0/app")
        .unknown()
        .conflicts(1);
}

#[test]
fn a_namespace_level_narrows_what_a_host_name_says() {
    let pods = [pod("shop", "web-0"), pod("bank", "web-0").uid("uid-other")];
    kernel(pods)
        .layout("{namespace}")
        .host("web-0")
        .below("shop")
        .probable("shop", "web-0", "app");
}
