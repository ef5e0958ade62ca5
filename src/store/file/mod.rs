//! `file://`: a directory, for a node of one's own, a mounted share, a demo or a test.
//!
//! ```text
//! ROOT/crashes/cluster=c/.../x.json     an object: its key is its path
//! ROOT/.staging/<32 hex digits>         a put or upload under way; means nothing to a reader
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

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use rustix::io::Errno;

use super::sums::{Sums, crc64nvme_digest};
use super::{
    Error, Expected, ListQuery, Operation, PROBE_BODY, Page, Part, Probe, ProbeStep, Problem,
    PutMode, Result, Store, Upload, Verified, check_parts,
};
use crate::model::ObjectKey;
use crate::sys::{Dir, FileKind, Stat};

const STAGING: &str = ".staging";
/// As in S3, so that what works here works there.
const PARTS_MAX: u32 = 10_000;
/// What verifying reads at a time.
const BUFFER: usize = 1 << 20;
/// An upload that moves touches its file more often.
const LEFT_BEHIND: SignedDuration = SignedDuration::from_hours(24);

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

/// What went wrong, before it is known what it was about.
#[derive(Debug)]
enum Trouble {
    Problem(Problem),
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Trouble {
    fn error(self, operation: Operation, about: String) -> Error {
        match self {
            Self::Problem(problem) => Error::new(operation, about, problem),
            Self::Io(error) => {
                Error::new(operation, about, problem_of(operation, &error)).because(error)
            }
        }
    }
}

fn problem_of(operation: Operation, error: &io::Error) -> Problem {
    let refused = |why: &str| Problem::Refused(why.to_owned());
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => Problem::Full,
        Some(Errno::ACCESS | Errno::PERM) => Problem::Denied(match operation {
            Operation::Head | Operation::Get | Operation::List => {
                "read and search permission below the store's directory"
            }
            _ => "read, write and search permission below the store's directory",
        }),
        Some(Errno::ROFS) => refused("the store's file system is mounted read-only"),
        Some(Errno::LOOP | Errno::XDEV) => refused(
            "a symbolic link or another mount stands on the way below the store's directory; remove it",
        ),
        Some(Errno::NOTDIR | Errno::ISDIR | Errno::NOTEMPTY) => refused(
            "an object stands where the key needs a directory, or a directory where it needs the object; in a file:// store a key cannot be both",
        ),
        Some(Errno::FBIG) => {
            refused("the file system of the store cannot hold a file of this size")
        }
        _ => Problem::Failed("the file system reported an error".to_owned()),
    }
}

/// A key as directories and a file name.
fn split(key: &ObjectKey) -> (Vec<&OsStr>, &OsStr) {
    let mut components: Vec<&OsStr> = key.as_str().split('/').map(OsStr::new).collect();
    let name = components.pop().unwrap_or_default();
    (components, name)
}

/// The directory of an object; nothing where that is the root.
struct Parent(Option<Dir>);

impl Parent {
    fn below<'a>(&'a self, root: &'a Dir) -> &'a Dir {
        self.0.as_ref().unwrap_or(root)
    }
}

