//! What a real node's statuses prove, whatever way they reach the agent.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Lab, by_container, counted, now};
use crate::support::agent::{Agent, wait};
use crate::support::kube::{Cut, Order, Recorded};

/// The crashes of the recorded two minutes, by container: exit code, and the numbers of the starts that ended so. Read by hand off
/// `tests/data/kubernetes/pod-watch.ndjson`, from each `terminated` with the `restartCount` and `containerID` beside it:
///
/// - checkout's `api` runs into a SIGSEGV every time: containers 3299f9, 1e0683, ffb6c3, 83ce6c, d16173 (lines 27, 34, 47, 75, 98); its `sidecar` runs on.
/// - ledger's `db` is killed for its memory: c6a585, 705dc2, d25dc7, 73cd17, 5e9358 (31, 35, 46, 63, 92); its init container `warmup` ends well.
/// - bad-init's init container `migrate` exits with 3: 928e5c, 9c7d46, 1765ac, c336ad, 2b59fb (21, 26, 38, 50, 78); its `main` never starts.
/// - guaranteed's `main` exits with 3: a24ad4, 4648bd, a2475a, 8a153a (28, 33, 45, 64), is deleted after that (79) and goes (83) without a fifth end.
/// - The CronJob's four pods end once each, by `abort()` as the first process of their container, which ends it with 139: 3caaf2, 7b9fea, 6230a5, 15a2c2
///   (55, 71, 90, 102). Two of them are deleted a minute later (105, 106).
/// - finisher's `main` ends well (20).
const PROVEN: [(&str, &str, i64, u64); 8] = [
    ("checkout-5fb6b667cc-7l7bl", "api", 139, 5),
    ("ledger-0", "db", 137, 5),
    ("bad-init", "migrate", 3, 5),
    ("guaranteed", "main", 3, 4),
    ("report-29920176-mnk95", "run", 139, 1),
    ("report-29920176-bxczz", "run", 139, 1),
    ("report-29920177-mvxns", "run", 139, 1),
    ("report-29920177-6mcdf", "run", 139, 1),
];

const ALL: usize = 23;

fn lab() -> Result<(Lab, Recorded)> {
    let recorded = Recorded::load()?.shifted_to(now());
    Ok((Lab::of(Recorded::NODE)?, recorded))
}

/// Every crash is what the statuses prove, and stored once.
fn ensure_proven(manifests: &[Value]) -> Result<()> {
    let stored = by_container(manifests);
    let expected: BTreeSet<_> = PROVEN
        .iter()
        .map(|(pod, container, ..)| ((*pod).to_owned(), (*container).to_owned()))
        .collect();
    ensure!(
        stored.keys().cloned().collect::<BTreeSet<_>>() == expected,
        "{:?}",
        stored.keys()
    );
    for (pod, container, code, count) in PROVEN {
        let crashes = &stored[&(pod.to_owned(), container.to_owned())];
        let numbers: BTreeSet<u64> = crashes
            .iter()
            .filter_map(|crash| crash["container"]["start_number"].as_u64())
            .collect();
        ensure!(
            numbers == (0..count).collect(),
            "{pod}/{container}: starts {numbers:?}"
        );
        let ids: BTreeSet<&str> = crashes
            .iter()
            .filter_map(|crash| crash["container"]["id"].as_str())
            .collect();
        ensure!(
            ids.len() == crashes.len(),
            "{pod}/{container}: containers {ids:?}"
        );
        for crash in crashes {
            ensure!(crash["exit_code"] == code, "{crash:#}");
            ensure!(crash["attribution"]["confidence"] == "exact", "{crash:#}");
            let oom = pod == "ledger-0";
            ensure!(crash["oom_killed"] == oom, "{crash:#}");
            let reason = match code {
                139 => "SIGSEGV",
                137 => "OOMKilled",
                _ => "ExitCode",
            };
            ensure!(crash["reason"] == reason, "{crash:#}");
            let why = if oom { "oom_killed" } else { "no_source" };
            // checkout mounts another directory than the one that is watched here.
            ensure!(crash["missing"][0]["why"] == why, "{crash:#}");
        }
    }
    Ok(())
}

fn replay(lab: &Lab, events: &[Value]) {
    for event in events {
        lab.server.replay(event);
    }
}

