//! What .NET's createdump writes straight into a watched source.

use serde_json::json;

use super::*;
use crate::support::readers::Readelf;
use crate::support::victims::{Createdump, crash_dotnet};

/// Lets a .NET process die of an exception with this kind of dump.
fn crash(node: &Node, agent: &Agent, kind: u8) -> Result<Caught> {
    let createdump = Createdump {
        kind,
        name: "%e.%p.dmp".to_owned(),
        crash_report: false,
    };
    caught(node, agent, || {
        crash_dotnet("exception", &createdump, &node.crash())
    })
}

/// What holds of a dump of any type.
fn ensure_facts(stored: &Stored, caught: &Caught) -> Result<()> {
    let (facts, artifact) = (&caught.crashed.facts, stored.artifact());
    let readelf = Readelf::of(&stored.file)?;
    readelf.ensure_complete_core()?;
    assert_eq!(stored.line["reason"], "SIGABRT");
    assert_eq!(stored.manifest["signal"]["number"], 6);
    assert_eq!(artifact["role"], "dump");
    assert_eq!(artifact["format"], "elf-core");
    assert_eq!(artifact["producer"], "createdump");
    assert_eq!(artifact["complete"], true);
    assert_eq!(
        artifact["original_name"],
        format!("modes.{}.dmp", facts.pid)
    );
    let process = &artifact["process"];
    assert_eq!(process["pid"], facts.pid);
    assert_eq!(process["comm"], facts.comm);
    assert_eq!(process["exe"], json!(facts.exe));
    assert_eq!(process["threads"], readelf.count("NT_PRSTATUS"));
    assert_eq!(process["build_id"], readers::build_id(&facts.exe)?);
    assert_eq!(artifact["runtime"]["name"], ".NET");
    Ok(())
}

#[test]
#[ignore = "needs a real .NET; tests/run provisions it"]
fn dumps_of_all_four_types_are_stored() -> Result<()> {
    let mut sizes = Vec::new();
    for kind in [1, 2, 3, 4] {
        let node = Node::new()?;
        let agent = node.start()?.ready()?;
        let caught = crash(&node, &agent, kind)?;
        let crashes = caught.wait(&node, &agent)?;
        let stored = find(&node, &crashes, caught.only()?)?;
        ensure_facts(&stored, &caught).with_context(|| format!("type {kind}"))?;
        ensure_nothing_left(&node, &agent, &[&node.crash()])?;
        agent.stop()?;
        sizes.push(caught.only()?.bytes);
    }
    let [mini, heap, triage, full] = sizes[..] else {
        unreachable!("four types")
    };
    assert!(mini < heap && triage < heap && heap < full, "{sizes:?}");
    Ok(())
}
