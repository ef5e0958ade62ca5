//! The `salvage` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    salvage::cli::run()
}
