//! Makes sure that a crash leaves a file in the victim's working directory, whatever handler the host has for cores.
//!
//! `kernel.core_pattern` is one value for the whole host. Where it already is a plain file name, nothing is changed. Else it becomes `core.%p`
//! for as long as a [`CorePattern`] lives, and then what it was before, unless somebody else changed it meanwhile.
//!
//! ```text
//! plain: shared lock ─────────────────────────────────────────── unlock
//! other: exclusive lock ─ guardian (holds the lock, waits on a pipe) ─ write ─ pipe ends ─ guardian writes the old value back ─ unlock
//! ```
//!
//! The guardian is a shell in a session of its own. The pipe ends when this value is dropped and also when our process ends by a panic, by SIGTERM or by SIGKILL: one way back for
//! all of them. The lock goes with the guardian, so a second test process never takes our value for the host's.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};

const OURS: &str = "core.%p";

/// Compare and set: only what we wrote is taken back. Signals that stop a whole terminal session must not stop this.
const GUARDIAN: &str = r#"trap '' INT TERM HUP
echo ready
while read -r _; do :; done
[ "$(cat "$1")" = "$2" ] && printf '%s\n' "$3" >"$1""#;

static SHARED: Mutex<Weak<CorePattern>> = Mutex::new(Weak::new());

/// While it lives, a crash leaves a file in the working directory of the process that crashed; see the module.
#[derive(Debug)]
pub(crate) struct CorePattern {
    state: State,
}

#[derive(Debug)]
enum State {
    /// The host's own pattern is a plain name. The lock keeps others from changing it.
    Plain {
        _lock: File,
    },
    Changed {
        guardian: Child,
    },
}

impl CorePattern {
    /// The host's, shared by all tests of this process.
    pub(crate) fn of_host() -> Result<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = shared.upgrade() {
            return Ok(held);
        }
        let held = Arc::new(Self::hold(
            Path::new("/proc/sys/kernel/core_pattern"),
            &lock_path(),
        )?);
        *shared = Arc::downgrade(&held);
        Ok(held)
    }

    /// The same for any file that behaves like it, so that the way back can be tested without touching the host.
    pub(crate) fn hold(pattern: &Path, lock: &Path) -> Result<Self> {
        // Reading is enough to lock, and all that another user's file in a sticky directory allows.
        let lock_file = File::open(lock)
            .or_else(|_| OpenOptions::new().create(true).append(true).open(lock))
            .with_context(|| format!("open the lock {}", lock.display()))?;
        flock(&lock_file, FlockOperation::LockShared).context("lock for a plain core_pattern")?;
        if is_plain(&read(pattern)?) {
            return Ok(Self {
                state: State::Plain { _lock: lock_file },
            });
        }
        flock(&lock_file, FlockOperation::Unlock).context("unlock to lock anew")?;
        flock(&lock_file, FlockOperation::LockExclusive).context("lock to change core_pattern")?;
        // Read again: whoever held the lock before us has put it back by now.
        let before = read(pattern)?;
        let guardian = guardian(pattern, &before, &lock_file)?;
        // From here on the guardian restores, so a failure below leaves nothing behind.
        let held = Self {
            state: State::Changed { guardian },
        };
        std::fs::write(pattern, format!("{OURS}\n"))
            .with_context(|| format!("core_pattern is `{before}`, so cores are no files, and {} cannot be changed: run as root", pattern.display()))?;
        Ok(held)
    }
}

impl Drop for CorePattern {
    fn drop(&mut self) {
        if let State::Changed { guardian } = &mut self.state {
            // `wait` closes the pipe first; the guardian ends when it has restored.
            guardian.wait().ok();
        }
    }
}

/// A relative name without a directory: the kernel makes the core in the working directory of the process.
fn is_plain(pattern: &str) -> bool {
    !pattern.is_empty() && !pattern.starts_with(['|', '@']) && !pattern.contains('/')
}

fn read(pattern: &Path) -> Result<String> {
    let value =
        std::fs::read_to_string(pattern).with_context(|| format!("read {}", pattern.display()))?;
    Ok(value.trim_end_matches('\n').to_owned())
}

fn guardian(pattern: &Path, before: &str, lock: &File) -> Result<Child> {
    // `setsid` puts it out of reach of Ctrl-C. Its stderr is the lock: a descriptor that it keeps open and never uses.
    let mut child = Command::new("setsid")
        .args(["sh", "-c", GUARDIAN, "guardian"])
        .arg(pattern)
        .args([OURS, before])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(lock.try_clone().context("hand over the lock")?)
        .spawn()
        .context("start the guardian of core_pattern")?;
    let mut answer = String::new();
    let stdout = child.stdout.take().context("the guardian's stdout")?;
    BufReader::new(stdout)
        .read_line(&mut answer)
        .context("hear from the guardian of core_pattern")?;
    ensure!(
        answer.trim() == "ready",
        "the guardian of core_pattern did not start: {answer:?}"
    );
    Ok(child)
}

/// Host-wide, also between users: whoever comes first makes it for all.
fn lock_path() -> PathBuf {
    let directory = if Path::new("/run/lock").is_dir() {
        "/run/lock"
    } else {
        "/tmp"
    };
    Path::new(directory).join("salvage-core-pattern")
}
