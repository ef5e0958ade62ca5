//! The victims and the readers themselves: each victim leaves one whole dump, and binutils, gdb and `/proc` agree about it.
//!
//! Other tests take both for granted. Where a host behaves differently (another core_pattern, no huge pages, another gdb), it shows here first.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::disk::SmallDisk;
use crate::support::process::ending;
use crate::support::readers::{self, Gdb, Readelf};
use crate::support::victims::{self, Crashed, Createdump, HOSTNAME, Launch};

/// What holds of every kernel core, and what `/proc` and gdb must agree on.
fn ensure_core_tells_the_facts(crashed: &Crashed, signal: i32, si_code: i32) -> Result<Gdb> {
    let core = crashed.core()?;
    let readelf = Readelf::of(&core)?;
    readelf.ensure_complete_core()?;
    assert_eq!(readelf.os_abi, "UNIX - System V");
    assert_eq!(readelf.machine, Readelf::of(&crashed.facts.exe)?.machine);
    let gdb = Gdb::of(&core, &crashed.facts.exe)?;
    assert_eq!((gdb.signal, gdb.si_code), (signal, si_code));
    assert_eq!(crashed.status.signal(), Some(signal));
    assert_eq!(gdb.pid, crashed.facts.pid);
    assert_eq!(gdb.tids, crashed.facts.tids);
    assert_eq!(readelf.count("NT_PRSTATUS"), crashed.facts.tids.len());
    assert_eq!(gdb.crashing_tid, crashed.facts.crashing_tid()?);
    assert!(gdb.mapped.contains(&crashed.facts.exe), "{gdb:#?}");
    Ok(gdb)
}

mod kernel_cores {
    use super::*;

    fn crash(name: &str) -> Result<(TempDir, Crashed)> {
        let directory = TempDir::new()?;
        let crashed = Launch::compiled(name)?
            .start_in(directory.path())?
            .crash()?;
        Ok((directory, crashed))
    }

    #[test]
    #[ignore = "needs the compiled victims; tests/run provisions them"]
    fn segv_leaves_a_whole_core_with_the_faulting_address() -> Result<()> {
        let (_directory, crashed) = crash("segv")?;
        let gdb = ensure_core_tells_the_facts(&crashed, 11, 1)?;
        assert_eq!(gdb.address, 8);
        assert_eq!(gdb.started_as, crashed.facts.exe);
        assert_eq!(gdb.frames, ["poke", "outer", "main"]);
        assert_eq!(crashed.facts.comm, "segv");
        assert_eq!(crashed.facts.hostname.as_deref(), Some(HOSTNAME));
        assert_eq!(readers::build_id(&crashed.facts.exe)?.len(), 40);
        Ok(())
    }

    #[test]
    #[ignore = "needs the compiled victims; tests/run provisions them"]
    fn abort_leaves_a_whole_core_that_names_its_own_signal() -> Result<()> {
        let (_directory, crashed) = crash("abort")?;
        ensure_core_tells_the_facts(&crashed, 6, -6)?;
        Ok(())
    }

    #[test]
    #[ignore = "needs the compiled victims; tests/run provisions them"]
    fn core_of_16_threads_names_the_one_that_aborted() -> Result<()> {
        let (_directory, crashed) = crash("threads")?;
        let gdb = ensure_core_tells_the_facts(&crashed, 6, -6)?;
        assert_eq!(gdb.tids.len(), 16);
        assert_ne!(
            gdb.crashing_tid, gdb.pid,
            "a worker aborts, not the first thread"
        );
        assert_eq!(crashed.facts.said("name")?, "worker-7");
        Ok(())
    }

    #[test]
    #[ignore = "needs the compiled victims; tests/run provisions them"]
    fn core_of_a_heap_touched_in_parts_has_holes() -> Result<()> {
        let (_directory, crashed) = crash("bigheap")?;
        ensure_core_tells_the_facts(&crashed, 11, 1)?;
        let facts = fs::metadata(crashed.core()?)?;
        assert!(facts.size() > 256 << 20, "{} bytes", facts.size());
        // 3 of 8 runs are never touched.
        let allocated = facts.blocks() * 512;
        assert!(
            (150 << 20..180 << 20).contains(&allocated),
            "{allocated} of {} bytes allocated",
            facts.size()
        );
        Ok(())
    }

