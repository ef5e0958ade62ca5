//! A .NET program in what a container is to it: mount, pid, uts and ipc namespaces of its own, a private `/tmp` and `/dev/shm`, an ordinary user, no capabilities.
//!
//! ```text
//! unshare --kill-child ─ sh, as root: mounts, what a test adds, joins a cgroup ─ exec ─ setpriv ─ exec ─ loop, as user 12345 and PID 1
//! ```
//!
//! No container runtime is needed, root is. The program's runtime is mounted at `/mnt`, since where it was provisioned may lie below the `/tmp` that is hidden.
//! Everything in it ends when this is dropped: the namespace's first process dies with `unshare`, and the kernel ends the others of the namespace with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Pid;
use salvage::dotnet::find::{self, Found};
use salvage::dotnet::ipc::{self, Target};

use super::process::{DEADLINE, Process};

/// How often a state is looked at that nothing tells of.
const LOOK: Duration = Duration::from_millis(10);

/// The user of every container here.
pub(crate) const USER: u32 = 12345;

/// A runtime that `tests/provision` brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dotnet {
    /// 3.1.23, of the second leg.
    Core31,
    /// 8.0.15, of every run.
    Net8,
    /// 9.0.1, of the second leg.
    Net9,
}

/// A container that is not started yet.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    dotnet: Dotnet,
    setup: String,
    variables: Vec<(String, String)>,
    processes: usize,
    orders: u32,
    has_socket: bool,
}

/// A running one.
#[derive(Debug)]
pub(crate) struct Container {
    process: Process,
    dotnet: Dotnet,
    pids: Vec<i32>,
    has_socket: bool,
    counted: u64,
}

impl Dotnet {
    /// Those that were provisioned: the one of every run, and in a second leg all.
    pub(crate) fn provisioned() -> Vec<Self> {
        let all = [Self::Core31, Self::Net8, Self::Net9];
        let is_wanted =
            |dotnet: &Self| *dotnet == Self::Net8 || std::env::var_os(dotnet.variable()).is_some();
        all.into_iter().filter(is_wanted).collect()
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Core31 => "SALVAGE_TEST_DOTNET31",
            Self::Net8 => "SALVAGE_TEST_DOTNET",
            Self::Net9 => "SALVAGE_TEST_DOTNET9",
        }
    }

    fn directory(self) -> Result<PathBuf> {
        let variable = self.variable();
        let path = std::env::var_os(variable)
            .with_context(|| format!("{variable} is not set: eval \"$(tests/provision)\""))?;
        Ok(path.into())
    }

    /// Whether it knows `ProcessInfo`.
    pub(crate) fn tells_what_it_is(self) -> bool {
        self != Self::Core31
    }
}

impl Launch {
    pub(crate) fn of(dotnet: Dotnet) -> Self {
        Self {
            dotnet,
            setup: String::new(),
            variables: Vec::new(),
            processes: 1,
            orders: 4711,
            has_socket: true,
        }
    }

    /// Shell commands that root runs in the new mount namespace, `/tmp` already being its own.
    pub(crate) fn setup(mut self, commands: &str) -> Self {
        self.setup.push_str(commands);
        self.setup.push('\n');
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With `TMPDIR` there, a file system in memory of its own.
    pub(crate) fn temp_dir(self, below_opt: &str) -> Self {
        let path = format!("/opt/{below_opt}");
        self.setup(&format!(
            "mount -t tmpfs -o mode=755 tmpfs /opt && mkdir -p '{path}' && chmod 1777 '{path}'"
        ))
        .env("TMPDIR", &path)
    }

    /// As `readOnlyRootFilesystem` has it: everything but `/tmp`.
    pub(crate) fn read_only_root(self) -> Self {
        self.setup("mount -o remount,bind,ro /")
    }

    /// In this cgroup directory from before the program starts.
    pub(crate) fn cgroup(self, directory: &Path) -> Self {
        self.setup(&format!("echo 0 > '{}/cgroup.procs'", directory.display()))
    }

    /// So many programs in one container. The first is its PID 1, and the one that is talked to.
    pub(crate) fn processes(mut self, count: usize) -> Self {
        self.processes = count;
        self
    }

    /// How many `Order4711` it holds.
    pub(crate) fn orders(mut self, count: u32) -> Self {
        self.orders = count;
        self
    }

    /// It is not expected to have a diagnostic socket.
    pub(crate) fn without_socket(mut self) -> Self {
        self.has_socket = false;
        self
    }

    pub(crate) fn start(self) -> Result<Container> {
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]);
        command.args(["bash", "-euc", &self.script()?]);
        command.env_clear();
        // It must find what the script calls, and nothing of ours.
        command.env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command.envs([("HOSTNAME", "checkout-7d9f6c5b8-x2x9z"), ("HOME", "/tmp")]);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let process = Process::start(command)?;
        process.line_with("ready")?;
        let mut container = Container {
            pids: Vec::new(),
            process,
            dotnet: self.dotnet,
            has_socket: self.has_socket,
            counted: 0,
        };
        container.wait_until("all its programs run", |container| {
            container.pids = programs_below(container.process.pid())?;
            let ready = container
                .pids
                .iter()
                .filter(|pid| !self.has_socket || container.target_of(**pid).is_ok());
            Ok(ready.count() == self.processes)
        })?;
        Ok(container)
    }

    fn script(&self) -> Result<String> {
        let directory = self.dotnet.directory()?;
        // The capabilities go with the uid, and with the bounding set what could bring them back. A change of user also forgets what --kill-child set.
        let run = format!(
            "setpriv --reuid={USER} --regid={USER} --clear-groups --bounding-set=-all --no-new-privs --pdeathsig=KILL /mnt/loop/loop {}",
            self.orders
        );
        let others = format!("{run} </dev/null >/dev/null 2>&1 &\n").repeat(self.processes - 1);
        Ok(format!(
            "ulimit -c 0\nmount --bind '{}' /mnt\nmount -t tmpfs -o mode=1777 tmpfs /tmp\nmount -t tmpfs -o mode=1777 tmpfs /dev/shm\nhostname \"$HOSTNAME\"\ncd /\n{}\n{others}exec {run}",
            directory.display(),
            self.setup
        ))
    }
}

