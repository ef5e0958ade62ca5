//! The objects of a sort, the server's one sequence of resource versions, and the window of past changes.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::{Value, json};

use super::faults::Cut;

/// Namespace and name.
pub(super) type Key = (String, String);

/// What is kept: every sort has its own window, as a real server's caches have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    /// Of one node.
    Pods,
    Captures,
}

impl Sort {
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Pods => "Pod",
            Self::Captures => "Capture",
        }
    }

    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::Pods => "v1",
            Self::Captures => "salvage.dev/v1alpha1",
        }
    }

    /// A list of these.
    pub(super) fn list(self, items: Vec<Value>, version: u64) -> Value {
        json!({
            "kind": format!("{}List", self.kind()),
            "apiVersion": self.api_version(),
            "metadata": {"resourceVersion": version.to_string()},
            "items": items,
        })
    }

    /// Items of a list of pods have neither kind nor version, everything else has.
    fn typed(self, mut object: Value) -> Value {
        object["kind"] = json!(self.kind());
        object["apiVersion"] = json!(self.api_version());
        object
    }
}

/// The one sequence of resource versions of a server: each change of anything has a number of its own.
#[derive(Clone)]
pub(super) struct Versions(Arc<AtomicU64>);

impl Versions {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1)))
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// At least this one.
    fn reach(&self, version: u64) {
        self.0.fetch_max(version, Ordering::SeqCst);
    }
}

/// Something for the watches.
#[derive(Clone)]
pub(super) enum Said {
    /// An object changed.
    Event {
        version: u64,
        key: Key,
        line: Bytes,
        /// What it was before. Not kept of pods: what selects them here never changes.
        was: Option<Arc<Value>>,
    },
    /// For those who asked for it.
    Bookmark(Bytes),
    /// For those who listen now.
    Raw(Bytes),
    Cut(Cut),
}

pub(super) struct Kept {
    sort: Sort,
    node: String,
    versions: Versions,
    objects: BTreeMap<Key, Value>,
    said: VecDeque<Said>,
    /// The number of the first entry of `said`; numbers count all that was ever said.
    first: u64,
    window: usize,
    /// A watch must come from this version or a later one.
    oldest: u64,
}

impl Kept {
    /// Nothing yet; pods will be of this node.
    pub(super) fn new(sort: Sort, node: &str, versions: Versions) -> Self {
        Self {
            sort,
            node: node.to_owned(),
            versions,
            objects: BTreeMap::new(),
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
        self.versions.now()
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// By namespace and name.
    pub(super) fn all(&self) -> impl Iterator<Item = &Value> {
        self.objects.values()
    }

    /// Those behind a key in the order of a list, with their keys.
    pub(super) fn behind(&self, key: Option<&Key>) -> impl Iterator<Item = (&Key, &Value)> {
        let start = key.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone()));
        self.objects.range((start, Bound::Unbounded))
    }

    pub(super) fn add(&mut self, pod: Value) {
        let key = key(&pod);
        assert!(!self.objects.contains_key(&key), "{key:?} exists");
        self.apply("ADDED", pod, None);
    }

    pub(super) fn modify(&mut self, pod: Value) {
        let key = key(&pod);
        assert!(self.objects.contains_key(&key), "{key:?} does not exist");
        self.apply("MODIFIED", pod, None);
    }

    pub(super) fn delete(&mut self, namespace: &str, name: &str) {
        let pod = self.get(namespace, name).cloned();
        let pod = pod.unwrap_or_else(|| panic!("{namespace}/{name} does not exist"));
        self.apply("DELETED", pod, None);
    }

    pub(super) fn replay(&mut self, event: &Value) {
        let kind = event["type"].as_str().expect("an event has a type");
        let object = event["object"].clone();
        let recorded = version_of(&object);
        if kind == "BOOKMARK" {
            self.versions.reach(recorded);
            self.bookmark();
            return;
        }
        self.apply(
            kind,
            object,
            (recorded > self.version()).then_some(recorded),
        );
    }

    /// As a server that starts with this state and knows no past.
    pub(super) fn restore(&mut self, list: &Value) {
        let items = list["items"].as_array().expect("a list has items");
        let typed = |object: &Value| self.sort.typed(object.clone());
        let objects = items.iter().map(|object| (key(object), typed(object)));
        self.objects = objects.collect();
        self.versions.reach(version_of(list));
        self.compact();
    }

    pub(super) fn bookmark(&mut self) {
        let line = self.bookmark_line();
        self.say(Said::Bookmark(line));
    }

    pub(super) fn window(&mut self, changes: usize) {
        self.window = changes;
        self.trim();
    }

    pub(super) fn compact(&mut self) {
        self.oldest = self.version();
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

    /// The event of the same object before a number.
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
        events
            .take(1)
            .last()
            .unwrap_or_else(|| self.bookmark_line())
    }

    fn numbered(&self) -> impl Iterator<Item = (u64, Said)> {
        (self.first..).zip(self.said.iter().cloned())
    }

    /// Makes a change, announces it and gives the object as it is then.
    pub(super) fn apply(&mut self, kind: &str, object: Value, version: Option<u64>) -> Value {
        let mut object = self.sort.typed(object);
        let key = key(&object);
        if self.sort == Sort::Pods {
            let node = &mut object["spec"]["nodeName"];
            if node.is_null() {
                *node = json!(self.node);
            }
            assert_eq!(*node, self.node, "{key:?} is of another node");
        }
        let version = match version {
            Some(version) => {
                self.versions.reach(version);
                version
            }
            None => self.versions.next(),
        };
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let line = line(&json!({"type": kind, "object": object}));
        let was = match kind {
            "DELETED" => self.objects.remove(&key),
            _ => self.objects.insert(key.clone(), object.clone()),
        };
        let was = was.filter(|_| self.sort == Sort::Captures).map(Arc::new);
        self.say(Said::Event {
            version,
            key,
            line,
            was,
        });
        object
    }

    /// A bookmark at the newest version.
    pub(super) fn bookmark_line(&self) -> Bytes {
        bookmark(self.sort, self.version(), false)
    }

    /// The one that ends the events a streamed list begins with.
    pub(super) fn initial_end(&self) -> Bytes {
        bookmark(self.sort, self.version(), true)
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

fn bookmark(sort: Sort, version: u64, ends_initial: bool) -> Bytes {
    let mut object = json!({"metadata": {"resourceVersion": version.to_string()}});
    if sort == Sort::Pods {
        // The empty spec and status are in what a real server sends; of a custom resource it sends none.
        object["spec"] = json!({"containers": null});
        object["status"] = json!({});
    }
    if ends_initial {
        object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    line(&json!({"type": "BOOKMARK", "object": sort.typed(object)}))
}

pub(super) fn key(object: &Value) -> Key {
    let text = |name: &str| {
        let text = object["metadata"][name].as_str();
        text.unwrap_or_else(|| panic!("an object has a {name}"))
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
