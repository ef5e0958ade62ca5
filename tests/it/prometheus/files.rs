//! `dashboards/` as the tests read it: panels, rules, and the expressions of both.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use promql_parser::parser::{self, Expr};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;

/// The dashboards' files.
pub(super) const BOARDS: [&str; 3] = ["crashes", "pipeline", "fleet"];

/// A query of a panel.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) board: &'static str,
    pub(super) panel: String,
    /// Which of the panel's it is, `A` for the first.
    pub(super) letter: String,
    pub(super) legend: String,
    pub(super) expression: String,
}

/// An alert, or with `record` what it counts.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// The alert's or the series' name.
    pub(super) name: String,
    pub(super) alert: bool,
    pub(super) expression: String,
    pub(super) rule: Value,
}

/// A file of the repository.
pub(super) fn file(path: &str) -> Result<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// A dashboard.
pub(super) fn board(name: &str) -> Result<Value> {
    Ok(serde_json::from_str(&file(&format!(
        "dashboards/{name}.json"
    ))?)?)
}

/// Its panels but for the titles of rows.
pub(super) fn panels(board: &Value) -> Result<Vec<&Value>> {
    let panels = board["panels"].as_array().context("panels")?;
    Ok(panels
        .iter()
        .filter(|panel| panel["type"] != "row")
        .collect())
}

/// Its variables.
pub(super) fn variables(board: &Value) -> Result<&Vec<Value>> {
    board["templating"]["list"].as_array().context("variables")
}

/// All queries of all panels.
pub(super) fn queries() -> Result<Vec<Query>> {
    let mut all = Vec::new();
    for name in BOARDS {
        let board = board(name)?;
        for panel in panels(&board)? {
            for target in panel["targets"].as_array().context("targets")? {
                all.push(Query {
                    board: name,
                    panel: text(&panel["title"])?,
                    letter: text(&target["refId"])?,
                    legend: text(&target["legendFormat"])?,
                    expression: text(&target["expr"])?,
                });
            }
        }
    }
    Ok(all)
}

/// All rules.
pub(super) fn rules() -> Result<Vec<Rule>> {
    let file: Value = serde_saphyr::from_str(&file("dashboards/alerts.yaml")?)?;
    let groups = file["groups"].as_array().context("groups")?;
    let rules = groups.iter().filter_map(|group| group["rules"].as_array());
    rules
        .flatten()
        .map(|rule| {
            let alert = !rule["alert"].is_null();
            Ok(Rule {
                name: text(&rule[if alert { "alert" } else { "record" }])?,
                alert,
                expression: text(&rule["expr"])?,
                rule: rule.clone(),
            })
        })
        .collect()
}

/// A string.
pub(super) fn text(value: &Value) -> Result<String> {
    let text = value.as_str();
    Ok(text
        .with_context(|| format!("a text, not {value}"))?
        .to_owned())
}

/// An expression as Grafana sends it, with everything selected: `range` and `interval` in place of its own variables.
///
/// `$__interval` is large, so that one evaluation counts everything, but not as the resolution of a subquery.
pub(super) fn substituted(expression: &str, range: &str, interval: &str) -> String {
    expression
        .replace(":$__interval]", ":1s]")
        .replace("$__rate_interval", interval)
        .replace("$__interval", interval)
        .replace("$__range", range)
        .replace("$cluster", ".*")
        .replace("$node", ".*")
        .replace("$namespace", ".*")
        .replace("$workload", ".*")
}

/// The metrics that an expression reads, by their names as they are exposed.
pub(super) fn metrics_of(expression: &str) -> Result<BTreeSet<String>> {
    struct Names(BTreeSet<String>);
    impl ExprVisitor for Names {
        type Error = anyhow::Error;

        fn pre_visit(&mut self, expression: &Expr) -> Result<bool> {
            let selector = match expression {
                Expr::VectorSelector(selector) => selector,
                Expr::MatrixSelector(matrix) => &matrix.vs,
                _ => return Ok(true),
            };
            self.0
                .insert(selector.name.clone().context("a selector has a name")?);
            Ok(true)
        }
    }
    let parsed = parser::parse(expression).map_err(|why| anyhow!("{why}: {expression}"))?;
    let mut names = Names(BTreeSet::new());
    walk_expr(&mut names, &parsed)?;
    Ok(names.0)
}
