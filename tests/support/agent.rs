//! The real agent on a stand-in for a node: directories of its own, a store, and waiting for what it says of itself.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::process::{DEADLINE, Process};

/// How often a state that no line announces is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The binary under test.
pub(crate) const SALVAGE: &str = env!("CARGO_BIN_EXE_salvage");

/// A node: one source, a state directory on the same mount, a `file://` store, and what a test changes about them.
pub(crate) struct Node {
    directory: TempDir,
    /// YAML of the `sources` key.
    pub(crate) sources: String,
    /// YAML of the `store` key.
    pub(crate) store: String,
    /// URL of the store for `salvage ls` and the like.
    pub(crate) store_url: String,
    /// Further lines of the configuration.
    pub(crate) more: String,
    /// Environment of the agent and of the commands.
    pub(crate) env: Vec<(String, String)>,
    /// The state directory.
    pub(crate) state: PathBuf,
    /// Where the agent listens: a port of its own, or always the same.
    pub(crate) listen: String,
}

impl Node {
    /// Makes the directories.
    pub(crate) fn new() -> Result<Self> {
        let directory = TempDir::with_prefix("salvage-node-")?;
        let path = |name: &str| directory.path().join(name);
        for name in ["crash", "store", "state"] {
            std::fs::create_dir(path(name))?;
        }
        // Only the agent's user may write its state, whatever the umask of the tests.
        rustix::fs::chmod(path("state"), rustix::fs::Mode::RWXU)?;
        let store_url = format!("file://{}", path("store").display());
        Ok(Self {
            sources: format!("[{{path: {:?}}}]", path("crash")),
            store: format!("{{url: {store_url:?}}}"),
            store_url,
            // Machines with little room run the tests as well.
            more: "spool: {keep_free: 64MiB, keep_free_inodes: 100}".into(),
            env: Vec::new(),
            state: path("state"),
            listen: "127.0.0.1:0".into(),
            directory,
        })
    }

    /// Where dumps appear.
    pub(crate) fn crash(&self) -> PathBuf {
        self.directory.path().join("crash")
    }

    /// Where the `file://` store is.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// An object of the store as a file.
    pub(crate) fn object(&self, key: &str) -> Result<PathBuf> {
        let path = self.bucket().join(key);
        ensure!(path.is_file(), "no object {key}");
        Ok(path)
    }

    /// What a manifest's object says, without a command.
    pub(crate) fn manifest_at(&self, key: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(self.object(key)?)?)?)
    }

    /// A path beside them.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the configuration and gives its path.
    pub(crate) fn config(&self) -> Result<PathBuf> {
        let Self {
            sources,
            store,
            more,
            state,
            listen,
            ..
        } = self;
        let text = format!(
            "cluster: test\nnode: test-node\nstate_dir: {state:?}\nlisten: {listen}\nsources: {sources}\nstore: {store}\n{more}\n"
        );
        let path = self.path("salvage.yaml");
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Starts the agent and waits until it listens.
    pub(crate) fn start(&self) -> Result<Agent> {
        Agent::start(self.command()?)
    }

    /// The command that starts the agent, its log on stdout.
    pub(crate) fn command(&self) -> Result<Command> {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "exec \"$0\" agent --log-format json --config \"$1\" 2>&1",
        ]);
        command
            .arg(SALVAGE)
            .arg(self.config()?)
            .envs(self.env.iter().cloned());
        Ok(command)
    }

    /// Runs a command for people against the store and gives its standard output; its exit code must be one of `codes`.
    pub(crate) fn salvage(&self, arguments: &[&str], codes: &[i32]) -> Result<String> {
        let output = Command::new(SALVAGE)
            .args(arguments)
            .env("SALVAGE_STORE", &self.store_url)
            .envs(self.env.iter().cloned())
            .output()?;
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        ensure!(
            output
                .status
                .code()
                .is_some_and(|code| codes.contains(&code)),
            "salvage {arguments:?}: {}\nout: {out}\nerr: {err}",
            output.status
        );
        Ok(out.into_owned())
    }

    /// What `salvage ls -o json` lists, newest first.
    pub(crate) fn crashes(&self) -> Result<Vec<Value>> {
        let out = self.salvage(&["ls", "-o", "json", "--limit", "0"], &[0, 1])?;
        out.lines()
            .map(|line| serde_json::from_str(line).context("a line of ls"))
            .collect()
    }

    /// The manifest of a crash.
    pub(crate) fn manifest(&self, id: &str) -> Result<Value> {
        Ok(serde_json::from_str(
            &self.salvage(&["show", id, "-o", "json"], &[0])?,
        )?)
    }

    /// Fetches a crash into a new directory and gives its files.
    pub(crate) fn get(&self, id: &str) -> Result<Vec<PathBuf>> {
        // What was fetched before is not replaced.
        let out = TempDir::with_prefix_in("got-", self.directory.path())?.keep();
        self.salvage(&["get", id, "--out", &out.to_string_lossy()], &[0])?;
        Ok(std::fs::read_dir(&out)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<_>>()?)
    }

    /// Waits until exactly `count` crashes are listed and nothing is held any more.
    pub(crate) fn wait_for_crashes(&self, agent: &Agent, count: usize) -> Result<Vec<Value>> {
        self.wait_long_for_crashes(agent, count, DEADLINE)
    }

    /// The same for what takes longer than any wait should.
    pub(crate) fn wait_long_for_crashes(
        &self,
        agent: &Agent,
        count: usize,
        limit: Duration,
    ) -> Result<Vec<Value>> {
        let what = format!("{count} crashes and nothing pending");
        wait_within(limit, &what, || {
            let crashes = self.crashes()?;
            ensure!(
                crashes.len() <= count,
                "{} crashes instead of {count}: {crashes:#?}",
                crashes.len()
            );
            Ok(
                (crashes.len() == count && agent.metric("salvage_pending_dumps")? == 0.0)
                    .then_some(crashes),
            )
        })
        .with_context(|| format!("agent: {}", agent.readyz().unwrap_or_default()))
    }
}

