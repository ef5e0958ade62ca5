//! Each kind of store that the suite runs against, and what the suite may expect of it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use salvage::model::ObjectKey;
use salvage::store::{
    Credentials, Error, Expected, ListQuery, Md5s, ObjectInfo, Page, Part, Probe, Problem, PutMode,
    Retry, Store, StoreConfig, Upload, Verified, open, open_with,
};
use tempfile::TempDir;

use crate::support::garage::Garage;
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
    /// Whether it keeps checksums of whole objects.
    pub(super) checksums: bool,
    /// What becomes of completions.
    pub(super) completions: Completions,
    /// What stands before its keys, ending in `/`, or nothing.
    prefix: String,
}

/// Where it keeps things.
pub(super) enum Behind {
    Directory(TempDir),
    Server(S3Server),
    Garage(Garage),
}

/// What a store does when an upload is to be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completions {
    /// It does and says so.
    Answered,
    /// It does, and its answer is lost.
    AnswerLost,
    /// The first upload at a key is forgotten by then.
    Forgotten,
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
        checksums: true,
        completions: Completions::Answered,
        prefix: String::new(),
    }
}

/// S3 as it is before a probe.
pub(super) async fn s3() -> Bench {
    let server = S3Server::start();
    let store = open_server(&server, Way::default()).await;
    Bench {
        creates: false,
        ..Bench::of(server, store)
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
    probe(&*store).await;
    Bench {
        prefix: format!("{}/", way.prefix),
        ..Bench::of(server, store)
    }
}

/// A store that completes only parts of one size.
pub(super) async fn s3_equal_parts() -> Bench {
    probed(|server| server.equal_parts()).await
}

/// A store that overwrites although told not to.
pub(super) async fn s3_no_if_none_match() -> Bench {
    Bench {
        creates: false,
        ..probed(|server| server.no_if_none_match()).await
    }
}

/// A store that keeps no checksums; its ETags are MD5s.
pub(super) async fn s3_no_checksums() -> Bench {
    Bench {
        checksums: false,
        ..probed(|server| server.no_checksums()).await
    }
}

/// A store whose answers to completions never arrive.
pub(super) async fn s3_completion_answer_lost() -> Bench {
    let bench = probed(|server| server).await;
    bench.server().completion_answers_lost();
    Bench {
        completions: Completions::AnswerLost,
        ..bench
    }
}

/// A store that forgets uploads, once for each key.
pub(super) async fn s3_upload_forgotten() -> Bench {
    let bench = probed(|server| server).await;
    bench.server().first_uploads_forgotten();
    Bench {
        completions: Completions::Forgotten,
        ..bench
    }
}

/// A store that has least of all: MD5 ETags to compare.
pub(super) async fn s3_with_md5_only() -> Bench {
    let bench = probed(|server| server.no_if_none_match().no_checksums().equal_parts()).await;
    Bench {
        creates: false,
        checksums: false,
        ..bench
    }
}

/// A store that gives nothing to compare but the length, after a probe that it refused as much of as it could.
pub(super) async fn s3_with_length_only() -> Bench {
    let bench = probed(|server| server.refuse_if_none_match().refuse_checksums().odd_etags()).await;
    Bench {
        creates: false,
        checksums: false,
        verifies: Verified::Length,
        ..bench
    }
}

/// A real server, after a probe that says what to expect of it; each time below a prefix of its own.
pub(super) async fn garage() -> Bench {
    let garage = Garage::of_environment().expect("a server");
    let prefix = format!("suite/{:032x}", fastrand::u128(..));
    let config = StoreConfig {
        url: format!("s3://{}/{prefix}", garage.bucket)
            .parse()
            .expect("a URL"),
        endpoint: Some(garage.endpoint.parse().expect("an endpoint")),
        region: Some(garage.region.clone()),
        path_style: None,
    };
    let credentials = Credentials::new(&garage.access_key, &garage.secret_key);
    let store = open_with(&config, credentials).await.expect("opens");
    let probe = probe(&*store).await;
    Bench {
        store,
        behind: Behind::Garage(garage),
        creates: probe.honours_create,
        verifies: Verified::Content,
        checksums: probe.full_checksums,
        completions: Completions::Answered,
        prefix: format!("{prefix}/"),
    }
}

/// A server that behaves in some way, after a probe.
async fn probed(behave: impl FnOnce(&S3Server) -> &S3Server) -> Bench {
    let server = S3Server::start();
    behave(&server);
    let store = open_server(&server, Way::default()).await;
    probe(&*store).await;
    Bench::of(server, store)
}

async fn probe(store: &dyn Store) -> Probe {
    let probe = store.probe(&key("artifacts/cluster=c/probe=n")).await;
    assert!(probe.failure().is_none(), "{:?}", probe.failure());
    probe
}

impl Bench {
    fn of(server: S3Server, store: Arc<dyn Store>) -> Self {
        Self {
            store,
            behind: Behind::Server(server),
            creates: true,
            verifies: Verified::Content,
            checksums: true,
            completions: Completions::Answered,
            prefix: String::new(),
        }
    }

    fn server(&self) -> &S3Server {
        match &self.behind {
            Behind::Server(server) => server,
            _ => panic!("not a server of ours"),
        }
    }

    /// Puts something into the store behind its back, under each of these names.
    pub(super) async fn plant(&self, names: impl IntoIterator<Item = impl AsRef<str>>) {
        let names = names.into_iter();
        match &self.behind {
            Behind::Directory(directory) => names.for_each(|name| {
                let path = directory.path().join(name.as_ref());
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
                std::fs::write(path, b"x").expect("written");
            }),
            Behind::Server(server) => names
                .for_each(|name| server.insert(&format!("{}{}", self.prefix, name.as_ref()), b"x")),
            Behind::Garage(garage) => {
                let whole = |name: &str| format!("{}{name}", self.prefix);
                let names = names.map(|name| whole(name.as_ref())).collect();
                garage.plant(names, b"x").await.expect("planted");
            }
        }
    }

    /// Whether nothing of an upload is left.
    pub(super) async fn holds_no_uploads(&self) -> bool {
        match &self.behind {
            Behind::Directory(directory) => is_empty(&directory.path().join(".staging")),
            Behind::Server(server) => server.open_uploads().is_empty(),
            Behind::Garage(garage) => {
                let open = garage.open_uploads(&self.prefix).await;
                open.expect("listed").is_empty()
            }
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

    /// Asks for an upload to be completed; for one that the store forgot, begun and sent once more, asks again. Gives the upload that it
    /// came to and the answer.
    pub(super) async fn try_complete(
        &self,
        upload: Upload,
        content: &Bytes,
        mode: PutMode,
        parts: &[Part],
    ) -> (Upload, Result<(), Error>) {
        let whole = expected(content, parts);
        let done = self.store.complete(&upload, parts, &whole, mode).await;
        if self.completions != Completions::Forgotten {
            return (upload, done);
        }
        assert!(self.server().forgot(upload.key.as_str()));
        match done {
            Err(error) if *error.problem() == Problem::NoSuchUpload => {
                let (again, parts) = self.send(&upload.key, content).await;
                let done = self.store.complete(&again, &parts, &whole, mode).await;
                (again, done)
            }
            other => (upload, other),
        }
    }

    /// Completes an upload as its sender does: where the answer was lost, it looks. Gives the upload that became the object and what that
    /// must be.
    pub(super) async fn complete(
        &self,
        upload: Upload,
        content: &Bytes,
        parts: &[Part],
    ) -> (Upload, Expected) {
        let (upload, done) = self
            .try_complete(upload, content, PutMode::Overwrite, parts)
            .await;
        let whole = expected(content, parts);
        if self.completions == Completions::AnswerLost {
            let error = done.expect_err("lost");
            let unclear = matches!(
                error.problem(),
                Problem::NoSuchUpload | Problem::Unreachable(_)
            );
            assert!(unclear && error.retry() == Retry::Transient, "{error}");
        } else {
            done.expect("completed");
        }
        let verified = self.store.verify(&upload.key, &whole).await;
        assert_eq!(verified.expect("there"), self.verifies);
        (upload, whole)
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
