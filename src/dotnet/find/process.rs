//! What `/proc` says of a process, for finding it and for planning a capture of it.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;

use crate::model::Escaped;
use crate::sys::Dir;

/// A process as `/proc` tells of it, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The host's number.
    pub pid: i32,
    /// The number that it has for itself, in the innermost pid namespace.
    pub inner_pid: i32,
    /// When it started, in clock ticks since the boot. With the number it is one process for good.
    pub start_time: u64,
    /// The name that the kernel has for it, escaped.
    pub comm: String,
    /// The user whose rights it has.
    pub uid: u32,
    /// How many threads it has.
    pub threads: u64,
    /// Memory of its that is in RAM (`VmRSS`), in bytes.
    pub rss: u64,
    /// The part of that which no file backs (`RssAnon`), in bytes; most of what a heap dump holds.
    pub rss_anon: u64,
    /// All that it has mapped (`VmSize`), in bytes; of a runtime that is far more than there is.
    pub size: u64,
}

/// The fields of a `stat` that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dotnet) struct Stat {
    pub(in crate::dotnet) state: u8,
    pub(in crate::dotnet) start_time: u64,
}

/// The fields of a `status` that are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::dotnet) struct Status {
    pub(in crate::dotnet) state: u8,
    pub(in crate::dotnet) tracer: i32,
    comm: String,
    inner_pid: Option<i32>,
    uid: u32,
    threads: u64,
    rss: u64,
    rss_anon: u64,
    size: u64,
}

/// Longest `stat`, `status` or `cgroup` that is read; real ones have less than 8 KiB.
const FILE_MAX: u64 = 64 << 10;
/// Most processes that are looked at; a node has at most a few thousand.
const PROCESSES_MAX: usize = 1 << 16;

/// The processes of a proc file system whose `cgroup` file `belongs` says yes to, by ascending number. One that ends meanwhile is left out.
///
/// # Errors
/// When the directory cannot be read.
pub fn processes_of(proc: &Path, belongs: impl Fn(&str) -> bool) -> io::Result<Vec<Process>> {
    let all = Dir::open(proc)?;
    let mut found = Vec::new();
    for entry in all.entries()?.take(PROCESSES_MAX) {
        let name = entry?.name;
        let Some(pid) = pid_of(&name) else { continue };
        let Ok(dir) = all.open_dir(&name) else {
            continue;
        };
        if read(&dir, "cgroup").is_ok_and(|text| belongs(&text))
            && let Ok(process) = process_at(&dir, pid)
        {
            found.push(process);
        }
    }
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// The process of that number.
///
/// # Errors
/// As `open(2)` and `read(2)`: `ENOENT` or `ESRCH` where there is none; `EINVAL` for a file that says something else than the kernel does.
pub fn process(proc: &Path, pid: i32) -> io::Result<Process> {
    process_at(&dir_of(proc, pid)?, pid)
}

/// The directory of a process.
pub(super) fn dir_of(proc: &Path, pid: i32) -> io::Result<Dir> {
    Dir::open(proc)?.open_dir(OsStr::new(&pid.to_string()))
}

fn process_at(dir: &Dir, pid: i32) -> io::Result<Process> {
    // Twice, around the other: all of it is about one process.
    let stat = stat_of(dir)?;
    let status = Status::parse(&read(dir, "status")?);
    if stat.start_time != stat_of(dir)?.start_time {
        return Err(rustix::io::Errno::SRCH.into());
    }
    Ok(Process {
        pid,
        inner_pid: status.inner_pid.unwrap_or(pid),
        start_time: stat.start_time,
        comm: status.comm,
        uid: status.uid,
        threads: status.threads,
        rss: status.rss,
        rss_anon: status.rss_anon,
        size: status.size,
    })
}

pub(super) fn stat_of(dir: &Dir) -> io::Result<Stat> {
    Stat::parse(&read(dir, "stat")?).ok_or_else(|| rustix::io::Errno::INVAL.into())
}

fn pid_of(name: &OsStr) -> Option<i32> {
    let name = name.to_str()?;
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| name.parse().ok()).flatten()
}

