//! Whether an artifact is still in the store: dumps are kept for a shorter time than the manifests that name them.

use super::error::Result;
use crate::model::Artifact;
use crate::store::{ListQuery, Store};

/// What the store holds of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Every object of it, each as long as the manifest says.
    Here,
    /// Not all of it any more.
    Expired,
    /// An object of another length.
    Changed,
}

/// Looks for the objects of an artifact by LIST, which needs no right to read dumps.
pub async fn presence(store: &dyn Store, artifact: &Artifact) -> Result<Presence> {
    let whole = [(&artifact.key, artifact.stored_bytes)];
    let volumes = artifact.volumes.iter().map(|v| (&v.key, v.stored_bytes));
    let objects: Vec<_> = match artifact.volumes.is_empty() {
        true => whole.into_iter().collect(),
        false => volumes.collect(),
    };
    for (key, stored_bytes) in objects {
        // The key itself comes first among the names that begin with it.
        let query = ListQuery {
            prefix: key.as_str().to_owned(),
            ..ListQuery::default()
        };
        let page = store.list(&query).await?;
        match page.objects.iter().find(|object| object.key == *key) {
            None => return Ok(Presence::Expired),
            Some(object) if object.bytes != stored_bytes => return Ok(Presence::Changed),
            Some(_) => {}
        }
    }
    Ok(Presence::Here)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::memory::MemoryStore;

    fn artifact(volumes: serde_json::Value) -> Artifact {
        let artifact = serde_json::json!({
            "role": "dump", "key": "artifacts/a", "format": "elf-core", "bytes": 9, "stored_bytes": 5,
            "encoding": "zstd-seekable", "volumes": volumes,
        });
        serde_json::from_value(artifact).expect("an artifact")
    }

    #[tokio::test]
    async fn an_artifact_is_here_when_each_object_is_and_has_its_length() {
        let volume = |key: &str| serde_json::json!({"key": key, "bytes": 4, "stored_bytes": 2});
        let one = artifact(serde_json::json!([]));
        let two = artifact(serde_json::json!([
            volume("artifacts/b"),
            volume("artifacts/c")
        ]));
        for (objects, of_one, of_two) in [
            (&[][..], Presence::Expired, Presence::Expired),
            (
                &[("artifacts/a", "12345"), ("artifacts/b", "12")],
                Presence::Here,
                Presence::Expired,
            ),
            (
                &[
                    ("artifacts/a.age", "12345"),
                    ("artifacts/b", "12"),
                    ("artifacts/c", "12"),
                ],
                Presence::Expired,
                Presence::Here,
            ),
            (
                &[
                    ("artifacts/a", "1"),
                    ("artifacts/b", "12"),
                    ("artifacts/c", "1"),
                ],
                Presence::Changed,
                Presence::Changed,
            ),
        ] {
            let store = MemoryStore::default();
            for (key, bytes) in objects {
                store.insert(key, bytes.as_bytes());
            }
            assert_eq!(presence(&store, &one).await.expect("lists"), of_one);
            assert_eq!(presence(&store, &two).await.expect("lists"), of_two);
            assert_eq!(store.gets(), 0);
        }
    }
}
