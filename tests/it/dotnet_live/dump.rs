//! Dumps of a runtime, streamed out of its container.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use salvage::dotnet::ipc::Target;
use salvage::dotnet::{self, Dumped, Error, How, Leftover, Limits, Refused, Resumed, Sink};
use salvage::model::DumpType;
use tempfile::TempDir;

use super::on_each;
use crate::support::container::{Container, Dotnet, Launch, USER};
use crate::support::readers::Readelf;

static NEVER: AtomicBool = AtomicBool::new(false);

fn limits() -> Limits<'static> {
    Limits {
        deadline: Instant::now() + Duration::from_secs(60),
        max_bytes: 4 << 30,
        cancelled: &NEVER,
    }
}

/// A sink into a file.
struct Into(File);

impl Sink for Into {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        self.0
            .write_all(bytes)
            .map_err(|error| Refused(error.to_string()))
    }
}

/// A sink that does something with what comes, given how much has come before.
struct With<F>(F, usize);

impl<F: FnMut(usize) -> Result<(), Refused>> Sink for With<F> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let before = self.1;
        self.1 += bytes.len();
        (self.0)(before)
    }
}

fn dump_to(target: &Target, kind: DumpType, path: &Path) -> Result<Dumped> {
    let mut sink = Into(File::create(path)?);
    Ok(dotnet::dump(
        target,
        kind,
        &limits(),
        &mut sink,
        &mut |_| Ok(()),
    )?)
}

fn ensure_whole(path: &Path, dumped: &Dumped) -> Result<()> {
    let readelf = Readelf::of(path)?;
    readelf.ensure_complete_core()?;
    ensure!(
        readelf.size == dumped.bytes,
        "{} bytes of {}",
        readelf.size,
        dumped.bytes
    );
    ensure!(readelf.count("NT_PRSTATUS") > 1);
    Ok(())
}

