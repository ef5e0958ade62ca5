//! Custom resources `captures.salvage.dev` at the wire: which request gets which answer, and what tests do with captures.
//!
//! The agent may read and delete them and write their status; what else it asks for is refused and remembered as an offence, as is a list that the server's cache
//! may not answer. People have tokens of their own and may ask for captures, in one namespace or in all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::body::Body;
use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

use super::faults::{self, Call, Cut, Fault, status};
use super::front::{self, Request};
use super::kept::{Kept, Said, Sort, key};
use super::selected::View;
use super::stream::{Start, Watch};
use super::users::{User, Wanted};
use super::writes::{Captures, Outcome, Part, Write};
use super::{KubeServer, State, lock};

/// Their group.
pub(super) const GROUP: &str = "salvage.dev";

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

/// Makes a change and wakes the watches.
fn changed<R>(state: &State, change: impl FnOnce(&mut Captures) -> R) -> R {
    let outcome = change(&mut lock(&state.captures));
    state.news.send_replace(());
    outcome
}

impl KubeServer {
    /// Writes a kubeconfig for a person into a directory and gives its path. They may create, get, list, watch and delete captures, and get and list pods.
    pub(crate) fn kubeconfig_of(&self, name: &str, directory: &Path) -> Result<PathBuf> {
        self.admit(name, None, directory)
    }

    /// The same for one who may so in one namespace only.
    pub(crate) fn kubeconfig_within(
        &self,
        name: &str,
        namespace: &str,
        directory: &Path,
    ) -> Result<PathBuf> {
        self.admit(name, Some(namespace), directory)
    }

    fn admit(&self, name: &str, namespace: Option<&str>, directory: &Path) -> Result<PathBuf> {
        let token = lock(&self.state.users).admit(name, namespace);
        let path = directory.join(format!("kubeconfig-{name}"));
        self.write_kubeconfig(&path, &token, namespace.unwrap_or("default"))?;
        Ok(path)
    }

    /// Whether the cluster knows captures. Where it does not, all below their group is `404 page not found`; those that there are come back with it.
    pub(crate) fn captures_installed(&self, is_installed: bool) -> &Self {
        lock(&self.state.captures).is_installed = is_installed;
        self
    }

    /// Takes schema and selectable fields from a `CustomResourceDefinition`, and checks what is written from now on by them. Panics where it is not one of captures, or
    /// where there are some already.
    pub(crate) fn define_captures(&self, definition: &Value) -> &Self {
        let spec = &definition["spec"];
        assert_eq!(spec["group"], GROUP, "a definition of captures");
        assert_eq!(spec["names"]["plural"], "captures");
        assert_eq!(spec["scope"], "Namespaced");
        let versions = spec["versions"].as_array();
        let version = versions
            .into_iter()
            .flatten()
            .find(|version| version["name"] == "v1alpha1")
            .expect("a version v1alpha1");
        assert!(
            version["subresources"]["status"].is_object(),
            "the status is a resource of its own"
        );
        let mut captures = lock(&self.state.captures);
        let is_first = captures.kept.all().next().is_none();
        assert!(is_first, "what is there was checked by another schema");
        captures.schema = version["schema"]["openAPIV3Schema"].clone();
        let fields = version["selectableFields"].as_array();
        captures.selectable = fields
            .into_iter()
            .flatten()
            .filter_map(|field| field["jsonPath"].as_str())
            .map(|path| path.trim_start_matches('.').to_owned())
            .collect();
        drop(captures);
        self
    }

    /// Makes a capture as whoever may, and announces it. Panics where the server would refuse it.
    pub(crate) fn add_capture(&self, namespace: &str, name: &str, spec: Value) -> Value {
        let object = json!({
            "apiVersion": Sort::Captures.api_version(),
            "kind": "Capture",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        });
        self.add_capture_object(object)
    }

    /// The same of a whole object: with labels, finalizers and whatever.
    pub(crate) fn add_capture_object(&self, object: Value) -> Value {
        let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
        let namespace = namespace.expect("a capture has a namespace");
        let made = changed(&self.state, |captures| {
            captures.create(&namespace, object, true)
        });
        made.unwrap_or_else(|(_, refusal)| panic!("{refusal}"))
    }

    /// A capture as it is now.
    pub(crate) fn capture(&self, namespace: &str, name: &str) -> Option<Value> {
        lock(&self.state.captures).get(namespace, name).ok()
    }

    /// Every capture as it is now, by namespace and name.
    pub(crate) fn captures(&self) -> Vec<Value> {
        lock(&self.state.captures).kept.all().cloned().collect()
    }

    /// Merges this into a capture's main part, as whoever may. Panics where the server would refuse it.
    pub(crate) fn patch_capture(&self, namespace: &str, name: &str, patch: &Value) -> Value {
        self.merge_capture(namespace, name, Part::Main, patch)
    }

