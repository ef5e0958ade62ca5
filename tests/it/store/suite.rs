//! What every store does. Each behaviour runs against each kind of store.

use bytes::Bytes;
use salvage::model::ObjectKey;
use salvage::store::{Expected, ListQuery, Operation, Problem, PutMode, Retry, Upload, Verified};

use super::bench::{self, Behind, Bench, Completions, PART, expected, key, noise, send_parts};

macro_rules! every_store {
    (@test [$($attribute:tt)*] $kind:ident $behaviour:ident) => {
        #[tokio::test]
        $($attribute)*
        async fn $behaviour() {
            super::$behaviour(crate::store::bench::$kind().await).await;
        }
    };
    (@kind $attributes:tt $kind:ident [$($behaviour:ident)*]) => {
        mod $kind {
            $(every_store!(@test $attributes $kind $behaviour);)*
        }
    };
    (@kinds $($kind:ident)* => $behaviours:tt) => {
        $(every_store!(@kind [] $kind $behaviours);)*
    };
    ($($behaviour:ident)*) => {
        every_store!(@kind [#[ignore = "needs a real Garage: tests/garage"]] garage [$($behaviour)*]);
        every_store! {
            @kinds
            files
            s3
            s3_probed
            s3_equal_parts
            s3_no_if_none_match
            s3_no_checksums
            s3_completion_answer_lost
            s3_upload_forgotten
            s3_with_md5_only
            s3_with_length_only
            => [$($behaviour)*]
        }
    };
}

every_store! {
    an_object_is_read_back_whole_and_in_ranges
    an_empty_object_is_an_object
    what_was_never_put_is_not_there
    what_exists_is_replaced_or_kept_as_asked
    parts_become_one_object
    an_upload_of_one_part_is_an_object
    an_upload_shows_nothing_until_it_is_complete
    an_aborted_upload_leaves_nothing
    completing_again_changes_nothing
    parts_that_do_not_add_up_are_refused
    open_uploads_are_told_by_their_key
    what_has_arrived_of_an_upload_is_told
    verifying_sees_what_differs
    deleting_what_is_not_there_is_no_error
    a_listing_is_in_order_and_folds_folders
    a_listing_of_thousands_comes_in_pages
    names_that_are_no_keys_are_left_out_and_counted
    long_keys_are_keys
    a_probe_finds_nothing_wrong_and_leaves_nothing
    its_url_is_for_people
}

async fn put(bench: &Bench, name: &str, content: &Bytes, mode: PutMode) {
    let done = bench.store.put(&key(name), content.clone(), mode).await;
    done.expect("put");
}

async fn an_object_is_read_back_whole_and_in_ranges(bench: Bench) {
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

async fn an_empty_object_is_an_object(bench: Bench) {
    let object = key("empty");
    put(&bench, "empty", &Bytes::new(), PutMode::Create).await;
    let read = bench.store.get(&object, 0..10).await.expect("read");
    assert!(read.is_empty());
    let verified = bench.store.verify(&object, &Expected::of(b"")).await;
    assert_eq!(verified.expect("there"), bench.verifies);
    assert_eq!(bench.keys().await, ["empty"]);
}

async fn what_was_never_put_is_not_there(bench: Bench) {
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

async fn what_exists_is_replaced_or_kept_as_asked(bench: Bench) {
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

async fn parts_become_one_object(bench: Bench) {
    let content = noise(2 * PART + 12_345, 1);
    let object = key("artifacts/cluster=c/dump-0.core.zst");
    let (upload, mut parts) = bench.send(&object, &content).await;
    // A part whose answer was lost is sent again.
    let again = content.slice(PART..2 * PART);
    parts[1] = bench
        .store
        .put_part(&upload, 2, again)
        .await
        .expect("sent again");
    assert_eq!((parts[1].number, parts[1].bytes), (2, PART as u64));
    bench.complete(upload, &content, &parts).await;
    let read = bench.store.get(&object, 0..u64::MAX).await.expect("read");
    assert!(read == content);
    assert_eq!(bench.keys().await, [object.to_string()]);
    assert!(bench.holds_no_uploads().await);
}

async fn an_upload_of_one_part_is_an_object(bench: Bench) {
    for length in [1, 4_321, PART] {
        let content = noise(length, length as u64);
        let object = key("artifacts/one");
        let (upload, parts) = bench.send(&object, &content).await;
        bench.complete(upload, &content, &parts).await;
    }
}

async fn an_upload_shows_nothing_until_it_is_complete(bench: Bench) {
    let content = noise(PART + 1, 1);
    let object = key("artifacts/half");
    let (upload, parts) = bench.send(&object, &content).await;
    assert!(bench.keys().await.is_empty());
    let read = bench.store.get(&object, 0..1).await.expect_err("absent");
    assert_eq!(*read.problem(), Problem::NotFound);
    let expected = expected(&content, &parts);
    let verified = bench.store.verify(&object, &expected).await;
    assert_eq!(*verified.expect_err("absent").problem(), Problem::NotFound);
    bench.store.abort(&upload).await.expect("aborted");
}

async fn an_aborted_upload_leaves_nothing(bench: Bench) {
    let content = noise(PART + 1, 1);
    let (upload, parts) = bench.send(&key("artifacts/gone"), &content).await;
    assert!(!bench.holds_no_uploads().await);
    bench.store.abort(&upload).await.expect("aborted");
    assert!(bench.holds_no_uploads().await);
    assert!(bench.keys().await.is_empty());
    bench.store.abort(&upload).await.expect("no error again");

    let part = bench.store.put_part(&upload, 1, noise(10, 1)).await;
    let part = part.expect_err("unknown");
    assert_eq!(*part.problem(), Problem::NoSuchUpload, "{part}");
    let expected = expected(&content, &parts);
    let completed = bench
        .store
        .complete(&upload, &parts, &expected, PutMode::Create)
        .await
        .expect_err("unknown");
    assert_eq!(*completed.problem(), Problem::NoSuchUpload, "{completed}");

    // A state file may name an upload of another store.
    let mut foreign = upload.clone();
    foreign.token = "no token of this store".to_owned();
    bench.store.abort(&foreign).await.expect("no error");
    let part = bench.store.put_part(&foreign, 1, noise(10, 1)).await;
    let part = part.expect_err("unknown");
    assert_eq!(*part.problem(), Problem::NoSuchUpload, "{part}");
}

async fn completing_again_changes_nothing(bench: Bench) {
    let content = noise(PART + 1, 1);
    let object = key("artifacts/twice");
    let (upload, parts) = bench.send(&object, &content).await;
    let (upload, expected) = bench.complete(upload, &content, &parts).await;
    let again = bench
        .store
        .complete(&upload, &parts, &expected, PutMode::Overwrite)
        .await
        .expect_err("no longer known");
    assert_eq!(*again.problem(), Problem::NoSuchUpload, "{again}");
    let verified = bench.store.verify(&object, &expected).await;
    assert_eq!(verified.expect("there"), bench.verifies);
}

async fn parts_that_do_not_add_up_are_refused(bench: Bench) {
    let content = noise(2 * PART + 1, 1);
    let object = key("artifacts/odd");
    let (upload, parts) = bench.send(&object, &content).await;
    let right = expected(&content, &parts);
    let longer = Expected {
        bytes: right.bytes + 1,
        ..right.clone()
    };
    let mut swapped = parts.clone();
    swapped.swap(0, 1);
    for (parts, expected) in [
        (&parts[..0], &right),
        (&parts[..2], &right),
        (&parts[1..], &right),
        (&swapped, &right),
        (&parts, &longer),
    ] {
        let refused = bench
            .store
            .complete(&upload, parts, expected, PutMode::Create)
            .await
            .expect_err("refused");
        assert!(
            matches!(refused.problem(), Problem::Refused(_)),
            "{refused}"
        );
    }
    for number in [0, 10_001, u32::MAX] {
        let part = bench.store.put_part(&upload, number, noise(10, 1)).await;
        let part = part.expect_err("refused");
        assert!(matches!(part.problem(), Problem::Refused(_)), "{part}");
    }
    let none = bench.store.begin(&object, 0).await.expect_err("refused");
    assert!(matches!(none.problem(), Problem::Refused(_)), "{none}");
    assert!(bench.keys().await.is_empty());
    // What adds up is still taken.
    bench.complete(upload, &content, &parts).await;
}

async fn open_uploads_are_told_by_their_key(bench: Bench) {
    let object = key("artifacts/x");
    let store = &bench.store;
    assert!(store.uploads(&object).await.expect("none").is_empty());
    let begin = async |name: &str| store.begin(&key(name), PART as u64).await.expect("begun");
    let (given_up, kept) = (begin("artifacts/x").await, begin("artifacts/x").await);
    for other in [
        "artifacts/x-1",
        "artifacts/x.more",
        "artifacts/x/y",
        "artifacts/w",
    ] {
        begin(other).await;
    }
    let has = |open: &[Upload], one| open.iter().filter(|open| store.is_same(open, one)).count();
    let open = store.uploads(&object).await.expect("told");
    assert_eq!(open.len(), 2, "{open:?}");
    assert_eq!(
        (has(&open, &given_up), has(&open, &kept)),
        (1, 1),
        "{open:?}"
    );
    assert!(open.iter().all(|open| open.key == object));
    assert!(!store.is_same(&given_up, &kept));

    // What is listed can be given up without knowing who began it.
    for open in open.iter().filter(|open| !store.is_same(open, &kept)) {
        store.abort(open).await.expect("aborted");
    }
    let open = store.uploads(&object).await.expect("told");
    assert_eq!((open.len(), has(&open, &kept)), (1, 1), "{open:?}");

    let content = noise(100, 1);
    let parts = send_parts(&**store, &kept, &content).await;
    let (completed, _) = bench.complete(kept, &content, &parts).await;
    let open = store.uploads(&object).await.expect("told");
    assert!(open.is_empty(), "{open:?}");
    for gone in [given_up, completed] {
        let parts = store.parts(&gone).await.expect_err("gone");
        assert_eq!(*parts.problem(), Problem::NoSuchUpload, "{parts}");
    }
}

async fn what_has_arrived_of_an_upload_is_told(bench: Bench) {
    let content = noise(2 * PART + 1_000, 1);
    let object = key("artifacts/x");
    let store = &bench.store;
    let upload = store.begin(&object, PART as u64).await.expect("begun");
    assert!(store.parts(&upload).await.expect("none").is_empty());
    let send = async |number: u32, body: Bytes| {
        let sent = store.put_part(&upload, number, body).await;
        sent.expect("sent")
    };
    let last = send(3, content.slice(2 * PART..)).await;
    let wrong = send(1, noise(PART - 1, 2)).await;
    let listed = store.parts(&upload).await.expect("told");
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(listed[0].is(&wrong) && listed[1].is(&last), "{listed:?}");

    // Sent again, it is another part under the same number.
    let first = send(1, content.slice(..PART)).await;
    let open = store.uploads(&object).await.expect("told");
    let listed = store.parts(&open[0]).await.expect("told");
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(listed[0].is(&first) && listed[1].is(&last), "{listed:?}");
    assert!(!listed[0].is(&wrong) && !listed[1].is(&first));

    // The receipts of what has arrived and the part that is missing make the object.
    let parts = [first, send(2, content.slice(PART..2 * PART)).await, last];
    let (completed, _) = bench.complete(upload, &content, &parts).await;
    let foreign = Upload {
        token: "no token of this store".to_owned(),
        ..completed.clone()
    };
    for gone in [completed, foreign] {
        let parts = store.parts(&gone).await.expect_err("gone");
        assert_eq!(*parts.problem(), Problem::NoSuchUpload, "{parts}");
    }
}

async fn verifying_sees_what_differs(bench: Bench) {
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

async fn deleting_what_is_not_there_is_no_error(bench: Bench) {
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

async fn a_listing_is_in_order_and_folds_folders(bench: Bench) {
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

async fn a_listing_of_thousands_comes_in_pages(bench: Bench) {
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

async fn names_that_are_no_keys_are_left_out_and_counted(bench: Bench) {
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

async fn long_keys_are_keys(bench: Bench) {
    let component = "x".repeat(240);
    let long: ObjectKey = key(&format!("{component}/{component}/{component}/{component}"));
    let content = noise(100, 1);
    put(&bench, long.as_str(), &content, PutMode::Create).await;
    let verified = bench.store.verify(&long, &Expected::of(&content)).await;
    assert_eq!(verified.expect("there"), bench.verifies);
    assert_eq!(bench.keys().await, [long.to_string()]);
}

async fn a_probe_finds_nothing_wrong_and_leaves_nothing(bench: Bench) {
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

async fn its_url_is_for_people(bench: Bench) {
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
