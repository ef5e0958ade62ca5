//! `salvage show`: one crash, in full.

use std::fmt::Write;

use jiff::Timestamp;

use super::output::{note, print};
use super::store::StoreArgs;
use super::{EXIT_CODES, Outcome, say};
use crate::fetch::{self, Document, Presence};
use crate::model::{
    Artifact, ByteSize, Escaped, IdPrefix, Kind, Manifest, Mark, SCHEMA, Taken, TimeSource, Trigger,
};

/// Show what is known of a crash, and what of it is still stored.
///
/// `-o json` prints the manifest as it is stored, one line of JSON; docs/manifest.md describes it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Args {
    /// Id of the crash, as `salvage ls` shows it; its beginning is enough while it means only one.
    id: IdPrefix,
    /// For people, or as it is stored.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(super) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let store = args.store.open().await?;
    let key = fetch::resolve(&*store, &args.id).await?;
    let document = fetch::document(&*store, &key).await?;
    if args.output == Format::Json {
        print(&for_terminals(document.text()))?;
        return Ok(Outcome::Done);
    }
    note_newer_schema(&document);
    let manifest = document.manifest()?;
    let mut presences = Vec::new();
    let mut outcome = Outcome::Done;
    for artifact in &manifest.artifacts {
        let presence = fetch::presence(&*store, artifact).await;
        presences.push(presence.map_err(|error| {
            say(&error.into());
            outcome = Outcome::Trouble;
        }));
    }
    print(&describe(&document, &manifest, &presences))?;
    Ok(outcome)
}

/// Says that a manifest may hold more than is shown.
pub(super) fn note_newer_schema(document: &Document) {
    if let Some(schema) = document.newer_schema() {
        note(format_args!(
            "note: this manifest has schema {schema}, this salvage knows {SCHEMA}: what is new in it is left out; a newer salvage shows it"
        ));
    }
}

/// JSON as it is, but for characters that steer a terminal or reorder what it shows: JSON has another spelling for each, and they occur
/// in strings only.
fn for_terminals(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + 1);
    for c in json.trim().chars() {
        let mut buffer = [0; 4];
        let is_plain = c.is_ascii_whitespace()
            || matches!(c, '\\' | '"')
            || Escaped::bytes(c.encode_utf8(&mut buffer).as_bytes()).to_string() == c.to_string();
        if is_plain {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text.push('\n');
    text
}

/// Lines of a name and a value each, the values below each other.
struct Page(String);

impl Page {
    /// A line; the value is escaped.
    fn line(&mut self, name: &str, value: impl AsRef<str>) {
        let value = Escaped::bytes(value.as_ref().as_bytes()).to_string();
        let _ = writeln!(self.0, "{}", format!("{name:<13}{value}").trim_end());
    }

    /// A line if there is a value.
    fn known(&mut self, name: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.line(name, value);
        }
    }

    fn heading(&mut self, name: &str) {
        let _ = write!(self.0, "\n{name}\n");
    }
}

/// Joins what is known of `parts`, each with its name before it.
fn joined<const N: usize>(parts: [(&str, Option<String>); N]) -> Option<String> {
    let known: Vec<String> = parts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .map(|(name, value)| match name {
            "" => value,
            name => format!("{name} {value}"),
        })
        .collect();
    (!known.is_empty()).then(|| known.join(", "))
}

fn at(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string()
}

/// A manifest for people. `presences` says for each artifact what the store holds of it, if it could be asked.
fn describe(
    document: &Document,
    manifest: &Manifest,
    presences: &[Result<Presence, ()>],
) -> String {
    let mut page = Page(String::new());
    page.line(
        match manifest.kind {
            Kind::Crash => "crash",
            Kind::Capture => "capture",
            Kind::Rollup => "rollup",
        },
        manifest.id.to_string(),
    );
    let time_source = match manifest.time_source {
        TimeSource::DumpWritten => "when the dump was last written",
        TimeSource::CaptureTaken => "when it was taken",
        TimeSource::ContainerFinished => "when the container ended",
        TimeSource::FirstSeen => "when it was first seen; its own times are not to be believed",
    };
    page.line("time", format!("{} ({time_source})", at(manifest.time)));
    where_it_was(&mut page, manifest);
    why(&mut page, manifest);
    attribution(&mut page, manifest);

    for (artifact, presence) in manifest.artifacts.iter().zip(presences) {
        page.heading(artifact_name(artifact));
        describe_artifact(&mut page, artifact, *presence);
    }
    if !manifest.missing.is_empty() {
        page.heading("missing");
        for missing in &manifest.missing {
            page.line(missing.role.name(), &missing.why);
        }
    }
    page.heading("more");
    if presences.contains(&Ok(Presence::Here)) {
        page.line("fetch", format!("salvage get {}", manifest.id));
    }
    page.line("manifest", document.key().to_string());
    page.known(
        "written by",
        manifest
            .agent
            .as_ref()
            .map(|agent| format!("salvage {}, revision {}", agent.version, manifest.revision)),
    );
    if let Some(timings) = manifest.timings {
        page.known(
            "timings",
            joined([
                ("died", timings.died.map(at)),
                ("seen", timings.seen.map(at)),
                ("settled", timings.settled.map(at)),
                ("stored", timings.stored.map(at)),
            ]),
        );
    }
    page.0
}

