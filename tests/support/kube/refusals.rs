//! Refusals about captures, worded as a real server does: people read them, and clients tell them apart by code, reason and causes.

use serde_json::{Value, json};

use super::captures::GROUP;
use super::faults::status;
use super::schema::Problem;

/// Their kind.
pub(super) const KIND: &str = "Capture";

/// A field that must be there and is not.
pub(super) fn required(field: &str, what: &str) -> Problem {
    Problem {
        field: field.to_owned(),
        reason: "FieldValueRequired",
        message: format!("Required value: {what}"),
    }
}

/// A refusal about one capture.
pub(super) fn detailed(code: u16, reason: &str, message: &str, name: &str) -> Value {
    let mut refusal = status(code, message);
    refusal["reason"] = json!(reason);
    refusal["details"] = json!({"name": name, "group": GROUP, "kind": "captures"});
    refusal
}

/// There is none of this name.
pub(super) fn not_found(name: &str) -> (u16, Value) {
    let why = format!("captures.{GROUP} \"{name}\" not found");
    (404, detailed(404, "NotFound", &why, name))
}

/// It is not what whoever asks took it for.
pub(super) fn conflict(kind: &str, name: &str, why: &str) -> (u16, Value) {
    let why = format!("Operation cannot be fulfilled on {kind}.{GROUP} \"{name}\": {why}");
    let mut refusal = detailed(409, "Conflict", &why, name);
    refusal["details"]["kind"] = json!(kind);
    (409, refusal)
}

/// It has problems.
pub(super) fn invalid(kind: &str, name: &str, problems: &[Problem]) -> (u16, Value) {
    let texts: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .collect();
    let texts = match texts.as_slice() {
        [one] => one.clone(),
        all => format!("[{}]", all.join(", ")),
    };
    let why = format!("{kind}.{GROUP} \"{name}\" is invalid: {texts}");
    let mut refusal = detailed(422, "Invalid", &why, name);
    refusal["details"]["kind"] = json!(kind);
    refusal["details"]["causes"] = problems
        .iter()
        .map(|problem| json!({"reason": problem.reason, "message": problem.message, "field": problem.field}))
        .collect();
    (422, refusal)
}
