//! Programs that really crash, what `/proc` says of them before, and the dumps they leave.
//!
//! Every victim says `ready` and waits for a line on its stdin. In between its facts are read, from `/proc` alone, so that a test compares our reading
//! of a dump with something that is not our reading of a dump. [`Victim::crash`] then returns when the process is reaped, that is, when its dump is written.
//!
//! Owns: starting, facts, crashing, finding what was left. Leaves to others: what is in a dump (`readers`), the host's core_pattern (`core_pattern`).
//! Programs come from `tests/provision`; a variable that is missing is an error that says so, never a skipped test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use minidump_writer::CrashContextExt;
use minidump_writer::crash_context::CrashContext;
use minidump_writer::minidump_writer::MinidumpWriterConfig;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use super::core_pattern::CorePattern;
use super::process::{Process, ending};

/// The HOSTNAME of every victim unless a test gives another: as Kubernetes sets it, the pod's name.
pub(crate) const HOSTNAME: &str = "checkout-7d9f6c5b8-x2x9z";

/// What `/proc` said while the victim was alive, and what it said itself after `ready`.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) pid: u32,
    pub(crate) comm: String,
    pub(crate) exe: PathBuf,
    /// Real, effective, saved, file system.
    pub(crate) uids: [u32; 4],
    /// A runtime (JVM, .NET, Node) starts and ends threads at any time: only of C and Python is this what the dump must hold.
    pub(crate) tids: BTreeSet<u32>,
    pub(crate) hostname: Option<String>,
    said: BTreeMap<String, String>,
}

impl Facts {
    /// What the victim said of itself, as `tid` or `heap`.
    pub(crate) fn said(&self, key: &str) -> Result<&str> {
        self.said
            .get(key)
            .map(String::as_str)
            .with_context(|| format!("the victim said nothing of {key}: {:?}", self.said))
    }

    /// The thread that will crash.
    pub(crate) fn crashing_tid(&self) -> Result<u32> {
        Ok(self.said("tid")?.parse()?)
    }

    fn read(pid: u32, ready: &str) -> Result<Self> {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let status = fs::read_to_string(proc.join("status")).context("read status")?;
        let uids: Vec<u32> = status_field(&status, "Uid")?
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let tids = fs::read_dir(proc.join("task"))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().parse()?))
            .collect::<Result<BTreeSet<u32>>>()?;
        let environ = fs::read(proc.join("environ")).context("read environ")?;
        Ok(Self {
            pid,
            comm: fs::read_to_string(proc.join("comm"))?.trim_end().to_owned(),
            exe: fs::read_link(proc.join("exe"))?,
            uids: uids.try_into().ok().context("four uids in status")?,
            tids,
            hostname: environ
                .split(|byte| *byte == 0)
                .find_map(|variable| variable.strip_prefix(b"HOSTNAME="))
                .map(|value| String::from_utf8_lossy(value).into_owned()),
            said: key_values(ready),
        })
    }
}

/// `word key=value key=value`, the form in which the victims say things.
pub(crate) fn key_values(line: &str) -> BTreeMap<String, String> {
    line.split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn status_field<'a>(status: &'a str, name: &str) -> Result<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
        .with_context(|| format!("no {name} in status"))
}

/// Whether the kernel writes a core when it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KernelCore {
    Wanted,
    /// createdump and the JVM write their own; a kernel core beside it would be a second dump of one crash.
    Unwanted,
}

/// A victim that is not started yet.
#[derive(Debug)]
pub(crate) struct Launch {
    command: Command,
    core: KernelCore,
    // Where the program had to be copied to for another user.
    copy: Option<TempDir>,
}

impl Launch {
    /// A program of `tests/victims/NAME.c`.
    pub(crate) fn compiled(name: &str) -> Result<Self> {
        Ok(Self::command(Command::new(compiled(name)?)))
    }

