//! What a JVM writes straight into a watched source.

use super::*;
use crate::support::victims::Launch;

#[test]
#[ignore = "needs the Java class; tests/run provisions it"]
fn hprof_of_a_full_heap_is_stored() -> Result<()> {
    let node = Node::new()?;
    let agent = node.start()?.ready()?;
    let caught = caught(&node, &agent, || {
        Launch::java_out_of_memory(&node.crash())?
            .start_in(&node.crash())?
            .crash()
    })?;
    assert_eq!(caught.crashed.status.code(), Some(3), "{}", caught.crashed);
    let crashes = caught.wait(&node, &agent)?;
    let stored = find(&node, &crashes, caught.only()?)?;
    assert_eq!(stored.artifact()["format"], "hprof");
    assert_eq!(
        stored.artifact()["original_name"],
        format!("java_pid{}.hprof", caught.crashed.facts.pid)
    );
    readers::ensure_complete_hprof(&stored.file)?;
    ensure_nothing_left(&node, &agent, &[&node.crash()])?;
    agent.stop()
}
