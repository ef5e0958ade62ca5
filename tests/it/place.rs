//! A store for tests that care for what comes of the dumps and not for what the store is: the one in this process, or a real Garage.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::s3::node_for;
use crate::support::agent::{Node, has_no_files};
use crate::support::s3::S3Server;

/// A store with a prefix of its own.
pub(crate) enum Place {
    /// In memory, with faults where they are asked for.
    Memory(S3Server),
    /// The server that `tests/garage` runs.
    Garage(crate::garage::Place),
}

impl Place {
    pub(crate) fn memory() -> Self {
        Self::Memory(S3Server::start())
    }

    pub(crate) fn garage() -> Result<Self> {
        Ok(Self::Garage(crate::garage::Place::new()?))
    }

    /// A node whose agent ships there.
    pub(crate) fn node(&self) -> Result<Node> {
        match self {
            Self::Memory(server) => node_for(server),
            Self::Garage(place) => place.node(&place.garage.endpoint),
        }
    }

    /// Keys of the multipart uploads that are open.
    fn open_uploads(&self) -> Result<Vec<String>> {
        match self {
            Self::Memory(server) => Ok(server.open_uploads()),
            Self::Garage(place) => {
                let open = place.open_uploads()?;
                Ok(open.into_iter().map(|upload| upload.key).collect())
            }
        }
    }

    /// An object by its key below the prefix, seen without our store.
    fn object(&self, key: &str) -> Result<Vec<u8>> {
        match self {
            Self::Memory(server) => {
                let objects = server.objects();
                let object = objects.get(&format!("some/prefix/{key}"));
                Ok(object.with_context(|| format!("no object {key}"))?.to_vec())
            }
            Self::Garage(place) => place.object(key),
        }
    }

    /// Every artifact of every crash, decoded by zstd and not by us, by the name it had on the node. None is there twice.
    pub(crate) fn stored(
        &self,
        node: &Node,
        crashes: &[serde_json::Value],
    ) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut stored = BTreeMap::new();
        for crash in crashes {
            let manifest = node.manifest(crash["id"].as_str().context("an id")?)?;
            for artifact in manifest["artifacts"].as_array().context("artifacts")? {
                // As a person would: `cat` of its objects, then `zstd -d`.
                let volumes = artifact["volumes"].as_array();
                let several = volumes.map(|volumes| volumes.iter().map(|each| &each["key"]));
                let keys = several.map_or(vec![&artifact["key"]], Iterator::collect);
                let mut object = Vec::new();
                for key in keys {
                    object.extend(self.object(key.as_str().context("a key")?)?);
                }
                let name = artifact["original_name"].as_str().context("a name")?;
                // The logs of all containers have the same name.
                let name = match (artifact["role"].as_str(), &manifest["pod"]["name"]) {
                    (Some("log"), pod) => format!("{}/{name}", pod.as_str().unwrap_or_default()),
                    _ => name.to_owned(),
                };
                let before = stored.insert(name.clone(), zstd::decode_all(&*object)?);
                ensure!(before.is_none(), "{name} is stored twice");
            }
        }
        Ok(stored)
    }

    /// Nothing is held on the node, and nothing is half there in the store.
    pub(crate) fn ensure_nothing_left(&self, node: &Node) -> Result<()> {
        for directory in ["entries", "dumps", "uploads"] {
            ensure!(
                has_no_files(&node.state.join(directory))?,
                "{directory} is not empty"
            );
        }
        let open = self.open_uploads()?;
        ensure!(open.is_empty(), "uploads are open: {open:?}");
        Ok(())
    }
}