    /// The same as another user, who may have no access to where it was compiled.
    pub(crate) fn compiled_as(name: &str, uid: u32) -> Result<Self> {
        let copy = TempDir::new().context("directory for the copy")?;
        fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755))?;
        let program = copy.path().join(name);
        // Not by our own hands: a process that another test forks meanwhile would hold the copy open for writing, and it could not be started.
        let copied = Command::new("cp")
            .arg(compiled(name)?)
            .arg(&program)
            .status()
            .context("run cp")?;
        ensure!(copied.success(), "cp to {}: {copied}", program.display());
        let mut command = Command::new(program);
        // Other groups go with the uid: the standard library drops them when root sets it.
        command.uid(uid).gid(uid);
        Ok(Self {
            copy: Some(copy),
            ..Self::command(command)
        })
    }

    /// A Python process; `death` is a statement such as `os.abort()` or `ctypes.string_at(8)`.
    pub(crate) fn python(death: &str) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", &format!("import ctypes, os, sys, threading; print('ready tid=%d' % threading.get_native_id(), flush=True); sys.stdin.readline(); {death}")]);
        Self::command(command)
    }

    /// A Node process; `death` is a statement such as `process.abort()` or `process.report.writeReport('x.json')`.
    pub(crate) fn node(death: &str) -> Self {
        let mut command = Command::new("node");
        command.args(["-e", &format!("process.stdin.once('data', () => {{ {death}; process.exit(0); }}); console.log('ready tid=' + process.pid);")]);
        Self::command(command)
    }

    /// A JVM that fills its heap and leaves an hprof as `java_pidPID.hprof` in its directory, then exits with 3.
    pub(crate) fn java_out_of_memory(dump_directory: &Path) -> Result<Self> {
        Self::java_out_of_memory_with(dump_directory, &["-Xmx32m"])
    }

    /// The same with a heap of another size or kind.
    pub(crate) fn java_out_of_memory_with(dump_directory: &Path, heap: &[&str]) -> Result<Self> {
        let mut command = Command::new("java");
        command
            .args(heap)
            .args([
                "-Xshare:auto",
                "-XX:+HeapDumpOnOutOfMemoryError",
                "-XX:+ExitOnOutOfMemoryError",
            ])
            .arg(format!("-XX:HeapDumpPath={}", dump_directory.display()))
            .arg("-cp")
            .arg(java_classes()?)
            .arg("Heap");
        Ok(Self {
            core: KernelCore::Unwanted,
            ..Self::command(command)
        })
    }

    /// A JVM that dies of its full heap: it writes `hs_err_pidPID.log` into its directory and aborts.
    pub(crate) fn java_crash() -> Result<Self> {
        let mut command = Command::new("java");
        command
            .args(["-Xmx32m", "-Xshare:auto", "-XX:+CrashOnOutOfMemoryError"])
            .arg("-cp")
            .arg(java_classes()?)
            .arg("Heap");
        Ok(Self {
            core: KernelCore::Unwanted,
            ..Self::command(command)
        })
    }

    /// A .NET process that dies in this mode of `tests/victims/Modes.cs`; start it by [`crash_dotnet_by`].
    pub(crate) fn dotnet(mode: &str, dump: &Createdump) -> Result<Self> {
        Ok(Self::dotnet_without_dumps(mode)?
            .env("DOTNET_DbgEnableMiniDump", "1")
            .env("DOTNET_DbgMiniDumpType", &dump.kind.to_string())
            .env("DOTNET_DbgMiniDumpName", &dump.name)
            .env(
                "DOTNET_EnableCrashReport",
                if dump.crash_report { "1" } else { "0" },
            ))
    }

    /// A .NET process that waits to be looked at, and does not dump whatever becomes of it. Its diagnostic socket is in `tmp`.
    pub(crate) fn dotnet_at_rest(tmp: &Path) -> Result<Self> {
        Ok(Self::dotnet_without_dumps("exit")?.env("TMPDIR", &tmp.to_string_lossy()))
    }

    fn dotnet_without_dumps(mode: &str) -> Result<Self> {
        let mut command = Command::new(provisioned("SALVAGE_TEST_DOTNET")?.join("modes/modes"));
        command.arg(mode);
        Ok(Self {
            core: KernelCore::Unwanted,
            ..Self::command(command)
        })
    }

    /// Anything else that says `ready` and waits for a line.
    pub(crate) fn command(mut command: Command) -> Self {
        command.env("HOSTNAME", HOSTNAME);
        Self {
            command,
            core: KernelCore::Wanted,
            copy: None,
        }
    }

    /// Lets the kernel write a core as well, beside what the runtime leaves.
    pub(crate) fn with_kernel_core(mut self) -> Self {
        self.core = KernelCore::Wanted;
        self
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it with this working directory, which is where a kernel core goes, and waits until it is ready.
    pub(crate) fn start_in(mut self, directory: &Path) -> Result<Victim> {
        let pattern = match self.core {
            KernelCore::Wanted => Some(CorePattern::of_host()?),
            KernelCore::Unwanted => None,
        };
        self.command.current_dir(directory);
        limit_core(&mut self.command, self.core)?;
        let process = Process::start(self.command)?;
        let ready = process.line_with("ready")?;
        let facts = Facts::read(process.pid().as_raw_nonzero().get().unsigned_abs(), &ready)
            .with_context(|| format!("facts of {process}"))?;
        Ok(Victim {
            process,
            facts,
            directory: directory.to_owned(),
            _pattern: pattern,
            _copy: self.copy,
        })
    }
}

