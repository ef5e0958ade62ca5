//! A node on which everything crashes at once.

use std::collections::BTreeMap;

use super::*;

const DUMPS: usize = 1_000;

/// What the agent may take, whatever comes.
const MEMORY: u64 = 96 << 20;

#[test]
fn a_thousand_dumps_at_once_are_each_stored_once_in_bounded_memory() -> Result<()> {
    let mut node = Node::new()?;
    node.sources = format!("[{{path: {:?}, layout: \"{{pod}}\"}}]", node.crash());
    let agent = node.start()?.ready()?;
    // Half of them appear in one instant with their directory, the others are written one after the other.
    let aside = node.path("burst");
    fs::create_dir(&aside)?;
    let mut names = BTreeMap::new();
    let mut write = |directory: &Path, number: usize| -> Result<()> {
        let name = format!("core.{number}");
        let content = format!("dump {number} ").repeat(100 + number % 7 * 1_000);
        fs::write(directory.join(&name), &content)?;
        names.insert(crate::support::stored::sha256_hex(content.as_bytes()), name);
        Ok(())
    };
    for number in 0..DUMPS / 2 {
        write(&aside, number)?;
    }
    fs::rename(&aside, node.crash().join("burst"))?;
    for number in DUMPS / 2..DUMPS {
        write(&node.crash(), number)?;
    }
    let crashes = node.wait_for_crashes(&agent, DUMPS)?;
    let peak = agent.peak_memory()?;
    assert!(peak < MEMORY, "{peak} bytes");
    for line in &crashes {
        let manifest = node.manifest_at(text(&line["key"])?)?;
        let artifact = &manifest["artifacts"][0];
        let name = names.remove(text(&artifact["sha256"])?);
        assert_eq!(
            artifact["original_name"],
            name.map_or(Value::Null, Value::String),
            "{manifest}"
        );
    }
    assert_eq!(names.len(), 0, "{names:?}");
    for line in crashes.iter().step_by(DUMPS / 4) {
        let manifest = node.manifest(text(&line["id"])?)?;
        let file = node.get(text(&line["id"])?)?.remove(0);
        assert_eq!(
            manifest["artifacts"][0]["sha256"],
            readers::sha256(&file)?.as_str()
        );
    }
    ensure_nothing_left(&node, &agent, &[&node.crash()])?;
    println!("peak memory of the agent: {} KiB", peak >> 10);
    agent.stop()
}
