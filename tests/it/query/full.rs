//! A manifest that has every field there is. Written out without `..`: a field that is added does not compile before it stands here, and then in the
//! documented tables.

use anyhow::{Context, Result};
use jiff::Timestamp;
use salvage::model::{
    Agent, Artifact, Attribution, CaptureKind, Confidence, Container, ContainerKind, DumpType,
    Encoding, Evidence, Exception, Format, HeapType, Host, Kind, Label, Manifest, Mark, MemoryUse,
    Missing, Module, Occasion, Owner, Pod, Process, Reason, Role, Rollup, Runtime, SCHEMA,
    SignalInfo, Taken, TimeSource, Timings, Trigger, Volume,
};

/// Above what 32 bits hold, for every size that may be so large.
const LARGE: u64 = 5_000_000_000;

/// Any text.
fn text(of: &str) -> Option<String> {
    Some(of.to_owned())
}

/// Of a crash at this time.
pub(super) fn manifest(time: Timestamp) -> Result<Manifest> {
    Ok(Manifest {
        schema: SCHEMA,
        id: "01m7xww73z8tgy3eqr24zwfz0y".parse()?,
        revision: 3,
        kind: Kind::Crash,
        cluster: "other".into(),
        node: "node-17".into(),
        time,
        time_source: TimeSource::DumpWritten,
        reason: Reason::Signal(11),
        signal: Some(SignalInfo {
            number: 11,
            name: "SIGSEGV".into(),
            code: Some(-6),
            address: text("0xffffffffffffffff"),
        }),
        exit_code: Some(139),
        oom_killed: Some(true),
        pod: Some(Pod {
            namespace: text("shop"),
            name: text("full-0"),
            uid: text("d5b7b0a8-5b0e-4a8e-9d2b-0f6c4b6f2c11"),
            owner: Some(Owner {
                kind: "StatefulSet".into(),
                name: "full".into(),
            }),
            labels: vec![Label {
                key: "team".into(),
                value: "payments".into(),
            }],
            service_account: text("default"),
            start_time: Some(time),
        }),
        container: Some(Container {
            name: text("app"),
            kind: Some(ContainerKind::Main),
            id: text("0f6c4b6f"),
            image: text("registry.example/full:2"),
            image_digest: text("sha256:0f6c4b6f"),
            start_number: Some(u32::MAX),
            started_at: Some(time),
            finished_at: Some(time),
        }),
        host: Some(Host {
            kernel: text("6.18.44"),
            arch: text("x86_64"),
        }),
        attribution: Some(Attribution {
            confidence: Confidence::Probable,
            evidence: vec![Evidence {
                source: "mounts".into(),
                says: "2 pods".into(),
                trusted: true,
            }],
            conflicts: vec!["two names".into()],
            candidates: Some(u32::MAX),
        }),
        artifacts: vec![artifact()?],
        missing: vec![Missing {
            role: Role::Log,
            why: "lost".into(),
        }],
        capture: Some(Box::new(taken(time))),
        rollup: Some(Rollup { count: u32::MAX }),
        timings: Some(Timings {
            died: Some(time),
            seen: Some(time),
            settled: Some(time),
            stored: Some(time + jiff::SignedDuration::from_millis(1_234)),
        }),
        agent: Some(Agent {
            version: "0.1.0".into(),
        }),
    })
}

fn taken(time: Timestamp) -> Taken {
    Taken {
        kind: CaptureKind::Dump,
        dump_type: Some(DumpType::Heap),
        trigger: Trigger::Request,
        request: text("full-x7k2p"),
        started: time,
        took_ms: LARGE,
        complete: Some(true),
        note: text("it ended early"),
        pause_ms: Some(LARGE),
        providers: vec!["System.Runtime".into()],
        memory: Some(MemoryUse {
            used: LARGE,
            limit: LARGE,
        }),
        types: vec![HeapType {
            name: "System.String".into(),
            instances: LARGE,
            bytes: LARGE,
        }],
    }
}

/// Captures before this time: two dumps and a trace that somebody asked for, and a gcdump that nobody did.
pub(super) fn captures(time: Timestamp) -> Result<Vec<Manifest>> {
    use CaptureKind::{Dump, Gcdump, Trace};
    [
        (Dump, Trigger::Request, Some(2_500)),
        (Dump, Trigger::Request, Some(750)),
        (Gcdump, Trigger::Memory, Some(90)),
        (Trace, Trigger::Request, None),
    ]
    .into_iter()
    .zip(1..)
    .map(|((kind, trigger, pause_ms), seconds)| {
        let mut manifest = manifest(time - jiff::SignedDuration::from_secs(seconds))?;
        manifest.id = format!("01m7xww73z8tgy3eqr24zwfz{seconds:02}").parse()?;
        manifest.kind = Kind::Capture;
        manifest.time_source = TimeSource::CaptureTaken;
        manifest.reason = match trigger {
            Trigger::Request => Reason::Capture,
            Trigger::Memory => Reason::MemoryHigh,
        };
        manifest.rollup = None;
        let taken = manifest.capture.as_mut().context("how it was taken")?;
        taken.kind = kind;
        taken.dump_type = taken.dump_type.filter(|_| kind == Dump);
        taken.trigger = trigger;
        taken.pause_ms = pause_ms;
        Ok(manifest)
    })
    .collect()
}

fn artifact() -> Result<Artifact> {
    Ok(Artifact {
        role: Role::Dump,
        key: "artifacts/dump-0.000.core.zst".parse()?,
        original_name: text("core.1"),
        format: Format::ElfCore,
        producer: text("kernel"),
        complete: Some(true),
        marks: vec![Mark::WriterOpen],
        bytes: LARGE,
        data_bytes: Some(LARGE),
        expected_bytes: Some(LARGE),
        stored_bytes: LARGE,
        sha256: text("330b911a"),
        tree_sha256: text("8ff87fbe"),
        stored_sha256: text("8ff87fbf"),
        encoding: Encoding::ZstdSeekable,
        frame_bytes: Some(u32::MAX),
        volumes: vec![Volume {
            key: "artifacts/dump-0.000.core.zst".parse()?,
            bytes: LARGE,
            stored_bytes: LARGE,
        }],
        process: Some(Process {
            pid: Some(1),
            crashing_tid: Some(7),
            exe: text("/app/full"),
            comm: text("full"),
            uid: Some(u32::MAX),
            threads: Some(u32::MAX),
            build_id: text("135afc8c6d1b9e02356cce218bf0109c3687ad9f"),
            modules: vec![Module {
                name: "libc.so.6".into(),
                build_id: text("93ac8d3a"),
                debug_id: text("8D3A93AC0"),
            }],
        }),
        runtime: Some(Runtime {
            name: text(".NET"),
            version: text("8.0.15"),
            arch: text("x86_64"),
            libc: text("glibc"),
        }),
        exception: Some(Exception {
            kind: text("AppFailure"),
            stack: ["inner", "middle", "outer", "main"]
                .map(String::from)
                .into(),
        }),
        occasion: Some(Occasion {
            event: text("Exception"),
            trigger: text("Exception"),
        }),
        format_version: text("1.0.2"),
        identifier_bytes: Some(u32::MAX),
        unread: vec!["modules: too many".into()],
    })
}
