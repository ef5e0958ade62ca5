//! Cores that the kernel writes straight into a watched source: each is stored as it was, and its manifest says what `/proc` said before and gdb says after.

use jiff::{SignedDuration, Timestamp};
use rustix::system::uname;
use serde_json::json;

use super::*;
use crate::support::agent::wait;
use crate::support::readers::{Gdb, Readelf};
use crate::support::victims::{self, HOSTNAME, Launch};

/// The kernel keeps file times by its tick.
const TICK: SignedDuration = SignedDuration::from_secs(1);

/// One crash of this victim, stored whole, with its facts right.
fn stored_core(
    node: &Node,
    launch: impl Fn() -> Result<Launch>,
    (signal, name, code): (i32, &str, i32),
) -> Result<(Caught, Stored, Gdb)> {
    let agent = node.start()?.ready()?;
    let before = Timestamp::now() - TICK;
    let caught = caught(node, &agent, || launch()?.start_in(&node.crash())?.crash())?;
    let crashes = caught.wait(node, &agent)?;
    let stored = find(node, &crashes, caught.only()?)?;
    ensure_nothing_left(node, &agent, &[&node.crash()])?;

    let (facts, manifest, artifact) = (&caught.crashed.facts, &stored.manifest, stored.artifact());
    let readelf = Readelf::of(&stored.file)?;
    readelf.ensure_complete_core()?;
    // The copy that another user ran is gone by now; it was the same file.
    let program = if facts.exe.exists() {
        facts.exe.clone()
    } else {
        victims::compiled(&facts.comm)?
    };
    let gdb = Gdb::of(&stored.file, &program)?;
    assert_eq!((gdb.signal, gdb.si_code), (signal, code));
    assert_eq!(stored.line["reason"], name);
    assert_eq!(manifest["reason"], name);
    assert_eq!(manifest["signal"]["number"], gdb.signal);
    assert_eq!(manifest["signal"]["code"], gdb.si_code);
    assert_eq!(artifact["format"], "elf-core");
    assert_eq!(artifact["role"], "dump");
    assert_eq!(artifact["producer"], "kernel");
    assert_eq!(artifact["complete"], true);
    assert_eq!(artifact["marks"], json!(null));
    assert!(text(&artifact["original_name"])?.starts_with("core"));
    let process = &artifact["process"];
    assert_eq!(process["pid"], facts.pid);
    assert_eq!(process["pid"], gdb.pid);
    assert_eq!(process["comm"], facts.comm);
    assert_eq!(process["exe"], json!(facts.exe));
    assert_eq!(process["uid"], facts.uids[0]);
    assert_eq!(process["threads"], facts.tids.len());
    assert_eq!(process["threads"], gdb.tids.len());
    assert_eq!(process["threads"], readelf.count("NT_PRSTATUS"));
    assert_eq!(process["crashing_tid"], facts.crashing_tid()?);
    assert_eq!(process["crashing_tid"], gdb.crashing_tid);
    match readers::build_id(&program) {
        Ok(id) => assert_eq!(process["build_id"], id),
        Err(_) => assert_eq!(process["build_id"], json!(null)),
    }
    for module in process["modules"].as_array().context("modules")? {
        let path = Path::new(text(&module["name"])?);
        assert!(gdb.mapped.contains(path), "{module}");
        assert_eq!(module["build_id"], readers::build_id(path)?);
    }
    // Claimed by the process, so it is shown and not believed.
    assert_eq!(stored.line["pod"], HOSTNAME);
    assert_eq!(manifest["attribution"]["confidence"], "unknown");
    assert_eq!(manifest["host"]["kernel"], uname().release().to_str()?);
    let time: Timestamp = text(&manifest["time"])?.parse()?;
    assert!((before..=Timestamp::now()).contains(&time), "{time}");
    agent.stop()?;
    Ok((caught, stored, gdb))
}