impl Container {
    /// The host's number of its first program.
    pub(crate) fn pid(&self) -> i32 {
        self.pids[0]
    }

    /// The host's numbers of all its programs.
    pub(crate) fn pids(&self) -> &[i32] {
        &self.pids
    }

    pub(crate) fn dotnet(&self) -> Dotnet {
        self.dotnet
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A path of its as we have it.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.pid()))
    }

    /// Runs shell commands in its mount and pid namespaces, as root.
    pub(crate) fn as_root(&self, commands: &str) -> Result<()> {
        let target = self.pid().to_string();
        let status = Command::new("nsenter")
            .args(["--target", &target, "--mount", "--pid"])
            .args(["bash", "-euc", commands])
            .status()?;
        ensure!(status.success(), "{commands}: {status}");
        Ok(())
    }

    /// Its first program, found and verified.
    pub(crate) fn target(&self) -> Result<Target> {
        self.target_of(self.pid())
    }

    pub(crate) fn target_of(&self, pid: i32) -> Result<Target> {
        Ok(self.look_for(pid)?.target(pid)?)
    }

    /// What looking for the runtime of one of its programs brings.
    pub(crate) fn look_for(&self, pid: i32) -> Result<Found> {
        let proc = Path::new("/proc");
        Ok(find::inspect(proc, &find::process(proc, pid)?))
    }

    /// How often its first program has been round its loop.
    pub(crate) fn count(&mut self) -> Result<u64> {
        self.process.send("count")?;
        let line = self.process.line_with("count")?;
        let count = line.split_whitespace().nth(1).context("a number")?;
        Ok(count.parse()?)
    }

    /// Lets it keep so many megabytes more each second.
    pub(crate) fn leak(&mut self, megabytes: u32) -> Result<()> {
        self.process.send(&format!("leak {megabytes}"))?;
        self.process.line_with("leak")?;
        Ok(())
    }

    /// Its program goes on: its own counter advances from what it was at the last call, and its runtime answers.
    pub(crate) fn ensure_alive(&mut self) -> Result<()> {
        let before = self.counted.max(self.count()?);
        self.wait_until("its counter advances", |container| {
            container.counted = container.count()?;
            Ok(container.counted > before)
        })?;
        if self.has_socket && self.dotnet.tells_what_it_is() {
            let target = self.target()?;
            let info = ipc::process_info(&target)?;
            ensure!(
                i64::try_from(info.pid)? == i64::from(target.inner_pid()),
                "it says that it is process {}",
                info.pid
            );
        }
        Ok(())
    }

    /// Looks at it until something is so.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let until = Instant::now() + DEADLINE;
        while !is_so(self)? {
            if Instant::now() > until {
                bail!("not within {DEADLINE:?}: {what}: {}", self.process);
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// The processes below `unshare` that run a runtime, the first of the namespace first.
fn programs_below(unshare: Pid) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    let mut next = vec![unshare.as_raw_nonzero().get()];
    while let Some(pid) = next.pop() {
        // One that has just ended has neither children nor maps.
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            next.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<i32>().ok()),
            );
        }
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        if maps.contains("/libcoreclr.so") {
            found.push(find::process(Path::new("/proc"), pid)?);
        }
    }
    found.sort_by_key(|process| process.inner_pid);
    Ok(found.into_iter().map(|process| process.pid).collect())
}
