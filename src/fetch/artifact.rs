//! Reading an artifact back: ranged GETs in order, frames decoded in parallel, everything compared before it is called whole.
//!
//! Three things run beside each other, joined by short queues: requests and decoding in here, the digest of the stored bytes, and the
//! sink with the digest of the file. Two budgets bound what is held, whatever the frames' sizes: stored bytes that are on their way or
//! not yet decoded, and decoded bytes that are not yet written. Each is taken in the order of the file, so the oldest piece of work
//! always has what it needs and nothing can wait for itself.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::thread::available_parallelism;

use bytes::Bytes;
use futures::stream::{self, TryStreamExt};
use tokio::sync::mpsc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, spawn_blocking};

use super::error::{Error, Result};
use super::patience;
use super::plan::{self, Account, Frame, Object, Piece};
use super::seek_table::{self, FRAMES_MAX, TAIL, Wrong};
use crate::model::{Artifact, CrashKey, ObjectKey, Sha256};
use crate::store::{Problem, Store};

/// Requests in flight: enough to hide the latency of the next one behind this one.
const REQUESTS: usize = 3;
/// Stored bytes held at once: three pieces.
const STORED_BUDGET: u32 = 24 << 20;
/// Decoded bytes held at once: eight frames of the usual size.
const RAW_BUDGET: u32 = 32 << 20;
/// Frames decoded at once, at most: with more, the digest of the file is what everything waits for.
const DECODERS: usize = 4;
/// Items in a queue: one being worked on and one ready.
const QUEUE: usize = 2;

/// Takes a file's bytes, from its first to its last.
pub trait Sink: Send + 'static {
    /// Takes the next bytes. Called on a thread that may block.
    fn write(&mut self, raw: &[u8]) -> io::Result<()>;
}

/// What an artifact was compared with, by the manifest's names for it; lengths and zstd's own checksums always are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// `sha256`, `tree_sha256`, `stored_sha256`: those that the manifest has.
    pub digests: Vec<&'static str>,
}

/// An artifact that is there and whose seek tables agree with its manifest.
#[derive(Debug)]
pub struct Opened {
    artifact: Artifact,
    objects: Arc<[Object]>,
}

/// Looks at an artifact's objects and reads their seek tables.
pub async fn open(store: &dyn Store, crash: &CrashKey, artifact: &Artifact) -> Result<Opened> {
    let contradiction = |problem| Error::Account {
        key: artifact.key.clone(),
        problem,
    };
    let place = place_of(crash);
    let mut objects = Vec::new();
    let mut frames = 0;
    for account in plan::accounts(artifact).map_err(contradiction)? {
        if !account.key.as_str().starts_with(&place) {
            return Err(Error::ArtifactElsewhere {
                crash: place,
                artifact: account.key,
            });
        }
        let object = object(store, &account).await?;
        frames += object.frames.len();
        if frames > FRAMES_MAX {
            return Err(contradiction(format!("more than {FRAMES_MAX} frames")));
        }
        objects.push(object);
    }
    if artifact.tree_sha256.is_some() {
        let frame_bytes = artifact
            .frame_bytes
            .ok_or_else(|| contradiction("it has a tree_sha256 and no frame_bytes".to_owned()))?;
        if !plan::is_uniform(&objects, frame_bytes) {
            return Err(contradiction(format!(
                "its frames do not hold {frame_bytes} bytes each"
            )));
        }
    }
    Ok(Opened {
        artifact: artifact.clone(),
        objects: objects.into(),
    })
}

/// Where a crash's artifacts are: nothing else is read on a manifest's word, which may have been written by a tenant who may not read
/// what the person fetching may.
fn place_of(crash: &CrashKey) -> String {
    let key = crash.to_string();
    let below = key.strip_prefix("crashes").unwrap_or_default();
    let partition = below
        .rsplit_once('/')
        .map_or("", |(partition, _)| partition);
    format!("artifacts{partition}/{}/", crash.id())
}

