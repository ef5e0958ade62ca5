//! Every object is what its kind may be: read into the type of Kubernetes 1.36 and written again it is still all there, and other kinds fit their own schema.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::admissionregistration::{v1 as admission, v1beta1 as admission_beta};
use k8s_openapi::api::{apps, core, networking, rbac, scheduling};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Document, every, repository};

/// Reads an object into its type and gives what the type writes.
type Reread = fn(&Value) -> Result<Value>;

fn reread<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value> {
    Ok(serde_json::to_value(serde_json::from_value::<T>(
        object.clone(),
    )?)?)
}

const KINDS: [(&str, &str, Reread); 17] = [
    ("v1", "ConfigMap", reread::<core::v1::ConfigMap>),
    ("v1", "Pod", reread::<core::v1::Pod>),
    ("v1", "Secret", reread::<core::v1::Secret>),
    ("v1", "Service", reread::<core::v1::Service>),
    ("v1", "ServiceAccount", reread::<core::v1::ServiceAccount>),
    ("apps/v1", "DaemonSet", reread::<apps::v1::DaemonSet>),
    (
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        reread::<apiextensions::v1::CustomResourceDefinition>,
    ),
    (
        "networking.k8s.io/v1",
        "NetworkPolicy",
        reread::<networking::v1::NetworkPolicy>,
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        reread::<rbac::v1::ClusterRole>,
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        reread::<rbac::v1::ClusterRoleBinding>,
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "Role",
        reread::<rbac::v1::Role>,
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        reread::<rbac::v1::RoleBinding>,
    ),
    (
        "scheduling.k8s.io/v1",
        "PriorityClass",
        reread::<scheduling::v1::PriorityClass>,
    ),
    (
        "admissionregistration.k8s.io/v1",
        "MutatingAdmissionPolicy",
        reread::<admission::MutatingAdmissionPolicy>,
    ),
    (
        "admissionregistration.k8s.io/v1",
        "MutatingAdmissionPolicyBinding",
        reread::<admission::MutatingAdmissionPolicyBinding>,
    ),
    (
        "admissionregistration.k8s.io/v1beta1",
        "MutatingAdmissionPolicy",
        reread::<admission_beta::MutatingAdmissionPolicy>,
    ),
    (
        "admissionregistration.k8s.io/v1beta1",
        "MutatingAdmissionPolicyBinding",
        reread::<admission_beta::MutatingAdmissionPolicyBinding>,
    ),
];

/// Kinds of others, by their schemas in `tests/data/crds`.
const OTHERS: [(&str, &str); 4] = [
    ("monitoring.coreos.com/v1", "PodMonitor"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("security.openshift.io/v1", "SecurityContextConstraints"),
];

/// What an object has that its kind has not.
pub(super) fn strange(object: &Value) -> Result<Vec<String>> {
    let kind = [object["apiVersion"].as_str(), object["kind"].as_str()];
    let [Some(version), Some(kind)] = kind else {
        bail!("no kind: {object}");
    };
    if let Some((.., reread)) = KINDS
        .iter()
        .find(|known| (known.0, known.1) == (version, kind))
    {
        let mut lost = Vec::new();
        compare(object, &reread(object)?, "", &mut lost);
        return Ok(lost);
    }
    ensure!(
        OTHERS.contains(&(version, kind)),
        "{version} {kind} is not known here"
    );
    let path = repository().join(format!("tests/data/crds/{kind}.json"));
    let schema: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let validator = jsonschema::validator_for(&schema)?;
    let errors = validator.iter_errors(object);
    Ok(errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect())
}

/// Notes every path of `before` that `after` does not have as it was. What stands for nothing may be left out: null, and an empty list or object.
fn compare(before: &Value, after: &Value, path: &str, lost: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let path = format!("{path}/{key}");
                match after.get(key) {
                    Some(after) => compare(value, after, &path, lost),
                    None if stands_for_nothing(value) => {}
                    None => lost.push(format!("{path}: no such field")),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (n, (before, after)) in before.iter().zip(after).enumerate() {
                compare(before, after, &format!("{path}/{n}"), lost);
            }
        }
        (before, after) if before == after => {}
        // A bound of a schema is a number with a fraction in its type.
        (Value::Number(before), Value::Number(after)) if before.as_f64() == after.as_f64() => {}
        (before, after) => lost.push(format!("{path}: {before} becomes {after}")),
    }
}

fn stands_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn no_object_has_a_field_that_its_kind_has_not() -> Result<()> {
    let mut seen = BTreeSet::new();
    for (name, rendered) in every()? {
        for document in &rendered.documents {
            let lost =
                strange(&document.object).with_context(|| format!("{name}: {}", document.id()))?;
            ensure!(lost.is_empty(), "{name}: {}: {lost:#?}", document.id());
            let version = document.text("/apiVersion");
            seen.insert((version.to_owned(), document.kind().to_owned()));
        }
    }
    // Each kind is in some combination, or it is looked at in none.
    let known = KINDS.iter().map(|(version, kind, _)| (*version, *kind));
    for (version, kind) in known.chain(OTHERS) {
        ensure!(
            seen.contains(&(version.to_owned(), kind.to_owned())),
            "no combination has a {version} {kind}"
        );
    }
    Ok(())
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn a_field_that_is_not_there_would_be_noticed_in_every_object() -> Result<()> {
    for (name, rendered) in every()? {
        for Document { object, .. } in &rendered.documents {
            let mut wrong = object.clone();
            // Not in what takes any key.
            let place = ["spec", "rules", "roleRef", "metadata"];
            let place = place
                .iter()
                .find(|place| wrong.get(**place).is_some())
                .context("a place")?;
            let place = &mut wrong[*place];
            let place = if place.is_array() {
                &mut place[0]
            } else {
                place
            };
            place["noSuchField"] = Value::from(1);
            let lost = strange(&wrong)?;
            ensure!(
                lost.iter().any(|lost| lost.contains("noSuchField")),
                "{name}: {object}: {lost:?}"
            );
        }
    }
    Ok(())
}
