//! One crash that the agent holds: what is known of it and how far it has come.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::raw::RawName;
use super::told::Told;
use crate::decide::{Dumped, Kin, Written};
use crate::model::{
    Artifact, ArtifactName, Attribution, Container, CrashId, Death, Facts, FileId, Format,
    Manifest, Mark, Missing, Names, ObjectKey, Pod, Reason, Role, SignalInfo, Taken, TimeSource,
    Upload, Volume,
};
use crate::sys::{RunningSha256, Sha256State};

/// Version of the state file's form.
pub(super) const VERSION: u32 = 1;

/// An entry, as its state file holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub(super) version: u32,
    /// The crash.
    pub id: CrashId,
    /// When it crashed, fixed when the entry was made.
    pub time: Timestamp,
    /// What `time` was taken from.
    pub time_source: TimeSource,
    /// Where the dump came from; absent for the end of a container that left none so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The container's end, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub death: Option<Box<Death>>,
    /// What is stored of the crash already, where this is about what was learnt later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Box<Told>>,
    /// How it was taken, where it is of a living process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Box<Captured>>,
    /// How far it has come.
    pub phase: Phase,
    /// Attempts since the phase was reached.
    #[serde(default)]
    pub attempts: u32,
    /// No attempt before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

/// What is known of a capture from the start: nothing of it has to be found out by evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// How it was taken.
    pub taken: Taken,
    /// The pod that was asked for.
    pub pod: Pod,
    /// The container whose process it is of.
    pub container: Container,
    /// How the process was found.
    pub attribution: Attribution,
}

/// Where a dump came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Path of the source.
    pub source: RawName,
    /// The levels from there to the dump's directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<RawName>,
    /// The dump's name there.
    pub name: RawName,
    /// What the source's levels say.
    pub names: Names,
    /// The dump's owner.
    pub uid: u32,
    /// Its bytes that are not holes.
    pub data_bytes: u64,
    /// When its writing began, as far as the file system tells.
    pub began: Timestamp,
    /// When it was last written.
    pub ended: Timestamp,
    /// When it was first seen.
    pub seen: Timestamp,
    /// When it was found settled.
    pub settled: Timestamp,
    /// What a reader should know.
    pub marks: Vec<Mark>,
}

/// Where a held dump is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In the state directory.
    Spool,
    /// In the holding directory of the source with this path.
    Holding(RawName),
    /// Still in the directory it was written to, under a name of ours: to be copied from there.
    Source(SourceDir),
}

/// A directory of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceDir {
    /// Path of the source.
    pub root: RawName,
    /// The levels from there.
    pub levels: Vec<RawName>,
}

/// How far an entry has come. Each step makes its result durable before the next phase is written, so whatever stops the agent, the phase names
/// a step that can be done again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The dump is about to be renamed to `place`; whether it was is seen there.
    Claiming {
        /// The dump.
        file: FileId,
        /// Where it goes.
        place: Place,
    },
    /// The dump is ours.
    Held {
        /// The dump.
        file: FileId,
        /// Where it is.
        place: Place,
    },
    /// The spool has a durable copy; the original under our name is to be removed.
    Copied {
        /// The copy.
        file: FileId,
        /// The original.
        original: FileId,
        /// Where that is.
        at: SourceDir,
    },
    /// What it is is known; what else the crash left may still come, or is here already.
    Waiting {
        /// The files of the crash, the entry's own first.
        pieces: Vec<Piece>,
    },
    /// What it is and where it goes is decided; its artifacts are on the way, one after the other.
    Shipping {
        /// The files of the crash, in the order of its artifacts.
        pieces: Vec<Piece>,
        /// What was decided.
        choice: Box<Choice>,
        /// How far that has come.
        progress: Box<Progress>,
    },
    /// The artifacts are stored and verified; this manifest is to be.
    Announcing {
        /// The files of the crash.
        files: Vec<Kept>,
        /// The manifest.
        manifest: Box<Manifest>,
        /// Where it goes.
        key: ObjectKey,
        /// What the crash's dump says that may be asked for later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dump: Option<Box<DumpSays>>,
    },
    /// All is stored and verified; the files are to be removed.
    Stored {
        /// The files of the crash.
        files: Vec<Kept>,
        /// What is remembered of it, if that is to be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        told: Option<Box<Told>>,
    },
}

