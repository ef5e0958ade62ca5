//! What a person deployed to make a pod, told from the pod's object alone.
//!
//! A pod names what made it, which a controller made in turn: a Deployment's pod names its ReplicaSet, a CronJob's its Job. To ask the API server for
//! those would take rights on every kind there is. Their names are made by rules, which are undone here where the pod itself shows that the rule was
//! followed. It decides about names in metrics and the fair share of the spool, not about whose a dump is.

use jiff::{SignedDuration, Timestamp};

use super::bounds::MAX_NAME;
use super::meta::Meta;
use crate::model::Owner;

/// What controllers of ReplicaSets call the label with the hash that ends a ReplicaSet's name, and what they are: Kubernetes' and Argo's.
const BY_HASH: [(&str, &str); 2] = [
    ("pod-template-hash", "Deployment"),
    ("rollouts-pod-template-hash", "Rollout"),
];

/// How long before its pod a Job of a CronJob may have been due: it may have waited to be let run, and its last pod comes after its first.
const DUE_BEFORE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long after its pod it may have been due, by clocks that differ.
const DUE_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// What a person deployed to make the pod of this metadata; the pod itself, if nothing controls it.
pub(super) fn of(meta: &Meta, pod: &str, node: Option<&str>) -> Owner {
    let controller = meta.owner_references.items.first();
    let named = controller.and_then(|owner| Some((owner.kind.as_deref()?, owner.name.as_deref()?)));
    // The API server does not look at their length. No object has such a name.
    let named = named.filter(|(kind, name)| kind.len() <= MAX_NAME && name.len() <= MAX_NAME);
    let Some((kind, name)) = named else {
        return owner("Pod", pod);
    };
    match kind {
        "ReplicaSet" => BY_HASH
            .iter()
            .find_map(|(label, kind)| {
                let hash = meta.labels.get(*label)?;
                Some(owner(kind, without_suffix(name, hash)?))
            })
            .unwrap_or_else(|| owner(kind, name)),
        "Job" => match of_cron_job(name, meta.creation_timestamp) {
            Some(cron_job) => owner("CronJob", cron_job),
            None => owner(kind, name),
        },
        // A static pod, whose file the node's name was added to: one DaemonSet in all but name.
        "Node" => owner(
            "Pod",
            without_suffix(pod, node.unwrap_or(name)).unwrap_or(pod),
        ),
        _ => owner(kind, name),
    }
}

fn owner(kind: &str, name: &str) -> Owner {
    Owner {
        kind: kind.to_owned(),
        name: name.to_owned(),
    }
}

/// The name before `-<suffix>`, if both are there.
fn without_suffix<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let rest = name.strip_suffix(suffix)?.strip_suffix('-')?;
    (!suffix.is_empty() && !rest.is_empty()).then_some(rest)
}

