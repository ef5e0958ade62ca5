//! List, get and watch of a node's pods, and what people are told of them.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

use super::faults::{Fault, status};
use super::front::{self, Request};
use super::kept::Sort;
use super::selected::View;
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
    let items = match is_neighbours(state, request) {
        true => Vec::new(),
        false => kept.all().cloned().map(untyped).collect(),
    };
    (200, Sort::Pods.list(items, kept.version()))
}

/// What a person is told, who may ask for any of them.
pub(super) fn list_for_person(
    state: &State,
    request: &Request,
    namespace: Option<&str>,
) -> (u16, Value) {
    let view = match View::asked(request, namespace, &["spec.nodeName", "status.phase"]) {
        Ok(view) => view,
        Err(why) => return (400, status(400, &why)),
    };
    let kept = lock(&state.kept);
    let items = kept.all().filter(|pod| view.shows(pod)).cloned();
    (
        200,
        Sort::Pods.list(items.map(untyped).collect(), kept.version()),
    )
}

pub(super) fn get(state: &State, namespace: &str, name: &str) -> (u16, Value) {
    match lock(&state.kept).get(namespace, name) {
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
    let view = match is_neighbours(state, request) {
        true => View::nothing(),
        false => View::default(),
    };
    Watch::asked(Sort::Pods, view, start, request).answer(state, fault)
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
    (!selects && !is_neighbours(state, request))
        .then(|| refused(state, request, &format!("without fieldSelector={node}")))
}

/// Whether it asks for the pods of another node, which has none.
fn is_neighbours(state: &State, request: &Request) -> bool {
    let node = request.parameter("fieldSelector").unwrap_or_default();
    let node = node.strip_prefix("spec.nodeName=");
    node.is_some_and(|node| lock(&state.neighbours).contains(node))
}

fn refused(state: &State, request: &Request, why: &str) -> Value {
    let Request { call, query, .. } = request;
    state.offence(format!("{call:?} {query:?}: {why}"));
    status(400, why)
}
