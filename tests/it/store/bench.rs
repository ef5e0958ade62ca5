//! Each kind of store that the suite runs against, and what the suite may expect of it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use salvage::model::ObjectKey;
use salvage::store::{
    Credentials, Error, Expected, ListQuery, Md5s, ObjectInfo, Page, Part, Store, StoreConfig,
    Upload, Verified, open, open_with,
};
use tempfile::TempDir;

use crate::support::s3::S3Server;

/// S3's smallest part, and so the smallest that every store takes.
pub(super) const PART: usize = 5 << 20;

/// A store under test.
pub(super) struct Bench {
    pub(super) store: Arc<dyn Store>,
    pub(super) behind: Behind,
    /// Whether it is known to keep what is there when told to.
    pub(super) creates: bool,
    /// How far verifying can look.
    pub(super) verifies: Verified,
    /// What stands before its keys, ending in `/`, or nothing.
    prefix: &'static str,
}

/// Where it keeps things.
pub(super) enum Behind {
    Directory(TempDir),
    Server(S3Server),
}

/// How an S3 store is reached.
#[derive(Clone, Copy, Default)]
pub(super) struct Way {
    pub(super) prefix: &'static str,
    pub(super) path_style: Option<bool>,
}

/// The configuration that reaches a server.
pub(super) fn config(server: &S3Server, way: Way) -> StoreConfig {
    let url = format!("s3://{}/{}", server.bucket(), way.prefix);
    StoreConfig {
        url: url.parse().expect("a URL"),
        endpoint: Some(server.endpoint().parse().expect("an endpoint")),
        region: Some(server.region().to_owned()),
        path_style: way.path_style,
    }
}

/// Opens a server's bucket with the right key.
pub(super) async fn open_server(server: &S3Server, way: Way) -> Arc<dyn Store> {
    let credentials = Credentials::new(server.access_key(), server.secret_key());
    open_with(&config(server, way), credentials)
        .await
        .expect("opens")
}

/// A directory.
pub(super) async fn files() -> Bench {
    let directory = TempDir::with_prefix("salvage-store-").expect("a directory");
    let url = format!("file://{}", directory.path().display());
    let config = StoreConfig {
        url: url.parse().expect("a URL"),
        endpoint: None,
        region: None,
        path_style: None,
    };
    Bench {
        store: open(&config).await.expect("opens"),
        behind: Behind::Directory(directory),
        creates: true,
        verifies: Verified::Content,
        prefix: "",
    }
}

/// S3 as it is before a probe.
pub(super) async fn s3() -> Bench {
    let server = S3Server::start();
    Bench {
        store: open_server(&server, Way::default()).await,
        behind: Behind::Server(server),
        creates: false,
        verifies: Verified::Content,
        prefix: "",
    }
}

/// S3 after a probe, below a prefix, asked for by path.
pub(super) async fn s3_probed() -> Bench {
    let server = S3Server::start();
    let way = Way {
        prefix: "team=a/prod-1",
        path_style: Some(true),
    };
    let store = open_server(&server, way).await;
    let probe = store.probe(&key("artifacts/cluster=c/probe=n")).await;
    assert!(probe.failure().is_none(), "{:?}", probe.failure());
    Bench {
        store,
        behind: Behind::Server(server),
        creates: true,
        verifies: Verified::Content,
        prefix: "team=a/prod-1/",
    }
}

/// A store with MD5 ETags and nothing else to compare, after a probe.
pub(super) async fn s3_with_md5_only() -> Bench {
    let server = S3Server::start();
    server.no_if_none_match().no_checksums().equal_parts();
    let store = open_server(&server, Way::default()).await;
    let probe = store.probe(&key("artifacts/cluster=c/probe=n")).await;
    assert!(probe.failure().is_none(), "{:?}", probe.failure());
    Bench {
        store,
        behind: Behind::Server(server),
        creates: false,
        verifies: Verified::Content,
        prefix: "",
    }
}

/// A store that gives nothing to compare but the length, after a probe that it refused as much of as it could.
pub(super) async fn s3_with_length_only() -> Bench {
    let server = S3Server::start();
    server.refuse_if_none_match().refuse_checksums().odd_etags();
    let store = open_server(&server, Way::default()).await;
    let probe = store.probe(&key("artifacts/cluster=c/probe=n")).await;
    assert!(probe.failure().is_none(), "{:?}", probe.failure());
    Bench {
        store,
        behind: Behind::Server(server),
        creates: false,
        verifies: Verified::Length,
        prefix: "",
    }
}

impl Bench {
    /// Puts something into the store behind its back.
    pub(super) fn plant(&self, name: &str, content: &[u8]) {
        match &self.behind {
            Behind::Directory(directory) => {
                let path = directory.path().join(name);
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
                std::fs::write(path, content).expect("written");
            }
            Behind::Server(server) => server.insert(&format!("{}{name}", self.prefix), content),
        }
    }

    /// Whether nothing of an upload is left.
    pub(super) fn holds_no_uploads(&self) -> bool {
        match &self.behind {
            Behind::Directory(directory) => is_empty(&directory.path().join(".staging")),
            Behind::Server(server) => server.open_uploads().is_empty(),
        }
    }

    /// Every page of a listing.
    pub(super) async fn pages(&self, query: ListQuery) -> Vec<Page> {
        let mut query = query;
        let mut pages = Vec::new();
        loop {
            let page = self.store.list(&query).await.expect("lists");
            query.next.clone_from(&page.next);
            pages.push(page);
            if query.next.is_none() {
                return pages;
            }
            assert!(pages.len() < 100, "a listing without end");
        }
    }

    /// Every key.
    pub(super) async fn keys(&self) -> Vec<String> {
        let pages = self.pages(ListQuery::default()).await;
        let objects = pages.into_iter().flat_map(|page| page.objects);
        objects
            .map(|ObjectInfo { key, .. }| key.to_string())
            .collect()
    }

    /// Begins an upload and sends its parts.
    pub(super) async fn send(&self, key: &ObjectKey, content: &Bytes) -> (Upload, Vec<Part>) {
        let upload = self.store.begin(key, PART as u64).await.expect("begins");
        let parts = send_parts(&*self.store, &upload, content).await;
        (upload, parts)
    }
}

/// Sends all parts of an upload, the last one first: order must not matter.
pub(super) async fn send_parts(store: &dyn Store, upload: &Upload, content: &Bytes) -> Vec<Part> {
    let starts: Vec<usize> = (0..content.len()).step_by(PART).collect();
    let mut parts = Vec::new();
    for (index, start) in starts.into_iter().enumerate().rev() {
        let body = content.slice(start..content.len().min(start + PART));
        let number = index as u32 + 1;
        parts.push(store.put_part(upload, number, body).await.expect("sent"));
    }
    parts.reverse();
    parts
}

/// What an upload of these parts must turn out to be.
pub(super) fn expected(content: &[u8], parts: &[Part]) -> Expected {
    let md5s = parts.iter().map(|part| part.md5.clone()).collect();
    Expected {
        md5s: Md5s::Parts(md5s),
        ..Expected::of(content)
    }
}

pub(super) fn key(text: &str) -> ObjectKey {
    text.parse().expect("a key")
}

/// Bytes of which no two stretches are alike.
pub(super) fn noise(length: usize, seed: u64) -> Bytes {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes.into()
}

/// An error and its causes, as the edge prints them.
pub(super) fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

fn is_empty(directory: &Path) -> bool {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}
