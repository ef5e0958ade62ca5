//! What a custom resource's schema lets in: a real server prunes what it does not know, fills in defaults, and refuses the rest with a cause for each field.
//!
//! Known are types, `required`, `enum`, bounds of numbers and lengths, `default`, `nullable` and the one rule `self == oldSelf`. Patterns, formats and all other
//! rules pass here.

use serde_json::{Value, json};

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) field: String,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What came of a check.
#[derive(Default)]
pub(super) struct Checked {
    pub(super) problems: Vec<Problem>,
    /// The fields that the schema does not know, and that are gone now.
    pub(super) unknown: Vec<String>,
}

/// The rule that lets nothing change.
const IMMUTABLE: &str = "self == oldSelf";

/// Said where rules were not looked at.
const NOT_CHECKED: &str = "null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// Brings an object into the form in which it is kept, and tells what is wrong with it. `old` is what it is to replace.
pub(super) fn check(schema: &Value, object: &mut Value, old: Option<&Value>) -> Checked {
    let mut checked = Checked::default();
    let fields: Vec<String> = match object.as_object() {
        Some(fields) => fields.keys().cloned().collect(),
        None => return checked,
    };
    let known = &schema["properties"];
    for field in fields {
        if ["apiVersion", "kind", "metadata"].contains(&field.as_str()) {
            continue;
        }
        if known[&field].is_null() {
            checked.unknown.push(field.clone());
            remove(object, &field);
            continue;
        }
        checked.walk(&known[&field], &mut object[&field], &field);
    }
    checked.require(schema, object, "");
    checked.apply_rules(schema, object, old, "");
    checked
}

impl Checked {
    fn walk(&mut self, schema: &Value, value: &mut Value, path: &str) {
        if value.is_null() {
            if schema["nullable"] == true {
                return;
            }
            if !schema["default"].is_null() {
                *value = schema["default"].clone();
            }
        }
        if !self.typed(schema, value, path) {
            return;
        }
        self.bounded(schema, value, path);
        self.small_enough(schema, value, path);
        match value {
            Value::Object(_) => self.object(schema, value, path),
            Value::Array(items) => {
                for (number, item) in items.iter_mut().enumerate() {
                    self.walk(&schema["items"], item, &format!("{path}[{number}]"));
                }
            }
            _ => {}
        }
    }

    /// What changes that may not. Nothing is compared that is wrong by itself, and that is said too.
    fn apply_rules(&mut self, schema: &Value, object: &Value, old: Option<&Value>, path: &str) {
        let blocks = |problem: &Problem| problem.reason != "FieldValueInvalid";
        if self.problems.iter().any(blocks) {
            if has_rules(schema) {
                self.invalid("<nil>", NOT_CHECKED);
            }
            return;
        }
        let Some(old) = old else { return };
        let rules = schema["x-kubernetes-validations"].as_array();
        for rule in rules.into_iter().flatten() {
            let is_known = rule["rule"].as_str().map(str::trim) == Some(IMMUTABLE);
            if is_known && old != object {
                let usual = format!("failed rule: {IMMUTABLE}");
                let message = rule["message"].as_str().unwrap_or(&usual);
                self.invalid(path, &format!("{}: {message}", json!(kind_of(object))));
            }
        }
        let known = schema["properties"].as_object();
        for (name, property) in known.into_iter().flatten() {
            if let (Some(object), Some(old)) = (object.get(name), old.get(name)) {
                let path = format!("{path}.{name}");
                self.apply_rules(property, object, Some(old), path.trim_start_matches('.'));
            }
        }
    }

    fn object(&mut self, schema: &Value, value: &mut Value, path: &str) {
        let known = schema["properties"].as_object();
        for (name, property) in known.into_iter().flatten() {
            if !property["default"].is_null() && value.get(name).is_none() {
                value[name] = property["default"].clone();
            }
        }
        let fields: Vec<String> = match value.as_object() {
            Some(fields) => fields.keys().cloned().collect(),
            None => return,
        };
        for field in fields {
            let below = format!("{path}.{field}");
            let property = known.and_then(|known| known.get(&field));
            let rest = &schema["additionalProperties"];
            match property.or(Some(rest).filter(|rest| rest.is_object())) {
                Some(property) => self.walk(property, &mut value[&field], &below),
                None if schema["x-kubernetes-preserve-unknown-fields"] == true || *rest == true => {
                }
                None => {
                    self.unknown.push(below);
                    remove(value, &field);
                }
            }
        }
        self.require(schema, value, &format!("{path}."));
    }

