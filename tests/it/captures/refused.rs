//! What stands where a runtime should be, and what an agent may not: each has a word of its own at the object, and the process goes on.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use salvage::dotnet::find;
use salvage::dotnet::ipc;
use serde_json::json;

use super::{Cgroup, Field, Running, any_uid, pod};
use crate::support::agent::{Agent, wait};
use crate::support::container::{Dotnet, Launch};
use crate::support::kube::container_id;

/// The name of the socket of a container's first process is somebody else's.
#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn what_is_not_the_runtimes_own_socket_is_not_asked() -> Result<()> {
    let field = Field::new()?;
    let mut running = Running::start(&field, Launch::of(Dotnet::Net8), None, |pod| pod)?;
    let _agent = field.start()?;
    let socket = "S=$(ls -d /tmp/dotnet-diagnostic-1-*-socket); mv $S /tmp/real";
    let back = "S=/tmp/dotnet-diagnostic-1-$(cut -d' ' -f22 /proc/1/stat)-socket; rm -f $S; mv /tmp/real $S";
    for (name, commands, reason, says) in [
        // It leads elsewhere, if only to the very socket.
        (
            "symlink",
            format!("{socket}; ln -s /tmp/real $S"),
            "UntrustedSocket",
            "is a symlink",
        ),
        (
            "file",
            format!("{socket}; touch $S"),
            "UntrustedSocket",
            "is no socket",
        ),
        (
            "forged",
            format!(
                "{socket}; python3 -c 'import socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); open(\"/tmp/up\",\"w\"); s.accept()' $S \
                 </dev/null >/dev/null 2>&1 & while [ ! -e /tmp/up ]; do :; done; rm /tmp/up"
            ),
            "UntrustedSocket",
            "listens at",
        ),
        ("gone", socket.to_owned(), "NoRuntime", "none is in /tmp"),
    ] {
        running.container.as_root(&commands).context(name)?;
        field.ask(name, &json!({"kind": "gcdump"}));
        let message = field.fails(name, reason)?;
        ensure!(message.contains(says), "{name}: {message}");
        running.container.as_root(back).context(name)?;
        running.container.ensure_alive().context(name)?;
    }
    field.ensure_spool_is_empty()
}

/// As in a pod whose security context lacks what the chart's value adds.
#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_right_that_the_agent_lacks_is_named() -> Result<()> {
    let field = Field::new()?;
    let mut running = Running::start(&field, Launch::of(Dotnet::Net8), None, |pod| pod)?;
    for (name, lacks, says) in [
        ("ptrace", "sys_ptrace", "CAP_SYS_PTRACE"),
        ("connect", "dac_override", "CAP_DAC_OVERRIDE"),
    ] {
        let whole = field.lab.node.command()?;
        let mut command = Command::new("setpriv");
        command.args(["--no-new-privs", &format!("--inh-caps=-{lacks}")]);
        command.arg(format!("--bounding-set=-{lacks}"));
        command.arg("--").arg(whole.get_program());
        command.args(whole.get_args());
        for (variable, value) in whole.get_envs() {
            command.env(variable, value.unwrap_or_default());
        }
        let _agent = Agent::start(command)?.ready()?;
        field.lab.server.wait_until_captures_watched()?;
        field.ask(name, &json!({"kind": "dump", "type": "mini"}));
        let message = field.fails(name, "PermissionDenied")?;
        ensure!(message.contains(says), "{name}: {message}");
    }
    running.container.ensure_alive()
}

/// A real application of one file, of .NET 10, in the control group of a pod's container.
struct SingleFile {
    child: Child,
    temporary: PathBuf,
    #[expect(dead_code, reason = "it goes after the process")]
    cgroup: Cgroup,
}

impl SingleFile {
    fn in_pod(field: &Field, directory: &Path) -> Result<Self> {
        let uid = any_uid();
        let id = container_id(&uid, "app", 0);
        let cgroup = Cgroup::of_container(&uid, &id, None)?;
        let temporary = field.lab.node.path("tmp");
        std::fs::create_dir_all(&temporary)?;
        // It serves at its standard input, and ends when that does. It would call home.
        let child = Command::new("unshare")
            .args(["--net", "sh", "-euc"])
            .arg("echo 0 > \"$1/cgroup.procs\"; exec \"$2/azmcp\" server start")
            .args([Path::new("sh"), &cgroup.path, directory])
            .env("TMPDIR", &temporary)
            .env("HOME", &temporary)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let this = Self {
            child,
            temporary,
            cgroup,
        };
        wait("its runtime", || Ok(this.target().ok()))?;
        field.lab.server.add(pod(&uid, &id).build());
        Ok(this)
    }

    fn target(&self) -> Result<ipc::Target> {
        let (proc, pid) = (Path::new("/proc"), i32::try_from(self.child.id())?);
        Ok(find::inspect(proc, &find::process(proc, pid)?).target(pid)?)
    }

    /// It answers, and nothing of ours is beside its socket.
    fn ensure_alive(&self) -> Result<()> {
        let info = ipc::process_info(&self.target()?)?;
        let version = info.clr_version.context("a version")?;
        ensure!(version.starts_with("10."), "{version}");
        let mut names = std::fs::read_dir(&self.temporary)?.flatten();
        ensure!(!names.any(|name| name.file_name().to_string_lossy().starts_with(".salvage")));
        Ok(())
    }
}

impl Drop for SingleFile {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn of_a_single_file_application_only_full_dumps_are_taken() -> Result<()> {
    let Some(program) = std::env::var_os("SALVAGE_TEST_DOTNET10") else {
        println!("of the second leg: SALVAGE_TEST_DOTNET_ALL=1");
        return Ok(());
    };
    let field = Field::new()?;
    let program = SingleFile::in_pod(&field, Path::new(&program))?;
    let _agent = field.start()?;
    for kind in ["mini", "triage", "heap"] {
        field.ask(kind, &json!({"kind": "dump", "type": kind}));
        let message = field.fails(kind, "SingleFile")?;
        ensure!(message.contains("full"), "{message}");
        program.ensure_alive()?;
    }
    field.ensure_spool_is_empty()?;
    for (name, spec) in [
        ("full", json!({"kind": "dump", "type": "full"})),
        ("walk", json!({"kind": "gcdump"})),
        ("events", json!({"kind": "trace", "duration": "3s"})),
        ("values", json!({"kind": "counters", "duration": "3s"})),
    ] {
        field.ask(name, &spec);
        let status = field.ended(name)?;
        ensure!(status["phase"] == "Stored", "{name}: {status:#}");
        program.ensure_alive()?;
        let id = status["crashID"].as_str().context("an id")?;
        let manifest = field.lab.node.manifest(id)?;
        ensure!(
            manifest["artifacts"][0]["complete"] != false,
            "{name}: {manifest:#}"
        );
        println!("{name}: {}", manifest["artifacts"][0]["bytes"]);
    }
    Ok(())
}
