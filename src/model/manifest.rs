//! The manifest: the document that is the crash. One line of JSON at the crash's key, written last; `docs/manifest.md` shows one.
//!
//! Schema 1. A reader may rely on `schema`, `id`, `revision`, `kind`, `cluster`, `node`, `time`, `time_source` and `reason`; every other field may
//! be absent, and fields it does not know are to be skipped. Times are RFC 3339 in UTC, sizes are bytes, addresses and 64-bit ids are strings.
//! Environment and command lines never enter it: they hold secrets.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    CaptureKind, ContainerKind, CrashId, DumpType, Format, ObjectKey, Owner, Reason, key::Role,
};

/// The schema this code writes.
pub const SCHEMA: u32 = 1;

/// One crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this document's form.
    pub schema: u32,
    /// The crash.
    pub id: CrashId,
    /// Counts the times this document was written at its key, from 1.
    pub revision: u32,
    /// What the document stands for.
    pub kind: Kind,
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the node.
    pub node: String,
    /// When the process ended, as well as it is known.
    pub time: Timestamp,
    /// What `time` was taken from.
    pub time_source: TimeSource,
    /// Class of the reason.
    pub reason: Reason,
    /// The signal that ended the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalInfo>,
    /// The exit code of the container that ended: 128 and the signal's number where a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Whether the kernel's out-of-memory killer ended it; absent where no container's end is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_killed: Option<bool>,
    /// The pod it ran in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// The container it ran in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// The node's system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// How the names were found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
    /// What is stored.
    #[serde(default)]
    pub artifacts: Vec<Artifact>,
    /// What is not stored, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// How it was taken, where it is a capture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Box<Taken>>,
    /// How many ends this stands for, where it is more than one or none was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollup: Option<Rollup>,
    /// When each step was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// Who wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
}

/// What a manifest stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A process or container that ended abnormally.
    Crash,
    /// An artifact taken on demand from a living process.
    Capture,
    /// Many suppressed deaths in one.
    Rollup,
}

/// What a crash's time was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeSource {
    /// The dump's last change before it was claimed (its ctime, which its owner cannot set).
    DumpWritten,
    /// When the container ended, as the kubelet says, to the second.
    ContainerFinished,
    /// When the capture was begun.
    CaptureTaken,
    /// When the agent first saw the dump or heard of the end, because the time that either has was more than a day away from the node's clock.
    FirstSeen,
}

/// A signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalInfo {
    /// Its number.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// `si_code`: who sent it and why (`sigaction(2)`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The address a fault was about, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// What a person deployed to make it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Its labels, as far as the configuration names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// Its service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// When the kubelet took it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
}

/// A label. A list of them has one form for every reader of tables, a map of them has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name in the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is there for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ContainerKind>,
    /// Id of the start that ended, without the runtime's scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its image, as the author wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The digest of the image that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// The number of the start that ended, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_number: Option<u32>,
    /// When that start began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended, to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// Several ends in one manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollup {
    /// How many.
    pub count: u32,
}

/// The node's system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Kernel release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Machine, as `uname -m` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
}

/// How sure the names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// A trusted identity, without contradiction.
    Exact,
    /// One candidate left.
    Probable,
    /// Neither.
    Unknown,
}

impl Confidence {
    /// Every level, for metrics that show zero.
    pub const ALL: [Self; 3] = [Self::Exact, Self::Probable, Self::Unknown];

    /// The name in manifests and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Probable => "probable",
            Self::Unknown => "unknown",
        }
    }
}

/// How the names were found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribution {
    /// How sure they are.
    pub confidence: Confidence,
    /// The grounds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// Contradictions between the grounds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
    /// How many pods it may have been, where that is more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<u32>,
}

/// One ground of an attribution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Where it comes from: `layout`, `hostname`, `mounts`, `kubelet path`, ...
    pub source: String,
    /// What it says.
    pub says: String,
    /// Whether the crashing container could not have forged it.
    pub trusted: bool,
}

/// How an artifact's bytes were changed for storing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Independent zstd frames with the seekable format's table at the end; `zstd -d` reads the whole.
    ZstdSeekable,
}

/// Something a reader should know before trusting an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Shorter than its own headers promise.
    Truncated,
    /// Taken while some process still had it open for writing.
    WriterOpen,
    /// It changed while it was read, more often than was worth reading again.
    ChangedWhileRead,
    /// Found in a holding place without a record: the agent that took it was stopped, or somebody put it there.
    FoundWithoutRecord,
}

