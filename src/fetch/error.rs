//! What keeps a crash from being found or fetched, in the words of the person who asked for it.

use std::io;

use crate::model::{CrashKey, IdPrefix, ObjectKey, SCHEMA};
use crate::store;

/// Result of finding or fetching.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something was not found or not fetched. Each names the key or id, and what to do about it where that is not plain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not give what was asked of it. Its own words name operation, key and remedy.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// No crash has such an id.
    #[error("no crash has an id that begins with {prefix:?} in {store}; `salvage ls --limit 0` shows every id there is", prefix = .prefix.as_str())]
    NotFound {
        /// What was asked for.
        prefix: IdPrefix,
        /// Where it was looked for.
        store: String,
    },
    /// Several crashes have such an id.
    #[error("{prefix:?} begins more than one id; give more of it: {}", candidates(.found, *.more), prefix = .prefix.as_str())]
    Ambiguous {
        /// What was asked for.
        prefix: IdPrefix,
        /// Some of those that fit, newest first.
        found: Vec<CrashKey>,
        /// Whether there are others.
        more: bool,
    },
    /// A manifest longer than any that salvage writes.
    #[error("{key} is longer than {max} bytes, so it is no manifest of salvage")]
    ManifestTooLarge {
        /// The manifest.
        key: ObjectKey,
        /// Longest manifest that is read.
        max: u64,
    },
    /// A manifest that cannot be read.
    #[error("{key} is not a manifest that this version of salvage can read")]
    ManifestUnreadable {
        /// The manifest.
        key: ObjectKey,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest of a later salvage, with something in it that this one does not know.
    #[error(
        "{key} has schema {schema}, this salvage reads up to schema {SCHEMA}; install a newer salvage, or see it as it is with `salvage show -o json`"
    )]
    ManifestNewer {
        /// The manifest.
        key: ObjectKey,
        /// The schema it is written in.
        schema: u32,
        /// What could not be read.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest of another crash.
    #[error("{key} holds the manifest of another crash, {says}: somebody wrote it there")]
    ManifestElsewhere {
        /// The manifest.
        key: ObjectKey,
        /// The crash it speaks of.
        says: String,
    },
    /// An artifact outside its crash's own place.
    #[error(
        "the manifest of {crash} names {artifact}, which does not belong to that crash: somebody wrote it there"
    )]
    ArtifactElsewhere {
        /// Where the crash's artifacts are.
        crash: String,
        /// What the manifest names.
        artifact: ObjectKey,
    },
    /// An artifact that is gone.
    #[error(
        "{key} has expired: the store does not hold it any more (a lifecycle rule of the bucket, or somebody, deleted it)"
    )]
    Gone {
        /// The artifact's object.
        key: ObjectKey,
    },
    /// An object without a seek table.
    #[error(
        "{key} does not end in a seek table, so salvage did not write it or it is cut; if it is zstd all the same, download it with the store's own tool and decode it with `zstd -d`"
    )]
    NoSeekTable {
        /// The object.
        key: ObjectKey,
    },
    /// A seek table that contradicts itself, the object or the manifest.
    #[error("the seek table of {key} is wrong: {problem}")]
    SeekTable {
        /// The object.
        key: ObjectKey,
        /// The contradiction.
        problem: String,
    },
    /// An object of another length.
    #[error(
        "{key} is {found} than the {expected} bytes its manifest gives: it was changed or cut after it was stored"
    )]
    Length {
        /// The object.
        key: ObjectKey,
        /// Bytes it should have.
        expected: u64,
        /// `shorter` or `longer`.
        found: &'static str,
    },
    /// The manifest contradicts itself.
    #[error("the manifest's account of {key} contradicts itself: {problem}")]
    Account {
        /// The artifact's key.
        key: ObjectKey,
        /// The contradiction.
        problem: String,
    },
    /// A frame that does not decode.
    #[error("{key} is damaged: frame {number} does not decode")]
    Frame {
        /// The object.
        key: ObjectKey,
        /// The frame, from 0.
        number: usize,
        /// What zstd says.
        #[source]
        source: io::Error,
    },
    /// A digest that differs.
    #[error(
        "{key} does not have the digest its manifest gives ({what}: expected {expected}, found {found}): it was changed after it was stored"
    )]
    Digest {
        /// The artifact's key.
        key: ObjectKey,
        /// The manifest's name for the digest.
        what: &'static str,
        /// As the manifest says.
        expected: String,
        /// As it is.
        found: String,
    },
    /// What was fetched could not be kept.
    #[error("writing what was fetched of {key}")]
    Sink {
        /// The artifact's key.
        key: ObjectKey,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process is ending.
    #[error("interrupted")]
    Interrupted,
}

fn candidates(found: &[CrashKey], more: bool) -> String {
    let mut text: Vec<String> = found
        .iter()
        .map(|key| {
            format!(
                "{} ({}/{} {})",
                key.id(),
                key.namespace(),
                key.pod(),
                key.time()
            )
        })
        .collect();
    if more {
        text.push("...".to_owned());
    }
    text.join(", ")
}
