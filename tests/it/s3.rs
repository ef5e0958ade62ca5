//! The agent and the commands on an S3 store: the protocol is real, the store is in this process and fails as it is told.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::agent::{Agent, Node, wait};
use crate::support::readers::sha256;
use crate::support::s3::{S3Op, S3Server, no_credentials_env};

/// A node whose agent ships to the server, below a prefix.
pub(crate) fn node_for(server: &S3Server) -> Result<Node> {
    let mut node = Node::new()?;
    let url = format!("s3://{}/some/prefix", server.bucket());
    node.store = format!(
        "{{url: {url:?}, endpoint: {:?}, region: {:?}}}",
        server.endpoint(),
        server.region()
    );
    node.store_url = url;
    node.env = server.aws_env();
    // The commands take the endpoint from the environment, as people give it.
    node.env
        .push(("AWS_ENDPOINT_URL".into(), server.endpoint()));
    Ok(node)
}

/// Bytes that do not compress, so that parts become parts; the same for the same seed.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut noise = vec![0; bytes];
    random.fill(&mut noise);
    noise
}

/// Puts a file into the source at once, and gives its digest.
pub(crate) fn drop_in(node: &Node, name: &str, content: &[u8]) -> Result<String> {
    let beside = node.path(name);
    std::fs::write(&beside, content)?;
    let digest = sha256(&beside)?;
    std::fs::rename(&beside, node.crash().join(name))?;
    Ok(digest)
}

fn id(crash: &Value) -> &str {
    crash["id"].as_str().unwrap_or_default()
}

/// Fetches every crash; their digests, sorted.
pub(crate) fn fetched(node: &Node, crashes: &[Value]) -> Result<Vec<String>> {
    let mut digests = Vec::new();
    for crash in crashes {
        for file in node.get(id(crash))? {
            digests.push(sha256(&file)?);
        }
    }
    digests.sort();
    Ok(digests)
}

pub(crate) fn ensure_nothing_left(node: &Node, server: &S3Server) -> Result<()> {
    ensure!(
        std::fs::read_dir(node.crash())?.count() == 0,
        "the source is not empty"
    );
    for directory in ["entries", "dumps", "uploads"] {
        ensure!(
            std::fs::read_dir(node.state.join(directory))?.count() == 0,
            "{directory} is not empty"
        );
    }
    ensure!(
        server.open_uploads().is_empty(),
        "uploads are open: {:?}",
        server.open_uploads()
    );
    Ok(())
}

/// Small and large dumps go up and come back, in a store that behaves in some way.
fn ship_all(server: &S3Server) -> Result<()> {
    ship_all_after(server, |_| {})
}

/// The same where it begins to behave so when the agent is ready.
fn ship_all_after(server: &S3Server, then: impl FnOnce(&S3Server)) -> Result<()> {
    let node = node_for(server)?;
    let agent = node.start()?.ready()?;
    then(server);
    let mut digests = vec![
        drop_in(&node, "small", b"small")?,
        drop_in(&node, "one-part", &noise(1, 3 << 20))?,
        drop_in(&node, "many-parts", &noise(2, 30 << 20))?,
        drop_in(&node, "zeros", &vec![0; 20 << 20])?,
    ];
    digests.sort();
    let crashes = node.wait_for_crashes(&agent, 4)?;
    ensure!(fetched(&node, &crashes)? == digests);
    ensure_nothing_left(&node, server)?;
    let objects = server.lengths();
    ensure!(
        objects.keys().all(|key| key.starts_with("some/prefix/")),
        "{objects:?}"
    );
    ensure!(
        objects
            .keys()
            .filter(|key| key.contains("/crashes/"))
            .count()
            == 4
    );
    agent.stop()
}

#[test]
fn dumps_of_every_size_are_stored_and_fetched() -> Result<()> {
    let server = S3Server::start();
    ship_all(&server)?;
    ensure!(
        server.count(S3Op::Complete) >= 1,
        "a large dump goes up in parts"
    );
    Ok(())
}

#[test]
fn a_store_that_wants_equal_parts_gets_them() -> Result<()> {
    let server = S3Server::start();
    server.equal_parts();
    ship_all(&server)
}

#[test]
fn a_store_without_conditional_writes_or_checksums_serves_too() -> Result<()> {
    let server = S3Server::start();
    server.no_if_none_match().no_checksums();
    ship_all(&server)
}

#[test]
fn a_lost_completion_answer_changes_nothing() -> Result<()> {
    let server = S3Server::start();
    // One is lost while the agent looks at the store, and all of them after that.
    server.completion_answer_lost();
    ship_all_after(&server, |server| {
        server.completion_answers_lost();
    })
}

#[test]
fn a_store_that_answers_200_and_keeps_nothing_costs_no_dump() -> Result<()> {
    let server = S3Server::start();
    let node = node_for(&server)?;
    let agent = node.start()?.ready()?;
    server.swallow();
    let mut digests = vec![
        drop_in(&node, "small", b"small")?,
        drop_in(&node, "large", &noise(3, 20 << 20))?,
    ];
    digests.sort();
    // Both were tried, and tried again: the answers were 200 each time.
    server.forget_requests();
    wait("attempts at both", || {
        Ok((server.count(S3Op::Put) >= 2 && server.count(S3Op::Complete) >= 2).then_some(()))
    })?;
    let held: Vec<_> = std::fs::read_dir(node.state.join("dumps"))?.collect();
    ensure!(
        held.len() == 2 && agent.metric("salvage_pending_dumps")? == 2.0,
        "{held:?}: {}; {:#?}",
        agent.readyz()?,
        server.requests()
    );
    ensure!(node.crashes()?.is_empty());
    server.healthy();
    let crashes = node.wait_for_crashes(&agent, 2)?;
    ensure!(fetched(&node, &crashes)? == digests);
    ensure_nothing_left(&node, &server)?;
    agent.stop()
}