fn ensure_counted(agent: &Agent) -> Result<()> {
    let key = |container: &str, reason: &str| {
        ("shop".to_owned(), container.to_owned(), reason.to_owned())
    };
    let expected = BTreeMap::from([
        (key("api", "SIGSEGV"), 5),
        (key("db", "OOMKilled"), 5),
        (key("migrate", "ExitCode"), 5),
        (key("main", "ExitCode"), 4),
        (key("run", "SIGSEGV"), 4),
    ]);
    let counted = counted(agent)?;
    ensure!(counted == expected, "{counted:#?}");
    ensure!(agent.metric("salvage_terminations_unseen_total")? == 0.0);
    Ok(())
}

#[test]
fn a_recorded_watch_gives_the_crashes_that_its_statuses_prove() -> Result<()> {
    let (lab, recorded) = lab()?;
    let agent = lab.start()?;
    recorded.replay_into(&lab.server);
    ensure_proven(&lab.settled(&agent, ALL)?)?;
    ensure_counted(&agent)?;
    ensure!(lab.server.lists() == 1 && lab.server.watches() == 1);
    lab.ensure_polite()
}

#[test]
fn an_agent_that_is_stopped_all_the_time_counts_the_same() -> Result<()> {
    let (lab, recorded) = lab()?;
    for (round, events) in recorded.events.chunks(10).enumerate() {
        let agent = lab.start()?;
        replay(&lab, events);
        lab.server.wait_until_watched()?;
        // Every other time it has no time to finish anything.
        match round % 2 {
            0 => agent.stop()?,
            _ => agent.kill()?,
        }
    }
    let agent = lab.start()?;
    ensure_proven(&lab.settled(&agent, ALL)?)?;
    lab.ensure_polite()
}

#[test]
fn updates_that_are_repeated_swapped_and_cut_off_change_nothing() -> Result<()> {
    let (lab, recorded) = lab()?;
    let agent = lab.start()?;
    lab.server.order(Order {
        twice: true,
        swapped: true,
        repeat_old: true,
    });
    for (n, event) in recorded.events.iter().enumerate() {
        lab.server.replay(event);
        match n % 30 {
            9 => {
                lab.server.cut(Cut::MidLine);
            }
            19 => {
                lab.server.cut(Cut::Broken);
            }
            29 => {
                // What it has not heard of by then, nobody would have kept for it.
                lab.server.wait_until_watched()?.compact().say_error(410);
                let lists = lab.server.lists();
                lab.server
                    .wait_until("a new list", |server| server.lists() > lists)?
                    .wait_until_watched()?;
            }
            _ => {}
        }
    }
    ensure_proven(&lab.settled(&agent, ALL)?)?;
    ensure!(lab.server.lists() > 1, "no list was asked for again");
    lab.ensure_polite()
}

#[test]
fn ends_that_no_update_showed_are_one_crash_with_their_number() -> Result<()> {
    let (lab, recorded) = lab()?;
    // The agent has seen the pods made, and is away until the last state.
    let (first, rest) = recorded.events.split_at(20);
    replay(&lab, first);
    let agent = lab.start()?;
    // Its list had the pods; some of their ends are told while it watches.
    let (seen, missed) = rest.split_at(8);
    replay(&lab, seen);
    lab.server.wait_until_watched()?;
    agent.stop()?;
    replay(&lab, missed);
    let agent = lab.start()?;
    wait("the last end of ledger-0", || {
        let manifests = lab.manifests()?;
        Ok(by_container(&manifests)
            .get(&("ledger-0".into(), "db".into()))
            .is_some_and(|crashes| crashes.len() == 3)
            .then_some(()))
    })?;
    let manifests = lab.manifests()?;
    let all = by_container(&manifests);
    let crashes = &all[&("ledger-0".to_owned(), "db".to_owned())];
    let unseen = crashes
        .iter()
        .find(|crash| crash["reason"] == "Unseen")
        .context("what nobody saw")?;
    ensure!(
        unseen["kind"] == "rollup" && unseen["rollup"]["count"] == 3,
        "{unseen:#}"
    );
    ensure!(unseen["container"]["start_number"] == 2, "{unseen:#}");
    let total: u64 = crashes
        .iter()
        .map(|crash| crash["rollup"]["count"].as_u64().unwrap_or(1))
        .sum();
    ensure!(total == 5, "{crashes:#?}");
    ensure!(agent.metric("salvage_terminations_unseen_total")? >= 3.0);
    Ok(())
}