    #[test]
    #[ignore = "needs the compiled victims; tests/run provisions them"]
    fn size_of_the_heap_and_host_name_are_a_choice() -> Result<()> {
        let directory = TempDir::new()?;
        let victim = Launch::compiled("bigheap")?
            .arg("3")
            .env("HOSTNAME", "ledger-0")
            .start_in(directory.path())?;
        assert_eq!(victim.facts().said("bytes")?, (3 << 20).to_string());
        assert_eq!(victim.facts().hostname.as_deref(), Some("ledger-0"));
        ensure_core_tells_the_facts(&victim.crash()?, 11, 1)?;
        Ok(())
    }

    #[test]
    #[ignore = "needs the compiled victims; tests/run provisions them"]
    fn pair_crashes_twice_in_one_directory() -> Result<()> {
        let directory = TempDir::new()?;
        let mut victim = Launch::compiled("pair")?.start_in(directory.path())?;
        let mut pids = Vec::new();
        for _ in 0..2 {
            victim.process().send("die")?;
            let said = victims::key_values(&victim.process().line_with("reaped")?);
            assert_eq!(
                (said["signal"].as_str(), said["core"].as_str()),
                ("11", "1")
            );
            let pid: u32 = said["pid"].parse()?;
            let core = fs::read_dir(directory.path())?
                .next()
                .context("a core")??
                .path();
            Readelf::of(&core)?.ensure_complete_core()?;
            assert_eq!(Gdb::of(&core, &victim.facts().exe)?.pid, pid);
            fs::rename(&core, directory.path().with_extension("taken"))?;
            pids.push(pid);
        }
        fs::remove_file(directory.path().with_extension("taken"))?;
        assert_ne!(pids[0], pids[1]);
        victim.process().close_stdin();
        assert_eq!(victim.process().wait()?.code(), Some(0));
        Ok(())
    }

    #[test]
    #[ignore = "needs the tools that tests/run provisions"]
    fn python_leaves_a_whole_core() -> Result<()> {
        for (death, signal, si_code) in [("os.abort()", 6, -6), ("ctypes.string_at(8)", 11, 1)] {
            let directory = TempDir::new()?;
            let crashed = Launch::python(death).start_in(directory.path())?.crash()?;
            ensure_core_tells_the_facts(&crashed, signal, si_code)
                .with_context(|| crashed.to_string())?;
        }
        Ok(())
    }

    #[test]
    #[ignore = "needs the tools that tests/run provisions"]
    fn node_leaves_a_whole_core() -> Result<()> {
        let directory = TempDir::new()?;
        let crashed = Launch::node("process.abort()")
            .start_in(directory.path())?
            .crash()?;
        // Not compared thread by thread: V8 ends and starts workers at any time.
        Readelf::of(&crashed.core()?)?.ensure_complete_core()?;
        assert_eq!(crashed.status.signal(), Some(6), "{crashed}");
        Ok(())
    }

    #[test]
    #[ignore = "needs the compiled victims; tests/run provisions them"]
    fn zstd_and_sha256sum_agree_about_a_core() -> Result<()> {
        let (directory, crashed) = crash("segv")?;
        let core = crashed.core()?;
        let stored = directory.path().join("stored.zst");
        let packed = zstd::encode_all(fs::File::open(&core)?, 1)?;
        fs::write(&stored, packed)?;
        let decoded = directory.path().join("decoded");
        readers::zstd_decode(&stored, &decoded)?;
        assert_eq!(fs::read(&decoded)?, fs::read(&core)?);
        assert_eq!(
            readers::zstd_decoded_sha256(&stored)?,
            readers::sha256(&core)?
        );
        fs::write(&stored, b"not zstd")?;
        assert!(readers::zstd_decoded_sha256(&stored).is_err());
        Ok(())
    }

    #[test]
    #[ignore = "needs the compiled victims; tests/run provisions them"]
    fn core_cut_short_is_no_whole_core_to_readelf() -> Result<()> {
        let (_directory, crashed) = crash("abort")?;
        let core = crashed.core()?;
        let whole = fs::metadata(&core)?.len();
        fs::File::options()
            .write(true)
            .open(&core)?
            .set_len(whole - 1)?;
        assert!(Readelf::of(&core)?.ensure_complete_core().is_err());
        Ok(())
    }

