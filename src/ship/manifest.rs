//! Writes the manifest from what is held and what was sent.

use jiff::Timestamp;

use super::frames::Read;
use super::{Config, FRAME_BYTES};
use crate::model::{
    Agent, Artifact, ArtifactName, Completeness, Death, Encoding, Host, Kind, Manifest, Mark,
    Rollup, SCHEMA, TimeSource, Timings, Volume, escaped,
};
use crate::spool::{Choice, Entry, Piece};

/// What was sent for one file.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) read: Read,
    pub(super) volumes: Vec<Volume>,
    pub(super) stored_sha256: String,
}

/// The manifest of a crash whose artifacts are stored and verified at `now`.
pub(super) fn manifest(
    config: &Config,
    host: &Host,
    entry: &Entry,
    choice: &Choice,
    artifacts: Vec<Artifact>,
    now: Timestamp,
) -> Manifest {
    if let Some(told) = &entry.told {
        return revision(&told.manifest, entry, choice, artifacts);
    }
    let captured = entry.capture.as_deref();
    let died =
        (captured.is_none() && entry.time_source != TimeSource::FirstSeen).then_some(entry.time);
    let origin = entry.origin.as_ref();
    let death = entry.death.as_deref();
    let end = death.and_then(|death| death.terminated.as_ref());
    let seen = origin.map(|origin| origin.seen);
    Manifest {
        schema: SCHEMA,
        id: entry.id,
        revision: 1,
        kind: match death {
            _ if entry.capture.is_some() => Kind::Capture,
            Some(death) if death.terminated.is_none() => Kind::Rollup,
            _ => Kind::Crash,
        },
        cluster: config.cluster.clone(),
        node: config.node.clone(),
        time: entry.time,
        time_source: entry.time_source,
        reason: choice.reason,
        signal: choice.signal.clone(),
        exit_code: end.map(|end| end.exit_code),
        oom_killed: death.map(Death::oom_killed),
        pod: Some(choice.pod.clone()).filter(|pod| *pod != Default::default()),
        container: Some(choice.container.clone())
            .filter(|container| *container != Default::default()),
        host: Some(host.clone()),
        attribution: Some(choice.attribution.clone()),
        artifacts,
        missing: choice.missing.clone(),
        capture: captured.map(|captured| Box::new(captured.taken.clone())),
        rollup: death
            .filter(|death| death.terminated.is_none())
            .map(|death| Rollup { count: death.count }),
        timings: Some(Timings {
            died,
            seen: seen.or(death.map(|death| death.seen)),
            settled: origin.map(|origin| origin.settled),
            stored: Some(now),
        }),
        agent: Some(Agent {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }),
    }
}

/// The manifest `old` with what was learnt since.
fn revision(old: &Manifest, entry: &Entry, choice: &Choice, new: Vec<Artifact>) -> Manifest {
    let death = entry.death.as_deref();
    let end = death.and_then(|death| death.terminated.as_ref());
    let mut artifacts = old.artifacts.clone();
    artifacts.extend(new);
    Manifest {
        revision: old.revision.saturating_add(1),
        signal: choice.signal.clone(),
        exit_code: end.map(|end| end.exit_code).or(old.exit_code),
        oom_killed: death.map(Death::oom_killed).or(old.oom_killed),
        pod: Some(choice.pod.clone()).filter(|pod| *pod != Default::default()),
        container: Some(choice.container.clone())
            .filter(|container| *container != Default::default()),
        attribution: Some(choice.attribution.clone()),
        artifacts,
        missing: choice.missing.clone(),
        agent: Some(Agent {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }),
        ..old.clone()
    }
}

