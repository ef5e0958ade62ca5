//! Names and pages.

use salvage::model::ObjectKey;
use salvage::store::{Expected, ListQuery, PutMode};

use super::put;
use crate::store::bench::{Bench, key, noise};

pub(super) async fn a_listing_is_in_order_and_folds_folders(bench: Bench) {
    let mut names = [
        "a",
        "b/1",
        "b/2=x/y",
        "b-c",
        "b.c/d",
        "bc",
        "crashes/cluster=c/namespace=n/date=2026-11-21/1_x.json",
        "crashes/cluster=c/namespace=n-2/date=2026-11-21/1_x.json",
        "crashes/cluster=c/namespace=n/date=2026-11-22/1_x.json",
    ];
    for (index, name) in names.iter().enumerate() {
        let content = noise(index, 1);
        put(&bench, name, &content, PutMode::Create).await;
    }
    let length = |name: &str| names.iter().position(|other| *other == name);
    let pages = bench.pages(ListQuery::default()).await;
    for object in pages.iter().flat_map(|page| &page.objects) {
        assert_eq!(length(object.key.as_str()), Some(object.bytes as usize));
    }
    names.sort_unstable();
    assert_eq!(bench.keys().await, names);

    for (prefix, objects, folders) in [
        ("", vec!["a", "b-c", "bc"], vec!["b.c/", "b/", "crashes/"]),
        ("b", vec!["b-c", "bc"], vec!["b.c/", "b/"]),
        ("b/", vec!["b/1"], vec!["b/2=x/"]),
        ("b/1", vec!["b/1"], vec![]),
        (
            "crashes/cluster=c/name",
            vec![],
            vec![
                "crashes/cluster=c/namespace=n-2/",
                "crashes/cluster=c/namespace=n/",
            ],
        ),
        (
            "crashes/cluster=c/namespace=n/",
            vec![],
            vec![
                "crashes/cluster=c/namespace=n/date=2026-11-21/",
                "crashes/cluster=c/namespace=n/date=2026-11-22/",
            ],
        ),
        ("nowhere", vec![], vec![]),
        ("nowhere/", vec![], vec![]),
        ("a/", vec![], vec![]),
        ("../", vec![], vec![]),
    ] {
        let query = ListQuery {
            prefix: prefix.to_owned(),
            folders: true,
            next: None,
        };
        let page = bench.store.list(&query).await.expect("lists");
        let found: Vec<_> = page.objects.iter().map(|o| o.key.as_str()).collect();
        assert_eq!(found, objects, "{prefix}");
        assert_eq!(page.folders, folders, "{prefix}");
        assert_eq!((page.foreign, page.next), (0, None), "{prefix}");
    }
}

pub(super) async fn a_listing_of_thousands_comes_in_pages(bench: Bench) {
    let mut names: Vec<String> = (0..2_345).map(|n| format!("many/{n:05}/x")).collect();
    bench.plant(&names).await;
    names.sort_unstable();
    let pages = bench.pages(ListQuery::default()).await;
    let sizes: Vec<_> = pages.iter().map(|page| page.objects.len()).collect();
    assert_eq!(sizes, [1_000, 1_000, 345]);
    assert_eq!(bench.keys().await, names);

    let query = ListQuery {
        prefix: "many/".to_owned(),
        folders: true,
        next: None,
    };
    let pages = bench.pages(query).await;
    let sizes: Vec<_> = pages.iter().map(|page| page.folders.len()).collect();
    assert_eq!(sizes, [1_000, 1_000, 345]);
    let folders: Vec<_> = pages.into_iter().flat_map(|page| page.folders).collect();
    assert!(folders.is_sorted());
    assert_eq!(folders.first().map(String::as_str), Some("many/00000/"));
}

pub(super) async fn names_that_are_no_keys_are_left_out_and_counted(bench: Bench) {
    put(&bench, "crashes/x.json", &noise(10, 1), PutMode::Create).await;
    let foreign = [
        "crashes/with space",
        "crashes/.hidden",
        "crashes/percent%2F",
        "crashes/ünïcode",
        "crashes/new\nline",
        "crashes/\u{1}",
        "crashes/+plus",
        "~",
    ];
    bench.plant(foreign).await;
    let pages = bench.pages(ListQuery::default()).await;
    let foreign: usize = pages.iter().map(|page| page.foreign).sum();
    assert_eq!(foreign, 8);
    assert_eq!(bench.keys().await, ["crashes/x.json"]);
}

pub(super) async fn long_keys_are_keys(bench: Bench) {
    let component = "x".repeat(240);
    let long: ObjectKey = key(&format!("{component}/{component}/{component}/{component}"));
    let content = noise(100, 1);
    put(&bench, long.as_str(), &content, PutMode::Create).await;
    let verified = bench.store.verify(&long, &Expected::of(&content)).await;
    assert_eq!(verified.expect("there"), bench.verifies);
    assert_eq!(bench.keys().await, [long.to_string()]);
}
