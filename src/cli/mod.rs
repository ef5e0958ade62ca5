//! The command line: one file per command, and what they share.
//!
//! Owns what people and scripts see: words, tables, exit codes. What was found goes to standard output; everything else (notes,
//! progress, errors) goes to standard error. A name that somebody else chose reaches a terminal only escaped.

mod agent;
mod capture;
mod crash;
mod crash_test;
mod demo;
mod doctor;
mod get;
mod ls;
mod open_with;
mod output;
mod save;
mod show;
mod signals;
mod store;
mod table;
mod when;

use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::{OutputError, note};

use crate::fetch;
use crate::model::Escaped;

/// Stands below the help of every command that people and scripts use.
const EXIT_CODES: &str = "\
Exit codes:
  0    found, done
  1    nothing was found
  2    an error: wrong usage, a store that cannot be read, a file that could not be fetched whole
  130  interrupted";

/// Keeps what a crash leaves behind, and brings it back.
#[derive(Debug, Parser)]
#[command(name = "salvage", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Agent(agent::Args),
    Demo(demo::Args),
    CrashTest(crash_test::Args),
    #[command(hide = true, name = crash::COMMAND)]
    CrashOnPurpose(crash::Args),
    Ls(ls::Args),
    Show(show::Args),
    Get(get::Args),
    Capture(capture::Args),
    Doctor(doctor::Args),
}

/// How a command ended that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Something was found, and what was asked for is done.
    Done,
    /// There is nothing of the kind.
    Nothing,
    /// Something went wrong, was said, and did not keep the rest from being done.
    Trouble,
    /// Somebody did not want to wait for the end.
    Interrupted,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Nothing => Self::from(1),
            Outcome::Trouble => Self::from(2),
            Outcome::Interrupted => Self::from(130),
        }
    }
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Agent(args) => on_threads(agent::run(args)),
        Command::Demo(args) => on_threads(demo::run(args)),
        Command::CrashTest(args) => on_threads(crash_test::run(args)),
        Command::CrashOnPurpose(args) => crash::run(args),
        Command::Ls(args) => on_threads(ls::run(args)),
        Command::Show(args) => on_threads(show::run(args)),
        Command::Get(args) => on_threads(get::run(args)),
        Command::Capture(args) => on_threads(capture::run(args)),
        Command::Doctor(args) => on_threads(doctor::run(args)),
    }
}

/// Runs a command. Two threads are enough for a few requests at once; what computes or blocks has threads of its own.
fn on_threads(command: impl Future<Output = anyhow::Result<Outcome>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return exit_code(Err(anyhow::Error::from(error).context("starting threads")));
        }
    };
    let outcome = runtime.block_on(command);
    // Whatever still runs belongs to a command that ended early; nobody waits for it.
    runtime.shutdown_background();
    exit_code(outcome)
}

fn exit_code(outcome: anyhow::Result<Outcome>) -> ExitCode {
    let error = match outcome {
        Ok(outcome) => return outcome.into(),
        Err(error) => error,
    };
    // Whoever read our output has seen enough.
    if error
        .downcast_ref()
        .is_some_and(OutputError::is_broken_pipe)
    {
        return ExitCode::SUCCESS;
    }
    say(&error);
    match error.downcast_ref() {
        Some(fetch::Error::NotFound { .. }) => Outcome::Nothing.into(),
        Some(fetch::Error::Interrupted) => Outcome::Interrupted.into(),
        _ => Outcome::Trouble.into(),
    }
}

/// Says an error with all its causes, on one line.
fn say(error: &anyhow::Error) {
    note(format_args!("error: {}", one_line(error)));
}

fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        // Some causes repeat their own cause in their words.
        if line.ends_with(&cause) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&cause);
    }
    // Servers and file names choose some of these words. Longer ones than fit in an escape are cut into several.
    let mut shown = String::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let end = rest
            .char_indices()
            .nth(500)
            .map_or(rest.len(), |(at, _)| at);
        shown.push_str(&Escaped::bytes(&rest.as_bytes()[..end]).to_string());
        rest = &rest[end..];
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_documents_its_exit_codes() {
        for command in Cli::command()
            .get_subcommands_mut()
            .filter(|command| !command.is_hide_set())
        {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Exit codes:"), "{}", command.get_name());
        }
    }

    #[test]
    fn an_error_is_one_line_with_every_cause_once() {
        let error = anyhow!("no route\nto host\u{1b}[2J")
            .context("reading x")
            .context("fetching y");
        assert_eq!(
            one_line(&error),
            r"fetching y: reading x: no route\nto host\u{1b}[2J"
        );
        let twice = anyhow!("b").context("a: b");
        assert_eq!(one_line(&twice), "a: b");
        let long = anyhow!("x".repeat(2_000));
        assert_eq!(one_line(&long).len(), 2_000);
    }
}
