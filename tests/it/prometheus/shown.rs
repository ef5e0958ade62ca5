//! What every query of every panel has to answer in the story of [`super::scraped`]: when, with which labels, and which values.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use super::files::Query;
use crate::support::prometheus::Sample;

/// When an answer is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// While the store takes nothing and node-b's pods cannot be watched.
    Outage,
    /// While node-b's agent is away.
    Away,
    /// When all is well again.
    End,
}

/// What the values have to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holds {
    /// Each series that has all of these label values, by each line one, has that value; and there are no others.
    Exactly(&'static [(&'static [&'static str], f64)]),
    /// There is a series with all of these label values, and its value lies between.
    Among(&'static [&'static str], f64, f64),
}

use Holds::{Among, Exactly};
use When::{Away, End, Outage};

/// What a query has to answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) when: When,
    /// The labels of each series, all of them.
    labels: &'static [&'static str],
    holds: Holds,
}

const WORKLOAD: &[&str] = &["cluster", "namespace", "workload"];
const KIND: &[&str] = &["cluster", "namespace", "workload", "reason"];
const NODE: &[&str] = &["cluster", "node"];
const PART: &[&str] = &["cluster", "node", "part"];
const NO: &[&str] = &[];
/// For what is a time or a size: anything but nothing.
const MOST: f64 = 1e15;

const CRASHES: &[(&[&str], f64)] = &[
    (&["shop", "Deployment/checkout"], 6.0),
    (&["shop", "StatefulSet/ledger"], 2.0),
    (&["shop", "StatefulSet/api"], 3.0),
    (&["bank", "StatefulSet/batch"], 1.0),
    (&["bank", "StatefulSet/worker"], 3.0),
    (&["shop", "StatefulSet/victim"], 1.0),
    (&["shop", "StatefulSet/cart"], 1.0),
];

const KINDS: &[(&[&str], f64)] = &[
    (&["Deployment/checkout", "SIGSEGV"], 6.0),
    (&["StatefulSet/ledger", "OOMKilled"], 2.0),
    (&["StatefulSet/api", "SIGSEGV"], 3.0),
    (&["StatefulSet/batch", "ExitCode"], 1.0),
    (&["StatefulSet/worker", "ExitCode"], 1.0),
    (&["StatefulSet/worker", "Unseen"], 2.0),
    (&["StatefulSet/victim", "SIGSEGV"], 1.0),
    (&["StatefulSet/cart", "SIGSEGV"], 1.0),
];

const WITHOUT: &[(&[&str], f64)] = &[
    (&["StatefulSet/ledger"], 2.0),
    (&["StatefulSet/api"], 3.0),
    (&["StatefulSet/batch"], 1.0),
    (&["StatefulSet/worker"], 3.0),
];

const NOT_READY: &[(&[&str], f64)] = &[(&["node-a", "sources"], 0.0), (&["node-b", "pods"], 0.0)];

/// Board, panel, letter; when, labels, values.
type Line = (
    &'static str,
    &'static str,
    &'static str,
    When,
    &'static [&'static str],
    Holds,
);