/// What an artifact is called within its crash: the last part of its key without what storing added.
fn artifact_name(artifact: &Artifact) -> &str {
    let name = artifact.key.file_name();
    name.strip_suffix(".zst").unwrap_or(name)
}

fn where_it_was(page: &mut Page, manifest: &Manifest) {
    page.line("cluster", &manifest.cluster);
    page.known(
        "node",
        joined([
            ("", Some(manifest.node.clone())),
            (
                "Linux",
                manifest.host.as_ref().and_then(|h| h.kernel.clone()),
            ),
            ("", manifest.host.as_ref().and_then(|h| h.arch.clone())),
        ]),
    );
    if let Some(pod) = &manifest.pod {
        page.known("namespace", pod.namespace.as_ref());
        let name = pod.name.clone();
        page.known("pod", joined([("", name), ("uid", pod.uid.clone())]));
        let owner = pod.owner.as_ref();
        page.known(
            "owner",
            owner.map(|owner| format!("{}/{}", owner.kind, owner.name)),
        );
        for label in &pod.labels {
            page.line("label", format!("{}={}", label.key, label.value));
        }
    }
    if let Some(container) = &manifest.container {
        let number = container.start_number.map(|number| number.to_string());
        page.known(
            "container",
            joined([("", container.name.clone()), ("start", number)]),
        );
        let digest = container.image_digest.clone();
        page.known(
            "image",
            joined([("", container.image.clone()), ("digest", digest)]),
        );
        let ran = |time: Option<Timestamp>| time.map(at);
        page.known(
            "ran",
            joined([
                ("from", ran(container.started_at)),
                ("to", ran(container.finished_at)),
            ]),
        );
    }
}

fn why(page: &mut Page, manifest: &Manifest) {
    page.line("reason", manifest.reason.to_string());
    page.known("exit code", manifest.exit_code.map(|code| code.to_string()));
    if let Some(rollup) = &manifest.rollup {
        page.line("stands for", format!("{} ends", rollup.count));
    }
    if let Some(taken) = manifest.capture.as_deref() {
        how_it_was_taken(page, taken);
    }
    if let Some(signal) = &manifest.signal {
        page.known(
            "signal",
            joined([
                ("", Some(format!("{} {}", signal.number, signal.name))),
                ("code", signal.code.map(|code| code.to_string())),
                ("address", signal.address.clone()),
            ]),
        );
    }
}

/// Types of a managed heap that are shown; the manifest has more.
const TYPES_SHOWN: usize = 10;

fn how_it_was_taken(page: &mut Page, taken: &Taken) {
    let kind = taken.dump_type.map(|kind| kind.to_string());
    let milliseconds = |ms: u64| format!("{ms} ms");
    page.known(
        "taken",
        joined([
            ("", Some(taken.kind.to_string())),
            ("type", kind),
            ("for", taken.request.clone()),
            ("in", Some(milliseconds(taken.took_ms))),
            ("process stood still", taken.pause_ms.map(milliseconds)),
        ]),
    );
    if let (Trigger::Memory, Some(memory)) = (taken.trigger, taken.memory) {
        let size = |bytes: u64| ByteSize::new(bytes).rounded();
        page.line(
            "memory",
            format!("{} of {}", size(memory.used), size(memory.limit)),
        );
    }
    for provider in &taken.providers {
        page.line("provider", provider);
    }
    for heap in taken.types.iter().take(TYPES_SHOWN) {
        let size = ByteSize::new(heap.bytes).rounded();
        page.line(
            "objects",
            format!("{} {}, {size}", heap.instances, heap.name),
        );
    }
}

