//! `salvage demo`: the whole way of a dump, on this machine, in a temporary directory, without root.
//!
//! The agent, the crashing process and the commands are real; only the place is made for the occasion.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal};

use super::crash::{self, Guard, Means};
use super::output::print;
use super::{EXIT_CODES, Outcome};
use crate::model::escaped;

/// Longest wait for the agent: far above what one small dump takes on a slow disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the store is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Show the whole way of a dump: a process crashes, an agent stores the dump, and it is fetched again.
///
/// Everything happens in a temporary directory with a file:// store; nothing of the machine is changed, and no root is needed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Args {
    /// Keep the directory with the store and the fetched dump.
    #[arg(long)]
    keep: bool,
}

/// Where the demo happens.
struct Stage {
    directory: PathBuf,
    salvage: PathBuf,
}

pub(super) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let temporary = tempfile::Builder::new()
        .prefix("salvage-demo-")
        .tempdir()
        .context("making a temporary directory")?;
    let stage = Stage {
        directory: temporary.path().to_owned(),
        salvage: std::env::current_exe().context("finding this program")?,
    };
    let played = tokio::task::spawn_blocking(move || stage.play()).await?;
    if args.keep {
        print(&format!("\nkept: {}\n", escaped(&temporary.keep())))?;
    }
    played.map(|()| Outcome::Done)
}

impl Stage {
    fn play(&self) -> anyhow::Result<()> {
        for name in ["crashes", "store", "state", "fetched"] {
            std::fs::create_dir(self.path(name))?;
        }
        rustix::fs::chmod(self.path("state"), rustix::fs::Mode::RWXU)?;
        let config = self.path("salvage.yaml");
        std::fs::write(&config, self.config())?;
        self.say(&format!(
            "1. The agent watches {}",
            escaped(&self.path("crashes"))
        ))?;
        let mut agent = Guard(
            self.command(&["agent", "--log-format", "text", "--config"])
                .arg(&config)
                .env("SALVAGE_LOG", "warn")
                .spawn()
                .context("starting the agent")?,
        );
        let means = Means::of_this_machine();
        self.say(match means {
            Means::KernelCore => "2. A process crashes there; the kernel writes its core",
            Means::Minidump => {
                "2. A process crashes there; a minidump of it is written (the kernel of this machine does not write cores to plain files)"
            }
        })?;
        let _ = crash::let_a_process_crash(&self.salvage, &self.path("crashes"), means)?;
        self.say(
            "3. The agent takes, identifies, compresses, stores and verifies it:  salvage ls",
        )?;
        let id = self.wait_for_the_crash(&mut agent.0)?;
        self.show(&["ls"])?;
        self.say("4. Its manifest:  salvage show ID")?;
        self.show(&["show", &id])?;
        self.say("5. Back again, checked:  salvage get ID")?;
        let fetched = self.path("fetched").to_string_lossy().into_owned();
        self.show(&["get", &id, "--out", &fetched])?;
        self.say("6. The agent stops when asked, and the source is empty")?;
        agent.stop()?;
        let left = std::fs::read_dir(self.path("crashes"))?.count();
        ensure!(left == 0, "{left} files were left in the source");
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn store(&self) -> String {
        format!("file://{}", self.path("store").display())
    }

    fn config(&self) -> String {
        format!(
            "cluster: demo\nstate_dir: {:?}\nlisten: 127.0.0.1:0\nsources: [{{path: {:?}}}]\nstore: {{url: {:?}}}\nspool: {{keep_free: 64MiB, keep_free_inodes: 100}}\n",
            self.path("state"),
            self.path("crashes"),
            self.store()
        )
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.salvage);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .env("SALVAGE_STORE", self.store());
        command
    }

    fn say(&self, text: &str) -> anyhow::Result<()> {
        Ok(print(&format!("\n{text}\n"))?)
    }

    fn show(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let status = self.command(arguments).status()?;
        ensure!(
            status.success(),
            "salvage {} ended with {status}",
            arguments[0]
        );
        Ok(())
    }

    fn wait_for_the_crash(&self, agent: &mut Child) -> anyhow::Result<String> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = agent.try_wait()? {
                bail!("the agent ended early with {status}");
            }
            let listed = self.command(&["ls", "-o", "json"]).output()?;
            if let Some(line) = String::from_utf8_lossy(&listed.stdout).lines().next() {
                let crash: serde_json::Value = serde_json::from_str(line)?;
                return Ok(crash["id"]
                    .as_str()
                    .context("a listed crash has an id")?
                    .to_owned());
            }
            std::thread::sleep(LOOK);
        }
        bail!("the dump was not stored within {PATIENCE:?}")
    }
}

impl Guard {
    fn stop(mut self) -> anyhow::Result<()> {
        rustix::process::kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        let status = self.0.wait()?;
        ensure!(status.success(), "the agent ended with {status}");
        Ok(())
    }
}
