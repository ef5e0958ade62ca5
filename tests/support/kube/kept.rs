//! Pods, resource versions and the window of past changes.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde_json::{Value, json};

use super::faults::Cut;

/// Namespace and name.
pub(super) type Key = (String, String);

/// Something for the watches.
#[derive(Clone)]
pub(super) enum Said {
    /// A pod changed.
    Event {
        version: u64,
        key: Key,
        line: Bytes,
    },
    /// For those who asked for it.
    Bookmark(Bytes),
    /// For those who listen now.
    Raw(Bytes),
    Cut(Cut),
}

pub(super) struct Kept {
    node: String,
    version: u64,
    pods: BTreeMap<Key, Value>,
    said: VecDeque<Said>,
    /// The number of the first entry of `said`; numbers count all that was ever said.
    first: u64,
    window: usize,
    /// A watch must come from this version or a later one.
    oldest: u64,
}

impl Kept {
    pub(super) fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            version: 1,
            pods: BTreeMap::new(),
            said: VecDeque::new(),
            first: 0,
            window: 10_000,
            oldest: 0,
        }
    }

    pub(super) fn node(&self) -> &str {
        &self.node
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn pod(&self, namespace: &str, name: &str) -> Option<&Value> {
        self.pods.get(&(namespace.to_owned(), name.to_owned()))
    }

    pub(super) fn pods(&self) -> impl Iterator<Item = &Value> {
        self.pods.values()
    }

    pub(super) fn add(&mut self, pod: Value) {
        let key = key(&pod);
        assert!(!self.pods.contains_key(&key), "{key:?} exists");
        self.apply("ADDED", pod, None);
    }

    pub(super) fn modify(&mut self, pod: Value) {
        let key = key(&pod);
        assert!(self.pods.contains_key(&key), "{key:?} does not exist");
        self.apply("MODIFIED", pod, None);
    }

    pub(super) fn delete(&mut self, namespace: &str, name: &str) {
        let pod = self.pod(namespace, name).cloned();
        let pod = pod.unwrap_or_else(|| panic!("{namespace}/{name} does not exist"));
        self.apply("DELETED", pod, None);
    }

    pub(super) fn replay(&mut self, event: &Value) {
        let kind = event["type"].as_str().expect("an event has a type");
        let object = event["object"].clone();
        let recorded = version_of(&object);
        if kind == "BOOKMARK" {
            self.version = self.version.max(recorded);
            self.bookmark();
            return;
        }
        self.apply(kind, object, (recorded > self.version).then_some(recorded));
    }

    /// As a server that starts with this state and knows no past.
    pub(super) fn restore(&mut self, list: &Value) {
        let items = list["items"].as_array().expect("a list has items");
        let pods = items.iter().map(|pod| (key(pod), typed(pod.clone())));
        self.pods = pods.collect();
        self.version = self.version.max(version_of(list));
        self.compact();
    }

    pub(super) fn bookmark(&mut self) {
        let line = bookmark(self.version);
        self.say(Said::Bookmark(line));
    }

    pub(super) fn window(&mut self, changes: usize) {
        self.window = changes;
        self.trim();
    }

    pub(super) fn compact(&mut self) {
        self.oldest = self.version;
    }

    pub(super) fn say(&mut self, said: Said) {
        self.said.push_back(said);
        self.trim();
    }

    /// The number the next entry will have.
    pub(super) fn next(&self) -> u64 {
        self.first + self.said.len() as u64
    }

    /// What a watch from a version must be told first, or nothing when that is gone.
    pub(super) fn since(&self, version: u64) -> Option<Vec<(u64, Said)>> {
        if version < self.oldest {
            return None;
        }
        let newer = |said: &Said| matches!(said, Said::Event { version: at, .. } if *at > version);
        Some(self.numbered().filter(|(_, said)| newer(said)).collect())
    }

    /// What was said from a number on, or nothing when some of it is gone.
    pub(super) fn after(&self, number: u64) -> Option<Vec<(u64, Said)>> {
        let skip = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let rest = self.said.range(skip..).cloned();
        Some((number..).zip(rest).collect())
    }

    /// The event of the same pod before a number.
    pub(super) fn before(&self, number: u64, key: &Key) -> Option<Bytes> {
        let earlier = self.numbered().take_while(|(at, _)| *at < number);
        let lines = earlier.filter_map(|(_, said)| match said {
            Said::Event { key: of, line, .. } if of == *key => Some(line),
            _ => None,
        });
        lines.last()
    }

    /// The last event's line, or a bookmark's.
    pub(super) fn last_line(&self) -> Bytes {
        let events = self.said.iter().rev().filter_map(|said| match said {
            Said::Event { line, .. } => Some(line.clone()),
            _ => None,
        });
        events.take(1).last().unwrap_or(bookmark(self.version))
    }

    fn numbered(&self) -> impl Iterator<Item = (u64, Said)> {
        (self.first..).zip(self.said.iter().cloned())
    }

    fn apply(&mut self, kind: &str, pod: Value, version: Option<u64>) {
        let mut pod = typed(pod);
        let key = key(&pod);
        let node = &mut pod["spec"]["nodeName"];
        if node.is_null() {
            *node = json!(self.node);
        }
        assert_eq!(*node, self.node, "{key:?} is of another node");
        self.version = version.unwrap_or(self.version + 1);
        pod["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let line = line(&json!({"type": kind, "object": pod}));
        if kind == "DELETED" {
            self.pods.remove(&key);
        } else {
            self.pods.insert(key.clone(), pod);
        }
        let version = self.version;
        self.say(Said::Event { version, key, line });
    }

    fn trim(&mut self) {
        while self.said.len() > self.window {
            if let Some(Said::Event { version, .. }) = self.said.pop_front() {
                self.oldest = self.oldest.max(version);
            }
            self.first += 1;
        }
    }
}

/// Something that is no pod.
pub(super) fn stranger(kind: &str, version: u64) -> Value {
    json!({
        "kind": kind,
        "apiVersion": "v1",
        "metadata": {
            "name": "stranger",
            "namespace": "shop",
            "uid": "00000000-1111-2222-3333-444444444444",
            "resourceVersion": version.to_string(),
        },
        "data": {"password": "aHVudGVyMg=="},
    })
}

pub(super) fn line(event: &Value) -> Bytes {
    Bytes::from(format!("{event}\n"))
}

pub(super) fn bookmark(version: u64) -> Bytes {
    // The empty spec and status are in what a real server sends.
    line(&json!({
        "type": "BOOKMARK",
        "object": {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": version.to_string()},
            "spec": {"containers": null},
            "status": {},
        },
    }))
}

/// Items of a list have neither kind nor version, everything else has.
fn typed(mut pod: Value) -> Value {
    pod["kind"] = json!("Pod");
    pod["apiVersion"] = json!("v1");
    pod
}

fn key(pod: &Value) -> Key {
    let text = |name: &str| {
        let text = pod["metadata"][name].as_str();
        text.unwrap_or_else(|| panic!("a pod has a {name}"))
            .to_owned()
    };
    (text("namespace"), text("name"))
}

fn version_of(object: &Value) -> u64 {
    let version = object["metadata"]["resourceVersion"].as_str();
    version
        .and_then(|text| text.parse().ok())
        .expect("a resource version")
}