    /// Merges this into a capture's status, as another agent might. Panics where the server would refuse it.
    pub(crate) fn set_capture_status(&self, namespace: &str, name: &str, status: &Value) -> Value {
        let patch = json!({"status": status});
        self.merge_capture(namespace, name, Part::Status, &patch)
    }

    fn merge_capture(&self, namespace: &str, name: &str, part: Part, patch: &Value) -> Value {
        let written = changed(&self.state, |captures| {
            // Conflicts are for those who ask.
            let conflicts = std::mem::take(&mut captures.conflicts);
            let written = captures.write((namespace, name), part, &Write::Merge(patch), true);
            captures.conflicts = conflicts;
            written
        });
        written.unwrap_or_else(|(_, refusal)| panic!("{refusal}"))
    }

    /// Deletes a capture as whoever may. Panics on one that does not exist.
    pub(crate) fn delete_capture(&self, namespace: &str, name: &str) -> &Self {
        let deleted = changed(&self.state, |captures| {
            captures.delete(namespace, name, &Value::Null)
        });
        deleted.unwrap_or_else(|(_, refusal)| panic!("{refusal}"));
        self
    }

    /// Every status that a capture of this name has had since it was made, in order, those of one that is deleted too.
    pub(crate) fn capture_history(&self, namespace: &str, name: &str) -> Vec<Value> {
        let captures = lock(&self.state.captures);
        let key = (namespace.to_owned(), name.to_owned());
        captures.history.get(&key).cloned().unwrap_or_default()
    }

    /// Lets somebody else change the capture just before each of the next writes of a status: whoever sends a version with them is answered 409.
    pub(crate) fn conflict_next_status(&self, writes: usize) -> &Self {
        lock(&self.state.captures).conflicts = writes;
        self
    }

    /// The writes of a status that would have overwritten whatever was there: without a resource version.
    pub(crate) fn blind_status_writes(&self) -> Vec<Request> {
        let is_blind = |request: &Request| {
            let version = |body: &Value| body["metadata"]["resourceVersion"].is_string();
            request.call == Call::CaptureStatus && !request.body.as_ref().is_some_and(version)
        };
        self.requests().into_iter().filter(is_blind).collect()
    }

    /// Waits until a capture is there that this holds for, and gives it.
    pub(crate) fn wait_for_capture(
        &self,
        namespace: &str,
        name: &str,
        mut condition: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        let mut found = None;
        let waited = self.wait_until(&format!("the capture {namespace}/{name}"), |server| {
            found = server.capture(namespace, name);
            found.as_ref().is_some_and(&mut condition)
        });
        waited.map(drop).with_context(|| {
            let found = self.capture(namespace, name);
            found.map_or("there is none".to_owned(), |found| {
                format!("it is {found:#}")
            })
        })?;
        found.context("the capture was there a moment ago")
    }

    /// Waits until a watch of captures is open and all that was said is on its way to it.
    pub(crate) fn wait_until_captures_watched(&self) -> Result<&Self> {
        self.wait_until("a watch of captures has all there is", |server| {
            server.is_watched(Sort::Captures)
        })
    }

    /// How many watches of captures are open now.
    pub(crate) fn open_capture_watches(&self) -> usize {
        self.open_of(Sort::Captures)
    }

    /// Ends all watches of captures that are open, in one way or another.
    pub(crate) fn cut_captures(&self, cut: Cut) -> &Self {
        self.change_captures(|kept| kept.say(Said::Cut(cut)))
    }

    /// Tells the watches of captures that asked for bookmarks how far they are.
    pub(crate) fn bookmark_captures(&self) -> &Self {
        self.change_captures(Kept::bookmark)
    }

    /// Remembers this many changes of captures; a watch from before them is answered that they are gone.
    pub(crate) fn window_captures(&self, changes: usize) -> &Self {
        self.change_captures(|kept| kept.window(changes))
    }

    /// Forgets the past of captures: a watch from any version but the newest is answered that it is gone. Open watches go on.
    pub(crate) fn compact_captures(&self) -> &Self {
        self.change_captures(Kept::compact)
    }

    /// Sends the open watches of captures a line that changes nothing here.
    pub(crate) fn say_captures_line(&self, line: &str) -> &Self {
        let line = Bytes::from(format!("{line}\n"));
        self.change_captures(|kept| kept.say(Said::Raw(line)))
    }

    /// Sends the open watches of captures an ERROR event with this code. Real servers end the watch then; this one ends when told.
    pub(crate) fn say_captures_error(&self, code: u16) -> &Self {
        let line = json!({"type": "ERROR", "object": faults::status(code, "")});
        self.say_captures_line(&line.to_string())
    }

    fn change_captures(&self, change: impl FnOnce(&mut Kept)) -> &Self {
        changed(&self.state, |captures| change(&mut captures.kept));
        self
    }
}
