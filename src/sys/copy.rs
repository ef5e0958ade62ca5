//! Copies a file with its holes, a piece at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::extents::{Extents, read_leaving_cache_as_found};

/// One piece of a copy; also how often the caller is asked whether to go on.
const PIECE: usize = 1 << 20;

/// Smallest run of zeros that becomes a hole: the block of nearly every file system.
const BLOCK: usize = 4096;

/// Why a copy ended early.
#[derive(Debug, thiserror::Error)]
pub enum CopyError<Stop> {
    /// The caller wanted no more.
    #[error("stopped")]
    Stopped(Stop),
    /// The source cannot be read.
    #[error("cannot read")]
    Read(#[source] io::Error),
    /// The copy cannot be written.
    #[error("cannot write")]
    Write(#[source] io::Error),
}

/// Copies the first `len` bytes of `from` into the empty file `to` and makes them durable; runs of zeros become holes. Shares the blocks where
/// the file system can (`FICLONE`). Returns the bytes copied: fewer than `len` if `from` became shorter. `go_on` is asked before
/// every piece that writes, with its size.
///
/// # Errors
/// Those of reading and writing, told apart since they are different people's trouble, or what `go_on` said.
pub fn copy_sparse<Stop>(
    from: &File,
    to: &File,
    len: u64,
    mut go_on: impl FnMut(u64) -> Result<(), Stop>,
) -> Result<u64, CopyError<Stop>> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        to.sync_all().map_err(CopyError::Write)?;
        return to
            .metadata()
            .map(|meta| meta.len())
            .map_err(CopyError::Write);
    }
    let mut extents = Extents::new(from, len);
    let mut buffer = vec![0; PIECE];
    let mut at = 0u64;
    while at < len {
        let want = usize::try_from(len - at).unwrap_or(PIECE).min(PIECE);
        if !extents.has_data(at..at + want as u64) {
            at += want as u64;
            continue;
        }
        let read =
            read_leaving_cache_as_found(from, &mut buffer[..want], at).map_err(CopyError::Read)?;
        if read == 0 {
            break;
        }
        go_on(read as u64).map_err(CopyError::Stopped)?;
        write_blocks(to, &buffer[..read], at).map_err(CopyError::Write)?;
        at += read as u64;
    }
    // The length says what was there, also when the last bytes are a hole; a source that became shorter is cut where it ended.
    let end = from
        .metadata()
        .map_err(CopyError::Read)?
        .len()
        .min(len)
        .min(at);
    to.set_len(end).map_err(CopyError::Write)?;
    to.sync_all().map_err(CopyError::Write)?;
    Ok(end)
}

fn write_blocks(to: &File, piece: &[u8], at: u64) -> io::Result<()> {
    for (n, block) in piece.chunks(BLOCK).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            to.write_all_at(block, at + (n * BLOCK) as u64)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_is_equal_and_keeps_holes() {
        let from = tempfile::tempfile().expect("temp file");
        from.set_len(32 << 20).expect("size");
        from.write_all_at(b"head", 0).expect("write");
        from.write_all_at(&vec![7; 3 << 20], 9 << 20)
            .expect("write");
        from.write_all_at(&vec![0; 8 << 20], 20 << 20)
            .expect("zeros");
        let to = tempfile::tempfile().expect("temp file");
        let copied = copy_sparse(&from, &to, 32 << 20, |_| Ok::<(), ()>(())).expect("copy");
        assert_eq!(copied, 32 << 20);
        let (mut a, mut b) = (vec![0; 32 << 20], vec![0; 32 << 20]);
        from.read_exact_at(&mut a, 0).expect("read");
        to.read_exact_at(&mut b, 0).expect("read");
        assert!(a == b);
        assert!(to.metadata().expect("meta").blocks() * 512 < 5 << 20);
    }

    #[test]
    fn the_caller_can_stop_it() {
        let from = tempfile::tempfile().expect("temp file");
        from.write_all_at(&vec![7; 4 << 20], 0).expect("write");
        let to = tempfile::tempfile().expect("temp file");
        let mut left = 2 << 20;
        let stopped = copy_sparse(&from, &to, 4 << 20, |bytes| {
            left = u64::checked_sub(left, bytes).ok_or("quota")?;
            Ok(())
        });
        // Where the file system shares blocks nothing is written, so nobody is asked.
        assert!(matches!(stopped, Err(CopyError::Stopped("quota")) | Ok(_)));
    }
}
