//! One source that cannot be used never stops another.

use super::*;
use crate::support::agent::wait;

/// Starts the agent with `broken` beside the working source: it names the broken one, works on the other, and is ready once it is mended.
fn ensure_other_works(
    node: &mut Node,
    broken: &Path,
    start: impl Fn(&Node) -> Result<Agent>,
    mend: impl Fn() -> Result<()>,
) -> Result<()> {
    node.sources = format!("[{{path: {broken:?}}}, {{path: {:?}}}]", node.crash());
    let agent = start(node)?;
    make(&node.crash().join("dump"), Content::Mixed, 3, 1)?;
    node.wait_for_crashes(&agent, 1)?;
    let (status, said) = agent.http("/readyz")?;
    assert_eq!(status, 503, "{said}");
    assert!(said.contains(&*broken.to_string_lossy()), "{said}");
    let errors = "salvage_source_errors_total{kind=\"source_unavailable\"}";
    assert_eq!(agent.metric(errors)?, 1.0);
    mend()?;
    wait("readiness", || {
        Ok((agent.http("/readyz")?.0 == 200).then_some(()))
    })
    .with_context(|| agent.readyz().unwrap_or_default())?;
    make(&broken.join("dump"), Content::Mixed, 3, 2)?;
    make(&node.crash().join("dump"), Content::Mixed, 3, 3)?;
    node.wait_for_crashes(&agent, 3)?;
    ensure_nothing_left(node, &agent, &[&node.crash(), broken])?;
    agent.stop()
}

#[test]
fn missing_directory_is_named_and_the_other_source_works() -> Result<()> {
    let mut node = Node::new()?;
    let broken = node.path("missing");
    ensure_other_works(&mut node, &broken, Node::start, || {
        Ok(fs::create_dir(&broken)?)
    })
}

#[test]
fn file_in_place_of_a_directory_is_named_and_the_other_source_works() -> Result<()> {
    let mut node = Node::new()?;
    let broken = node.path("file");
    fs::write(&broken, b"no directory")?;
    ensure_other_works(&mut node, &broken, Node::start, || {
        fs::remove_file(&broken)?;
        Ok(fs::create_dir(&broken)?)
    })
}

mod as_root {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn unreadable_directory_is_named_and_the_other_source_works() -> Result<()> {
        let mut node = Node::new()?;
        let broken = node.path("unreadable");
        fs::create_dir(&broken)?;
        fs::set_permissions(&broken, fs::Permissions::from_mode(0o000))?;
        ensure_other_works(
            &mut node,
            &broken,
            |node| start_without_capabilities(node, "-dac_override,-dac_read_search"),
            || {
                Ok(fs::set_permissions(
                    &broken,
                    fs::Permissions::from_mode(0o755),
                )?)
            },
        )
    }
}
