//! The chart, rendered by real Helm: what it makes, and what it refuses.
//!
//! `tests/tools/helm.py` is Helm; one process renders all combinations. Each test asks the same question of every one of them.

mod agrees;
mod combinations;
mod golden;
mod names;
mod packaged;
mod policy;
mod refused;
mod security;
mod types;
mod used;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// The release and the namespace of the documentation.
const RELEASE: &str = "salvage";
const NAMESPACE: &str = "salvage";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn chart() -> PathBuf {
    repository().join("helm/salvage")
}

/// What to render: value files of the chart, values over them, and for whom.
#[derive(Clone, Debug)]
struct Case {
    files: Vec<String>,
    values: Value,
    release: String,
    namespace: String,
    lint: bool,
}

impl Case {
    /// These values over those that are required.
    fn of(values: Value) -> Self {
        let mut all = json!({"cluster": "prod-eu", "store": {"url": "s3://my-crashes/prod", "region": "eu-central-1"}});
        merge(&mut all, values);
        Self::bare(all)
    }

    /// These values and no others.
    fn bare(values: Value) -> Self {
        Self {
            files: Vec::new(),
            values,
            release: RELEASE.into(),
            namespace: NAMESPACE.into(),
            lint: false,
        }
    }

    fn file(name: &str) -> Self {
        Self {
            files: vec![name.to_owned()],
            ..Self::bare(json!({}))
        }
    }

    fn named(mut self, release: &str, namespace: &str) -> Self {
        self.release = release.into();
        self.namespace = namespace.into();
        self
    }

    fn linted(mut self) -> Self {
        self.lint = true;
        self
    }

    fn told(&self) -> Value {
        let files: Vec<_> = self.files.iter().map(|file| chart().join(file)).collect();
        json!({"files": files, "values": self.values, "release": self.release, "namespace": self.namespace, "lint": self.lint})
    }
}

/// Puts a value over another: objects are merged.
fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                match under.get_mut(&key) {
                    Some(old) => merge(old, value),
                    None => drop(under.insert(key, value)),
                }
            }
        }
        (under, over) => *under = over,
    }
}

/// What Helm made of a case.
#[derive(Debug)]
struct Rendered {
    /// By template: the text that it rendered.
    texts: BTreeMap<String, String>,
    documents: Vec<Document>,
    lint: Vec<String>,
}

/// An object of the render.
#[derive(Debug)]
struct Document {
    template: String,
    object: Value,
}

impl Document {
    fn text(&self, pointer: &str) -> &str {
        let value = self.object.pointer(pointer);
        value.and_then(Value::as_str).unwrap_or_default()
    }

    fn kind(&self) -> &str {
        self.text("/kind")
    }

    fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// As `DaemonSet/salvage`.
    fn id(&self) -> String {
        format!("{}/{}", self.kind(), self.name())
    }
}

impl Rendered {
    fn read(answer: &Value) -> Result<Self> {
        let list = |value: &Value| -> Vec<String> {
            let all = value.as_array().into_iter().flatten();
            all.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let mut documents = Vec::new();
        let rendered = answer["documents"].as_object().context("documents")?;
        for (template, objects) in rendered {
            for object in objects.as_array().context("objects")? {
                documents.push(Document {
                    template: template.clone(),
                    object: object.clone(),
                });
            }
        }
        Ok(Self {
            texts: serde_json::from_value(answer["texts"].clone())?,
            documents,
            lint: list(&answer["lint"]),
        })
    }

    fn all(&self, kind: &str) -> Vec<&Document> {
        let all = self.documents.iter();
        all.filter(|document| document.kind() == kind).collect()
    }

    /// The only object of a kind.
    fn one(&self, kind: &str) -> Result<&Value> {
        match self.all(kind)[..] {
            [only] => Ok(&only.object),
            ref several => bail!("{} objects are a {kind}", several.len()),
        }
    }

    /// The agent's pod.
    fn pod(&self) -> Result<&Value> {
        Ok(&self.one("DaemonSet")?["spec"]["template"])
    }

    /// The agent's configuration.
    fn config(&self) -> Result<&str> {
        let configs = self.all("ConfigMap");
        let mut texts = configs
            .iter()
            .filter_map(|config| config.object["data"]["salvage.yaml"].as_str());
        texts.next().context("a ConfigMap with salvage.yaml")
    }
}

/// Asks Helm.
fn helm(told: &Value) -> Result<Value> {
    let python = std::env::var("SALVAGE_TEST_PYTHON")
        .context("SALVAGE_TEST_PYTHON is not set: eval \"$(tests/provision)\"")?;
    tool(&python, "helm.py", told)
}

/// Runs a driver of `tests/tools`: JSON in, JSON out.
fn tool(python: &str, name: &str, told: &Value) -> Result<Value> {
    let mut child = Command::new(python)
        .arg(repository().join("tests/tools").join(name))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {python}"))?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    let told = serde_json::to_vec(told)?;
    // It reads all before it says anything, so nothing waits for us to read.
    let written = stdin.write_all(&told);
    drop(stdin);
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{name}: {}\n{errors}",
        output.status
    );
    written?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("what {name} said"))
}

/// Renders cases, each by its name: what came of it, or why Helm refused.
fn render<N: ToString>(
    cases: impl IntoIterator<Item = (N, Case)>,
) -> Result<BTreeMap<String, std::result::Result<Rendered, String>>> {
    let cases: serde_json::Map<_, _> = cases
        .into_iter()
        .map(|(name, case)| (name.to_string(), case.told()))
        .collect();
    let answer = helm(&json!({"chart": chart(), "cases": cases}))?;
    let answers = answer["cases"].as_object().context("cases")?;
    answers
        .iter()
        .map(|(name, answer)| {
            let rendered = match answer["error"].as_str() {
                Some(error) => Err(error.to_owned()),
                None => Ok(Rendered::read(answer).with_context(|| name.clone())?),
            };
            Ok((name.clone(), rendered))
        })
        .collect()
}

/// Renders one case that Helm accepts.
fn rendered(case: Case) -> Result<Rendered> {
    let mut all = render([("it", case)])?;
    let it = all.remove("it").context("an answer")?;
    it.map_err(anyhow::Error::msg)
}

/// Every combination, rendered once for all tests.
fn every() -> Result<&'static BTreeMap<String, Rendered>> {
    static EVERY: OnceLock<std::result::Result<BTreeMap<String, Rendered>, String>> =
        OnceLock::new();
    let make = || -> Result<_> {
        let mut every = BTreeMap::new();
        for (name, rendered) in render(combinations::all()?)? {
            let rendered = rendered.map_err(|why| anyhow::anyhow!("{name}: {why}"))?;
            every.insert(name, rendered);
        }
        Ok(every)
    };
    let every = EVERY.get_or_init(|| make().map_err(|error| format!("{error:#}")));
    every.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

/// The chart's own values.
fn default_values() -> Result<Value> {
    Ok(helm(&json!({"chart": chart()}))?["values"].clone())
}

/// Calls `look` with every object and list of a value, and where it is.
fn walk(value: &Value, path: &str, look: &mut impl FnMut(&str, &Value)) {
    look(path, value);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                walk(value, &format!("{path}/{key}"), look);
            }
        }
        Value::Array(items) => {
            for (n, value) in items.iter().enumerate() {
                walk(value, &format!("{path}/{n}"), look);
            }
        }
        _ => {}
    }
}
