//! The captures that are kept, and what may become of them: made, changed in one of their two parts, deleted, each as a real server does it for a custom
//! resource with a status of its own.
//!
//! Whoever sends a resource version that is not the newest is answered 409. A change that changes nothing is none: no new version, nothing for the watches.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::captures::GROUP;
use super::events::merge;
use super::faults::status;
use super::kept::{Kept, Key, Sort, Versions, key};
use super::refusals::{KIND, conflict, detailed, invalid, not_found, required};
use super::schema::{self, Problem};

/// What was done, or the answer that says why not.
pub(super) type Outcome = Result<Value, (u16, Value)>;

/// Which part of an object a write is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All but the status.
    Main,
    /// Nothing but the status.
    Status,
}

/// How it is written.
pub(super) enum Write<'a> {
    Put(&'a Value),
    /// RFC 7396.
    Merge(&'a Value),
}

/// What the end of a generated name is made of: nothing that makes a word.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

pub(super) struct Captures {
    pub(super) kept: Kept,
    pub(super) is_installed: bool,
    /// Its `openAPIV3Schema`.
    pub(super) schema: Value,
    /// Fields that selectors may name.
    pub(super) selectable: Vec<String>,
    /// So many writes of a status meet another change first.
    pub(super) conflicts: usize,
    /// Every status, in order.
    pub(super) history: BTreeMap<Key, Vec<Value>>,
    made: u64,
}

impl Captures {
    pub(super) fn new(versions: Versions) -> Self {
        Self {
            kept: Kept::new(Sort::Captures, "", versions),
            is_installed: true,
            schema: schema::usual(),
            selectable: Vec::new(),
            conflicts: 0,
            history: BTreeMap::new(),
            made: 0,
        }
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Outcome {
        let found = self.kept.get(namespace, name).cloned();
        found.ok_or_else(|| not_found(name))
    }

    pub(super) fn create(&mut self, namespace: &str, mut object: Value, strict: bool) -> Outcome {
        of_this_kind(&object)?;
        let own = object["metadata"]["namespace"].as_str();
        if own.is_some_and(|own| own != namespace) {
            let why = "the namespace of the provided object does not match the namespace sent on the request";
            return Err((400, status(400, why)));
        }
        if version_of(&object).is_some() {
            let why = "resourceVersion should not be set on objects to be created";
            return Err((500, status(500, why)));
        }
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let name = match (text("name"), text("generateName")) {
            ("", "") => {
                let problem = required("metadata.name", "name or generateName is required");
                return Err(invalid(KIND, "", &[problem]));
            }
            ("", start) => format!("{start}{}", letters(self.made)),
            (name, _) => name.to_owned(),
        };
        if !is_subdomain(&name) {
            let problem = Problem {
                field: "metadata.name".to_owned(),
                reason: "FieldValueInvalid",
                message: format!(
                    "Invalid value: {}: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                    json!(name)
                ),
            };
            return Err(invalid(KIND, &name, &[problem]));
        }
        if self.kept.get(namespace, &name).is_some() {
            let why = format!("captures.{GROUP} \"{name}\" already exists");
            return Err((409, detailed(409, "AlreadyExists", &why, &name)));
        }
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        self.check(&name, &mut object, None, strict)?;
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(name);
        metadata["namespace"] = json!(namespace);
        metadata["uid"] = json!(format!("ca000000-0000-4000-8000-{:012x}", self.made));
        metadata["generation"] = json!(1);
        let now = super::recorded::seconds(jiff::Timestamp::now());
        metadata["creationTimestamp"] = json!(now.to_string());
        self.made += 1;
        // What a namesake went through is not this one's.
        self.history.remove(&key(&object));
        Ok(self.kept.apply("ADDED", object, None))
    }

    pub(super) fn write(
        &mut self,
        (namespace, name): (&str, &str),
        part: Part,
        write: &Write<'_>,
        strict: bool,
    ) -> Outcome {
        if part == Part::Status && self.conflicts > 0 && self.get(namespace, name).is_ok() {
            self.conflicts -= 1;
            self.change_meanwhile(namespace, name);
        }
        let old = self.get(namespace, name)?;
        let sent = match write {
            Write::Put(object) => (*object).clone(),
            Write::Merge(patch) => {
                let mut merged = old.clone();
                merge(&mut merged, patch);
                merged
            }
        };
        of_this_kind(&sent)?;
        let own = sent["metadata"]["name"].as_str().unwrap_or_default();
        if own != name {
            let why = format!(
                "the name of the object ({own}) does not match the name on the URL ({name})"
            );
            return Err((400, status(400, &why)));
        }
        match version_of(&sent) {
            // A custom resource is never replaced whatever it is now.
            None => {
                let problem = Problem {
                    field: "metadata.resourceVersion".to_owned(),
                    reason: "FieldValueInvalid",
                    message: "Invalid value: 0: must be specified for an update".to_owned(),
                };
                // The server's store says so, which knows no kinds.
                return Err(invalid("captures", name, &[problem]));
            }
            Some(version) if version_of(&old) != Some(version) => {
                let why = "the object has been modified; please apply your changes to the latest version and try again";
                return Err(conflict("captures", name, why));
            }
            Some(_) => {}
        }
        let (sent_uid, uid) = (&sent["metadata"]["uid"], &old["metadata"]["uid"]);
        if let (Write::Put(_), Some(sent)) = (write, sent_uid.as_str())
            && uid != sent
        {
            let uid = uid.as_str().unwrap_or_default();
            let why = format!(
                "Precondition failed: UID in precondition: {sent}, UID in object meta: {uid}"
            );
            return Err(conflict("captures", name, &why));
        }
        let mut new = match part {
            Part::Status => with("status", old.clone(), &sent),
            Part::Main => main_of(sent, &old),
        };
        self.check(name, &mut new, Some(&old), strict)?;
        if part == Part::Main && new["spec"] != old["spec"] {
            let generation = old["metadata"]["generation"].as_u64().unwrap_or_default();
            new["metadata"]["generation"] = json!(generation + 1);
        }
        if new == old {
            return Ok(old);
        }
        if new["status"] != old["status"] {
            let history = self.history.entry(key(&new)).or_default();
            history.push(new["status"].clone());
        }
        let is_over = !new["metadata"]["deletionTimestamp"].is_null() && !is_held(&new);
        let kind = if is_over { "DELETED" } else { "MODIFIED" };
        Ok(self.kept.apply(kind, new, None))
    }

    /// Deletes one that is what `preconditions` say; one that finalizers hold is only marked.
    pub(super) fn delete(&mut self, namespace: &str, name: &str, preconditions: &Value) -> Outcome {
        let old = self.get(namespace, name)?;
        let named = [
            ("uid", "UID", "deleted and then recreated"),
            ("resourceVersion", "ResourceVersion", "modified"),
        ];
        for (field, word, what) in named {
            let found = old["metadata"][field].as_str().unwrap_or_default();
            if let Some(wanted) = preconditions[field].as_str()
                && wanted != found
            {
                let why = format!(
                    "the {word} in the precondition ({wanted}) does not match the {word} in record ({found}). The object might have been {what}"
                );
                // Here a real server names the kind.
                return Err(conflict(KIND, name, &why));
            }
        }
        if is_held(&old) {
            if !old["metadata"]["deletionTimestamp"].is_null() {
                return Ok(old);
            }
            let mut marked = old;
            let now = super::recorded::seconds(jiff::Timestamp::now());
            marked["metadata"]["deletionTimestamp"] = json!(now.to_string());
            marked["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            return Ok(self.kept.apply("MODIFIED", marked, None));
        }
        let uid = old["metadata"]["uid"].clone();
        self.kept.apply("DELETED", old, None);
        Ok(json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {"name": name, "group": GROUP, "kind": "captures", "uid": uid},
        }))
    }

    /// Somebody else's change, which leaves nothing but a newer version and a note.
    fn change_meanwhile(&mut self, namespace: &str, name: &str) {
        if let Ok(mut object) = self.get(namespace, name) {
            let note = self.kept.version().to_string();
            object["metadata"]["annotations"]["example.com/changed-at"] = json!(note);
            self.kept.apply("MODIFIED", object, None);
        }
    }

    fn check(
        &self,
        name: &str,
        object: &mut Value,
        old: Option<&Value>,
        strict: bool,
    ) -> Result<(), (u16, Value)> {
        let checked = schema::check(&self.schema, object, old);
        if strict && !checked.unknown.is_empty() {
            let fields = checked.unknown.iter();
            let fields: Vec<String> = fields
                .map(|field| format!("unknown field \"{field}\""))
                .collect();
            let why = format!(
                "Capture in version \"v1alpha1\" cannot be handled as a Capture: strict decoding error: {}",
                fields.join(", ")
            );
            return Err((400, status(400, &why)));
        }
        match checked.problems.as_slice() {
            [] => Ok(()),
            problems => Err(invalid(KIND, name, problems)),
        }
    }
}

/// What is sent to the main resource, with what it cannot change.
fn main_of(sent: Value, old: &Value) -> Value {
    let mut new = with("status", sent, old);
    for field in [
        "namespace",
        "uid",
        "generateName",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        new["metadata"] = with(field, new["metadata"].take(), &old["metadata"]);
    }
    new
}

/// An object with a field as another one has it, or without it as that one.
fn with(field: &str, mut object: Value, other: &Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        match other.get(field) {
            Some(value) => fields.insert(field.to_owned(), value.clone()),
            None => fields.remove(field),
        };
    }
    object
}