/// What of ours is in a directory of the container's.
fn ours_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // What the runtime itself keeps there.
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_its = name.starts_with("dotnet-diagnostic-")
            || name.starts_with("clr-debug-pipe-")
            || name == ".dotnet";
        if !is_its {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn ensure_nothing_left(container: &Container) -> Result<()> {
    for directory in ["/tmp", "/dev/shm"] {
        let left = ours_in(&container.path(directory))?;
        ensure!(left.is_empty(), "{left:?}");
    }
    Ok(())
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn all_four_types_come_whole_through_a_fifo_and_leave_nothing() -> Result<()> {
    on_each(
        |launch| launch.read_only_root(),
        |container| {
            let temp = TempDir::new()?;
            let target = container.target()?;
            let mut sizes = Vec::new();
            for kind in DumpType::ALL {
                let path = temp.path().join(kind.name());
                let dumped = dump_to(&target, kind, &path).context(kind)?;
                ensure!(dumped.how == How::Fifo, "{dumped:?}");
                ensure_whole(&path, &dumped).context(kind)?;
                ensure_nothing_left(container)?;
                println!(
                    "{:?} {kind}: {} bytes, stopped for {:?}",
                    container.dotnet(),
                    dumped.bytes,
                    dumped.pause
                );
                sizes.push(dumped.bytes);
                container.ensure_alive()?;
            }
            ensure!(
                sizes[0] < sizes[2] && sizes[2] < sizes[3],
                "mini, triage, heap, full: {sizes:?}"
            );
            Ok(())
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn nothing_but_the_fifo_is_ever_made_in_the_container() -> Result<()> {
    on_each(
        |launch| launch,
        |container| {
            let events = Watch::on(&container.path("/tmp"))?;
            let temp = TempDir::new()?;
            let mut recorded = Vec::new();
            let mut sink = Into(File::create(temp.path().join("d"))?);
            let target = container.target()?;
            let mut record = |leftover: &Leftover| {
                recorded.push(leftover.clone());
                Ok(())
            };
            dotnet::dump(&target, DumpType::Heap, &limits(), &mut sink, &mut record)?;
            let seen = events.drain()?;
            let [leftover] = &recorded[..] else {
                anyhow::bail!("{recorded:?}")
            };
            ensure!(
                leftover.dir == "/tmp" && leftover.pid == target.pid(),
                "{leftover:?}"
            );
            ensure!(
                seen.iter().all(|(name, _)| name == leftover.name.as_str()),
                "{seen:?}"
            );
            let makes = seen
                .iter()
                .filter(|(_, mask)| mask & libc::IN_CREATE != 0)
                .count();
            let removes = seen
                .iter()
                .filter(|(_, mask)| mask & libc::IN_DELETE != 0)
                .count();
            ensure!((makes, removes) == (1, 1), "{seen:?}");
            Ok(())
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_sink_that_refuses_lets_the_target_go() -> Result<()> {
    on_each(
        |launch| launch,
        |container| {
            let target = container.target()?;
            for after in [0, 1, 4 << 20] {
                let mut sink = With(
                    |before| match before {
                        before if before >= after => Err(Refused("the quota is full".to_owned())),
                        _ => Ok(()),
                    },
                    0,
                );
                let error =
                    dotnet::dump(&target, DumpType::Full, &limits(), &mut sink, &mut |_| {
                        Ok(())
                    })
                    .err()
                    .context("refused")?;
                ensure_ended(&error, "Refused")?;
                ensure!(error.to_string().contains("the quota is full"), "{error}");
                ensure_nothing_left(container)?;
                container.ensure_alive()?;
            }
            Ok(())
        },
    )
}

fn ensure_ended(error: &Error, reason: &str) -> Result<()> {
    let Error::DumpEnded { resumed, .. } = error else {
        anyhow::bail!("not ended but {error}")
    };
    ensure!(error.reason() == reason, "{} {error}", error.reason());
    ensure!(
        matches!(resumed, Resumed::After(time) if *time < Duration::from_secs(5)),
        "{error}"
    );
    println!("{error}");
    Ok(())
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_dump_that_grows_too_large_is_closed() -> Result<()> {
    on_each(
        |launch| launch,
        |container| {
            let small = Limits {
                max_bytes: 1 << 20,
                ..limits()
            };
            let mut sink = Vec::new();
            let dumped = dotnet::dump(
                &container.target()?,
                DumpType::Full,
                &small,
                &mut sink,
                &mut |_| Ok(()),
            );
            ensure_ended(&dumped.err().context("too large")?, "Refused")?;
            ensure!(sink.len() <= 1 << 20, "{} bytes were taken", sink.len());
            ensure_nothing_left(container)
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_cancelled_dump_lets_the_target_go_whenever_that_is() -> Result<()> {
    on_each(
        |launch| launch,
        |container| {
            let target = container.target()?;
            // As soon as the place is known: before `createdump` has opened it, which is the moment at which closing would hang it.
            let cancelled = AtomicBool::new(false);
            let at_once = Limits {
                cancelled: &cancelled,
                ..limits()
            };
            let mut record = |_: &Leftover| {
                cancelled.store(true, Ordering::Relaxed);
                Ok(())
            };
            let dumped = dotnet::dump(
                &target,
                DumpType::Full,
                &at_once,
                &mut Vec::new(),
                &mut record,
            );
            ensure_ended(&dumped.err().context("cancelled at once")?, "Cancelled")?;
            ensure_nothing_left(container)?;
            container.ensure_alive()?;
            // In the midst of it.
            cancelled.store(false, Ordering::Relaxed);
            let mut sink = With(
                |_| {
                    cancelled.store(true, Ordering::Relaxed);
                    Ok(())
                },
                0,
            );
            let dumped = dotnet::dump(
                &target,
                DumpType::Full,
                &at_once,
                &mut sink,
                &mut |_| Ok(()),
            );
            ensure_ended(&dumped.err().context("cancelled")?, "Cancelled")?;
            ensure_nothing_left(container)?;
            container.ensure_alive()?;
            // Before it began.
            let dumped = dotnet::dump(
                &target,
                DumpType::Full,
                &at_once,
                &mut Vec::new(),
                &mut |_| Ok(()),
            );
            ensure!(matches!(dumped, Err(Error::Cancelled)));
            Ok(())
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_sink_that_stalls_holds_the_target_no_longer_than_it_stalls() -> Result<()> {
    on_each(
        |launch| launch,
        |container| {
            let target = container.target()?;
            let (stalled, is_stalled) = mpsc::channel();
            let (release, released) = mpsc::channel::<()>();
            let cancelled = AtomicBool::new(false);
            let until_cancelled = Limits {
                cancelled: &cancelled,
                ..limits()
            };
            let pid = target.pid();
            let error = std::thread::scope(|scope| {
                let dumping = scope.spawn(move || {
                    let mut sink = With(
                        |before| {
                            if before > 4 << 20 {
                                stalled.send(()).ok();
                                released.recv().ok();
                            }
                            Ok(())
                        },
                        0,
                    );
                    dotnet::dump(
                        &target,
                        DumpType::Full,
                        &until_cancelled,
                        &mut sink,
                        &mut |_| Ok(()),
                    )
                });
                is_stalled.recv()?;
                // Held in the meantime, which is what a sink must know.
                container.wait_until("it is held", |_| {
                    Ok(fs::read_to_string(format!("/proc/{pid}/status"))?.contains("State:\tt"))
                })?;
                cancelled.store(true, Ordering::Relaxed);
                drop(release);
                dumping.join().expect("no panic").err().context("cancelled")
            })?;
            ensure_ended(&error, "Cancelled")?;
            ensure_nothing_left(container)
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn the_path_of_a_dump_is_taken_as_it_is() -> Result<()> {
    // No runtime starts with a `%p` in its TMPDIR, from which it makes the names of its pipes by `printf`; with this one all but 3.1 do.
    for dotnet in Dotnet::provisioned()
        .into_iter()
        .filter(|dotnet| *dotnet != Dotnet::Core31)
    {
        let mut container = Launch::of(dotnet).temp_dir("50%/t").start()?;
        let temp = TempDir::new()?;
        let path = temp.path().join("d");
        let dumped = dump_to(&container.target()?, DumpType::Mini, &path)?;
        ensure!(dumped.how == How::Fifo);
        ensure_whole(&path, &dumped)?;
        let left = ours_in(&container.path("/opt/50%/t"))?;
        ensure!(left.is_empty(), "{left:?}");
        container.ensure_alive()?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_temp_directory_that_became_read_only_is_left_for_another() -> Result<()> {
    on_each(
        |launch| launch,
        |container| {
            let temp = TempDir::new()?;
            let path = temp.path().join("d");
            nsenter(container, "mount -o remount,ro /tmp")?;
            let dumped = dump_to(&container.target()?, DumpType::Heap, &path)?;
            ensure!(dumped.how == How::Fifo);
            ensure_whole(&path, &dumped)?;
            nsenter(container, "mount -o remount,rw /tmp")?;
            ensure_nothing_left(container)
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn where_a_fifo_is_taken_away_a_file_does_and_is_removed() -> Result<()> {
    let disk = TempDir::new_in("/var/tmp")?;
    fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o1777))?;
    on_each(
        // A disk, so that a heap dump may be written to it. Of the other places one is in memory, and the other can take no FIFO.
        |launch| {
            launch
                .setup(&format!(
                    "mount --bind '{}' /opt; mount -t tmpfs -o ro tmpfs /dev/shm",
                    disk.path().display()
                ))
                .env("TMPDIR", "/opt")
        },
        |container| {
            let temp = TempDir::new()?;
            let path = temp.path().join("d");
            let target = container.target()?;
            let mut recorded = Vec::new();
            let directory = [container.path("/opt"), container.path("/tmp")];
            let mut sink = Into(File::create(&path)?);
            // The FIFO is made a directory behind its back, as a container may do: its `createdump` cannot open that.
            let mut record = |leftover: &Leftover| {
                recorded.push(leftover.clone());
                let place = directory[usize::from(leftover.dir == "/tmp")].join(&leftover.name);
                if recorded.len() == 1 {
                    std::thread::spawn(move || {
                        while !place.exists() {
                            std::thread::yield_now();
                        }
                        fs::remove_file(&place).ok();
                        fs::create_dir(&place).ok();
                    });
                }
                Ok(())
            };
            let dumped = dotnet::dump(&target, DumpType::Heap, &limits(), &mut sink, &mut record)?;
            // Taken away before the runtime was asked, it is made anew elsewhere.
            let is_elsewhere = recorded
                .last()
                .is_some_and(|last| last.dir != recorded[0].dir);
            ensure!(dumped.how == How::File || is_elsewhere, "{dumped:?}");
            ensure_whole(&path, &dumped)?;
            println!(
                "{:?} file: {} bytes, {:?}",
                container.dotnet(),
                dumped.bytes,
                dumped.pause
            );
            // What is there is what the container itself put there.
            for inside in ["/opt", "/tmp"] {
                for left in ours_in(&container.path(inside))? {
                    ensure!(left.is_dir(), "{}", left.display());
                    fs::remove_dir(left)?;
                }
            }
            Ok(())
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn two_dumps_at_once_come_one_after_the_other() -> Result<()> {
    on_each(
        |launch| launch,
        |container| {
            let temp = TempDir::new()?;
            let (first, second) = (container.target()?, container.target()?);
            let (one, two) = (temp.path().join("1"), temp.path().join("2"));
            std::thread::scope(|scope| -> Result<()> {
                let first = scope.spawn(|| dump_to(&first, DumpType::Mini, &one));
                let second = scope.spawn(|| dump_to(&second, DumpType::Heap, &two));
                ensure_whole(&one, &first.join().expect("no panic")?)?;
                ensure_whole(&two, &second.join().expect("no panic")?)
            })
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_target_that_is_killed_meanwhile_is_said_to_have_died() -> Result<()> {
    for dotnet in Dotnet::provisioned() {
        let container = Launch::of(dotnet).start()?;
        let target = container.target()?;
        let pid = rustix::process::Pid::from_raw(container.pid()).context("a pid")?;
        let mut sink = With(
            |_| {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
                Ok(())
            },
            0,
        );
        let error = dotnet::dump(&target, DumpType::Full, &limits(), &mut sink, &mut |_| {
            Ok(())
        })
        .err()
        .context("killed")?;
        ensure!(
            error.reason() == "TargetDied",
            "{dotnet:?}: {} {error}",
            error.reason()
        );
    }
    Ok(())
}

/// What a kill of this program leaves at its worst: a FIFO that nobody reads, and a `createdump` that waits for that with the target stopped.
#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn what_a_kill_left_behind_is_removed_and_the_target_let_go() -> Result<()> {
    on_each(
        |launch| launch,
        |container| {
            let target = container.target()?;
            let leftover = Leftover {
                pid: target.pid(),
                start_time: target.start_time(),
                dir: "/tmp".to_owned(),
                name: ".salvage-0123456789abcdef".to_owned(),
            };
            let place = container.path("/tmp").join(&leftover.name);
            rustix::fs::mkfifoat(
                rustix::fs::CWD,
                &place,
                rustix::fs::Mode::from_raw_mode(0o600),
            )?;
            std::os::unix::fs::chown(&place, Some(USER), None)?;
            // Sent as it would have been, and its sender gone.
            let message = "444f544e45545f4950435f5631005c0001010000";
            let mut message: Vec<u8> = (0..message.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&message[at..at + 2], 16))
                .collect::<Result<_, _>>()?;
            let inside = format!("/tmp/{}\0", leftover.name);
            message.extend(u32::try_from(inside.len())?.to_le_bytes());
            message.extend(inside.encode_utf16().flat_map(u16::to_le_bytes));
            message.extend([4, 0, 0, 0, 0, 0, 0, 0]);
            message[14] = u8::try_from(message.len())?;
            let socket = container.path(&format!(
                "/tmp/dotnet-diagnostic-1-{}-socket",
                target.start_time()
            ));
            std::os::unix::net::UnixStream::connect(socket)?.write_all(&message)?;
            let status = format!("/proc/{}/status", target.pid());
            container.wait_until("it is held", |_| {
                Ok(fs::read_to_string(&status)?.contains("State:\tt"))
            })?;
            let began = Instant::now();
            // Not once but whenever it has come to wait in its open.
            container.wait_until("it is let go", |_| {
                dotnet::remove_leftover(Path::new("/proc"), &leftover)?;
                Ok(!fs::read_to_string(&status)?.contains("State:\tt"))
            })?;
            println!("let go after {:?}", began.elapsed());
            ensure!(!place.exists());
            dotnet::remove_leftover(Path::new("/proc"), &leftover)?;
            Ok(())
        },
    )
}

fn nsenter(container: &Container, commands: &str) -> Result<()> {
    let target = container.pid().to_string();
    let status = std::process::Command::new("nsenter")
        .args(["--target", &target, "--mount", "bash", "-euc", commands])
        .status()?;
    ensure!(status.success(), "{commands}: {status}");
    Ok(())
}

/// What happens to the names of a directory.
struct Watch(rustix::fd::OwnedFd);

impl Watch {
    fn on(path: &Path) -> Result<Self> {
        use rustix::fs::inotify;
        let queue = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let wanted =
            inotify::WatchFlags::CREATE | inotify::WatchFlags::DELETE | inotify::WatchFlags::MOVE;
        inotify::add_watch(&queue, path, wanted)?;
        Ok(Self(queue))
    }

    /// All so far, as name and mask.
    fn drain(self) -> Result<Vec<(OsString, u32)>> {
        let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 16 << 10];
        let mut reader = rustix::fs::inotify::Reader::new(&self.0, &mut buffer);
        let mut seen = Vec::new();
        loop {
            match reader.next() {
                Err(rustix::io::Errno::AGAIN) => return Ok(seen),
                event => {
                    let event = event?;
                    let name = event
                        .file_name()
                        .map(|name| name.to_string_lossy().into_owned());
                    seen.push((name.unwrap_or_default().into(), event.events().bits()));
                }
            }
        }
    }
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn the_fifo_is_its_writers_and_nobody_elses() -> Result<()> {
    let container = Launch::of(Dotnet::Net8).start()?;
    let target = container.target()?;
    let directory = container.path("/tmp");
    let looked = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            loop {
                if let Some(path) = ours_in(&directory)?.pop() {
                    // It is given to its writer within the moment.
                    let meta = fs::symlink_metadata(&path)?;
                    if meta.uid() == USER {
                        return anyhow::Ok((path, meta));
                    }
                }
                std::thread::yield_now();
            }
        });
        let dumped = dotnet::dump(
            &target,
            DumpType::Full,
            &limits(),
            &mut Vec::new(),
            &mut |_| Ok(()),
        );
        (looking.join().expect("no panic"), dumped)
    });
    let (path, meta) = looked.0?;
    looked.1?;
    ensure!(
        meta.file_type().is_fifo() && meta.mode() & 0o777 == 0o600,
        "{}",
        path.display()
    );
    Ok(())
}
