//! Takes a capture of a process of this machine, without Kubernetes and without an agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};

use super::live::Live;
use super::{Common, Outcome};
use crate::capture::{self, Local, Progress};
use crate::cli::get;
use crate::cli::output::{note, print};
use crate::cli::say;
use crate::cli::signals::Interrupts;
use crate::kube::CaptureSpec;
use crate::model::Escaped;
use crate::telemetry::{LogFormat, init_logs};

pub(super) async fn run(spec: CaptureSpec, pid: i32, common: Common) -> anyhow::Result<Outcome> {
    if !common.store.is_given() {
        bail!("--pid needs a store to put it in: give --store, or set SALVAGE_STORE");
    }
    // What ails the store while it is shipped is told there, and not what libraries think of it.
    init_logs(LogFormat::Text, "salvage=warn").map_err(anyhow::Error::msg)?;
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
    let twice_interrupted = async move {
        interrupts.recv().await;
        theirs.store(true, Ordering::Relaxed);
        note(format_args!(
            "interrupted: this ends when the process goes on; a second signal ends it at once, which may leave the process standing still until the next `salvage capture --pid`"
        ));
        interrupts.recv().await;
    };
    let mut live = Live::new();
    let mut show = |progress: &Progress| live.show(&capture::shown(progress));
    let taken = tokio::select! {
        taken = capture::take_here(&spec, pid, store, local, &cancelled, &mut show) => taken,
        () = twice_interrupted => {
            // What the next one needs to let it go is in there.
            let kept = temporary.keep();
            note(format_args!(
                "what there is of it is kept in {}",
                Escaped::bytes(kept.as_os_str().as_encoded_bytes())
            ));
            return Ok(Outcome::Interrupted);
        }
    };
    live.end();
    let id = match taken {
        Ok(id) => id,
        Err(error) => {
            if error.is_kept() {
                let kept = temporary.keep();
                note(format_args!(
                    "what was taken is kept as it is in {}: open it there or copy it to its place by hand, and remove the directory above it",
                    Escaped::bytes(kept.join("dumps").as_os_str().as_encoded_bytes())
                ));
            }
            if cancelled.load(Ordering::Relaxed) {
                say(&error.into());
                return Ok(Outcome::Interrupted);
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