    #[test]
    #[ignore = "needs the compiled victims; tests/run provisions them"]
    fn slow_writer_shows_every_length_on_the_way() -> Result<()> {
        let (directory, crashed) = crash("segv")?;
        let core = crashed.core()?;
        let target = directory.path().join("slow.core");
        let whole = fs::metadata(&core)?.len();
        let mut writer = victims::slow_writer(&core, &target, 3, "line")?;
        for piece in 1..=3 {
            writer.line_with("wrote")?;
            let length = fs::metadata(&target)?.len();
            assert_eq!(
                length == whole,
                piece == 3,
                "{length} of {whole} after piece {piece}"
            );
            writer.send("go on")?;
        }
        writer.line_with("closed")?;
        assert_eq!(ending(writer.wait()?), "exit 0");
        assert_eq!(readers::sha256(&target)?, readers::sha256(&core)?);

        let mut writer = victims::slow_writer(&core, &target, 3, "line")?;
        writer.line_with("wrote")?;
        assert_eq!(ending(writer.kill()?), "signal 9");
        assert!(Readelf::of(&target)?.ensure_complete_core().is_err());

        let mut writer = victims::slow_writer(&core, &target, 3, "1")?;
        writer.line_with("closed")?;
        assert_eq!(ending(writer.wait()?), "exit 0");
        Readelf::of(&target)?.ensure_complete_core()
    }

    #[test]
    #[ignore = "needs the compiled victims; tests/run provisions them"]
    fn minidump_of_a_living_victim_has_its_signature() -> Result<()> {
        let directory = TempDir::new()?;
        let victim = Launch::compiled("threads")?.start_in(directory.path())?;
        let minidump = directory.path().join("crash.dmp");
        victim.write_minidump(&minidump)?;
        assert!(fs::read(&minidump)?.starts_with(b"MDMP"));
        // It lives on, and leaves a core as if nothing had happened.
        ensure_core_tells_the_facts(&victim.crash()?, 6, -6)?;
        Ok(())
    }
}

#[test]
#[ignore = "needs the compiled victims; tests/run provisions them"]
fn lease_fighter_sees_who_holds_a_lease() -> Result<()> {
    let directory = TempDir::new()?;
    let target = directory.path().join("core");
    let mut fighter = victims::lease_fight(&target, 200)?;
    fs::write(&target, b"a dump")?;
    // The lease is held until the fighter has run into it, which is the signal that breaks it.
    lease::hold_until_broken(&target)?;
    let blocked = victims::key_values(&fighter.line_with("blocked")?);
    assert!(blocked["us"].parse::<u64>()? >= 1000);
    fighter.close_stdin();
    let done = victims::key_values(&fighter.line_with("done")?);
    assert_eq!(ending(fighter.wait()?), "exit 0");
    assert!(done["blocked"].parse::<u64>()? >= 1, "{done:?}");
    Ok(())
}

#[test]
#[ignore = "needs the tools that tests/run provisions"]
fn node_writes_its_own_report() -> Result<()> {
    let directory = TempDir::new()?;
    let crashed = Launch::node("process.report.writeReport('crash.json')")
        .start_in(directory.path())?
        .crash()?;
    let report: serde_json::Value = serde_json::from_slice(&fs::read(crashed.dump()?)?)?;
    assert_eq!(report["header"]["processId"], crashed.facts.pid);
    Ok(())
}

#[test]
#[ignore = "needs the Java class; tests/run provisions it"]
fn jvm_leaves_a_whole_hprof() -> Result<()> {
    let directory = TempDir::new()?;
    let crashed = Launch::java_out_of_memory(directory.path())?
        .start_in(directory.path())?
        .crash()?;
    assert_eq!(ending(crashed.status), "exit 3");
    let hprof = crashed.dump()?;
    assert_eq!(
        hprof.file_name().context("a name")?,
        format!("java_pid{}.hprof", crashed.facts.pid).as_str()
    );
    readers::ensure_complete_hprof(&hprof)?;
    let size = fs::metadata(&hprof)?.len();
    fs::File::options()
        .write(true)
        .open(&hprof)?
        .set_len(size - 9)?;
    assert!(readers::ensure_complete_hprof(&hprof).is_err());
    Ok(())
}

