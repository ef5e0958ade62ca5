//! One agent per directory: `flock` on a file in it.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// A held lock; the kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is held by another agent ({holder}); one agent per state directory", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote about itself.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock at `path` or says who holds it, without waiting. `about` tells others who we are.
    ///
    /// # Errors
    /// [`LockError::Held`] or the trouble with the file.
    pub fn take(path: &Path, about: &str) -> Result<Self, LockError> {
        let failed = |source: io::Error| LockError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = (&file).take(256).read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() {
                    "unnamed".to_owned()
                } else {
                    holder.trim().to_owned()
                };
                return Err(LockError::Held {
                    path: path.to_owned(),
                    holder,
                });
            }
            Err(error) => return Err(failed(error.into())),
        }
        // Only a help for the reader of an error: a full disk must not keep the agent from working.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{about}"));
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_the_lock() {
        let temp = tempfile::tempdir().expect("temp dir");
        let path = temp.path().join("lock");
        let first = Lock::take(&path, "pid 7 on node a").expect("first");
        let error = Lock::take(&path, "second").expect_err("held").to_string();
        assert!(error.contains("pid 7 on node a"), "{error}");
        drop(first);
        Lock::take(&path, "second").expect("free again");
    }
}