fn is_held(object: &Value) -> bool {
    let finalizers = object["metadata"]["finalizers"].as_array();
    finalizers.is_some_and(|finalizers| !finalizers.is_empty())
}

fn version_of(object: &Value) -> Option<&str> {
    let version = object["metadata"]["resourceVersion"].as_str();
    version.filter(|version| !["", "0"].contains(version))
}

fn of_this_kind(object: &Value) -> Result<(), (u16, Value)> {
    let (kind, version) = (&object["kind"], &object["apiVersion"]);
    let expected = Sort::Captures.api_version();
    let why = if !object.is_object() || kind.is_null() {
        "Object 'Kind' is missing".to_owned()
    } else if version != expected {
        let version = version.as_str().unwrap_or_default();
        format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        )
    } else if kind != "Capture" {
        format!("the kind in the data ({kind}) does not match the expected kind (Capture)")
    } else {
        return Ok(());
    };
    Err((400, status(400, &why)))
}

fn is_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_end = |letter: Option<char>| letter.is_some_and(|letter| letter != '-');
        let mut letters = label.chars();
        letters.all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '-'))
            && is_end(label.chars().next())
            && is_end(label.chars().last())
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Five of them for a number, as in names that a server makes.
fn letters(mut number: u64) -> String {
    let base = LETTERS.len() as u64;
    let letters = (0..5).map(|_| {
        let letter = LETTERS[usize::try_from(number % base).expect("small")];
        number /= base;
        char::from(letter)
    });
    letters.collect()
}
