//! Whole objects: put, looked at, read, removed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::staging::{publish, stage, staging};
use super::trouble::{Trouble, absent};
use crate::model::ObjectKey;
use crate::store::sums::crc64nvme_digest;
use crate::store::{Expected, Problem, PutMode, Verified};
use crate::sys::{Dir, FileKind, Stat};

/// What verifying reads at a time.
const BUFFER: usize = 1 << 20;

/// A key as directories and a file name.
pub(super) fn split(key: &ObjectKey) -> (Vec<&OsStr>, &OsStr) {
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

pub(super) fn put(
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

pub(super) fn verify(
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

pub(super) fn get(
    root: &Dir,
    key: &ObjectKey,
    range: &Range<u64>,
) -> std::result::Result<Bytes, Trouble> {
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

pub(super) fn delete(root: &Dir, key: &ObjectKey) -> std::result::Result<(), Trouble> {
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
