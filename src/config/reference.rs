//! What the configuration's types say of themselves: the table in `docs/configuration.md`, and the schema that the chart's values are checked by. Both are generated here and compared
//! with what is committed; `SALVAGE_UPDATE=1` writes them anew.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::written::Written;

/// A text of a certain form.
macro_rules! text {
    ($name:ident, $pattern:expr) => {
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern})
            }
        }
    };
}

text!(Size, "^ *[0-9]+ *([TGMK]i|[TGMK]iB|[GM]?B) *$");
text!(Duration, "^ *[0-9]+ *(ms|s|m|h|d) *$");
text!(
    Levels,
    r"^(\{(namespace|pod|container|uid)\}|\*)(/(\{(namespace|pod|container|uid)\}|\*)){0,5}$"
);

/// A label selector, as Kubernetes writes it.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct Selector {
    match_labels: Option<std::collections::BTreeMap<String, String>>,
    match_expressions: Option<Vec<Requirement>>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Requirement {
    key: String,
    operator: Operator,
    values: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// Every key once, in the order in which people read of them.
const EVERY_KEY: &str = "
cluster: c
node: n
state_dir: /s
listen: 0.0.0.0:9464
sources:
  - path: /a
    layout: '{pod}'
    managed: true
    kubelet_volumes: {volume: v}
store: {url: s3://b, endpoint: https://x, region: r, path_style: true}
compression: {level: 1, workers: 1}
spool: {max_use: 1GiB, keep_free: 1GiB, keep_free_inodes: 1}
limits: {max_dump_size: 1GiB, max_dump_data: 1GiB}
settle: {quiet_period: 1s, limit: 1s}
shutdown: {grace_period: 1s}
kubernetes:
  enabled: true
  kubelet_dir: /k
  pod_logs_dir: /l
  start_jitter: 1s
  join_window: 1s
  keep_gone_pods: 1s
  labels: []
  log: {enabled: true, lines: 1, max_bytes: 1MiB, exclude_namespaces: []}
  events: true
  selection: {namespaces: [], exclude_namespaces: [], pods: {}, unknown: hold}
captures:
  enabled: true
  memory:
    rules:
      - {at: 90%, rearm: 80%, take: gcdump, cooldown: 1s, budget: 1, budget_window: 60s, namespaces: [], exclude_namespaces: []}
    annotations: true
    poll: 1s
";

/// What the chart sets itself, and where in its values it is said.
const OF_THE_CHART: [&str; 6] = ["cluster", "node", "state_dir", "listen", "sources", "store"];

fn schema() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let generator = settings.into_generator();
    generator.into_root_schema_for::<Written>().to_value()
}

/// The keys of the file in their order, as `a.b` and `a[].b`, with what the schema says of each.
fn keys(schema: &Value) -> Vec<(String, Value)> {
    let written: Written = serde_saphyr::from_str(EVERY_KEY).expect("every key");
    let text = serde_saphyr::to_string(&written).expect("as YAML");
    let mut keys = Vec::new();
    let mut above: Vec<(usize, String)> = Vec::new();
    for line in text.lines() {
        let item = line.trim_start().starts_with("- ");
        let plain = line.replacen("- ", "  ", usize::from(item));
        let indent = plain.len() - plain.trim_start().len();
        let Some((name, _)) = plain.trim_start().split_once(':') else {
            continue;
        };
        above.retain(|(other, _)| *other < indent);
        let parent: Vec<&str> = above.iter().map(|(_, name)| name.as_str()).collect();
        let path = [parent.as_slice(), &[name]].concat().join(".");
        let said = at(schema, &path);
        let is_list = said["items"]["properties"].is_object();
        above.push((indent, format!("{name}{}", if is_list { "[]" } else { "" })));
        keys.push((path, said.clone()));
    }
    keys
}

/// What the schema says of a key.
fn at<'a>(schema: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(schema, |schema, name| {
        let (name, list) = name
            .strip_suffix("[]")
            .map_or((name, false), |name| (name, true));
        let found = &inner(schema)["properties"][name];
        assert!(found.is_object(), "{path}: the schema has no {name}");
        if list { &found["items"] } else { found }
    })
}

/// An optional value is one of two.
fn inner(schema: &Value) -> &Value {
    let either = schema["anyOf"].as_array();
    either
        .and_then(|either| either.iter().find(|one| one["properties"].is_object()))
        .unwrap_or(schema)
}

/// Every key below `schema` that has none below it.
fn leaves(schema: &Value, path: &str, found: &mut Vec<String>) {
    let Some(properties) = inner(schema)["properties"].as_object() else {
        found.push(path.to_owned());
        return;
    };
    for (name, said) in properties {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        match &said["items"] {
            items if items["properties"].is_object() => leaves(items, &format!("{path}[]"), found),
            _ if name == "pods" => found.push(path),
            _ => leaves(said, &path, found),
        }
    }
}

fn table(schema: &Value) -> String {
    let mut table = String::from("| Key | Default | Meaning |\n| --- | --- | --- |\n");
    for (path, said) in keys(schema) {
        let has_keys = |said: &Value| inner(said)["properties"].is_object();
        if path != "kubernetes.selection.pods"
            && (has_keys(said_or_items(&said)) || has_keys(&said))
        {
            continue;
        }
        let meaning = said["description"].as_str().unwrap_or_default();
        let meaning = meaning.replace('\n', " ").replace('|', "\\|");
        table += &format!(
            "| `{path}` | {} | {meaning} |\n",
            default(schema, &path, &said)
        );
    }
    table
}

