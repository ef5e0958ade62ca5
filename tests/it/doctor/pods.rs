//! On a node of a cluster: what the API server allows, and the node's pods.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Clinic, Said, Ward};
use crate::support::kube::{Call, Fault, Mount, PodBuilder};

fn uid(name: &str) -> String {
    format!("00000000-0000-4000-8000-{:0>12}", hex::encode(name))
}

/// A pod as the injection leaves it.
pub(super) fn injected(name: &str) -> PodBuilder {
    let env = json!([
        {"name": "DOTNET_DbgEnableMiniDump", "value": "1"},
        {"name": "DOTNET_DbgMiniDumpName", "value": "/var/salvage/%e.%p.dmp"},
        {"name": "PASSWORD", "value": "hunter2-of-the-environment"},
    ]);
    let mount = Mount::new("salvage-dumps", "/var/salvage").sub_path("app");
    PodBuilder::new("shop", name, &uid(name))
        .label("salvage.dev/dumps", "enabled")
        .container("app", &[mount])
        .container_field("app", "env", env)
        .container_field("app", "resources", json!({"limits": {"memory": "512Mi"}}))
        .empty_dir("salvage-dumps")
}

/// What stands against the dump of each pod's one container.
pub(super) fn reasons(said: &Said) -> Vec<(String, String, Vec<String>)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let of = |judged: &serde_json::Value| {
        let reasons = judged["reasons"].as_array().map_or(&[][..], Vec::as_slice);
        let ids = reasons.iter().map(|reason| text(&reason["id"])).collect();
        (text(&judged["pod"]), text(&judged["verdict"]), ids)
    };
    said.pods().iter().map(of).collect()
}

mod as_root {
    use super::*;

