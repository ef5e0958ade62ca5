//! Several files of one death are one crash: the best dump is the dump, the others stand beside it.

use std::collections::BTreeMap;

use super::*;
use crate::support::agent::wait;

/// The held files, by what is in them, once there are `count`. They wait for each other, so there is time to read them.
fn held(node: &Node, count: usize) -> Result<BTreeMap<String, u64>> {
    wait(&format!("{count} held files"), || {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(node.state.join("dumps"))? {
            let original = Original::of(&entry?.path())?;
            found.insert(original.sha256, original.bytes);
        }
        Ok((found.len() == count).then_some(found))
    })
}

/// The one crash that all these files belong to: its artifacts, the dump first. Fetched, they are what was held.
fn one_crash(node: &Node, agent: &Agent, held: &BTreeMap<String, u64>) -> Result<(Value, Value)> {
    let crashes = node.wait_for_crashes(agent, 1)?;
    let manifest = node.manifest(text(&crashes[0]["id"])?)?;
    let artifacts = manifest["artifacts"].as_array().context("artifacts")?;
    let mut stored = BTreeMap::new();
    for artifact in artifacts {
        let bytes = artifact["bytes"].as_u64().context("bytes")?;
        stored.insert(text(&artifact["sha256"])?.to_owned(), bytes);
        let object = node.object(text(&artifact["key"])?)?;
        ensure!(readers::zstd_decoded_sha256(&object)? == text(&artifact["sha256"])?);
    }
    ensure!(stored == *held, "{manifest:#}");
    let mut got = BTreeMap::new();
    for file in node.get(text(&crashes[0]["id"])?)? {
        got.insert(readers::sha256(&file)?, fs::metadata(&file)?.size());
    }
    ensure!(got == *held, "fetched: {got:?}");
    ensure_nothing_left(node, agent, &[&node.crash()])?;
    Ok((crashes[0].clone(), manifest))
}

fn roles(manifest: &Value) -> Vec<(&str, &str)> {
    let artifacts = manifest["artifacts"].as_array();
    let artifacts = artifacts.into_iter().flatten();
    artifacts
        .map(|artifact| {
            let said = |key: &str| artifact[key].as_str().unwrap_or("-");
            (said("role"), said("format"))
        })
        .collect()
}

mod dotnet {
    use super::*;
    use crate::support::victims::{Createdump, Launch, crash_dotnet};

    fn createdump(crash_report: bool) -> Createdump {
        Createdump {
            kind: 1,
            name: "%e.%p.dmp".to_owned(),
            crash_report,
        }
    }

    #[test]
    #[ignore = "needs a real .NET; tests/run provisions it"]
    fn a_crash_report_and_its_dump_are_one_crash() -> Result<()> {
        let node = Node::new()?;
        let agent = node.start()?.ready()?;
        crash_dotnet("worker", &createdump(true), &node.crash())?;
        let held = held(&node, 2)?;
        let (line, manifest) = one_crash(&node, &agent, &held)?;
        assert_eq!(
            roles(&manifest),
            [("dump", "elf-core"), ("report", "dotnet-crash-report")]
        );
        let (dump, report) = (&manifest["artifacts"][0], &manifest["artifacts"][1]);
        assert_eq!(line["reason"], "Exception");
        assert_eq!(manifest["signal"]["number"], 6);
        assert_eq!(
            report["process"]["crashing_tid"],
            dump["process"]["crashing_tid"]
        );
        assert!(report["exception"]["type"].is_string(), "{report:#}");
        agent.stop()
    }

    #[test]
    #[ignore = "needs a real .NET; tests/run provisions it"]
    fn a_crash_report_alone_is_a_crash() -> Result<()> {
        let node = Node::new()?;
        let agent = node.start()?.ready()?;
        Launch::dotnet("exception", &createdump(true))?
            .env("DOTNET_EnableCrashReportOnly", "1")
            .start_in(&node.crash())?
            .crash()?;
        let held = held(&node, 1)?;
        let (line, manifest) = one_crash(&node, &agent, &held)?;
        assert_eq!(roles(&manifest), [("report", "dotnet-crash-report")]);
        assert_eq!(line["reason"], "Exception");
        agent.stop()
    }

    mod kernel_cores {
        use super::*;

        #[test]
        #[ignore = "needs a real .NET; tests/run provisions it"]
        fn a_kernel_core_beside_a_createdump_is_no_crash_of_its_own() -> Result<()> {
            let node = Node::new()?;
            let agent = node.start()?.ready()?;
            Launch::dotnet("segv", &createdump(true))?
                .with_kernel_core()
                .start_in(&node.crash())?
                .crash()?;
            let held = held(&node, 3)?;
            let (_, manifest) = one_crash(&node, &agent, &held)?;
            assert_eq!(
                roles(&manifest),
                [
                    ("dump", "elf-core"),
                    ("dump", "elf-core"),
                    ("report", "dotnet-crash-report")
                ]
            );
            let producers = [0, 1].map(|n| manifest["artifacts"][n]["producer"].clone());
            assert_eq!(producers, ["createdump", "kernel"]);
            assert_eq!(manifest["signal"]["number"], 11);
            agent.stop()
        }
    }

    /// As 3.1 does it as the first process of a container: the second SIGSEGV runs createdump again, which opens the same path anew.
    #[test]
    #[ignore = "needs a real .NET; tests/run provisions it"]
    fn a_dump_written_twice_is_one_crash() -> Result<()> {
        let aside = Node::new()?;
        let node = Node::new()?;
        crash_dotnet("exception", &createdump(false), &aside.crash())?;
        let written = fs::read_dir(aside.crash())?.next().context("a dump")??;
        let mut dump = fs::read(written.path())?;
        let agent = node.start()?.ready()?;
        let path = node.crash().join("core.1");
        fs::write(&path, &dump)?;
        wait("the first to be claimed", || {
            Ok((!path.exists()).then_some(()))
        })?;
        // The second shows the process a moment later: other bytes of the same memory.
        let last = dump.len() - 1;
        dump[last] ^= 1;
        fs::write(&path, &dump)?;
        let held = held(&node, 2)?;
        let (_, manifest) = one_crash(&node, &agent, &held)?;
        assert_eq!(roles(&manifest), [("dump", "elf-core"); 2]);
        agent.stop()
    }
}

mod kernel_cores {
    use super::*;
    use crate::support::victims::Launch;

    #[test]
    #[ignore = "needs a JVM; tests/run provisions it"]
    fn a_jvms_error_log_and_the_core_are_one_crash() -> Result<()> {
        let node = Node::new()?;
        let agent = node.start()?.ready()?;
        Launch::java_crash()?
            .with_kernel_core()
            .start_in(&node.crash())?
            .crash()?;
        let held = held(&node, 2)?;
        let (line, manifest) = one_crash(&node, &agent, &held)?;
        assert_eq!(
            roles(&manifest),
            [("dump", "elf-core"), ("report", "hs-err")]
        );
        assert_eq!(line["reason"], "SIGABRT");
        agent.stop()
    }
}