const TABLE: &[Line] = &[
    ("crashes", "Crashes", "A", End, NO, Exactly(&[(NO, 17.0)])),
    (
        "crashes",
        "Workloads that crash",
        "A",
        End,
        NO,
        Exactly(&[(NO, 7.0)]),
    ),
    (
        "crashes",
        "New kinds of crash",
        "A",
        End,
        NO,
        Exactly(&[(NO, 8.0)]),
    ),
    (
        "crashes",
        "In a crash loop now",
        "A",
        End,
        NO,
        Exactly(&[(NO, 3.0)]),
    ),
    (
        "crashes",
        "Share without a dump",
        "A",
        End,
        NO,
        Exactly(&[(NO, 9.0 / 17.0)]),
    ),
    (
        "crashes",
        "Dumps that are missing",
        "A",
        End,
        NO,
        Exactly(&[(NO, 3.0 / 11.0)]),
    ),
    (
        "crashes",
        "Crashes by workload and reason",
        "A",
        End,
        KIND,
        Exactly(KINDS),
    ),
    (
        "crashes",
        "Crashes by reason",
        "A",
        End,
        &["reason"],
        Exactly(&[
            (&["SIGSEGV"], 11.0),
            (&["OOMKilled"], 2.0),
            (&["ExitCode"], 2.0),
            (&["Unseen"], 2.0),
        ]),
    ),
    (
        "crashes",
        "Crash loops",
        "A",
        End,
        WORKLOAD,
        Exactly(&[
            (&["Deployment/checkout"], 6.0),
            (&["StatefulSet/api"], 3.0),
            (&["StatefulSet/worker"], 3.0),
        ]),
    ),
    (
        "crashes",
        "Top crashers",
        "A",
        End,
        WORKLOAD,
        Exactly(CRASHES),
    ),
    (
        "crashes",
        "Top crashers",
        "B",
        End,
        WORKLOAD,
        Exactly(WITHOUT),
    ),
    ("crashes", "First seen", "A", End, KIND, Exactly(KINDS)),
    (
        "crashes",
        "First seen",
        "B",
        End,
        KIND,
        Among(&["StatefulSet/api", "SIGSEGV"], 1e12, MOST),
    ),
    (
        "crashes",
        "With and without a dump, and why",
        "A",
        End,
        NO,
        Exactly(&[(NO, 8.0)]),
    ),
    (
        "crashes",
        "With and without a dump, and why",
        "B",
        End,
        &["why"],
        Exactly(&[
            (&["oom_killed"], 2.0),
            (&["not_written"], 3.0),
            (&["no_source"], 4.0),
        ]),
    ),
    (
        "crashes",
        "Missing dumps by workload",
        "A",
        End,
        WORKLOAD,
        Exactly(&[
            (&["Deployment/checkout"], 6.0),
            (&["StatefulSet/api"], 3.0),
            (&["StatefulSet/victim"], 1.0),
            (&["StatefulSet/cart"], 1.0),
        ]),
    ),
    (
        "crashes",
        "Missing dumps by workload",
        "B",
        End,
        WORKLOAD,
        Exactly(&[(&["StatefulSet/api"], 3.0)]),
    ),
    (
        "crashes",
        "Missing dumps by workload",
        "C",
        End,
        WORKLOAD,
        Exactly(&[(&["StatefulSet/api"], 1.0)]),
    ),
    //
    (
        "pipeline",
        "Pending dumps",
        "A",
        Outage,
        NO,
        Exactly(&[(NO, 3.0)]),
    ),
    (
        "pipeline",
        "Oldest that waits",
        "A",
        Outage,
        NO,
        Among(NO, 0.0, 120.0),
    ),
    (
        "pipeline",
        "Held dumps",
        "A",
        Outage,
        NO,
        Exactly(&[(NO, 1.0)]),
    ),
    (
        "pipeline",
        "Dumps stored",
        "A",
        End,
        NO,
        Among(NO, 6.0, 8.0),
    ),
    (
        "pipeline",
        "Dumps lost",
        "A",
        End,
        NO,
        Exactly(&[(NO, 1.0)]),
    ),
    (
        "pipeline",
        "Last stored",
        "A",
        End,
        NO,
        Among(NO, 1e12, MOST),
    ),
    (
        "pipeline",
        "Pending and held dumps",
        "A",
        Outage,
        &["cluster"],
        Exactly(&[(&["test"], 3.0)]),
    ),
    (
        "pipeline",
        "Pending and held dumps",
        "B",
        Outage,
        &["cluster"],
        Exactly(&[(&["test"], 1.0)]),
    ),
    (
        "pipeline",
        "Age of the oldest dump that waits",
        "A",
        Outage,
        NODE,
        Among(&["node-b"], 0.0, 120.0),
    ),
    (
        "pipeline",
        "Quota in use",
        "A",
        Outage,
        NODE,
        Among(&["node-b"], 0.8, 1.0),
    ),
    (
        "pipeline",
        "Room for further dumps",
        "A",
        Outage,
        NODE,
        Among(&["node-b"], 1.0, 200e3),
    ),
    (
        "pipeline",
        "Dumps stored by format",
        "A",
        End,
        &["format"],
        Among(&["unknown"], 6.0, 8.0),
    ),
    (
        "pipeline",
        "Bytes raw and stored",
        "A",
        End,
        NO,
        Among(NO, 900e3, 1e6),
    ),
    (
        "pipeline",
        "Bytes raw and stored",
        "B",
        End,
        NO,
        Among(NO, 900e3, 1e6),
    ),
    (
        "pipeline",
        "Raw to stored",
        "A",
        End,
        NO,
        Among(NO, 0.9, 1.1),
    ),
    (
        "pipeline",
        "Time from the crash until it is stored",
        "A",
        End,
        NO,
        Among(NO, 0.0, 60.0),
    ),
    (
        "pipeline",
        "Time from the crash until it is stored",
        "B",
        End,
        NO,
        Among(NO, 0.0, 60.0),
    ),
    (
        "pipeline",
        "Time from the crash until it is stored",
        "C",
        End,
        NO,
        Among(NO, 0.0, 60.0),
    ),
    (
        "pipeline",
        "Duration of each step",
        "A",
        End,
        &["phase"],
        Among(&["upload"], 0.0, 60.0),
    ),
    (
        "pipeline",
        "Store errors by operation",
        "A",
        Outage,
        &["operation", "outcome"],
        Among(&["put", "failed"], 1.0, 1e3),
    ),
    (
        "pipeline",
        "Retries",
        "A",
        Outage,
        &["class"],
        Among(&["transient"], 1.0, 1e3),
    ),
    (
        "pipeline",
        "Store requests by operation",
        "A",
        End,
        &["operation"],
        Among(&["put"], 0.01, 1e3),
    ),
    (
        "pipeline",
        "Store latency by operation",
        "A",
        End,
        &["operation"],
        Among(&["put"], 0.0, 10.0),
    ),
    (
        "pipeline",
        "Lost, gone, suppressed",
        "A",
        End,
        &["reason"],
        Exactly(&[(&["vanished"], 1.0)]),
    ),
    (
        "pipeline",
        "Lost, gone, suppressed",
        "B",
        End,
        NO,
        Exactly(&[(NO, 0.0)]),
    ),
    (
        "pipeline",
        "Lost, gone, suppressed",
        "C",
        End,
        &["why"],
        Among(&["not_selected"], 1.0, 1.2),
    ),
    (
        "pipeline",
        "Files and directories passed over",
        "A",
        End,
        &["kind"],
        // A source that comes back is scanned anew, and what lies in it passed over once more.
        Among(&["symlink"], 1.0, 2.3),
    ),
    (
        "pipeline",
        "Directories of gone pods removed",
        "A",
        End,
        &["cluster"],
        Exactly(&[(&["test"], 0.0)]),
    ),
    (
        "pipeline",
        "Kubernetes Events",
        "A",
        End,
        &["outcome"],
        Among(&["sent"], 5.0, 20.0),
    ),
    // Nobody takes a capture here: what is counted is 0, and of no pauses there are no quantiles.
    (
        "pipeline",
        "Captures taken",
        "A",
        End,
        &["kind"],
        Exactly(&[
            (&["dump"], 0.0),
            (&["gcdump"], 0.0),
            (&["trace"], 0.0),
            (&["counters"], 0.0),
        ]),
    ),
    (
        "pipeline",
        "Captures that failed",
        "A",
        End,
        &["outcome"],
        Among(&["PermissionDenied"], 0.0, 0.0),
    ),
    (
        "pipeline",
        "Pauses for captures",
        "A",
        End,
        &["kind"],
        Exactly(&[]),
    ),
    (
        "pipeline",
        "Pauses for captures",
        "B",
        End,
        &["kind"],
        Exactly(&[]),
    ),
    (
        "pipeline",
        "Pauses for captures",
        "C",
        End,
        &["kind"],
        Exactly(&[]),
    ),
    (
        "pipeline",
        "Time stood still for captures",
        "A",
        End,
        &["kind"],
        Exactly(&[
            (&["dump"], 0.0),
            (&["gcdump"], 0.0),
            (&["trace"], 0.0),
            (&["counters"], 0.0),
        ]),
    ),
    //
    ("fleet", "Agents up", "A", End, NO, Exactly(&[(NO, 2.0)])),
    ("fleet", "Agents down", "A", Away, NO, Exactly(&[(NO, 1.0)])),
    ("fleet", "Nodes", "A", End, NO, Exactly(&[(NO, 3.0)])),
    (
        "fleet",
        "Nodes without an agent",
        "A",
        End,
        NO,
        Exactly(&[(NO, 1.0)]),
    ),
    (
        "fleet",
        "Agents not ready",
        "A",
        Outage,
        NO,
        Exactly(&[(NO, 2.0)]),
    ),
    (
        "fleet",
        "Ends nobody saw",
        "A",
        End,
        NO,
        Among(NO, 2.0, 2.4),
    ),
    (
        "fleet",
        "Agents",
        "A",
        Away,
        NODE,
        Exactly(&[(&["node-a"], 1.0), (&["node-b"], 0.0)]),
    ),
    (
        "fleet",
        "Parts that are not ready",
        "A",
        Outage,
        PART,
        Exactly(NOT_READY),
    ),
    (
        "fleet",
        "Versions",
        "A",
        End,
        &["version"],
        Exactly(&[(&[env!("CARGO_PKG_VERSION")], 2.0)]),
    ),
    (
        "fleet",
        "Nodes without an agent by name",
        "A",
        End,
        NODE,
        Exactly(&[(&["test", "node-c"], 1.0)]),
    ),
    (
        "fleet",
        "Parts that are not ready, by node",
        "A",
        Outage,
        PART,
        Exactly(NOT_READY),
    ),
    (
        "fleet",
        "Nodes with errors",
        "A",
        Outage,
        NODE,
        Among(&["node-b"], 1.0, 100.0),
    ),
    (
        "fleet",
        "Nodes with errors",
        "B",
        End,
        NODE,
        Among(&["node-b"], 1.0, 10.0),
    ),
    (
        "fleet",
        "Nodes with errors",
        "C",
        End,
        NODE,
        Among(&["node-a"], 1.0, 5.0),
    ),
    (
        "fleet",
        "Failures of watching pods",
        "A",
        Outage,
        NODE,
        Among(&["node-b"], 1.0, 100.0),
    ),
    (
        "fleet",
        "Files and directories passed over",
        "A",
        End,
        NODE,
        Among(&["node-b"], 1.0, 10.0),
    ),
    (
        "fleet",
        "Scans by what caused them",
        "A",
        End,
        &["why"],
        Among(&["event"], 1.0, 1e3),
    ),
    (
        "fleet",
        "Attribution of stored crashes",
        "A",
        End,
        &["confidence"],
        Among(&["exact"], 10.0, 20.0),
    ),
    (
        "fleet",
        "Attribution in this time range",
        "A",
        End,
        &["confidence"],
        Among(&["exact"], 10.0, 20.0),
    ),
    (
        "fleet",
        "Ends nobody saw, by node",
        "A",
        End,
        NODE,
        Among(&["node-a"], 2.0, 2.4),
    ),
];

