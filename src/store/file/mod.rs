//! `file://`: a directory, for a node of one's own, a mounted share, a demo or a test.
//!
//! ```text
//! ROOT/crashes/cluster=c/.../x.json     an object: its key is its path
//! ROOT/.staging/<32 hex digits>         a put or upload under way; means nothing to a reader
//! ROOT/.staging/<32 hex digits>.parts   of an upload: its key, and which parts have arrived
//! ```
//!
//! ```text
//! mod      the store: its calls, each run where it may block   listing  a page of keys in order
//! objects  whole objects                                       trouble  from errno to a Problem
//! uploads  objects in parts                                    probe    tries everything once
//! table    which parts have arrived                            staging  files under construction, and their way out
//! ```
//!
//! An object is staged, synced, renamed to its key, and then every directory up to the root is synced, the new ones among them; before the
//! rename nothing is visible, after it everything. What a stop leaves behind stands in `.staging`, which only an abort clears, and a probe
//! of what has not been touched for a day.
//!
//! The root must exist and may be a symlink; below it neither symlinks nor other mounts are followed ([`Dir`]). Directories are 0700 and
//! files 0600: a dump holds the memory of a process, and what was private to it stays private to the agent's user. A key cannot
//! stand both for an object and for a prefix of others here; ours never do.

mod listing;
mod objects;
mod probe;
mod staging;
mod table;
mod trouble;
mod uploads;

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use self::trouble::Trouble;
use super::{
    Error, Expected, ListQuery, Operation, Page, Part, PartInfo, Probe, Problem, PutMode, Result,
    Store, Upload, Verified,
};
use crate::model::ObjectKey;
use crate::sys::Dir;

/// A directory.
#[derive(Clone, Debug)]
pub(super) struct FileStore {
    root: Arc<Root>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    url: String,
}

impl FileStore {
    pub(super) fn new(path: PathBuf, url: String) -> Self {
        Self {
            root: Arc::new(Root { path, url }),
        }
    }

    /// Runs `work` where it may block.
    async fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        about: impl Into<String>,
        work: impl FnOnce(&Dir) -> std::result::Result<T, Trouble> + Send + 'static,
    ) -> Result<T> {
        let about = format!("{}/{}", self.root.url, about.into());
        let root = Arc::clone(&self.root);
        let done = tokio::task::spawn_blocking(move || root.open().and_then(|dir| work(&dir)));
        match done.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(trouble)) => Err(trouble.error(operation, about)),
            Err(stopped) => {
                let why = format!("the work was stopped: {stopped}");
                Err(Error::new(operation, about, Problem::Failed(why)))
            }
        }
    }
}

impl Root {
    fn open(&self) -> std::result::Result<Dir, Trouble> {
        // The root itself may be a symlink: the operator chose it.
        let opened = std::fs::canonicalize(&self.path).and_then(|path| Dir::open(&path));
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Trouble::Problem(Problem::NoBucket)
            }
            _ => Trouble::Io(error),
        })
    }
}

#[async_trait]
impl Store for FileStore {
    fn url(&self) -> String {
        self.root.url.clone()
    }

    async fn put(&self, key: &ObjectKey, body: Bytes, mode: PutMode) -> Result<()> {
        let wanted = key.clone();
        self.run(Operation::Put, key.as_str(), move |root| {
            objects::put(root, &wanted, &body, mode)
        })
        .await
    }

    async fn begin(&self, key: &ObjectKey, part_bytes: u64) -> Result<Upload> {
        let wanted = key.clone();
        self.run(Operation::Begin, key.as_str(), move |root| {
            uploads::begin(root, &wanted, part_bytes)
        })
        .await
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        let wanted = upload.clone();
        self.run(Operation::PutPart, upload.key.as_str(), move |root| {
            uploads::put_part(root, &wanted, number, &body)
        })
        .await
    }

    async fn complete(
        &self,
        upload: &Upload,
        parts: &[Part],
        expected: &Expected,
        mode: PutMode,
    ) -> Result<()> {
        let (wanted, parts, expected) = (upload.clone(), parts.to_vec(), expected.clone());
        self.run(Operation::Complete, upload.key.as_str(), move |root| {
            uploads::complete(root, &wanted, &parts, &expected, mode)
        })
        .await
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        let wanted = upload.clone();
        self.run(Operation::Abort, upload.key.as_str(), move |root| {
            uploads::abort(root, &wanted)
        })
        .await
    }

    async fn uploads(&self, key: &ObjectKey) -> Result<Vec<Upload>> {
        let wanted = key.clone();
        self.run(Operation::ListUploads, key.as_str(), move |root| {
            uploads::uploads(root, &wanted)
        })
        .await
    }

    async fn parts(&self, upload: &Upload) -> Result<Vec<PartInfo>> {
        let wanted = upload.clone();
        self.run(Operation::ListParts, upload.key.as_str(), move |root| {
            uploads::parts(root, &wanted)
        })
        .await
    }

    async fn verify(&self, key: &ObjectKey, expected: &Expected) -> Result<Verified> {
        let (wanted, expected) = (key.clone(), expected.clone());
        self.run(Operation::Head, key.as_str(), move |root| {
            objects::verify(root, &wanted, &expected)
        })
        .await
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let wanted = key.clone();
        self.run(Operation::Get, key.as_str(), move |root| {
            objects::get(root, &wanted, &range)
        })
        .await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        let wanted = query.clone();
        self.run(Operation::List, &query.prefix, move |root| {
            Ok(listing::page(root, &wanted)?)
        })
        .await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        let wanted = key.clone();
        self.run(Operation::Delete, key.as_str(), move |root| {
            objects::delete(root, &wanted)
        })
        .await
    }

