//! Writes the manifest from what is held and what was sent.

use jiff::Timestamp;

use super::frames::Read;
use super::{Config, FRAME_BYTES};
use crate::model::{
    Agent, Artifact, Completeness, Encoding, Host, Kind, Manifest, Mark, SCHEMA, TimeSource,
    Timings, Volume, escaped,
};
use crate::spool::{Choice, Entry};

/// What was sent for the dump.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) read: Read,
    pub(super) volumes: Vec<Volume>,
    pub(super) stored_sha256: String,
}

/// The manifest of a crash whose dump is stored and verified at `now`.
pub(super) fn manifest(
    config: &Config,
    host: &Host,
    entry: &Entry,
    choice: &Choice,
    sent: Sent,
    now: Timestamp,
) -> Manifest {
    let died = (entry.time_source == TimeSource::DumpWritten).then_some(entry.time);
    Manifest {
        schema: SCHEMA,
        id: entry.id,
        revision: 1,
        kind: Kind::Crash,
        cluster: config.cluster.clone(),
        node: config.node.clone(),
        time: entry.time,
        time_source: entry.time_source,
        reason: choice.reason,
        signal: choice.facts.signal.clone(),
        pod: Some(choice.pod.clone()).filter(|pod| *pod != Default::default()),
        container: Some(choice.container.clone())
            .filter(|container| *container != Default::default()),
        host: Some(host.clone()),
        attribution: Some(choice.attribution.clone()),
        artifacts: vec![artifact(entry, choice, sent)],
        missing: Vec::new(),
        timings: Some(Timings {
            died,
            seen: Some(entry.origin.seen),
            settled: Some(entry.origin.settled),
            stored: Some(now),
        }),
        agent: Some(Agent {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }),
    }
}

fn artifact(entry: &Entry, choice: &Choice, sent: Sent) -> Artifact {
    let facts = &choice.facts;
    let (complete, expected_bytes) = match facts.completeness {
        Completeness::Complete => (Some(true), None),
        Completeness::Truncated { expected } => (Some(false), expected),
        Completeness::Unknown => (None, None),
    };
    let mut marks = entry.origin.marks.clone();
    if complete == Some(false) {
        marks.push(Mark::Truncated);
    }
    let first = sent.volumes.first().map(|volume| volume.key.clone());
    Artifact {
        role: choice.artifact.role,
        // There is always one: also a dump that became empty has an object.
        key: first.expect("a dump is stored in at least one object"),
        original_name: Some(escaped(entry.origin.name.as_os_str()).to_string()),
        format: facts.format,
        producer: facts.producer.clone(),
        complete,
        marks,
        bytes: sent.read.bytes,
        data_bytes: Some(sent.read.data_bytes),
        expected_bytes,
        stored_bytes: sent.volumes.iter().map(|volume| volume.stored_bytes).sum(),
        sha256: sent.read.sha256,
        tree_sha256: sent.read.tree_sha256,
        stored_sha256: Some(sent.stored_sha256),
        encoding: Encoding::ZstdSeekable,
        frame_bytes: Some(FRAME_BYTES),
        volumes: if sent.volumes.len() > 1 {
            sent.volumes
        } else {
            Vec::new()
        },
        process: facts.process.clone(),
        runtime: facts.runtime.clone(),
        exception: facts.exception.clone(),
        unread: facts.unread.clone(),
    }
}
