//! The Events that are posted and patched, checked as a real server checks them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::faults::status;
use super::front::Request;
use super::{State, lock};

/// Which of the two interfaces: their fields have different names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Core,
    New,
}

/// What was posted, by number of arrival.
#[derive(Default)]
pub(super) struct Events {
    arrived: u64,
    /// By namespace and name.
    names: BTreeMap<(String, String), u64>,
    events: BTreeMap<u64, Value>,
}

impl Events {
    pub(super) fn all(&self) -> impl Iterator<Item = &Value> {
        self.events.values()
    }

    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.events.clear();
    }
}

pub(super) fn post(state: &State, request: &Request, namespace: &str, api: Api) -> (u16, Value) {
    let Some(mut event) = request.body.clone() else {
        return (400, refused(state, "no JSON"));
    };
    let problems = match api {
        Api::New => problems(&event, namespace),
        Api::Core => named_rightly(&event, "involvedObject", namespace),
    };
    if !problems.is_empty() {
        return (422, refused(state, &problems.join(", ")));
    }
    let mut events = lock(&state.events);
    let number = events.arrived;
    let text = |name: &str| {
        event["metadata"][name]
            .as_str()
            .filter(|text| !text.is_empty())
    };
    let name = match (text("name"), text("generateName")) {
        (Some(name), _) => name.to_owned(),
        (None, Some(start)) => format!("{start}{number:05}"),
        (None, None) => return (422, refused(state, "name or generateName is required")),
    };
    let key = (namespace.to_owned(), name.clone());
    if events.names.contains_key(&key) {
        let message = format!("events.events.k8s.io \"{name}\" already exists");
        return (409, status(409, &message));
    }
    event["metadata"]["name"] = json!(name);
    event["metadata"]["namespace"] = json!(namespace);
    event["metadata"]["uid"] = json!(format!("00000000-0000-4000-8000-{number:012}"));
    event["metadata"]["resourceVersion"] = json!((number + 1).to_string());
    event["metadata"]["creationTimestamp"] = json!(seconds_now());
    event["kind"] = json!("Event");
    event["apiVersion"] = json!(match api {
        Api::Core => "v1",
        Api::New => "events.k8s.io/v1",
    });
    events.arrived += 1;
    events.names.insert(key, number);
    events.events.insert(number, event.clone());
    (201, event)
}

/// Those of a namespace, of one pod where the field selector says so.
pub(super) fn list(state: &State, request: &Request, namespace: &str) -> (u16, Value) {
    let selector = request.parameter("fieldSelector").unwrap_or_default();
    let uid = match selector.split_once('=') {
        None if selector.is_empty() => None,
        Some(("regarding.uid", uid)) => Some(uid),
        _ => {
            return (
                400,
                refused(state, &format!("no field selector: {selector}")),
            );
        }
    };
    let events = lock(&state.events);
    let is_it = |event: &&Value| {
        event["metadata"]["namespace"] == namespace
            && uid.is_none_or(|uid| event["regarding"]["uid"] == uid)
    };
    let items: Vec<&Value> = events.all().filter(is_it).collect();
    let version = (events.arrived + 1).to_string();
    let list = json!({"kind": "EventList", "apiVersion": "events.k8s.io/v1", "metadata": {"resourceVersion": version}, "items": items});
    (200, list)
}

pub(super) fn patch(state: &State, request: &Request, namespace: &str, name: &str) -> (u16, Value) {
    let kind = request.header("content-type").unwrap_or_default();
    if !kind.contains("merge-patch+json") {
        state.offence(format!("an Event is patched with {kind}"));
        return (415, status(415, ""));
    }
    let Some(patch) = &request.body else {
        return (400, refused(state, "no JSON"));
    };
    let mut events = lock(&state.events);
    let key = (namespace.to_owned(), name.to_owned());
    let Some(number) = events.names.get(&key).copied() else {
        let message = format!("events.events.k8s.io \"{name}\" not found");
        return (404, status(404, &message));
    };
    let Some(event) = events.events.get_mut(&number) else {
        return (404, status(404, ""));
    };
    merge(event, patch);
    (200, event.clone())
}

/// RFC 7396.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(fields) = target.as_object_mut() else {
        return;
    };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), change);
        }
    }
}

/// What `events.k8s.io/v1` refuses (`pkg/apis/core/validation/events.go`).
fn problems(event: &Value, namespace: &str) -> Vec<String> {
    let mut problems = named_rightly(event, "regarding", namespace);
    let lengths = [
        ("reportingController", usize::MAX),
        ("reportingInstance", 128),
        ("action", 128),
        ("reason", 128),
    ];
    for (field, most) in lengths {
        let text = event[field].as_str().unwrap_or_default();
        if text.is_empty() {
            problems.push(format!("{field}: Required value"));
        } else if text.len() > most {
            problems.push(format!("{field}: can have at most {most} characters"));
        }
    }
    if event["note"].as_str().is_some_and(|note| note.len() > 1024) {
        problems.push("note: can have at most 1024 characters".to_owned());
    }
    if !matches!(event["type"].as_str(), Some("Normal" | "Warning")) {
        problems.push("type: has invalid value".to_owned());
    }
    let time = event["eventTime"].as_str().unwrap_or_default();
    if time.parse::<jiff::Timestamp>().is_err() {
        problems.push("eventTime: Required value".to_owned());
    }
    for field in [
        "deprecatedFirstTimestamp",
        "deprecatedLastTimestamp",
        "deprecatedCount",
        "deprecatedSource",
    ] {
        if !event[field].is_null() {
            problems.push(format!("{field}: needs to be unset"));
        }
    }
    problems
}

/// An Event is in the namespace of what it is about; what has none is told of in `default`.
fn named_rightly(event: &Value, about: &str, namespace: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let of = event[about]["namespace"].as_str().unwrap_or("default");
    if of != namespace {
        problems.push(format!("{about}.namespace: does not match {namespace}"));
    }
    let own = event["metadata"]["namespace"].as_str().unwrap_or(namespace);
    if own != namespace {
        problems.push(format!("metadata.namespace: does not match {namespace}"));
    }
    problems
}

fn refused(state: &State, why: &str) -> Value {
    state.offence(format!("an Event: {why}"));
    status(422, &format!("Event.events.k8s.io is invalid: {why}"))
}

fn seconds_now() -> String {
    super::recorded::seconds(jiff::Timestamp::now()).to_string()
}