mod dotnet {
    use super::*;

    fn dump(directory: &Path, mode: &str, kind: u8, crash_report: bool) -> Result<Crashed> {
        let createdump = Createdump {
            kind,
            name: "%e.%p.dmp".to_owned(),
            crash_report,
        };
        victims::crash_dotnet(mode, &createdump, directory)
    }

    #[test]
    #[ignore = "needs a real .NET; tests/run provisions it"]
    fn all_four_types_are_whole_cores_of_different_size() -> Result<()> {
        let mut sizes = Vec::new();
        for kind in [1, 2, 3, 4] {
            let directory = TempDir::new()?;
            let crashed = dump(directory.path(), "exception", kind, kind == 2)?;
            let path = crashed.dump()?;
            assert_eq!(
                path.file_name().context("a name")?,
                format!("modes.{}.dmp", crashed.facts.pid).as_str()
            );
            assert_eq!(crashed.status.signal(), Some(6), "{crashed}");
            let readelf = Readelf::of(&path)?;
            readelf
                .ensure_complete_core()
                .with_context(|| format!("type {kind}"))?;
            // createdump's own order: a kernel core begins with NT_PRSTATUS.
            assert_eq!(readelf.notes[0].kind, "NT_PRPSINFO", "type {kind}");
            assert!(readelf.count("NT_PRSTATUS") > 1, "type {kind}");
            assert_eq!(crashed.crash_report()?.is_some(), kind == 2);
            assert_eq!(readelf.os_abi, "UNIX - GNU", "type {kind}");
            sizes.push(readelf.size);
        }
        let [mini, heap, triage, full] = sizes[..] else {
            unreachable!("four types")
        };
        assert!(
            mini < heap && triage < heap && heap < full,
            "{mini} {heap} {triage} {full}"
        );
        Ok(())
    }

    #[test]
    #[ignore = "needs a real .NET; tests/run provisions it"]
    fn every_mode_ends_as_it_says() -> Result<()> {
        let modes = [
            ("worker", Some("signal 6")),
            ("nullref", Some("signal 6")),
            ("failfast", Some("signal 6")),
            ("stackoverflow", Some("signal 6")),
            ("segv", Some("signal 11")),
            ("abort", Some("signal 6")),
            ("exit", None),
        ];
        for (mode, signal) in modes {
            let directory = TempDir::new()?;
            let crashed = dump(directory.path(), mode, 1, false)?;
            assert_eq!(
                ending(crashed.status),
                signal.unwrap_or("exit 3"),
                "{mode}: {crashed}"
            );
            match signal {
                Some(_) => Readelf::of(&crashed.dump()?)?
                    .ensure_complete_core()
                    .with_context(|| mode.to_owned())?,
                None => assert_eq!(crashed.left()?, Vec::<std::path::PathBuf>::new(), "{mode}"),
            }
        }
        Ok(())
    }
}

mod as_root {
    use super::*;

    /// `nobody`, on every Debian.
    const NOBODY: u32 = 65534;

    #[test]
    #[ignore = "needs root and the compiled victims; tests/run provisions them"]
    fn victim_of_another_user_leaves_a_core_that_is_its_own() -> Result<()> {
        let directory = TempDir::new()?;
        fs::set_permissions(
            directory.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )?;
        let crashed = Launch::compiled_as("segv", NOBODY)?
            .start_in(directory.path())?
            .crash()?;
        assert_eq!(crashed.facts.uids, [NOBODY; 4]);
        let core = crashed.core()?;
        Readelf::of(&core)?.ensure_complete_core()?;
        assert_eq!(fs::metadata(&core)?.uid(), NOBODY);
        Ok(())
    }