async fn object(store: &dyn Store, account: &Account) -> Result<Object> {
    let key = &account.key;
    let end = account.stored_bytes;
    let start = end.saturating_sub(TAIL);
    // One byte more than there should be tells an object that has grown.
    let tail = got(key, store.get(key, start..end.saturating_add(1)).await)?;
    let found = match (tail.len() as u64).cmp(&(end - start)) {
        std::cmp::Ordering::Less => Some("shorter"),
        std::cmp::Ordering::Greater => Some("longer"),
        std::cmp::Ordering::Equal => None,
    };
    if let Some(found) = found {
        return Err(Error::Length {
            key: key.clone(),
            expected: end,
            found,
        });
    }
    let wrong = |wrong| match wrong {
        Wrong::Absent => Error::NoSeekTable { key: key.clone() },
        Wrong::Because(problem) => Error::SeekTable {
            key: key.clone(),
            problem,
        },
    };
    let length = seek_table::length(&tail, end).map_err(wrong)?;
    let table = match (tail.len() as u64).checked_sub(length) {
        Some(at) => tail.slice(at as usize..),
        None => exactly(store, key, end - length..end).await?,
    };
    let frames = seek_table::frames(&table).map_err(wrong)?;
    plan::check(account, &frames, length).map_err(|problem| wrong(Wrong::Because(problem)))?;
    Ok(Object {
        key: key.clone(),
        frames,
        table,
    })
}

/// What is missing has expired.
fn got(key: &ObjectKey, answer: crate::store::Result<Bytes>) -> Result<Bytes> {
    answer.map_err(|error| match error.problem() {
        Problem::NotFound => Error::Gone { key: key.clone() },
        _ => error.into(),
    })
}

/// Reads all of a range, with patience.
async fn exactly(store: &dyn Store, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
    let (wanted, end) = (range.end - range.start, range.end);
    if wanted == 0 {
        return Ok(Bytes::new());
    }
    let bytes = got(key, patience::get(store, key, range).await)?;
    if bytes.len() as u64 == wanted {
        return Ok(bytes);
    }
    Err(Error::Length {
        key: key.clone(),
        expected: end,
        found: "shorter",
    })
}

impl Opened {
    /// The artifact.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// At most about how much room the file takes where zeros are holes.
    pub fn data_bytes(&self) -> u64 {
        let data = self.artifact.data_bytes.unwrap_or(self.artifact.bytes);
        plan::data_bytes(&self.objects).min(data)
    }

    /// Fetches and decodes the whole file into `sink`, and gives it back when every length and digest agrees.
    pub async fn read<S: Sink>(&self, store: &Arc<dyn Store>, sink: S) -> Result<(S, Checked)> {
        let (stored, stored_queue) = mpsc::channel(QUEUE);
        let (raw, raw_queue) = mpsc::channel(QUEUE);
        let digesting = spawn_blocking(move || digest_stored(stored_queue));
        let wanted = (
            self.artifact.sha256.is_some(),
            self.artifact.tree_sha256.is_some(),
        );
        let writing = spawn_blocking(move || write(raw_queue, sink, wanted));
        let produced = self.produce(store, stored, raw).await;
        let stored_sha256 = joined(digesting).await?;
        let written = joined(writing).await?;
        produced?;
        let key = &self.artifact.key;
        let written = written.map_err(|source| Error::Sink {
            key: key.clone(),
            source,
        })?;
        let checked = self.compare(&written, stored_sha256)?;
        Ok((written.sink, checked))
    }

