//! Which answer a request for captures gets.
//!
//! The agent may read and delete them and write their status; what else it asks for is refused and remembered as an offence, and so is a list of its that the
//! server's cache may not answer, which is answered. People may ask for captures by their roles.

use std::sync::Arc;

use axum::body::Body;
use hyper::Response;
use serde_json::{Value, json};

use super::captures::{GROUP, changed};
use super::faults::{Call, Fault, status};
use super::front::{self, Request};
use super::kept::{Sort, key};
use super::selected::View;
use super::stream::{Start, Watch};
use super::users::{User, Wanted};
use super::writes::{Captures, Outcome, Part, Write};
use super::{State, lock};

/// The answer to a request for anything of the group, to somebody with rights.
pub(super) fn answer(
    state: &Arc<State>,
    request: &Request,
    path: &[&str],
    user: &User,
    fault: Option<Fault>,
) -> Response<Body> {
    let is_watch = request.call == Call::CaptureWatch;
    let wanted = Wanted::of(&request.method, path, is_watch);
    if let Some(wanted) = wanted.filter(|wanted| !user.may(wanted)) {
        if *user == User::Agent {
            let Request { method, path, .. } = request;
            state.offence(format!("{method} {path}: the agent has no right to it"));
        }
        return front::json_answer(403, &wanted.refused_to(user.name()));
    }
    if !lock(&state.captures).is_installed {
        let text = Body::from("404 page not found\n");
        return front::typed(404, "text/plain; charset=utf-8", text);
    }
    let outcome = match wanted {
        None => discovered(path),
        Some(wanted) if is_watch => match watch(state, request, &wanted) {
            Ok(watch) => return watch.answer(state, fault),
            Err(refusal) => Err(refusal),
        },
        Some(wanted) => route(state, request, &wanted, user),
    };
    let (code, answer) = match outcome {
        Ok(answer) if request.method == "POST" => (201, answer),
        Ok(answer) => (200, answer),
        Err(refusal) => refusal,
    };
    let version = lock(&state.captures).kept.version();
    front::spoilt(code, answer, fault, version)
}

fn route(state: &State, request: &Request, wanted: &Wanted<'_>, user: &User) -> Outcome {
    let place = wanted.namespace.zip(wanted.name);
    let part = match wanted.part {
        None => Part::Main,
        Some("status") => Part::Status,
        Some(_) => return Err((404, status(404, ""))),
    };
    if request.parameter("dryRun").is_some() {
        return Err((400, status(400, "nothing is tried without being done here")));
    }
    match (wanted.verb, place) {
        ("list", _) => {
            // Without it every list is read from etcd, and 10,000 agents start at once.
            if *user == User::Agent && request.parameter("resourceVersion") != Some("0") {
                state.offence(format!(
                    "{:?} {:?}: without resourceVersion=0",
                    request.call, request.query
                ));
            }
            list(state, request, wanted.namespace)
        }
        ("get", Some((namespace, name))) => lock(&state.captures).get(namespace, name),
        ("create", None) if wanted.namespace.is_some() => {
            let namespace = wanted.namespace.unwrap_or_default();
            let object = body(request)?.clone();
            changed(state, |captures| {
                captures.create(namespace, object, is_strict(request))
            })
        }
        ("update", Some(place)) => {
            let write = Write::Put(body(request)?);
            changed(state, |captures| {
                captures.write(place, part, &write, is_strict(request))
            })
        }
        ("patch", Some(place)) => {
            let kind = request.header("content-type").unwrap_or_default();
            if !kind.starts_with("application/merge-patch+json") {
                return Err((415, status(415, "")));
            }
            let write = Write::Merge(body(request)?);
            changed(state, |captures| {
                captures.write(place, part, &write, is_strict(request))
            })
        }
        ("delete", Some((namespace, name))) => {
            let options = request.body.clone().unwrap_or_default();
            changed(state, |captures| {
                captures.delete(namespace, name, &options["preconditions"])
            })
        }
        _ => Err((
            405,
            status(
                405,
                "the server does not allow this method on the requested resource",
            ),
        )),
    }
}

