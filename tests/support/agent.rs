//! The real agent on a stand-in for a node: directories of its own, a store, and waiting for what it says of itself.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
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
            ..
        } = self;
        let text = format!(
            "cluster: test\nnode: test-node\nstate_dir: {state:?}\nlisten: 127.0.0.1:0\nsources: {sources}\nstore: {store}\n{more}\n"
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
        let out = self.path(&format!("got-{id}"));
        std::fs::create_dir_all(&out)?;
        self.salvage(&["get", id, "--out", &out.to_string_lossy()], &[0])?;
        Ok(std::fs::read_dir(&out)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<_>>()?)
    }

    /// Waits until exactly `count` crashes are listed and nothing is held any more.
    pub(crate) fn wait_for_crashes(&self, agent: &Agent, count: usize) -> Result<Vec<Value>> {
        wait(&format!("{count} crashes and nothing pending"), || {
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
pub(crate) fn wait<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + DEADLINE;
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
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        self.process.pid()
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