#[test]
#[ignore = "needs the compiled victims; tests/run provisions them"]
fn core_of_a_bad_access_is_stored_with_its_address() -> Result<()> {
    let node = Node::new()?;
    let (_, stored, gdb) = stored_core(&node, || Launch::compiled("segv"), (11, "SIGSEGV", 1))?;
    assert_eq!(gdb.address, 8);
    let address = text(&stored.manifest["signal"]["address"])?;
    assert_eq!(
        u64::from_str_radix(address.trim_start_matches("0x"), 16)?,
        8
    );
    Ok(())
}

#[test]
#[ignore = "needs the compiled victims; tests/run provisions them"]
fn core_of_an_abort_is_stored() -> Result<()> {
    stored_core(
        &Node::new()?,
        || Launch::compiled("abort"),
        (6, "SIGABRT", -6),
    )?;
    Ok(())
}

#[test]
#[ignore = "needs the compiled victims; tests/run provisions them"]
fn core_of_16_threads_is_stored_with_the_one_that_aborted() -> Result<()> {
    let node = Node::new()?;
    let (caught, stored, _) =
        stored_core(&node, || Launch::compiled("threads"), (6, "SIGABRT", -6))?;
    assert_eq!(stored.artifact()["process"]["threads"], 16);
    assert_ne!(
        caught.crashed.facts.crashing_tid()?,
        caught.crashed.facts.pid
    );
    Ok(())
}

#[test]
#[ignore = "needs the compiled victims; tests/run provisions them"]
fn holes_of_a_large_heap_stay_holes() -> Result<()> {
    let node = Node::new()?;
    let (caught, stored, _) =
        stored_core(&node, || Launch::compiled("bigheap"), (11, "SIGSEGV", 1))?;
    let (original, fetched) = (caught.only()?, fs::metadata(&stored.file)?);
    assert!(original.bytes > 256 << 20);
    assert!(original.blocks * 512 < original.bytes * 3 / 4);
    // Zeros that were written need no room any more either: one run of eight.
    assert!(
        fetched.blocks() < original.blocks * 9 / 10,
        "{} of {}",
        fetched.blocks(),
        original.blocks
    );
    Ok(())
}

#[test]
#[ignore = "needs the tools that tests/run provisions"]
fn core_of_python_is_stored_with_its_runtime() -> Result<()> {
    let (_, stored, _) = stored_core(
        &Node::new()?,
        || Ok(Launch::python("os.abort()")),
        (6, "SIGABRT", -6),
    )?;
    assert_eq!(stored.artifact()["runtime"]["name"], "Python");
    Ok(())
}

#[test]
#[ignore = "needs the compiled victims; tests/run provisions them"]
fn minidump_of_a_living_process_is_stored() -> Result<()> {
    let node = Node::new()?;
    let agent = node.start()?.ready()?;
    let elsewhere = node.path("elsewhere");
    fs::create_dir(&elsewhere)?;
    let victim = Launch::compiled("threads")?.start_in(&elsewhere)?;
    let minidump = elsewhere.join("crash.dmp");
    victim.write_minidump(&minidump)?;
    let original = Original::of(&minidump)?;
    fs::rename(&minidump, node.crash().join("crash.dmp"))?;
    let crashes = node.wait_for_crashes(&agent, 1)?;
    let stored = find(&node, &crashes, &original)?;
    assert_eq!(stored.artifact()["format"], "minidump");
    ensure_nothing_left(&node, &agent, &[&node.crash()])?;
    agent.stop()
}

#[test]
#[ignore = "needs the compiled victims; tests/run provisions them"]
fn two_processes_that_crash_in_one_directory_at_once_give_two_crashes() -> Result<()> {
    let node = Node::new()?;
    let agent = node.start()?.ready()?;
    let mut pair = Launch::compiled("pair")?.start_in(&node.crash())?;
    let mut pids = Vec::new();
    for _ in 0..2 {
        pair.process().send("die")?;
        let said = victims::key_values(&pair.process().line_with("reaped")?);
        assert_eq!(said["core"], "1");
        pids.push(said["pid"].parse::<u32>()?);
        // The kernel removes an old core of the same name before it writes a new one: it must be taken away by then.
        wait("the core to be claimed", || {
            Ok(has_no_files(&node.crash())?.then_some(()))
        })?;
    }
    let exe = pair.facts().exe.clone();
    let mut found = Vec::new();
    for line in node.wait_for_crashes(&agent, 2)? {
        let file = node.get(text(&line["id"])?)?.remove(0);
        Readelf::of(&file)?.ensure_complete_core()?;
        found.push(Gdb::of(&file, &exe)?.pid);
    }
    found.sort_unstable();
    pids.sort_unstable();
    assert_eq!(found, pids);
    ensure_nothing_left(&node, &agent, &[&node.crash()])?;
    agent.stop()
}

