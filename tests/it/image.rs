//! The image, without a builder of images: the lines of the Dockerfile that make its files are run here, and the agent runs in what they make as in a container.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::s3::{drop_in, noise};
use crate::support::agent::{Agent, Node, SALVAGE, wait};
use crate::support::kube::KubeServer;
use crate::support::process::Process;
use crate::support::s3::S3Server;
use crate::support::victims::Launch;

/// One stage of the Dockerfile: its first line and its instructions, comments left out, continued lines joined.
struct Stage {
    from: String,
    lines: Vec<String>,
}

impl Stage {
    /// What stands behind an instruction, for each time that it is there.
    fn all(&self, instruction: &str) -> Vec<&str> {
        let lines = self.lines.iter();
        lines
            .filter_map(|line| line.strip_prefix(instruction)?.strip_prefix(' '))
            .collect()
    }

    fn one(&self, instruction: &str) -> Result<&str> {
        match self.all(instruction)[..] {
            [only] => Ok(only),
            ref several => anyhow::bail!("{} has {instruction} {several:?}", self.from),
        }
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The stages, and the script of the one here-document.
fn dockerfile() -> Result<(Vec<Stage>, String)> {
    let text = std::fs::read_to_string(repository().join("Dockerfile"))?;
    let (before, rest) = text
        .split_once("RUN <<'END'\n")
        .context("a here-document makes the files")?;
    let (script, after) = rest.split_once("\nEND\n").context("it ends")?;
    let mut stages: Vec<Stage> = Vec::new();
    let whole = format!("{before}{after}").replace("\\\n", " ");
    for line in whole.lines() {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_prefix("FROM ") {
            Some(from) => stages.push(Stage {
                from: from.to_owned(),
                lines: Vec::new(),
            }),
            None => stages.last_mut().context("FROM is first")?.lines.push(line),
        }
    }
    Ok((stages, format!("{script}\n")))
}

#[test]
fn the_last_stage_is_nothing_but_what_the_stage_before_made() -> Result<()> {
    let (stages, _) = dockerfile()?;
    let [build, root, last] = &stages[..] else {
        anyhow::bail!("{} stages", stages.len());
    };
    // What the test below runs is what the image gets: one directory, made by the script, with nothing below it.
    assert_eq!(
        (&*root.from, &*last.from),
        ("build AS root", "scratch"),
        "{}",
        build.from
    );
    let made = root
        .all("ARG")
        .into_iter()
        .find_map(|arg| arg.strip_prefix("ROOT="));
    let made = made.context("the stage says where it makes the files")?;
    assert_eq!(last.one("COPY")?, format!("--from=root {made}/ /"));
    assert!(last.all("RUN").is_empty() && last.all("ADD").is_empty());
    assert_eq!(last.one("USER")?, "0");
    assert_eq!(last.one("ENTRYPOINT")?, r#"["/salvage"]"#);
    Ok(())
}

#[test]
fn compiler_version_and_labels_are_those_of_the_crate() -> Result<()> {
    let (stages, _) = dockerfile()?;
    let last = stages.last().context("a last stage")?;
    let image = &stages[0].from;
    // By its whole version; and of a Debian whose glibc the last stage gets.
    let rust = env!("CARGO_PKG_RUST_VERSION");
    ensure!(
        image.starts_with(&format!("rust:{rust}.")) && image.ends_with("-bookworm AS build"),
        "{image} is not Rust {rust}"
    );
    ensure!(
        stages[0]
            .all("RUN")
            .iter()
            .any(|run| run.contains("--release --locked")),
        "the build takes what Cargo.lock says"
    );
    let version = format!("VERSION={}", env!("CARGO_PKG_VERSION"));
    ensure!(last.all("ARG").contains(&&*version), "no ARG {version}");
    let labels = last.one("LABEL")?;
    for (label, value) in [
        ("title", env!("CARGO_PKG_NAME")),
        ("description", env!("CARGO_PKG_DESCRIPTION")),
        ("source", env!("CARGO_PKG_REPOSITORY")),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("version", "$VERSION"),
        ("revision", "$REVISION"),
    ] {
        let label = format!("org.opencontainers.image.{label}={value:?}");
        ensure!(labels.contains(&label), "no {label} in {labels}");
    }
    Ok(())
}

#[test]
fn all_that_the_build_copies_is_sent_to_it() -> Result<()> {
    let ignored = std::fs::read_to_string(repository().join(".dockerignore"))?;
    let sent: BTreeSet<_> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    ensure!(ignored.lines().any(|line| line == "*"), "{ignored}");
    let (stages, _) = dockerfile()?;
    let mut copied = BTreeSet::new();
    for line in stages[0].all("COPY") {
        let words: Vec<_> = line.split(' ').collect();
        let (_, from) = words.split_last().context("a target")?;
        copied.extend(from.iter().copied());
    }
    assert_eq!(copied, sent);
    for name in sent {
        ensure!(repository().join(name).exists(), "{name} is not there");
    }
    Ok(())
}

/// The files of the image, made by the Dockerfile's own lines.
struct Image {
    directory: TempDir,
}

impl Image {
    fn build() -> Result<Self> {
        let (_, script) = dockerfile()?;
        let directory = TempDir::with_prefix("salvage-image-")?;
        let output = Command::new("sh")
            .args(["-c", &script])
            .env("BINARY", SALVAGE)
            .env("ROOT", directory.path())
            .output()?;
        ensure!(
            output.status.success(),
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Self { directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Every file in it, by its path there, with its size.
    fn files(&self) -> Result<Vec<(PathBuf, u64)>> {
        let mut files = Vec::new();
        let mut open = vec![self.path().to_owned()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                } else {
                    let inside = Path::new("/").join(entry.path().strip_prefix(self.path())?);
                    files.push((inside, entry.metadata()?.len()));
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// The program in it as the chart starts it: as uid 0 with four capabilities and no new privileges, on a root that is read-only, with /proc, /dev and this directory
    /// of the node. What it logs is on stdout.
    fn command(&self, node: &Path) -> Result<Command> {
        let inside = |path: &Path| -> Result<CString> {
            let target = self.path().join(path.strip_prefix("/")?);
            std::fs::create_dir_all(&target)?;
            Ok(c_string(&target)?)
        };
        let root = c_string(self.path())?;
        let binds = [
            (root.clone(), root.clone()),
            (c_string(Path::new("/dev"))?, inside(Path::new("/dev"))?),
            (c_string(node)?, inside(node)?),
        ];
        let proc = inside(Path::new("/proc"))?;
        let mut command = Command::new("/salvage");
        command.env_clear();
        // SAFETY: between fork and exec it only makes system calls, on strings that were made before.
        unsafe {
            command.pre_exec(move || contain(&root, &binds, &proc));
        }
        Ok(command)
    }

    /// What the program in it says to these arguments.
    fn says(&self, node: &Path, arguments: &[&str]) -> Result<String> {
        let output = self.command(node)?.args(arguments).output()?;
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "{arguments:?}: {}\n{out}",
            output.status
        );
        Ok(out)
    }

    fn agent(&self, node: &Node) -> Result<Agent> {
        let mut command = self.command(&node.path(""))?;
        command
            .args(["agent", "--log-format", "json", "--config"])
            .arg(node.config()?)
            .envs(node.env.iter().map(|(name, value)| (name, value)));
        Agent::start(command)
    }
}

fn c_string(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// The capabilities that the chart adds, by their numbers in `linux/capability.h`: DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, LEASE.
const ADDED: [libc::c_ulong; 4] = [1, 2, 3, 28];

/// Makes this process a contained one, as a container runtime does.
fn contain(root: &CString, binds: &[(CString, CString)], proc: &CString) -> io::Result<()> {
    let check = |result: libc::c_int| match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    };
    let none = std::ptr::null();
    // SAFETY: system calls on strings that live as long as the call.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(libc::mount(none, c"/".as_ptr(), none, private, none.cast()))?;
        for (from, to) in binds {
            let bind = libc::MS_BIND;
            check(libc::mount(
                from.as_ptr(),
                to.as_ptr(),
                none,
                bind,
                none.cast(),
            ))?;
        }
        let kind = c"proc".as_ptr();
        check(libc::mount(kind, proc.as_ptr(), kind, 0, none.cast()))?;
        let read_only = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY;
        check(libc::mount(
            none,
            root.as_ptr(),
            none,
            read_only,
            none.cast(),
        ))?;
        check(libc::chroot(root.as_ptr()))?;
        check(libc::chdir(c"/".as_ptr()))?;
        for capability in 0..64 {
            if ADDED.contains(&capability) {
                continue;
            }
            // The kernel knows no more of them.
            if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) == -1 {
                break;
            }
        }
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        check(libc::dup2(1, 2))
    }
}

/// A certificate for 127.0.0.1 and an authority of its own that signed it.
struct Authority {
    directory: TempDir,
}

impl Authority {
    fn new() -> Result<Self> {
        let directory = TempDir::with_prefix("salvage-ca-")?;
        let curve = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ];
        let openssl = |arguments: &[&str]| -> Result<()> {
            let output = Command::new("openssl")
                .args(arguments)
                .current_dir(directory.path())
                .output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "openssl {arguments:?}: {said}");
            Ok(())
        };
        let ca = "req -x509 -days 2 -subj /CN=salvage-test-ca -keyout ca.key -out ca.crt";
        openssl(&[&ca.split(' ').collect::<Vec<_>>()[..], &curve].concat())?;
        let request =
            "req -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout key -out request";
        openssl(&[&request.split(' ').collect::<Vec<_>>()[..], &curve].concat())?;
        let sign = "x509 -req -days 2 -in request -CA ca.crt -CAkey ca.key -CAcreateserial -copy_extensions copy -out crt";
        openssl(&sign.split(' ').collect::<Vec<_>>())?;
        Ok(Self { directory })
    }

    /// Lets an image trust it, beside those that it trusts anyway.
    fn add_to(&self, image: &Image) -> Result<()> {
        let path = image.path().join("etc/ssl/certs/ca-certificates.crt");
        let mut bundle = std::fs::read(&path)?;
        bundle.extend(std::fs::read(self.directory.path().join("ca.crt"))?);
        Ok(std::fs::write(path, bundle)?)
    }

    /// Speaks TLS before a server that speaks none; gives the new address.
    fn before(&self, endpoint: &str) -> Result<(Process, String)> {
        let address = endpoint.strip_prefix("http://").context("plain HTTP")?;
        let mut command = Command::new("python3");
        command
            .arg(repository().join("tests/tools/tls.py"))
            .arg(address)
            .args([
                self.directory.path().join("crt"),
                self.directory.path().join("key"),
            ]);
        let front = Process::start(command)?;
        let line = front.line_with("listening")?;
        let port = line.trim_start_matches("listening ");
        let address = format!("https://127.0.0.1:{port}");
        Ok((front, address))
    }
}

mod as_root {
    use super::*;

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn the_image_is_a_program_with_its_libraries_and_no_shell() -> Result<()> {
        let image = Image::build()?;
        let files = image.files()?;
        let total: u64 = files.iter().map(|(_, size)| size).sum();
        for (path, size) in &files {
            println!("{size:>12} {}", path.display());
        }
        println!("{total:>12} in all");
        // Each file has its reason in the Dockerfile: executable are the program and what it links.
        for (path, _) in &files {
            let inside = image.path().join(path.strip_prefix("/")?);
            let executable = std::fs::metadata(&inside)?.permissions().mode() & 0o111 != 0;
            let name = path.file_name().context("a name")?.to_string_lossy();
            let expected = path == Path::new("/salvage") || name.contains(".so.");
            assert_eq!(executable, expected, "{}", path.display());
        }
        ensure!(total < 64 << 20, "the image has grown to {total} bytes");

        // The loader itself says what it finds, inside: nothing is missing there.
        let loader = files.iter().find(|(path, _)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("ld-linux")
        });
        let (loader, _) = loader.context("the program is linked dynamically")?;
        let output = Command::new("chroot")
            .arg(image.path())
            .arg(loader)
            .args(["--list", "/salvage"])
            .output()?;
        let listed = String::from_utf8(output.stdout)?;
        ensure!(
            output.status.success() && listed.lines().count() > 2 && !listed.contains("not found"),
            "{listed}"
        );
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn it_says_its_version_and_checks_a_configuration() -> Result<()> {
        let image = Image::build()?;
        let node = Node::new()?;
        let directory = node.path("");
        let version = image.says(&directory, &["--version"])?;
        assert_eq!(
            version.trim(),
            format!("salvage {}", env!("CARGO_PKG_VERSION"))
        );
        let config = node.config()?;
        let config = config.to_str().context("UTF-8")?;
        let checked = image.says(&directory, &["agent", "--config", config, "--check"])?;
        ensure!(checked.contains("cluster: test"), "{checked}");
        Ok(())
    }

    #[test]
    #[ignore = "needs root and the compiled victims; tests/run provisions them"]
    fn it_stores_a_dump_that_only_its_owner_may_read_and_removes_it() -> Result<()> {
        const OWNER: u32 = 12_345;
        let image = Image::build()?;
        let node = Node::new()?;
        // Nobody may list it, as the agent makes the base of an injected hostPath.
        std::fs::set_permissions(node.crash(), PermissionsExt::from_mode(0o1733))?;
        let agent = image.agent(&node)?.ready()?;

        let elsewhere = TempDir::new()?;
        let crashed = Launch::compiled("segv")?
            .start_in(elsewhere.path())?
            .crash()?;
        let beside = node.path("core");
        std::fs::copy(crashed.core()?, &beside)?;
        std::fs::set_permissions(&beside, PermissionsExt::from_mode(0o600))?;
        std::os::unix::fs::chown(&beside, Some(OWNER), Some(OWNER))?;
        std::fs::rename(&beside, node.crash().join("core.1"))?;

        let crashes = node.wait_for_crashes(&agent, 1)?;
        assert_eq!(crashes[0]["reason"], "SIGSEGV");
        ensure!(!node.crash().join("core.1").exists(), "it is still there");
        agent.stop()
    }

    #[test]
    #[ignore = "needs root and openssl; tests/run runs it as root"]
    fn it_trusts_the_certificates_of_its_bundle_for_store_and_cluster() -> Result<()> {
        let authority = Authority::new()?;
        let store = S3Server::start();
        let cluster = KubeServer::start("test-node");
        let (_store_front, store_address) = authority.before(&store.endpoint())?;
        let (_cluster_front, cluster_address) = authority.before(&cluster.endpoint())?;

        let mut node = crate::s3::node_for(&store)?;
        node.store = format!(
            "{{url: {:?}, endpoint: {store_address:?}, region: {:?}}}",
            node.store_url,
            store.region()
        );
        std::fs::create_dir_all(node.path("kubelet/pods"))?;
        std::fs::create_dir_all(node.path("logs"))?;
        node.more = format!(
            "{}\nkubernetes: {{enabled: true, kubelet_dir: {:?}, pod_logs_dir: {:?}, start_jitter: 0s}}",
            node.more,
            node.path("kubelet"),
            node.path("logs")
        );
        let kubeconfig = cluster.kubeconfig(&node.path(""))?;
        let text = std::fs::read_to_string(&kubeconfig)?;
        ensure!(text.contains(&cluster.endpoint()));
        std::fs::write(
            &kubeconfig,
            text.replace(&cluster.endpoint(), &cluster_address),
        )?;
        node.env.push((
            "KUBECONFIG".into(),
            kubeconfig.to_string_lossy().into_owned(),
        ));

        // An authority that it does not know is refused: the bundle is what decides.
        let image = Image::build()?;
        let stranger = image.agent(&node)?;
        for part in ["store", "pods"] {
            wait(&format!("{part} to say why"), || {
                let said = stranger.readyz()?;
                let mut lines = said.lines();
                Ok(lines
                    .any(|line| line.contains(part) && line.contains("UnknownIssuer"))
                    .then_some(()))
            })
            .with_context(|| stranger.readyz().unwrap_or_default())?;
        }
        stranger.stop()?;

        authority.add_to(&image)?;
        let agent = image.agent(&node)?.ready()?;
        cluster.wait_until_watched()?;
        drop_in(&node, "file", &noise(7, 1 << 20))?;
        // Of a pod that nobody knows; what counts is the way.
        wait("the dump to be stored", || {
            Ok(store
                .objects()
                .keys()
                .any(|key| key.ends_with(".json"))
                .then_some(()))
        })
        .with_context(|| agent.readyz().unwrap_or_default())?;
        agent.stop()
    }
}
