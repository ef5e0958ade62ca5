//! Real runtimes in what a container is to them: found, asked and dumped from the outside, and alive after everything.
//!
//! .NET 8 always, 3.1 and 9 where they are provisioned (`SALVAGE_TEST_DOTNET_ALL=1`).

mod dump;
mod events;
mod find;
mod rights;
mod victim;

use anyhow::{Context, Result};

use crate::support::container::{Container, Dotnet, Launch};

/// Each runtime in a container of its own, changed by `launch`; alive before and after.
fn on_each(
    launch: impl Fn(Launch) -> Launch,
    test: impl Fn(&mut Container) -> Result<()>,
) -> Result<()> {
    for dotnet in Dotnet::provisioned() {
        let on = || format!("on {dotnet:?}");
        let mut container = launch(Launch::of(dotnet)).start().with_context(on)?;
        container.ensure_alive().with_context(on)?;
        let tested = test(&mut container);
        tested.with_context(|| format!("{} {}", on(), container.process()))?;
        container
            .ensure_alive()
            .with_context(|| format!("{} afterwards", on()))?;
    }
    Ok(())
}
