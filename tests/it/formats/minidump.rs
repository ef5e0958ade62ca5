//! Minidumps of real processes.

use anyhow::Result;
use salvage::model::Format;
use tempfile::TempDir;

use crate::support::cuts;
use crate::support::victims::Launch;

#[test]
fn a_minidump_that_is_cut_is_never_complete() -> Result<()> {
    let directory = TempDir::new()?;
    let dump = directory.path().join("x.dmp");
    Launch::compiled("segv")?
        .start_in(directory.path())?
        .write_minidump(&dump)?;
    cuts::never_complete(&dump, Format::Minidump, 0);
    Ok(())
}
