//! List, get and watch of a node's pods.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

use super::faults::{Fault, status};
use super::front::{self, Request};
use super::stream::{Start, Watch};
use super::{State, kept, lock};

pub(super) fn list(state: &State, request: &Request) -> (u16, Value) {
    if let Some(refusal) = not_for_the_node(state, request) {
        return (400, refusal);
    }
    // Without it every list is read from etcd, and 10,000 agents start at once.
    if request.parameter("resourceVersion") != Some("0") {
        return (400, refused(state, request, "without resourceVersion=0"));
    }
    match request.parameter("resourceVersionMatch") {
        None | Some("NotOlderThan") => {}
        Some(other) => return (422, refused(state, request, other)),
    }
    // The server's cache answers with all there is, whatever `limit` says, so nobody has a token to continue with.
    if request.parameter("continue").is_some() {
        return (400, refused(state, request, "continued"));
    }
    let kept = lock(&state.kept);
    let items: Vec<Value> = kept.pods().cloned().map(untyped).collect();
    let list = json!({
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": kept.version().to_string()},
        "items": items,
    });
    (200, list)
}

pub(super) fn get(state: &State, namespace: &str, name: &str) -> (u16, Value) {
    match lock(&state.kept).pod(namespace, name) {
        Some(pod) => (200, pod.clone()),
        None => {
            let mut status = status(404, &format!("pods \"{name}\" not found"));
            status["details"] = json!({"name": name, "kind": "pods"});
            (404, status)
        }
    }
}

pub(super) fn watch(state: &Arc<State>, request: &Request, fault: Option<Fault>) -> Response<Body> {
    if let Some(refusal) = not_for_the_node(state, request) {
        return front::json_answer(400, &refusal);
    }
    if request.parameter("sendInitialEvents").is_some() {
        // As servers answer that have the feature gate off, and there are such among those supported.
        let refusal = refused(
            state,
            request,
            "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
        );
        return front::json_answer(422, &refusal);
    }
    let start = match request.parameter("resourceVersion") {
        None | Some("" | "0") => Start::All,
        Some(text) => match text.parse() {
            Ok(version) => Start::After(version),
            Err(_) => return front::json_answer(400, &refused(state, request, "no version")),
        },
    };
    let seconds = request.parameter("timeoutSeconds");
    let watch = Watch {
        start,
        bookmarks: request.parameter("allowWatchBookmarks") == Some("true"),
        // Zero is as good as nothing, to a real server too.
        timeout: seconds
            .and_then(|text| text.parse().ok())
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
        first: Bytes::new(),
    };
    let half = |line: Bytes| line.slice(..line.len() / 2);
    let last = || lock(&state.kept).last_line();
    let body = match fault {
        Some(Fault::Empty) => Body::empty(),
        Some(Fault::GoneEvent) => Body::from(gone()),
        Some(Fault::Broken) => front::broken(half(last())),
        Some(Fault::Endless) => front::endless(half(last())),
        Some(Fault::Garbage) => watch.saying("<html>please log in</html>\n".into(), state),
        Some(Fault::Truncated) => {
            let text = [half(last()).as_ref(), b"\n"].concat();
            watch.saying(text.into(), state)
        }
        Some(Fault::WrongKind(kind)) => {
            let object = kept::stranger(kind, lock(&state.kept).version());
            let line = kept::line(&json!({"type": "ADDED", "object": object}));
            watch.saying(line, state)
        }
        _ => watch.open(state),
    };
    front::typed(200, "application/json", body)
}

/// What a watch is told whose version is not in the window.
pub(super) fn gone() -> Bytes {
    kept::line(&json!({"type": "ERROR", "object": status(410, "")}))
}

/// A list's items have no types of their own.
fn untyped(mut pod: Value) -> Value {
    if let Some(pod) = pod.as_object_mut() {
        pod.remove("kind");
        pod.remove("apiVersion");
    }
    pod
}

fn not_for_the_node(state: &State, request: &Request) -> Option<Value> {
    let node = format!("spec.nodeName={}", lock(&state.kept).node());
    let selects = request.parameter("fieldSelector") == Some(&node);
    (!selects).then(|| refused(state, request, &format!("without fieldSelector={node}")))
}

fn refused(state: &State, request: &Request, why: &str) -> Value {
    let Request { call, query, .. } = request;
    state.offence(format!("{call:?} {query:?}: {why}"));
    status(400, why)
}
