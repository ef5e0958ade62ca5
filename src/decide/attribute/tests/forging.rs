//! What a pod can do to another's name.

use super::*;
use proptest::prelude::*;

#[test]
fn a_pod_that_writes_into_another_s_directory_through_an_ancestor_is_never_certain_of_it() {
    let evil = pod("mallory", "evil").writes("evil", ROOT, "");
    scene([tidy("shop", "cart-0"), evil])
        .host("cart-0")
        .file_name("cart-0")
        .below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .candidates(2);
}

#[test]
fn a_pod_that_expands_its_sub_path_to_another_s_names_is_a_candidate_beside_it() {
    // `subPathExpr: $(NS)/$(POD)/app`, with NS and POD set by hand in its `env`.
    let evil = pod("mallory", "evil").writes("evil", ROOT, "shop/cart-0/app");
    scene([tidy("shop", "cart-0"), evil.clone()])
        .below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .candidates(2);
    // Where its victim is not there, it is found out.
    scene([evil])
        .below("shop/cart-0/app")
        .probable("mallory", "evil", "evil")
        .conflicts(2);
}

#[test]
fn a_forger_that_went_before_the_dump_ended_is_still_counted() {
    let evil = pod("mallory", "evil").writes("evil", ROOT, "").gone(-3000);
    scene([tidy("shop", "cart-0"), evil])
        .below("shop/cart-0/app")
        .probable("shop", "cart-0", "app")
        .candidates(2);
}

#[test]
fn hostile_names_are_shown_escaped_and_cut() {
    let host = format!("a\u{202e}\n{}", "x".repeat(10_000));
    let decided = scene([tidy("shop", "cart-0")])
        .host(&host)
        .below("shop/cart-0/app");
    decided.probable("shop", "cart-0", "app").conflicts(1);
    let grounds = &decided.0.attribution;
    let says = grounds.evidence.iter().map(|e| &e.says);
    for text in says.chain(&grounds.conflicts) {
        assert!(text.len() < 700 && !text.contains(['\n', '\u{202e}']));
    }
}

#[test]
fn claims_without_number_are_looked_at_up_to_a_few() {
    let mut many = scene([tidy("shop", "cart-0")]);
    many.claims = vec![(ClaimSource::FileName, "x".into()); 10_000];
    many.below("shop/cart-0/app").conflicts(CLAIMS);
}

const WORDS: [&str; 8] = [
    "shop", "cart-0", "app", "bank", "vault-0", "evil", "mallory", "",
];

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(&WORDS[..]).prop_map(str::to_owned)
}

fn sub() -> impl Strategy<Value = SubPath> {
    prop_oneof![
        Just(SubPath::Whole),
        Just(SubPath::Untold),
        prop::collection::vec(word(), 0..4).prop_map(SubPath::Levels),
    ]
}

proptest! {
    /// Whatever a forger mounts above, at or below the directory, and whatever it writes there and claims.
    #[test]
    fn where_two_pods_can_write_nothing_is_exact(
        above in 0usize..=5,
        below in sub(),
        names in prop::array::uniform4(prop::option::of(word())),
        claims in prop::collection::vec((any::<bool>(), word()), 0..4),
        file_uid in 0u32..3,
        synced in prop::option::of(-2i64..3),
        (gone, died) in (prop::option::of(-900i64..900), -60i64..60),
    ) {
        let levels = ["/var", "/crash", "/shop", "/cart-0", "/app"];
        let path = format!("/{}", levels[..above].concat().trim_start_matches('/'));
        let at_dir = above == levels.len();
        let sub = if at_dir { below } else { SubPath::Whole };
        let evil = pod("mallory", "evil")
            .mount("evil", VolumeAt::HostPath(path.into()), sub, false)
            .runs_as("evil", 1)
            .ended("evil", died, 139)
            .with(|pod| pod.gone = gone.map(at));
        let mut scene = scene([tidy("shop", "cart-0").runs_as("app", 2), evil]).file_uid(file_uid);
        scene.synced_since = synced.map(at);
        for (in_file_name, name) in claims {
            // Texts are searched for claimed names, and these are not words of theirs.
            let name = format!("{name}{}", if name.contains('-') { "" } else { "-9" });
            scene = if in_file_name { scene.file_name(&name) } else { scene.host(&name) };
        }
        let [namespace, pod, container, uid] = names;
        let names = Names { namespace, pod, container, uid, ..Names::default() };
        let decided = scene.in_dir("/var/crash/shop/cart-0/app", &names);
        prop_assert_ne!(decided.0.attribution.confidence, Confidence::Exact);
        prop_assert!(decided.0.candidates <= 2);
        if synced.is_some() {
            prop_assert_eq!(decided.0.candidates, 2);
        }
    }

    #[test]
    fn any_text_is_read_as_a_cgroup_without_harm(text in ".{0,200}") {
        scene([pod("shop", "cart-0")]).in_cgroup(&text).unknown();
    }
}