/// A file that the agent holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The id it was claimed under, which is its name where it is held.
    pub id: CrashId,
    /// The file.
    pub file: FileId,
    /// Where it is.
    pub place: Place,
    /// Its bytes that are not holes; what the quota counts.
    pub data_bytes: u64,
}

/// A file of a crash that was looked into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The file.
    pub kept: Kept,
    /// Where it came from.
    pub origin: Origin,
    /// What it says.
    pub facts: Facts,
    /// Its length, holes included.
    pub bytes: u64,
}

/// What a dump says about the process that left it, and where it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpSays {
    /// Where it came from.
    pub origin: Origin,
    /// The host name in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// The process, as it saw itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<u8>,
}

impl Choice {
    /// Names further artifacts by their role, with the numbers that follow those that are stored or named.
    pub fn name_artifacts(&mut self, formats: impl IntoIterator<Item = Format>) {
        for format in formats {
            let role = format.role();
            let named = self.artifacts.iter().map(|name| (name.role, name.number));
            let numbers = named.chain(self.stored.iter().copied());
            let last = numbers
                .filter(|(of, _)| *of == role)
                .map(|(_, number)| number)
                .max();
            self.artifacts.push(ArtifactName {
                role,
                number: last.map_or(0, |last| last.saturating_add(1)),
                format,
                volume: None,
            });
        }
    }

    /// What a container's end says besides; where the crash goes and its reason stay as they are.
    pub fn learn_of(&mut self, death: &Death) {
        self.container = death.container.clone();
        let evidence = death.evidence();
        if !self.attribution.evidence.contains(&evidence) {
            self.attribution.evidence.push(evidence);
        }
    }
}

impl DumpSays {
    /// Of these files of one crash, the best dump first; nothing where none of them is a dump.
    pub fn of(pieces: &[Piece]) -> Option<Self> {
        let first = pieces.iter().find(|piece| !piece.is_log())?;
        let process = |piece: &Piece| piece.facts.process.as_ref().and_then(|process| process.pid);
        Some(Self {
            origin: first.origin.clone(),
            host_name: pieces
                .iter()
                .find_map(|piece| piece.facts.host_name.clone()),
            pid: pieces.iter().find_map(process),
            signal: pieces
                .iter()
                .find_map(|piece| piece.facts.signal.as_ref().map(|signal| signal.number)),
        })
    }

    /// What meets its death, with what it was attributed to.
    pub fn dumped(&self, pod: &Pod, container: &Container) -> Option<Dumped> {
        Some(Dumped {
            uid: pod.uid.clone()?,
            container: container.name.clone()?,
            ended: self.origin.ended,
            pid: self.pid,
            signal: self.signal,
        })
    }
}

/// What is decided once about a crash and never again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The namespace that it is stored under: that of its pod, another word where none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Why it crashed.
    pub reason: Reason,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalInfo>,
    /// The pod.
    pub pod: Pod,
    /// The container.
    pub container: Container,
    /// How they were found.
    pub attribution: Attribution,
    /// What the artifacts are called, one for each file.
    pub artifacts: Vec<ArtifactName>,
    /// What is not there: was never written, or was held and is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// Roles and numbers of the artifacts that are stored already, where this is a revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stored: Vec<(Role, u32)>,
}

/// How far the artifacts of a crash have come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Those that are stored and verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<Artifact>,
    /// The objects of the one under way that are stored and verified, where it needs several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Where its next object begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Sent>,
    /// The multipart upload under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Uploading>,
}

