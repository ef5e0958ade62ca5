//! `salvage doctor`: would there be a dump, and if not, why?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::Outcome;
use super::output::print;
use super::store::StoreArgs;
use super::table::{Align, Table};
use crate::config::Surroundings;
use crate::doctor::{
    self, Answer, Finding, Judged, Laptop, PodName, Report, Scope, Verdict, summary,
};
use crate::model::Escaped;

/// Where an agent's configuration is in its pod.
const IN_A_POD: &str = "/etc/salvage/salvage.yaml";

/// Most names that stand for others of their kind.
const NAMES_SHOWN: usize = 3;

/// Find out whether a pod that died now would leave a dump, and if not, why.
///
/// Beside an agent (in its pod, or with --config on a node) it looks at configuration, agent, store, sources, capabilities, limits and
/// room, and at the node's pods. It disturbs no agent: it locks nothing and writes nothing but one small object into the store.
///
/// Elsewhere it takes the kubeconfig's current context and looks at the agents' DaemonSet and nodes, at what each agent says of itself,
/// at the store as you, and at everybody's pods. What you may not see is skipped, with the right that it takes.
///
/// With a POD it answers for that one, container by container. docs/doctor.md has every check, and the form of -o json.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes:
  0    a dump would come; there may be warnings
  1    something keeps dumps from coming
  2    nothing could be examined: wrong usage, a configuration that cannot be read, no cluster, no rights")]
pub(super) struct Args {
    /// Answer for this pod.
    #[arg(value_name = "POD")]
    pod: Option<String>,
    /// Only pods of this namespace; with POD its namespace, else the context's.
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    /// The agent's configuration file; /etc/salvage/salvage.yaml where that is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the agents are, from a laptop; every namespace is searched when absent.
    #[arg(long, value_name = "NS", conflicts_with = "config")]
    agent_namespace: Option<String>,
    /// A table for people, or one JSON object.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Every container on a line of its own.
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Examines, prints, and says by its code what came of it.
pub(super) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let scope = scope(args.pod, args.namespace).await?;
    let in_a_pod = || Some(PathBuf::from(IN_A_POD)).filter(|path| path.exists());
    let report = match args.config.or_else(in_a_pod) {
        Some(config) => on_node(&config, &scope).await?,
        None => {
            if let Some(name) = &args.agent_namespace {
                check_name("--agent-namespace", name)?;
            }
            let laptop = Laptop {
                agent_namespace: args.agent_namespace,
                store: args.store.config()?,
                scope: scope.clone(),
            };
            let examined = doctor::of_cluster(&laptop).await;
            examined
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("no --config, no {IN_A_POD}, and no cluster to examine"))?
        }
    };
    let text = match args.output {
        Format::Json => {
            let mut text = serde_json::to_string(&report)?;
            text.push('\n');
            text
        }
        Format::Table => shown(&report, &scope, args.verbose),
    };
    print(&text)?;
    Ok(outcome(&report, &scope))
}

/// A pod that was asked for and could not be looked at is not answered for by what else was.
fn outcome(report: &Report, scope: &Scope) -> Outcome {
    match report.worst() {
        Verdict::Ok | Verdict::Warn | Verdict::Skipped
            if matches!(scope, Scope::Pod(_)) && report.pods.is_empty() =>
        {
            Outcome::Trouble
        }
        Verdict::Ok | Verdict::Warn => Outcome::Done,
        Verdict::Fail => Outcome::Nothing,
        Verdict::Skipped => Outcome::Trouble,
    }
}

async fn on_node(config: &Path, scope: &Scope) -> anyhow::Result<Report> {
    Ok(doctor::on_node(config, &Surroundings::of_this_process(), scope).await?)
}

async fn scope(pod: Option<String>, namespace: Option<String>) -> anyhow::Result<Scope> {
    if let Some(namespace) = &namespace {
        check_name("--namespace", namespace)?;
    }
    Ok(match (pod, namespace) {
        (None, None) => Scope::All,
        (None, Some(namespace)) => Scope::Namespace(namespace),
        (Some(name), namespace) => {
            check_name("POD", &name)?;
            let namespace = match namespace {
                Some(namespace) => namespace,
                None => doctor::namespace_of_context().await,
            };
            Scope::Pod(PodName { namespace, name })
        }
    })
}

/// It becomes part of a request's path.
fn check_name(what: &str, name: &str) -> anyhow::Result<()> {
    let fit = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.');
    if name.is_empty() || name.len() > 253 || name.starts_with('.') || !name.bytes().all(fit) {
        bail!("{what}: a name has lower-case letters, digits, '-' and '.', and nothing else");
    }
    Ok(())
}

