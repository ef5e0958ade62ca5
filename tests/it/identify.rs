//! Facts of real dumps, compared with what `readelf`, `gdb` and `/proc` say of the same process, not with our own parser.
//!
//! The programs are compiled and crashed on the spot. Those named `kernel_core_*` need a kernel that writes cores as plain files; they
//! fail with the remedy where it does not, and never change the node's setting themselves.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use salvage::identify::identify;
use salvage::model::{Completeness, Facts, Format, Process};
use tempfile::TempDir;

use crate::support::cuts;

const HOST_NAME: &str = "checkout-7d9f6c5b8-x2x9z";
const SECRET: &str = "hunter2-do-not-tell";

/// Waits for a line on its input, so that its `/proc` can be read, and then crashes as its first argument says.
const VICTIM: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_barrier_t started, go;
static long crasher;

static void *work(void *n) {
    if ((long)n == 7) crasher = syscall(SYS_gettid);
    pthread_barrier_wait(&started);
    pthread_barrier_wait(&go);
    if ((long)n == 7) abort();
    for (;;) pause();
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "segv";
    int threads = strcmp(mode, "threads") == 0;
    crasher = syscall(SYS_gettid);
    if (threads) {
        pthread_barrier_init(&started, NULL, 16);
        pthread_barrier_init(&go, NULL, 16);
        for (long n = 1; n < 16; n++) {
            pthread_t thread;
            if (pthread_create(&thread, NULL, work, (void *)n) != 0) return 1;
        }
        pthread_barrier_wait(&started);
    }
    if (strcmp(mode, "heap") == 0) {
        size_t size = 256 << 20;
        char *heap = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (heap == MAP_FAILED) return 1;
        for (size_t at = 0; at < size; at += 16 << 20) heap[at] = 1;
    }
    printf("%ld\n", crasher);
    fflush(stdout);
    getchar();
    if (threads) { pthread_barrier_wait(&go); for (;;) pause(); }
    if (strcmp(mode, "abort") == 0) abort();
    *(volatile int *)0x1f0 = 1;
    return 0;
}
"#;

/// What `/proc/<pid>` said before the crash.
#[derive(Debug)]
struct Before {
    pid: i32,
    comm: String,
    exe: PathBuf,
    uid: u32,
    threads: u32,
    host_name: String,
    /// The mapped files. readelf 2.40 cannot show a core's own list ("Cannot decode 64-bit note in 32-bit build").
    files: Vec<PathBuf>,
}

impl Before {
    fn of(pid: u32) -> Self {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
        };
        let text = |file| String::from_utf8(read(file)).expect("ASCII");
        let status = text("status");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|l| l.split_whitespace().next())
                .expect("a field of status")
                .to_owned()
        };
        let environ = read("environ");
        let host_name = environ
            .split(|b| *b == 0)
            .find_map(|variable| variable.strip_prefix(b"HOSTNAME="))
            .expect("the test gave it one");
        let maps = text("maps");
        let names = maps
            .lines()
            .filter_map(|line| line.find('/').map(|at| &line[at..]));
        let mut files: Vec<_> = names.map(PathBuf::from).collect();
        files.sort();
        files.dedup();
        Self {
            files,
            pid: i32::try_from(pid).expect("a pid"),
            comm: text("comm").trim_end().to_owned(),
            exe: fs::read_link(format!("/proc/{pid}/exe")).expect("readable"),
            uid: field("Uid:").parse().expect("a number"),
            threads: field("Threads:").parse().expect("a number"),
            host_name: String::from_utf8(host_name.to_vec()).expect("ASCII"),
        }
    }
}

struct Crash {
    /// Held for its files.
    _dir: TempDir,
    core: PathBuf,
    before: Before,
    /// The thread that was going to crash, by its own word.
    tid: i32,
    facts: Facts,
}

impl Crash {
    fn process(&self) -> Process {
        self.facts
            .process
            .clone()
            .expect("the core tells of its process")
    }
}

fn demand_plain_cores() {
    let path = "/proc/sys/kernel/core_pattern";
    let pattern = fs::read_to_string(path).expect("Linux has it");
    let pattern = pattern.trim_end();
    let plain = !pattern.is_empty() && !pattern.contains(['|', '@', '/']);
    assert!(
        plain,
        "{path} is {pattern:?}, so the kernel hands cores to somebody else: set it to `core` where nothing relies on it, or leave these tests out with `--skip kernel_core`"
    );
}