/// A multipart upload, as far as the state knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uploading {
    /// One may have been begun for this key, and its token was never learnt.
    Beginning(ObjectKey),
    /// It was begun; its parts are in the journal.
    Begun(Upload),
}

/// How far a file is read, between two frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Bytes before it.
    pub at: u64,
    /// Those in frames that are not all zeros.
    pub data_bytes: u64,
    /// The digest of the bytes before it, or of their frames' digests.
    pub digest: Sha256State,
}

/// How far a file is read and stored, between two frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// How far it is read.
    pub read: Position,
    /// The digest of all that was stored for it.
    pub stored: Sha256State,
}

impl Sent {
    /// Nothing yet.
    pub fn nothing() -> Self {
        let empty = RunningSha256::new().state();
        Self {
            read: Position {
                at: 0,
                data_bytes: 0,
                digest: empty.clone(),
            },
            stored: empty,
        }
    }
}

impl Entry {
    /// The files that the entry stands for, its own first while none was joined to it.
    pub fn files(&self) -> Vec<Kept> {
        let data_bytes = self.origin.as_ref().map_or(0, |origin| origin.data_bytes);
        let own = |file: FileId, place: Place| {
            vec![Kept {
                id: self.id,
                file,
                place,
                data_bytes,
            }]
        };
        match &self.phase {
            Phase::Claiming { file, place } | Phase::Held { file, place } => {
                own(*file, place.clone())
            }
            Phase::Copied { file, .. } => own(*file, Place::Spool),
            Phase::Waiting { pieces } | Phase::Shipping { pieces, .. } => {
                pieces.iter().map(|piece| piece.kept.clone()).collect()
            }
            Phase::Announcing { files, .. } | Phase::Stored { files, .. } => files.clone(),
        }
    }

    /// What its dump was attributed to, where that is decided.
    pub(super) fn dumped(&self) -> Option<Dumped> {
        if self.capture.is_some() {
            return None;
        }
        let of = |manifest: &Manifest, dump: Option<&DumpSays>| {
            let (pod, container) = (manifest.pod.as_ref()?, manifest.container.as_ref()?);
            dump?.dumped(pod, container)
        };
        match &self.phase {
            Phase::Shipping { pieces, choice, .. } => {
                DumpSays::of(pieces)?.dumped(&choice.pod, &choice.container)
            }
            Phase::Announcing { manifest, dump, .. } => of(manifest, dump.as_deref()),
            Phase::Stored {
                told: Some(told), ..
            } => of(&told.manifest, told.dump.as_ref()),
            _ => None,
        }
    }

    /// Whether its manifest is not made, so that a death can still be taken in.
    pub(super) fn is_open(&self) -> bool {
        self.capture.is_none()
            && matches!(self.phase, Phase::Waiting { .. } | Phase::Shipping { .. })
    }

    /// Whether nothing but the container's end is known of the crash.
    pub fn is_death_alone(&self) -> bool {
        self.origin.is_none() && self.told.is_none()
    }

    /// Whether its dump still lies where others may take it away.
    pub fn work(&self) -> Work {
        match &self.phase {
            Phase::Claiming {
                place: Place::Source(_),
                ..
            }
            | Phase::Held {
                place: Place::Source(_),
                ..
            }
            | Phase::Copied { .. } => Work::Copy,
            _ => Work::Ship,
        }
    }
}

/// What is to be done for an entry next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Its dump is to be copied out of a directory that may vanish with its pod: nothing that waits for a store may keep this waiting.
    Copy,
    /// Everything else.
    Ship,
}

impl Piece {
    /// What tells whether another file is of the same crash.
    pub(super) fn kin(&self) -> Kin {
        let name = self.origin.name.as_os_str();
        Kin::new(name, self.origin.written(), &self.facts)
    }

    /// Whether it is the log of the container.
    pub fn is_log(&self) -> bool {
        self.facts.format == Format::ContainerLog
    }
}

impl Origin {
    /// When it was written.
    pub(super) fn written(&self) -> Written {
        Written {
            began: self.began,
            ended: self.ended,
        }
    }