/// A core of the kernel's in a directory that nobody watches.
fn core_elsewhere(node: &Node, victim: &str) -> Result<PathBuf> {
    let elsewhere = node.path("elsewhere");
    fs::create_dir(&elsewhere)?;
    let crashed = Launch::compiled(victim)?.start_in(&elsewhere)?.crash()?;
    crashed.core()
}

/// What a dump that is shorter than its headers promise is in the store.
fn ensure_marked_truncated(stored: &Stored, expected: u64) -> Result<()> {
    let artifact = stored.artifact();
    assert_eq!(artifact["complete"], false);
    assert_eq!(artifact["marks"], json!(["truncated"]));
    assert_eq!(artifact["expected_bytes"], expected);
    let readelf = Readelf::of(&stored.file)?;
    assert_eq!(readelf.expected_size(), expected);
    assert!(readelf.size < expected);
    Ok(())
}

#[test]
#[ignore = "needs the compiled victims; tests/run provisions them"]
fn dump_whose_writer_is_killed_is_stored_and_marked_truncated() -> Result<()> {
    let node = Node::new()?;
    let core = core_elsewhere(&node, "segv")?;
    let expected = Readelf::of(&core)?.expected_size();
    let agent = node.start()?.ready()?;
    let target = node.crash().join("slow.core");
    let mut writer = victims::slow_writer(&core, &target, 3, "line")?;
    writer.line_with("wrote")?;
    writer.send("go on")?;
    writer.line_with("wrote")?;
    let original = Original::of(&target)?;
    assert_eq!(node.crashes()?.len(), 0);
    writer.kill()?;
    let crashes = node.wait_for_crashes(&agent, 1)?;
    let stored = find(&node, &crashes, &original)?;
    ensure_marked_truncated(&stored, expected)?;
    ensure_nothing_left(&node, &agent, &[&node.crash()])?;
    agent.stop()
}

#[test]
#[ignore = "needs the compiled victims, and a minute; tests/run provisions them"]
fn dump_written_over_a_minute_is_stored_once_and_whole() -> Result<()> {
    let node = Node::new()?;
    let core = core_elsewhere(&node, "bigheap")?;
    let digest = readers::sha256(&core)?;
    let agent = node.start()?.ready()?;
    let target = node.crash().join("slow.core");
    // From 25 pieces and 24 pauses between them, and one before the close.
    let mut writer = victims::slow_writer(&core, &target, 25, "2400")?;
    let inode = fs::metadata(&target)?.ino();
    for _ in 0..25 {
        writer.line_with("wrote")?;
        assert_eq!(fs::metadata(&target)?.ino(), inode);
        assert_eq!(agent.metric("salvage_pending_dumps")?, 0.0);
        assert_eq!(node.crashes()?.len(), 0);
    }
    let blocks = fs::metadata(&target)?.blocks();
    writer.line_with("closed")?;
    writer.wait()?;
    let crashes = node.wait_for_crashes(&agent, 1)?;
    let original = Original {
        sha256: digest,
        bytes: fs::metadata(&core)?.len(),
        blocks,
    };
    let stored = find(&node, &crashes, &original)?;
    assert_eq!(stored.artifact()["complete"], true);
    ensure_nothing_left(&node, &agent, &[&node.crash()])?;
    agent.stop()
}

