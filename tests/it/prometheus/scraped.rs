//! Two agents are scraped through crashes of several kinds, a store that fails, and one of them being away; then every expression is asked.
//!
//! ```text
//! node-a   checkout: 3 crashes with dumps    ledger: 2 OOM kills    api: 3 crashes without dumps
//!          batch: 1 exit by a code           worker: 2 ends nobody saw, and one
//!          victim: 1 crash whose dump is taken from the agent while the store is away
//! node-b   checkout: 2 crashes with dumps, and 1 after the agent was started anew in place
//!          cart: 1 crash with a dump that nearly fills the quota while the store is away
//!          two dumps of pods that nobody knows, held: one pod turns out not to be collected from
//! node-c   has no agent, says a stand-in for kube-state-metrics
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::files::{self, BOARDS, board, metrics_of, substituted, text, variables};
use super::shown::{self, When};
use crate::kubernetes::{Lab, now, pod_with_volume, uid};
use crate::s3::{node_for, noise};
use crate::support::agent::{Agent, wait};
use crate::support::http::{Answer, Fake};
use crate::support::kube::{Call, Cut, Ended, Fault, Now, PodBuilder, container_id};
use crate::support::prometheus::{Alert, Prometheus, Sample, Target};
use crate::support::s3::S3Server;

/// Longer than all of this takes: everything that happened lies within.
const WINDOW: &str = "300s";

/// The rules with times of seconds, as nobody waits for ten minutes here. The real ones are tested by `alerts.test.yaml`.
fn hurried_rules() -> Result<String> {
    let mut rules = files::file("dashboards/alerts.yaml")?;
    for (from, to) in [
        ("        for: 10m\n", ""),
        ("        for: 15m\n", ""),
        ("        for: 5m\n", ""),
        ("> 3600\n", "> 1\n"),
        ("[30m]", "[2s]"),
        ("[15m]", "[10s]"),
    ] {
        ensure!(rules.contains(from), "the rules have no {from:?}");
        rules = rules.replace(from, to);
    }
    Ok(rules)
}

/// Of a pod that a StatefulSet made, as all here but checkout's.
fn pod(namespace: &str, workload: &str, name: &str) -> PodBuilder {
    pod_with_volume(namespace, name).owner("StatefulSet", workload)
}

/// Of checkout's Deployment.
fn checkout(name: &str) -> PodBuilder {
    pod_with_volume("shop", name)
        .owner("ReplicaSet", "checkout-5fb6b667cc")
        .label("pod-template-hash", "5fb6b667cc")
}

/// Cannot write where dumps are looked for.
fn pod_without_volume(namespace: &str, workload: &str, name: &str) -> PodBuilder {
    let running = Now::running(now(), &container_id(&uid(name), "app", 0));
    PodBuilder::new(namespace, name, &uid(name))
        .container("app", &[])
        .owner("StatefulSet", workload)
        .status("app", 0, running, None)
}

/// Ends a pod's container.
fn end(lab: &Lab, pod: PodBuilder, name: &str, code: i32, reason: &str) {
    let end = Ended::new(code, reason, now(), &container_id(&uid(name), "app", 0));
    lab.server
        .modify(pod.status("app", 0, Now::Terminated(end), None).build());
}

/// Leaves a dump in a pod's volume.
fn leave(lab: &Lab, name: &str, dump: &[u8]) -> Result<()> {
    let directory = lab.volume(&uid(name), "dumps").join("app");
    fs::create_dir_all(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777))?;
    fs::write(directory.join("core"), dump)?;
    Ok(())
}

/// A pod that comes, crashes and leaves a dump.
fn crash(lab: &Lab, pod: PodBuilder, name: &str, dump: &[u8]) -> Result<()> {
    lab.server.add(pod.build());
    lab.server.wait_until_watched()?;
    leave(lab, name, dump)?;
    end(lab, pod, name, 139, "Error");
    Ok(())
}