/// What the manifest says of one stored file.
pub(super) fn artifact(piece: &Piece, name: ArtifactName, sent: Done) -> Artifact {
    let facts = &piece.facts;
    let (complete, expected_bytes) = match facts.completeness {
        Completeness::Complete => (Some(true), None),
        Completeness::Truncated { expected } => (Some(false), expected),
        Completeness::Unknown => (None, None),
    };
    let mut marks = piece.origin.marks.clone();
    if complete == Some(false) {
        marks.push(Mark::Truncated);
    }
    let first = sent.volumes.first().map(|volume| volume.key.clone());
    Artifact {
        role: name.role,
        // There is always one: also a dump that became empty has an object.
        key: first.expect("a dump is stored in at least one object"),
        original_name: Some(escaped(piece.origin.name.as_os_str()).to_string()),
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
        occasion: facts.occasion.clone(),
        format_version: facts.format_version.clone(),
        identifier_bytes: facts.identifier_bytes,
        unread: facts.unread.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{attribute_without_kubernetes, reason_of};
    use crate::model::{Facts, Format, Role, artifact_key};
    use serde_json::json;

    /// A crash as an agent meets it, with every field that this version writes for a core.
    fn example() -> Manifest {
        let entry: Entry = serde_json::from_value(json!({
            "version": 1,
            "id": "01m7xww73z8tgy3eqr24zwfz0y",
            "time": "2026-11-21T01:52:31.359Z",
            "time_source": "dump_written",
            "origin": {
                "source": {"text": "/var/dumps"}, "name": {"text": "core.1"}, "uid": 12345, "data_bytes": 83_886_080,
                "names": {"namespace": "shop", "pod": "cart-7d9f6c5b8-x2x9z", "container": "app"},
                "began": "2026-11-21T01:52:31.101Z", "ended": "2026-11-21T01:52:31.359Z",
                "seen": "2026-11-21T01:52:31.402Z", "settled": "2026-11-21T01:52:31.979Z", "marks": []
            },
            "phase": {"held": {"file": {"dev": 1, "ino": 2, "born": 3}, "place": "spool"}}
        }))
        .expect("an entry");
        let facts: Facts = serde_json::from_value(json!({
            "format": "elf-core", "completeness": {"truncated": {"expected": 104_857_600}}, "producer": "kernel",
            "signal": {"number": 11, "name": "SIGSEGV", "code": 1, "address": "0x8"},
            "process": {
                "pid": 1, "crashing_tid": 7, "exe": "/app/cart", "comm": "cart", "uid": 12345, "threads": 9,
                "build_id": "135afc8c6d1b9e02356cce218bf0109c3687ad9f",
                "modules": [{"name": "/usr/lib/x86_64-linux-gnu/libc.so.6", "build_id": "93ac8d3a0a1f1ee2f9ac4a2b7b9c0b1e2d3c4f50"}]
            },
            "runtime": {"arch": "x86_64", "libc": "glibc"},
            "host_name": "cart-7d9f6c5b8-x2x9z"
        }))
        .expect("facts");
        let origin = entry.origin.clone().expect("it has one");
        let named = attribute_without_kubernetes(&origin.names, facts.host_name.as_deref());
        let name = ArtifactName {
            role: Role::Dump,
            number: 0,
            format: Format::ElfCore,
            volume: None,
        };
        let key = artifact_key("prod-eu", Some("shop"), entry.id, name);
        let choice = Choice {
            scope: named.pod.namespace.clone(),
            reason: reason_of(&[&facts], None),
            signal: facts.signal.clone(),
            pod: named.pod,
            container: named.container,
            attribution: named.attribution,
            artifacts: vec![name],
            missing: Vec::new(),
            stored: Vec::new(),
        };
        let piece = Piece {
            kept: entry.files().remove(0),
            origin,
            facts,
            bytes: 94_371_840,
        };
        let done = Done {
            read: Read {
                bytes: 94_371_840,
                data_bytes: 83_886_080,
                sha256: Some(
                    "330b911a1d0078f90b2215d4e0244cfca9ac6380564cbed452ea4bd8a429a2be".into(),
                ),
                tree_sha256: None,
            },
            volumes: vec![Volume {
                key,
                bytes: 94_371_840,
                stored_bytes: 9_437_184,
            }],
            stored_sha256: "8ff87fbe287d3e760f0639bfa0aff3ef894d2093955fd965b4ff47c7baf60a3c"
                .into(),
        };
        let config = Config {
            cluster: "prod-eu".into(),
            node: "node-17".into(),
            level: 1,
            workers: 1,
            part_memory: 1,
        };
        let host = Host {
            kernel: Some("6.18.44".into()),
            arch: Some("x86_64".into()),
        };
        let now = "2026-11-21T01:52:33.104Z".parse().expect("a time");
        let artifacts = vec![artifact(&piece, name, done)];
        let mut manifest = manifest(&config, &host, &entry, &choice, artifacts, now);
        manifest.agent = Some(Agent {
            version: "0.1.0".into(),
        });
        manifest
    }

    #[test]
    fn the_example_in_the_documentation_is_what_is_written() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/manifest.md");
        let text = std::fs::read_to_string(path).expect("the documentation");
        let (head, rest) = text.split_once("```json\n").expect("an example");
        let (shown, tail) = rest.split_once("\n```\n").expect("its end");
        let written = serde_json::to_string_pretty(&example()).expect("serialises");
        if std::env::var_os("SALVAGE_UPDATE_DOCS").is_some() {
            std::fs::write(path, format!("{head}```json\n{written}\n```\n{tail}"))
                .expect("the documentation is written");
        } else {
            assert_eq!(
                shown, written,
                "run with SALVAGE_UPDATE_DOCS=1 to write it anew"
            );
        }
        assert_eq!(
            serde_json::from_str::<Manifest>(&written).expect("reads back"),
            example()
        );
    }
}