fn attribution(page: &mut Page, manifest: &Manifest) {
    let Some(attribution) = &manifest.attribution else {
        return;
    };
    let candidates = attribution.candidates;
    let among = candidates.map_or_else(String::new, |count| format!(" (one of {count} pods)"));
    page.line(
        "attribution",
        format!("{}{among}", attribution.confidence.name()),
    );
    for evidence in &attribution.evidence {
        let trust = if evidence.trusted {
            "trusted"
        } else {
            "claimed"
        };
        page.line(
            "",
            format!("{}: {} ({trust})", evidence.source, evidence.says),
        );
    }
    for conflict in &attribution.conflicts {
        page.line("", format!("conflict: {conflict}"));
    }
}

fn describe_artifact(page: &mut Page, artifact: &Artifact, presence: Result<Presence, ()>) {
    page.line(
        "stored",
        match presence {
            Ok(Presence::Here) => "yes",
            Ok(Presence::Expired) => "expired: the store does not hold it any more",
            Ok(Presence::Changed) => {
                "changed: the object does not have the length it was stored with"
            }
            Err(()) => "not known: the store could not be asked",
        },
    );
    let by = artifact.producer.clone();
    let format = Some(artifact.format.name().to_owned());
    page.known("format", joined([("", format), ("written by", by)]));
    page.known("file", artifact.original_name.as_ref());
    let size = |bytes: u64| ByteSize::new(bytes).rounded();
    page.known(
        "size",
        joined([
            ("", Some(size(artifact.bytes))),
            ("data", artifact.data_bytes.map(size)),
            ("stored", Some(size(artifact.stored_bytes))),
            ("should be", artifact.expected_bytes.map(size)),
        ]),
    );
    page.known(
        "complete",
        artifact.complete.map(|complete| match complete {
            true => "yes",
            false => "no",
        }),
    );
    for mark in &artifact.marks {
        page.line(
            "mark",
            match mark {
                Mark::Truncated => "truncated: shorter than its own headers promise",
                Mark::WriterOpen => "taken while a process still had it open for writing",
                Mark::ChangedWhileRead => "changed while it was read",
                Mark::FoundWithoutRecord => "found without a record of where it came from",
            },
        );
    }
    describe_process(page, artifact);
    page.known("sha256", artifact.sha256.as_ref());
    page.known("tree_sha256", artifact.tree_sha256.as_ref());
    page.line("key", artifact.key.to_string());
    for volume in artifact.volumes.iter().skip(1) {
        page.line("", volume.key.to_string());
    }
    for unread in &artifact.unread {
        page.line("not read", unread);
    }
}

