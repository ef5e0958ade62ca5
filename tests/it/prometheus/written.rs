//! What can be seen without running anything.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::files::{self, BOARDS, board, file, metrics_of, panels, substituted, text, variables};

/// What is not ours: whether a target answers is Prometheus' own, the nodes are kube-state-metrics'.
const EXTERNAL: [&str; 2] = ["up", "kube_node_info"];

/// Counters that are counted exactly, births of series included; see the head of alerts.yaml.
const EXACT: [&str; 3] = [
    "salvage_crashes_total",
    "salvage_crashes_without_dump_total",
    "salvage_dumps_lost_total",
];

#[test]
fn every_dashboard_is_one_that_grafana_can_import() -> Result<()> {
    let mut uids = BTreeSet::new();
    for name in BOARDS {
        let board = board(name)?;
        ensure!(board["schemaVersion"] == 41, "{name}");
        ensure!(board["uid"] == format!("salvage-{name}"), "{name}");
        uids.insert(text(&board["uid"])?);
        ensure!(board["tags"] == serde_json::json!(["salvage"]), "{name}");
        ensure!(
            board["annotations"]["list"] == serde_json::json!([]),
            "{name}"
        );
        ensure!(
            board.get("__inputs").is_none() && board.get("id").is_none(),
            "{name} is an export of somebody's Grafana"
        );
        let others = &board["links"][0];
        ensure!(
            others["type"] == "dashboards" && others["includeVars"] == true,
            "{name}: {others}"
        );
        let all = variables(&board)?;
        ensure!(
            all[0]["name"] == "datasource" && all[0]["type"] == "datasource",
            "{name}"
        );
        for variable in &all[1..] {
            ensure!(
                variable["type"] == "query"
                    && variable["multi"] == true
                    && variable["includeAll"] == true
                    && variable["allValue"] == ".*"
                    && variable["datasource"]["uid"] == "${datasource}"
                    && variable["query"]["query"] == variable["definition"],
                "{name}: {variable:#}"
            );
        }
    }
    ensure!(uids.len() == BOARDS.len());
    Ok(())
}

