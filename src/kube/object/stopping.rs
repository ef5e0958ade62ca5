//! Who asked a pod's containers to end, and since when, as far as one state of its object tells.
//!
//! The last states of a deleted pod tell it worse: as the kubelet lets a pod go, its grace period becomes 0 and the end of that period stays, and the
//! request then seems to have come when the period ended. Whoever follows a pod keeps the earlier time.

use jiff::{SignedDuration, Timestamp};

use super::wire::PodObject;
use crate::model::Stopping;

/// The kubelet's word for a pod that ran longer than it may.
const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";

/// `status.reason` of pods that Kubernetes ended.
const ENDED_BY_KUBERNETES: [&str; 8] = [
    // The node was short of memory, disk or process ids, or the pod used more disk than it may.
    "Evicted",
    DEADLINE_EXCEEDED,
    // An orderly shutdown of the node; the three words are of Kubernetes 1.22 and later, 1.21, 1.20.
    "Terminated",
    "NodeShutdown",
    "Shutdown",
    // Made room for a critical pod.
    "Preempting",
    // A restarted kubelet found that the node's labels no longer suit the pod.
    "NodeAffinity",
    // The node was not heard of.
    "NodeLost",
];

/// What asked the pod to end: the first that did, of those whose time is known; of the others any.
pub(super) fn of(pod: &PodObject) -> Option<Stopping> {
    let reason = pod.status.reason.as_deref();
    let reason = reason.filter(|reason| ENDED_BY_KUBERNETES.contains(reason));
    let disrupted = pod.status.conditions.items.first();
    let disrupted_at = disrupted.and_then(|condition| condition.last_transition_time);
    let told = [
        // The kubelet sets the condition together with the reason, which says more.
        reason.map(|reason| {
            let since = match reason {
                DEADLINE_EXCEEDED => deadline(pod),
                _ => disrupted_at,
            };
            (reason, since)
        }),
        disrupted.map(|_| (super::wire::DISRUPTION_TARGET, disrupted_at)),
        deleted(pod).map(|since| ("deleted", Some(since))),
    ];
    let first = told
        .into_iter()
        .flatten()
        .min_by_key(|(_, since)| since.unwrap_or(Timestamp::MAX));
    first.map(|(why, since)| Stopping {
        why: why.to_owned(),
        since,
    })
}

/// When its deletion was asked for: the API server notes when the grace period ends, and moves that when the period is shortened.
fn deleted(pod: &PodObject) -> Option<Timestamp> {
    let ends = pod.metadata.deletion_timestamp?;
    let grace = pod
        .metadata
        .deletion_grace_period_seconds
        .unwrap_or_default();
    let asked = ends.checked_sub(SignedDuration::from_secs(grace.max(0)));
    Some(asked.unwrap_or(ends))
}

/// When it had run as long as it may.
fn deadline(pod: &PodObject) -> Option<Timestamp> {
    let allowed = SignedDuration::from_secs(pod.spec.active_deadline_seconds?.max(0));
    pod.status.start_time?.checked_add(allowed).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopping(pod: &str) -> Option<(String, Option<String>)> {
        let pod: PodObject = serde_json::from_str(pod).expect("a pod");
        let stopping = of(&pod)?;
        Some((stopping.why, stopping.since.map(|since| since.to_string())))
    }

    const DELETED: &str = r#""metadata":{"deletionTimestamp":"2026-11-20T10:00:30Z","deletionGracePeriodSeconds":30}"#;

    fn disrupted(at: &str, status: &str) -> String {
        format!(r#"{{"type":"DisruptionTarget","status":"{status}","lastTransitionTime":"{at}"}}"#)
    }

    #[test]
    fn a_deletion_counts_from_when_it_was_asked_for() {
        for (grace, since) in [
            ("30", "2026-11-20T10:00:00Z"),
            ("0", "2026-11-20T10:00:30Z"),
            ("null", "2026-11-20T10:00:30Z"),
            ("-5", "2026-11-20T10:00:30Z"),
            ("9223372036854775807", "2026-11-20T10:00:30Z"),
        ] {
            let pod = DELETED.replace(":30}", &format!(":{grace}}}"));
            let told = stopping(&format!("{{{pod}}}"));
            assert_eq!(
                told,
                Some(("deleted".into(), Some(since.into()))),
                "{grace}"
            );
        }
    }

    #[test]
    fn the_first_that_asked_is_kept_and_the_one_that_says_more() {
        let early = disrupted("2026-11-20T09:59:00Z", "True");
        let late = disrupted("2026-11-20T10:00:05Z", "True");
        let over = disrupted("2026-11-20T09:59:00Z", "False");
        let never = disrupted("soon", "True");
        for (metadata, status, expected) in [
            (
                "",
                format!(r#""conditions":[{early}]"#),
                "DisruptionTarget 2026-11-20T09:59:00Z",
            ),
            (
                DELETED,
                format!(r#""conditions":[{early}]"#),
                "DisruptionTarget 2026-11-20T09:59:00Z",
            ),
            (
                DELETED,
                format!(r#""conditions":[{late}]"#),
                "deleted 2026-11-20T10:00:00Z",
            ),
            (
                DELETED,
                format!(r#""conditions":[{over}]"#),
                "deleted 2026-11-20T10:00:00Z",
            ),
            (
                DELETED,
                format!(r#""conditions":[{never}]"#),
                "deleted 2026-11-20T10:00:00Z",
            ),
            (
                "",
                format!(r#""conditions":[{never}]"#),
                "DisruptionTarget ?",
            ),
            (
                "",
                format!(r#""conditions":[{over},{late}]"#),
                "DisruptionTarget 2026-11-20T10:00:05Z",
            ),
            (
                "",
                format!(r#""reason":"Evicted","conditions":[{early}]"#),
                "Evicted 2026-11-20T09:59:00Z",
            ),
            ("", r#""reason":"Evicted""#.into(), "Evicted ?"),
            (
                DELETED,
                r#""reason":"Terminated""#.into(),
                "deleted 2026-11-20T10:00:00Z",
            ),
            ("", r#""reason":"CrashLoopBackOff""#.into(), ""),
            (
                "",
                r#""conditions":[{"type":"Ready","status":"True"}]"#.into(),
                "",
            ),
            ("", String::new(), ""),
        ] {
            let comma = if metadata.is_empty() { "" } else { "," };
            let pod = format!(r#"{{{metadata}{comma}"status":{{{status}}}}}"#);
            let told = stopping(&pod).map(|(why, since)| {
                let since = since.unwrap_or_else(|| "?".into());
                format!("{why} {since}")
            });
            assert_eq!(told.unwrap_or_default(), expected, "{pod}");
        }
    }

    #[test]
    fn a_deadline_counts_from_the_pods_start() {
        for (spec, start, since) in [
            (
                r#"{"activeDeadlineSeconds":60}"#,
                r#""2026-11-20T10:00:00Z""#,
                Some("2026-11-20T10:01:00Z"),
            ),
            (
                r#"{"activeDeadlineSeconds":9223372036854775807}"#,
                r#""2026-11-20T10:00:00Z""#,
                None,
            ),
            (r#"{"activeDeadlineSeconds":60}"#, "null", None),
            ("{}", r#""2026-11-20T10:00:00Z""#, None),
        ] {
            let pod = format!(
                r#"{{"spec":{spec},"status":{{"reason":"DeadlineExceeded","startTime":{start}}}}}"#
            );
            let since = since.map(str::to_owned);
            assert_eq!(
                stopping(&pod),
                Some(("DeadlineExceeded".into(), since)),
                "{pod}"
            );
        }
    }
}