    /// Feeds the queues until the file ends, or until one is closed, which its own end explains.
    async fn produce(
        &self,
        store: &Arc<dyn Store>,
        stored: mpsc::Sender<Stored>,
        raw: mpsc::Sender<Raw>,
    ) -> Result<()> {
        let stored_budget = Arc::new(Semaphore::new(STORED_BUDGET as usize));
        let raw_budget = Arc::new(Semaphore::new(RAW_BUDGET as usize));
        let digest_frames = self.artifact.tree_sha256.is_some();
        let decoders = available_parallelism().map_or(1, |n| n.get().min(DECODERS));

        let pieces = self
            .objects
            .iter()
            .enumerate()
            .flat_map(|(number, object)| {
                let pieces = plan::pieces(&object.frames);
                pieces.into_iter().map(move |piece| Ok((number, piece)))
            });
        let fetched = stream::iter(pieces)
            .and_then(|(number, piece)| {
                let bytes = piece.range.end - piece.range.start;
                let permit = take(&stored_budget, bytes, STORED_BUDGET);
                async move { Ok((number, piece, permit.await?)) }
            })
            .map_ok(|(number, piece, permit)| {
                // As a task of its own it goes on while a full queue or a slow disk is waited for.
                joined_flat(tokio::spawn(fetch(
                    store.clone(),
                    self.objects.clone(),
                    number,
                    piece,
                    permit,
                )))
            })
            .try_buffered(REQUESTS)
            .and_then(|fetched| {
                let stored = stored.clone();
                async move {
                    let sent = stored.send(fetched.to_digest()).await;
                    // Closed only if its thread panicked, which joining it passes on.
                    sent.map_err(|_| Error::Interrupted)?;
                    Ok(fetched)
                }
            });
        let decoded = fetched
            .map_ok(|fetched| stream::iter(fetched.into_frames().map(Ok)))
            .try_flatten()
            .and_then(|encoded| {
                let permit = take(&raw_budget, u64::from(encoded.frame.raw), RAW_BUDGET);
                async move { Ok((encoded, permit.await?)) }
            })
            .map_ok(|(encoded, permit)| {
                joined_flat(spawn_blocking(move || {
                    decode(encoded, permit, digest_frames)
                }))
            })
            .try_buffered(decoders);
        let mut decoded = std::pin::pin!(decoded);
        while let Some(frame) = decoded.try_next().await? {
            if raw.send(frame).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    fn compare<S>(&self, written: &Written<S>, stored_sha256: [u8; 32]) -> Result<Checked> {
        let Artifact {
            key,
            bytes,
            sha256,
            tree_sha256,
            stored_sha256: expected_stored,
            ..
        } = &self.artifact;
        // The seek tables promised this length and every frame kept its promise; a sum costs nothing.
        if written.bytes != *bytes {
            return Err(Error::Length {
                key: key.clone(),
                expected: *bytes,
                found: if written.bytes < *bytes {
                    "shorter"
                } else {
                    "longer"
                },
            });
        }
        let mut checked = Checked::default();
        for (what, expected, found) in [
            ("stored_sha256", expected_stored, Some(stored_sha256)),
            ("sha256", sha256, written.sha256),
            ("tree_sha256", tree_sha256, written.tree_sha256),
        ] {
            let (Some(expected), Some(found)) = (expected, found) else {
                continue;
            };
            let found = hex::encode(found);
            if !found.eq_ignore_ascii_case(expected) {
                return Err(Error::Digest {
                    key: key.clone(),
                    what,
                    expected: expected.chars().take(64).collect(),
                    found,
                });
            }
            checked.digests.push(what);
        }
        Ok(checked)
    }
}

/// A piece that arrived.
struct Fetched {
    objects: Arc<[Object]>,
    object: usize,
    piece: Piece,
    bytes: Bytes,
    /// Held until the last frame of the piece is decoded.
    permit: Arc<OwnedSemaphorePermit>,
}

/// Bytes as they are stored, for their digest.
struct Stored {
    bytes: Bytes,
    /// The seek table, after the last piece of an object.
    table: Option<Bytes>,
    _permit: Arc<OwnedSemaphorePermit>,
}

/// A frame as it is stored.
struct Encoded {
    key: ObjectKey,
    number: usize,
    frame: Frame,
    bytes: Bytes,
    permit: Arc<OwnedSemaphorePermit>,
}

/// A frame's content.
struct Raw {
    bytes: Vec<u8>,
    sha256: Option<[u8; 32]>,
    _permit: OwnedSemaphorePermit,
}

impl Fetched {
    fn to_digest(&self) -> Stored {
        let object = &self.objects[self.object];
        let is_last = self.piece.frames.end == object.frames.len();
        Stored {
            bytes: self.bytes.clone(),
            table: is_last.then(|| object.table.clone()),
            _permit: self.permit.clone(),
        }
    }

    fn into_frames(self) -> impl Iterator<Item = Encoded> {
        let mut at = 0;
        self.piece.frames.clone().map(move |number| {
            let object = &self.objects[self.object];
            let frame = object.frames[number];
            let end = at + frame.stored as usize;
            let bytes = self.bytes.slice(at..end);
            at = end;
            Encoded {
                key: object.key.clone(),
                number,
                frame,
                bytes,
                permit: self.permit.clone(),
            }
        })
    }
}

async fn fetch(
    store: Arc<dyn Store>,
    objects: Arc<[Object]>,
    object: usize,
    piece: Piece,
    permit: OwnedSemaphorePermit,
) -> Result<Fetched> {
    let bytes = exactly(&*store, &objects[object].key, piece.range.clone()).await?;
    Ok(Fetched {
        objects,
        object,
        piece,
        bytes,
        permit: Arc::new(permit),
    })
}

fn decode(encoded: Encoded, permit: OwnedSemaphorePermit, digest: bool) -> Result<Raw> {
    let Encoded {
        key,
        number,
        frame,
        bytes,
        permit: stored_permit,
    } = encoded;
    let expected = frame.raw as usize;
    let decoded = zstd::bulk::Decompressor::new()
        .and_then(|mut decoder| decoder.decompress(&bytes, expected))
        .and_then(|raw| match raw.len() {
            length if length == expected => Ok(raw),
            length => Err(io::Error::other(format!(
                "it holds {length} bytes, the seek table says {expected}"
            ))),
        });
    drop((bytes, stored_permit));
    let bytes = decoded.map_err(|source| Error::Frame {
        key,
        number,
        source,
    })?;
    let sha256 = digest.then(|| Sha256::of(&bytes));
    Ok(Raw {
        bytes,
        sha256,
        _permit: permit,
    })
}

fn digest_stored(mut queue: mpsc::Receiver<Stored>) -> [u8; 32] {
    let mut digest = Sha256::new();
    while let Some(stored) = queue.blocking_recv() {
        digest.update(&stored.bytes);
        if let Some(table) = &stored.table {
            digest.update(table);
        }
    }
    digest.finish()
}

/// What went into a sink.
struct Written<S> {
    sink: S,
    bytes: u64,
    sha256: Option<[u8; 32]>,
    tree_sha256: Option<[u8; 32]>,
}

fn write<S: Sink>(
    mut queue: mpsc::Receiver<Raw>,
    mut sink: S,
    (want_sha256, want_tree): (bool, bool),
) -> io::Result<Written<S>> {
    let mut whole = want_sha256.then(Sha256::new);
    let mut tree = want_tree.then(Sha256::new);
    let mut bytes = 0;
    while let Some(frame) = queue.blocking_recv() {
        if let Some(digest) = &mut whole {
            digest.update(&frame.bytes);
        }
        if let (Some(digest), Some(of_frame)) = (&mut tree, frame.sha256) {
            digest.update(&of_frame);
        }
        sink.write(&frame.bytes)?;
        bytes += frame.bytes.len() as u64;
    }
    Ok(Written {
        sink,
        bytes,
        sha256: whole.map(|digest| digest.finish()),
        tree_sha256: tree.map(|digest| digest.finish()),
    })
}

/// Takes `bytes` of a budget, or all of it where that is less: one frame larger than the budget goes alone.
async fn take(budget: &Arc<Semaphore>, bytes: u64, whole: u32) -> Result<OwnedSemaphorePermit> {
    let share = u32::try_from(bytes).unwrap_or(whole).min(whole);
    let taken = budget.clone().acquire_many_owned(share).await;
    // The semaphore is never closed.
    taken.map_err(|_| Error::Interrupted)
}

/// The outcome of a task. Its panic goes on here; it is cancelled only when the runtime stops.
async fn joined<T>(task: JoinHandle<T>) -> Result<T> {
    task.await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Error::Interrupted,
    })
}

