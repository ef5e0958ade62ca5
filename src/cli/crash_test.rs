//! `salvage crash-test`: whether a crash in this pod is stored, tried for real. The chart's test runs it.
//!
//! It needs no access to the store: the agent tells of each crash that it has stored and verified by an Event on the pod, and only where it knows whose the dump is. So one Event proves the
//! whole way: the mount, the claim, the attribution, the store.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::time::{Instant, sleep};

use super::crash::{self, Means};
use super::output::{note, print};
use super::{EXIT_CODES, Outcome};
use crate::kube;
use crate::model::{Span, escaped};

/// How often it is asked for the Event. An agent sends it within moments.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Let a process crash in this pod, and wait until its dump is stored.
///
/// Runs in a pod whose directory for dumps an agent watches, with SALVAGE_POD_NAMESPACE and SALVAGE_POD_UID set from the pod's fields, and a service account that may list Events
/// (events.k8s.io) in its namespace.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Args {
    /// The directory for dumps, as this pod sees it.
    #[arg(long, value_name = "DIRECTORY")]
    dir: PathBuf,
    /// How long to wait: 30s, 2m.
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    wait: Span,
    /// The pod's namespace.
    #[arg(long, env = "SALVAGE_POD_NAMESPACE", value_name = "NAMESPACE")]
    namespace: String,
    /// The pod's UID.
    #[arg(long, env = "SALVAGE_POD_UID", value_name = "UID")]
    uid: String,
}

pub(super) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let salvage = std::env::current_exe().context("finding this program")?;
    let client = kube::client().await.map_err(|why| anyhow!("{why}"))?;
    // Before anything crashes: it may be forbidden.
    let before = kube::collected(&client, &args.namespace, &args.uid).await?;
    let means = Means::of_this_machine();
    note(format_args!(
        "a process crashes in {}; {}",
        escaped(&args.dir),
        match means {
            Means::KernelCore => "the kernel writes its core there",
            Means::Minidump =>
                "a minidump of it is written there: this node's kernel does not write cores to plain files",
        }
    ));
    let dir = args.dir.clone();
    let crashed = move || crash::let_a_process_crash(&salvage, &dir, means);
    let dump = tokio::task::spawn_blocking(crashed).await??;
    let until = Instant::now() + args.wait.duration();
    let trouble = loop {
        // What fails once may do so because the API server is being replaced.
        let trouble = match kube::collected(&client, &args.namespace, &args.uid).await {
            Ok(told) => {
                if let Some(new) = told.iter().find(|new| !before.contains(new)) {
                    print(&format!("{}\n", new.note))?;
                    return Ok(Outcome::Done);
                }
                None
            }
            Err(error) => Some(error),
        };
        if Instant::now() >= until {
            break trouble;
        }
        sleep(ASK_AGAIN).await;
    };
    if let Some(error) = trouble {
        return Err(
            anyhow::Error::from(error).context("the crash may be stored, but nobody can tell")
        );
    }
    // A directory of mode 1733 cannot be listed; a core's name is the kernel's.
    let left = match &dump {
        Some(dump) => Some(std::fs::symlink_metadata(dump).is_ok()),
        None => std::fs::read_dir(&args.dir)
            .ok()
            .map(|mut names| names.next().is_some()),
    };
    let (waited, dir) = (args.wait, escaped(&args.dir));
    match left {
        Some(true) => bail!(
            "after {waited} the dump is still in {dir}: no agent takes it; is there one on this node, is it ready, and is this directory among its sources? `salvage doctor` tells"
        ),
        Some(false) => bail!(
            "after {waited} nothing is told of the dump, which is no longer in {dir}: see whether the agent on this node is ready and may create Events; its log names the dump"
        ),
        None => bail!(
            "after {waited} nothing is told of the dump, and {dir} cannot be listed to see whether it was taken: see whether there is an agent on this node, and is ready; `salvage doctor` tells"
        ),
    }
}
