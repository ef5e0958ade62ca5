//! The store: each permission, the lifecycle rule, and stores that do not answer.

use std::net::TcpListener;

use anyhow::{Result, ensure};

use super::{Said, Wanted, Ward, open};
use crate::s3::node_for;
use crate::support::s3::{S3Op, S3Server, no_credentials_env};

fn ward(store: &S3Server) -> Result<Ward> {
    let node = node_for(store)?;
    open(&node.crash())?;
    Ward::of(node)
}

#[test]
fn a_whole_store_is_told_permission_by_permission() -> Result<()> {
    let store = S3Server::start();
    let ward = ward(&store)?;
    let before = store.objects();
    let said = ward.ask()?;
    said.ensure_code(0)?;
    for (id, words) in [
        ("store.put", "s3:PutObject"),
        ("store.abort", "s3:AbortMultipartUpload"),
        ("store.get", "s3:GetObject"),
        ("store.verify", "s3:GetObject"),
        ("store.list_parts", "s3:ListMultipartUploadParts"),
        ("store.list_uploads", "s3:ListBucketMultipartUploads"),
        ("store.list", "s3:ListBucket"),
        ("store.delete", "s3:DeleteObject"),
        ("store.lifecycle", "after 7 days"),
        ("store.create", "refuses to overwrite"),
        ("store.checksums", "keeps checksums"),
    ] {
        said.ensure_says((id, "ok", words))?;
    }
    said.ensure_says(("store.people", "skipped", "another identity"))?;
    ensure!(store.objects() == before, "something was left in the store");
    ensure!(store.open_uploads().is_empty());
    Ok(())
}

#[test]
fn what_is_denied_is_named_by_its_permission() -> Result<()> {
    let store = S3Server::start();
    let ward = ward(&store)?;
    let cases: [(S3Op, Wanted<'_>, i32); 8] = [
        (S3Op::Put, ("store.put", "fail", "grant s3:PutObject"), 1),
        (
            S3Op::Begin,
            ("store.begin", "fail", "grant s3:PutObject"),
            1,
        ),
        (
            S3Op::Abort,
            ("store.abort", "fail", "grant s3:AbortMultipartUpload"),
            1,
        ),
        (S3Op::Get, ("store.get", "warn", "grant s3:GetObject"), 0),
        (
            S3Op::List,
            ("store.list", "ok", "not allowed, and not needed"),
            0,
        ),
        (
            S3Op::ListParts,
            ("store.list_parts", "warn", "s3:ListMultipartUploadParts"),
            0,
        ),
        (
            S3Op::ListUploads,
            (
                "store.list_uploads",
                "warn",
                "s3:ListBucketMultipartUploads",
            ),
            0,
        ),
        (
            S3Op::Lifecycle,
            (
                "store.lifecycle",
                "warn",
                "needs s3:GetLifecycleConfiguration",
            ),
            0,
        ),
    ];
    for (op, wanted, code) in cases {
        store.healthy().deny(op);
        let said = ward.ask()?;
        said.ensure_says(wanted)?;
        said.ensure_code(code)?;
    }
    Ok(())
}

#[test]
fn a_lifecycle_rule_must_be_there_and_cover_the_dumps() -> Result<()> {
    let store = S3Server::start();
    let ward = ward(&store)?;
    store.no_lifecycle_rule();
    ward.ask()?.ensure_says((
        "store.lifecycle",
        "warn",
        "no lifecycle rule aborts incomplete uploads",
    ))?;
    store.lifecycle_rule_for("elsewhere/");
    ward.ask()?
        .ensure_says(("store.lifecycle", "warn", "covers some/prefix/artifacts/"))?;
    store.lifecycle_rule_for("some/");
    ward.ask()?
        .ensure_says(("store.lifecycle", "ok", "after 7 days"))?;
    Ok(())
}

#[test]
fn a_store_that_is_not_the_one_that_was_meant_is_told() -> Result<()> {
    let store = S3Server::start();
    let ward = ward(&store)?;
    let said = ward.ask_with("s3://dumps/", "s3://drumps/")?;
    said.ensure_code(1)?;
    said.ensure_says(("store.put", "fail", "does not exist"))?;
    let said = ward.ask_with("region: \"test-1\"", "region: \"test-2\"")?;
    said.ensure_says(("store.put", "fail", "set store.region"))?;
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let said = ward.ask_with(&store.endpoint(), &format!("http://{closed}"))?;
    said.ensure_code(1)?;
    said.ensure_says(("store.put", "fail", "no answer"))?;

    let with = |name: &str, value: &str| -> Result<Said> {
        let mut command = ward.doctor(|config| config, &[])?;
        command.env(name, value);
        Said::by(command)
    };
    with("AWS_ACCESS_KEY_ID", "AKIASOMEBODYELSE0000")?.ensure_says((
        "store.put",
        "fail",
        "does not know the access key",
    ))?;
    let wrong = with("AWS_SECRET_ACCESS_KEY", "not-the-secret-of-this-key")?;
    wrong.ensure_says((
        "store.put",
        "fail",
        "the secret does not belong to the access key",
    ))?;
    ensure!(!wrong.report.to_string().contains("not-the-secret"));
    let mut bare = ward.doctor(|config| config, &[])?;
    bare.envs(no_credentials_env());
    Said::by(bare)?.ensure_says(("store.put", "fail", "no accepted credentials"))?;
    Ok(())
}

#[test]
fn a_store_that_never_answers_is_given_up_in_time() -> Result<()> {
    let store = S3Server::start();
    let ward = ward(&store)?;
    store.hang(S3Op::Put);
    let said = ward.ask()?;
    said.ensure_code(1)?;
    said.ensure_says(("store.put", "fail", "does not answer within 25 s"))?;
    println!("given up after {:?}", said.took);
    store.healthy();
    Ok(())
}