    /// The agent with its API server; everything is as the chart leaves it.
    fn whole() -> Result<(Clinic, Ward)> {
        let (clinic, node) = Clinic::new()?;
        clinic.server.add(injected("cart-0").build());
        let ward = Ward::of(node)?;
        Ok((clinic, ward))
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn a_whole_node_of_a_cluster_is_clean() -> Result<()> {
        let (clinic, ward) = whole()?;
        let volume = clinic.kubelet.join(format!(
            "pods/{}/volumes/kubernetes.io~empty-dir/salvage-dumps/app",
            uid("cart-0")
        ));
        std::fs::create_dir_all(volume)?;
        let said = ward.ask()?;
        said.ensure_code(0)?;
        for wanted in [
            ("kubernetes.api", "ok", "answers"),
            ("kubernetes.pods", "ok", "1 pods are on the node"),
            ("kubernetes.pods", "ok", "watch pods"),
            ("kubernetes.events", "ok", "allowed"),
            ("kubernetes.node", "ok", "test-node"),
            ("source.volumes", "ok", "can be opened"),
            ("capability", "ok", "LEASE"),
            ("store.lifecycle", "ok", "after 7 days"),
        ] {
            said.ensure_says(wanted)?;
        }
        // What the machine of the tests has is its own.
        let of_machine = [
            "core_pattern",
            "open_files",
            "inotify",
            "space.max_use",
            "memory",
        ];
        let bad: Vec<_> = said
            .bad()
            .into_iter()
            .filter(|finding| !of_machine.iter().any(|id| finding["id"] == *id))
            .collect();
        ensure!(bad.is_empty(), "{bad:#?}");
        ensure!(
            reasons(&said) == [("cart-0".into(), "ok".into(), vec![])],
            "{:#}",
            said.report
        );
        ensure!(!said.report.to_string().contains("hunter2"));
        ensure!(
            clinic.server.offences().is_empty(),
            "{:?}",
            clinic.server.offences()
        );
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn capabilities_that_pods_need_are_failures_there() -> Result<()> {
        let (_clinic, ward) = whole()?;
        let doctor = ward.doctor(|config| config, &[])?;
        let mut command = std::process::Command::new("setpriv");
        command
            .arg("--bounding-set=-lease")
            .arg(doctor.get_program());
        command.args(doctor.get_args());
        command.envs(ward.node.env.iter().cloned());
        let said = Said::by(command)?;
        said.ensure_code(1)?;
        said.ensure_says(("capability", "fail", "CAP_LEASE"))?;
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn what_the_api_server_refuses_is_told() -> Result<()> {
        let (clinic, ward) = whole()?;
        clinic.server.fault(Call::List, Fault::Forbidden);
        let said = ward.ask()?;
        said.ensure_code(1)?;
        said.ensure_says(("kubernetes.pods", "fail", "may not list pods"))?;
        clinic.server.healthy();

        clinic.server.refuse_right("create", "events");
        let said = ward.ask()?;
        said.ensure_code(0)?;
        said.ensure_says((
            "kubernetes.events",
            "warn",
            "may not create events.events.k8s.io",
        ))?;

        let mut elsewhere = ward.doctor(|config| config, &[])?;
        elsewhere
            .env("SALVAGE_POD_NAMESPACE", "salvage")
            .env("SALVAGE_POD_NAME", "salvage-x7k2p");
        Said::by(elsewhere)?.ensure_says((
            "kubernetes.node",
            "fail",
            "own pod is not among the pods",
        ))?;

        clinic.server.delete("shop", "cart-0");
        let said = ward.ask()?;
        said.ensure_code(1)?;
        said.ensure_says(("kubernetes.node", "fail", "no pod is on a node test-node"))?;

        clinic.server.fault(Call::Any, Fault::Hang);
        let said = ward.ask()?;
        said.ensure_code(1)?;
        said.ensure_says(("kubernetes.api", "fail", "within 10 s"))?;
        clinic.server.healthy();
        clinic.server.down()?;
        let said = ward.ask()?;
        said.ensure_code(1)?;
        said.ensure_says(("kubernetes.api", "fail", "cannot be asked"))?;
        Ok(())
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn pods_that_would_leave_no_dump_are_told_with_their_reason() -> Result<()> {
        let (clinic, ward) = whole()?;
        let mount = Mount::new("salvage-dumps", "/var/salvage").sub_path("app");
        let bare = |name: &str| PodBuilder::new("shop", name, &uid(name)).container("app", &[]);
        let small = json!({"name": "salvage-dumps", "emptyDir": {"sizeLimit": "100Mi"}});
        let memory = json!({"limits": {"memory": "512Mi"}});
        let dotnet = json!([
            {"name": "DOTNET_DbgEnableMiniDump", "value": "1"},
            {"name": "DOTNET_DbgMiniDumpName", "value": "/var/salvage/%p.dmp"},
        ]);
        for pod in [
            bare("bare").build(),
            bare("labelled")
                .label("salvage.dev/dumps", "enabled")
                .build(),
            injected("out")
                .annotation("salvage.dev/collect", "false")
                .build(),
            PodBuilder::new("shop", "small", &uid("small"))
                .container("app", &[mount])
                .container_field("app", "env", dotnet.clone())
                .container_field("app", "resources", memory)
                .volume(small)
                .build(),
            PodBuilder::new("shop", "locked", &uid("locked"))
                .container("app", &[mount.read_only()])
                .container_field("app", "env", dotnet)
                .empty_dir("salvage-dumps")
                .build(),
            injected("limited")
                .container_field(
                    "app",
                    "resources",
                    json!({"limits": {"memory": "512Mi", "ephemeral-storage": "100Mi"}}),
                )
                .build(),
        ] {
            clinic.server.add(pod);
        }
        let said = ward.ask()?;
        said.ensure_code(1)?;
        let expected = [
            ("bare", "warn", "no_source"),
            ("cart-0", "ok", ""),
            ("labelled", "fail", "not_injected"),
            ("limited", "warn", "ephemeral_limit"),
            ("locked", "fail", "read_only"),
            ("out", "skipped", "opted_out"),
            ("small", "warn", "size_limit"),
        ];
        let expected = expected.map(|(pod, verdict, reason)| {
            let reasons = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
            (
                pod.to_owned(),
                verdict.to_owned(),
                reasons.into_iter().collect::<Vec<_>>(),
            )
        });
        let mut found = reasons(&said);
        found.sort();
        ensure!(found == expected, "{found:#?}");

        // One pod, in detail and as text; that it was never asked to does not help whoever asks.
        let one = Said::by(ward.doctor(|config| config, &["-n", "shop", "bare"])?)?;
        one.ensure_code(1)?;
        ensure!(
            one.pods().len() == 1 && one.pods()[0]["verdict"] == "fail",
            "{:#}",
            one.report
        );
        let good = Said::by(ward.doctor(|config| config, &["-n", "shop", "cart-0"])?)?;
        good.ensure_code(0)?;
        let gone = Said::by(ward.doctor(|config| config, &["-n", "shop", "gone"])?)?;
        gone.ensure_code(1)?;
        gone.ensure_says(("pod", "fail", "no such pod is on the node"))?;
        Ok(())
    }
}
