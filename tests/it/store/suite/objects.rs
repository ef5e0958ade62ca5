//! Whole objects, and what a store says of itself.

use bytes::Bytes;
use salvage::store::{Expected, ListQuery, Operation, Problem, PutMode, Retry, Verified};

use super::put;
use crate::store::bench::{self, Behind, Bench, Completions, key, noise};

pub(super) async fn an_object_is_read_back_whole_and_in_ranges(bench: Bench) {
    let content = noise(300_000, 1);
    let object = key("crashes/cluster=c/namespace=n/date=2026-11-21/x_1.json");
    put(&bench, object.as_str(), &content, PutMode::Create).await;
    let length = content.len() as u64;
    for range in [0..length, 0..1, 17..70_000, length - 1..length] {
        let read = bench.store.get(&object, range.clone()).await.expect("read");
        assert_eq!(
            read,
            content.slice(range.start as usize..range.end as usize)
        );
    }
    for (range, from) in [
        (length - 5..length + 5, length - 5),
        (0..u64::MAX, 0),
        (length..length + 5, length),
        (length + 5..length + 9, length),
        (7..7, length),
    ] {
        let read = bench.store.get(&object, range.clone()).await.expect("read");
        assert_eq!(read, content.slice(from as usize..), "{range:?}");
    }
}

pub(super) async fn an_empty_object_is_an_object(bench: Bench) {
    let object = key("empty");
    put(&bench, "empty", &Bytes::new(), PutMode::Create).await;
    let read = bench.store.get(&object, 0..10).await.expect("read");
    assert!(read.is_empty());
    let verified = bench.store.verify(&object, &Expected::of(b"")).await;
    assert_eq!(verified.expect("there"), bench.verifies);
    assert_eq!(bench.keys().await, ["empty"]);
}

pub(super) async fn what_was_never_put_is_not_there(bench: Bench) {
    put(&bench, "a/b", &noise(10, 1), PutMode::Create).await;
    for absent in ["a/c", "nowhere", "nowhere/at/all"] {
        let absent = key(absent);
        for range in [0..10, 0..0] {
            let read = bench.store.get(&absent, range).await.expect_err("absent");
            assert_eq!(*read.problem(), Problem::NotFound, "{read}");
        }
        let verified = bench.store.verify(&absent, &Expected::of(b"x")).await;
        let verified = verified.expect_err("absent");
        assert_eq!(*verified.problem(), Problem::NotFound, "{verified}");
    }
}

pub(super) async fn what_exists_is_replaced_or_kept_as_asked(bench: Bench) {
    let (first, second) = (noise(100, 1), noise(200, 2));
    let object = key("crashes/x.json");
    put(&bench, object.as_str(), &first, PutMode::Create).await;
    let again = bench
        .store
        .put(&object, second.clone(), PutMode::Create)
        .await;
    let kept = bench.store.get(&object, 0..1_000).await.expect("read");
    if bench.creates {
        let again = again.expect_err("kept");
        assert_eq!(*again.problem(), Problem::AlreadyExists, "{again}");
        assert_eq!(kept, first);
    } else {
        again.expect("replaced");
        assert_eq!(kept, second);
    }
    put(&bench, object.as_str(), &second, PutMode::Overwrite).await;
    let read = bench.store.get(&object, 0..1_000).await.expect("read");
    assert_eq!(read, second);

    let part = noise(300, 3);
    let (upload, parts) = bench.send(&object, &part).await;
    let (upload, completed) = bench
        .try_complete(upload, &part, PutMode::Create, &parts)
        .await;
    let kept = bench.store.get(&object, 0..1_000).await.expect("read");
    if bench.creates {
        let completed = completed.expect_err("kept");
        assert_eq!(*completed.problem(), Problem::AlreadyExists, "{completed}");
        assert_eq!(kept, second);
        bench.store.abort(&upload).await.expect("aborted");
    } else {
        completed.expect("replaced");
        assert_eq!(kept, part);
    }
    assert!(bench.holds_no_uploads().await);
}

pub(super) async fn verifying_sees_what_differs(bench: Bench) {
    let content = noise(10_000, 1);
    let object = key("crashes/x.json");
    put(&bench, object.as_str(), &content, PutMode::Create).await;
    let right = Expected::of(&content);
    let verified = bench.store.verify(&object, &right).await;
    assert_eq!(verified.expect("there"), bench.verifies);

    let shorter = Expected::of(&content[1..]);
    let verified = bench.store.verify(&object, &shorter).await;
    let verified = verified.expect_err("differs");
    assert!(matches!(verified.problem(), Problem::Mismatch(why) if why.contains("10000")));

    let mut other = content.to_vec();
    other[5_000] ^= 1;
    let verified = bench.store.verify(&object, &Expected::of(&other)).await;
    match bench.verifies {
        Verified::Content => {
            let verified = verified.expect_err("differs");
            assert!(
                matches!(verified.problem(), Problem::Mismatch(_)),
                "{verified}"
            );
        }
        _ => assert_eq!(verified.expect("as long"), Verified::Length),
    }
}

pub(super) async fn deleting_what_is_not_there_is_no_error(bench: Bench) {
    put(&bench, "a/b/c", &noise(10, 1), PutMode::Create).await;
    for name in ["a/b/absent", "nowhere", "a/b/c", "a/b/c"] {
        bench.store.delete(&key(name)).await.expect("deleted");
    }
    assert!(bench.keys().await.is_empty());
    let folders = ListQuery {
        folders: true,
        ..ListQuery::default()
    };
    let pages = bench.pages(folders).await;
    assert!(pages.iter().all(|page| page.folders.is_empty()));
}

pub(super) async fn a_probe_finds_nothing_wrong_and_leaves_nothing(bench: Bench) {
    let probe = bench.store.probe(&key("artifacts/cluster=c/probe=n")).await;
    for step in &probe.steps {
        let lost =
            step.operation == Operation::Complete && bench.completions == Completions::AnswerLost;
        match &step.outcome {
            Ok(()) => assert!(!lost, "{step:?}"),
            Err(error) => assert!(lost && error.retry() == Retry::Transient, "{step:?}"),
        }
    }
    assert!(bench.keys().await.is_empty());
    assert!(bench.holds_no_uploads().await);
    // What the unprobed store could not know is known now.
    assert!(probe.honours_create || !bench.creates);
    let seen = bench.completions != Completions::AnswerLost;
    assert_eq!(probe.full_checksums, bench.checksums && seen);
}

pub(super) async fn its_url_is_for_people(bench: Bench) {
    let url = bench.store.url();
    let secrets = match &bench.behind {
        Behind::Directory(directory) => {
            assert_eq!(url, format!("file://{}", directory.path().display()));
            vec![]
        }
        Behind::Server(server) => vec![server.access_key(), server.secret_key()],
        Behind::Garage(garage) => vec![&*garage.access_key, &*garage.secret_key],
    };
    assert!(secrets.is_empty() || url.starts_with("s3://dumps"), "{url}");
    let shown = format!("{url} {:?}", bench.store);
    assert!(secrets.iter().all(|secret| !shown.contains(secret)));
    let missing = bench.store.get(&key("x"), 0..1).await.expect_err("absent");
    let told = bench::told(&missing);
    assert!(told.contains(&format!("{url}/x")), "{told}");
}
