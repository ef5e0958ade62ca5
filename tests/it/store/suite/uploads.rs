//! Objects in parts.

use bytes::Bytes;
use salvage::store::{Expected, Problem, PutMode, Upload};

use crate::store::bench::{Bench, PART, expected, key, noise, send_parts};

pub(super) async fn parts_become_one_object(bench: Bench) {
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

pub(super) async fn an_upload_of_one_part_is_an_object(bench: Bench) {
    for length in [1, 4_321, PART] {
        let content = noise(length, length as u64);
        let object = key("artifacts/one");
        let (upload, parts) = bench.send(&object, &content).await;
        bench.complete(upload, &content, &parts).await;
    }
}

pub(super) async fn an_upload_shows_nothing_until_it_is_complete(bench: Bench) {
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

pub(super) async fn an_aborted_upload_leaves_nothing(bench: Bench) {
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

pub(super) async fn completing_again_changes_nothing(bench: Bench) {
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

pub(super) async fn parts_that_do_not_add_up_are_refused(bench: Bench) {
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

pub(super) async fn open_uploads_are_told_by_their_key(bench: Bench) {
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

pub(super) async fn what_has_arrived_of_an_upload_is_told(bench: Bench) {
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
