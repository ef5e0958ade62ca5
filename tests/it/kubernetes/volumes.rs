//! Volumes of the kubelet on another mount than the state, as they are for an agent in a container: dumps have to be copied before their pod goes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::{Lab, now, pod_with_volume, uid};
use crate::support::agent::wait;
use crate::support::kube::{Ended, Now, PodBuilder, container_id};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn pod(name: &str) -> PodBuilder {
    pod_with_volume("shop", name)
}

mod as_root {
    use super::*;
    use crate::s3::{node_for, noise};
    use crate::support::disk::SmallDisk;
    use crate::support::s3::{S3Op, S3Server};

    /// Both of the agent's hands are full of dumps that a store does not take, and the third and fourth are saved all the same.
    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn a_dump_is_copied_out_at_once_whatever_the_store_does() -> Result<()> {
        let store = S3Server::start();
        let disk = SmallDisk::of_mebibytes(64)?;
        let lab = Lab::on(node_for(&store)?, "test-node", disk.path(), "")?;
        for name in NAMES {
            lab.server.add(pod(name).build());
        }
        let agent = lab.start()?;
        store.hang(S3Op::Put);
        let volume = |name: &str| -> PathBuf { lab.volume(&uid(name), "dumps").join("app") };
        for (n, name) in NAMES.into_iter().enumerate() {
            fs::create_dir_all(volume(name))?;
            fs::set_permissions(volume(name), fs::Permissions::from_mode(0o777))?;
            let dump = noise(n as u64, 1 << 20);
            fs::write(volume(name).join(format!("core.{name}")), dump)?;
            wait("the dump to be copied out", || {
                Ok(fs::read_dir(volume(name))?.next().is_none().then_some(()))
            })?;
            // The pod goes, and its directory with it.
            fs::remove_dir_all(disk.path().join("pods").join(uid(name)))?;
            let end = Ended::new(139, "Error", now(), &container_id(&uid(name), "app", 0));
            lab.server.modify(
                pod(name)
                    .deleted(30)
                    .status("app", 0, Now::Terminated(end), None)
                    .build(),
            );
            lab.server.delete("shop", name);
        }
        ensure!(lab.node.crashes()?.is_empty(), "the store took one");
        store.healthy();
        let manifests = lab.settled(&agent, NAMES.len())?;
        for (n, name) in NAMES.into_iter().enumerate() {
            let its = manifests.iter().find(|crash| crash["pod"]["name"] == name);
            let its = its.with_context(|| format!("no crash of {name}: {manifests:#?}"))?;
            ensure!(its["attribution"]["confidence"] == "exact", "{its:#}");
            ensure!(
                its["exit_code"] == 139 && its["container"]["name"] == "app",
                "{its:#}"
            );
            let id = its["id"].as_str().context("an id")?;
            let got = lab.node.get(id)?;
            ensure!(fs::read(&got[0])? == noise(n as u64, 1 << 20), "{name}");
        }
        ensure!(
            !disk.path().join("pods/.salvage").exists(),
            "something of ours is in the kubelet's directory"
        );
        ensure!(agent.metric("salvage_dumps_lost_total{reason=\"vanished\"}")? == 0.0);
        Ok(())
    }
}
