//! One list of this node's pods, each known and handed on while the next is still on its way.
//!
//! The library reads a whole answer, copies it and makes every object of it before it gives the first: 250 pods of 45 KB took 26 MiB so. Here an answer is as
//! large as its largest pod.

use std::io::{self, BufReader, Read};
use std::marker::PhantomData;
use std::time::Duration;

use futures::io::{AsyncBufRead, AsyncReadExt};
use kube::Client;
use kube::core::params::{ListParams, VersionMatch};
use serde::Deserialize;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::watched::WatchedPod;
use crate::model::KnownPod;

/// A list is whole within this.
const WHOLE: Duration = Duration::from_secs(60);

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be asked.
    #[error("cannot list pods")]
    Asked(#[source] kube::Error),
    /// What it answered is no list of pods.
    #[error("cannot list pods: the answer is no list of them")]
    Read(#[source] io::Error),
}

/// Lists the pods of `node`, gives each to `take` on a thread that may block, and tells the version that the list is of.
pub(super) async fn list(
    client: &Client,
    node: &str,
    mut take: impl FnMut(KnownPod) + Send + 'static,
) -> Result<String, Error> {
    let take = move |item: WatchedPod| {
        if let Some(pod) = item.pod {
            take(pod);
        }
    };
    each_pod(client, node, take).await
}

/// The same for whoever reads something else of a pod.
///
/// # Errors
/// What was refused, or is no list; what came before that was given to `take`.
pub async fn each_pod<T: DeserializeOwned>(
    client: &Client,
    node: &str,
    take: impl FnMut(T) + Send + 'static,
) -> Result<String, Error> {
    let deadline = Instant::now() + WHOLE;
    let params = ListParams {
        field_selector: Some(fields(node)),
        // Answered from the API server's cache. A limit would make it read etcd.
        version_match: Some(VersionMatch::NotOlderThan),
        resource_version: Some("0".to_owned()),
        ..ListParams::default()
    };
    let request = kube::core::Request::new("/api/v1/pods")
        .list(&params)
        .map_err(|error| Error::Asked(kube::Error::BuildRequest(error)))?;
    let body = timeout_at(deadline, client.request_stream(request))
        .await
        .map_err(|_| Error::Read(late()))?
        .map_err(Error::Asked)?;
    let blocking = Blocking {
        body: Box::pin(body),
        runtime: Handle::current(),
        deadline,
    };
    let read = tokio::task::spawn_blocking(move || read(blocking, take));
    read.await
        .map_err(|error| Error::Read(error.into()))?
        .map_err(Error::Read)
}

/// The selector of one node's pods.
pub(super) fn fields(node: &str) -> String {
    format!("spec.nodeName={node}")
}

fn read<T: DeserializeOwned>(from: impl Read, take: impl FnMut(T)) -> io::Result<String> {
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(CHUNK, from));
    let list = List {
        take,
        of: PhantomData,
    };
    let version = list.deserialize(&mut json)?;
    version.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it has no resourceVersion"))
}

fn late() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no whole answer within {WHOLE:?}"),
    )
}

/// An answer's body, read where blocking is allowed.
struct Blocking<B> {
    body: std::pin::Pin<Box<B>>,
    runtime: Handle,
    deadline: Instant,
}

impl<B: AsyncBufRead> Read for Blocking<B> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = timeout_at(self.deadline, self.body.read(into));
        self.runtime.block_on(read).unwrap_or_else(|_| Err(late()))
    }
}

/// A `PodList`, of which only the version is kept.
struct List<F, T> {
    take: F,
    of: PhantomData<T>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMeta {
    resource_version: Option<String>,
}

impl<'de, T: DeserializeOwned, F: FnMut(T)> DeserializeSeed<'de> for List<F, T> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(T)> Visitor<'de> for List<F, T> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of pods")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut version = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metadata" => version = map.next_value::<ListMeta>()?.resource_version,
                "items" => map.next_value_seed(Items {
                    take: &mut self.take,
                    of: PhantomData,
                })?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(version)
    }
}

/// The items of a list; none where they are `null`.
struct Items<'a, F, T> {
    take: &'a mut F,
    of: PhantomData<T>,
}

impl<'de, T: DeserializeOwned, F: FnMut(T)> DeserializeSeed<'de> for Items<'_, F, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(T)> Visitor<'de> for Items<'_, F, T> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("pods")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<T>()? {
            (self.take)(item);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(json: &str) -> (Vec<String>, io::Result<String>) {
        let mut names = Vec::new();
        let version = read(json.as_bytes(), |item: WatchedPod| {
            names.extend(item.pod.map(|pod| pod.name));
        });
        (names, version)
    }

    #[test]
    fn a_recorded_list_is_read_pod_by_pod() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/kubernetes/pod-list.json"
        );
        let json = std::fs::read_to_string(path).expect("the recorded list");
        let (names, version) = names(&json);
        assert_eq!(names.len(), 6);
        assert_eq!(version.expect("a version"), "1394");
    }

    #[test]
    fn what_came_before_an_answer_broke_off_is_known() {
        let pod = r#"{"metadata": {"name": "a", "namespace": "n", "uid": "u"}}"#;
        let whole = format!(
            r#"{{"kind": "PodList", "items": [{pod}, {pod}], "metadata": {{"resourceVersion": "7"}}}}"#
        );
        assert_eq!(names(&whole).1.expect("a version"), "7");
        let (names, version) = names(&whole[..120]);
        assert_eq!(names, ["a"]);
        assert!(version.is_err());
    }

    #[test]
    fn an_empty_list_is_one_and_what_is_no_list_is_none() {
        let empty = r#"{"items": null, "metadata": {"resourceVersion": "7"}}"#;
        assert_eq!(names(empty).1.expect("a version"), "7");
        for odd in [
            "",
            "[]",
            "garbage",
            r#"{"items": []}"#,
            r#"{"items": [7], "metadata": {}}"#,
        ] {
            assert!(names(odd).1.is_err(), "{odd}");
        }
    }
}