/// What is scraped, and who scrapes.
struct Watched {
    store: S3Server,
    labs: [Lab; 2],
    prometheus: Prometheus,
    _nodes: Fake,
}

impl Watched {
    /// Waits until Prometheus gives this value for an expression of one series.
    fn until(&self, expression: &str, value: f64) -> Result<()> {
        let mut last = Vec::new();
        wait(&format!("{expression} to be {value}"), || {
            last = self.prometheus.query(expression)?;
            Ok((last.len() == 1 && last[0].value == value).then_some(()))
        })
        .with_context(|| format!("{last:#?}"))
    }

    /// Waits until an alert fires, and gives it.
    fn fires(&self, name: &str, label: (&str, &str)) -> Result<Alert> {
        let mut last = Vec::new();
        wait(&format!("{name} of {label:?}"), || {
            last = self.prometheus.alerts()?;
            let found = last.iter().find(|alert| {
                alert.fires
                    && alert.labels.get("alertname").is_some_and(|is| is == name)
                    && alert.labels.get(label.0).is_some_and(|is| is == label.1)
            });
            Ok(found.cloned())
        })
        .with_context(|| format!("{:#?}", self.prometheus.rule_errors()))
    }

    /// Waits until an alert is over, whatever it was about.
    fn is_over(&self, name: &str) -> Result<()> {
        let mut last = Vec::new();
        wait(&format!("the end of {name}"), || {
            last = self.prometheus.alerts()?;
            last.retain(|alert| alert.labels.get("alertname").is_some_and(|is| is == name));
            Ok(last.is_empty().then_some(()))
        })
        .with_context(|| format!("{last:#?}"))
    }

    /// Asks every query whose answer is to be seen now, and looks at it.
    fn see(&self, when: When) -> Result<usize> {
        let mut wrong = Vec::new();
        let mut seen = 0;
        for query in files::queries()? {
            let expected = shown::expected(&query)?;
            if expected.when != when {
                continue;
            }
            seen += 1;
            let asked = substituted(&query.expression, WINDOW, WINDOW);
            let answer = self.prometheus.query(&asked)?;
            if let Err(why) = expected.check(&answer) {
                wrong.push(format!(
                    "{} / {} {}: {why:#}\n{}",
                    query.board,
                    query.panel,
                    query.letter,
                    listed(&answer)
                ));
            }
        }
        ensure!(wrong.is_empty(), "{when:?}:\n{}", wrong.join("\n"));
        Ok(seen)
    }
}

fn listed(samples: &[Sample]) -> String {
    let lines = samples
        .iter()
        .map(|sample| format!("  {:?} {}", sample.labels, sample.value));
    lines.collect::<Vec<_>>().join("\n")
}

