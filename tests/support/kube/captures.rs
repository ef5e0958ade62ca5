//! Custom resources `captures.salvage.dev`: what tests do with them, and with the people who ask for them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytes::Bytes;
use serde_json::{Value, json};

use super::faults::{self, Call, Cut};
use super::front::Request;
use super::kept::{Kept, Said, Sort};
use super::writes::{Captures, Part, Write};
use super::{KubeServer, State, lock};

/// Their group.
pub(super) const GROUP: &str = "salvage.dev";

/// Makes a change and wakes the watches.
pub(super) fn changed<R>(state: &State, change: impl FnOnce(&mut Captures) -> R) -> R {
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
