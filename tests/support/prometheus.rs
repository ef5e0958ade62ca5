//! A real Prometheus on a port of its own: what it scrapes and evaluates is the test's choice, what it says is asked by its API.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use url::form_urlencoded;

use super::process::{DEADLINE, Process};

/// The labels of a series, and its values in the order of time.
pub(crate) type Line = (BTreeMap<String, String>, Vec<f64>);

/// How often it scrapes and evaluates rules.
const INTERVAL: &str = "500ms";

/// A running Prometheus. Ends when dropped.
pub(crate) struct Prometheus {
    /// Its data.
    _directory: TempDir,
    process: Process,
    address: SocketAddr,
}

/// A target: its job, its address, and further labels.
pub(crate) struct Target<'a> {
    pub(crate) job: &'a str,
    pub(crate) address: String,
    pub(crate) labels: &'a [(&'a str, &'a str)],
}

/// A series with a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// An alert that is pending or fires.
#[derive(Clone, Debug)]
pub(crate) struct Alert {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) fires: bool,
}

impl Prometheus {
    /// Starts one that scrapes these targets, as the chart's monitors do: a metric's own labels win. It evaluates the rules, if any.
    pub(crate) fn start(targets: &[Target<'_>], rules: &str) -> Result<Self> {
        let directory = TempDir::with_prefix("salvage-prometheus-")?;
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("rules.yaml"), rules)?;
        let jobs: Vec<Value> = targets
            .iter()
            .map(|target| target.job)
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .map(|job| {
                let of_job = targets.iter().filter(|target| target.job == job);
                let groups: Vec<Value> = of_job
                    .map(|target| {
                        let labels: BTreeMap<_, _> = target.labels.iter().copied().collect();
                        json!({"targets": [target.address], "labels": labels})
                    })
                    .collect();
                json!({"job_name": job, "honor_labels": true, "static_configs": groups})
            })
            .collect();
        let config = json!({
            "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
            "rule_files": [path("rules.yaml")],
            "scrape_configs": jobs,
        });
        // JSON is YAML.
        std::fs::write(path("prometheus.yaml"), serde_json::to_vec(&config)?)?;
        let mut command = Command::new("sh");
        command.args(["-c", "exec prometheus --config.file=\"$0\" --storage.tsdb.path=\"$1\" --web.listen-address=127.0.0.1:0 2>&1"]);
        command.arg(path("prometheus.yaml")).arg(path("data"));
        let process = Process::start(command)?;
        let mut address = None;
        let address = loop {
            let line = process.line()?;
            if let Some((_, rest)) = line.split_once("msg=\"Listening on\" address=") {
                let word = rest.split_whitespace().next();
                address = Some(word.context("an address")?.parse()?);
            }
            // It listens before it answers.
            if line.contains("Server is ready to receive web requests") {
                break address.context("it says where it listens before that")?;
            }
        };
        Ok(Self {
            _directory: directory,
            process,
            address,
        })
    }

    /// What an expression gives now.
    pub(crate) fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let data = self.ask("query", &[("query", expression)])?;
        ensure!(data["resultType"] == "vector", "{expression}: {data:#}");
        let results = data["result"].as_array().context("a vector")?;
        results
            .iter()
            .map(|result| {
                Ok(Sample {
                    labels: labels(&result["metric"])?,
                    value: number(&result["value"][1])?,
                })
            })
            .collect()
    }

    /// What an expression gives at each step of the last seconds, by series.
    pub(crate) fn range(&self, expression: &str, seconds: u32, step: u32) -> Result<Vec<Line>> {
        let now = jiff::Timestamp::now().as_second();
        // Grafana asks at multiples of the step, so that a panel does not flicker.
        let end = now - now % i64::from(step) + i64::from(step);
        let times = [
            ("query", expression.to_owned()),
            ("start", (end - i64::from(seconds)).to_string()),
            ("end", end.to_string()),
            ("step", step.to_string()),
        ];
        let times: Vec<_> = times
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        let data = self.ask("query_range", &times)?;
        let results = data["result"].as_array().context("a matrix")?;
        results
            .iter()
            .map(|result| {
                let values = result["values"].as_array().context("values")?;
                let values = values.iter().map(|value| number(&value[1]));
                Ok((labels(&result["metric"])?, values.collect::<Result<_>>()?))
            })
            .collect()
    }

    /// The values that a label has on series of a selector, as Grafana's `label_values` asks for them.
    pub(crate) fn label_values(&self, selector: &str, label: &str) -> Result<Vec<String>> {
        let data = self.ask(&format!("label/{label}/values"), &[("match[]", selector)])?;
        Ok(serde_json::from_value(data)?)
    }

    /// All alerts that are pending or fire.
    pub(crate) fn alerts(&self) -> Result<Vec<Alert>> {
        let data = self.ask("alerts", &[])?;
        let alerts = data["alerts"].as_array().context("alerts")?;
        alerts
            .iter()
            .map(|alert| {
                Ok(Alert {
                    labels: labels(&alert["labels"])?,
                    annotations: labels(&alert["annotations"])?,
                    fires: alert["state"] == "firing",
                })
            })
            .collect()
    }

    /// What keeps rules from being evaluated, if anything does.
    pub(crate) fn rule_errors(&self) -> Result<Vec<String>> {
        let data = self.ask("rules", &[])?;
        let groups = data["groups"].as_array().context("groups")?;
        let rules = groups.iter().filter_map(|group| group["rules"].as_array());
        Ok(rules
            .flatten()
            .filter(|rule| rule["health"] == "err")
            .map(|rule| format!("{}: {}", rule["name"], rule["lastError"]))
            .collect())
    }

    fn ask(&self, what: &str, pairs: &[(&str, &str)]) -> Result<Value> {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        // By HTTP/1.0 the answer comes in one piece.
        write!(stream, "GET /api/v1/{what}?{query} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .with_context(|| format!("{}", self.process))?;
        let (_, body) = answer
            .split_once("\r\n\r\n")
            .context("an answer has a head")?;
        let mut body: Value =
            serde_json::from_str(body).with_context(|| format!("{what} {pairs:?}: {body}"))?;
        ensure!(body["status"] == "success", "{what} {pairs:?}: {body:#}");
        Ok(body["data"].take())
    }
}

fn labels(map: &Value) -> Result<BTreeMap<String, String>> {
    Ok(serde_json::from_value(map.clone())?)
}

/// Values are texts, so that there can be a NaN.
fn number(value: &Value) -> Result<f64> {
    Ok(value.as_str().context("a value is text")?.parse()?)
}
