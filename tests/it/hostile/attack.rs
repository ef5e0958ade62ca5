//! Another user works on the source while the agent does.

mod as_root {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, SystemTime};

    use anyhow::{Context, Result, ensure};

    use super::super::{chmod, noise, stored, wait_until_gone};
    use crate::support::agent::{Node, wait};
    use crate::support::disk::SmallDisk;
    use crate::support::process::ending;
    use crate::support::victims;

    /// `nobody`, on every Debian.
    const NOBODY: u32 = 65534;

    const REAL: usize = 16;

    /// What must be left as it is.
    struct Canary {
        directory: PathBuf,
        content: Vec<u8>,
        read_at: (i64, i64),
    }

    impl Canary {
        fn plant(directory: PathBuf) -> Result<Self> {
            fs::create_dir(&directory)?;
            let content = noise(99, 8 << 10);
            let file = directory.join("secret");
            fs::write(&file, &content)?;
            // Read last two days ago: on a file system with relatime the next read shows.
            let long_ago = SystemTime::now() - Duration::from_secs(48 * 3600);
            fs::File::open(&file)?.set_times(fs::FileTimes::new().set_accessed(long_ago))?;
            chmod(&directory, 0o755)?;
            let seen = fs::metadata(&file)?;
            Ok(Self {
                directory,
                content,
                read_at: (seen.atime(), seen.atime_nsec()),
            })
        }

        fn is_untouched(&self) -> Result<()> {
            let file = self.directory.join("secret");
            let seen = fs::metadata(&file).context("the canary is there")?;
            ensure!(
                self.read_at == (seen.atime(), seen.atime_nsec()),
                "it was read"
            );
            ensure!(fs::read(&file)? == self.content, "it was changed");
            ensure!(fs::read_dir(&self.directory)?.count() == 1);
            Ok(())
        }
    }

    fn attacked(mode: u32, disk: Option<&Path>, seed: u64, spare: &[&str]) -> Result<()> {
        let mut node = Node::new()?;
        // The attacker must be able to reach what its links point at.
        chmod(&node.path(""), 0o755)?;
        let source = match disk {
            Some(disk) => {
                // The attacker is let loose on the source only.
                chmod(disk, 0o755)?;
                disk.join("source")
            }
            None => node.crash(),
        };
        fs::create_dir_all(&source)?;
        chmod(&source, mode)?;
        node.sources =
            format!("[{{path: {source:?}, layout: '{{namespace}}/{{pod}}/{{container}}'}}]");
        let canary = Canary::plant(node.path("outside"))?;
        let agent = node.start()?.ready()?;
        let pid = agent.pid();

        let mut attacker = victims::attacker(
            &source,
            NOBODY,
            600,
            seed,
            &canary.directory.join("secret"),
            spare,
        )?;
        for n in 0..REAL {
            let dump = source.join(format!("real.{n}"));
            fs::write(&dump, noise(n as u64, 100_000 + n))?;
            wait_until_gone(&dump)?;
            ensure!(agent.http("/healthz")?.0 == 200);
        }
        attacker.close_stdin();
        let did = attacker.line_with("did")?;
        ensure!(ending(attacker.wait()?) == "exit 0");

        wait("every real dump in the store", || {
            let listed = stored(&node)?;
            let real = listed
                .iter()
                .filter(|stored| stored.original_name().starts_with("real."));
            Ok((real.count() == REAL).then_some(()))
        })
        .with_context(|| format!("seed {seed}, {did}"))?;
        for stored in stored(&node)? {
            let holds_canary = stored
                .dump
                .windows(64)
                .any(|part| part == &canary.content[..64]);
            ensure!(!holds_canary, "{}", stored.manifest);
            if let Some(n) = stored.original_name().strip_prefix("real.") {
                let n: usize = n.parse()?;
                ensure!(
                    stored.dump == noise(n as u64, 100_000 + n),
                    "{}",
                    stored.manifest
                );
            }
        }
        canary.is_untouched().with_context(|| did.clone())?;
        ensure!(agent.pid() == pid && agent.http("/healthz")?.0 == 200);
        println!("mode {mode:o}: {did}");
        agent.stop()
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn a_sticky_source_on_the_same_mount() -> Result<()> {
        attacked(0o1777, None, 1, &["real.*"])
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn a_source_where_everybody_may_rename_on_the_same_mount() -> Result<()> {
        attacked(0o777, None, 2, &["real.*"])
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn a_sticky_source_on_another_mount() -> Result<()> {
        let disk = SmallDisk::of_mebibytes(256)?;
        attacked(0o1777, Some(disk.path()), 3, &["real.*"])
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn a_source_where_everybody_may_rename_on_another_mount() -> Result<()> {
        let disk = SmallDisk::of_mebibytes(256)?;
        // There a claimed dump waits for its copy under a name of ours, and whoever may remove it may remove a dump.
        attacked(0o777, Some(disk.path()), 4, &["real.*", ".salvage-*"])
    }
}
