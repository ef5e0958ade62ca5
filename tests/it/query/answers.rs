//! What the manifests themselves answer to the documented questions, worked out without SQL.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// One manifest, of a capture too, and what its key says.
pub(super) struct Crash {
    cluster: String,
    namespace: String,
    date: String,
    manifest: Value,
}

type Rows = Vec<Value>;
type Answer = fn(&[&Crash]) -> Rows;

/// Every question about crashes by its heading.
const ANSWERS: [(&str, Answer); 14] = [
    ("Crashes per workload and day", per_workload_and_day),
    (
        "The exceptions seen most, and where they come from",
        exceptions,
    ),
    ("Crash loops", loops),
    ("Killed for their memory", out_of_memory),
    ("Crashes without a dump, and why", without_dump),
    ("Since which image a workload crashes", images),
    ("Since which build a program crashes", builds),
    ("What is stored per namespace", bytes),
    ("How sure it is whose they are", confidence),
    ("What happened to one pod", one_pod),
    ("Which dumps to fetch", to_fetch),
    ("Dumps that were cut short", cut_short),
    ("How long until a crash is stored", until_stored),
    ("Ends that nobody saw", unseen),
];

/// Every question about captures.
const OF_CAPTURES: [(&str, Answer); 1] = [(
    "What was captured, and how long processes stood still",
    captured,
)];

/// All answers about the last seven days.
pub(super) fn to_all(all: &[Crash], now: Timestamp) -> BTreeMap<String, Rows> {
    let first = (now - SignedDuration::from_hours(7 * 24))
        .strftime("%Y-%m-%d")
        .to_string();
    let recent = all.iter().filter(|crash| crash.date >= first);
    let (captures, crashes): (Vec<&Crash>, Vec<&Crash>) =
        recent.partition(|crash| crash.manifest["kind"] == "capture");
    let of_crashes = ANSWERS
        .iter()
        .map(|(name, answer)| (name, answer(&crashes)));
    let of_captures = OF_CAPTURES
        .iter()
        .map(|(name, answer)| (name, answer(&captures)));
    of_crashes
        .chain(of_captures)
        .map(|(name, rows)| ((*name).to_owned(), rows))
        .collect()
}

impl Crash {
    /// Every manifest of the bucket in this directory.
    pub(super) fn all(bucket: &Path) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for cluster in inside(&bucket.join("crashes"))? {
            for namespace in inside(&cluster)? {
                for date in inside(&namespace)? {
                    for path in inside(&date)? {
                        all.push(Self {
                            cluster: value_of(&cluster, "cluster")?,
                            namespace: value_of(&namespace, "namespace")?,
                            date: value_of(&date, "date")?,
                            manifest: serde_json::from_slice(&std::fs::read(path)?)?,
                        });
                    }
                }
            }
        }
        Ok(all)
    }

    fn id(&self) -> Value {
        self.manifest["id"].clone()
    }

    fn time(&self) -> Timestamp {
        time(&self.manifest["time"]).expect("every manifest has a time")
    }

    fn at(&self) -> i64 {
        self.time().as_microsecond()
    }

    fn ends(&self) -> u64 {
        self.manifest["rollup"]["count"].as_u64().unwrap_or(1)
    }

    fn pod(&self) -> Value {
        self.manifest["pod"]["name"].clone()
    }

    fn container(&self) -> Value {
        self.manifest["container"]["name"].clone()
    }

    fn workload(&self) -> Value {
        let owner = &self.manifest["pod"]["owner"];
        match (owner["kind"].as_str(), owner["name"].as_str(), self.pod()) {
            (Some(kind), Some(name), _) => json!(format!("{kind}/{name}")),
            (_, _, Value::Null) => json!("-"),
            (_, _, pod) => pod,
        }
    }

    fn whose(&self) -> [Value; 3] {
        [json!(self.namespace), self.workload(), self.container()]
    }

    fn files(&self) -> impl Iterator<Item = &Value> {
        self.manifest["artifacts"].as_array().into_iter().flatten()
    }
}

fn inside(directory: &Path) -> Result<Vec<PathBuf>> {
    std::fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect()
}