/// How a .NET runtime is to dump.
#[derive(Clone, Debug)]
pub(crate) struct Createdump {
    /// 1 mini, 2 heap, 3 triage, 4 full.
    pub(crate) kind: u8,
    /// A path; `%p`, `%e`, `%h` and `%t` are filled in by the runtime, relative to its working directory.
    pub(crate) name: String,
    /// Also writes `<name>.crashreport.json`, before the dump.
    pub(crate) crash_report: bool,
}

/// A .NET 8 process that died in this mode of `tests/victims/Modes.cs` (`exception`, `worker`, `segv`, ...), with this working directory.
///
/// createdump gives up when a thread of the runtime ends between being listed and being attached to: .NET's own race, which leaves no dump. A stack overflow
/// loses it about once in twenty times on a busy machine, because the runtime has just used a thread to print the stack. Then another one has to die.
pub(crate) fn crash_dotnet(mode: &str, dump: &Createdump, directory: &Path) -> Result<Crashed> {
    crash_dotnet_by(directory, || Launch::dotnet(mode, dump))
}

/// The same with what else the process is to be given.
pub(crate) fn crash_dotnet_by(
    directory: &Path,
    launch: impl Fn() -> Result<Launch>,
) -> Result<Crashed> {
    const ATTEMPTS: u32 = 5;
    for _ in 0..ATTEMPTS {
        let crashed = launch()?.start_in(directory)?.crash()?;
        if !crashed.said.contains("FAILED No such process") {
            return Ok(crashed);
        }
    }
    bail!("createdump lost a thread of the runtime {ATTEMPTS} times in a row")
}

/// A victim that waits for its end.
#[derive(Debug)]
pub(crate) struct Victim {
    // First: it must be reaped before the core_pattern goes back and its program is removed.
    process: Process,
    facts: Facts,
    directory: PathBuf,
    _pattern: Option<Arc<CorePattern>>,
    _copy: Option<TempDir>,
}

impl Victim {
    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// For victims that are talked to, as `pair`.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Lets it crash, and waits until it is reaped.
    pub(crate) fn crash(mut self) -> Result<Crashed> {
        let before = Listing::of(&self.directory)?;
        self.process.send("die")?;
        self.process.close_stdin();
        let status = self.process.wait()?;
        Ok(Crashed {
            status,
            facts: self.facts,
            directory: self.directory,
            before,
            said: self.process.to_string(),
        })
    }