/// The CronJob of a Job that is named after the minute it was due, since 1970. A Job that a person named `load-2024` was due in none near its pod.
fn of_cron_job(job: &str, pod_created: Option<Timestamp>) -> Option<&str> {
    let (cron_job, minutes) = job.rsplit_once('-')?;
    let digits = !minutes.is_empty() && minutes.bytes().all(|b| b.is_ascii_digit());
    let seconds = minutes.parse::<i64>().ok()?.checked_mul(60)?;
    let due = Timestamp::from_second(seconds).ok()?;
    let late = pod_created?.duration_since(due);
    let near = -DUE_AFTER <= late && late <= DUE_BEFORE;
    (digits && near && !cron_job.is_empty()).then_some(cron_job)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner_of(meta: &str) -> String {
        let meta: Meta = serde_json::from_str(meta).expect("metadata");
        let owner = of(&meta, "pod-x", Some("node-a"));
        format!("{}/{}", owner.kind, owner.name)
    }

    #[test]
    fn a_replica_set_is_its_deployments_where_the_label_ends_its_name() {
        for (labels, name, expected) in [
            (r#""pod-template-hash":"5fb6"#, "web-5fb6", "Deployment/web"),
            (r#""pod-template-hash":"5fb6"#, "a-b-5fb6", "Deployment/a-b"),
            (
                r#""rollouts-pod-template-hash":"5fb6"#,
                "web-5fb6",
                "Rollout/web",
            ),
            (
                r#""pod-template-hash":"5fb6"#,
                "web-5fb7",
                "ReplicaSet/web-5fb7",
            ),
            (
                r#""pod-template-hash":"5fb6"#,
                "web5fb6",
                "ReplicaSet/web5fb6",
            ),
            (r#""pod-template-hash":"5fb6"#, "-5fb6", "ReplicaSet/-5fb6"),
            (r#""pod-template-hash":"5fb6"#, "5fb6", "ReplicaSet/5fb6"),
            (r#""pod-template-hash":""#, "web-", "ReplicaSet/web-"),
            (r#""app":"web"#, "web-5fb6", "ReplicaSet/web-5fb6"),
        ] {
            let meta = format!(
                r#"{{"labels":{{{labels}"}},"ownerReferences":[{{"kind":"ReplicaSet","name":"{name}","controller":true}}]}}"#
            );
            assert_eq!(owner_of(&meta), expected);
        }
    }

    #[test]
    fn a_job_is_a_cron_jobs_where_it_is_named_after_a_minute_near_its_pod() {
        // 29920177 minutes are 2026-11-20T21:37:00Z.
        for (job, created, expected) in [
            ("report-29920177", "2026-11-20T21:37:00Z", "CronJob/report"),
            (
                "re-port-29920177",
                "2026-11-27T21:37:00Z",
                "CronJob/re-port",
            ),
            (
                "report-29920177",
                "2026-11-27T21:37:01Z",
                "Job/report-29920177",
            ),
            ("report-29920177", "2026-11-20T21:27:00Z", "CronJob/report"),
            (
                "report-29920177",
                "2026-11-20T21:26:59Z",
                "Job/report-29920177",
            ),
            ("report-29920177", "yesterday", "Job/report-29920177"),
            ("load-2024", "2026-11-20T21:37:00Z", "Job/load-2024"),
            ("report", "2026-11-20T21:37:00Z", "Job/report"),
            ("-29920177", "2026-11-20T21:37:00Z", "Job/-29920177"),
            ("report-", "2026-11-20T21:37:00Z", "Job/report-"),
            (
                "report-+29920177",
                "2026-11-20T21:37:00Z",
                "Job/report-+29920177",
            ),
            (
                "report-9999999999999999999999",
                "2026-11-20T21:37:00Z",
                "Job/report-9999999999999999999999",
            ),
            (
                "report-999999999999999999",
                "2026-11-20T21:37:00Z",
                "Job/report-999999999999999999",
            ),
        ] {
            let meta = format!(
                r#"{{"creationTimestamp":"{created}","ownerReferences":[{{"kind":"Job","name":"{job}","controller":true}}]}}"#
            );
            assert_eq!(owner_of(&meta), expected, "{job} {created}");
        }
    }

    #[test]
    fn others_own_what_they_control_and_a_pod_that_nothing_controls_is_its_own() {
        for (references, expected) in [
            (
                r#"[{"kind":"StatefulSet","name":"db","controller":true}]"#,
                "StatefulSet/db",
            ),
            (
                r#"[{"kind":"DaemonSet","name":"log","controller":true}]"#,
                "DaemonSet/log",
            ),
            (
                r#"[{"kind":"A","name":"a"},{"kind":"B","name":"b","controller":true}]"#,
                "B/b",
            ),
            (
                r#"[{"kind":"A","name":"a","controller":false}]"#,
                "Pod/pod-x",
            ),
            (r#"[{"kind":"A","controller":true}]"#, "Pod/pod-x"),
            ("[]", "Pod/pod-x"),
            ("null", "Pod/pod-x"),
            (r#""StatefulSet""#, "Pod/pod-x"),
        ] {
            let meta = format!(r#"{{"ownerReferences":{references}}}"#);
            assert_eq!(owner_of(&meta), expected);
        }
    }

    #[test]
    fn no_object_has_a_kind_or_a_name_that_is_too_long() {
        for (kind, name, taken) in [(253, 253, true), (254, 1, false), (1, 254, false)] {
            let (kind, name) = ("K".repeat(kind), "n".repeat(name));
            let meta = format!(
                r#"{{"ownerReferences":[{{"kind":"{kind}","name":"{name}","controller":true}}]}}"#
            );
            let expected = if taken {
                format!("{kind}/{name}")
            } else {
                "Pod/pod-x".to_owned()
            };
            assert_eq!(owner_of(&meta), expected);
        }
    }

    #[test]
    fn a_static_pod_is_named_as_in_its_file() {
        let json = r#"{"ownerReferences":[{"kind":"Node","name":"node-a","controller":true}]}"#;
        let meta: Meta = serde_json::from_str(json).expect("metadata");
        for (pod, node, expected) in [
            ("etcd-node-a", Some("node-a"), "etcd"),
            ("etcd-node-a", None, "etcd"),
            ("etcd-node-b", Some("node-a"), "etcd-node-b"),
            ("node-a", Some("node-a"), "node-a"),
        ] {
            assert_eq!(of(&meta, pod, node), owner("Pod", expected));
        }
    }
}
