//! The words the parts share: ids, keys, names, the manifest, and what a dump says about itself.
//!
//! Owns meaning, not behaviour: nothing here touches a disk, a network or a clock, and nothing here imports another module of ours.
//! Every type that enters a key, a state file or a manifest checks itself in its constructor, and serde goes through that
//! constructor, so a hostile file cannot skip the check.

mod capture;
#[cfg(test)]
pub(crate) mod changes;
mod death;
mod digest;
mod escape;
mod facts;
mod file_id;
mod format;
mod id;
mod key;
mod layout;
mod manifest;
mod pod;
mod reason;
mod step;
pub(crate) mod text;
mod units;
mod upload;

pub use capture::{CaptureKind, DumpType, InvalidCapture};
pub use death::{Death, LastLines, Start};
pub use digest::Sha256;
pub use escape::{Escaped, escaped};
pub use facts::{Completeness, Facts};
pub use file_id::FileId;
pub use format::Format;
pub use id::{CrashId, IdPrefix, InvalidId};
pub use key::{
    ArtifactName, CrashKey, CrashKeyParts, InvalidKey, ObjectKey, Role, artifact_key,
    artifact_number, crash_key_of, probe_key,
};
pub use layout::{InvalidLayout, Layout, Names, Placeholder};
pub use manifest::{
    Agent, Artifact, Attribution, Confidence, Container, Encoding, Evidence, Exception, HeapType,
    Host, Kind, Label, Manifest, Mark, MemoryUse, Missing, Module, Occasion, Pod, Process, Rollup,
    Runtime, SCHEMA, SignalInfo, Taken, TimeSource, Timings, Trigger, Volume,
};
pub use pod::{
    ContainerKind, ContainerStatus, KnownContainer, KnownPod, Liveness, MemoryCapture, Mount,
    NodeVolume, Owner, Stopping, SubPath, Terminated, VolumeAt,
};
pub use reason::{InvalidReason, Reason, signal_name};
pub use step::Step;
pub use units::{ByteSize, InvalidUnit, Span};
pub use upload::Upload;
