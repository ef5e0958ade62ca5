//! Whether an artifact is still in the store: dumps are kept for a shorter time than the manifests that name them.

use super::error::Result;
use super::patience;
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
        let page = patience::list(store, &query).await?;
        match page.objects.iter().find(|object| object.key == *key) {
            None => return Ok(Presence::Expired),
            Some(object) if object.bytes != stored_bytes => return Ok(Presence::Changed),
            Some(_) => {}
        }
    }
    Ok(Presence::Here)
}
