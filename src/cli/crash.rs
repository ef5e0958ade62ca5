//! A process that crashes on purpose, for the demo and for `crash-test`.
//!
//! It leaves a kernel core where the kernel writes cores to a plain file name, else a minidump, taken by `minidump-writer` before it dies, as crash handlers do.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::Context;
use minidump_writer::minidump_writer::MinidumpWriterConfig;
use rustix::process::{Resource, Rlimit};

use super::output::print;
use crate::model::escaped;

/// The hidden command of the process that crashes.
pub(super) const COMMAND: &str = "crash-on-purpose";

/// Crashes at once, when it is told to.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// How the crash leaves its dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// The kernel writes a core.
    KernelCore,
    /// We write a minidump of it.
    Minidump,
}

/// What the crashing process does: waits for its cue, then aborts.
pub(super) fn run(_args: Args) -> ExitCode {
    let limit = rustix::process::getrlimit(Resource::Core);
    let _ = rustix::process::setrlimit(
        Resource::Core,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    let _ = print("ready\n");
    let _ = std::io::stdin().lock().read_line(&mut String::new());
    std::process::abort()
}

/// Lets a process crash in `dir`, where its dump then is. Gives the dump's path where we named it.
pub(super) fn let_a_process_crash(
    salvage: &Path,
    dir: &Path,
    means: Means,
) -> anyhow::Result<Option<PathBuf>> {
    let mut child = Guard(
        Command::new(salvage)
            .arg(COMMAND)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the process that crashes")?,
    );
    let mut said = String::new();
    BufReader::new(child.0.stdout.take().context("its output")?).read_line(&mut said)?;
    let dump = match means {
        Means::KernelCore => None,
        Means::Minidump => Some(write_minidump(&child.0, dir)?),
    };
    child
        .0
        .stdin
        .take()
        .context("its input")?
        .write_all(b"\n")?;
    child.0.wait()?;
    Ok(dump)
}

impl Means {
    /// What this machine allows.
    pub(super) fn of_this_machine() -> Self {
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        let pattern = pattern.trim();
        let plain =
            !pattern.is_empty() && !pattern.starts_with(['|', '@']) && !pattern.contains('/');
        let allowed = rustix::process::getrlimit(Resource::Core).maximum != Some(0);
        if plain && allowed {
            Self::KernelCore
        } else {
            Self::Minidump
        }
    }
}

fn write_minidump(child: &Child, dir: &Path) -> anyhow::Result<PathBuf> {
    let pid = i32::try_from(child.id())?;
    let to = dir.join(format!("salvage.{pid}.dmp"));
    let mut file =
        std::fs::File::create_new(&to).with_context(|| format!("making {}", escaped(&to)))?;
    MinidumpWriterConfig::new(pid, pid)
        .write(&mut file)
        .context("writing a minidump of the process (ptrace must be allowed)")?;
    Ok(to)
}

/// A child that does not outlive whoever started it.
pub(super) struct Guard(pub(super) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Ended and reaped already, in most cases.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
