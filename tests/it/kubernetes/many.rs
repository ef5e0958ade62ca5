//! Many at once: every dump meets its own death, nothing is told twice, and memory stays what it was.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;

use super::{Lab, by_container, now};
use crate::support::agent::wait;
use crate::support::kube::{Ended, Mount, Now, PodBuilder, container_id};

const PODS: usize = 100;
const STARTS: u32 = 10;

/// The starts that leave a dump.
const DUMPS: [u32; 2] = [3, 7];

/// All of it happens within this.
const BURST: Duration = Duration::from_secs(10);

/// What the agent may take at the most.
const MEMORY: u64 = 96 << 20;

fn uid(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

fn pod(n: usize) -> PodBuilder {
    PodBuilder::new("shop", &format!("worker-{n}"), &uid(n))
        .owner("StatefulSet", "worker")
        .container("app", &[Mount::new("dumps", "/dumps").sub_path("app")])
        .empty_dir("dumps")
}

/// The pod when its start number `start` has ended.
fn ended(n: usize, start: u32, began: Timestamp, finished: Timestamp) -> Value {
    let id = |start| container_id(&uid(n), "app", start);
    let end = Ended::new(139, "Error", finished, &id(start)).started(began);
    pod(n)
        .status("app", start, Now::Terminated(end), None)
        .build()
}

#[test]
fn a_thousand_ends_and_two_hundred_dumps_in_ten_seconds_are_a_thousand_crashes() -> Result<()> {
    let lab = Lab::new()?;
    for n in 0..PODS {
        let directory = lab.volume(&uid(n), "dumps").join("app");
        fs::create_dir_all(&directory)?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777))?;
        let running = Now::running(now(), &container_id(&uid(n), "app", 0));
        lab.server
            .add(pod(n).status("app", 0, running, None).build());
    }
    let agent = lab.start()?;
    let before = agent.peak_memory()?;
    let began = Instant::now();
    let round = BURST / STARTS;
    let mut last = now();
    for start in 0..STARTS {
        for n in 0..PODS {
            if DUMPS.contains(&start) {
                let file = lab
                    .volume(&uid(n), "dumps")
                    .join(format!("app/{n}.{start}"));
                fs::write(file, format!("what start {start} of pod {n} left"))?;
            }
            lab.server.modify(ended(n, start, last, now()));
        }
        last = now();
        // The next second begins, also where a round took longer than it should: a container is not started twice in one, and its times tell no more.
        wait("the next round", || {
            let is_due = began.elapsed() >= round * (start + 1) && now() > last;
            Ok(is_due.then_some(()))
        })?;
    }
    let all = PODS * STARTS as usize;
    let entries = || fs::read_dir(lab.node.state.join("entries")).map(Iterator::count);
    let stored = || Ok::<_, anyhow::Error>(lab.node.crashes()?.len());
    let deadline = Instant::now() + Duration::from_secs(300);
    while stored()? < all || entries()? > 0 {
        ensure!(
            Instant::now() < deadline,
            "{} crashes, {} entries",
            stored()?,
            entries()?
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let manifests = all_manifests(&lab)?;
    ensure!(manifests.len() == all, "{} crashes", manifests.len());
    let mut dumps = 0;
    for ((pod, _), crashes) in by_container(&manifests) {
        let mut numbers: Vec<u64> = Vec::new();
        for crash in crashes {
            let number = crash["container"]["start_number"]
                .as_u64()
                .context("a number")?;
            numbers.push(number);
            ensure!(crash["attribution"]["confidence"] == "exact", "{crash:#}");
            for artifact in crash["artifacts"].as_array().into_iter().flatten() {
                let name = artifact["original_name"].as_str().unwrap_or_default();
                let its = format!("{}.{number}", pod.trim_start_matches("worker-"));
                ensure!(name == its, "{name} is of another start: {crash:#}");
                dumps += 1;
            }
        }
        numbers.sort_unstable();
        ensure!(
            numbers == (0..u64::from(STARTS)).collect::<Vec<_>>(),
            "{pod}: {numbers:?}"
        );
    }
    ensure!(dumps == PODS * DUMPS.len(), "{dumps} dumps met their death");
    let counted: u64 = super::counted(&agent)?.values().sum();
    ensure!(counted == all as u64, "{counted} crashes counted");
    ensure!(lab.server.lists() == 1 && lab.server.watches() == 1);
    let peak = agent.peak_memory()?;
    println!("memory: {before} before, {peak} at the most");
    ensure!(peak < MEMORY, "{peak} bytes of memory");
    lab.ensure_polite()
}

/// Read off the store itself: a command for each would take longer than all the rest.
fn all_manifests(lab: &Lab) -> Result<Vec<Value>> {
    let lines = lab.node.crashes()?;
    lines
        .iter()
        .map(|line| lab.node.manifest_at(line["key"].as_str().context("a key")?))
        .collect()
}
