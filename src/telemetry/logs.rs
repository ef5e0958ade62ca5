//! Log lines: constant messages, facts as fields.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `SALVAGE_LOG` says which lines (`usual` by default; `debug`, or `salvage::ship=debug,info`).
///
/// # Errors
/// What is wrong with `SALVAGE_LOG`.
pub fn init_logs(format: LogFormat, usual: &str) -> Result<(), String> {
    let written = std::env::var("SALVAGE_LOG").unwrap_or_default();
    let written = if written.is_empty() { usual } else { &written };
    // What it cannot read of an answer the library logs whole, and a pod's environment holds secrets: what matters of its failures we say ourselves.
    let written = format!("{written},kube_client=off,kube_runtime=off");
    let filter = EnvFilter::try_new(&written).map_err(|error| {
        format!("SALVAGE_LOG: {error}; use error, warn, info, debug or trace, or TARGET=LEVEL,...")
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