/// Waits until `look` finds something.
pub(crate) fn wait<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    wait_within(DEADLINE, what, look)
}

/// Waits for so long at most until `look` finds something.
fn wait_within<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("waited in vain for {what}");
        }
        std::thread::sleep(LOOK);
    }
}

/// A running agent; killed when dropped.
pub(crate) struct Agent {
    process: Process,
    address: SocketAddr,
}

impl Agent {
    /// Starts it and waits until it listens.
    pub(crate) fn start(command: Command) -> Result<Self> {
        let process = Process::start(command)?;
        let address = loop {
            let line = process.line()?;
            let said: Value =
                serde_json::from_str(&line).with_context(|| format!("the agent said {line}"))?;
            if said["message"] == "agent starts" {
                break said["listen"]
                    .as_str()
                    .context("the line names the address")?
                    .parse()?;
            }
        };
        Ok(Self { process, address })
    }

    /// The process.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for a line of its log with this message; lines before it are passed over.
    pub(crate) fn logged(&self, message: &str) -> Result<Value> {
        wait(&format!("the log line `{message}`"), || {
            let line: Value = serde_json::from_str(&self.process.line()?)?;
            Ok((line["message"] == message).then_some(line))
        })
    }

    /// The most memory it has had so far, in bytes.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(self.proc().join("status"))?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
        Ok(peak
            .context("a process has a peak")?
            .trim()
            .parse::<u64>()?
            << 10)
    }

    /// Stops all of its threads as soon as a file in `directory` has been written and closed, so that what was left there can be read before it goes.
    pub(crate) fn freeze_at_close(&self, directory: &Path) -> Result<Freezer> {
        let pid = self.pid();
        let (sender, closed) = mpsc::sync_channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let wrote = EventKind::Access(AccessKind::Close(AccessMode::Write));
            if event.is_ok_and(|event| event.kind == wrote) && sender.try_send(()).is_ok() {
                // The pid is a child of ours that nobody has waited for.
                kill_process(pid, Signal::STOP).ok();
            }
        })?;
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(Freezer {
            pid,
            proc: self.proc(),
            closed,
            _watcher: watcher,
        })
    }

    fn proc(&self) -> PathBuf {
        format!("/proc/{}", self.pid().as_raw_nonzero()).into()
    }

    /// Waits until it says it is ready.
    pub(crate) fn ready(self) -> Result<Self> {
        wait("readiness", || {
            Ok((self.http("/readyz")?.0 == 200).then_some(()))
        })
        .with_context(|| self.readyz().unwrap_or_default())?;
        Ok(self)
    }

    /// What `/readyz` says.
    pub(crate) fn readyz(&self) -> Result<String> {
        Ok(self.http("/readyz")?.1)
    }

    /// Asks its server: status and body.
    pub(crate) fn http(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("an answer has a head")?;
        let status = head
            .split(' ')
            .nth(1)
            .context("an answer has a status")?
            .parse()?;
        Ok((status, body.to_owned()))
    }

    /// All its metrics, by name and labels as written.
    pub(crate) fn metrics(&self) -> Result<BTreeMap<String, f64>> {
        let (_, text) = self.http("/metrics")?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').context("a metric has a value")?;
                Ok((name.to_owned(), value.parse()?))
            })
            .collect()
    }

    /// One metric by its name and labels as written.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        self.metrics()?
            .get(name)
            .copied()
            .with_context(|| format!("no metric {name}"))
    }

    /// Waits until a metric is at least `value`.
    pub(crate) fn wait_for_metric(&self, name: &str, value: f64) -> Result<()> {
        wait(&format!("{name} >= {value}"), || {
            Ok((self.metric(name)? >= value).then_some(()))
        })
    }

    /// Asks it to stop and waits; its exit must be clean.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait()?;
        ensure!(status.success(), "the agent ended with {status}");
        Ok(())
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        Ok(())
    }
}

/// An agent that will stand still; see [`Agent::freeze_at_close`].
pub(crate) struct Freezer {
    pid: Pid,
    proc: PathBuf,
    closed: Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Freezer {
    /// Waits until it does. A system call under way is finished first: what is seen afterwards does not move.
    pub(crate) fn frozen(self) -> Result<Frozen> {
        self.closed
            .recv_timeout(DEADLINE)
            .context("no file was written and closed")?;
        let frozen = Frozen(self.pid);
        wait("all threads to stand still", || {
            for task in std::fs::read_dir(self.proc.join("task"))? {
                // A thread may end meanwhile.
                let Ok(stat) = std::fs::read_to_string(task?.path().join("stat")) else {
                    return Ok(None);
                };
                if !stat
                    .rsplit(") ")
                    .next()
                    .is_some_and(|rest| rest.starts_with('T'))
                {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })?;
        Ok(frozen)
    }
}

/// An agent that stands still until this is dropped.
pub(crate) struct Frozen(Pid);

impl Drop for Frozen {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).ok();
    }
}

/// Whether a directory holds no file, at any depth.
pub(crate) fn has_no_files(directory: &Path) -> Result<bool> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() || !has_no_files(&entry.path())? {
            return Ok(false);
        }
    }
    Ok(true)
}