/// A short file of a process's or a thread's directory.
pub(in crate::dotnet) fn read(dir: &Dir, name: &str) -> io::Result<String> {
    let file = dir.open_file(OsStr::new(name))?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Stat {
    /// Reads a `stat`. The name in it may hold anything, parentheses and blanks too, so the fields are counted from behind the last parenthesis.
    pub(in crate::dotnet) fn parse(text: &str) -> Option<Self> {
        let (_, behind) = text.rsplit_once(')')?;
        let mut fields = behind.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        // Field 22 of all, of which the state is the third.
        let start_time = fields.nth(22 - 4)?.parse().ok()?;
        Some(Self { state, start_time })
    }

    pub(in crate::dotnet) fn has_ended(self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

impl Status {
    /// Reads a `status`; a field that is missing or strange counts as 0. The kernel escapes newlines in the name, so no line is forged.
    pub(in crate::dotnet) fn parse(text: &str) -> Self {
        let mut status = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let words = || value.split_ascii_whitespace();
            let number = || {
                words()
                    .next()
                    .and_then(|word| word.parse::<u64>().ok())
                    .unwrap_or(0)
            };
            match key {
                "Name" => {
                    status.comm =
                        Escaped::bytes(value.trim_start_matches('\t').as_bytes()).to_string()
                }
                "State" => status.state = value.trim().bytes().next().unwrap_or(0),
                "TracerPid" => status.tracer = number().try_into().unwrap_or(0),
                // Real, effective, saved, file system.
                "Uid" => {
                    status.uid = words()
                        .nth(1)
                        .and_then(|word| word.parse().ok())
                        .unwrap_or(0)
                }
                "NSpid" => status.inner_pid = words().last().and_then(|word| word.parse().ok()),
                "Threads" => status.threads = number(),
                "VmRSS" => status.rss = number().saturating_mul(1024),
                "RssAnon" => status.rss_anon = number().saturating_mul(1024),
                "VmSize" => status.size = number().saturating_mul(1024),
                _ => {}
            }
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_cannot_forge_the_fields_behind_it() {
        let stat = "7 (x) S 1 1 (dotnet) R 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 303609 2 3";
        let stat = Stat::parse(stat).expect("a stat");
        assert_eq!((stat.state, stat.start_time), (b'R', 303_609));
    }

    #[test]
    fn the_facts_of_a_real_status_are_read() {
        let status = "Name:\tloop\nUmask:\t0022\nState:\tt (tracing stop)\nTgid:\t2600\nPid:\t2600\nTracerPid:\t2711\nUid:\t0\t12345\t12345\t12345\n\
            NStgid:\t2600\t1\nNSpid:\t2600\t1\nVmSize:\t  268434176 kB\nVmRSS:\t   40000 kB\nRssAnon:\t   30000 kB\nThreads:\t9\n";
        let status = Status::parse(status);
        assert_eq!(status.inner_pid, Some(1));
        assert_eq!(
            (status.state, status.tracer, status.uid, status.threads),
            (b't', 2711, 12345, 9)
        );
        assert_eq!(
            (status.rss, status.rss_anon, status.size),
            (40_960_000, 30_720_000, 274_876_596_224)
        );
        assert_eq!(status.comm, "loop");
    }

    #[test]
    fn this_process_is_found_by_its_cgroup_and_by_its_number() {
        let us = rustix::process::getpid().as_raw_nonzero().get();
        let own = std::fs::read_to_string("/proc/self/cgroup").expect("cgroup");
        let found = processes_of(Path::new("/proc"), |cgroup| cgroup == own).expect("read");
        let found = found
            .into_iter()
            .find(|process| process.pid == us)
            .expect("us");
        let direct = process(Path::new("/proc"), us).expect("us");
        assert_eq!(found.start_time, direct.start_time);
        assert!(
            direct.rss > 0 && direct.rss_anon > 0 && direct.size > direct.rss && direct.threads > 0
        );
        assert!(
            processes_of(Path::new("/proc"), |_| false)
                .expect("read")
                .is_empty()
        );
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic(text in ".{0,300}", tail in "[0-9 )(]{0,120}") {
            Stat::parse(&text);
            Stat::parse(&format!("{text}) {tail}"));
            Status::parse(&text);
            Status::parse(&format!("Uid:{tail}\nVmRSS:{tail}\nNSpid:{tail}"));
        }
    }
}
