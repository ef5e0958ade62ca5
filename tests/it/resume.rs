//! Multipart uploads that an agent did not finish: the next one goes on with them, or gives them up and begins anew, and never leaves one open.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};

use crate::place::Place;
use crate::s3::{drop_in, ensure_nothing_left, fetched, node_for, noise};
use crate::support::agent::{Node, wait};
use crate::support::s3::{S3Op, S3Server};

/// Parts have 8 MiB, and noise does not get smaller: eight parts.
const LARGE: usize = 60 << 20;

/// The part that a store does not take.
const STUCK: u32 = 5;

/// What an agent says of an attempt that came to nothing.
const FAILED: &str = "a step failed; the dump is kept";

/// A store, a node whose agent was killed in the middle of an upload, and the digest of the dump.
struct Cut {
    server: S3Server,
    node: Node,
    digest: String,
}

/// Lets an agent upload until the store takes no more, and kills it.
fn cut() -> Result<Cut> {
    let server = S3Server::start();
    let node = node_for(&server)?;
    let agent = node.start()?.ready()?;
    server.refuse_part(STUCK, 500);
    server.forget_requests();
    let digest = drop_in(&node, "large", &noise(5, LARGE))?;
    agent.logged(FAILED)?;
    agent.kill()?;
    server.healthy();
    Ok(Cut {
        server,
        node,
        digest,
    })
}

impl Cut {
    /// Starts another agent and waits until the dump is stored, whole and once, with nothing left.
    fn finish(&self) -> Result<()> {
        let agent = self.node.start()?;
        let crashes = self.node.wait_for_crashes(&agent, 1)?;
        ensure!(fetched(&self.node, &crashes)? == [self.digest.as_str()]);
        // What is kept of the way the bytes came does not depend on how often it was gone on with.
        let id = crashes[0]["id"].as_str().context("an id")?;
        let artifact = &self.node.manifest(id)?["artifacts"][0];
        ensure!(artifact["sha256"] == self.digest.as_str(), "{artifact:#}");
        let key = artifact["key"].as_str().context("a key")?;
        let object = &self.server.objects()[&format!("some/prefix/{key}")];
        ensure!(
            artifact["stored_sha256"] == sha256_of(object),
            "{artifact:#}"
        );
        agent.stop()?;
        ensure_nothing_left(&self.node, &self.server)
    }

    /// How often each part of the dump's uploads was sent and taken, the probe's left out.
    fn parts_taken(&self) -> Vec<u32> {
        let mut taken = Vec::new();
        for request in self.server.requests() {
            let number = request
                .target
                .split(['?', '&'])
                .find_map(|pair| pair.strip_prefix("partNumber="));
            let is_ours = !request.target.contains("probe");
            if let (S3Op::PutPart, Some(200), Some(number), true) =
                (request.op, request.status, number, is_ours)
            {
                taken.extend(number.parse::<u32>());
            }
        }
        taken.sort_unstable();
        taken
    }

    fn count(&self, op: S3Op) -> usize {
        let requests = self.server.requests();
        let ours = requests.iter().filter(|r| !r.target.contains("probe"));
        ours.filter(|request| request.op == op).count()
    }
}

fn sha256_of(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}

#[test]
fn an_upload_goes_on_where_it_was_cut() -> Result<()> {
    let cut = cut()?;
    let before = cut.parts_taken();
    ensure!(before.len() >= 3, "{before:?}");
    cut.finish()?;
    let taken = cut.parts_taken();
    // Those behind the one that failed may have been taken meanwhile; they are sent again with it.
    let once: Vec<u32> = (1..STUCK).collect();
    let first: Vec<u32> = taken.iter().copied().filter(|n| *n < STUCK).collect();
    ensure!(first == once, "parts were sent again: {taken:?}");
    ensure!(cut.count(S3Op::Begin) == 1 && cut.count(S3Op::Complete) == 1);
    Ok(())
}

#[test]
fn an_upload_goes_on_where_the_store_may_not_be_asked_for_it() -> Result<()> {
    let cut = cut()?;
    cut.server.deny(S3Op::ListParts).deny(S3Op::ListUploads);
    cut.finish()?;
    ensure!(cut.count(S3Op::Begin) == 1, "it was begun anew");
    Ok(())
}

#[test]
fn an_upload_that_the_store_forgot_is_begun_anew() -> Result<()> {
    for may_ask in [true, false] {
        let cut = cut()?;
        cut.server.upload_forgotten();
        if !may_ask {
            cut.server.deny(S3Op::ListParts);
        }
        cut.finish()?;
        ensure!(cut.count(S3Op::Begin) == 2, "may ask: {may_ask}");
    }
    Ok(())
}

#[test]
fn an_upload_by_another_encoder_is_given_up() -> Result<()> {
    let mut cut = cut()?;
    cut.node.more.push_str("\ncompression: {level: 2}");
    cut.finish()?;
    ensure!(cut.count(S3Op::Begin) == 2 && cut.count(S3Op::Abort) >= 1);
    Ok(())
}