    /// A number that stands for the directory it came from.
    pub(super) fn directory(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.source, &self.levels).hash(&mut hasher);
        hasher.finish()
    }

    /// Adds a mark, once.
    pub fn mark(&mut self, mark: Mark) {
        if !self.marks.contains(&mark) {
            self.marks.push(mark);
        }
    }
}

impl Phase {
    /// The file that the dump was copied from, while it may still be there: a scan must not take it for a new dump.
    pub(super) fn original(&self) -> Option<FileId> {
        match self {
            Self::Copied { original, .. } => Some(*original),
            _ => None,
        }
    }

    /// The name in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Claiming { .. } => "claiming",
            Self::Held { .. } => "held",
            Self::Copied { .. } => "copied",
            Self::Waiting { .. } => "waiting",
            Self::Shipping { .. } => "shipping",
            Self::Announcing { .. } => "announcing",
            Self::Stored { .. } => "stored",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::changes::changed;
    use proptest::prelude::*;
    use serde_json::json;

    /// A state file with most of what one may hold: a dump under way, with a part of it sent.
    fn state_file() -> String {
        let id = "01m7xww73z8tgy3eqr24zwfz0y";
        let origin = json!({
            "source": {"text": "/var/dumps"}, "levels": [{"hex": "ff"}], "name": {"text": "core.1"}, "uid": 12345, "data_bytes": 83_886_080,
            "names": {"namespace": "shop"}, "began": "2026-11-21T01:52:31.101Z", "ended": "2026-11-21T01:52:31.359Z",
            "seen": "2026-11-21T01:52:31.402Z", "settled": "2026-11-21T01:52:31.979Z", "marks": ["writer_open"]
        });
        let kept = json!({"id": id, "file": {"dev": 1, "ino": 2, "born": 3}, "place": "spool", "data_bytes": 83_886_080});
        let piece = json!({
            "kept": kept, "origin": origin, "bytes": 94_371_840,
            "facts": {"format": "elf-core", "completeness": {"truncated": {"expected": 104_857_600}}}
        });
        let choice = json!({
            "reason": "SIGSEGV", "pod": {}, "container": {}, "attribution": {"confidence": "unknown"},
            "artifacts": [{"role": "dump", "number": 0, "format": "elf-core"}]
        });
        let upload =
            json!({"begun": {"key": "artifacts/x", "token": "t", "part_bytes": 8_388_608}});
        json!({
            "version": VERSION, "id": id, "time": "2026-11-21T01:52:31.359Z", "time_source": "dump_written", "origin": origin,
            "phase": {"shipping": {"pieces": [piece], "choice": choice, "progress": {"next": Sent::nothing(), "upload": upload}}},
            "attempts": 1, "not_before": "2026-11-21T01:53:00Z"
        })
        .to_string()
    }

    #[test]
    fn an_entry_survives_a_state_file() {
        let entry: Entry = serde_json::from_str(&state_file()).expect("readable");
        let written = serde_json::to_string(&entry).expect("serialises");
        assert_eq!(
            serde_json::from_str::<Entry>(&written).expect("reads back"),
            entry
        );
    }

    proptest! {
        #[test]
        fn what_is_taken_for_an_entry_survives_and_can_be_gone_on_with(text in changed(state_file())) {
            let Ok(entry) = serde_json::from_str::<Entry>(&text) else {
                return Ok(());
            };
            let written = serde_json::to_string(&entry).expect("serialises");
            prop_assert_eq!(&serde_json::from_str::<Entry>(&written).expect("reads back"), &entry);
            entry.files();
            if let Phase::Shipping { progress, .. } = entry.phase && let Some(sent) = progress.next {
                let mut digest = RunningSha256::resume(&sent.stored);
                prop_assert_eq!(digest.state(), sent.stored);
                digest.update(&[0; 100]);
                digest.finish_hex();
            }
        }
    }
}