fn value_of(path: &Path, column: &str) -> Result<String> {
    let name = path.file_name().context("a name")?.to_string_lossy();
    let value = name.strip_prefix(&format!("{column}="));
    Ok(value
        .with_context(|| format!("{name} is no {column}"))?
        .to_owned())
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// Brings together what has the same key, and makes a row of each.
fn grouped<T: Copy>(
    all: impl IntoIterator<Item = T>,
    key: impl Fn(T) -> Vec<Value>,
    row: impl Fn(Vec<Value>, &[T]) -> Option<Vec<Value>>,
) -> Rows {
    let mut groups: BTreeMap<String, (Vec<Value>, Vec<T>)> = BTreeMap::new();
    for item in all {
        let key = key(item);
        let text = json!(key).to_string();
        groups
            .entry(text)
            .or_insert_with(|| (key, Vec::new()))
            .1
            .push(item);
    }
    groups
        .into_values()
        .filter_map(|(key, items)| row(key, &items).map(Value::from))
        .collect()
}

/// The key and what comes after it.
fn row(key: Vec<Value>, more: impl IntoIterator<Item = Value>) -> Option<Vec<Value>> {
    Some(key.into_iter().chain(more).collect())
}

fn sum(of: &[&Crash]) -> Value {
    json!(of.iter().map(|crash| crash.ends()).sum::<u64>())
}

fn first(of: &[&Crash]) -> Value {
    json!(of.iter().map(|crash| crash.at()).min())
}

fn last(of: &[&Crash]) -> Value {
    json!(of.iter().map(|crash| crash.at()).max())
}

fn newest(of: &[&Crash]) -> Value {
    of.iter()
        .max_by_key(|crash| crash.at())
        .map_or(Value::Null, |crash| crash.id())
}

/// A file and its crash.
type File<'a> = (&'a Crash, &'a Value);

fn files<'a>(crashes: &[&'a Crash]) -> Vec<File<'a>> {
    let files = |crash: &'a Crash| crash.files().map(move |file| (crash, file));
    crashes.iter().flat_map(|crash| files(crash)).collect()
}

fn crashes_of<'a>(files: &[File<'a>]) -> Vec<&'a Crash> {
    files.iter().map(|(crash, _)| *crash).collect()
}

fn different(values: impl Iterator<Item = Value>) -> Value {
    let all: BTreeSet<String> = values
        .filter(|value| !value.is_null())
        .map(|value| value.to_string())
        .collect();
    json!(all.len())
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn per_workload_and_day(crashes: &[&Crash]) -> Rows {
    let key = |crash: &Crash| {
        let [namespace, workload, _] = crash.whose();
        let reason = crash.manifest["reason"].clone();
        vec![json!(crash.date), namespace, workload, reason]
    };
    grouped(crashes.iter().copied(), key, |key, of| row(key, [sum(of)]))
}

fn exceptions(crashes: &[&Crash]) -> Rows {
    let mut thrown = files(crashes);
    thrown.retain(|(_, file)| file["exception"]["type"].is_string());
    let key = |(_, file): File<'_>| {
        let stack = file["exception"]["stack"].as_array();
        let frames = stack.map(|stack| {
            let top: Vec<_> = stack.iter().take(3).filter_map(Value::as_str).collect();
            top.join(" < ")
        });
        vec![file["exception"]["type"].clone(), json!(frames)]
    };
    grouped(thrown, key, |key, of| {
        let all = crashes_of(of);
        let ids = different(all.iter().map(|crash| crash.id()));
        let workloads = different(all.iter().map(|crash| crash.workload()));
        row(key, [ids, workloads, newest(&all)])
    })
}

fn loops(crashes: &[&Crash]) -> Rows {
    let known = crashes
        .iter()
        .copied()
        .filter(|crash| crash.manifest["pod"]["uid"].is_string());
    let key = |crash: &Crash| {
        let [namespace, workload, container] = crash.whose();
        let hour = crash.time().as_second() / 3_600 * 3_600_000_000;
        let uid = crash.manifest["pod"]["uid"].clone();
        vec![
            uid,
            namespace,
            workload,
            crash.pod(),
            container,
            json!(hour),
        ]
    };
    grouped(known, key, |mut key, of| {
        key.remove(0);
        let starts = of
            .iter()
            .filter_map(|crash| crash.manifest["container"]["start_number"].as_u64());
        let last_start = json!(starts.max());
        let often = of.iter().map(|crash| crash.ends()).sum::<u64>() >= 2;
        often
            .then(|| row(key, [sum(of), last_start, newest(of)]))
            .flatten()
    })
}