/// Starts everything, each agent at an address that stays the same.
fn start() -> Result<(Watched, Agent, Agent)> {
    let store = S3Server::start();
    let mut labs = Vec::new();
    for name in ["node-a", "node-b"] {
        let mut node = node_for(&store)?;
        if name == "node-b" {
            node.more = "spool: {max_use: 1MiB, keep_free: 64MiB, keep_free_inodes: 100}".into();
        }
        let kubelet = node.path("kubelet");
        labs.push(Lab::on(node, name, &kubelet, "")?);
    }
    let [a, mut b] = <[Lab; 2]>::try_from(labs).map_err(|_| anyhow::anyhow!("two labs"))?;
    // A pod that opted out: from then on dumps of nobody known are held.
    let out = pod("shop", "out", "out-0").annotation("salvage.dev/collect", "false");
    b.server.add(out.build());
    let (agent_a, agent_b) = (a.start()?, b.start()?);
    b.node.listen = agent_b.address().to_string();
    let nodes = Fake::start(|_| {
        let known = ["node-a", "node-b", "node-c"]
            .map(|node| format!("kube_node_info{{node=\"{node}\",kernel_version=\"6.18\"}} 1\n"));
        Answer::new(200, "text/plain; version=0.0.4", &known.concat())
    });
    let target = |job, address: String, labels| Target {
        job,
        address,
        labels,
    };
    let targets = [
        target(
            "salvage",
            agent_a.address().to_string(),
            &[
                ("cluster", "test"),
                ("node", "node-a"),
                ("namespace", "salvage"),
                ("container", "agent"),
            ],
        ),
        target(
            "salvage",
            agent_b.address().to_string(),
            &[
                ("cluster", "test"),
                ("node", "node-b"),
                ("namespace", "salvage"),
                ("container", "agent"),
            ],
        ),
        target(
            "kube-state-metrics",
            nodes.endpoint().trim_start_matches("http://").to_owned(),
            &[],
        ),
    ];
    let prometheus = Prometheus::start(&targets, &hurried_rules()?)?;
    let watched = Watched {
        store,
        labs: [a, b],
        prometheus,
        _nodes: nodes,
    };
    watched.until("sum(up{job=\"salvage\"})", 2.0)?;
    watched.until("sum(salvage_ready{part=\"store\"})", 2.0)?;
    Ok((watched, agent_a, agent_b))
}

/// Crashes of every kind while all is well.
fn crash_in_many_ways(watched: &Watched) -> Result<()> {
    let [a, b] = &watched.labs;
    for n in 0..3 {
        let name = format!("checkout-{n}");
        crash(a, checkout(&name), &name, name.as_bytes())?;
    }
    for n in 0..2 {
        let name = format!("ledger-{n}");
        let made = pod("shop", "ledger", &name);
        a.server.add(made.build());
        end(a, made, &name, 137, "OOMKilled");
    }
    for n in 0..3 {
        let name = format!("api-{n}");
        let made = pod("shop", "api", &name);
        a.server.add(made.build());
        end(a, made, &name, 139, "Error");
    }
    let batch = pod_without_volume("bank", "batch", "batch-0");
    a.server.add(batch.build());
    end(a, batch, "batch-0", 3, "Error");
    let worker = || pod_without_volume("bank", "worker", "worker-0");
    a.server.add(worker().build());
    a.server.wait_until_watched()?;
    // Two more ends than its status shows.
    let id = |start| container_id(&uid("worker-0"), "app", start);
    let last = Ended::new(3, "Error", now(), &id(2));
    let running = Now::running(now(), &id(3));
    a.server
        .modify(worker().status("app", 3, running, Some(last)).build());
    // One after the other: Prometheus is to see the series at 1 and at 2.
    for n in 0..2 {
        let name = format!("checkout-b{n}");
        crash(b, checkout(&name), &name, name.as_bytes())?;
        watched.until(
            "salvage_crashes_total{node=\"node-b\",workload=\"Deployment/checkout\"}",
            f64::from(n + 1),
        )?;
    }
    for name in ["late-0", "stranger-0"] {
        leave(b, name, name.as_bytes())?;
    }
    watched.until("salvage_held_dumps{node=\"node-b\"}", 2.0)?;
    std::os::unix::fs::symlink("/etc/passwd", b.node.crash().join("link"))?;
    let late = pod("shop", "late", "late-0").annotation("salvage.dev/collect", "false");
    b.server.add(late.build());
    watched.until("salvage_dumps_suppressed_total{node=\"node-b\"}", 1.0)?;
    // All stored but what is held; what ended without a dump has been waited for.
    watched.until("sum(salvage_pending_dumps)", 1.0)?;
    watched.until("sum(salvage_crashes_without_dump_total)", 9.0)?;
    watched.until("sum(salvage_attribution_total)", 13.0)
}

