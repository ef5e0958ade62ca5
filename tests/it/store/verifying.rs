//! Whether a store keeps what was sent: what is asked of it, on the wire, and what is believed of its answers.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use md5::{Digest, Md5};
use salvage::store::{
    Error, Expected, Operation, Problem, PutMode, Retry, Store, Upload, Verified,
};

use super::bench::{PART, expected, key, noise, send_parts};
use super::faults::{PROBE, assert_told, probed, put, server};
use crate::support::s3::{Request, S3Op, S3Server};

/// A server with MD5 ETags and no other checksum, after a probe.
async fn md5_only() -> (S3Server, Arc<dyn Store>) {
    let (server, store) = server().await;
    server.no_checksums();
    let probe = store.probe(&key(PROBE)).await;
    assert!(probe.failure().is_none() && !probe.full_checksums);
    server.forget_requests();
    (server, store)
}

/// Sends a content in parts under a key and asks for completion.
async fn ship(
    store: &dyn Store,
    name: &str,
    content: &Bytes,
) -> (Upload, Expected, Result<(), Error>) {
    let begun = store.begin(&key(name), PART as u64).await;
    let upload = begun.expect("begun");
    let parts = send_parts(store, &upload, content).await;
    let whole = expected(content, &parts);
    let done = store
        .complete(&upload, &parts, &whole, PutMode::Create)
        .await;
    (upload, whole, done)
}

fn last(server: &S3Server, op: S3Op) -> Request {
    let requests = server.requests().into_iter();
    requests
        .filter(|request| request.op == op)
        .last()
        .expect("asked")
}

/// CRC-64/NVME as S3 writes it, by another implementation than the one under test: a bit at a time, from the polynomial of its definition.
fn crc64nvme(content: &[u8]) -> String {
    let mut crc = u64::MAX;
    for byte in content {
        crc ^= u64::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x9a6c_9329_ac4b_c9b5 & (crc & 1).wrapping_neg());
        }
    }
    BASE64.encode((!crc).to_be_bytes())
}

fn content_md5(content: &[u8]) -> String {
    BASE64.encode(Md5::digest(content))
}

#[tokio::test]
async fn checksums_go_with_every_request_as_the_probe_saw_them_kept() {
    let content = noise(PART + 1_000, 1);
    let small = noise(1_000, 2);
    for (kept, (server, store)) in [(true, probed().await), (false, md5_only().await)] {
        let asked = |request: &Request, name: &str, value: &str| {
            assert_eq!(request.header(name), kept.then_some(value), "{name}");
        };
        let done = store
            .put(&key("small"), small.clone(), PutMode::Create)
            .await;
        done.expect("stored");
        let request = last(&server, S3Op::Put);
        assert_eq!(request.header("content-md5"), Some(&*content_md5(&small)));
        asked(&request, "x-amz-checksum-crc64nvme", &crc64nvme(&small));

        let (_, whole, done) = ship(&*store, "large", &content).await;
        done.expect("completed");
        let begin = last(&server, S3Op::Begin);
        asked(&begin, "x-amz-checksum-algorithm", "CRC64NVME");
        asked(&begin, "x-amz-checksum-type", "FULL_OBJECT");
        // Parts go out last one first.
        let part = last(&server, S3Op::PutPart);
        let first = &content[..PART];
        assert_eq!(part.header("content-md5"), Some(&*content_md5(first)));
        asked(&part, "x-amz-checksum-crc64nvme", &crc64nvme(first));
        let complete = last(&server, S3Op::Complete);
        asked(&complete, "x-amz-checksum-crc64nvme", &crc64nvme(&content));
        asked(&complete, "x-amz-checksum-type", "FULL_OBJECT");
        asked(
            &complete,
            "x-amz-mp-object-size",
            &content.len().to_string(),
        );

        let verified = store.verify(&key("large"), &whole).await;
        assert_eq!(verified.expect("there"), Verified::Content);
        let head = last(&server, S3Op::Head);
        assert_eq!(head.header("x-amz-checksum-mode"), Some("ENABLED"));
    }
}