    fn require(&mut self, schema: &Value, value: &Value, before: &str) {
        let required = schema["required"].as_array();
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if value.get(name).is_none() {
                self.problems.push(Problem {
                    field: format!("{before}{name}"),
                    reason: "FieldValueRequired",
                    message: "Required value".to_owned(),
                });
            }
        }
    }

    fn typed(&mut self, schema: &Value, value: &Value, path: &str) -> bool {
        let found = kind_of(value);
        let is_one = match schema["type"].as_str() {
            _ if schema["x-kubernetes-int-or-string"] == true => {
                ["integer", "string"].contains(&found)
            }
            Some("number") => ["integer", "number"].contains(&found),
            Some(wanted) => wanted == found,
            None => true,
        };
        if !is_one {
            let wanted = schema["type"].as_str().unwrap_or("integer or string");
            self.problems.push(Problem {
                field: path.to_owned(),
                reason: "FieldValueTypeInvalid",
                message: format!(
                    "Invalid value: \"{found}\": {path} in body must be of type {wanted}: \"{found}\""
                ),
            });
        }
        is_one
    }

    fn bounded(&mut self, schema: &Value, value: &Value, path: &str) {
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            let words: Vec<String> = allowed.iter().map(Value::to_string).collect();
            self.problems.push(Problem {
                field: path.to_owned(),
                reason: "FieldValueNotSupported",
                message: format!(
                    "Unsupported value: {value}: supported values: {}",
                    words.join(", ")
                ),
            });
        }
        let length = value.as_str().map(|text| text.chars().count() as f64);
        let items = value.as_array().map(|items| items.len() as f64);
        let number = value.as_f64();
        let bounds = [
            ("minLength", length, "should be at least", "chars long"),
            ("minItems", items, "should have at least", "items"),
            ("minimum", number, "should be greater than or equal to", ""),
            ("maximum", number, "should be less than or equal to", ""),
        ];
        for (bound, found, what, unit) in bounds {
            let (Some(limit), Some(found)) = (schema[bound].as_f64(), found) else {
                continue;
            };
            let is_within = match bound.starts_with("min") {
                true => found >= limit,
                false => found <= limit,
            };
            if !is_within {
                let text = format!("{value}: {path} in body {what} {limit} {unit}");
                self.invalid(path, text.trim_end());
            }
        }
    }

    /// Not more than there may be.
    fn small_enough(&mut self, schema: &Value, value: &Value, path: &str) {
        let (found, bound) = match value {
            // Characters, whatever the message says.
            Value::String(text) => (text.chars().count(), "maxLength"),
            Value::Array(items) => (items.len(), "maxItems"),
            _ => return,
        };
        let Some(most) = schema[bound].as_u64().filter(|most| *most < found as u64) else {
            return;
        };
        let (reason, message) = match bound {
            "maxLength" => (
                "FieldValueTooLong",
                format!("Too long: may not be more than {most} bytes"),
            ),
            _ => (
                "FieldValueTooMany",
                format!("Too many: {found}: must have at most {most} items"),
            ),
        };
        self.problems.push(Problem {
            field: path.to_owned(),
            reason,
            message,
        });
    }

    fn invalid(&mut self, path: &str, why: &str) {
        self.problems.push(Problem {
            field: path.to_owned(),
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {why}"),
        });
    }
}

fn has_rules(schema: &Value) -> bool {
    let known = schema["properties"].as_object();
    schema["x-kubernetes-validations"].is_array()
        || known.is_some_and(|known| known.values().any(has_rules))
}

fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

/// The name of a value's type in a schema.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What every schema of captures says, until a test installs the real one.
pub(super) fn usual() -> Value {
    json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object",
                "required": ["pod", "kind"],
                "properties": {
                    "pod": {"type": "string", "minLength": 1},
                    "container": {"type": "string", "nullable": true},
                    "kind": {"type": "string", "enum": ["dump", "gcdump", "trace", "counters"]},
                    "type": {"type": "string", "enum": ["mini", "triage", "heap", "full"], "nullable": true},
                },
                "x-kubernetes-preserve-unknown-fields": true,
                "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "spec is immutable"}],
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    })
}
