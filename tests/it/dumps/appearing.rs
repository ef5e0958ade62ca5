//! Sources and directories that come and go while the agent runs.

use super::*;
use crate::support::agent::wait;

/// Puts a dump into `directory`, waits until it is the `count`th crash, and gives it.
fn store_one(node: &Node, agent: &Agent, directory: &Path, count: usize) -> Result<Stored> {
    let made = node.path("made");
    make(&made, Content::Mixed, 3, count as u64)?;
    let original = Original::of(&made)?;
    fs::rename(&made, directory.join("dump"))?;
    let crashes = node.wait_for_crashes(agent, count)?;
    find(node, &crashes, &original)
}

#[test]
fn source_that_appears_late_and_is_made_anew_is_watched() -> Result<()> {
    let node = Node::new()?;
    fs::remove_dir(node.crash())?;
    let agent = node.start()?;
    wait("a word about the source", || {
        let said = agent.readyz()?;
        Ok(said
            .contains(&*node.crash().to_string_lossy())
            .then_some(()))
    })?;
    for round in 0..3 {
        fs::create_dir(node.crash())?;
        // At once, before the agent has seen the directory, and then while it watches.
        store_one(&node, &agent, &node.crash(), 2 * round + 1)?;
        assert_eq!(agent.http("/readyz")?.0, 200, "{}", agent.readyz()?);
        store_one(&node, &agent, &node.crash(), 2 * round + 2)?;
        ensure_nothing_left(&node, &agent, &[&node.crash()])?;
        fs::remove_dir(node.crash())?;
        if round == 1 {
            wait("trouble with the source", || {
                Ok((agent.http("/readyz")?.0 == 503).then_some(()))
            })?;
        }
    }
    agent.stop()
}

#[test]
fn levels_name_a_crash_also_where_they_appear_while_the_agent_runs() -> Result<()> {
    let mut node = Node::new()?;
    node.sources = format!(
        "[{{path: {:?}, layout: \"{{namespace}}/{{pod}}/{{container}}\"}}]",
        node.crash()
    );
    let old = node.crash().join("shop/cart-0/app");
    fs::create_dir_all(&old)?;
    let agent = node.start()?.ready()?;
    let pods = [
        ("shop", "cart-0", "app"),
        ("shop", "cart-1", "app"),
        ("pay", "ledger-7d9f6c5b8-x2x9z", "sidecar"),
    ];
    for (number, (namespace, pod, container)) in pods.into_iter().enumerate() {
        let directory = node.crash().join(namespace).join(pod).join(container);
        fs::create_dir_all(&directory)?;
        let stored = store_one(&node, &agent, &directory, number + 1)?;
        for (what, name) in [
            ("namespace", namespace),
            ("pod", pod),
            ("container", container),
        ] {
            assert_eq!(stored.line[what], name);
        }
        let key = text(&stored.line["key"])?;
        assert!(key.starts_with(&format!("crashes/cluster=test/namespace={namespace}/date=")));
        assert!(
            key.contains(&format!("Z_{pod}_{container}_Unknown_")),
            "{key}"
        );
        let artifact = text(&stored.artifact()["key"])?;
        assert!(artifact.contains(&format!("/namespace={namespace}/")));
        assert_eq!(stored.manifest["attribution"]["confidence"], "probable");
        assert!(directory.is_dir(), "only files are taken");
    }
    let listed = node.salvage(&["ls", "-n", "pay", "-o", "json"], &[0])?;
    assert_eq!(listed.lines().count(), 1);

    // A dump that was there before its directory could be watched, and one above the deepest level.
    let made = node.path("cart-2");
    fs::create_dir_all(made.join("app"))?;
    make(&made.join("app/dump"), Content::Mixed, 3, 77)?;
    let original = Original::of(&made.join("app/dump"))?;
    fs::rename(&made, node.crash().join("shop/cart-2"))?;
    let crashes = node.wait_for_crashes(&agent, 4)?;
    let stored = find(&node, &crashes, &original)?;
    assert_eq!(stored.line["pod"], "cart-2");
    let stored = store_one(&node, &agent, &node.crash().join("shop"), 5)?;
    assert_eq!(stored.line["namespace"], "shop");
    assert_eq!(stored.line["pod"], "-");

    // A directory that goes and comes back as another pod of the same name.
    fs::remove_dir_all(node.crash().join("shop"))?;
    fs::create_dir_all(&old)?;
    store_one(&node, &agent, &old, 6)?;
    ensure_nothing_left(&node, &agent, &[&node.crash()])?;
    agent.stop()
}

#[test]
fn dumps_that_were_there_before_the_agent_are_stored() -> Result<()> {
    let node = Node::new()?;
    make(&node.crash().join("old"), Content::Mixed, 3, 1)?;
    let original = Original::of(&node.crash().join("old"))?;
    let agent = node.start()?.ready()?;
    let crashes = node.wait_for_crashes(&agent, 1)?;
    find(&node, &crashes, &original)?;
    ensure_nothing_left(&node, &agent, &[&node.crash()])?;
    agent.stop()
}