fn run(command: &mut Command) -> String {
    let out = command.env("LC_ALL", "C").output().unwrap_or_else(|e| {
        panic!("{command:?}: {e}; the tests need gcc, gdb, binutils and python3")
    });
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{command:?}: {}\n{text}\n{}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    text
}

fn readelf(option: &str, file: &Path) -> String {
    run(Command::new("readelf").arg(option).arg(file))
}

fn compile(dir: &Path) -> PathBuf {
    let (source, program) = (dir.join("victim.c"), dir.join("victim"));
    fs::write(&source, VICTIM).expect("written");
    run(Command::new("gcc")
        .args(["-O1", "-g", "-pthread", "-Wl,--build-id", "-o"])
        .args([&program, &source]));
    program
}

fn scratch() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // The victim may be another user, who has to write its core here.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    dir
}

/// Starts `program` in `dir` with `core_limit` (as `ulimit -c` takes it), lets it say that it is ready, reads its `/proc`, lets it
/// crash, and reads the facts of its core.
fn crash(dir: TempDir, program: &Path, args: &[&str], uid: Option<u32>, core_limit: &str) -> Crash {
    demand_plain_cores();
    let before: Vec<_> = files(dir.path());
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            &format!("ulimit -c {core_limit} && exec \"$0\" \"$@\""),
        ])
        .arg(program)
        .args(args)
        .current_dir(dir.path())
        .env("HOSTNAME", HOST_NAME)
        .env("DB_PASSWORD", SECRET)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    let mut child = command.spawn().expect("sh runs");
    let mut said = String::new();
    BufReader::new(child.stdout.take().expect("piped"))
        .read_line(&mut said)
        .expect("it says that it is ready");
    let tid = said
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("{args:?} said {said:?}"));
    let proc = Before::of(child.id());
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(b"\n")
        .expect("it waits for that");
    let status = child.wait().expect("it ends");
    let new: Vec<_> = files(dir.path())
        .into_iter()
        .filter(|file| !before.contains(file))
        .collect();
    let [core] = new.as_slice() else {
        panic!("{args:?} ended with {status} and left {new:?}");
    };
    Crash {
        facts: facts(core),
        core: core.clone(),
        _dir: dir,
        before: proc,
        tid,
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("readable");
    entries
        .map(|entry| entry.expect("readable").path())
        .collect()
}

fn facts(dump: &Path) -> Facts {
    let file = File::open(dump).expect("readable");
    let len = file.metadata().expect("readable").len();
    identify(&file, len)
}

/// A user who is nobody else, where the tests may become another.
fn other_user() -> Option<u32> {
    rustix::process::geteuid().is_root().then_some(54_321)
}

/// Where the bytes of the core end, by readelf's table of segments.
fn promised(core: &Path) -> u64 {
    let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex");
    let ends = readelf("-lW", core)
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|columns| matches!(columns.first(), Some(&("LOAD" | "NOTE"))))
        .map(|columns| hex(columns[1]) + hex(columns[4]))
        .max();
    ends.expect("a core has segments")
}

/// The build-id of a file on disk, by readelf.
fn build_id(file: &Path) -> Option<String> {
    if fs::read(file).ok()?.get(..4) != Some(b"\x7fELF") {
        return None;
    }
    let notes = readelf("-n", file);
    let id = notes
        .lines()
        .find_map(|line| line.trim().strip_prefix("Build ID: "));
    id.map(str::to_owned)
}

