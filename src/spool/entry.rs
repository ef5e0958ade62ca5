//! One crash that the agent holds: what is known of it and how far it has come.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::raw::RawName;
use crate::model::{
    ArtifactName, Attribution, Container, CrashId, Facts, FileId, Manifest, Mark, Names, Pod,
    Reason, TimeSource, Upload,
};

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
    /// Where the dump came from.
    pub origin: Origin,
    /// How far it has come.
    pub phase: Phase,
    /// Attempts since the phase was reached.
    #[serde(default)]
    pub attempts: u32,
    /// No attempt before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

/// Where a dump came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Path of the source.
    pub source: RawName,
    /// The dump's name there.
    pub name: RawName,
    /// What the source's levels say.
    pub names: Names,
    /// The dump's owner.
    pub uid: u32,
    /// Its bytes that are not holes; what the quota counts.
    pub data_bytes: u64,
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
    /// What it is and where it goes is decided; its artifact is on the way.
    Shipping {
        /// The dump.
        file: FileId,
        /// Where it is.
        place: Place,
        /// What was decided.
        choice: Box<Choice>,
        /// The multipart upload that was begun last, to be given up if it is not completed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upload: Option<Upload>,
    },
    /// The artifact is stored and verified; this manifest is to be.
    Announcing {
        /// The dump.
        file: FileId,
        /// Where it is.
        place: Place,
        /// The manifest.
        manifest: Box<Manifest>,
    },
    /// All is stored and verified; the dump is to be removed.
    Stored {
        /// The dump.
        file: FileId,
        /// Where it is.
        place: Place,
    },
}

/// What is decided once about a crash and never again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// What the dump says.
    pub facts: Facts,
    /// Its length, holes included.
    pub bytes: u64,
    /// Why it crashed.
    pub reason: Reason,
    /// The pod.
    pub pod: Pod,
    /// The container.
    pub container: Container,
    /// How they were found.
    pub attribution: Attribution,
    /// What the artifact is called.
    pub artifact: ArtifactName,
}

impl Origin {
    /// Adds a mark, once.
    pub fn mark(&mut self, mark: Mark) {
        if !self.marks.contains(&mark) {
            self.marks.push(mark);
        }
    }
}

impl Phase {
    /// The dump and where it is, or is about to be.
    pub fn dump(&self) -> (FileId, Place) {
        match self {
            Self::Claiming { file, place }
            | Self::Held { file, place }
            | Self::Shipping { file, place, .. }
            | Self::Announcing { file, place, .. }
            | Self::Stored { file, place } => (*file, place.clone()),
            Self::Copied { file, .. } => (*file, Place::Spool),
        }
    }

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
            Self::Shipping { .. } => "shipping",
            Self::Announcing { .. } => "announcing",
            Self::Stored { .. } => "stored",
        }
    }
}