fn said_or_items(said: &Value) -> &Value {
    if said["items"].is_object() {
        &said["items"]
    } else {
        said
    }
}

/// What holds where the key is absent.
fn default(schema: &Value, path: &str, said: &Value) -> String {
    if let Some(text) = said["x-default"].as_str() {
        return text.to_owned();
    }
    // That of the whole section says it too.
    let own = Some(&said["default"])
        .filter(|value| !value.is_null())
        .cloned();
    let value = own.or_else(|| {
        let (section, key) = path.rsplit_once('.')?;
        Some(at(schema, section)["default"][key].clone())
    });
    match value {
        Some(Value::String(text)) => format!("`{text}`"),
        Some(Value::Array(items)) if items.is_empty() => "empty".to_owned(),
        Some(Value::Null) | None => panic!("{path}: what holds where it is absent is not said"),
        Some(value) => format!("`{value}`"),
    }
}

/// Without what is no use to a validator of values: defaults would have to be kept in two places, and titles name types of ours. No key of the file has such a name.
fn plain(value: &Value) -> Value {
    const NO_USE: [&str; 5] = ["default", "x-default", "title", "format", "$schema"];
    match value {
        Value::Object(map) => {
            let kept = map
                .iter()
                .filter(|(key, _)| !NO_USE.contains(&key.as_str()));
            let kept = kept.map(|(key, value)| (key.clone(), plain(value)));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::String(text) => text.replace('\n', " ").into(),
        other => other.clone(),
    }
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares a file with what it should be, or writes it.
fn hold(path: &str, wanted: &str) {
    let file = repository(path);
    if std::env::var_os("SALVAGE_UPDATE").is_some() {
        std::fs::write(&file, wanted).expect("written");
        return;
    }
    let is = std::fs::read_to_string(&file).expect("the file");
    let differs = is
        .lines()
        .zip(wanted.lines())
        .find(|(is, wanted)| is != wanted);
    assert!(
        is == wanted,
        "{path} is not what the configuration's types say; SALVAGE_UPDATE=1 cargo test --release --lib reference writes it anew. First difference: {differs:#?}"
    );
}

#[test]
fn the_documented_keys_are_those_of_the_types() {
    const BEGIN: &str = "<!-- keys: generated from src/config/written.rs -->\n";
    const END: &str = "<!-- end of keys -->";
    let path = "docs/configuration.md";
    let text = std::fs::read_to_string(repository(path)).expect("the file");
    let (before, rest) = text.split_once(BEGIN).expect("the beginning of the keys");
    let (_, after) = rest.split_once(END).expect("the end of the keys");
    hold(
        path,
        &format!("{before}{BEGIN}\n{}\n{END}{after}", table(&schema())),
    );
}

#[test]
fn every_key_has_a_place_in_the_order() {
    let schema = schema();
    let mut all = Vec::new();
    leaves(&schema, "", &mut all);
    let ordered: Vec<String> = keys(&schema).into_iter().map(|(path, _)| path).collect();
    for key in all {
        assert!(ordered.contains(&key), "{key} is missing from EVERY_KEY");
    }
}

#[test]
fn the_charts_values_are_checked_by_the_types() {
    let path = "helm/salvage/values.schema.json";
    let text = std::fs::read_to_string(repository(path)).expect("the file");
    let mut values: Value = serde_json::from_str(&text).expect("JSON");
    let schema = plain(&schema());
    let mut config = schema.clone();
    let properties = config["properties"].as_object_mut().expect("keys");
    let sources = properties.get("sources").cloned().expect("sources");
    properties.retain(|key, _| !OF_THE_CHART.contains(&key.as_str()));
    for key in ["required", "description"] {
        config.as_object_mut().expect("an object").remove(key);
    }
    values["$defs"]["config"] = config;
    values["$defs"]["sources"] = sources;
    let wanted = serde_json::to_string_pretty(&values).expect("JSON") + "\n";
    hold(path, &wanted);
}

#[test]
fn the_schema_knows_what_the_types_take() {
    let schema = schema();
    let take = |pattern: &Value| pattern["pattern"].as_str().map(str::to_owned);
    let size = take(at(&schema, "spool.max_use")).expect("a pattern");
    let size =
        jsonschema::validator_for(&json!({"type": "string", "pattern": size})).expect("a schema");
    for text in [
        "1B", "20GiB", "5 MB", "3Ti", "7k", "x", "1", "GiB", "1.5GiB",
    ] {
        assert_eq!(
            size.is_valid(&json!(text)),
            text.parse::<crate::model::ByteSize>().is_ok(),
            "{text}"
        );
    }
    let span = take(at(&schema, "settle.limit")).expect("a pattern");
    let span =
        jsonschema::validator_for(&json!({"type": "string", "pattern": span})).expect("a schema");
    for text in ["1ms", "30s", "10 m", "6h", "2d", "1w", "s", "1.5h"] {
        assert_eq!(
            span.is_valid(&json!(text)),
            text.parse::<crate::model::Span>().is_ok(),
            "{text}"
        );
    }
}
