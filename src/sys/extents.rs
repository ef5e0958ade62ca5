//! Where a file has data and where it has holes, and reading it without disturbing the page cache.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::SeekFrom;
use rustix::io::{Errno, ReadWriteFlags};

/// More extents than this are not counted one by one: a file made of them is either hostile or not worth the time.
const COUNTED: usize = 1 << 20;

/// Finds data in a file, front to back. Where the file system cannot tell, everything is data.
#[derive(Debug)]
pub struct Extents<'a> {
    file: &'a File,
    len: u64,
    current: Range<u64>,
}

impl<'a> Extents<'a> {
    /// Looks at the first `len` bytes of `file`. Moves the file's offset.
    pub fn new(file: &'a File, len: u64) -> Self {
        Self {
            file,
            len,
            current: 0..0,
        }
    }

    /// Whether any byte of `range` may be data. Ranges must be asked for in rising order.
    pub fn has_data(&mut self, range: Range<u64>) -> bool {
        if range.start >= self.current.end {
            self.current =
                next_data(self.file, range.start, self.len).unwrap_or(self.len..self.len);
        }
        self.current.start < range.end && self.current.end > range.start
    }
}

/// Bytes of the first `len` bytes of `file` that are not holes. Moves the file's offset.
pub fn data_bytes(file: &File, len: u64) -> u64 {
    let mut total = 0u64;
    let mut at = 0u64;
    for _ in 0..COUNTED {
        match next_data(file, at, len) {
            Some(extent) => {
                total = total.saturating_add(extent.end - extent.start);
                at = extent.end;
            }
            None => return total,
        }
    }
    total.saturating_add(len.saturating_sub(at))
}

/// The first data at or after `from`, within `len`.
fn next_data(file: &File, from: u64, len: u64) -> Option<Range<u64>> {
    if from >= len {
        return None;
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(start) => start.max(from),
        Err(Errno::NXIO) => return None,
        Err(_) => return Some(from..len),
    };
    if start >= len {
        return None;
    }
    // A file that shrinks meanwhile must not make an empty extent, or a caller's loop would not end.
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))
        .unwrap_or(len)
        .clamp(start + 1, len);
    Some(start..end)
}

/// `RWF_DONTCACHE` of `preadv2(2)`, since Linux 6.14: pages that this read brought into the cache go again, those that were there stay.
const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// Reads at `offset` until `buffer` is full or the file ends; returns the bytes read. Leaves the page cache as it was found where the kernel
/// and the file system can do that.
///
/// # Errors
/// As `preadv2(2)`.
pub fn read_leaving_cache_as_found(
    file: &File,
    buffer: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let at = offset + filled as u64;
        match read_once(file, &mut buffer[filled..], at) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

fn read_once(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut slices = [io::IoSliceMut::new(buffer)];
    match rustix::io::preadv2(file, &mut slices, offset, DONTCACHE) {
        // EINVAL: before 6.14; EOPNOTSUPP: this file system (tmpfs, overlayfs); ENOSYS: before 4.6. A refusal costs a microsecond a frame.
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
            rustix::io::pread(file, buffer, offset)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn holes_are_found() {
        let file = tempfile::tempfile().expect("temp file");
        file.set_len(64 << 20).expect("size");
        file.write_all_at(&[1; 4096], 16 << 20).expect("write");
        let mut extents = Extents::new(&file, 64 << 20);
        let with_data: Vec<u64> = (0..64)
            .filter(|mib| extents.has_data(mib << 20..(mib + 1) << 20))
            .collect();
        assert_eq!(with_data, [16]);
        let data = data_bytes(&file, 64 << 20);
        assert!((4096..=1 << 20).contains(&data), "{data}");
        assert_eq!(data_bytes(&file, 1 << 20), 0);
    }

    #[test]
    fn reading_stops_at_the_end() {
        let file = tempfile::tempfile().expect("temp file");
        file.write_all_at(b"dump", 0).expect("write");
        let mut buffer = [0; 16];
        assert_eq!(
            read_leaving_cache_as_found(&file, &mut buffer, 1).expect("read"),
            3
        );
        assert_eq!(&buffer[..3], b"ump");
    }
}