async fn joined_flat<T>(task: JoinHandle<Result<T>>) -> Result<T> {
    joined(task).await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::memory::MemoryStore;
    use crate::fetch::stored::{sha256_hex, stored};
    use crate::model::{
        CrashId, CrashKeyParts, Encoding, Format, Reason, Role, Volume, crash_key_of,
    };
    use proptest::prelude::*;

    impl Sink for Vec<u8> {
        fn write(&mut self, raw: &[u8]) -> io::Result<()> {
            self.extend_from_slice(raw);
            Ok(())
        }
    }

    /// A sink that has room for so many bytes.
    struct Full(usize);

    impl Sink for Full {
        fn write(&mut self, raw: &[u8]) -> io::Result<()> {
            self.0 = self
                .0
                .checked_sub(raw.len())
                .ok_or(io::ErrorKind::StorageFull)?;
            Ok(())
        }
    }

    struct Scenario {
        memory: MemoryStore,
        store: Arc<dyn Store>,
        crash: CrashKey,
        artifact: Artifact,
        raw: Vec<u8>,
    }

    const FRAME: usize = 64 << 10;

    /// Bytes that compress a little, with runs of zeros.
    fn raw(length: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(length as u64);
        let mut raw: Vec<u8> = (0..length).map(|_| random.u8(0..40)).collect();
        for (number, chunk) in raw.chunks_mut(10_000).enumerate() {
            if number % 3 == 0 {
                chunk.fill(0);
            }
        }
        raw
    }

    /// One artifact, in as many volumes as `volumes` has lengths, or in one object.
    fn scenario(raw: Vec<u8>, volumes: &[usize]) -> Scenario {
        let memory = MemoryStore::default();
        let crash = crash_key_of(CrashKeyParts {
            cluster: "c",
            namespace: Some("shop"),
            pod: Some("cart-0"),
            container: None,
            reason: Reason::Signal(11),
            stored_bytes: 1,
            id: CrashId::new("2026-11-21T10:00:00Z".parse().expect("time"), 7),
        });
        let key = |name: &str| -> ObjectKey {
            let place = place_of(&crash);
            format!("{place}{name}").parse().expect("key")
        };
        let mut artifact = Artifact {
            role: Role::Dump,
            key: key("dump-0.core.zst"),
            original_name: None,
            format: Format::ElfCore,
            producer: None,
            complete: None,
            marks: Vec::new(),
            bytes: raw.len() as u64,
            data_bytes: None,
            expected_bytes: None,
            stored_bytes: 0,
            sha256: Some(sha256_hex(&raw)),
            tree_sha256: None,
            stored_sha256: None,
            encoding: Encoding::ZstdSeekable,
            frame_bytes: Some(FRAME as u32),
            volumes: Vec::new(),
            process: None,
            runtime: None,
            exception: None,
            occasion: None,
            format_version: None,
            identifier_bytes: None,
            unread: Vec::new(),
        };
        let mut whole = Vec::new();
        let mut put = |key: &ObjectKey, raw: &[u8]| {
            let bytes = stored(raw, FRAME);
            memory.insert(key.as_str(), &bytes);
            whole.extend_from_slice(&bytes);
            bytes.len() as u64
        };
        if volumes.is_empty() {
            put(&artifact.key, &raw);
        }
        let mut rest = &raw[..];
        for (number, length) in volumes.iter().enumerate() {
            let (volume, after) = rest.split_at(*length);
            rest = after;
            let key = key(&format!("dump-0.{number:03}.core.zst"));
            artifact.volumes.push(Volume {
                stored_bytes: put(&key, volume),
                bytes: volume.len() as u64,
                key,
            });
        }
        artifact.stored_bytes = whole.len() as u64;
        artifact.stored_sha256 = Some(sha256_hex(&whole));
        Scenario {
            store: Arc::new(memory.clone()),
            memory,
            crash,
            artifact,
            raw,
        }
    }

    impl Scenario {
        async fn read(&self) -> Result<(Vec<u8>, Checked)> {
            let opened = open(&*self.store, &self.crash, &self.artifact).await?;
            opened.read(&self.store, Vec::new()).await
        }

        async fn refusal(&self) -> Error {
            match self.read().await {
                Ok(_) => panic!("it was believed"),
                Err(error) => error,
            }
        }

        fn change_object(&self, change: impl FnOnce(&mut Vec<u8>)) {
            self.memory.change(self.artifact.key.as_str(), change);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_stored_comes_back() {
        for length in [0, 1, FRAME, FRAME + 1, 40 * FRAME + 17] {
            let scenario = scenario(raw(length), &[]);
            let (read, checked) = scenario.read().await.expect("whole");
            assert!(read == scenario.raw, "{length}");
            assert_eq!(checked.digests, ["stored_sha256", "sha256"]);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn more_than_the_budgets_hold_comes_back() {
        // Incompressible and in many pieces: both budgets and all queues are full at times.
        let mut random = vec![0; 70 << 20];
        fastrand::Rng::with_seed(5).fill(&mut random);
        let scenario = scenario(random, &[]);
        let (read, _) = scenario.read().await.expect("whole");
        assert!(read == scenario.raw);
        assert!(scenario.memory.gets() >= 9);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn volumes_come_back_as_one_file() {
        let scenario = scenario(raw(10 * FRAME + 5), &[4 * FRAME, 6 * FRAME, 5]);
        let (read, checked) = scenario.read().await.expect("whole");
        assert!(read == scenario.raw);
        assert_eq!(checked.digests, ["stored_sha256", "sha256"]);

        let mut lying = scenario.artifact.clone();
        lying.volumes[0].bytes += 1;
        let error = open(&*scenario.store, &scenario.crash, &lying).await;
        assert!(matches!(error, Err(Error::Account { .. })));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_digest_over_frame_digests_is_compared() {
        let mut scenario = scenario(raw(5 * FRAME + 9), &[2 * FRAME, 3 * FRAME + 9]);
        scenario.artifact.sha256 = None;
        scenario.artifact.tree_sha256 = Some({
            let digests = scenario.raw.chunks(FRAME).flat_map(Sha256::of);
            sha256_hex(&digests.collect::<Vec<u8>>())
        });
        let (_, checked) = scenario.read().await.expect("whole");
        assert_eq!(checked.digests, ["stored_sha256", "tree_sha256"]);

        scenario.artifact.tree_sha256 = Some("0".repeat(64));
        let error = scenario.refusal().await;
        assert!(
            matches!(
                error,
                Error::Digest {
                    what: "tree_sha256",
                    ..
                }
            ),
            "{error}"
        );
        scenario.artifact.frame_bytes = Some(FRAME as u32 - 1);
        assert!(matches!(scenario.refusal().await, Error::Account { .. }));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_digest_that_differs_is_refused() {
        let mut scenario = scenario(raw(3 * FRAME), &[]);
        let right = scenario.artifact.clone();
        scenario.artifact.sha256 = Some("0".repeat(64));
        assert!(matches!(
            scenario.refusal().await,
            Error::Digest { what: "sha256", .. }
        ));
        scenario.artifact = right;
        scenario.artifact.stored_sha256 = Some("0".repeat(64));
        assert!(matches!(
            scenario.refusal().await,
            Error::Digest {
                what: "stored_sha256",
                ..
            }
        ));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_damaged_frame_is_named() {
        let scenario = scenario(raw(3 * FRAME), &[]);
        scenario.change_object(|bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        });
        let error = scenario.refusal().await;
        assert!(matches!(error, Error::Frame { number: 1, .. }), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_frame_that_holds_other_than_it_promises_is_refused() {
        // Two frames whose entries are swapped: all sums agree.
        let (a, b) = (vec![1; FRAME], vec![2; FRAME / 2]);
        let whole: Vec<u8> = [a, b].concat();
        let scenario = scenario(whole, &[]);
        scenario.change_object(|bytes| {
            let table = bytes.len() - 9 - 2 * 8;
            let (first, second) = (table + 4, table + 12);
            for n in 0..4 {
                bytes.swap(first + n, second + n);
            }
        });
        assert!(matches!(
            scenario.refusal().await,
            Error::Frame { number: 0, .. }
        ));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_object_of_another_length_is_refused() {
        for change in [
            |bytes: &mut Vec<u8>| bytes.truncate(100),
            |bytes: &mut Vec<u8>| bytes.clear(),
            |bytes: &mut Vec<u8>| bytes.push(0),
        ] {
            let scenario = scenario(raw(3 * FRAME), &[]);
            scenario.change_object(change);
            let error = scenario.refusal().await;
            assert!(matches!(error, Error::Length { .. }), "{error}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_object_without_a_table_is_left_to_zstd() {
        let scenario = scenario(raw(FRAME), &[]);
        scenario.change_object(|bytes| *bytes.last_mut().expect("not empty") ^= 1);
        let error = scenario.refusal().await;
        assert!(matches!(error, Error::NoSeekTable { .. }));
        assert!(error.to_string().contains("zstd -d"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_table_of_another_object_is_refused() {
        let mut scenario = scenario(raw(3 * FRAME), &[]);
        scenario.artifact.bytes += 1;
        let error = scenario.refusal().await;
        assert!(matches!(error, Error::SeekTable { .. }), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_long_table_is_fetched_in_full() {
        let length = 20_000;
        let mut scenario = scenario(raw(length), &[]);
        let bytes = stored(&scenario.raw, 2);
        scenario.artifact.stored_bytes = bytes.len() as u64;
        scenario.artifact.stored_sha256 = Some(sha256_hex(&bytes));
        scenario
            .memory
            .insert(scenario.artifact.key.as_str(), &bytes);
        assert!((length / 2 * 8) as u64 > TAIL);
        let (read, _) = scenario.read().await.expect("whole");
        assert!(read == scenario.raw);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_artifact_that_is_gone_has_expired() {
        let scenario = scenario(raw(FRAME), &[]);
        scenario.memory.remove(scenario.artifact.key.as_str());
        let error = scenario.refusal().await;
        assert!(matches!(error, Error::Gone { .. }));
        assert!(error.to_string().contains("expired"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_manifest_cannot_point_at_another_crash() {
        let mut scenario = scenario(raw(FRAME), &[]);
        let elsewhere = scenario.artifact.key.as_str().replace("shop", "bank");
        scenario.memory.insert(&elsewhere, b"secret");
        scenario.artifact.key = elsewhere.parse().expect("key");
        let error = scenario.refusal().await;
        assert!(matches!(error, Error::ArtifactElsewhere { .. }), "{error}");
        assert_eq!(scenario.memory.gets(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_sink_without_room_ends_it_at_once() {
        let scenario = scenario(raw(200 * FRAME), &[]);
        let opened = open(&*scenario.store, &scenario.crash, &scenario.artifact)
            .await
            .expect("opens");
        let error = opened.read(&scenario.store, Full(3 * FRAME)).await;
        let Err(Error::Sink { source, .. }) = error else {
            panic!("it had no room");
        };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn trouble_on_the_way_is_sat_out() {
        let scenario = scenario(raw(3 * FRAME), &[]);
        let opened = open(&*scenario.store, &scenario.crash, &scenario.artifact)
            .await
            .expect("opens");
        let passing = Problem::Failed("500 InternalError".into());
        scenario.memory.fail_next(2, passing);
        let (read, _) = opened
            .read(&scenario.store, Vec::new())
            .await
            .expect("in the end");
        assert!(read == scenario.raw);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn an_object_changed_anywhere_is_refused_or_gives_the_file(
            length in 0..5_000usize,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            digests: bool,
        ) {
            let mut scenario = scenario(raw(length), &[]);
            if !digests {
                (scenario.artifact.sha256, scenario.artifact.stored_sha256) = (None, None);
            }
            scenario.change_object(|bytes| {
                for (at, byte) in &changes {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            });
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            if let Ok((read, _)) = runtime.block_on(scenario.read()) {
                prop_assert_eq!(read, scenario.raw);
            }
        }
    }
}
