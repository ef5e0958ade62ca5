//! `salvage agent`: runs on a node until a signal ends it.

use std::path::PathBuf;

use super::Outcome;
use super::output::{self, note};
use crate::agent::{self, End};
use crate::config::{Config, Surroundings};
use crate::telemetry::{LogFormat, init_logs};

/// Watch directories for dumps and store them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
SALVAGE_CLUSTER and SALVAGE_NODE override the configuration; SALVAGE_LOG chooses the log lines (info, debug, salvage::ship=debug,info).

Exit codes:
  0    stopped by a signal; whatever was not yet stored is kept for the next start
  2    an error: a configuration, address or directory that cannot be used
  130  aborted by a second signal")]
pub(super) struct Args {
    /// The configuration file, YAML.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only check the configuration, and print it with all defaults and overrides.
    #[arg(long)]
    check: bool,
    /// How log lines look.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

/// Checks the configuration, prints it or starts the agent.
pub(super) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let config = Config::read(&args.config, &Surroundings::of_this_process())?;
    if args.check {
        output::print(&config.effective()?)?;
        return Ok(Outcome::Done);
    }
    init_logs(args.log_format, "info").map_err(anyhow::Error::msg)?;
    match agent::run(config).await? {
        End::Drained | End::Parked => Ok(Outcome::Done),
        End::Aborted => {
            note(format_args!(
                "aborted; whatever was not yet stored is kept for the next start"
            ));
            Ok(Outcome::Interrupted)
        }
    }
}