#[tokio::test]
async fn an_upload_goes_on_as_it_was_begun_whatever_a_later_probe_finds() {
    let (server, store) = probed().await;
    let content = noise(PART + 1, 1);
    let upload = store.begin(&key("x"), PART as u64).await.expect("begun");
    server.no_checksums();
    let probe = store.probe(&key(PROBE)).await;
    assert!(!probe.full_checksums);
    let parts = send_parts(&*store, &upload, &content).await;
    let part = last(&server, S3Op::PutPart);
    assert!(part.header("x-amz-checksum-crc64nvme").is_some());
    let whole = expected(&content, &parts);
    let done = store.complete(&upload, &parts, &whole, PutMode::Create);
    done.await.expect("completed");
    let verified = store.verify(&key("x"), &whole).await;
    assert_eq!(verified.expect("there"), Verified::Content, "by its ETag");
}

#[tokio::test]
async fn conditions_go_with_puts_and_completions_where_each_was_seen_to_be_honoured() {
    let content = noise(1_000, 1);
    for (puts, completions) in [(true, true), (true, false), (false, true), (false, false)] {
        let (server, store) = server().await;
        if !puts {
            server.no_if_none_match_of_puts();
        }
        if !completions {
            server.no_if_none_match_of_completions();
        }
        let probe = store.probe(&key(PROBE)).await;
        for step in &probe.steps {
            assert!(step.outcome.is_ok(), "{step:?}");
        }
        assert_eq!(probe.honours_create, puts);
        assert!(server.objects().is_empty() && server.open_uploads().is_empty());
        server.insert("there", b"something else");
        let put = put(&*store, "there").await;
        assert_eq!(put.is_err(), puts);
        let (_, _, completed) = ship(&*store, "there", &content).await;
        assert_eq!(completed.is_err(), completions);
        for error in [put, completed].into_iter().filter_map(Result::err) {
            assert_eq!(*error.problem(), Problem::AlreadyExists, "{error}");
        }
        for (op, honoured) in [(S3Op::Put, puts), (S3Op::Complete, completions)] {
            let request = last(&server, op);
            let header = request.header("if-none-match");
            assert_eq!(header, honoured.then_some("*"), "{op:?}");
        }
    }
}

#[tokio::test]
async fn an_etag_under_a_key_of_its_own_is_no_checksum() {
    let content = noise(PART + 1, 1);
    for (checksums, verifies) in [(true, Verified::Content), (false, Verified::Length)] {
        // From the first day on, and switched on behind the back of an agent that knows the ETags to be MD5s.
        for since_the_probe in [false, true] {
            let (server, store) = server().await;
            if !checksums {
                server.no_checksums();
            }
            if !since_the_probe {
                server.own_key();
            }
            let probe = store.probe(&key(PROBE)).await;
            assert!(probe.failure().is_none(), "{:?}", probe.failure());
            assert_eq!(probe.full_checksums, checksums);
            server.own_key();
            put(&*store, "small").await.expect("stored");
            let small = Expected::of(&noise(1_000, 1));
            let verified = store.verify(&key("small"), &small).await;
            assert_eq!(verified.expect("there"), verifies);
            let (_, whole, done) = ship(&*store, "large", &content).await;
            done.expect("completed");
            let verified = store.verify(&key("large"), &whole).await;
            assert_eq!(verified.expect("there"), verifies);
        }
    }
}