    #[test]
    #[ignore = "needs root and the compiled victims; tests/run provisions them"]
    fn dump_on_a_full_disk_is_cut_short() -> Result<()> {
        let disk = SmallDisk::of_mebibytes(20)?;
        let crashed = Launch::compiled("bigheap")?
            .start_in(disk.path())?
            .crash()?;
        let core = Readelf::of(&crashed.dump()?)?;
        assert!(core.size < core.expected_size(), "{crashed}: {core:#?}");
        assert!(core.ensure_complete_core().is_err());
        drop(disk);

        let elsewhere = TempDir::new()?;
        let whole = Launch::compiled("bigheap")?
            .start_in(elsewhere.path())?
            .crash()?;
        let disk = SmallDisk::of_mebibytes(20)?;
        let target = disk.path().join("slow.core");
        let mut writer = victims::slow_writer(&whole.core()?, &target, 1, "0")?;
        assert_eq!(ending(writer.wait()?), "exit 2", "{writer}");
        let core = Readelf::of(&target)?;
        assert_eq!(core.size, 20 << 20);
        assert!(core.size < core.expected_size());
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn attacker_does_each_of_its_acts_and_spares_what_it_is_told() -> Result<()> {
        let directory = TempDir::new()?;
        let source = directory.path().join("source");
        let outside = directory.path().join("outside");
        fs::create_dir(&source)?;
        fs::set_permissions(&source, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
        fs::create_dir(&outside)?;
        fs::write(outside.join("secret"), b"not a dump")?;
        fs::write(source.join("real.core"), b"a real dump")?;

        let mut attacker =
            victims::attacker(&source, NOBODY, 3, 1, &outside.join("secret"), &["real.*"])?;
        let did = attacker.line_with("did")?;
        assert_eq!(ending(attacker.wait()?), "exit 0");
        let acts: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(did.trim_start_matches("did "))?;
        // A link to another user's file is refused where fs.protected_hardlinks is on, which it is nearly everywhere.
        let never_done: Vec<_> = acts
            .iter()
            .filter(|(_, counts)| counts["done"] == 0)
            .map(|(act, _)| act.as_str())
            .collect();
        assert!(
            never_done.is_empty() || never_done == ["link_outside"],
            "{never_done:?} of {did}"
        );
        assert_eq!(fs::read(source.join("real.core"))?, b"a real dump");
        assert_eq!(fs::read(outside.join("secret"))?, b"not a dump");
        assert_eq!(fs::read_dir(&outside)?.count(), 1);
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn attacker_refuses_to_start_where_it_could_do_harm() -> Result<()> {
        let directory = TempDir::new()?;
        let error = victims::attacker(
            directory.path(),
            0,
            1,
            1,
            &directory.path().join("secret"),
            &[],
        )
        .expect_err("root may write everywhere");
        let error = format!("{error:#}");
        assert!(error.contains("may write to"), "{error}");
        Ok(())
    }
}

/// The way back of the host's core_pattern, on a file that stands for it.
mod core_pattern {
    use std::process::Command;

    use super::*;
    use crate::support::core_pattern::CorePattern;
    use crate::support::process::Process;

    const HANDLER: &str =
        "|/usr/lib/systemd/systemd-coredump %P %u %g %s %t 9223372036854775808 %h\n";

    fn pattern_file(content: &str) -> Result<(TempDir, std::path::PathBuf, std::path::PathBuf)> {
        let directory = TempDir::new()?;
        let pattern = directory.path().join("core_pattern");
        fs::write(&pattern, content)?;
        let lock = directory.path().join("lock");
        Ok((directory, pattern, lock))
    }

    #[test]
    fn plain_name_is_left_alone() -> Result<()> {
        for plain in ["core\n", "core.%e.%p\n"] {
            let (_directory, pattern, lock) = pattern_file(plain)?;
            let held = CorePattern::hold(&pattern, &lock)?;
            assert_eq!(fs::read_to_string(&pattern)?, plain);
            drop(held);
            assert_eq!(fs::read_to_string(&pattern)?, plain);
        }
        Ok(())
    }

    #[test]
    fn handler_is_put_back_after_use() -> Result<()> {
        for handler in [
            HANDLER,
            "/var/crash/core.%p\n",
            "@@/run/handler.sock\n",
            "\n",
        ] {
            let (_directory, pattern, lock) = pattern_file(handler)?;
            let held = CorePattern::hold(&pattern, &lock)?;
            assert_eq!(fs::read_to_string(&pattern)?, "core.%p\n");
            drop(held);
            assert_eq!(fs::read_to_string(&pattern)?, handler);
        }
        Ok(())
    }

    #[test]
    fn handler_is_put_back_after_a_panic() -> Result<()> {
        let (_directory, pattern, lock) = pattern_file(HANDLER)?;
        let thread = std::thread::spawn({
            let (pattern, lock) = (pattern.clone(), lock.clone());
            move || {
                let _held = CorePattern::hold(&pattern, &lock).expect("a file of our own");
                panic!("a test that fails while it holds the pattern");
            }
        });
        assert!(thread.join().is_err());
        assert_eq!(fs::read_to_string(&pattern)?, HANDLER);
        Ok(())
    }

    #[test]
    fn what_somebody_else_set_meanwhile_stays() -> Result<()> {
        let (_directory, pattern, lock) = pattern_file(HANDLER)?;
        let held = CorePattern::hold(&pattern, &lock)?;
        fs::write(&pattern, "/var/crash/%p\n")?;
        drop(held);
        assert_eq!(fs::read_to_string(&pattern)?, "/var/crash/%p\n");
        Ok(())
    }

    /// Runs itself as the process that holds the pattern and is then killed.
    #[test]
    fn handler_is_put_back_when_the_holder_is_killed() -> Result<()> {
        const ROLE: &str = "SALVAGE_TEST_HOLD_CORE_PATTERN";
        if let Some(directory) = std::env::var_os(ROLE) {
            let directory = Path::new(&directory);
            let _held =
                CorePattern::hold(&directory.join("core_pattern"), &directory.join("lock"))?;
            println!("\nheld");
            std::io::stdin().read_line(&mut String::new())?;
            return Ok(());
        }
        for signal in [Signal::TERM, Signal::KILL] {
            let (directory, pattern, lock) = pattern_file(HANDLER)?;
            let mut command = Command::new(std::env::current_exe()?);
            command.args([
                "--exact",
                "--nocapture",
                "inputs::core_pattern::handler_is_put_back_when_the_holder_is_killed",
            ]);
            let mut holder = Process::start({
                command.env(ROLE, directory.path());
                command
            })?;
            holder.line_with("held")?;
            assert_eq!(fs::read_to_string(&pattern)?, "core.%p\n");
            holder.signal(signal)?;
            ensure!(holder.wait()?.signal().is_some(), "{holder}");
            // The guardian has the lock until it is done, so getting it is the wait.
            let next = CorePattern::hold(&pattern, &lock)?;
            drop(next);
            assert_eq!(fs::read_to_string(&pattern)?, HANDLER);
        }
        Ok(())
    }
}

/// A read lease as an agent takes it, but held for long enough to be noticed.
mod lease {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::support::process::DEADLINE;

    /// From the kernel's headers; the libc crate has it for few targets.
    const F_SETSIG: libc::c_int = 10;

    pub(super) fn hold_until_broken(path: &Path) -> Result<()> {
        let file = File::open(path)?;
        // The signal of a broken lease kills a process that does not expect it; this one is ignored by default.
        fcntl(&file, F_SETSIG, libc::SIGURG)?;
        let until = Instant::now() + DEADLINE;
        // Refused while the other has the file open.
        while fcntl(&file, libc::F_SETLEASE, libc::F_RDLCK).is_err() {
            ensure!(Instant::now() < until, "no lease within {DEADLINE:?}");
            std::thread::yield_now();
        }
        while fcntl(&file, libc::F_GETLEASE, 0)? == libc::F_RDLCK {
            ensure!(
                Instant::now() < until,
                "nobody broke the lease within {DEADLINE:?}"
            );
            std::thread::yield_now();
        }
        // The other is blocked now. What it reports is at least this long.
        let noticed = Instant::now() + Duration::from_millis(2);
        while Instant::now() < noticed {
            std::thread::yield_now();
        }
        fcntl(&file, libc::F_SETLEASE, libc::F_UNLCK)?;
        Ok(())
    }

    fn fcntl(file: &File, command: libc::c_int, value: libc::c_int) -> Result<libc::c_int> {
        // SAFETY: these commands take and return integers, and the descriptor is open for the whole call.
        let answer = unsafe { libc::fcntl(file.as_raw_fd(), command, value) };
        ensure!(
            answer >= 0,
            "fcntl {command}: {}",
            std::io::Error::last_os_error()
        );
        Ok(answer)
    }
}