/// One stored file of a crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// The part it plays.
    pub role: Role,
    /// Its object; the first of `volumes` where there are several.
    pub key: ObjectKey,
    /// The name it had on the node, control characters escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_name: Option<String>,
    /// What it is.
    pub format: Format,
    /// Who wrote it: `kernel`, `createdump` or `minidump-writer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<String>,
    /// Whether it holds all that its headers promise; absent where the format does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<bool>,
    /// What a reader should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    /// Length of the file, holes included.
    pub bytes: u64,
    /// Bytes of it in frames that are not all zeros.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_bytes: Option<u64>,
    /// Length that its headers promise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_bytes: Option<u64>,
    /// Length of the object, or of all volumes.
    pub stored_bytes: u64,
    /// SHA-256 of the file, in hex; absent above 64 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// SHA-256 over the SHA-256 digests of the file's frames in order, in hex; only above 64 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree_sha256: Option<String>,
    /// SHA-256 of the object, or of all volumes one after the other, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_sha256: Option<String>,
    /// How the bytes were changed.
    pub encoding: Encoding,
    /// Bytes of the file in each zstd frame but the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_bytes: Option<u32>,
    /// The objects of a dump too large for one, in order; each is a seekable file of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// The process it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The language runtime in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// The exception in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<Exception>,
    /// What a runtime's own report says it was written for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occasion: Option<Occasion>,
    /// Version of the file's format, as the file says it: `1.0.2` of an hprof, `4` of a nettrace or Node report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format_version: Option<String>,
    /// Size of an object id in an hprof, in bytes: 4 or 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier_bytes: Option<u32>,
    /// What could not be read from it, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

/// One object of a dump too large for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The object.
    pub key: ObjectKey,
    /// Bytes of the file it holds.
    pub bytes: u64,
    /// Length of the object.
    pub stored_bytes: u64,
}

/// The process a dump shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id, as the process itself saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Thread that crashed, as the process itself saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crashing_tid: Option<i32>,
    /// Path of the executable; its bare name where the file tells no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Name of the process as the kernel keeps it, at most 15 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// Real user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Number of threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// GNU build-id of the executable, lower hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// Loaded libraries that have a build-id or debug-id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<Module>,
}

/// A loaded file of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its path.
    pub name: String,
    /// Its GNU build-id, lower hex; of a file that is no ELF file, the code-id that its minidump gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// The debug-id under which symbol servers know it (Breakpad's form); only minidumps have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug_id: Option<String>,
}

/// The language runtime of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// `.NET`, `JVM`, `Node.js`, `Python`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Machine: `x86_64`, `aarch64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// C library: `glibc` or `musl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libc: Option<String>,
}

/// The exception that ended a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// Its type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its frames, innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<String>,
}

/// What a runtime's own report was written for, in the runtime's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occasion {
    /// What happened: Node's `event`, the kind of a JVM's fatal error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// What made the runtime write: Node's `trigger`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
}

/// How a capture was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// What was taken.
    pub kind: CaptureKind,
    /// How much of the memory, of a dump.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub dump_type: Option<DumpType>,
    /// What made the agent take it.
    pub trigger: Trigger,
    /// Name of the `Capture` that asked for it, in the pod's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// When the runtime was asked.
    pub started: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How long the process stood still for it, in milliseconds, as far as that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<u64>,
    /// Whether it holds all that was asked for, where the file alone does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<bool>,
    /// What a reader should know of how it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The sources of events that it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
    /// The container's memory when the trigger fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryUse>,
    /// The types that had most of the managed heap, of a gcdump.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<HeapType>,
}

/// What made an agent take a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// Somebody asked for it.
    Request,
    /// The container's memory came near its limit.
    Memory,
}

/// A container's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// Bytes that cannot be reclaimed at once, as the kubelet counts them.
    pub used: u64,
    /// The limit, in bytes.
    pub limit: u64,
}

/// A type of a managed heap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapType {
    /// Its name; its id where the runtime did not say the name.
    pub name: String,
    /// Its living objects.
    pub instances: u64,
    /// Bytes that they take themselves.
    pub bytes: u64,
}

/// Something that is not stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The part it would have played.
    pub role: Role,
    /// Why it is not there.
    pub why: String,
}

/// When each step was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// The process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub died: Option<Timestamp>,
    /// The agent first saw the dump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Timestamp>,
    /// Nobody wrote the dump any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Timestamp>,
    /// The last artifact was stored and verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Timestamp>,
}

/// Who wrote a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Version of salvage.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::changes::changed;
    use proptest::prelude::*;

    /// The example in the documentation, as it stands in a bucket.
    fn example() -> String {
        let text = include_str!("../../docs/manifest.md");
        let (_, rest) = text.split_once("```json\n").expect("an example");
        let (shown, _) = rest.split_once("\n```\n").expect("its end");
        let value: serde_json::Value = serde_json::from_str(shown).expect("it is JSON");
        value.to_string()
    }

    proptest! {
        #[test]
        fn what_is_taken_for_a_manifest_survives_being_written_and_read(text in changed(example())) {
            if let Ok(manifest) = serde_json::from_str::<Manifest>(&text) {
                let written = serde_json::to_string(&manifest).expect("serialises");
                prop_assert_eq!(serde_json::from_str::<Manifest>(&written).expect("reads back"), manifest);
            }
        }
    }
}
