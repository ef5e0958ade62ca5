//! What S3 stores tell, or do not, of uploads that are not complete.

use std::sync::Arc;

use salvage::store::{Error, Operation, PartInfo, Problem, PutMode, Retry, Store, Upload};

use super::bench::{PART, Way, expected, key, noise, open_server, send_parts, told};
use crate::support::s3::{S3Op, S3Server};

const KEY: &str = "artifacts/cluster=c/date=2026-11-21/id/dump-0.core.zst";

async fn server() -> (S3Server, Arc<dyn Store>) {
    let server = S3Server::start();
    let store = open_server(&server, Way::default()).await;
    (server, store)
}

async fn begun(store: &dyn Store) -> Upload {
    store.begin(&key(KEY), PART as u64).await.expect("begun")
}

async fn told_of(
    store: &dyn Store,
    upload: &Upload,
) -> (Result<Vec<Upload>, Error>, Result<Vec<PartInfo>, Error>) {
    (store.uploads(&upload.key).await, store.parts(upload).await)
}

#[tokio::test]
async fn who_may_not_list_uploads_or_parts_is_told_so_and_ships_all_the_same() {
    let (server, store) = server().await;
    server.deny(S3Op::ListUploads).deny(S3Op::ListParts);
    let probe = store.probe(&key("artifacts/cluster=c/probe=n")).await;
    assert!(probe.failure().is_none(), "{:?}", probe.failure());
    let upload = begun(&*store).await;
    let (uploads, parts) = told_of(&*store, &upload).await;
    for (error, operation, permission) in [
        (
            uploads.expect_err("denied"),
            Operation::ListUploads,
            "s3:ListBucketMultipartUploads",
        ),
        (
            parts.expect_err("denied"),
            Operation::ListParts,
            "s3:ListMultipartUploadParts",
        ),
    ] {
        assert_eq!(error.operation(), operation);
        assert_eq!(*error.problem(), Problem::Denied(permission), "{error}");
        assert_eq!(error.retry(), Retry::Permanent);
        assert!(told(&error).contains(KEY), "{error}");
    }
    let content = noise(PART + 1, 1);
    let parts = send_parts(&*store, &upload, &content).await;
    let whole = expected(&content, &parts);
    let completed = store
        .complete(&upload, &parts, &whole, PutMode::Create)
        .await;
    completed.expect("completed");
}

#[tokio::test]
async fn a_store_that_knows_no_such_listing_refuses() {
    let (server, store) = server().await;
    let upload = begun(&*store).await;
    server.answer(501, "NotImplemented", "not here");
    let (uploads, parts) = told_of(&*store, &upload).await;
    for error in [uploads.expect_err("refused"), parts.expect_err("refused")] {
        assert!(matches!(error.problem(), Problem::Refused(_)), "{error}");
    }
}

#[tokio::test]
async fn an_upload_that_was_forgotten_is_neither_listed_nor_has_parts() {
    let (server, store) = server().await;
    let upload = begun(&*store).await;
    send_parts(&*store, &upload, &noise(100, 1)).await;
    server.upload_forgotten();
    let (uploads, parts) = told_of(&*store, &upload).await;
    assert!(uploads.expect("told").is_empty());
    let error = parts.expect_err("forgotten");
    assert_eq!(*error.problem(), Problem::NoSuchUpload, "{error}");
}

#[tokio::test]
async fn listings_of_uploads_and_parts_are_followed_over_pages() {
    let (server, store) = server().await;
    server.small_pages(2);
    let mut ours = Vec::new();
    for number in 0..5 {
        ours.push(begun(&*store).await);
        server.plant_upload(&format!("{KEY}.{number}"));
    }
    for foreign in [
        " with space",
        "+plus",
        "%2F",
        "\n\u{1}",
        "ünïcode",
        "/below",
    ] {
        server.plant_upload(&format!("{KEY}{foreign}"));
    }
    server.plant_upload("artifacts/cluster=c");
    let open = store.uploads(&key(KEY)).await.expect("told");
    assert_eq!(open.len(), 5, "{open:?}");
    for one in &ours {
        assert!(open.iter().any(|open| store.is_same(open, one)));
    }
    // Eleven others whose names begin alike came along.
    assert_eq!(server.count(S3Op::ListUploads), 8);

    let mut sent = Vec::new();
    for number in [1, 2, 3, 5, 8, 10_000] {
        let part = store.put_part(&ours[0], number, noise(10, number.into()));
        sent.push(part.await.expect("sent"));
    }
    let parts = store.parts(&ours[0]).await.expect("told");
    assert_eq!(parts.len(), sent.len());
    assert!(parts.iter().zip(&sent).all(|(part, sent)| part.is(sent)));
    assert_eq!(server.count(S3Op::ListParts), 3);
    let none = store.parts(&ours[1]).await.expect("told");
    assert!(none.is_empty(), "{none:?}");
}

#[tokio::test]
async fn a_listing_of_uploads_is_bounded_whoever_fills_it() {
    let (server, store) = server().await;
    for _ in 0..1_100 {
        server.plant_upload(KEY);
    }
    let open = store.uploads(&key(KEY)).await.expect("told");
    assert_eq!(open.len(), 1_000);
    for one in &open {
        store.abort(one).await.expect("aborted");
    }
    let rest = store.uploads(&key(KEY)).await.expect("told");
    assert_eq!(rest.len(), 100, "asked again, it tells the rest");

    server.upload_forgotten();
    server.small_pages(1);
    for number in 0..200 {
        server.plant_upload(&format!("{KEY}.{number}"));
    }
    server.forget_requests();
    let error = store.uploads(&key(KEY)).await.expect_err("without end");
    assert!(matches!(error.problem(), Problem::Failed(_)), "{error}");
    assert_eq!(server.count(S3Op::ListUploads), 100);
}