/// What holds for every complete kernel core, whoever crashed.
fn agrees_with_proc_and_readelf(crash: &Crash) {
    let (facts, process, before) = (&crash.facts, crash.process(), &crash.before);
    assert_eq!(facts.format, Format::ElfCore);
    assert_eq!(facts.producer.as_deref(), Some("kernel"));
    assert_eq!(facts.unread, Vec::<String>::new());

    assert_eq!(process.pid, Some(before.pid));
    assert_eq!(process.comm.as_deref(), Some(before.comm.as_str()));
    assert_eq!(process.exe.as_deref(), before.exe.to_str());
    assert_eq!(process.uid, Some(before.uid));
    assert_eq!(process.threads, Some(before.threads));
    assert_eq!(process.crashing_tid, Some(crash.tid));
    assert_eq!(facts.host_name.as_deref(), Some(before.host_name.as_str()));

    let len = fs::metadata(&crash.core).expect("readable").len();
    assert_eq!(facts.completeness, Completeness::Complete);
    assert_eq!(promised(&crash.core), len);
    cuts::never_complete(&crash.core, Format::ElfCore, 0);

    let header = readelf("-h", &crash.core);
    assert!(header.contains("CORE (Core file)"), "{header}");
    let runtime = facts.runtime.clone().expect("the machine is known");
    let machine = match runtime.arch.as_deref() {
        Some("x86_64") => "X86-64",
        Some("aarch64") => "AArch64",
        other => panic!("{other:?}"),
    };
    assert!(header.contains(machine), "{header}");

    let notes = readelf("-n", &crash.core);
    let threads = notes.matches("NT_PRSTATUS").count();
    assert_eq!(process.threads, u32::try_from(threads).ok());

    // Every file with a build-id on disk is there with that id, and nothing else is.
    let mut expected = Vec::new();
    for file in &before.files {
        if let Some(id) = build_id(file).filter(|_| *file != before.exe) {
            expected.push((file.to_string_lossy().into_owned(), id));
        }
    }
    let mut found: Vec<_> = process
        .modules
        .into_iter()
        .map(|module| {
            (
                module.name,
                module.build_id.expect("a core's module has one"),
            )
        })
        .collect();
    found.sort();
    assert!(!found.is_empty());
    assert_eq!(found, expected);
    assert_eq!(process.build_id, build_id(&before.exe));

    let json = serde_json::to_string(facts).expect("serialises");
    assert!(!json.contains(SECRET), "{json}");
}

/// Compares signal, code, address, crashing thread and number of threads with gdb's.
fn agrees_with_gdb(crash: &Crash) {
    let said = run(Command::new("gdb")
        .args(["-nx", "-batch", "-iex", "set debuginfod enabled off"])
        .args(["-ex", "printf \"signal=%d code=%d address=0x%lx\\n\", $_siginfo.si_signo, $_siginfo.si_code, $_siginfo._sifields._sigfault.si_addr"])
        .args(["-ex", "thread", "-ex", "info threads"])
        .arg(&crash.before.exe)
        .arg(&crash.core));
    let signal = crash.facts.signal.clone().expect("it took a signal");
    let code = signal.code.expect("kernel cores have it");
    let ours = format!("signal={} code={code} ", signal.number);
    assert!(said.contains(&ours), "{ours}\n{said}");
    if let Some(address) = &signal.address {
        assert!(
            said.contains(&format!("address={address}\n")),
            "{address}\n{said}"
        );
    }
    assert!(
        said.contains(&format!("Program terminated with signal {}", signal.name)),
        "{said}"
    );
    let process = crash.process();
    let tid = process.crashing_tid.expect("known");
    let current = said
        .lines()
        .find(|line| line.starts_with("[Current thread is"));
    let current = current.unwrap_or_else(|| panic!("{said}"));
    assert!(current.contains(&format!("LWP {tid})")), "{tid}: {current}");
    let listed = said
        .lines()
        .filter(|line| line.contains("LWP") && !line.starts_with('['))
        .count();
    assert_eq!(process.threads, u32::try_from(listed).ok(), "{said}");
}

fn crash_victim(mode: &str, uid: Option<u32>) -> Crash {
    let dir = scratch();
    let program = compile(dir.path());
    let crash = crash(dir, &program, &[mode], uid, "unlimited");
    assert!(crash.process().build_id.is_some(), "it was linked with one");
    crash
}

#[test]
fn kernel_core_of_a_segmentation_fault_agrees_with_proc_readelf_and_gdb() {
    let crash = crash_victim("segv", None);
    agrees_with_proc_and_readelf(&crash);
    agrees_with_gdb(&crash);
    let signal = crash.facts.signal.expect("it took one");
    assert_eq!((signal.number, signal.code), (11, Some(1)));
    assert_eq!(signal.address.as_deref(), Some("0x1f0"));
    assert_eq!(crash.before.threads, 1);
    assert_eq!(crash.before.host_name, HOST_NAME);
}

#[test]
fn kernel_core_of_an_abort_by_another_user_agrees_with_proc_readelf_and_gdb() {
    let crash = crash_victim("abort", other_user());
    agrees_with_proc_and_readelf(&crash);
    agrees_with_gdb(&crash);
    let signal = crash.facts.signal.expect("it took one");
    assert_eq!((signal.number, signal.name.as_str()), (6, "SIGABRT"));
    assert_eq!(
        signal.address, None,
        "somebody sent it, nothing was accessed"
    );
}

