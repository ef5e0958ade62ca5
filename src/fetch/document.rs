//! Reading a crash's manifest.
//!
//! A manifest may come from a later salvage, or from anyone who may write to the bucket: it is bounded, must speak of the crash whose
//! key it stands under, and is kept as it was written, so that people can see what this version does not know.

use serde::Deserialize;

use super::error::{Error, Result};
use crate::model::{CrashId, CrashKey, Manifest, SCHEMA};
use crate::store::{Problem, Store};

/// Longest manifest that is read. Those of salvage are a few KiB; modules and stacks make the longest.
const MANIFEST_MAX: u64 = 4 << 20;

/// A manifest as it is stored.
#[derive(Clone, Debug)]
pub struct Document {
    key: CrashKey,
    text: String,
    schema: u32,
}

/// What every schema has.
#[derive(Deserialize)]
struct Head {
    schema: u32,
    id: CrashId,
}

/// Reads the manifest of a crash.
pub async fn document(store: &dyn Store, key: &CrashKey) -> Result<Document> {
    let object = key.to_object_key();
    // One byte more than allowed tells a manifest that is too long from one that just fits.
    let bytes = match store.get(&object, 0..MANIFEST_MAX + 1).await {
        Ok(bytes) => bytes,
        Err(error) if *error.problem() == Problem::NotFound => {
            return Err(Error::Gone { key: object });
        }
        Err(error) => return Err(error.into()),
    };
    if bytes.len() as u64 > MANIFEST_MAX {
        return Err(Error::ManifestTooLarge {
            key: object,
            max: MANIFEST_MAX,
        });
    }
    let unreadable = |source| Error::ManifestUnreadable {
        key: object.clone(),
        source,
    };
    let head: Head = serde_json::from_slice(&bytes).map_err(unreadable)?;
    let text = String::from_utf8(bytes.into())
        .map_err(|error| unreadable(serde::de::Error::custom(error)))?;
    if head.id != key.id() {
        return Err(Error::ManifestElsewhere {
            key: object,
            says: head.id.to_string(),
        });
    }
    Ok(Document {
        key: key.clone(),
        text,
        schema: head.schema,
    })
}

impl Document {
    /// The crash.
    pub fn key(&self) -> &CrashKey {
        &self.key
    }

    /// The manifest as it is stored.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The schema it is written in, if this version knows only earlier ones.
    pub fn newer_schema(&self) -> Option<u32> {
        (self.schema > SCHEMA).then_some(self.schema)
    }

    /// What this version can read of it. Fields it does not know are skipped.
    pub fn manifest(&self) -> Result<Manifest> {
        serde_json::from_str(&self.text).map_err(|source| match self.newer_schema() {
            Some(schema) => Error::ManifestNewer {
                key: self.key.to_object_key(),
                schema,
                source,
            },
            None => Error::ManifestUnreadable {
                key: self.key.to_object_key(),
                source,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::memory::MemoryStore;
    use crate::model::changes::changed;
    use crate::model::{CrashKeyParts, Reason, crash_key_of};
    use proptest::prelude::*;

    const ID: &str = "01kajmnp0vzzzzzzzzzzzzzzzz";

    fn key() -> CrashKey {
        crash_key_of(CrashKeyParts {
            cluster: "c",
            namespace: None,
            pod: None,
            container: None,
            reason: Reason::Unknown,
            stored_bytes: 0,
            id: ID.parse().expect("id"),
        })
    }

    async fn read(text: &str) -> Result<Document> {
        let store = MemoryStore::default();
        store.insert(&key().to_string(), text.as_bytes());
        document(&store, &key()).await
    }

    fn manifest(schema: u32, id: &str, more: &str) -> String {
        format!(
            r#"{{"schema":{schema},"id":"{id}","revision":1,"kind":"crash","cluster":"c","node":"n","time":"2026-11-21T10:00:00Z","time_source":"dump_written","reason":"SIGSEGV"{more}}}"#
        )
    }

    #[tokio::test]
    async fn a_manifest_is_read_and_kept_as_it_is() {
        let text = manifest(1, ID, r#","later":{"field":1}"#);
        let document = read(&text).await.expect("readable");
        assert_eq!(document.text(), text);
        assert_eq!(document.newer_schema(), None);
        assert_eq!(document.manifest().expect("readable").node, "n");
    }

    #[tokio::test]
    async fn of_a_later_schema_what_is_known_is_read() {
        let document = read(&manifest(2, ID, "")).await.expect("readable");
        assert_eq!(document.newer_schema(), Some(2));
        document.manifest().expect("nothing unknown in it");

        let text = manifest(2, ID, "").replace("dump_written", "told_by_an_oracle");
        let document = read(&text).await.expect("readable as text");
        let error = document.manifest().expect_err("not to be understood");
        assert!(matches!(error, Error::ManifestNewer { schema: 2, .. }));
        assert!(error.to_string().contains("newer salvage"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_manifest_of_this_crash_is_refused_by_name() {
        let other = ID.replace("0v", "0w");
        for (text, wanted) in [
            (manifest(1, &other, ""), "another crash"),
            ("not json".to_owned(), "not a manifest"),
            ("{}".to_owned(), "not a manifest"),
            ("[".repeat(100_000), "not a manifest"),
            (manifest(1, ID, &" ".repeat(4 << 20)), "longer than"),
        ] {
            let error = read(&text).await.expect_err(wanted).to_string();
            assert!(
                error.contains(wanted) && error.contains("crashes/cluster=c"),
                "{error}"
            );
        }
        let error = document(&MemoryStore::default(), &key()).await;
        assert!(matches!(error, Err(Error::Gone { .. })));
    }

    proptest! {
        #[test]
        fn a_manifest_changed_anywhere_is_refused_or_is_of_this_crash(text in changed(manifest(1, ID, r#","later":{"field":1}"#))) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            if let Ok(document) = runtime.block_on(read(&text)) {
                prop_assert_eq!(document.text(), text);
                if let Ok(manifest) = document.manifest() {
                    prop_assert_eq!(manifest.id, key().id());
                }
            }
        }
    }
}
