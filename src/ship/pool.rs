//! A fixed set of threads that compress frames, and the fixed set of buffers they work in.
//!
//! Whoever wants a frame compressed first gets a slot (input and output together, so a frame in flight never waits for a second thing) and gives it
//! back by dropping the frame. There are no other frame buffers, so this is all the memory that frames can take.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use super::FRAME_BYTES;

/// Frames beyond one for each worker: one being read, one being sent.
const AHEAD: usize = 2;

/// The threads and buffers.
#[derive(Debug)]
pub(super) struct Pool {
    jobs: SyncSender<Job>,
    free: Arc<Semaphore>,
    spare: Arc<Mutex<Vec<Buffers>>>,
    /// A frame of nothing but zeros, compressed: most of a sparse dump.
    zeros: Arc<[u8]>,
}

#[derive(Debug, Default)]
struct Buffers {
    raw: Vec<u8>,
    packed: Vec<u8>,
}

/// The right to one frame's buffers.
#[derive(Debug)]
pub(super) struct Slot {
    buffers: Buffers,
    spare: Arc<Mutex<Vec<Buffers>>>,
    _permit: OwnedSemaphorePermit,
}

/// A compressed frame.
#[derive(Debug)]
pub(super) struct Packed {
    slot: Slot,
    /// Bytes of the dump in it.
    pub(super) raw_bytes: u32,
}

#[derive(Debug)]
struct Job {
    slot: Slot,
    len: usize,
    reply: oneshot::Sender<io::Result<Packed>>,
}

/// Bytes that the buffers and the compressors of a pool take.
pub(super) fn memory(workers: usize) -> u64 {
    /// What zstd itself needs for a compressor at a low level.
    const COMPRESSOR: u64 = 2 << 20;
    let frame =
        u64::from(FRAME_BYTES) + zstd::zstd_safe::compress_bound(FRAME_BYTES as usize) as u64;
    workers as u64 * COMPRESSOR + (workers + AHEAD) as u64 * frame
}

impl Pool {
    pub(super) fn new(workers: usize, level: i32) -> io::Result<Self> {
        let slots = workers + AHEAD;
        let (jobs, receiver) = sync_channel::<Job>(slots);
        let receiver = Arc::new(Mutex::new(receiver));
        for n in 0..workers {
            let compressor = compressor(level)?;
            let receiver = Arc::clone(&receiver);
            std::thread::Builder::new()
                .name(format!("zstd-{n}"))
                .spawn(move || work(&receiver, compressor))?;
        }
        let mut zeros = Vec::with_capacity(zstd::zstd_safe::compress_bound(FRAME_BYTES as usize));
        compressor(level)?.compress_to_buffer(&vec![0; FRAME_BYTES as usize], &mut zeros)?;
        Ok(Self {
            jobs,
            free: Arc::new(Semaphore::new(slots)),
            spare: Arc::default(),
            zeros: zeros.into(),
        })
    }

    /// A whole frame of zeros, compressed.
    pub(super) fn zeros(&self) -> Arc<[u8]> {
        Arc::clone(&self.zeros)
    }

    /// Waits for free buffers. Blocks; not for async code.
    pub(super) fn slot(&self, runtime: &tokio::runtime::Handle) -> io::Result<Slot> {
        let permit = runtime
            .block_on(Arc::clone(&self.free).acquire_owned())
            .map_err(io::Error::other)?;
        let buffers = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default();
        Ok(Slot {
            buffers,
            spare: Arc::clone(&self.spare),
            _permit: permit,
        })
    }

    /// Compresses the first `len` bytes of a slot's input.
    pub(super) fn pack(
        &self,
        slot: Slot,
        len: usize,
    ) -> io::Result<oneshot::Receiver<io::Result<Packed>>> {
        let (reply, packed) = oneshot::channel();
        self.jobs
            .send(Job { slot, len, reply })
            .map_err(|_| io::Error::other("the compressing threads have ended"))?;
        Ok(packed)
    }
}

impl Slot {
    /// The frame's input, of a frame's size.
    pub(super) fn raw(&mut self) -> &mut [u8] {
        self.buffers.raw.resize(FRAME_BYTES as usize, 0);
        &mut self.buffers.raw
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let buffers = std::mem::take(&mut self.buffers);
        self.spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(buffers);
    }
}

impl Packed {
    /// The frame as it is stored.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.slot.buffers.packed
    }
}

fn compressor(level: i32) -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(level)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    compressor.set_parameter(CParameter::ContentSizeFlag(true))?;
    Ok(compressor)
}

fn work(jobs: &Mutex<Receiver<Job>>, mut compressor: Compressor<'static>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        // The pool is gone, and with it whoever would wait.
        let Ok(Job {
            mut slot,
            len,
            reply,
        }) = next
        else {
            return;
        };
        let packed = pack_one(&mut compressor, &mut slot.buffers, len)
            .map(|raw_bytes| Packed { slot, raw_bytes });
        // Nobody waits any more where a dump was given up.
        let _ = reply.send(packed);
    }
}

fn pack_one(
    compressor: &mut Compressor<'static>,
    buffers: &mut Buffers,
    len: usize,
) -> io::Result<u32> {
    buffers.packed.clear();
    buffers
        .packed
        .reserve(zstd::zstd_safe::compress_bound(FRAME_BYTES as usize));
    compressor.compress_to_buffer(&buffers.raw[..len], &mut buffers.packed)?;
    u32::try_from(len).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_decode_to_what_went_in_and_buffers_come_back() {
        let pool = Arc::new(Pool::new(2, 1).expect("pool"));
        for round in 0..20u8 {
            let (pool, runtime) = (Arc::clone(&pool), tokio::runtime::Handle::current());
            let packing = tokio::task::spawn_blocking(move || {
                let mut slot = pool.slot(&runtime)?;
                slot.raw()[..1000].fill(round);
                pool.pack(slot, 1000)
            });
            let packed = packing
                .await
                .expect("join")
                .expect("pack")
                .await
                .expect("reply")
                .expect("packed");
            assert_eq!(packed.raw_bytes, 1000);
            assert_eq!(
                zstd::decode_all(packed.bytes()).expect("decode"),
                vec![round; 1000]
            );
        }
        assert_eq!(pool.free.available_permits(), 4);
        assert_eq!(
            zstd::decode_all(&*pool.zeros()).expect("decode"),
            vec![0; FRAME_BYTES as usize]
        );
    }
}