fn out_of_memory(crashes: &[&Crash]) -> Rows {
    let killed = crashes
        .iter()
        .copied()
        .filter(|crash| crash.manifest["oom_killed"] == true);
    grouped(
        killed,
        |crash| crash.whose().into(),
        |key, of| {
            let dumped = |crash: &&&Crash| crash.files().any(|file| file["role"] == "dump");
            let with_dump = json!(of.iter().filter(dumped).count());
            row(key, [sum(of), with_dump, last(of)])
        },
    )
}

fn without_dump(crashes: &[&Crash]) -> Rows {
    let gaps = crashes.iter().copied().flat_map(|crash| {
        let gaps = crash.manifest["missing"].as_array().into_iter().flatten();
        gaps.map(move |gap| (crash, gap))
    });
    let of_dumps = gaps.filter(|(_, gap)| gap["role"] == "dump");
    let key = |(crash, gap): File<'_>| {
        let mut key = crash.whose().to_vec();
        key.push(gap["why"].clone());
        key
    };
    grouped(of_dumps, key, |key, of| {
        let all = crashes_of(of);
        row(key, [sum(&all), last(&all)])
    })
}

fn images(crashes: &[&Crash]) -> Rows {
    let known = crashes
        .iter()
        .copied()
        .filter(|crash| crash.manifest["container"]["image_digest"].is_string());
    let key = |crash: &Crash| {
        let container = &crash.manifest["container"];
        let mut key = crash.whose().to_vec();
        key.extend([
            container["image"].clone(),
            container["image_digest"].clone(),
        ]);
        key
    };
    grouped(known, key, |key, of| {
        row(key, [first(of), last(of), sum(of)])
    })
}

fn builds(crashes: &[&Crash]) -> Rows {
    let mut built = files(crashes);
    built.retain(|(_, file)| file["process"]["build_id"].is_string());
    let key = |(_, file): File<'_>| {
        let process = &file["process"];
        vec![process["exe"].clone(), process["build_id"].clone()]
    };
    grouped(built, key, |key, of| {
        let all = crashes_of(of);
        let ids = different(all.iter().map(|crash| crash.id()));
        let digest = |crash: &&Crash| crash.manifest["container"]["image_digest"].clone();
        let images = different(all.iter().map(digest));
        row(key, [first(&all), last(&all), ids, images])
    })
}

fn bytes(crashes: &[&Crash]) -> Rows {
    let key = |(crash, _): File<'_>| vec![json!(crash.cluster), json!(crash.namespace)];
    grouped(files(crashes), key, |key, of| {
        let total =
            |field: &str| json!(of.iter().map(|(_, file)| number(&file[field])).sum::<u64>());
        let largest = of
            .iter()
            .max_by_key(|(_, file)| number(&file["stored_bytes"]));
        let (crash, file) = largest?;
        let largest = [crash.id(), file["stored_bytes"].clone()];
        let counted = [json!(of.len()), total("bytes"), total("stored_bytes")];
        row(key, counted.into_iter().chain(largest))
    })
}

fn confidence(crashes: &[&Crash]) -> Rows {
    let key = |crash: &Crash| {
        let confidence = crash.manifest["attribution"]["confidence"].clone();
        vec![json!(crash.namespace), confidence]
    };
    grouped(crashes.iter().copied(), key, |key, of| {
        let candidates = of
            .iter()
            .filter_map(|crash| crash.manifest["attribution"]["candidates"].as_u64());
        row(key, [json!(of.len()), json!(candidates.max())])
    })
}