#[test]
#[ignore = "needs the compiled victims; tests/run provisions them"]
fn whole_dump_whose_writer_never_closes_it_is_stored_and_marked_after_the_limit() -> Result<()> {
    let mut node = Node::new()?;
    node.more
        .push_str("\nsettle: {quiet_period: 1s, limit: 3s}");
    let core = core_elsewhere(&node, "segv")?;
    let half = node.path("half");
    let original = Original::of(&core)?;
    let agent = node.start()?.ready()?;
    fs::copy(&core, &half)?;
    let half_writer = File::options().write(true).open(&half)?;
    half_writer.set_len(original.bytes / 2)?;
    let cut = Original::of(&half)?;
    fs::rename(&half, node.crash().join("half"))?;
    let _whole_writer = File::options().write(true).open(&core)?;
    fs::rename(&core, node.crash().join("whole"))?;
    let crashes = node.wait_for_crashes(&agent, 1)?;
    let stored = find(&node, &crashes, &original)?;
    assert_eq!(stored.artifact()["marks"], json!(["writer_open"]));
    assert_eq!(stored.artifact()["complete"], true);
    // What is not whole may become whole: it is waited for as long as it is open.
    drop(half_writer);
    let crashes = node.wait_for_crashes(&agent, 2)?;
    let stored = find(&node, &crashes, &cut)?;
    ensure_marked_truncated(&stored, original.bytes)?;
    ensure_nothing_left(&node, &agent, &[&node.crash()])?;
    agent.stop()
}

mod as_root {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::support::disk::SmallDisk;

    #[test]
    #[ignore = "needs root and the compiled victims; tests/run provisions them"]
    fn core_that_does_not_fit_on_its_disk_is_stored_and_marked_truncated() -> Result<()> {
        let disk = SmallDisk::of_mebibytes(20)?;
        fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o1777))?;
        let mut node = Node::new()?;
        node.sources = format!("[{{path: {:?}}}]", disk.path());
        let agent = node.start()?.ready()?;
        let crashed = Launch::compiled("bigheap")?
            .start_in(disk.path())?
            .crash()?;
        assert_eq!(agent.logged("dump claimed")?["way"], "hold");
        let crashes = node.wait_for_crashes(&agent, 1)?;
        let file = node.get(text(&crashes[0]["id"])?)?.remove(0);
        let stored = find(&node, &crashes, &Original::of(&file)?)?;
        let expected = Readelf::of(&file)?.expected_size();
        assert!(expected > 256 << 20, "{crashed}");
        ensure_marked_truncated(&stored, expected)?;
        let process = &stored.artifact()["process"];
        assert_eq!(process["pid"], crashed.facts.pid);
        assert_eq!(process["exe"], json!(crashed.facts.exe));
        ensure_nothing_left(&node, &agent, &[disk.path()])?;

        // The same from a process that writes it itself, where what fits is known.
        let core = core_elsewhere(&node, "bigheap")?;
        let target = disk.path().join("slow.core");
        let mut writer = victims::slow_writer(&core, &target, 1, "0")?;
        assert_eq!(writer.wait()?.code(), Some(2), "{writer}");
        let crashes = node.wait_for_crashes(&agent, 2)?;
        let file = node.get(text(&crashes[0]["id"])?)?.remove(0);
        let length = fs::metadata(&file)?.len();
        assert!(length > 18 << 20, "{length}");
        assert_eq!(
            readers::range(&file, 0, length)?,
            readers::range(&core, 0, length)?
        );
        let stored = find(&node, &crashes, &Original::of(&file)?)?;
        ensure_marked_truncated(&stored, Readelf::of(&core)?.expected_size())?;
        ensure_nothing_left(&node, &agent, &[disk.path()])?;
        agent.stop()
    }

    #[test]
    #[ignore = "needs root and the compiled victims; tests/run provisions them"]
    fn core_of_another_user_is_stored_with_its_uid() -> Result<()> {
        /// `nobody`, on every Debian.
        const NOBODY: u32 = 65534;
        let node = Node::new()?;
        fs::set_permissions(node.path(""), fs::Permissions::from_mode(0o711))?;
        fs::set_permissions(node.crash(), fs::Permissions::from_mode(0o1777))?;
        let (caught, stored, _) = stored_core(
            &node,
            || Launch::compiled_as("segv", NOBODY),
            (11, "SIGSEGV", 1),
        )?;
        assert_eq!(caught.crashed.facts.uids, [NOBODY; 4]);
        assert_eq!(stored.artifact()["process"]["uid"], NOBODY);
        Ok(())
    }
}