    /// Writes a minidump of it, as one is taken on demand, and lets it live.
    pub(crate) fn write_minidump(&self, to: &Path) -> Result<()> {
        let pid = self.process.pid().as_raw_nonzero().get();
        write_minidump(MinidumpWriterConfig::new(pid, pid), to)
            .with_context(|| format!("minidump of {}", self.process))
    }

    /// Lets `handler` crash into its own handler, and writes a minidump with what that was told. Gives what it said: `signo`, `code`, `addr`, `tid`.
    pub(crate) fn crash_into_minidump(&mut self, to: &Path) -> Result<BTreeMap<String, String>> {
        self.process.send("die")?;
        let said = key_values(&self.process.line_with("crashed")?);
        let number = |key: &str| -> Result<i64> {
            let text = said.get(key).with_context(|| format!("no {key}"))?;
            Ok(match text.strip_prefix("0x") {
                Some(hex) => i64::from_str_radix(hex, 16)?,
                None => text.parse()?,
            })
        };
        // Registers first; all else is filled in below or left zero.
        let mut bytes = hex::decode(said.get("context").context("no context")?)?;
        bytes.truncate(size_of_val(
            &crash_context(vec![0; size_of::<CrashContext>()])?.context,
        ));
        bytes.resize(size_of::<CrashContext>(), 0);
        let mut context = crash_context(bytes)?;
        context.pid = self.process.pid().as_raw_nonzero().get();
        context.tid = number("tid")?.try_into()?;
        context.siginfo.ssi_signo = number("signo")?.try_into()?;
        context.siginfo.ssi_code = number("code")?.try_into()?;
        context.siginfo.ssi_addr = number("addr")?.cast_unsigned();
        let mut config = MinidumpWriterConfig::new(context.pid, context.tid);
        config.set_crash_context(CrashContextExt { inner: context });
        write_minidump(config, to).with_context(|| format!("minidump of {}", self.process))?;
        Ok(said)
    }
}

/// A minidump by this configuration, into a file that must not exist. No thread may wait for the process meanwhile.
pub(crate) fn write_minidump(config: MinidumpWriterConfig, to: &Path) -> Result<()> {
    let mut file = File::create_new(to).with_context(|| format!("create {}", to.display()))?;
    config.write(&mut file)?;
    Ok(())
}

fn crash_context(bytes: Vec<u8>) -> Result<CrashContext> {
    CrashContext::from_bytes(&bytes).context("as many bytes as it has")
}

/// A victim that is dead and reaped.
#[derive(Debug)]
pub(crate) struct Crashed {
    pub(crate) status: ExitStatus,
    pub(crate) facts: Facts,
    directory: PathBuf,
    before: Listing,
    said: String,
}

impl Crashed {
    /// The kernel core. Fails where an agent has claimed it already: ask before one works there, or ask the store.
    pub(crate) fn core(&self) -> Result<PathBuf> {
        ensure!(self.status.core_dumped(), "no core was dumped: {}", self);
        self.dump()
    }

    /// The one dump that it left in its directory; crash reports beside it do not count.
    pub(crate) fn dump(&self) -> Result<PathBuf> {
        let mut dumps = self.left()?;
        dumps.retain(|path| !is_crash_report(path));
        match dumps.as_slice() {
            [dump] => Ok(dump.clone()),
            none_or_many => bail!("one dump expected, found {none_or_many:?}: {self}"),
        }
    }

    pub(crate) fn crash_report(&self) -> Result<Option<PathBuf>> {
        Ok(self.left()?.into_iter().find(|path| is_crash_report(path)))
    }

    /// All files that are new in its directory or were made anew.
    pub(crate) fn left(&self) -> Result<Vec<PathBuf>> {
        Ok(Listing::of(&self.directory)?
            .newer_than(&self.before)
            .map(|name| self.directory.join(name))
            .collect())
    }
}

impl std::fmt::Display for Crashed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{} in {}, ended by {}",
            self.said,
            self.directory.display(),
            ending(self.status)
        )
    }
}