#[tokio::test]
async fn an_object_that_was_replaced_by_one_of_the_same_length_is_seen() {
    let content = noise(PART + 1, 1);
    let other = noise(PART + 1, 2);
    for (server, store) in [probed().await, md5_only().await] {
        let (_, whole, done) = ship(&*store, "x", &content).await;
        done.expect("completed");
        let verified = store.verify(&key("x"), &whole).await;
        assert_eq!(verified.expect("there"), Verified::Content);
        server.insert("x", &other);
        let error = store.verify(&key("x"), &whole).await.expect_err("differs");
        assert!(matches!(error.problem(), Problem::Mismatch(_)), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_tells_of_another_content_is_no_receipt() {
    // All the more where nobody may look.
    let (server, store) = probed().await;
    server.deny(S3Op::Head).corrupt_and_say_so();
    let content = noise(PART + 1, 1);
    let (_, _, completed) = ship(&*store, "large", &content).await;
    let errors = [
        put(&*store, "small").await.expect_err("another content"),
        completed.expect_err("another content"),
    ];
    for error in &errors {
        assert!(matches!(error.problem(), Problem::Mismatch(_)), "{error}");
        assert_eq!(error.retry(), Retry::Transient);
        assert_told(&server, error, "CRC-64/NVME");
    }

    let (server, store) = md5_only().await;
    let upload = store.begin(&key("x"), PART as u64).await.expect("begun");
    let parts = send_parts(&*store, &upload, &content).await;
    // The receipts of these parts, for a content that was cut in other places.
    let whole = expected(&content, &parts[..1]);
    let error = store.complete(&upload, &parts, &whole, PutMode::Create);
    let error = error.await.expect_err("another content");
    assert!(matches!(error.problem(), Problem::Mismatch(_)), "{error}");
    assert_told(&server, &error, "ETag");
}

#[tokio::test]
async fn a_put_that_was_swallowed_is_seen() {
    let (server, store) = probed().await;
    server.swallow();
    let content = noise(PART + 1, 1);
    store
        .put(&key("put"), content.clone(), PutMode::Create)
        .await
        .expect("it says so");
    let upload = store
        .begin(&key("parts"), PART as u64)
        .await
        .expect("begun");
    let parts = send_parts(&*store, &upload, &content).await;
    let whole = expected(&content, &parts);
    store
        .complete(&upload, &parts, &whole, PutMode::Create)
        .await
        .expect("it says so");
    for (name, expected) in [("put", &Expected::of(&content)), ("parts", &whole)] {
        let error = store.verify(&key(name), expected).await.expect_err("gone");
        assert_eq!(*error.problem(), Problem::NotFound, "{error}");
        assert_eq!(error.retry(), Retry::Transient);
    }
    let probe = store.probe(&key(PROBE)).await;
    let error = probe.failure().expect("a store that lies is not ready");
    assert_eq!(error.operation(), Operation::Head);
}

#[tokio::test]
async fn a_content_that_was_changed_is_seen() {
    for only_md5 in [false, true] {
        let (server, store) = server().await;
        if only_md5 {
            server.no_checksums();
        }
        let probe = store.probe(&key(PROBE)).await;
        assert_eq!(probe.full_checksums, !only_md5);
        server.corrupt();
        let content = noise(PART + 1, 1);
        store
            .put(&key("put"), content.clone(), PutMode::Create)
            .await
            .expect("it says so");
        let verified = store.verify(&key("put"), &Expected::of(&content)).await;
        let error = verified.expect_err("differs");
        assert!(matches!(error.problem(), Problem::Mismatch(_)), "{error}");
        let probe = store.probe(&key(PROBE)).await;
        assert!(probe.failure().is_some(), "{:?}", probe.steps);
    }
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_is_found_by_verifying() {
    let (server, store) = probed().await;
    let content = noise(PART + 1, 1);
    let upload = store.begin(&key("x"), PART as u64).await.expect("begun");
    let parts = send_parts(&*store, &upload, &content).await;
    let whole = expected(&content, &parts);
    server.completion_answer_lost();
    let error = store
        .complete(&upload, &parts, &whole, PutMode::Create)
        .await
        .expect_err("lost");
    let unclear = matches!(
        error.problem(),
        Problem::NoSuchUpload | Problem::Unreachable(_)
    );
    assert!(unclear, "{error}");
    assert_eq!(error.retry(), Retry::Transient);
    let verified = store.verify(&key("x"), &whole).await;
    assert_eq!(verified.expect("there"), Verified::Content);
}

#[tokio::test]
async fn a_receipt_that_does_not_fit_is_refused_where_etags_are_md5() {
    let (server, store) = md5_only().await;
    server.odd_etags();
    let error = put(&*store, "x").await.expect_err("another ETag");
    assert!(matches!(error.problem(), Problem::Mismatch(_)), "{error}");
    assert_told(&server, &error, "ETag");
}

#[tokio::test]
async fn who_may_not_look_takes_the_answer_and_claims_no_more() {
    let (server, store) = server().await;
    server.deny(S3Op::Head);
    let probe = store.probe(&key(PROBE)).await;
    assert!(probe.failure().is_none(), "{:?}", probe.failure());
    assert!(probe.full_checksums, "the store's answers say so");
    put(&*store, "x").await.expect("stored");
    let verified = store
        .verify(&key("x"), &Expected::of(&noise(1_000, 1)))
        .await;
    assert_eq!(verified.expect("an answer"), Verified::Answer);
}

#[tokio::test]
async fn without_a_listing_absent_and_denied_look_alike_and_content_is_never_claimed() {
    let (server, store) = server().await;
    server.deny_list();
    let sent = Expected::of(&noise(1_000, 1));
    let verified = store.verify(&key("absent"), &sent).await;
    assert_eq!(verified.expect("an answer"), Verified::Answer);
    let probe = store.probe(&key(PROBE)).await;
    assert!(probe.failure().is_none(), "{:?}", probe.failure());
    // Now it is known that what is there may be looked at.
    let error = store.verify(&key("absent"), &sent).await;
    let error = error.expect_err("absent");
    assert!(matches!(error.problem(), Problem::Denied(_)), "{error}");
    assert_told(&server, &error, "s3:ListBucket");
    put(&*store, "there").await.expect("stored");
    let verified = store.verify(&key("there"), &sent).await;
    assert_eq!(verified.expect("there"), Verified::Content);
}

#[tokio::test]
async fn nothing_is_asked_of_a_store_that_a_probe_has_not_seen() {
    let (server, store) = server().await;
    put(&*store, "x").await.expect("stored");
    let request = server.requests().remove(0);
    assert!(request.header("content-md5").is_some());
    for name in [
        "if-none-match",
        "x-amz-checksum-crc64nvme",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-trailer",
        "content-encoding",
    ] {
        assert_eq!(request.header(name), None, "{name}");
    }
    server.forget_requests();
    let probe = store.probe(&key(PROBE)).await;
    assert!(probe.honours_create && probe.full_checksums);
    let asked: Vec<S3Op> = server.requests().iter().map(|request| request.op).collect();
    assert!(asked.len() <= 17, "{} requests: {asked:?}", asked.len());
    server.forget_requests();
    store
        .put(&key("y"), noise(1_000, 1), PutMode::Create)
        .await
        .expect("stored");
    let request = server.requests().remove(0);
    for name in ["content-md5", "if-none-match", "x-amz-checksum-crc64nvme"] {
        assert!(request.header(name).is_some(), "{name}");
    }
    assert_eq!(request.signed_by(), Some(server.access_key()));
    assert_eq!(request.status, Some(200));
    assert_eq!(request.target.split('?').next(), Some("/dumps/y"));
}

#[tokio::test]
async fn an_object_that_goes_away_is_not_found_any_more() {
    let (server, store) = probed().await;
    put(&*store, "x").await.expect("stored");
    server.remove("x");
    let verified = store
        .verify(&key("x"), &Expected::of(&noise(1_000, 1)))
        .await;
    let error = verified.expect_err("gone");
    assert_eq!(*error.problem(), Problem::NotFound, "{error}");
}