#[test]
fn kernel_core_of_the_seventh_of_sixteen_threads_names_that_thread() {
    let crash = crash_victim("threads", None);
    assert_eq!(crash.before.threads, 16);
    assert_ne!(crash.tid, crash.before.pid);
    agrees_with_proc_and_readelf(&crash);
    agrees_with_gdb(&crash);
}

#[test]
fn kernel_core_with_holes_is_complete() {
    let crash = crash_victim("heap", None);
    let metadata = fs::metadata(&crash.core).expect("readable");
    assert!(metadata.len() > 256 << 20, "{}", metadata.len());
    agrees_with_proc_and_readelf(&crash);
    agrees_with_gdb(&crash);
}

#[test]
fn kernel_core_cut_by_its_limit_is_truncated_and_still_names_its_process() {
    let dir = scratch();
    let program = compile(dir.path());
    let crash = crash(dir, &program, &["segv"], None, "100");
    let len = fs::metadata(&crash.core).expect("readable").len();
    let expected = promised(&crash.core);
    assert!(len < expected, "{len} of {expected}");
    assert_eq!(
        crash.facts.completeness,
        Completeness::Truncated {
            expected: Some(expected)
        }
    );
    let process = crash.process();
    assert_eq!(process.pid, Some(crash.before.pid));
    assert_eq!(process.crashing_tid, Some(crash.tid));
    assert_eq!(process.exe.as_deref(), crash.before.exe.to_str());
    assert_eq!(crash.facts.signal.map(|s| s.number), Some(11));
    assert_eq!(
        crash.facts.host_name, None,
        "the stack is at the end, and that is gone"
    );
    assert!(!crash.facts.unread.is_empty());
}

#[test]
fn kernel_core_read_at_any_length_says_nothing_false() {
    let crash = crash_victim("threads", None);
    let whole = crash.process();
    let file = File::open(&crash.core).expect("readable");
    let len = file.metadata().expect("readable").len();
    for n in 0..=256 {
        let part = identify(&file, len * n / 256);
        if n == 0 {
            assert_eq!(part.format, Format::Unknown);
            continue;
        }
        let complete = part.completeness == Completeness::Complete;
        assert_eq!(complete, n == 256, "{n}/256: {:?}", part.completeness);
        let process = part.process.unwrap_or_default();
        assert_eq!(process.pid, whole.pid, "{n}/256");
        assert_eq!(process.crashing_tid, whole.crashing_tid, "{n}/256");
        assert!(
            process.threads.is_none_or(|t| Some(t) == whole.threads),
            "{n}/256"
        );
        assert!(
            process.modules.iter().all(|m| whole.modules.contains(m)),
            "{n}/256"
        );
        assert!(
            part.host_name.is_none_or(|name| name == HOST_NAME),
            "{n}/256"
        );
    }
}

#[test]
fn kernel_core_of_python_lists_every_module_and_the_runtime() {
    for (how, signal) in [("os.abort()", 6), ("ctypes.string_at(16)", 11)] {
        let python = run(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]));
        let version = "import sys; print('%d.%d' % sys.version_info[:2])";
        let version = run(Command::new(python.trim()).args(["-c", version]));
        let script = format!(
            "import ctypes, json, os, random, sys, threading, zlib\n\
             for n in range(3): threading.Thread(target=threading.Event().wait, daemon=True).start()\n\
             print(threading.get_native_id(), flush=True)\n\
             sys.stdin.readline()\n\
             {how}"
        );
        let dir = scratch();
        let program = PathBuf::from(python.trim());
        let crash = crash(dir, &program, &["-c", &script], None, "unlimited");
        agrees_with_proc_and_readelf(&crash);
        agrees_with_gdb(&crash);
        assert_eq!(crash.before.threads, 4);
        assert_eq!(crash.facts.signal.as_ref().map(|s| s.number), Some(signal));
        let runtime = crash.facts.runtime.clone().expect("known");
        assert_eq!(runtime.name.as_deref(), Some("Python"));
        assert_eq!(runtime.version.as_deref(), Some(version.trim()));
        assert!(runtime.libc.is_some());
    }
}