/// `slowwriter`: writes `source` to `target` piece by piece. `pause` is milliseconds or `line`; see `tests/victims/slowwriter.c`.
pub(crate) fn slow_writer(
    source: &Path,
    target: &Path,
    pieces: u32,
    pause: &str,
) -> Result<Process> {
    let mut command = Command::new(compiled("slowwriter")?);
    command
        .arg(source)
        .arg(target)
        .arg(pieces.to_string())
        .arg(pause);
    ready(command)
}

/// `leasefight`: opens `target` for writing again and again until its stdin is closed; see `tests/victims/leasefight.c`.
pub(crate) fn lease_fight(target: &Path, pause_us: u32) -> Result<Process> {
    let mut command = Command::new(compiled("leasefight")?);
    command.arg(target).arg(pause_us.to_string());
    ready(command)
}

/// `attacker.py` at work in `directory` as `uid` until the seconds are over or its stdin is closed; what matches `spare` it leaves alone.
pub(crate) fn attacker(
    directory: &Path,
    uid: u32,
    seconds: u32,
    seed: u64,
    outside: &Path,
    spare: &[&str],
) -> Result<Process> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/victims/attacker.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(directory);
    command
        .arg("--uid")
        .arg(uid.to_string())
        .arg("--seconds")
        .arg(seconds.to_string())
        .arg("--seed")
        .arg(seed.to_string());
    command.arg("--outside").arg(outside);
    for glob in spare {
        command.arg("--spare").arg(glob);
    }
    ready(command)
}

fn ready(command: Command) -> Result<Process> {
    let process = Process::start(command)?;
    process.line_with("ready")?;
    Ok(process)
}

/// Where the classes of `tests/victims/*.java` are.
pub(crate) fn java_classes() -> Result<PathBuf> {
    provisioned("SALVAGE_TEST_JAVA_CLASSES")
}

/// A program of `tests/victims/NAME.c`.
pub(crate) fn compiled(name: &str) -> Result<PathBuf> {
    Ok(provisioned("SALVAGE_TEST_VICTIMS")?.join(name))
}

fn provisioned(variable: &str) -> Result<PathBuf> {
    let value = std::env::var_os(variable).with_context(|| format!("{variable} is not set: run the tests by `tests/run`, or `eval \"$(tests/provision)\"` first"))?;
    Ok(value.into())
}

/// Set between `fork` and `exec`: on a living process of another user, root needs a capability for it that containers do not have.
fn limit_core(command: &mut Command, core: KernelCore) -> Result<()> {
    let hard = getrlimit(Resource::Core).maximum;
    let current = match core {
        KernelCore::Unwanted => Some(0),
        KernelCore::Wanted => None,
    };
    ensure!(
        current == Some(0) || hard.is_none(),
        "the hard limit of RLIMIT_CORE is {hard:?}: run the tests where `ulimit -Hc` is unlimited"
    );
    let limit = move || {
        Ok(setrlimit(
            Resource::Core,
            Rlimit {
                current,
                maximum: hard,
            },
        )?)
    };
    // SAFETY: the child does one system call here; nothing is allocated, no lock is taken.
    unsafe { command.pre_exec(limit) };
    Ok(())
}

fn is_crash_report(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".crashreport.json")
}

/// The regular files of a directory. The kernel unlinks an old core and makes a new one, and inode numbers are used again, so the times are part of it.
#[derive(Debug)]
struct Listing(BTreeMap<std::ffi::OsString, (u64, i64, i64)>);

impl Listing {
    fn of(directory: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for entry in
            fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?
        {
            let entry = entry?;
            let facts = match entry.metadata() {
                Ok(facts) => facts,
                // An agent at work may claim it between the list and the look.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            if facts.is_file() {
                files.insert(
                    entry.file_name(),
                    (facts.ino(), facts.ctime(), facts.ctime_nsec()),
                );
            }
        }
        Ok(Self(files))
    }

    fn newer_than(self, before: &Self) -> impl Iterator<Item = std::ffi::OsString> {
        self.0
            .into_iter()
            .filter(|(name, state)| before.0.get(name) != Some(state))
            .map(|(name, _)| name)
    }
}
