//! What a real API server said, moved in time.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::KubeServer;

/// A list and the watch that led to it, of the node `lab-node`.
#[derive(Clone)]
pub(crate) struct Recorded {
    pub(crate) list: Value,
    /// `{"type": …, "object": …}` each, in the order they came.
    pub(crate) events: Vec<Value>,
}

impl Recorded {
    /// The node whose pods they are.
    pub(crate) const NODE: &str = "lab-node";

    /// Reads `tests/data/kubernetes`.
    pub(crate) fn load() -> Result<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kubernetes");
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let watch = read("pod-watch.ndjson")?;
        let events = watch.lines().map(serde_json::from_str);
        Ok(Self {
            list: serde_json::from_str(&read("pod-list.json")?)?,
            events: events.collect::<Result<_, _>>()?,
        })
    }

    /// The same, with every time moved by one whole number of seconds so that the last termination was at `now`.
    pub(crate) fn shifted_to(mut self, now: Timestamp) -> Self {
        let last = self.last_termination().expect("a termination");
        let by = seconds(now).duration_since(last);
        for value in self.events.iter_mut().chain([&mut self.list]) {
            shift(value, by);
        }
        self
    }

    /// When the last container ended.
    pub(crate) fn last_termination(&self) -> Option<Timestamp> {
        let mut ends = Vec::new();
        for value in self.events.iter().chain([&self.list]) {
            collect_ends(value, &mut ends);
        }
        ends.into_iter().max()
    }

    /// Everything that happened, into a server of this node.
    pub(crate) fn replay_into(&self, server: &KubeServer) {
        for event in &self.events {
            server.replay(event);
        }
    }
}

/// Without the fraction of a second: the API server's times have none.
pub(super) fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).expect("in range")
}

fn shift(value: &mut Value, by: SignedDuration) {
    match value {
        Value::String(text) => {
            // Only what is a time from its first character to its last.
            if let Ok(time) = text.parse::<Timestamp>() {
                *text = (time + by).to_string();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Value::Object(fields) => fields.values_mut().for_each(|field| shift(field, by)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn collect_ends(value: &Value, ends: &mut Vec<Timestamp>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_ends(item, ends)),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_str().map(str::parse) {
                    Some(Ok(end)) if name == "finishedAt" => ends.push(end),
                    _ => collect_ends(field, ends),
                }
            }
        }
        _ => {}
    }
}