/// Nobody but the agent should reach a held dump. If somebody does, and hides it, the frame that is encoded once more is another one.
#[test]
fn an_upload_of_other_bytes_is_given_up() -> Result<()> {
    let mut cut = cut()?;
    let dumps = cut.node.state.join("dumps");
    let dump = std::fs::read_dir(&dumps)?.next().context("a dump")??.path();
    let before = std::fs::metadata(&dump)?.modified()?;
    let mut bytes = std::fs::read(&dump)?;
    for frame in bytes.chunks_mut(1 << 20) {
        frame[0] ^= 1;
    }
    // In place: it stays the same file.
    let file = std::fs::File::options().write(true).open(&dump)?;
    file.write_all_at(&bytes, 0)?;
    file.set_times(std::fs::FileTimes::new().set_modified(before))?;
    drop(file);
    cut.digest = sha256_of(&bytes);
    cut.finish()?;
    ensure!(cut.count(S3Op::Begin) == 2, "it was gone on with");
    Ok(())
}

#[test]
fn an_upload_whose_journal_is_damaged_is_given_up_or_gone_on_with_from_before_the_damage()
-> Result<()> {
    for keep in [0, 200, 1_500] {
        let cut = cut()?;
        let uploads = cut.node.state.join("uploads");
        let journal = std::fs::read_dir(&uploads)?.next().context("a journal")??;
        let bytes = std::fs::read(journal.path())?;
        let mut damaged = bytes[..keep.min(bytes.len())].to_vec();
        damaged.extend(b"not a record\n");
        std::fs::write(journal.path(), damaged)?;
        cut.finish().with_context(|| format!("{keep} bytes kept"))?;
    }
    Ok(())
}

#[test]
fn a_completion_that_succeeded_unheard_is_seen_by_the_next_agent() -> Result<()> {
    let server = S3Server::start();
    let node = node_for(&server)?;
    let agent = node.start()?.ready()?;
    server.completion_answers_lost().hang(S3Op::Head);
    let digest = drop_in(&node, "large", &noise(6, 20 << 20))?;
    wait("an object whose completion nobody heard of", || {
        let there = server.lengths().keys().any(|key| key.contains("dump-0"));
        Ok(there.then_some(()))
    })?;
    agent.kill()?;
    server.healthy().forget_requests();
    let cut = Cut {
        server,
        node,
        digest,
    };
    cut.finish()?;
    ensure!(cut.count(S3Op::PutPart) == 0 && cut.count(S3Op::Complete) == 0);
    Ok(())
}

#[test]
fn a_completion_that_never_arrived_is_sent_by_the_next_agent() -> Result<()> {
    let server = S3Server::start();
    let node = node_for(&server)?;
    let agent = node.start()?.ready()?;
    server.drop_connection(S3Op::Complete);
    let digest = drop_in(&node, "large", &noise(7, 20 << 20))?;
    agent.logged(FAILED)?;
    agent.kill()?;
    server.healthy().forget_requests();
    let cut = Cut {
        server,
        node,
        digest,
    };
    cut.finish()?;
    ensure!(cut.count(S3Op::PutPart) == 0 && cut.count(S3Op::Complete) == 1);
    Ok(())
}

/// Kills agents at random moments of their first 300 ms while dumps come in, and looks at what came of it all.
fn killed_two_hundred_times(place: &Place, seed: u64) -> Result<()> {
    const KILLS: usize = 200;
    const DUMPS: usize = 50;
    const LIFE: u64 = 300;
    let mut chance = fastrand::Rng::with_seed(seed);
    let node = place.node()?;
    let mut dumps = BTreeMap::new();
    for kill in 0..KILLS {
        if dumps.len() < DUMPS && kill % 4 == 0 {
            let name = format!("core.{}", dumps.len());
            // Every fifth needs a multipart upload.
            let len = match dumps.len() % 5 {
                4 => 20 << 20,
                _ => chance.usize(1..2 << 20),
            };
            let dump = noise(dumps.len() as u64, len);
            drop_in(&node, &name, &dump)?;
            dumps.insert(name, dump);
        }
        let agent = node.start()?;
        std::thread::sleep(std::time::Duration::from_millis(chance.u64(0..LIFE)));
        agent.kill()?;
    }
    ensure!(dumps.len() == DUMPS);
    let agent = node.start()?.ready()?;
    let crashes = node.wait_for_crashes(&agent, DUMPS)?;
    ensure!(place.stored(&node, &crashes)? == dumps, "seed {seed}");
    ensure!(agent.metric("salvage_dumps_lost_total{reason=\"vanished\"}")? == 0.0);
    agent.stop()?;
    ensure!(std::fs::read_dir(node.crash())?.count() == 0);
    place.ensure_nothing_left(&node)?;
    println!("{KILLS} kills while {DUMPS} dumps shipped: each is stored once, no upload is open");
    Ok(())
}

#[test]
fn killed_two_hundred_times_while_fifty_dumps_ship() -> Result<()> {
    killed_two_hundred_times(&Place::memory(), 17)
}

mod garage {
    use super::*;

    #[test]
    #[ignore = "needs a real Garage: tests/garage"]
    fn killed_two_hundred_times_while_fifty_dumps_ship() -> Result<()> {
        killed_two_hundred_times(&Place::garage()?, 18)
    }
}