    async fn probe(&self, key: &ObjectKey) -> Probe {
        probe::run(self, key).await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use jiff::{SignedDuration, Timestamp};

    use super::staging::{STAGING, clear_left_behind};
    use super::*;

    fn store(root: &std::path::Path) -> FileStore {
        FileStore::new(root.to_owned(), format!("file://{}", root.display()))
    }

    fn key(text: &str) -> ObjectKey {
        text.parse().expect("key")
    }

    #[tokio::test]
    async fn objects_and_directories_are_for_their_owner_only() {
        let temp = tempfile::tempdir().expect("temp dir");
        let store = store(temp.path());
        let object = key("crashes/cluster=c/x.json");
        store
            .put(&object, Bytes::from_static(b"{}"), PutMode::Create)
            .await
            .expect("put");
        for (path, mode) in [
            ("crashes", 0o700),
            ("crashes/cluster=c", 0o700),
            ("crashes/cluster=c/x.json", 0o600),
            (".staging", 0o700),
        ] {
            let found = std::fs::metadata(temp.path().join(path)).expect(path);
            assert_eq!(found.permissions().mode() & 0o7777, mode, "{path}");
        }
        let left = std::fs::read_dir(temp.path().join(".staging")).expect("staging");
        assert_eq!(left.count(), 0);
    }

    #[tokio::test]
    async fn a_planted_link_leads_nowhere() {
        let temp = tempfile::tempdir().expect("temp dir");
        let outside = tempfile::tempdir().expect("outside");
        std::fs::write(outside.path().join("secret"), b"secret").expect("secret");
        let plant = |from: &str, to: &std::path::Path| {
            std::os::unix::fs::symlink(to, temp.path().join(from)).expect("link")
        };
        plant("dir", outside.path());
        plant("file", &outside.path().join("secret"));
        let store = store(temp.path());
        for name in ["dir/secret", "file"] {
            let read = store.get(&key(name), 0..10).await.expect_err("not read");
            let fine = matches!(read.problem(), Problem::Refused(_) | Problem::NotFound);
            assert!(fine, "{read}");
        }
        let put = store
            .put(&key("dir/new"), Bytes::from_static(b"x"), PutMode::Create)
            .await
            .expect_err("not written");
        assert!(matches!(put.problem(), Problem::Refused(_)), "{put}");
        assert!(!outside.path().join("new").exists());
        let page = store.list(&ListQuery::default()).await.expect("list");
        assert_eq!((page.objects.len(), page.foreign), (0, 2));
    }

    #[tokio::test]
    async fn the_root_may_be_a_link_and_is_never_made() {
        let temp = tempfile::tempdir().expect("temp dir");
        let real = temp.path().join("real");
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(&real, &link).expect("link");
        let store = store(&link);
        let missing = store
            .list(&ListQuery::default())
            .await
            .expect_err("missing");
        assert_eq!(*missing.problem(), Problem::NoBucket);
        let put = store
            .put(&key("x"), Bytes::new(), PutMode::Create)
            .await
            .expect_err("missing");
        assert_eq!(*put.problem(), Problem::NoBucket);
        assert!(!real.exists());
        std::fs::create_dir(&real).expect("make");
        store
            .put(&key("x"), Bytes::new(), PutMode::Create)
            .await
            .expect("put");
        assert!(real.join("x").exists());
    }

    #[tokio::test]
    async fn only_old_leftovers_are_cleared() {
        let temp = tempfile::tempdir().expect("temp dir");
        let store = store(temp.path());
        let upload = store.begin(&key("x"), 8).await.expect("begin");
        let foreign = temp.path().join(".staging/notes");
        std::fs::write(&foreign, b"not ours").expect("write");
        let clear = |now| {
            store.run(Operation::Delete, STAGING, move |root| {
                clear_left_behind(root, now)
            })
        };
        clear(Timestamp::now()).await.expect("clear");
        store
            .put_part(&upload, 1, Bytes::from_static(b"part"))
            .await
            .expect("still there");
        clear(Timestamp::now() + SignedDuration::from_hours(25))
            .await
            .expect("clear");
        let gone = store
            .put_part(&upload, 1, Bytes::from_static(b"part"))
            .await
            .expect_err("cleared");
        assert_eq!(*gone.problem(), Problem::NoSuchUpload);
        let left = || std::fs::read_dir(temp.path().join(".staging")).expect("staging");
        assert_eq!(left().count(), 1, "the file that is not ours");
        assert!(foreign.exists());

        // A stop between the two leaves a table alone: of no use at once.
        let upload = store.begin(&key("x"), 8).await.expect("begin");
        std::fs::remove_file(temp.path().join(".staging").join(&upload.token)).expect("remove");
        assert!(store.uploads(&key("x")).await.expect("told").is_empty());
        assert_eq!(left().count(), 2);
        clear(Timestamp::now()).await.expect("clear");
        assert_eq!(left().count(), 1);
    }

    #[tokio::test]
    async fn a_token_that_is_a_path_is_no_upload() {
        let temp = tempfile::tempdir().expect("temp dir");
        std::fs::write(temp.path().join("victim"), b"keep").expect("write");
        let store = store(temp.path());
        let upload = Upload {
            key: key("x"),
            token: "../victim".to_owned(),
            part_bytes: 8,
        };
        store.abort(&upload).await.expect("nothing to abort");
        let error = store
            .put_part(&upload, 1, Bytes::from_static(b"part"))
            .await
            .expect_err("no upload");
        assert_eq!(*error.problem(), Problem::NoSuchUpload);
        let kept = std::fs::read(temp.path().join("victim")).expect("read");
        assert_eq!(kept, b"keep");
    }
}
