//! Others at the same file or name while the agent settles, takes and ships it.

use std::time::{Duration, Instant};

use super::*;
use crate::support::agent::wait;
use crate::support::victims;

/// No open of a writer may wait for longer: a lease is held for the time of a rename.
const LONGEST_OPEN: Duration = Duration::from_secs(1);

/// How long a fight goes on.
const FIGHT: Duration = Duration::from_secs(4);

#[test]
#[ignore = "needs the compiled victims; tests/run provisions them"]
fn writers_that_open_the_file_again_and_again_are_not_held_up() -> Result<()> {
    let node = Node::new()?;
    let agent = node.start()?.ready()?;
    let target = node.crash().join("core");
    let mut fighters = [0, 50, 1_000]
        .map(|pause_us| victims::lease_fight(&target, pause_us))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let mut originals = Vec::new();
    for seed in 0..12 {
        let made = node.path("made");
        make(&made, Content::Mixed, 3, seed)?;
        originals.push(Original::of(&made)?);
        fs::rename(&made, &target)?;
        // Each moment without a writer may be the one in which it is taken.
        wait("it to be claimed", || Ok((!target.exists()).then_some(())))?;
    }
    for fighter in &mut fighters {
        fighter.close_stdin();
        let done = victims::key_values(&fighter.line_with("done")?);
        fighter.wait()?;
        assert_ne!(done["opens"], "0", "{done:?}");
        let longest = Duration::from_micros(done["longest_us"].parse()?);
        assert!(longest < LONGEST_OPEN, "{done:?}");
        println!("{done:?}");
    }
    let crashes = node.wait_for_crashes(&agent, originals.len())?;
    for original in &originals {
        find(&node, &crashes, original)?;
    }
    ensure_nothing_left(&node, &agent, &[&node.crash()])?;
    agent.stop()
}

#[test]
fn file_that_is_never_without_a_writer_is_taken_when_the_last_one_ends() -> Result<()> {
    let node = Node::new()?;
    let agent = node.start()?.ready()?;
    let made = node.path("made");
    make(&made, Content::Mixed, 6, 1)?;
    let original = Original::of(&made)?;
    let target = node.crash().join("core");
    let reopen = || File::options().write(true).open(&target);
    let mut writer = File::options().write(true).open(&made)?;
    fs::rename(&made, &target)?;
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < FIGHT {
        // The next one is open before the last one is closed, and each close wakes the agent.
        let asked = Instant::now();
        let next = reopen()?;
        longest = longest.max(asked.elapsed());
        drop(std::mem::replace(&mut writer, next));
    }
    assert!(longest < LONGEST_OPEN, "{longest:?}");
    assert_eq!(agent.metric("salvage_pending_dumps")?, 0.0);
    assert_eq!(node.crashes()?.len(), 0);
    drop(writer);
    let crashes = node.wait_for_crashes(&agent, 1)?;
    find(&node, &crashes, &original)?;
    ensure_nothing_left(&node, &agent, &[&node.crash()])?;
    agent.stop()
}

#[test]
fn second_dump_of_a_name_while_the_first_is_shipped_is_a_crash_of_its_own() -> Result<()> {
    let node = Node::new()?;
    let agent = node.start()?.ready()?;
    let (first, second) = (node.path("first"), node.path("second"));
    make(&first, Content::Noise, 192, 1)?;
    make(&second, Content::Mixed, 9, 2)?;
    let originals = [Original::of(&first)?, Original::of(&second)?];
    let target = node.crash().join("coredump.1.dmp");
    fs::rename(&first, &target)?;
    wait("the first to be claimed", || {
        Ok((!target.exists()).then_some(()))
    })?;
    assert_eq!(agent.metric("salvage_pending_dumps")?, 1.0);
    assert_eq!(node.crashes()?.len(), 0, "it is not shipped yet");
    // As createdump does: one open that cuts what is there.
    make(&target, Content::Mixed, 9, 2)?;
    let crashes = node.wait_for_crashes(&agent, 2)?;
    for original in &originals {
        let stored = find(&node, &crashes, original)?;
        assert_eq!(stored.artifact()["original_name"], "coredump.1.dmp");
    }
    ensure_nothing_left(&node, &agent, &[&node.crash()])?;
    agent.stop()
}

#[test]
fn ten_dumps_of_one_name_in_a_row_are_ten_crashes() -> Result<()> {
    let node = Node::new()?;
    let agent = node.start()?.ready()?;
    let target = node.crash().join("core");
    let mut originals = Vec::new();
    for seed in 0..10 {
        let made = node.path("made");
        make(&made, Content::Mixed, 3, seed)?;
        originals.push(Original::of(&made)?);
        fs::rename(&made, &target)?;
        wait("it to be claimed", || Ok((!target.exists()).then_some(())))?;
    }
    let crashes = node.wait_for_crashes(&agent, originals.len())?;
    for original in &originals {
        find(&node, &crashes, original)?;
    }
    ensure_nothing_left(&node, &agent, &[&node.crash()])?;
    agent.stop()
}
