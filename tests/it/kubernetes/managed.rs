//! A managed directory of the node, which pods mount by hostPath with `subPathExpr`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Lab, now, uid};
use crate::s3::noise;
use crate::support::agent::wait;
use crate::support::kube::{Mount, Now, PodBuilder, container_id};

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
}

/// A variable that has its value from the pod's metadata.
fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": format!("metadata.{path}")}}})
}

mod as_root {
    use super::*;

    /// The pod came first: the kubelet made the directory and the pod's levels as root with 0755.
    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn a_pod_that_came_before_the_agent_can_dump_and_its_dump_is_its_own() -> Result<()> {
        let mut lab = Lab::new()?;
        let base = lab.node.path("dumps");
        lab.node.sources = format!(
            "[{{path: {base:?}, layout: '{{namespace}}/{{pod}}/{{uid}}/{{container}}', managed: true}}]"
        );
        let uid = uid("cart-0");
        let running = Now::running(now(), &container_id(&uid, "app", 0));
        let expr = "$(SALVAGE_NAMESPACE)/$(SALVAGE_POD)/$(SALVAGE_POD_UID)/app";
        let pod = PodBuilder::new("shop", "cart-0", &uid)
            .host_path_volume("salvage-dumps", &base.to_string_lossy())
            .container(
                "app",
                &[Mount::new("salvage-dumps", "/var/salvage").sub_path_expr(expr)],
            )
            .container_field(
                "app",
                "env",
                json!([
                    field("SALVAGE_NAMESPACE", "namespace"),
                    field("SALVAGE_POD", "name"),
                    field("SALVAGE_POD_UID", "uid")
                ]),
            )
            .status("app", 0, running, None);
        lab.server.add(pod.build());
        let level = base.join("shop/cart-0").join(&uid).join("app");
        fs::create_dir_all(&level)?;
        for dir in level.ancestors().take(5) {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
        }
        let agent = lab.start()?;
        wait("the pod's levels to be writable", || {
            Ok((mode(&level)? == 0o1733).then_some(()))
        })?;
        ensure!(mode(&base)? == 0o1733 && mode(&base.join("shop"))? == 0o1733);
        let dump = noise(1, 1 << 16);
        let path = level.join("core.1");
        fs::write(&path, &dump)?;
        chown(&path, Some(12_345), Some(12_345))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let manifests = lab.settled(&agent, 1)?;
        let crash = &manifests[0];
        ensure!(
            crash["pod"]["uid"] == uid.as_str() && crash["container"]["name"] == "app",
            "{crash:#}"
        );
        ensure!(crash["attribution"]["confidence"] == "exact", "{crash:#}");
        ensure!(
            level.is_dir(),
            "the directory of a pod that lives was removed"
        );
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn a_directory_of_somebody_else_is_not_managed_and_readiness_says_why() -> Result<()> {
        let mut lab = Lab::new()?;
        let base = lab.node.path("dumps");
        fs::create_dir(&base)?;
        chown(&base, Some(12_345), None)?;
        lab.node.sources = format!("[{{path: {base:?}, managed: true}}]");
        let agent = lab.node.start()?;
        wait("the reason", || {
            Ok(agent
                .readyz()?
                .contains("belongs to user 12345")
                .then_some(()))
        })?;
        ensure!(mode(&base)? != 0o1733, "it was changed");
        Ok(())
    }
}
