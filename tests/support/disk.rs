//! A file system that is soon full, so that a dump does not fit on it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// A tmpfs of its own; unmounted when dropped. Needs root.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    pub(crate) fn of_mebibytes(size: u32) -> Result<Self> {
        let directory = TempDir::new()?;
        run(Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size}m,mode=0777"),
                "small-disk",
            ])
            .arg(directory.path()))?;
        Ok(Self { directory })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there must not keep the mount in the host's table.
        let path: PathBuf = self.directory.path().to_owned();
        run(Command::new("umount").arg("-l").arg(path)).ok();
    }
}

/// An overlay, as the root file system of a container is; its layers are on a disk of their own. Needs root.
#[derive(Debug)]
pub(crate) struct Overlay {
    merged: PathBuf,
    _layers: SmallDisk,
}

impl Overlay {
    pub(crate) fn new() -> Result<Self> {
        let layers = SmallDisk::of_mebibytes(256)?;
        let path = |name: &str| layers.path().join(name);
        for name in ["lower", "upper", "work", "merged"] {
            std::fs::create_dir(path(name))?;
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            path("lower").display(),
            path("upper").display(),
            path("work").display()
        );
        let merged = path("merged");
        run(Command::new("mount")
            .args(["-t", "overlay", "-o", &options, "overlay"])
            .arg(&merged))?;
        Ok(Self {
            merged,
            _layers: layers,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.merged
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(&self.merged)).ok();
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