/// The directory of an object, if it is there.
fn parent_of(root: &Dir, key: &ObjectKey) -> std::result::Result<Option<Parent>, Trouble> {
    let mut dir: Option<Dir> = None;
    for component in split(key).0 {
        match dir.as_ref().unwrap_or(root).open_dir(component) {
            Ok(next) => dir = Some(next),
            Err(error) if absent(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(Parent(dir)))
}

/// Opens an object for reading, if it is there.
fn open_object(root: &Dir, key: &ObjectKey) -> std::result::Result<(File, Stat), Trouble> {
    let Some(parent) = parent_of(root, key)? else {
        return Err(Problem::NotFound.into());
    };
    let file = match parent.below(root).open_file(split(key).1) {
        Ok(file) => file,
        Err(error) if absent(&error) => return Err(Problem::NotFound.into()),
        Err(error) => return Err(error.into()),
    };
    let stat = Stat::of(&file)?;
    match stat.kind {
        FileKind::File => Ok((file, stat)),
        _ => Err(Problem::NotFound.into()),
    }
}

fn absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The staging directory, made if need be.
fn staging(root: &Dir) -> io::Result<Dir> {
    open_or_make(root, OsStr::new(STAGING))
}

fn open_or_make(dir: &Dir, name: &OsStr) -> io::Result<Dir> {
    match dir.open_dir(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    match dir.create_dir(name) {
        // Another put was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    dir.open_dir(name)
}

/// A new file in staging under a name of its own.
fn stage(staging: &Dir) -> io::Result<(OsString, File)> {
    loop {
        let name = OsString::from(format!("{:032x}", fastrand::u128(..)));
        match staging.create_file(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|file| (name, file)),
        }
    }
}

/// The file of an upload. A token that is none of ours, which could be a path, is an upload that does not exist.
fn staged_name(upload: &Upload) -> std::result::Result<&OsStr, Problem> {
    match is_staged_name(&upload.token) {
        true => Ok(OsStr::new(&upload.token)),
        false => Err(Problem::NoSuchUpload),
    }
}

fn is_staged_name(name: &str) -> bool {
    name.len() == 32
        && name
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}

/// Gives a staged, synced file its key, durably.
fn publish(
    root: &Dir,
    staging: &Dir,
    staged: &OsStr,
    key: &ObjectKey,
    mode: PutMode,
) -> std::result::Result<(), Trouble> {
    let (directories, name) = split(key);
    let mut way: Vec<Dir> = Vec::with_capacity(directories.len());
    for directory in directories {
        let next = open_or_make(way.last().unwrap_or(root), directory)?;
        way.push(next);
    }
    let parent = way.last().unwrap_or(root);
    match mode {
        PutMode::Overwrite => staging.rename_over(staged, parent, name)?,
        PutMode::Create => create(staging, staged, parent, name)?,
    }
    // All of them, also those that exist already: who made them may have been stopped before it synced.
    for dir in way.iter().rev() {
        dir.sync()?;
    }
    root.sync()?;
    Ok(())
}

fn create(
    staging: &Dir,
    staged: &OsStr,
    parent: &Dir,
    name: &OsStr,
) -> std::result::Result<(), Trouble> {
    match staging.rename(staged, parent, name) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Problem::AlreadyExists.into())
        }
        // A file system (NFS, some FUSE) that cannot do both at once. Ids keep two writers from meeting here.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
            match parent.stat(name) {
                Ok(_) => Err(Problem::AlreadyExists.into()),
                Err(error) if absent(&error) => Ok(staging.rename_over(staged, parent, name)?),
                Err(error) => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn put(
    root: &Dir,
    key: &ObjectKey,
    body: &[u8],
    mode: PutMode,
) -> std::result::Result<(), Trouble> {
    let staging = staging(root)?;
    let (staged, mut file) = stage(&staging)?;
    let written = file.write_all(body).and_then(|()| file.sync_all());
    let done = written
        .map_err(Trouble::from)
        .and_then(|()| publish(root, &staging, &staged, key, mode));
    if done.is_err() {
        // It may hold the very blocks whose lack made it fail. Gone already where only a sync failed.
        let _ = staging.remove_file(&staged);
    }
    done
}

/// The staged file of an upload.
fn reopen(root: &Dir, upload: &Upload) -> std::result::Result<(Dir, File), Trouble> {
    let name = staged_name(upload)?;
    let staging = staging(root)?;
    match staging.reopen_file(name) {
        Ok(file) => Ok((staging, file)),
        Err(error) if absent(&error) => Err(Problem::NoSuchUpload.into()),
        Err(error) => Err(error.into()),
    }
}

fn put_part(
    root: &Dir,
    upload: &Upload,
    number: u32,
    body: &[u8],
) -> std::result::Result<Part, Trouble> {
    let refused = |why: String| Err(Problem::Refused(why).into());
    if !(1..=PARTS_MAX).contains(&number) {
        return refused(format!(
            "part {number}: parts are numbered from 1 to {PARTS_MAX}"
        ));
    }
    let sums = Sums::of(body);
    if sums.bytes > upload.part_bytes {
        return refused(format!(
            "part {number} has {} bytes, and the upload has parts of {}",
            sums.bytes, upload.part_bytes
        ));
    }
    let Some(offset) = u64::from(number - 1).checked_mul(upload.part_bytes) else {
        return refused(format!("part {number} lies beyond what a file can hold"));
    };
    let (_, file) = reopen(root, upload)?;
    file.write_all_at(body, offset)?;
    // The receipt goes into somebody's journal: what it stands for must survive what the journal survives.
    file.sync_data()?;
    let md5 = sums.md5_hex();
    Ok(Part {
        number,
        bytes: sums.bytes,
        etag: md5.clone(),
        md5,
    })
}

fn complete(
    root: &Dir,
    upload: &Upload,
    parts: &[Part],
    expected: &Expected,
    mode: PutMode,
) -> std::result::Result<(), Trouble> {
    check_parts(upload, parts, expected)?;
    let (staging, file) = reopen(root, upload)?;
    let staged = Stat::of(&file)?.size;
    if staged < expected.bytes {
        let what = format!("{staged} of {} bytes have arrived", expected.bytes);
        return Err(Problem::Mismatch(what).into());
    }
    // A last part that was sent again may have become shorter.
    file.set_len(expected.bytes)?;
    file.sync_all()?;
    publish(root, &staging, staged_name(upload)?, &upload.key, mode)
}

fn abort(root: &Dir, upload: &Upload) -> std::result::Result<(), Trouble> {
    let Ok(name) = staged_name(upload) else {
        return Ok(());
    };
    match staging(root)?.remove_file(name) {
        Err(error) if !absent(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

fn verify(
    root: &Dir,
    key: &ObjectKey,
    expected: &Expected,
) -> std::result::Result<Verified, Trouble> {
    let (file, stat) = open_object(root, key)?;
    if stat.size != expected.bytes {
        let what = format!(
            "it has {} bytes, and {} were sent",
            stat.size, expected.bytes
        );
        return Err(Problem::Mismatch(what).into());
    }
    let mut crc = crc64nvme_digest();
    let mut buffer = vec![0; BUFFER.min(stat.size.try_into().unwrap_or(BUFFER))];
    let mut offset = 0;
    while offset < stat.size {
        match file.read_at(&mut buffer, offset)? {
            0 => break,
            read => {
                crc.update(&buffer[..read]);
                offset += read as u64;
            }
        }
    }
    // Read once to be compared, and by nobody soon: the node's memory is not ours to fill.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let crc = crc.finalize();
    if (offset, crc) != (stat.size, expected.crc64nvme) {
        let what = format!(
            "its CRC-64/NVME is {crc:016x}, and that of what was sent {:016x}",
            expected.crc64nvme
        );
        return Err(Problem::Mismatch(what).into());
    }
    Ok(Verified::Content)
}

fn get(root: &Dir, key: &ObjectKey, range: &Range<u64>) -> std::result::Result<Bytes, Trouble> {
    let (file, stat) = open_object(root, key)?;
    let end = range.end.min(stat.size);
    let Some(length) = end.checked_sub(range.start) else {
        return Ok(Bytes::new());
    };
    let Ok(length) = usize::try_from(length) else {
        return Err(Problem::Refused("a range larger than memory".to_owned()).into());
    };
    let mut content = vec![0; length];
    let mut read = 0;
    while read < length {
        match file.read_at(&mut content[read..], range.start + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    content.truncate(read);
    Ok(content.into())
}

fn delete(root: &Dir, key: &ObjectKey) -> std::result::Result<(), Trouble> {
    let Some(parent) = parent_of(root, key)? else {
        return Ok(());
    };
    let (parent, name) = (parent.below(root), split(key).1);
    match parent.stat(name) {
        Ok(stat) if stat.kind != FileKind::Dir => {}
        Ok(_) => return Ok(()),
        Err(error) if absent(&error) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    match parent.remove_file(name) {
        Err(error) if !absent(&error) => return Err(error.into()),
        _ => {}
    }
    // Its directories stay: another put may be on its way into them, and a listing shows none without objects.
    parent.sync()?;
    Ok(())
}

/// Removes what a stop left in staging long ago.
fn clear_left_behind(root: &Dir, now: Timestamp) -> std::result::Result<(), Trouble> {
    let staging = staging(root)?;
    for entry in staging.entries()? {
        let name = entry?.name;
        let ours = name.to_str().is_some_and(is_staged_name);
        let old = staging
            .stat(&name)
            .is_ok_and(|stat| now.duration_since(stat.modified) > LEFT_BEHIND);
        if ours && old {
            staging.remove_file(&name)?;
        }
    }
    Ok(())
}

#[async_trait]
impl Store for FileStore {
    fn url(&self) -> String {
        self.root.url.clone()
    }

    async fn put(&self, key: &ObjectKey, body: Bytes, mode: PutMode) -> Result<()> {
        let wanted = key.clone();
        self.run(Operation::Put, key.as_str(), move |root| {
            put(root, &wanted, &body, mode)
        })
        .await
    }

    async fn begin(&self, key: &ObjectKey, part_bytes: u64) -> Result<Upload> {
        let wanted = key.clone();
        self.run(Operation::Begin, key.as_str(), move |root| {
            if part_bytes == 0 {
                return Err(Problem::Refused("parts of 0 bytes".to_owned()).into());
            }
            let (name, _) = stage(&staging(root)?)?;
            Ok(Upload {
                key: wanted,
                token: name.to_string_lossy().into_owned(),
                part_bytes,
            })
        })
        .await
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        let wanted = upload.clone();
        self.run(Operation::PutPart, upload.key.as_str(), move |root| {
            put_part(root, &wanted, number, &body)
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
            complete(root, &wanted, &parts, &expected, mode)
        })
        .await
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        let wanted = upload.clone();
        self.run(Operation::Abort, upload.key.as_str(), move |root| {
            abort(root, &wanted)
        })
        .await
    }

    async fn verify(&self, key: &ObjectKey, expected: &Expected) -> Result<Verified> {
        let (wanted, expected) = (key.clone(), expected.clone());
        self.run(Operation::Head, key.as_str(), move |root| {
            verify(root, &wanted, &expected)
        })
        .await
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let wanted = key.clone();
        self.run(Operation::Get, key.as_str(), move |root| {
            get(root, &wanted, &range)
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
            delete(root, &wanted)
        })
        .await
    }

    async fn probe(&self, key: &ObjectKey) -> Probe {
        let mut probe = Probe::default();
        let body = Bytes::from_static(PROBE_BODY);
        let expected = Expected::of(&body);
        let mut step = |operation, needed, outcome: Result<()>| {
            let going_on = outcome.is_ok();
            probe.steps.push(ProbeStep {
                operation,
                needed,
                outcome,
            });
            going_on
        };
        let put = self.put(key, body.clone(), PutMode::Overwrite).await;
        if !step(Operation::Put, true, put) {
            return probe;
        }
        let looked = self.verify(key, &expected).await;
        step(Operation::Head, true, looked.map(|_| ()));
        let again = self.put(key, body.clone(), PutMode::Create).await;
        let honours_create =
            matches!(&again, Err(error) if *error.problem() == Problem::AlreadyExists);

        let begun = self.begin(key, expected.bytes).await;
        let upload = match begun {
            Ok(upload) => {
                step(Operation::Begin, true, Ok(()));
                Some(upload)
            }
            Err(error) => {
                step(Operation::Begin, true, Err(error));
                None
            }
        };
        if let Some(upload) = upload {
            let part = self.put_part(&upload, 1, body.clone()).await;
            step(Operation::PutPart, true, part.map(|_| ()));
            step(Operation::Abort, true, self.abort(&upload).await);
        }
        let read = self.get(key, 0..expected.bytes).await;
        step(Operation::Get, false, read.map(|_| ()));
        let listed = self.list(&ListQuery::default()).await;
        step(Operation::List, false, listed.map(|_| ()));
        step(Operation::Delete, false, self.delete(key).await);
        let cleared = self
            .run(Operation::Delete, STAGING, |root| {
                clear_left_behind(root, Timestamp::now())
            })
            .await;
        step(Operation::Delete, false, cleared);
        probe.honours_create = honours_create;
        // Verifying reads the content.
        probe.full_checksums = true;
        probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

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
        assert!(foreign.exists());
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