#[test]
fn panels_lie_side_by_side() -> Result<()> {
    for name in BOARDS {
        let board = board(name)?;
        let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for panel in board["panels"].as_array().context("panels")? {
            ensure!(ids.insert(panel["id"].as_u64()), "{name}: {}", panel["id"]);
            let at = |key: &str| panel["gridPos"][key].as_u64().context("a position");
            ensure!(at("x")? + at("w")? <= 24, "{name}: {}", panel["title"]);
            for x in at("x")?..at("x")? + at("w")? {
                for y in at("y")?..at("y")? + at("h")? {
                    ensure!(
                        taken.insert((x, y)),
                        "{name}: {} lies on another",
                        panel["title"]
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_panel_says_its_unit_what_to_do_and_what_it_means_when_it_is_empty() -> Result<()> {
    const TYPES: [&str; 5] = ["stat", "timeseries", "table", "state-timeline", "barchart"];
    let mut titles = BTreeSet::new();
    for name in BOARDS {
        let board = board(name)?;
        for panel in panels(&board)? {
            let title = text(&panel["title"])?;
            ensure!(
                titles.insert((name, title.clone())),
                "two are called {title}"
            );
            let kind = text(&panel["type"])?;
            ensure!(TYPES.contains(&kind.as_str()), "{title}: {kind}");
            ensure!(text(&panel["description"])?.len() > 40, "{title}");
            let defaults = &panel["fieldConfig"]["defaults"];
            ensure!(!text(&defaults["unit"])?.is_empty(), "{title}: no unit");
            ensure!(
                !text(&defaults["noValue"])?.is_empty(),
                "{title}: no noValue"
            );
            for source in panel["targets"]
                .as_array()
                .context("targets")?
                .iter()
                .chain([panel])
            {
                ensure!(
                    source["datasource"]["uid"] == "${datasource}"
                        && source["datasource"]["type"] == "prometheus",
                    "{title}"
                );
            }
            for target in panel["targets"].as_array().context("targets")? {
                // A table shows labels as columns.
                ensure!(
                    kind == "table" || text(&target["legendFormat"])? != "__auto",
                    "{title}: a legend that names nothing"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn every_legend_names_labels_that_its_expression_keeps() -> Result<()> {
    for query in files::queries()? {
        for part in query.legend.split("{{").skip(1) {
            let label = part.split("}}").next().unwrap_or_default();
            let kept = query
                .expression
                .split("by (")
                .skip(1)
                .filter_map(|rest| rest.split(')').next())
                .any(|labels| labels.split(", ").any(|kept| kept == label));
            ensure!(kept, "{}: {} has no {label}", query.board, query.panel);
        }
    }
    Ok(())
}

#[test]
fn every_expression_is_about_what_is_selected_and_hides_no_absence() -> Result<()> {
    for query in files::queries()? {
        let what = format!("{}: {} {}", query.board, query.panel, query.letter);
        metrics_of(&substituted(&query.expression, "5m", "1m")).context(what.clone())?;
        ensure!(!query.expression.contains("vector("), "{what}");
        ensure!(
            query.expression.contains("kube_node_info")
                || query
                    .expression
                    .contains("job=\"salvage\",cluster=~\"$cluster\","),
            "{what}"
        );
        let rule = query.expression.contains("workload:");
        ensure!(!rule, "{what} needs a recording rule");
    }
    for rule in files::rules()? {
        metrics_of(&rule.expression).context(rule.name.clone())?;
        ensure!(!rule.expression.contains("vector("), "{}", rule.name);
        ensure!(
            rule.expression.contains("cluster") || rule.expression.contains("workload:"),
            "{} loses the cluster",
            rule.name
        );
    }
    Ok(())
}

/// The one way of counting, without blanks.
fn exact(metric: &str, selector: &str, window: &str) -> String {
    let exact = format!(
        "((last_over_time({metric}{{{selector}}}[{window}])
        - ({metric} offset {window}
           or last_over_time({metric}[1d] offset {window}) unless on (cluster, job, instance) salvage_build_info offset {window}
           or 0 * last_over_time({metric}[{window}])) >= 0
        or last_over_time({metric}{{{selector}}}[{window}]))
        and resets({metric}[{window}]) == 0)
        or floor(increase({metric}{{{selector}}}[{window}])
           + (min_over_time({metric}[{window}]) unless {metric} offset {window} or 0 * min_over_time({metric}[{window}])))"
    );
    without_blanks(&exact)
}

fn without_blanks(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn what_begins_at_one_is_counted_in_one_way_everywhere() -> Result<()> {
    let queries = files::queries()?.into_iter().map(|query| {
        let what = format!("{}: {}", query.board, query.panel);
        (what, query.expression)
    });
    let rules = files::rules()?.into_iter();
    let mut counted = BTreeMap::new();
    for (what, expression) in queries.chain(rules.map(|rule| (rule.name, rule.expression))) {
        let mut left = without_blanks(&expression);
        for metric in EXACT {
            while let Some((_, rest)) = left.split_once(&format!("((last_over_time({metric}{{")) {
                let (selector, rest) = rest.split_once("}[").context("a selector")?;
                let (window, _) = rest.split_once(']').context("a window")?;
                let form = exact(metric, selector, window);
                let Some((before, after)) = left.split_once(&form) else {
                    break;
                };
                *counted.entry(metric).or_insert(0) += 1;
                left = format!("{before}{after}");
            }
            for wrong in ["increase", "rate", "delta"] {
                ensure!(
                    !left.contains(&format!("{wrong}({metric}")),
                    "{what} counts {metric} by {wrong}(): {left}"
                );
            }
        }
    }
    ensure!(counted.len() == EXACT.len(), "{counted:?}");
    Ok(())
}

#[test]
fn every_alert_has_a_severity_a_text_and_a_section_of_the_runbook() -> Result<()> {
    let runbook = file("docs/runbook.md")?;
    let sections: BTreeMap<String, &str> = runbook
        .split("\n## ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
        .map(|(title, text)| (title.to_lowercase(), text))
        .collect();
    for rule in files::rules()?.into_iter().filter(|rule| rule.alert) {
        let (name, rule) = (rule.name, rule.rule);
        ensure!(
            ["critical", "warning"].contains(&text(&rule["labels"]["severity"])?.as_str()),
            "{name}"
        );
        let annotations = &rule["annotations"];
        for key in ["summary", "description"] {
            ensure!(
                text(&annotations[key])?.contains("{{ $labels."),
                "{name}: {key}"
            );
        }
        let url = text(&annotations["runbook_url"])?;
        let anchor = url
            .strip_prefix("https://github.com/salvage-dev/salvage/blob/main/docs/runbook.md#")
            .with_context(|| url.clone())?;
        let section = sections
            .get(anchor)
            .with_context(|| format!("the runbook has no section {anchor}"))?;
        for part in [
            "**Means.**",
            "**See it.**",
            "**Likely causes.**",
            "**Do.**",
            "**At risk.**",
        ] {
            ensure!(section.contains(part), "{name}: the runbook has no {part}");
        }
    }
    Ok(())
}

#[test]
fn every_alert_is_tested_when_it_rings_and_when_it_does_not() -> Result<()> {
    let tests: Value = serde_saphyr::from_str(&file("dashboards/alerts.test.yaml")?)?;
    let (mut rings, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for test in tests["tests"].as_array().context("tests")? {
        for case in test["alert_rule_test"].as_array().into_iter().flatten() {
            let expected = case["exp_alerts"].as_array().context("exp_alerts")?;
            let seen = if expected.is_empty() {
                &mut silent
            } else {
                &mut rings
            };
            seen.insert(text(&case["alertname"])?);
        }
    }
    let alerts: BTreeSet<String> = files::rules()?
        .into_iter()
        .filter(|rule| rule.alert)
        .map(|rule| rule.name)
        .collect();
    ensure!(rings == alerts, "{rings:?}");
    ensure!(silent == alerts, "{silent:?}");
    Ok(())
}

/// Runs promtool in `dashboards`.
fn promtool(arguments: &[&str]) -> Result<()> {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards"))
        .output()
        .context("promtool, of Debian's package prometheus")?;
    ensure!(
        output.status.success(),
        "promtool {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn promtool_finds_nothing_wrong_with_the_rules_and_their_tests_hold() -> Result<()> {
    promtool(&[
        "check",
        "rules",
        "--lint=all",
        "--lint-fatal",
        "alerts.yaml",
    ])?;
    promtool(&["test", "rules", "alerts.test.yaml"])
}

#[test]
fn no_expression_reads_a_metric_that_is_neither_ours_nor_agreed() -> Result<()> {
    let rules = files::rules()?;
    let recorded: BTreeSet<&str> = rules
        .iter()
        .filter(|rule| !rule.alert)
        .map(|rule| rule.name.as_str())
        .collect();
    let mut read = BTreeSet::new();
    for query in files::queries()? {
        read.extend(metrics_of(&substituted(&query.expression, "5m", "1m"))?);
    }
    for rule in &rules {
        read.extend(metrics_of(&rule.expression)?);
    }
    for name in &recorded {
        ensure!(read.contains(*name), "nobody reads {name}");
    }
    let strangers: Vec<_> = read
        .iter()
        .filter(|name| !name.starts_with("salvage_"))
        .filter(|name| !EXTERNAL.contains(&name.as_str()) && !recorded.contains(name.as_str()))
        .collect();
    ensure!(strangers.is_empty(), "{strangers:?}");
    Ok(())
}
