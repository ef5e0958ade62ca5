//! `salvage capture`: a dump, gcdump, trace or counters of a living .NET process.
//!
//! In a cluster it creates a `Capture`, which the agent on the pod's node does, and tells how far that is: the bytes never pass through the API server. On a node
//! without Kubernetes it takes the capture itself.

mod ask;
mod here;
mod live;

use std::path::PathBuf;

use anyhow::bail;

use super::store::StoreArgs;
use super::{EXIT_CODES, Outcome};
use crate::kube::CaptureSpec;
use crate::model::{ByteSize, DumpType, Span};

/// Take a dump, gcdump, trace or counters of a living .NET process in a pod, with nothing installed in it.
///
/// The agent on the pod's node takes it and stores it like a crash: `salvage ls`, `salvage show` and `salvage get` know it by the id that is printed. Who may create
/// captures.salvage.dev in the pod's namespace may do so.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The memory of the process. It stands still meanwhile.
    #[command(after_help = EXIT_CODES)]
    Dump {
        /// How much of the memory: mini, triage, heap, full.
        #[arg(long = "type", value_name = "TYPE", default_value = "heap")]
        kind: DumpType,
        #[command(flatten)]
        common: Common,
    },
    /// The objects of its managed heap by type, without their contents. Forces a garbage collection.
    #[command(after_help = EXIT_CODES)]
    Gcdump {
        #[command(flatten)]
        common: Common,
    },
    /// Events over a time: samples of the CPU, collections, requests.
    #[command(after_help = EXIT_CODES)]
    Trace {
        /// How long.
        #[arg(long, value_name = "DURATION", default_value = "30s")]
        duration: Span,
        /// cpu-sampling, gc, http or contention; cpu-sampling where neither this nor --providers is given.
        #[arg(long)]
        profile: Option<String>,
        /// Further sources of events, each as dotnet-trace has it.
        #[arg(long = "providers", value_name = "NAME[:KEYWORDS[:LEVEL[:ARGUMENTS]]]")]
        providers: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Values over a time: CPU, memory, collections, exceptions, and the program's own.
    #[command(after_help = EXIT_CODES)]
    Counters {
        /// How long.
        #[arg(long, value_name = "DURATION", default_value = "30s")]
        duration: Span,
        /// How often they are read, in whole seconds.
        #[arg(long, value_name = "DURATION", default_value = "1s")]
        interval: Span,
        /// Names of event sources; System.Runtime where neither this nor --meters is given.
        #[arg(long = "providers", value_name = "NAME", value_delimiter = ',')]
        providers: Vec<String>,
        /// Names of meters.
        #[arg(long = "meters", value_name = "NAME", value_delimiter = ',')]
        meters: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Name of the pod.
    #[arg(required_unless_present = "pid", conflicts_with = "pid")]
    pod: Option<String>,
    /// Namespace of the pod; that of the kubeconfig's context where it is not given.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Name of the container, where several of the pod run .NET.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// The process as the container numbers it, where several in the container run .NET.
    #[arg(long, value_name = "PID")]
    process: Option<i32>,
    /// Go on where the process or its container would come to harm.
    #[arg(long)]
    force: bool,
    /// Most bytes that are taken.
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<ByteSize>,
    /// How long the Capture stays in the cluster when it has ended; what is stored stays.
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    ttl: Span,
    /// Do not wait for the end: print the name of the Capture.
    #[arg(long, conflicts_with = "get")]
    no_wait: bool,
    /// Fetch it when it is stored; needs --store.
    #[arg(long)]
    get: bool,
    /// Where --get puts it; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = ".", requires = "get")]
    out: PathBuf,
    /// Without Kubernetes: the process on this machine, as this machine numbers it. Needs root, and --store.
    #[arg(long, conflicts_with_all = ["namespace", "container", "process", "no_wait"])]
    pid: Option<i32>,
    #[command(flatten)]
    store: StoreArgs,
}

pub(in crate::cli) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let (spec, common) = args.what.written();
    if common.get && !common.store.is_given() {
        bail!("--get needs the store that the agents use: give --store, or set SALVAGE_STORE");
    }
    match common.pid {
        Some(pid) => here::run(spec, pid, common).await,
        None => ask::run(spec, common).await,
    }
}

impl What {
    /// What is asked for, as a `Capture` has it, and the rest.
    fn written(self) -> (CaptureSpec, Common) {
        let text = |value: &dyn ToString| Some(value.to_string());
        let (kind, more, common) = match self {
            Self::Dump { kind, common } => {
                let more = CaptureSpec {
                    dump_type: text(&kind),
                    ..CaptureSpec::default()
                };
                ("dump", more, common)
            }
            Self::Gcdump { common } => ("gcdump", CaptureSpec::default(), common),
            Self::Trace {
                duration,
                profile,
                providers,
                common,
            } => {
                let more = CaptureSpec {
                    duration: text(&duration),
                    profile,
                    providers,
                    ..CaptureSpec::default()
                };
                ("trace", more, common)
            }
            Self::Counters {
                duration,
                interval,
                providers,
                meters,
                common,
            } => {
                let more = CaptureSpec {
                    duration: text(&duration),
                    interval: text(&interval),
                    providers,
                    meters,
                    ..CaptureSpec::default()
                };
                ("counters", more, common)
            }
        };
        let spec = CaptureSpec {
            pod: common.pod.clone().unwrap_or_default(),
            container: common.container.clone(),
            process: common.process,
            kind: kind.to_owned(),
            max_bytes: common.max_bytes.map(|most| most.to_string()),
            force: common.force,
            ttl: text(&common.ttl),
            ..more
        };
        (spec, common)
    }
}
