//! A `file://` store filled by hand, as the formats' descriptions say and without the code that writes one.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::stored::{sha256_hex, stored};

/// Bytes of a file in one frame.
pub(crate) const FRAME: usize = 64 << 10;

/// A store in a temporary directory.
pub(crate) struct Bucket {
    directory: TempDir,
}

/// A crash to store.
pub(crate) struct Crash {
    pub(crate) time: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) pod: &'static str,
    pub(crate) container: &'static str,
    pub(crate) reason: &'static str,
    /// What the id ends in.
    pub(crate) random: u128,
    pub(crate) artifacts: Vec<File>,
    /// Fields to set in the manifest.
    pub(crate) fields: Value,
}

/// A file of a crash.
pub(crate) struct File {
    pub(crate) role: &'static str,
    pub(crate) format: &'static str,
    pub(crate) extension: &'static str,
    pub(crate) raw: Vec<u8>,
    /// Fields to set in its entry.
    pub(crate) fields: Value,
}

impl Default for Crash {
    fn default() -> Self {
        Self {
            time: "2026-11-21T10:00:00.500Z",
            namespace: "shop",
            pod: "cart-0",
            container: "app",
            reason: "SIGSEGV",
            random: 7,
            artifacts: Vec::new(),
            fields: json!({}),
        }
    }
}

/// A core with these bytes.
pub(crate) fn core(raw: Vec<u8>) -> File {
    File {
        role: "dump",
        format: "elf-core",
        extension: "core",
        raw,
        fields: json!({}),
    }
}

/// Where a crash is.
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) key: String,
    /// Keys of the artifacts.
    pub(crate) artifacts: Vec<String>,
}

impl Bucket {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory }
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.directory.path().display())
    }

    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.directory.path().join(key)
    }

    pub(crate) fn put(&self, key: &str, bytes: &[u8]) {
        let path = self.path(key);
        let parent = path.parent().expect("below the root");
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(parent).expect("made");
        fs::write(path, bytes).expect("written");
    }

    pub(crate) fn store(&self, crash: Crash) -> Stored {
        let time: Timestamp = crash.time.parse().expect("a time");
        let id = ulid(time, crash.random);
        let place = format!(
            "cluster=prod/namespace={}/date={}",
            crash.namespace,
            time.strftime("%Y-%m-%d")
        );
        let mut entries = Vec::new();
        let mut keys = Vec::new();
        let mut stored_bytes = 0;
        for (number, file) in crash.artifacts.iter().enumerate() {
            let key = format!(
                "artifacts/{place}/{id}/{}-{number}.{}.zst",
                file.role, file.extension
            );
            let object = stored(&file.raw, FRAME);
            stored_bytes += object.len();
            self.put(&key, &object);
            let mut entry = json!({
                "role": file.role, "key": key, "format": file.format, "bytes": file.raw.len(), "stored_bytes": object.len(),
                "sha256": sha256_hex(&file.raw), "stored_sha256": sha256_hex(&object), "encoding": "zstd-seekable", "frame_bytes": FRAME,
            });
            set(&mut entry, &file.fields);
            entries.push(entry);
            keys.push(key);
        }
        let mut manifest = json!({
            "schema": 1, "id": id, "revision": 1, "kind": "crash", "cluster": "prod", "node": "node-1", "time": crash.time,
            "time_source": "dump_written", "reason": crash.reason, "artifacts": entries,
        });
        set(&mut manifest, &crash.fields);
        let key = format!(
            "crashes/{place}/{}_{}_{}_{}_{stored_bytes}_{id}.json",
            time.strftime("%Y%m%dT%H%M%SZ"),
            crash.pod,
            crash.container,
            crash.reason
        );
        self.put(&key, manifest.to_string().as_bytes());
        Stored {
            id,
            key,
            artifacts: keys,
        }
    }
}

fn set(object: &mut Value, fields: &Value) {
    for (name, value) in fields.as_object().expect("fields") {
        object[name] = value.clone();
    }
}

/// `ulid/spec`: 48 bits of milliseconds, 80 random bits, in Crockford's base 32.
fn ulid(time: Timestamp, random: u128) -> String {
    let value = ((time.as_millisecond() as u128) << 80) | random;
    let digit =
        |place: u32| b"0123456789abcdefghjkmnpqrstvwxyz"[(value >> (5 * place)) as usize & 31];
    (0..26)
        .rev()
        .map(|place| char::from(digit(place)))
        .collect()
}