fn describe_process(page: &mut Page, artifact: &Artifact) {
    if let Some(process) = &artifact.process {
        page.known(
            "process",
            joined([
                ("", process.comm.clone()),
                ("pid", process.pid.map(|n| n.to_string())),
                ("uid", process.uid.map(|n| n.to_string())),
                ("threads", process.threads.map(|n| n.to_string())),
                ("crashed in", process.crashing_tid.map(|n| n.to_string())),
            ]),
        );
        page.known("executable", process.exe.as_ref());
        page.known("build-id", process.build_id.as_ref());
        let modules = process.modules.len();
        page.known("modules", (modules > 0).then(|| modules.to_string()));
    }
    if let Some(runtime) = &artifact.runtime {
        let name = runtime.name.clone();
        page.known(
            "runtime",
            joined([
                ("", name),
                ("", runtime.version.clone()),
                ("", runtime.arch.clone()),
                ("", runtime.libc.clone()),
            ]),
        );
    }
    if let Some(occasion) = &artifact.occasion {
        page.known(
            "written for",
            joined([
                ("", occasion.event.clone()),
                ("trigger", occasion.trigger.clone()),
            ]),
        );
    }
    if let Some(exception) = &artifact.exception {
        // Without a type it is where a signal struck.
        let about = if exception.kind.is_some() {
            "exception"
        } else {
            "stack"
        };
        page.line(about, exception.kind.as_deref().unwrap_or_default());
        for frame in &exception.stack {
            page.line("", format!("  {frame}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::memory::MemoryStore;
    use crate::model::{CrashKeyParts, Reason, crash_key_of};

    const ID: &str = "01kajmnp0vzzzzzzzzzzzzzzzz";

    /// A manifest with everything in it, and names that want to leave their line.
    const FULL: &str = r#"{
        "schema": 1, "id": "<id>", "revision": 2, "kind": "crash", "cluster": "prod", "node": "node-1",
        "time": "2026-11-21T10:00:00.5Z", "time_source": "dump_written", "reason": "SIGSEGV",
        "signal": {"number": 11, "name": "SIGSEGV", "code": 1, "address": "0x0"},
        "exit_code": 139, "oom_killed": false, "rollup": {"count": 3},
        "pod": {
            "namespace": "shop", "name": "cart-0", "uid": "u-1", "owner": {"kind": "StatefulSet", "name": "cart"},
            "labels": [{"key": "team", "value": "a"}]
        },
        "container": {
            "name": "app", "kind": "main", "id": "c0", "image": "shop/cart:1", "image_digest": "sha256:ab", "start_number": 4,
            "started_at": "2026-11-21T09:59:00Z", "finished_at": "2026-11-21T10:00:00Z"
        },
        "host": {"kernel": "6.18.0", "arch": "x86_64"},
        "attribution": {
            "confidence": "probable",
            "evidence": [{"source": "layout", "says": "pod cart-0", "trusted": false}],
            "conflicts": ["HOSTNAME says cart-1"], "candidates": 2
        },
        "artifacts": [{
            "role": "dump", "key": "artifacts/cluster=prod/namespace=shop/date=2026-11-21/<id>/dump-0.core.zst",
            "original_name": "core\n\u001b[2J", "format": "elf-core", "producer": "createdump", "complete": false,
            "marks": ["truncated", "writer_open"], "bytes": 1048576, "data_bytes": 524288, "expected_bytes": 2097152,
            "stored_bytes": 1000, "sha256": "ab", "encoding": "zstd-seekable", "frame_bytes": 4194304,
            "process": {
                "pid": 1, "crashing_tid": 7, "exe": "/app/cart", "comm": "cart", "uid": 0, "threads": 9,
                "build_id": "c0ffee", "modules": [{"name": "/lib/libc.so.6", "build_id": "1"}]
            },
            "runtime": {"name": ".NET", "version": "8.0.15", "arch": "x86_64", "libc": "glibc"},
            "exception": {"type": "AppFailure", "stack": ["Program.Main()"]},
            "unread": ["threads after the 4096th"]
        }, {
            "role": "report", "key": "artifacts/cluster=prod/namespace=shop/date=2026-11-21/<id>/report-0.json.zst",
            "format": "dotnet-crash-report", "bytes": 10, "stored_bytes": 20, "encoding": "zstd-seekable"
        }],
        "missing": [{"role": "log", "why": "the node had none"}],
        "timings": {"seen": "2026-11-21T10:00:01Z", "stored": "2026-11-21T10:00:02Z"},
        "agent": {"version": "0.1.0"}
    }"#;

    #[tokio::test]
    async fn a_crash_is_told_in_full_and_on_its_own_lines() {
        let key = crash_key_of(CrashKeyParts {
            cluster: "prod",
            namespace: Some("shop"),
            pod: Some("cart-0"),
            container: Some("app"),
            reason: Reason::Signal(11),
            stored_bytes: 1_020,
            id: ID.parse().expect("id"),
        });
        let store = MemoryStore::default();
        let text = FULL.replace("<id>", ID);
        store.insert(&key.to_string(), text.as_bytes());
        let document = fetch::document(&store, &key).await.expect("readable");
        let manifest = document.manifest().expect("readable");
        let presences = [Ok(Presence::Here), Ok(Presence::Expired)];
        insta::assert_snapshot!(describe(&document, &manifest, &presences));
    }

    #[test]
    fn json_stays_the_same_json_and_steers_no_terminal() {
        let json = "{\"a\\n\": \"x\u{7f}\u{202e}\u{9b}ü\u{1f600}\"}\n";
        let shown = for_terminals(json);
        assert_eq!(shown, "{\"a\\n\": \"x\\u007f\\u202e\\u009bü\u{1f600}\"}\n");
        let read = |text| serde_json::from_str::<serde_json::Value>(text).expect("json");
        assert_eq!(read(&shown), read(json));
    }
}
