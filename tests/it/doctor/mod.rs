//! `salvage doctor` on set-ups that are whole and on broken ones: each breakage is named in one line.

mod cluster;
mod node;
mod pods;
mod store;
mod undisturbed;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::s3::node_for;
use crate::support::agent::{Agent, Node, SALVAGE};
use crate::support::kube::KubeServer;
use crate::support::s3::S3Server;

/// A run may not take longer, whatever is dead.
const LONGEST: Duration = Duration::from_secs(60);

/// What a doctor said with `-o json`.
struct Said {
    code: Option<i32>,
    report: Value,
    took: Duration,
    errors: String,
}

/// One finding, as it is looked for: its name, its verdict, and words of its cause.
type Wanted<'a> = (&'a str, &'a str, &'a str);

impl Said {
    fn by(mut command: Command) -> Result<Self> {
        let began = Instant::now();
        let Output {
            status,
            stdout,
            stderr,
        } = command.stdin(Stdio::null()).output()?;
        let took = began.elapsed();
        let errors = String::from_utf8_lossy(&stderr).into_owned();
        ensure!(took < LONGEST, "it took {took:?}: {command:?}");
        let report = match stdout.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&stdout).with_context(|| {
                format!(
                    "{command:?}: {}\n{errors}",
                    String::from_utf8_lossy(&stdout)
                )
            })?,
        };
        Ok(Self {
            code: status.code(),
            report,
            took,
            errors,
        })
    }

    fn checks(&self) -> &[Value] {
        self.report["checks"].as_array().map_or(&[], Vec::as_slice)
    }

    fn pods(&self) -> &[Value] {
        self.report["pods"].as_array().map_or(&[], Vec::as_slice)
    }

    fn ensure_code(&self, code: i32) -> Result<&Self> {
        ensure!(
            self.code == Some(code),
            "ended {:?} and not {code}: {:#}\n{}",
            self.code,
            self.report,
            self.errors
        );
        Ok(self)
    }

    /// The findings that are none to be content with.
    fn bad(&self) -> Vec<&Value> {
        let is_bad =
            |finding: &&Value| finding["verdict"] == "fail" || finding["verdict"] == "warn";
        self.checks().iter().filter(is_bad).collect()
    }

    /// One finding says so, and what it says is one line.
    fn ensure_says(&self, (id, verdict, words): Wanted<'_>) -> Result<&Value> {
        let text =
            |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
        let found = self.checks().iter().find(|finding| {
            let whole = format!("{} {}", text(finding, "subject"), text(finding, "cause"));
            finding["id"] == id && finding["verdict"] == verdict && whole.contains(words)
        });
        let found = found.with_context(|| {
            format!(
                "no {verdict} {id} with {words:?}: {:#}\n{}",
                self.report, self.errors
            )
        })?;
        for field in ["cause", "remedy", "subject"] {
            ensure!(!text(found, field).contains('\n'), "{found:#}");
        }
        Ok(found)
    }
}

/// A node with an agent, and the configuration with which a doctor finds it.
struct Ward {
    node: Node,
    agent: Option<Agent>,
    /// The configuration's text with the agent's real address.
    config: String,
}

impl Ward {
    /// Starts the agent and waits until it is ready.
    fn of(node: Node) -> Result<Self> {
        let agent = node.start()?.ready()?;
        let config = fs::read_to_string(node.config()?)?;
        let listen = format!("listen: {}", agent.address());
        let config = config.replace("listen: 127.0.0.1:0", &listen);
        Ok(Self {
            node,
            agent: Some(agent),
            config,
        })
    }

    /// On a `file://` store, with one directory into which everybody may write.
    fn plain() -> Result<Self> {
        let node = Node::new()?;
        open(&node.crash())?;
        Self::of(node)
    }

    fn agent(&self) -> Result<&Agent> {
        self.agent.as_ref().context("the agent was stopped")
    }

    /// A doctor for the configuration as `change` leaves it.
    fn doctor(&self, change: impl FnOnce(String) -> String, arguments: &[&str]) -> Result<Command> {
        let path = self.node.path("doctor.yaml");
        fs::write(&path, change(self.config.clone()))?;
        let mut command = doctor(&path, arguments);
        command.envs(self.node.env.iter().cloned());
        Ok(command)
    }

    /// What a doctor says of the set-up as it is.
    fn ask(&self) -> Result<Said> {
        Said::by(self.doctor(|config| config, &[])?)
    }

    /// What it says when the configuration has `new` in place of `old`.
    fn ask_with(&self, old: &str, new: &str) -> Result<Said> {
        ensure!(self.config.contains(old), "no {old} in {}", self.config);
        Said::by(self.doctor(|config| config.replace(old, new), &[])?)
    }
}

fn doctor(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(SALVAGE);
    command.args(["doctor", "-o", "json", "--config"]);
    command.arg(config).args(arguments);
    command.env_remove("SALVAGE_STORE").env_remove("KUBECONFIG");
    command
}

/// As a directory for everybody's dumps has to be.
fn open(path: &Path) -> Result<()> {
    chmod(path, 0o1777)
}

fn chmod(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| path.display().to_string())
}

/// A node of a cluster: pods, their volumes, an S3 store with a lifecycle rule.
struct Clinic {
    server: KubeServer,
    /// The store that the node's agent ships to; ends with this.
    _store: S3Server,
    kubelet: PathBuf,
}

impl Clinic {
    fn new() -> Result<(Self, Node)> {
        let (store, server) = (S3Server::start(), KubeServer::start("test-node"));
        let mut node = node_for(&store)?;
        open(&node.crash())?;
        let kubelet = node.path("kubelet");
        fs::create_dir_all(kubelet.join("pods"))?;
        let logs = node.path("logs");
        fs::create_dir_all(&logs)?;
        node.sources = format!(
            "[{{path: {:?}, layout: '{{namespace}}/{{pod}}/{{container}}'}}, {{kubelet_volumes: {{volume: salvage-dumps}}}}]",
            node.crash()
        );
        node.more = format!(
            "{}\nkubernetes: {{enabled: true, kubelet_dir: {kubelet:?}, pod_logs_dir: {logs:?}, start_jitter: 0s}}",
            node.more
        );
        let kubeconfig = server.kubeconfig(&node.path(""))?;
        node.env
            .push(("KUBECONFIG".into(), kubeconfig.to_string_lossy().into()));
        node.env.push(("SALVAGE_NODE".into(), "test-node".into()));
        let clinic = Self {
            server,
            _store: store,
            kubelet,
        };
        Ok((clinic, node))
    }
}

#[test]
fn nothing_to_examine_is_an_error() -> Result<()> {
    let mut nowhere = doctor(Path::new("/nowhere/salvage.yaml"), &[]);
    let said = Said::by({
        nowhere.env("HOME", "/nowhere");
        nowhere
    })?;
    said.ensure_code(2)?;
    ensure!(
        said.errors.contains("/nowhere/salvage.yaml"),
        "{}",
        said.errors
    );
    let mut alone = Command::new(SALVAGE);
    alone.args(["doctor", "-o", "json"]).env("HOME", "/nowhere");
    alone.env_remove("SALVAGE_STORE").env_remove("KUBECONFIG");
    alone.env_remove("KUBERNETES_SERVICE_HOST");
    let said = Said::by(alone)?;
    said.ensure_code(2)?;
    ensure!(
        said.errors.contains("no cluster to examine"),
        "{}",
        said.errors
    );
    let mut odd = Command::new(SALVAGE);
    odd.args(["doctor", "../secrets"]);
    Said::by(odd)?.ensure_code(2)?;
    Ok(())
}