/// The store is away, and so is the API server of node-b.
fn fail(watched: &Watched, agent_a: &Agent) -> Result<()> {
    let [a, b] = &watched.labs;
    watched
        .store
        .answer(500, "InternalError", "the store is away");
    crash(
        b,
        pod("shop", "cart", "cart-0"),
        "cart-0",
        &noise(1, 900 << 10),
    )?;
    crash(a, pod("shop", "victim", "victim-0"), "victim-0", b"victim")?;
    watched.until("salvage_pending_dumps{node=\"node-b\"}", 2.0)?;
    watched.until("salvage_pending_dumps{node=\"node-a\"}", 1.0)?;
    // And a source of node-a is not there.
    fs::remove_dir(a.node.crash())?;
    watched.fires("SalvageStoreFailing", ("node", "node-b"))?;
    watched.fires("SalvageBacklogNotDraining", ("node", "node-b"))?;
    watched.fires("SalvageQuotaNearlyFull", ("node", "node-b"))?;
    // As late as can be: the waits between attempts grow.
    for call in [Call::List, Call::Watch] {
        b.server.fault(call, Fault::Forbidden);
    }
    b.server.cut(Cut::Clean);
    watched.fires("SalvageNotReady", ("part", "pods"))?;
    watched.fires("SalvageNotReady", ("part", "sources"))?;
    // It is looked at every ten seconds.
    watched.until(
        "sum(salvage_spool_room_bytes{node=\"node-b\"} < bool 200e3)",
        1.0,
    )?;
    watched.see(When::Outage)?;

    // Somebody takes a dump that is held.
    for dump in fs::read_dir(a.node.state.join("dumps"))? {
        fs::remove_file(dump?.path())?;
    }
    agent_a.wait_for_metric("salvage_dumps_lost_total{reason=\"vanished\"}", 1.0)?;
    let lost = watched.fires("SalvageDumpLost", ("node", "node-a"))?;
    ensure!(
        lost.labels["cluster"] == "test" && lost.labels["severity"] == "critical",
        "{lost:?}"
    );
    ensure!(
        lost.annotations["description"]
            .starts_with("1 dumps that the agent on node node-a of cluster test held"),
        "{lost:?}"
    );

    fs::create_dir(a.node.crash())?;
    watched.store.healthy();
    // That a watch works again is known by what it says: on a quiet node that is the bookmark of each minute.
    b.server.healthy().wait_until_watched()?.bookmark();
    watched.until("sum(salvage_pending_dumps)", 1.0)?;
    watched.is_over("SalvageStoreFailing")?;
    watched.is_over("SalvageQuotaNearlyFull")?;
    watched.is_over("SalvageNotReady")
}

#[test]
fn every_expression_gives_what_happened() -> Result<()> {
    let (watched, agent_a, agent_b) = start()?;
    crash_in_many_ways(&watched)?;
    watched.fires("SalvageCrashRateJump", ("workload", "Deployment/checkout"))?;
    watched.fires("SalvageCrashesWithoutDump", ("workload", "StatefulSet/api"))?;
    watched.fires("SalvageAgentMissing", ("node", "node-c"))?;
    fail(&watched, &agent_a)?;

    bars_add_up(&watched)?;
    agent_b.stop()?;
    let down = watched.fires("SalvageAgentDown", ("node", "node-b"))?;
    ensure!(down.labels["cluster"] == "test", "{down:?}");
    watched.see(When::Away)?;
    let [_, b] = &watched.labs;
    let agent_b = b.start()?;
    watched.is_over("SalvageAgentDown")?;
    crash(b, checkout("checkout-b2"), "checkout-b2", b"once more")?;
    watched.until(
        "salvage_crashes_total{node=\"node-b\",workload=\"Deployment/checkout\"}",
        1.0,
    )?;
    watched.until(
        "salvage_attribution_total{node=\"node-b\",confidence=\"exact\"}",
        1.0,
    )?;
    watched.see(When::End)?;
    variables_have_values(&watched)?;
    metrics_are_shown(&[&agent_a, &agent_b])?;
    metrics_are_clean(&agent_a)?;
    let errors = watched.prometheus.rule_errors()?;
    ensure!(errors.is_empty(), "{errors:#?}");
    Ok(())
}

