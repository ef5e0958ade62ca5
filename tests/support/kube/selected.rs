//! What a list or a watch shows: one namespace or all, and what selectors leave of it.

use bytes::Bytes;
use serde_json::{Value, json};

use super::front::Request;
use super::kept;

/// One look at the objects.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    namespace: Option<String>,
    terms: Vec<Term>,
}

/// Part of a selector; all of them must hold.
#[derive(Clone, Debug)]
enum Term {
    /// What a pointer finds is this text, or is not.
    Is(Path, String, bool),
    /// There is something, or there is not.
    Exists(Path, bool),
}

type Path = Vec<String>;

impl View {
    /// No object is selected.
    pub(super) fn nothing() -> Self {
        let path = ["metadata", "uid"].map(str::to_owned).to_vec();
        Self {
            namespace: None,
            terms: vec![Term::Exists(path, false)],
        }
    }

    /// What a request asks for. Fields beyond name and namespace must be among `fields`.
    pub(super) fn asked(
        request: &Request,
        namespace: Option<&str>,
        fields: &[&str],
    ) -> Result<Self, String> {
        let parts = |name: &str| {
            let selector = request.parameter(name).unwrap_or_default().to_owned();
            selector
                .split(',')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let mut terms = Vec::new();
        for part in parts("fieldSelector") {
            let (field, text, equal) =
                comparison(&part).ok_or_else(|| format!("invalid selector: '{part}'"))?;
            if !["metadata.name", "metadata.namespace"].contains(&field) && !fields.contains(&field)
            {
                return Err(format!("field label not supported: {field}"));
            }
            let path = field.split('.').map(str::to_owned).collect();
            terms.push(Term::Is(path, text.to_owned(), equal));
        }
        for part in parts("labelSelector") {
            if part.contains(['(', ')', ' ']) {
                return Err(format!("sets are not known here: '{part}'"));
            }
            let path = |label: &str| ["metadata", "labels", label].map(str::to_owned).to_vec();
            terms.push(match comparison(&part) {
                Some((label, text, equal)) => Term::Is(path(label), text.to_owned(), equal),
                None => match part.strip_prefix('!') {
                    Some(label) => Term::Exists(path(label), false),
                    None => Term::Exists(path(&part), true),
                },
            });
        }
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            terms,
        })
    }

    pub(super) fn shows(&self, object: &Value) -> bool {
        let namespace = &object["metadata"]["namespace"];
        self.namespace.as_ref().is_none_or(|own| namespace == own)
            && self.terms.iter().all(|term| term.holds(object))
    }

    /// A line of a watch as who has this view gets it, if at all: what begins to be shown is an addition to it, what ends to be a removal.
    pub(super) fn seen(&self, line: Bytes, was: Option<&Value>) -> Option<Bytes> {
        if self.namespace.is_none() && self.terms.is_empty() {
            return Some(line);
        }
        let event: Value = serde_json::from_slice(&line).expect("a line of ours");
        let object = &event["object"];
        let is_shown = event["type"] != "DELETED" && self.shows(object);
        match (was.is_some_and(|was| self.shows(was)), is_shown) {
            (false, false) => None,
            (true, true) => Some(line),
            (false, true) => Some(kept::line(&json!({"type": "ADDED", "object": object}))),
            (true, false) if event["type"] == "DELETED" => Some(line),
            (true, false) => {
                // Its last state that was shown, with the version of the change.
                let mut last = was.cloned()?;
                last["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
                Some(kept::line(&json!({"type": "DELETED", "object": last})))
            }
        }
    }
}

impl Term {
    fn holds(&self, object: &Value) -> bool {
        let find = |path: &Path| path.iter().try_fold(object, |at, name| at.get(name));
        match self {
            Self::Is(path, text, equal) => {
                let found = find(path).and_then(Value::as_str).unwrap_or_default();
                (found == text) == *equal
            }
            Self::Exists(path, wanted) => find(path).is_some() == *wanted,
        }
    }
}

/// Both sides, and whether they are to be equal.
fn comparison(part: &str) -> Option<(&str, &str, bool)> {
    if let Some((name, text)) = part.split_once("!=") {
        return Some((name, text, false));
    }
    let (name, text) = part.split_once("==").or_else(|| part.split_once('='))?;
    Some((name, text, true))
}