fn list(state: &State, request: &Request, namespace: Option<&str>) -> Outcome {
    let captures = lock(&state.captures);
    let view = view(&captures, request, namespace)?;
    let newest = captures.kept.version();
    let asked = request.parameter("resourceVersion").unwrap_or_default();
    if asked.parse::<u64>().is_ok_and(|asked| asked > newest) {
        let why = format!("Too large resource version: {asked}, current: {newest}");
        let mut refusal = status(504, &why);
        refusal["details"] = json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        });
        return Err((504, refusal));
    }
    // Where the cache may answer it answers with all there is, whatever the limit.
    let limit = request
        .parameter("limit")
        .and_then(|text| text.parse().ok());
    let limit = limit.filter(|limit| *limit > 0 && asked != "0");
    let (version, behind) = match request.parameter("continue") {
        None => (newest, None),
        Some(token) => {
            let token = hex::decode(token).ok();
            let token = token.and_then(|token| serde_json::from_slice(&token).ok());
            let (version, key): (u64, (String, String)) =
                token.ok_or_else(|| (400, status(400, "continue key is not valid")))?;
            if captures.kept.since(version).is_none() {
                let why = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.";
                return Err((410, status(410, why)));
            }
            (version, Some(key))
        }
    };
    let mut shown = captures
        .kept
        .behind(behind.as_ref())
        .filter(|(_, object)| view.shows(object));
    let page: Vec<&Value> = shown
        .by_ref()
        .take(limit.unwrap_or(usize::MAX))
        .map(|(_, object)| object)
        .collect();
    let left = shown.count();
    let last = page.last().map(|last| key(last));
    let items = page.into_iter().cloned().collect();
    let mut list = Sort::Captures.list(items, version);
    if let Some(last) = last.filter(|_| left > 0) {
        let token = hex::encode(json!([version, last]).to_string());
        list["metadata"]["continue"] = json!(token);
        list["metadata"]["remainingItemCount"] = json!(left);
    }
    Ok(list)
}

fn watch(state: &State, request: &Request, wanted: &Wanted<'_>) -> Result<Watch, (u16, Value)> {
    let view = view(&lock(&state.captures), request, wanted.namespace)?;
    let streamed = request.parameter("sendInitialEvents");
    let match_asked = request.parameter("resourceVersionMatch");
    let forbidden = |why: &str| {
        let why = format!("ListOptions.meta.k8s.io \"\" is invalid: {why}");
        Err((422, status(422, &why)))
    };
    match (streamed, match_asked) {
        (Some(_), Some("NotOlderThan")) | (None, None) => {}
        (Some(_), _) => {
            return forbidden(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
        (None, Some(_)) => {
            return forbidden(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
    }
    let start = match (streamed, request.parameter("resourceVersion")) {
        (Some("true"), _) => Start::Streamed,
        (_, None | Some("" | "0")) => Start::All,
        (_, Some(text)) => match text.parse() {
            Ok(version) => Start::After(version),
            Err(_) => return Err((400, status(400, "Invalid value for resourceVersion"))),
        },
    };
    Ok(Watch::asked(Sort::Captures, view, start, request))
}

fn view(
    captures: &Captures,
    request: &Request,
    namespace: Option<&str>,
) -> Result<View, (u16, Value)> {
    let fields: Vec<&str> = captures.selectable.iter().map(String::as_str).collect();
    View::asked(request, namespace, &fields).map_err(|why| (400, status(400, &why)))
}

fn discovered(path: &[&str]) -> Outcome {
    let version = json!({"groupVersion": Sort::Captures.api_version(), "version": "v1alpha1"});
    match path {
        ["apis", GROUP] => Ok(json!({
            "kind": "APIGroup",
            "apiVersion": "v1",
            "name": GROUP,
            "versions": [version],
            "preferredVersion": version,
        })),
        ["apis", GROUP, "v1alpha1"] => {
            let resource = |name: &str, verbs: &[&str]| json!({"name": name, "singularName": "", "namespaced": true, "kind": "Capture", "verbs": verbs});
            let main = [
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "create",
                "update",
                "watch",
            ];
            Ok(json!({
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": Sort::Captures.api_version(),
                "resources": [
                    resource("captures", &main),
                    resource("captures/status", &["get", "patch", "update"]),
                ],
            }))
        }
        _ => Err((404, status(404, ""))),
    }
}

fn body(request: &Request) -> Result<&Value, (u16, Value)> {
    let body = request.body.as_ref();
    body.ok_or_else(|| (400, status(400, "the body is no JSON")))
}

fn is_strict(request: &Request) -> bool {
    request.parameter("fieldValidation") == Some("Strict")
}
