//! Reads a dump once, front to back, and turns it into frames.
//!
//! Holes and frames of zeros are neither read from the disk nor compressed. The digest is of the file's bytes, holes as zeros; above 64 GiB, where a
//! plain SHA-256 of mostly holes would take hours, it is one over the digests of the frames. With each frame goes the [`Position`] behind it, from
//! which a later reader can go on.

use std::fs::File;
use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::FRAME_BYTES;
use super::pool::{Packed, Pool};
use crate::model::Sha256;
use crate::spool::Position;
use crate::sys::{Extents, RunningSha256, Sha256State, read_leaving_cache_as_found};

/// Files larger than this have a tree digest.
const PLAIN_DIGEST_MAX: u64 = 64 << 30;

/// A frame on its way through the workers, in the order of the file.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) content: Content,
    /// Where the file is read to behind it.
    pub(super) after: Position,
}

/// What is in a frame.
#[derive(Debug)]
pub(super) enum Content {
    /// It is being compressed.
    Packing(oneshot::Receiver<io::Result<Packed>>),
    /// It is a whole frame of zeros.
    Zeros,
}

/// Reads one dump, over all its volumes.
pub(super) struct Reader {
    file: Arc<File>,
    len: u64,
    at: u64,
    data_bytes: u64,
    digest: FileDigest,
    pool: Arc<super::Inner>,
    runtime: tokio::runtime::Handle,
}

enum FileDigest {
    Plain(RunningSha256),
    Tree {
        over: RunningSha256,
        zeros: [u8; 32],
    },
}

/// What reading to the end tells of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Bytes read, holes included; fewer than expected if the file became shorter.
    pub(super) bytes: u64,
    /// Those in frames that are not all zeros.
    pub(super) data_bytes: u64,
    /// SHA-256 of the file.
    pub(super) sha256: Option<String>,
    /// SHA-256 over the frames' digests.
    pub(super) tree_sha256: Option<String>,
}

impl Reader {
    /// A reader of the first `len` bytes of `file` that goes on from `from`, where an earlier reader of as many bytes came to.
    pub(super) fn new(
        file: Arc<File>,
        len: u64,
        from: &Position,
        pool: Arc<super::Inner>,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        let digest = RunningSha256::resume(&from.digest);
        let digest = if len <= PLAIN_DIGEST_MAX {
            FileDigest::Plain(digest)
        } else {
            FileDigest::Tree {
                over: digest,
                zeros: Sha256::of(zeros()),
            }
        };
        Self {
            file,
            len,
            at: from.at,
            data_bytes: from.data_bytes,
            digest,
            pool,
            runtime,
        }
    }

    /// Whether there is nothing more to read.
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.len
    }

    /// Where it is.
    pub(super) fn position(&self) -> Position {
        Position {
            at: self.at,
            data_bytes: self.data_bytes,
            digest: self.digest.state(),
        }
    }

    /// Reads up to byte `end` and sends the frames. Ends early, without an error, when nobody takes them any more. Blocks.
    pub(super) fn read_to(&mut self, end: u64, frames: &mpsc::Sender<Pending>) -> io::Result<()> {
        let file = Arc::clone(&self.file);
        let inner = Arc::clone(&self.pool);
        let end = self.len.min(end);
        let mut extents = Extents::new(&file, self.len);
        while self.at < end {
            let want = usize::try_from(end - self.at)
                .unwrap_or(usize::MAX)
                .min(FRAME_BYTES as usize);
            let whole = want == FRAME_BYTES as usize;
            let content = if whole && !extents.has_data(self.at..self.at + want as u64) {
                self.zero_frame()
            } else {
                match self.read_frame(&inner.pool, &file, want, whole)? {
                    Some(content) => content,
                    None => break,
                }
            };
            let after = self.position();
            if frames.blocking_send(Pending { content, after }).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn read_frame(
        &mut self,
        pool: &Pool,
        file: &File,
        want: usize,
        whole: bool,
    ) -> io::Result<Option<Content>> {
        let mut slot = pool.slot(&self.runtime)?;
        let raw = &mut slot.raw()[..want];
        let read = read_leaving_cache_as_found(file, raw, self.at)?;
        if read == 0 {
            self.len = self.at;
            return Ok(None);
        }
        let raw = &raw[..read];
        if whole && read == want && raw == zeros() {
            return Ok(Some(self.zero_frame()));
        }
        self.digest.update(raw);
        self.at += read as u64;
        self.data_bytes += read as u64;
        if read < want {
            // It became shorter while it was read; what follows is not there any more.
            self.len = self.at;
        }
        pool.pack(slot, read).map(Content::Packing).map(Some)
    }

    fn zero_frame(&mut self) -> Content {
        self.digest.update_zeros();
        self.at += u64::from(FRAME_BYTES);
        Content::Zeros
    }

    /// What was read.
    pub(super) fn finish(self) -> Read {
        let (sha256, tree_sha256) = match self.digest {
            FileDigest::Plain(digest) => (Some(digest.finish_hex()), None),
            FileDigest::Tree { over, .. } => (None, Some(over.finish_hex())),
        };
        Read {
            bytes: self.at,
            data_bytes: self.data_bytes,
            sha256,
            tree_sha256,
        }
    }
}

impl FileDigest {
    fn update(&mut self, raw: &[u8]) {
        match self {
            Self::Plain(digest) => digest.update(raw),
            Self::Tree { over, .. } => over.update(&Sha256::of(raw)),
        }
    }

    fn update_zeros(&mut self) {
        match self {
            Self::Plain(digest) => digest.update(zeros()),
            Self::Tree { over, zeros } => over.update(zeros),
        }
    }

    fn state(&self) -> Sha256State {
        match self {
            Self::Plain(digest) | Self::Tree { over: digest, .. } => digest.state(),
        }
    }
}

/// A frame of zeros, never written and so never more than untouched memory.
fn zeros() -> &'static [u8] {
    static ZEROS: [u8; FRAME_BYTES as usize] = [0; FRAME_BYTES as usize];
    &ZEROS
}
