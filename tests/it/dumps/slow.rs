//! A dump that takes its time is left alone until its writer is done.

use std::time::{Duration, Instant};

use super::*;

/// Between two pieces: longer than the agent's first looks, shorter than its interval, so that it looks both in and between them.
const PAUSE: Duration = Duration::from_millis(2_000);
const PIECES: usize = 10;

#[test]
fn dump_written_over_twenty_seconds_is_stored_once_and_whole() -> Result<()> {
    let node = Node::new()?;
    let whole = node.path("whole");
    make(&whole, Content::Mixed, 9, 1)?;
    let bytes = fs::read(&whole)?;
    let agent = node.start()?.ready()?;
    let target = node.crash().join("slow");
    let mut writer = File::create(&target)?;
    let inode = writer.metadata()?.ino();
    for piece in bytes.chunks(bytes.len().div_ceil(PIECES)) {
        writer.write_all(piece)?;
        // Not a wait for anything but time: the pause is what is shown, and all through it nothing may happen.
        let until = Instant::now() + PAUSE;
        while Instant::now() < until {
            assert_eq!(fs::metadata(&target)?.ino(), inode);
            assert_eq!(agent.metric("salvage_pending_dumps")?, 0.0);
            assert_eq!(node.crashes()?.len(), 0);
        }
    }
    let blocks = writer.metadata()?.blocks();
    drop(writer);
    let closed = Instant::now();
    let crashes = node.wait_for_crashes(&agent, 1)?;
    let took = closed.elapsed();
    // By the event of the close and not by an interval.
    assert!(took < Duration::from_secs(5), "{took:?}");
    let original = Original {
        sha256: readers::sha256(&whole)?,
        bytes: bytes.len() as u64,
        blocks,
    };
    find(&node, &crashes, &original)?;
    ensure_nothing_left(&node, &agent, &[&node.crash()])?;
    agent.stop()
}

mod as_root {
    use super::*;

    /// `nobody`, on every Debian.
    const NOBODY: u32 = 65534;

    /// A lease on another owner's file needs a capability; without it a file is settled when it was quiet for the period.
    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn where_there_are_no_leases_a_dump_is_left_alone_until_it_was_quiet() -> Result<()> {
        let mut node = Node::new()?;
        node.more.push_str("\nsettle: {quiet_period: 3s}");
        let whole = node.path("whole");
        make(&whole, Content::Mixed, 9, 1)?;
        let original = Original::of(&whole)?;
        let bytes = fs::read(&whole)?;
        let agent = start_without_capabilities(&node, "-lease")?.ready()?;
        let target = node.crash().join("slow");
        let mut writer = File::create(&target)?;
        std::os::unix::fs::chown(&target, Some(NOBODY), Some(NOBODY))?;
        for piece in bytes.chunks(bytes.len().div_ceil(PIECES)) {
            writer.write_all(piece)?;
            let until = Instant::now() + Duration::from_millis(1_000);
            while Instant::now() < until {
                assert_eq!(agent.metric("salvage_pending_dumps")?, 0.0);
                assert_eq!(node.crashes()?.len(), 0);
            }
        }
        // Whether it is still open is what nobody can tell here.
        let crashes = node.wait_for_crashes(&agent, 1)?;
        let blocks = writer.metadata()?.blocks();
        find(&node, &crashes, &Original { blocks, ..original })?;
        ensure_nothing_left(&node, &agent, &[&node.crash()])?;
        agent.stop()
    }
}