fn one_pod(crashes: &[&Crash]) -> Rows {
    let its = crashes
        .iter()
        .filter(|crash| crash.namespace == "shop" && crash.pod() == "checkout-7d9f6c5b8-x2x9z");
    its.map(|crash| {
        let start = &crash.manifest["container"]["start_number"];
        let (reason, code) = (&crash.manifest["reason"], &crash.manifest["exit_code"]);
        json!([
            crash.at(),
            crash.container(),
            start,
            reason,
            code,
            crash.ends(),
            crash.id()
        ])
    })
    .collect()
}

fn to_fetch(crashes: &[&Crash]) -> Rows {
    let mut dumps = files(crashes);
    dumps.retain(|(_, file)| file["role"] == "dump" && file["complete"] != false);
    let key = |(crash, file): File<'_>| {
        let [namespace, workload, _] = crash.whose();
        let (reason, build) = (&crash.manifest["reason"], &file["process"]["build_id"]);
        vec![namespace, workload, reason.clone(), build.clone()]
    };
    grouped(dumps, key, |key, of| {
        let (crash, file) = of.iter().max_by_key(|(crash, _)| crash.at())?;
        let command = format!("salvage get {}", crash.id().as_str()?);
        row(
            key,
            [
                json!(of.len()),
                json!(command),
                file["stored_bytes"].clone(),
            ],
        )
    })
}

fn cut_short(crashes: &[&Crash]) -> Rows {
    let mut cut = files(crashes);
    cut.retain(|(_, file)| file["complete"] == false);
    let key = |(crash, file): File<'_>| {
        let mut key = crash.whose().to_vec();
        key.push(file["format"].clone());
        key
    };
    grouped(cut, key, |key, of| {
        let most =
            |field: &str| json!(of.iter().filter_map(|(_, file)| file[field].as_u64()).max());
        row(
            key,
            [json!(of.len()), most("expected_bytes"), most("bytes")],
        )
    })
}

fn until_stored(crashes: &[&Crash]) -> Rows {
    let known = crashes
        .iter()
        .copied()
        .filter(|crash| crash.manifest["time_source"] != "first_seen");
    grouped(
        known,
        |crash| vec![json!(crash.cluster)],
        |key, of| {
            let took = |crash: &&Crash| {
                let stored = time(&crash.manifest["timings"]["stored"])?;
                Some((stored.as_millisecond() - crash.time().as_millisecond()) as f64 / 1e3)
            };
            let mut all: Vec<f64> = of.iter().filter_map(took).collect();
            all.sort_by(f64::total_cmp);
            let longest = json!(rounded(*all.last()?));
            row(
                key,
                [
                    json!(of.len()),
                    at_share(&all, 0.5),
                    at_share(&all, 0.95),
                    longest,
                ],
            )
        },
    )
}

/// Between the two values on either side.
fn at_share(sorted: &[f64], share: f64) -> Value {
    let place = (sorted.len() - 1) as f64 * share;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    json!(rounded(below + (above - below) * place.fract()))
}

fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn unseen(crashes: &[&Crash]) -> Rows {
    let rollups = crashes
        .iter()
        .copied()
        .filter(|crash| crash.manifest["kind"] == "rollup");
    let key = |crash: &Crash| {
        let mut key = vec![crash.manifest["node"].clone()];
        key.extend(crash.whose());
        key
    };
    grouped(rollups, key, |key, of| row(key, [sum(of), json!(of.len())]))
}

fn captured(captures: &[&Crash]) -> Rows {
    let key = |capture: &Crash| {
        let taken = &capture.manifest["capture"];
        let mut key = capture.whose().to_vec();
        key.extend(["kind", "type", "trigger"].map(|field| taken[field].clone()));
        key
    };
    grouped(captures.iter().copied(), key, |key, of| {
        let pauses: Vec<u64> = of
            .iter()
            .filter_map(|capture| capture.manifest["capture"]["pause_ms"].as_u64())
            .collect();
        let seconds = |milliseconds: u64| rounded(milliseconds as f64 / 1e3);
        let longest = pauses.iter().max().map(|longest| seconds(*longest));
        // Of nothing, SQL has no sum.
        let stood_still = longest.map(|_| seconds(pauses.iter().sum()));
        row(
            key,
            [
                json!(of.len()),
                json!(stood_still),
                json!(longest),
                newest(of),
            ],
        )
    })
}