/// The one line about a query.
pub(super) fn expected(query: &Query) -> Result<Expected> {
    let mut lines = TABLE
        .iter()
        .filter(|line| (line.0, line.1, line.2) == (query.board, &query.panel, &query.letter));
    let line = lines
        .next()
        .with_context(|| format!("no line about {query:?}"))?;
    ensure!(lines.next().is_none(), "two lines about {query:?}");
    Ok(Expected {
        when: line.3,
        labels: line.4,
        holds: line.5,
    })
}

impl Expected {
    /// Whether an answer is what it has to be.
    pub(super) fn check(&self, answer: &[Sample]) -> Result<()> {
        let labels: BTreeSet<&str> = self.labels.iter().copied().collect();
        for sample in answer {
            let has: BTreeSet<&str> = sample.labels.keys().map(String::as_str).collect();
            ensure!(has == labels, "labels {has:?} instead of {labels:?}");
        }
        let with = |values: &[&str]| -> Result<f64> {
            let mut found = answer.iter().filter(|sample| {
                let has: BTreeSet<&str> = sample.labels.values().map(String::as_str).collect();
                values.iter().all(|value| has.contains(value))
            });
            let one = found
                .next()
                .with_context(|| format!("nothing of {values:?}"))?;
            ensure!(found.next().is_none(), "more than one of {values:?}");
            Ok(one.value)
        };
        match self.holds {
            Exactly(all) => {
                for (values, value) in all {
                    let is = with(values)?;
                    ensure!(
                        (is - value).abs() < 1e-9,
                        "{values:?} is {is} and not {value}"
                    );
                }
                ensure!(
                    answer.len() == all.len(),
                    "{} series instead of {}",
                    answer.len(),
                    all.len()
                );
            }
            Among(values, least, most) => {
                let is = with(values)?;
                ensure!(
                    (least..=most).contains(&is),
                    "{values:?} is {is}, not in {least}..={most}"
                );
            }
        }
        Ok(())
    }
}

#[test]
fn every_line_is_about_a_query_that_there_is() -> Result<()> {
    let queries = super::files::queries()?;
    for query in &queries {
        expected(query)?;
    }
    ensure!(
        queries.len() == TABLE.len(),
        "{} queries, {} lines",
        queries.len(),
        TABLE.len()
    );
    Ok(())
}