fn shown(report: &Report, scope: &Scope, verbose: bool) -> String {
    let mut text = checks(&report.checks);
    if !report.pods.is_empty() {
        text.push('\n');
        text.push_str(&match scope {
            Scope::Pod(_) => detail(&report.pods),
            _ if verbose => every(&report.pods),
            _ => grouped(&report.pods),
        });
    }
    let count = |verdict| report.count(verdict);
    text.push_str(&format!(
        "\n{} ok, {} skipped, {} warnings, {} failed\n",
        count(Verdict::Ok),
        count(Verdict::Skipped),
        count(Verdict::Warn),
        count(Verdict::Fail)
    ));
    text
}

/// A line for each finding and one for its remedy; findings that differ only in whom they are about share them.
fn checks(findings: &[Finding]) -> String {
    let mut rows: Vec<[String; 4]> = Vec::new();
    let mut rest = findings;
    while let Some(first) = rest.first() {
        let same = |f: &&Finding| {
            (f.id, f.verdict, &f.cause, &f.remedy)
                == (first.id, first.verdict, &first.cause, &first.remedy)
        };
        let many = rest.iter().take_while(same).count();
        let subjects: Vec<String> = rest[..many].iter().map(|f| f.subject.clone()).collect();
        rows.push([
            first.verdict.name().to_owned(),
            first.id.to_owned(),
            some(&subjects),
            first.cause.clone(),
        ]);
        if !first.remedy.is_empty() {
            let nothing = String::new;
            rows.push([
                nothing(),
                nothing(),
                nothing(),
                format!("do: {}", first.remedy),
            ]);
        }
        rest = &rest[many..];
    }
    let left = |name| (name, Align::Left);
    let mut table = Table::new([
        left("VERDICT"),
        left("CHECK"),
        left("SUBJECT"),
        left("FOUND"),
    ]);
    table.rows(&rows)
}

/// The first of many names, and how many there are besides.
fn some(names: &[String]) -> String {
    // "and 1 more" would take the place of that one.
    if names.len() <= NAMES_SHOWN + 1 {
        return names.join(", ");
    }
    let more = names.len() - NAMES_SHOWN;
    format!("{} and {more} more", names[..NAMES_SHOWN].join(", "))
}

fn name(judged: &Judged) -> String {
    format!("{}/{} ({})", judged.namespace, judged.pod, judged.container)
}

/// Containers by what stands against their dumps, the worst first. One with several reasons is told with each.
fn grouped(pods: &[Judged]) -> String {
    let mut groups: BTreeMap<(std::cmp::Reverse<Verdict>, &str), Vec<String>> = BTreeMap::new();
    for judged in pods {
        let key = |reason| (std::cmp::Reverse(judged.verdict), reason);
        if judged.reasons.is_empty() {
            groups.entry(key("")).or_default().push(name(judged));
        }
        for reason in &judged.reasons {
            groups.entry(key(reason.id)).or_default().push(name(judged));
        }
    }
    let mut rows: Vec<[String; 5]> = Vec::new();
    for ((verdict, reason), names) in &groups {
        let (cause, remedy) = summary(reason);
        let cause = match reason.is_empty() {
            true => "would leave a dump",
            false => cause,
        };
        rows.push([
            verdict.0.name().to_owned(),
            (*reason).to_owned(),
            names.len().to_string(),
            some(names),
            cause.to_owned(),
        ]);
        if !remedy.is_empty() {
            let nothing = String::new;
            rows.push([
                nothing(),
                nothing(),
                nothing(),
                nothing(),
                format!("do: {remedy}"),
            ]);
        }
    }
    let left = |name| (name, Align::Left);
    let mut table = Table::new([
        left("VERDICT"),
        left("REASON"),
        ("COUNT", Align::Right),
        left("CONTAINERS"),
        left("FOUND"),
    ]);
    table.rows(&rows)
}

/// One line for each container.
fn every(pods: &[Judged]) -> String {
    let row = |judged: &Judged| {
        let ids: Vec<&str> = judged.reasons.iter().map(|reason| reason.id).collect();
        let causes: Vec<&str> = judged.reasons.iter().map(|r| r.cause.as_str()).collect();
        [
            judged.verdict.name().to_owned(),
            judged.namespace.clone(),
            judged.pod.clone(),
            judged.container.clone(),
            ids.join(", "),
            match causes.is_empty() {
                true => judged.how.clone(),
                false => causes.join("; "),
            },
        ]
    };
    let rows: Vec<[String; 6]> = pods.iter().map(row).collect();
    let left = |name| (name, Align::Left);
    let mut table = Table::new([
        left("VERDICT"),
        left("NAMESPACE"),
        left("POD"),
        left("CONTAINER"),
        left("REASON"),
        left("FOUND"),
    ]);
    table.rows(&rows)
}