/// A process and thread number that createdump printed.
fn printed(log: &str, before: &str, radix: u32) -> i32 {
    let rest = log
        .split(before)
        .nth(1)
        .unwrap_or_else(|| panic!("no {before:?} in\n{log}"));
    let word = rest.split_whitespace().next().expect("a word follows");
    i32::from_str_radix(word, radix).unwrap_or_else(|_| panic!("{word:?} in\n{log}"))
}

#[test]
#[ignore = "needs a real .NET; tests/run provisions it and sets SALVAGE_TEST_DOTNET to its directory"]
fn createdump_of_dotnet_8_agrees_with_what_it_printed_and_with_readelf() {
    let dotnet = std::env::var_os("SALVAGE_TEST_DOTNET")
        .expect("SALVAGE_TEST_DOTNET is the directory that has modes/modes");
    let program = Path::new(&dotnet).join("modes/modes");
    let program = program
        .canonicalize()
        .unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    for dump_type in 1..=4 {
        for (mode, signal, code, address) in [
            ("worker", 6, 0, None),
            ("nullref", 6, 0, None),
            ("abort", 6, -6, None),
            ("segv", 11, 1, Some("0x8")),
        ] {
            let case = format!("{mode}, type {dump_type}");
            let dir = scratch();
            let dump = dir.path().join("dump");
            let out = Command::new("sh")
                .args(["-c", "ulimit -c 0 && exec \"$0\" \"$@\""])
                .arg(&program)
                .arg(mode)
                .env("HOSTNAME", HOST_NAME)
                .env("DB_PASSWORD", SECRET)
                .env("DOTNET_DbgEnableMiniDump", "1")
                .env("DOTNET_DbgMiniDumpType", dump_type.to_string())
                .env("DOTNET_DbgMiniDumpName", &dump)
                .output()
                .expect("it runs");
            let log = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
            let facts = facts(&dump);

            assert_eq!(facts.format, Format::ElfCore, "{case}");
            assert_eq!(facts.producer.as_deref(), Some("createdump"), "{case}");
            assert_eq!(facts.completeness, Completeness::Complete, "{case}");
            assert_eq!(
                promised(&dump),
                fs::metadata(&dump).expect("readable").len(),
                "{case}"
            );
            cuts::never_complete(&dump, Format::ElfCore, 0);
            let found = facts
                .signal
                .clone()
                .unwrap_or_else(|| panic!("{case}: no signal"));
            assert_eq!((found.number, found.code), (signal, Some(code)), "{case}");
            assert_eq!(found.address.as_deref(), address, "{case}");

            let process = facts.process.clone().expect("known");
            assert_eq!(
                process.pid,
                Some(printed(&log, "state for process ", 10)),
                "{case}"
            );
            assert_eq!(
                process.crashing_tid,
                Some(printed(&log, "Crashing thread ", 16)),
                "{case}"
            );
            assert_eq!(
                mode == "worker",
                process.crashing_tid != process.pid,
                "{case}"
            );
            assert_eq!(process.comm.as_deref(), Some("modes"), "{case}");
            assert_eq!(process.exe.as_deref(), program.to_str(), "{case}");
            assert_eq!(process.uid, None, "{case}");
            assert_eq!(process.build_id, build_id(&program), "{case}");
            let notes = readelf("-n", &dump);
            let threads = notes.matches("NT_PRSTATUS").count();
            assert_eq!(process.threads, u32::try_from(threads).ok(), "{case}");
            for module in &process.modules {
                let on_disk = build_id(Path::new(&module.name));
                assert_eq!(
                    on_disk.as_ref(),
                    module.build_id.as_ref(),
                    "{case}: {}",
                    module.name
                );
            }
            assert!(
                process
                    .modules
                    .iter()
                    .any(|m| m.name.ends_with("/libcoreclr.so")),
                "{case}: {:?}",
                process.modules
            );
            let runtime = facts.runtime.clone().expect("known");
            assert_eq!(runtime.name.as_deref(), Some(".NET"), "{case}");

            // The small types leave out the first thread's stack when that thread crashed in native code by a fault.
            if mode == "segv" && matches!(dump_type, 1 | 3) && facts.host_name.is_none() {
                assert_eq!(
                    facts.unread,
                    ["environment strings: the dump does not have them"]
                );
            } else {
                assert_eq!(facts.host_name.as_deref(), Some(HOST_NAME), "{case}");
                assert!(facts.unread.is_empty(), "{case}: {:?}", facts.unread);
            }
            let json = serde_json::to_string(&facts).expect("serialises");
            assert!(!json.contains(SECRET), "{case}");
        }
    }
}
