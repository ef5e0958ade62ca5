//! The agent with what its pod gives it and nothing more: uid 0, four capabilities, no new privileges, a root file system that is read-only.

mod as_root {
    use std::fs;
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
    use std::path::Path;
    use std::process::Command;

    use anyhow::{Context, Result, ensure};

    use super::super::{Lab, pod_with_volume, uid};
    use crate::s3::noise;
    use crate::support::agent::{Agent, Node, wait};
    use crate::support::disk::SmallDisk;

    /// As the chart's DaemonSet adds them.
    const CAPABILITIES: [(&str, u32); 4] = [
        ("dac_override", 1),
        ("dac_read_search", 2),
        ("fowner", 3),
        ("lease", 28),
    ];

    /// Somebody whom no privilege of the agent's but these lets it read.
    const SOMEBODY: u32 = 12_345;

    /// The command in a mount namespace of its own, where only `writable` can be written.
    fn confined(command: &Command, writable: &[&Path]) -> Command {
        let mut script = String::from("set -e; ");
        for n in 1..=writable.len() {
            script += &format!("mount --bind \"${n}\" \"${n}\"; ");
        }
        let added: String = CAPABILITIES
            .iter()
            .map(|(name, _)| format!(",+{name}"))
            .collect();
        script += &format!(
            "mount -o remount,bind,ro /; shift {}; exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all{added} -- \"$@\"",
            writable.len()
        );
        let mut confined = Command::new("unshare");
        confined
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                &script,
                "sh",
            ])
            .args(writable);
        confined.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                confined.env(name, value);
            }
        }
        confined
    }

    /// A file of somebody else that nobody else may read.
    fn foreign(path: &Path, content: &[u8]) -> Result<()> {
        fs::write(path, content)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(chown(path, Some(SOMEBODY), Some(SOMEBODY))?)
    }

    fn directory(path: &Path, owner: u32, mode: u32) -> Result<()> {
        fs::create_dir_all(path)?;
        chown(path, Some(owner), Some(owner))?;
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
    }

    fn ensure_confined(agent: &Agent) -> Result<()> {
        let pid = agent.pid().as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<String> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            Ok(line
                .with_context(|| format!("{name} in {status}"))?
                .trim()
                .to_owned())
        };
        let mask: u64 = CAPABILITIES.iter().map(|(_, bit)| 1_u64 << bit).sum();
        let mask = format!("{mask:016x}");
        for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
            ensure!(
                field(set)? == mask,
                "{set} {} instead of {mask}",
                field(set)?
            );
        }
        ensure!(
            field("NoNewPrivs:")? == "1" && field("Uid:")?.starts_with("0\t0\t0"),
            "{status}"
        );
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        let root = mounts
            .lines()
            .find(|line| line.split(' ').nth(4) == Some("/"));
        let options = root
            .and_then(|line| line.split(' ').nth(5))
            .unwrap_or_default();
        ensure!(
            options.split(',').any(|option| option == "ro"),
            "the root is {options}"
        );
        Ok(())
    }

    /// From every kind of source: moved on one mount, into `.salvage` on another, and copied out of a volume of the kubelet's.
    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn with_four_capabilities_it_stores_deletes_and_cleans_what_others_own() -> Result<()> {
        let (kubelet, other) = (SmallDisk::of_mebibytes(64)?, SmallDisk::of_mebibytes(64)?);
        let mut lab = Lab::on(Node::new()?, "test-node", kubelet.path(), "")?;
        let dumps = other.path().join("dumps");
        lab.node.sources = format!(
            "[{{path: {:?}}}, {{path: {dumps:?}, layout: '{{namespace}}/{{pod}}/{{uid}}/{{container}}', managed: true}}, {{kubelet_volumes: {{volume: dumps}}}}]",
            lab.node.crash()
        );
        directory(&lab.node.crash(), 0, 0o1733)?;
        lab.server.add(pod_with_volume("shop", "cart-0").build());
        // Closed to all but its owner, whom the agent is not.
        let volume = lab.volume(&uid("cart-0"), "dumps").join("app");
        directory(&volume, SOMEBODY, 0o700)?;
        let level = dumps.join("shop/cart-1/uid-1/app");
        fs::create_dir_all(&level)?;
        let places = [lab.node.crash(), level.clone(), volume.clone()];

        let writable = [&lab.node.path("") as &Path, other.path(), kubelet.path()];
        let agent = Agent::start(confined(&lab.node.command()?, &writable))?.ready()?;
        lab.server.wait_until_watched()?;
        ensure_confined(&agent)?;
        for (n, place) in places.iter().enumerate() {
            foreign(&place.join("core"), &noise(n as u64, 1 << 18))?;
        }
        let manifests = lab.settled(&agent, places.len())?;
        for (n, _) in places.iter().enumerate() {
            let dump = noise(n as u64, 1 << 18);
            let mut found = false;
            for crash in &manifests {
                let got = lab.node.get(crash["id"].as_str().context("an id")?)?;
                found |= got
                    .iter()
                    .any(|path| fs::read(path).is_ok_and(|got| got == dump));
            }
            ensure!(found, "dump {n} is not among {manifests:#?}");
        }
        for place in &places {
            wait("the source to be empty", || {
                let mut names = fs::read_dir(place)?
                    .flatten()
                    .map(|entry| entry.file_name());
                Ok(names.all(|name| name == ".salvage").then_some(()))
            })?;
        }
        let held = other.path().join("dumps/.salvage");
        ensure!(
            held.is_dir() && fs::read_dir(&held)?.next().is_none(),
            "something is left in .salvage"
        );
        ensure!(
            fs::metadata(&dumps)?.permissions().mode() & 0o7777 == 0o1733,
            "the managed directory has another mode"
        );
        for name in ["entries", "dumps", "uploads"] {
            ensure!(
                fs::read_dir(lab.node.state.join(name))?.next().is_none(),
                "something is left in {name}"
            );
        }
        Ok(())
    }

    /// What only `CAP_LEASE` tells of a file of somebody else's.
    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn a_file_that_somebody_else_still_writes_is_left_to_them() -> Result<()> {
        let node = Node::new()?;
        directory(&node.crash(), 0, 0o1733)?;
        let path = node.crash().join("core");
        let writer = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        chown(&path, Some(SOMEBODY), Some(SOMEBODY))?;
        std::io::Write::write_all(&mut &writer, &noise(1, 4_096))?;
        let agent =
            Agent::start(confined(&node.command()?, &[&node.path("") as &Path]))?.ready()?;
        ensure_confined(&agent)?;
        foreign(&node.crash().join("other"), &noise(2, 4_096))?;
        node.wait_for_crashes(&agent, 1)?;
        ensure!(path.exists(), "it was taken from under its writer");
        drop(writer);
        node.wait_for_crashes(&agent, 2)?;
        ensure!(agent.metric("salvage_source_errors_total{kind=\"unreadable\"}")? == 0.0);
        Ok(())
    }
}
