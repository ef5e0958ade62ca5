//! Takes a capture of a process of this machine, without Kubernetes and without an agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};

use super::live::Live;
use super::{Common, Outcome};
use crate::capture::{self, Local, Progress};
use crate::cli::get;
use crate::cli::output::{note, print};
use crate::cli::signals::Interrupts;
use crate::kube::CaptureSpec;
use crate::model::Escaped;

pub(super) async fn run(spec: CaptureSpec, pid: i32, common: Common) -> anyhow::Result<Outcome> {
    if !common.store.is_given() {
        bail!("--pid needs a store to put it in: give --store, or set SALVAGE_STORE");
    }
    let store = common.store.clone().open().await?;
    let temporary = tempfile::Builder::new()
        .prefix(capture::LOCAL_PREFIX)
        .tempdir()
        .context("making a temporary directory for what is not stored yet")?;
    let local = Local::in_directory(temporary.path());
    let cancelled = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&cancelled);
    let mut interrupts = Interrupts::new()?;
    // The process must not be left as it is: it is let go first, and then this ends.
    tokio::spawn(async move {
        interrupts.recv().await;
        theirs.store(true, Ordering::Relaxed);
    });
    let mut live = Live::new();
    let mut show = |progress: &Progress| live.show(&capture::shown(progress));
    let taken = capture::take_here(&spec, pid, store, local, &cancelled, &mut show).await;
    live.end();
    let id = match taken {
        Ok(id) => id,
        Err(error) => {
            if error.is_kept() {
                let kept = temporary.keep();
                note(format_args!(
                    "what was taken is kept below {}",
                    Escaped::bytes(kept.as_os_str().as_encoded_bytes())
                ));
            }
            return Err(error.into());
        }
    };
    print(&format!("{id}\n"))?;
    if common.get {
        let id = id.to_string().parse().context("the capture's id")?;
        return get::run(get::Args::of(id, common.out, common.store)).await;
    }
    Ok(Outcome::Done)
}
