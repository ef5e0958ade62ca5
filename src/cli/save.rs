//! A fetched file on its way to its final name.
//!
//! Until it is whole it is `.NAME.partial-<random>` in the same directory, mode 0600, and it is gone again unless [`Finish::keep`]
//! ran: no file under the final name is ever half of one, and none is replaced that was there before. Zeros become holes, so a dump of
//! a large, mostly empty address space needs no more room than the process did.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::fetch::Sink;

/// What is a hole and what is not is decided block by block, the size in which file systems allocate.
const BLOCK: usize = 4096;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A file under construction. Dropping it removes it, also while other threads still write it or make it durable.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    file: Arc<File>,
}

impl Partial {
    /// Makes a new file that is to become `name` in `directory`.
    pub(super) fn create(directory: &Path, name: &str) -> io::Result<Self> {
        let path = directory.join(format!(".{name}.partial-{:016x}", fastrand::u64(..)));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self {
            path,
            file: Arc::new(file),
        })
    }

    /// Where to write its content, from the first byte on.
    pub(super) fn writer(&self) -> HoleWriter {
        HoleWriter {
            file: self.file.clone(),
            at: 0,
        }
    }

    /// What is left to do when everything is written. It may be done on another thread, but the partial must be held until it is.
    pub(super) fn finish(&self) -> Finish {
        Finish {
            path: self.path.clone(),
            file: self.file.clone(),
        }
    }
}

/// The last steps of a file.
#[derive(Debug)]
pub(super) struct Finish {
    path: PathBuf,
    file: Arc<File>,
}

impl Finish {
    /// Makes the file, which is `bytes` long, durable, and gives it its final name.
    pub(super) fn keep(self, target: &Path, bytes: u64, replace: bool) -> io::Result<()> {
        // The length counts where the file ends in a hole.
        self.file.set_len(bytes)?;
        self.file.sync_all()?;
        match replace {
            true => std::fs::rename(&self.path, target)?,
            false => rename_new(&self.path, target)?,
        }
        let directory = target.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Once it has its final name nothing is there any more; if it cannot be removed nobody can do better.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Renames without replacing.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Network file systems do not know the flag; a link replaces nothing either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => std::fs::hard_link(from, to),
        renamed => Ok(renamed?),
    }
}

/// Writes a file from its start, leaving out blocks of zeros.
#[derive(Debug)]
pub(super) struct HoleWriter {
    file: Arc<File>,
    at: u64,
}

impl Sink for HoleWriter {
    fn write(&mut self, raw: &[u8]) -> io::Result<()> {
        let mut rest = raw;
        // The start of data not yet written, as an offset into `raw`.
        let mut data: Option<usize> = None;
        let start = self.at;
        let offset = |rest: &[u8]| raw.len() - rest.len();
        while !rest.is_empty() {
            let here = offset(rest);
            let in_block = (start + here as u64) % BLOCK as u64;
            let (block, after) = rest.split_at(rest.len().min(BLOCK - in_block as usize));
            let is_zero = *block == ZEROS[..block.len()];
            match (is_zero, data) {
                (true, Some(from)) => {
                    self.file
                        .write_all_at(&raw[from..here], start + from as u64)?;
                    data = None;
                }
                (false, None) => data = Some(here),
                _ => {}
            }
            rest = after;
        }
        if let Some(from) = data {
            self.file.write_all_at(&raw[from..], start + from as u64)?;
        }
        self.at += raw.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).expect("readable");
        let name = |entry: io::Result<std::fs::DirEntry>| {
            entry
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        };
        entries.map(name).collect()
    }

    #[test]
    fn zeros_become_holes() {
        let directory = tempfile::tempdir().expect("directory");
        let partial = Partial::create(directory.path(), "x").expect("created");
        let mut writer = partial.writer();
        let mut raw = vec![0; 8 << 20];
        raw[5_000_000] = 1;
        for chunk in raw.chunks(3_000_001) {
            writer.write(chunk).expect("written");
        }
        let target = directory.path().join("x");
        partial
            .finish()
            .keep(&target, raw.len() as u64, false)
            .expect("kept");
        let metadata = std::fs::metadata(&target).expect("there");
        assert!(
            metadata.blocks() * 512 <= 64 << 10,
            "{} blocks",
            metadata.blocks()
        );
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(std::fs::read(&target).expect("readable") == raw);
        assert_eq!(names(directory.path()), ["x"]);
    }

    #[test]
    fn a_file_that_is_there_is_replaced_only_on_demand() {
        let directory = tempfile::tempdir().expect("directory");
        let target = directory.path().join("x");
        std::fs::write(&target, "old").expect("written");
        let save = |replace| {
            let partial = Partial::create(directory.path(), "x").expect("created");
            partial.writer().write(b"new").expect("written");
            partial.finish().keep(&target, 3, replace)
        };
        let error = save(false).expect_err("it is there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&target).expect("readable"), b"old");
        save(true).expect("on demand");
        assert_eq!(std::fs::read(&target).expect("readable"), b"new");
        assert_eq!(names(directory.path()), ["x"]);
    }

    #[test]
    fn what_is_not_kept_is_gone() {
        let directory = tempfile::tempdir().expect("directory");
        let partial = Partial::create(directory.path(), "x").expect("created");
        assert!(names(directory.path())[0].starts_with(".x.partial-"));
        drop(partial);
        assert!(names(directory.path()).is_empty());
    }

    proptest! {
        #[test]
        fn any_content_in_any_chunks_reads_back(runs in proptest::collection::vec((0u8..2, 1usize..9_000), 0..20), chunk in 1usize..10_000) {
            let raw: Vec<u8> = runs.iter().flat_map(|(byte, length)| vec![*byte; *length]).collect();
            let directory = tempfile::tempdir().expect("directory");
            let partial = Partial::create(directory.path(), "x").expect("created");
            let mut writer = partial.writer();
            for chunk in raw.chunks(chunk) {
                writer.write(chunk).expect("written");
            }
            let target = directory.path().join("x");
            partial.finish().keep(&target, raw.len() as u64, false).expect("kept");
            prop_assert!(std::fs::read(&target).expect("readable") == raw);
        }
    }
}