/// A pod's containers, each with its answer, why, and what to do.
fn detail(pods: &[Judged]) -> String {
    let shown = |text: &str| Escaped::bytes(text.as_bytes()).to_string();
    let mut text = String::new();
    for judged in pods {
        let answer = match (judged.dump, judged.how.as_str()) {
            (Answer::No, _) => "no".to_owned(),
            (Answer::Perhaps, "") => "perhaps".to_owned(),
            (Answer::Perhaps, how) => format!("perhaps: {how}"),
            (Answer::Yes, how) => format!("yes: {how}"),
        };
        text.push_str(&shown(&format!("{}: {answer}", name(judged))));
        text.push('\n');
        for reason in &judged.reasons {
            text.push_str(&format!("  {}: {}\n", reason.id, shown(&reason.cause)));
            if !reason.remedy.is_empty() {
                text.push_str(&format!("  do: {}\n", shown(&reason.remedy)));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Reason;

    fn finding(id: &'static str, subject: &str, verdict: Verdict, cause: &str) -> Finding {
        Finding {
            id,
            subject: subject.to_owned(),
            verdict,
            cause: cause.to_owned(),
            remedy: "mend it".to_owned(),
        }
    }

    fn judged(pod: &str, verdict: Verdict, reasons: &[&'static str]) -> Judged {
        let reason = |id: &&'static str| Reason {
            id,
            answer: Answer::No,
            cause: format!("the cause of {id}"),
            remedy: "mend it".to_owned(),
        };
        Judged {
            namespace: "shop".to_owned(),
            pod: pod.to_owned(),
            node: None,
            container: "app".to_owned(),
            dump: if reasons.is_empty() {
                Answer::Yes
            } else {
                Answer::No
            },
            verdict,
            how: "into /var/salvage".to_owned(),
            reasons: reasons.iter().map(reason).collect(),
        }
    }

    #[test]
    fn findings_that_differ_only_in_their_subject_share_a_line() {
        let nodes = ["a", "b", "c", "d", "e\u{1b}[2J"];
        let mut findings: Vec<_> = nodes
            .iter()
            .map(|node| finding("fleet.node", node, Verdict::Fail, "it has no agent"))
            .collect();
        findings.push(finding(
            "fleet.node",
            "z",
            Verdict::Fail,
            "its agent crashes",
        ));
        assert_eq!(
            checks(&findings),
            "\
VERDICT  CHECK       SUBJECT             FOUND
fail     fleet.node  a, b, c and 2 more  it has no agent
                                         do: mend it
fail     fleet.node  z                   its agent crashes
                                         do: mend it
"
        );
        assert!(!checks(&findings[4..]).contains('\u{1b}'));
    }

    #[test]
    fn pods_are_grouped_by_reason_and_told_one_by_one_where_that_is_wanted() {
        let pods = [
            judged("cart-0", Verdict::Ok, &[]),
            judged("cart-1", Verdict::Fail, &["read_only"]),
            judged("cart-2", Verdict::Warn, &["no_source"]),
            judged("cart-3", Verdict::Warn, &["no_source"]),
        ];
        let text = grouped(&pods);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].starts_with("fail     read_only") && lines[1].contains("shop/cart-1 (app)")
        );
        assert!(lines[3].starts_with("warn     no_source      2") && lines[3].contains("cart-3"));
        assert!(lines[5].starts_with("ok") && lines[5].ends_with("would leave a dump"));
        assert_eq!(every(&pods).lines().count(), 5);
        let text = detail(&pods[..2]);
        assert_eq!(
            text,
            "shop/cart-0 (app): yes: into /var/salvage\nshop/cart-1 (app): no\n  read_only: the cause of read_only\n  do: mend it\n"
        );
    }

    #[test]
    fn machines_read_a_stable_form() {
        let report = Report {
            schema: doctor::SCHEMA,
            checks: vec![finding("config", "/x", Verdict::Ok, "accepted")],
            pods: vec![judged("cart-1", Verdict::Fail, &["read_only"])],
        };
        let json = serde_json::to_value(&report).expect("json");
        assert_eq!(
            json,
            serde_json::json!({
                "schema": 1,
                "checks": [{"id": "config", "subject": "/x", "verdict": "ok", "cause": "accepted", "remedy": "mend it"}],
                "pods": [{
                    "namespace": "shop", "pod": "cart-1", "node": null, "container": "app", "dump": "no", "verdict": "fail",
                    "how": "into /var/salvage",
                    "reasons": [{"id": "read_only", "answer": "no", "cause": "the cause of read_only", "remedy": "mend it"}],
                }],
            })
        );
    }

    #[test]
    fn names_are_names() {
        for good in ["shop", "cart-0", "a.b"] {
            assert!(check_name("POD", good).is_ok(), "{good}");
        }
        for bad in ["", "../secrets", "a/b", "A", "a?b", ".a"] {
            assert!(check_name("POD", bad).is_err(), "{bad}");
        }
    }
}