/// As a panel asks: at each step, the interval before it. What one bar has no other has. Before an agent is started anew in place: of that a bar of five seconds may see too little to be
/// exact where the machine is too busy to scrape in time.
fn bars_add_up(watched: &Watched) -> Result<()> {
    let query = files::queries()?
        .into_iter()
        .find(|query| query.panel == "Crashes by workload and reason")
        .context("the panel")?;
    let asked = substituted(&query.expression, WINDOW, "5s");
    let total: f64 = watched
        .prometheus
        .range(&asked, 300, 5)?
        .into_iter()
        .filter(|(labels, _)| labels["workload"] == "Deployment/checkout")
        .flat_map(|(_, values)| values)
        .sum();
    ensure!(total == 5.0, "the bars of checkout add up to {total}");
    Ok(())
}

fn variables_have_values(watched: &Watched) -> Result<()> {
    let mut seen = BTreeMap::new();
    for name in BOARDS {
        for variable in &variables(&board(name)?)?[1..] {
            let query = text(&variable["definition"])?;
            let (selector, label) = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')'))
                .and_then(|rest| rest.rsplit_once(", "))
                .with_context(|| query.clone())?;
            let values = watched
                .prometheus
                .label_values(&substituted(selector, WINDOW, WINDOW), label)?;
            seen.insert(text(&variable["name"])?, values);
        }
    }
    ensure!(seen["cluster"] == ["test"], "{seen:?}");
    ensure!(seen["node"] == ["node-a", "node-b"], "{seen:?}");
    ensure!(seen["namespace"] == ["bank", "shop"], "{seen:?}");
    ensure!(
        seen["workload"].contains(&"Deployment/checkout".into()) && seen["workload"].len() == 7,
        "{seen:?}"
    );
    Ok(())
}

/// Every metric that an agent has is in a panel or an alert, and every metric of ours in those is one that an agent has.
fn metrics_are_shown(agents: &[&Agent]) -> Result<()> {
    let mut exposed = BTreeSet::new();
    for agent in agents {
        let (_, said) = agent.http("/metrics")?;
        let types = said.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        for (name, kind) in types.filter_map(|line| line.split_once(' ')) {
            exposed.insert((name.to_owned(), kind.to_owned()));
        }
    }
    let mut read = BTreeSet::new();
    for query in files::queries()? {
        read.extend(metrics_of(&substituted(&query.expression, "5m", "1m"))?);
    }
    for rule in files::rules()? {
        read.extend(metrics_of(&rule.expression)?);
    }
    let parts = |name: &str, kind: &str| -> Vec<String> {
        match kind {
            "histogram" => ["_bucket", "_sum", "_count"]
                .map(|part| format!("{name}{part}"))
                .into(),
            _ => vec![name.to_owned()],
        }
    };
    let unseen: Vec<_> = exposed
        .iter()
        .filter(|(name, kind)| !parts(name, kind).iter().any(|part| read.contains(part)))
        .collect();
    ensure!(unseen.is_empty(), "nobody shows {unseen:?}");
    let known: BTreeSet<String> = exposed
        .iter()
        .flat_map(|(name, kind)| parts(name, kind))
        .collect();
    let invented: Vec<_> = read
        .iter()
        .filter(|name| name.starts_with("salvage_") && !known.contains(*name))
        .collect();
    ensure!(invented.is_empty(), "no agent has {invented:?}");
    Ok(())
}

fn metrics_are_clean(agent: &Agent) -> Result<()> {
    let (_, said) = agent.http("/metrics")?;
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("stdin")?
        .write_all(said.as_bytes())?;
    let output = child.wait_with_output()?;
    let text = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success() && text.is_empty(),
        "{}",
        String::from_utf8_lossy(&text)
    );
    Ok(())
}