#[test]
fn an_upload_with_a_refused_part_is_given_up_and_begun_anew() -> Result<()> {
    let server = S3Server::start();
    let node = node_for(&server)?;
    let agent = node.start()?.ready()?;
    server.refuse_part(2, 400).forget_requests();
    let digest = drop_in(&node, "large", &noise(4, 30 << 20))?;
    wait("an upload that is given up", || {
        Ok((server.count(S3Op::Abort) >= 1).then_some(()))
    })?;
    server.healthy();
    let crashes = node.wait_for_crashes(&agent, 1)?;
    ensure!(fetched(&node, &crashes)? == [digest]);
    ensure_nothing_left(&node, &server)?;
    agent.stop()
}

#[test]
fn an_agent_killed_in_the_middle_of_parts_leaves_no_upload_behind() -> Result<()> {
    let server = S3Server::start();
    let node = node_for(&server)?;
    let agent = node.start()?.ready()?;
    server.hang(S3Op::PutPart);
    let digest = drop_in(&node, "large", &noise(5, 30 << 20))?;
    wait("an upload", || {
        Ok((server.open_uploads().len() > 1 || server.count(S3Op::PutPart) > 1).then_some(()))
    })?;
    agent.kill()?;
    server.healthy();
    let agent = node.start()?.ready()?;
    let crashes = node.wait_for_crashes(&agent, 1)?;
    ensure!(fetched(&node, &crashes)? == [digest]);
    ensure_nothing_left(&node, &server)?;
    agent.stop()
}

/// Starts an agent on a store that cannot be used, and gives what it says and the dump it was given.
fn not_ready(node: &Node, wanted: &str) -> Result<(Agent, String)> {
    let agent = node.start()?;
    let digest = drop_in(node, "dump", b"kept until the store can be used")?;
    wait(&format!("/readyz saying {wanted}"), || {
        Ok(agent.readyz()?.contains(wanted).then_some(()))
    })
    .with_context(|| agent.readyz().unwrap_or_default())?;
    agent.wait_for_metric("salvage_pending_dumps", 1.0)?;
    Ok((agent, digest))
}

#[test]
fn wrong_credentials_are_named_and_the_dump_waits() -> Result<()> {
    let server = S3Server::start();
    let mut node = node_for(&server)?;
    let right = node.env.clone();
    for (name, value) in &mut node.env {
        if name == "AWS_SECRET_ACCESS_KEY" {
            *value = "not-the-right-secret".into();
        }
    }
    let (agent, digest) = not_ready(&node, "credentials")?;
    ensure!(!agent.readyz()?.contains("not-the-right-secret"));
    agent.stop()?;
    node.env = right;
    let agent = node.start()?.ready()?;
    let crashes = node.wait_for_crashes(&agent, 1)?;
    ensure!(fetched(&node, &crashes)? == [digest]);
    agent.stop()
}

#[test]
fn missing_credentials_are_named() -> Result<()> {
    let server = S3Server::start();
    let mut node = node_for(&server)?;
    node.env = no_credentials_env();
    let (agent, _) = not_ready(&node, "AWS_ACCESS_KEY_ID")?;
    agent.stop()
}

#[test]
fn a_missing_bucket_is_named_and_never_created() -> Result<()> {
    let server = S3Server::start();
    let mut node = node_for(&server)?;
    node.store = node.store.replace(server.bucket(), "no-such-bucket");
    let (agent, _) = not_ready(&node, "never creates")?;
    ensure!(server.lengths().is_empty());
    agent.stop()
}

#[test]
fn a_denied_put_names_the_permission() -> Result<()> {
    let server = S3Server::start();
    server.deny(S3Op::Put);
    let (agent, _) = not_ready(&node_for(&server)?, "s3:PutObject")?;
    agent.stop()
}

#[test]
fn an_identity_that_may_only_put_and_abort_is_enough_to_ship() -> Result<()> {
    let server = S3Server::start();
    server
        .deny(S3Op::Get)
        .deny(S3Op::Head)
        .deny(S3Op::Delete)
        .deny_list();
    let node = node_for(&server)?;
    let agent = node.start()?.ready()?;
    let digests = [
        drop_in(&node, "small", b"small")?,
        drop_in(&node, "large", &noise(6, 20 << 20))?,
    ];
    wait("both to be stored", || {
        Ok((agent.metric("salvage_dumps_stored_total{format=\"unknown\"}")? >= 2.0).then_some(()))
    })?;
    agent.stop()?;
    server.healthy();
    let mut crashes = node.crashes()?;
    crashes.sort_by_key(|crash| crash["stored_bytes"].as_u64());
    let mut expected = digests.to_vec();
    expected.sort();
    ensure!(fetched(&node, &crashes)? == expected);
    ensure_nothing_left(&node, &server)
}
