//! How a dump is taken away from its source, by what lies between source and state directory.

use super::*;

/// Writes one dump straight into `source`, and one by rename where that is possible; both are taken in this way and stored, and nothing stays behind.
fn ensure_taken(node: &Node, source: &Path, way: &str) -> Result<()> {
    let agent = node.start()?.ready()?;
    let aside = node.path("aside");
    make(&aside, Content::Mixed, 9, 1)?;
    let original = Original::of(&aside)?;
    make(&source.join("written"), Content::Mixed, 9, 1)?;
    ensure!(agent.logged("dump claimed")?["way"] == way);
    let crashes = node.wait_for_crashes(&agent, 1)?;
    let stored = find(node, &crashes, &original)?;
    assert_eq!(stored.artifact()["original_name"], "written");
    assert_eq!(stored.artifact()["marks"], Value::Null);
    ensure_nothing_left(node, &agent, &[source])?;
    agent.stop()
}

#[test]
fn on_one_mount_it_is_renamed_into_the_state() -> Result<()> {
    let node = Node::new()?;
    ensure_taken(&node, &node.crash(), "rename")?;
    ensure!(!node.crash().join(".salvage").exists());
    Ok(())
}

mod as_root {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::support::disk::{Overlay, SmallDisk};

    /// `nobody`, on every Debian.
    const NOBODY: u32 = 65534;

    /// A node whose source is a mount of its own, with this mode and owner.
    fn source_elsewhere(mode: u32, owner: u32) -> Result<(SmallDisk, Node)> {
        let disk = SmallDisk::of_mebibytes(64)?;
        std::os::unix::fs::chown(disk.path(), Some(owner), Some(owner))?;
        fs::set_permissions(disk.path(), fs::Permissions::from_mode(mode))?;
        let mut node = Node::new()?;
        node.sources = format!("[{{path: {:?}}}]", disk.path());
        Ok((disk, node))
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn on_another_mount_it_is_renamed_into_a_holding_directory() -> Result<()> {
        for mode in [0o755, 0o1777] {
            let (disk, node) = source_elsewhere(mode, 0)?;
            ensure_taken(&node, disk.path(), "hold")?;
            let holding = fs::metadata(disk.path().join(".salvage"))?;
            assert_eq!((holding.mode() & 0o7777, holding.uid()), (0o700, 0));
        }
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn where_others_could_rename_the_holding_directory_it_is_copied() -> Result<()> {
        for (mode, owner) in [(0o777, 0), (0o755, NOBODY), (0o1777, NOBODY)] {
            let (disk, node) = source_elsewhere(mode, owner)?;
            ensure_taken(&node, disk.path(), "copy")?;
            ensure!(!disk.path().join(".salvage").exists());
        }
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn planted_holding_directory_is_not_used() -> Result<()> {
        let (disk, node) = source_elsewhere(0o1777, 0)?;
        let planted = disk.path().join(".salvage");
        fs::create_dir(&planted)?;
        std::os::unix::fs::chown(&planted, Some(NOBODY), None)?;
        ensure_taken(&node, disk.path(), "copy")?;
        assert_eq!(fs::read_dir(&planted)?.count(), 0);
        Ok(())
    }

    /// Moves the state of a node to `directory`.
    fn state_in(node: &mut Node, directory: &Path) -> Result<()> {
        node.state = directory.join("state");
        fs::create_dir(&node.state)?;
        fs::set_permissions(&node.state, fs::Permissions::from_mode(0o700))?;
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn state_on_a_tmpfs_takes_dumps_from_a_disk() -> Result<()> {
        let disk = SmallDisk::of_mebibytes(64)?;
        let mut node = Node::new()?;
        state_in(&mut node, disk.path())?;
        ensure_taken(&node, &node.crash(), "hold")
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn state_on_an_overlay_takes_dumps_from_a_disk() -> Result<()> {
        let overlay = Overlay::new()?;
        let mut node = Node::new()?;
        state_in(&mut node, overlay.path())?;
        ensure_taken(&node, &node.crash(), "hold")
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn state_and_source_on_one_overlay_need_no_holding_directory() -> Result<()> {
        let overlay = Overlay::new()?;
        let mut node = Node::new()?;
        state_in(&mut node, overlay.path())?;
        let source = overlay.path().join("crash");
        fs::create_dir(&source)?;
        node.sources = format!("[{{path: {source:?}}}]");
        ensure_taken(&node, &source, "rename")
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn source_on_an_overlay_gives_its_dumps_away() -> Result<()> {
        let overlay = Overlay::new()?;
        let mut node = Node::new()?;
        let source = overlay.path().join("crash");
        fs::create_dir(&source)?;
        node.sources = format!("[{{path: {source:?}}}]");
        ensure_taken(&node, &source, "hold")
    }
}
