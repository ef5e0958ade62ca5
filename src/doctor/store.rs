//! The store: what the identity in use may do there, one permission after another, and what the bucket does by itself.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Finding;
use crate::config::Config;
use crate::model::probe_key;
use crate::store::{
    self, AbortRule, Error, ListQuery, Operation, Probe, Problem, Store, StoreConfig, StoreUrl,
};
use crate::telemetry::chain;

/// All steps together. Each waits a minute for its answer, as shipping does; whoever asks a doctor does not.
const PROBE: Duration = Duration::from_secs(25);

/// One request.
const REQUEST: Duration = Duration::from_secs(10);

/// Most characters of a node's name in a key.
const SHORT: usize = 70;

/// A step of a probe: the finding's name, and what is lost where it is not allowed and nothing needs it.
struct Step {
    operation: Operation,
    id: &'static str,
    lost: &'static str,
}

const STEPS: [Step; 11] = [
    Step {
        operation: Operation::Put,
        id: "store.put",
        lost: "",
    },
    Step {
        operation: Operation::Begin,
        id: "store.begin",
        lost: "",
    },
    Step {
        operation: Operation::PutPart,
        id: "store.put_part",
        lost: "",
    },
    Step {
        operation: Operation::Complete,
        id: "store.complete",
        lost: "",
    },
    Step {
        operation: Operation::Abort,
        id: "store.abort",
        lost: "",
    },
    Step {
        operation: Operation::Head,
        id: "store.verify",
        lost: "what is stored is not looked at again; the store's answer is all there is",
    },
    Step {
        operation: Operation::Get,
        id: "store.get",
        lost: "what is stored is not looked at again; the store's answer is all there is",
    },
    Step {
        operation: Operation::ListParts,
        id: "store.list_parts",
        lost: "an upload that a stop interrupted is not checked before it is gone on with",
    },
    Step {
        operation: Operation::ListUploads,
        id: "store.list_uploads",
        lost: "what a stop left of an upload stays until the bucket's lifecycle rule aborts it",
    },
    Step {
        operation: Operation::List,
        id: "store.list",
        lost: "nothing: only people list",
    },
    Step {
        operation: Operation::Delete,
        id: "store.delete",
        lost: "nothing: the small object of this probe stays",
    },
];

/// Examines the store as the agent of this configuration.
pub(super) async fn as_agent(config: &Config) -> Vec<Finding> {
    let store = match store::open(&config.store).await {
        Ok(store) => store,
        Err(error) => return vec![refused(&error)],
    };
    // An agent gives up at its own key what an earlier probe left there, so its key is not to be used beside it.
    let key = probe_key(&config.cluster, &format!("{}.doctor", short(&config.node)));
    let mut findings = match timeout(PROBE, store.probe(&key)).await {
        Ok(probe) => judge_probe(&probe, &config.store.url),
        Err(_) => {
            let mut silent = silent("store.put", &store, PROBE);
            silent
                .cause
                .push_str("; a small upload of this probe may be left there");
            vec![silent]
        }
    };
    if matches!(config.store.url, StoreUrl::S3 { .. }) {
        findings.push(Finding::skipped(
            "store.people",
            "",
            "whether people may list and fetch is not seen from here: they are another identity",
            "run salvage doctor --store URL with their credentials",
        ));
        if !is_dead(&findings) {
            findings.extend(lifecycle(&store, &config.store.url).await);
        }
    }
    findings
}

/// A name that leaves room in the key, and is still that of one node.
fn short(node: &str) -> String {
    if node.chars().count() <= SHORT {
        return node.to_owned();
    }
    let begin: String = node.chars().take(SHORT).collect();
    let mut hasher = DefaultHasher::new();
    node.hash(&mut hasher);
    format!("{begin}-{:016x}", hasher.finish())
}

/// Examines the store as a person who lists and fetches.
pub(super) async fn as_person(config: &StoreConfig) -> Vec<Finding> {
    let store = match store::open(config).await {
        Ok(store) => store,
        Err(error) => return vec![refused(&error)],
    };
    let query = ListQuery {
        prefix: "crashes/".to_owned(),
        ..ListQuery::default()
    };
    let listed = match timeout(REQUEST, store.list(&query)).await {
        Ok(listed) => listed,
        Err(_) => return vec![silent("store.list", &store, REQUEST)],
    };
    let page = match listed {
        Ok(page) => page,
        Err(error) => return vec![failed("store.list", &error)],
    };
    let mut findings = vec![Finding::ok(
        "store.list",
        Operation::List.s3_permission(),
        "you may list crashes",
    )];
    let get = async {
        match page.objects.first() {
            None => Finding::skipped(
                "store.get",
                Operation::Get.s3_permission(),
                "there is no crash to fetch yet",
                "",
            ),
            Some(object) => match timeout(REQUEST, store.get(&object.key, 0..1)).await {
                Ok(Ok(_)) => Finding::ok(
                    "store.get",
                    Operation::Get.s3_permission(),
                    "you may fetch crashes",
                ),
                Ok(Err(error)) => failed("store.get", &error),
                Err(_) => silent("store.get", &store, REQUEST),
            },
        }
    };
    let rules = async {
        match config.url {
            StoreUrl::S3 { .. } => lifecycle(&store, &config.url).await,
            StoreUrl::File(_) => None,
        }
    };
    let (got, rules) = tokio::join!(get, rules);
    findings.push(got);
    findings.extend(rules);
    findings
}

async fn lifecycle(store: &Arc<dyn Store>, url: &StoreUrl) -> Option<Finding> {
    match timeout(REQUEST, store.abort_rules()).await {
        Ok(Ok(rules)) => Some(judge_rules(&rules?, url)),
        Ok(Err(error)) => Some(judge_unseen_rules(&error)),
        Err(_) => Some(judge_unseen_rules(&Error::new(
            Operation::Lifecycle,
            store.url(),
            Problem::Unreachable(format!("nothing within {REQUEST:?}")),
        ))),
    }
}

fn refused(error: &store::InvalidStore) -> Finding {
    Finding::fail("store.settings", "", error.to_string(), "")
}

fn silent(id: &'static str, store: &Arc<dyn Store>, waited: Duration) -> Finding {
    Finding::fail(
        id,
        store.url(),
        format!("the store does not answer within {} s", waited.as_secs()),
        "check store.endpoint, and whether a firewall or NetworkPolicy lets the agent reach it",
    )
}

/// Whether asking further says nothing new.
fn is_dead(findings: &[Finding]) -> bool {
    let dead =
        |finding: &Finding| finding.id == "store.put" && finding.verdict == super::Verdict::Fail;
    findings.iter().any(dead) && findings.iter().filter(|f| f.id != "store.people").count() == 1
}

/// A refusal of something that is needed. The error's own text has the remedy.
fn failed(id: &'static str, error: &Error) -> Finding {
    let permission = error.operation().s3_permission();
    let remedy = match error.problem() {
        Problem::Denied(permission) => {
            format!("grant {permission} to the identity in use, below the store's prefix")
        }
        Problem::Credentials(_) => "give the identity in use valid credentials".to_owned(),
        Problem::NoBucket => "create the bucket or directory, or correct store.url".to_owned(),
        Problem::Unreachable(_) => {
            "check store.endpoint, and whether a firewall or NetworkPolicy lets it be reached"
                .to_owned()
        }
        Problem::Full => "make room in the store".to_owned(),
        _ => String::new(),
    };
    Finding::fail(id, permission, chain(error), remedy)
}

/// One finding for each step; a step that is tried twice counts as one, by its worst outcome.
fn judge_probe(probe: &Probe, url: &StoreUrl) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for Step {
        operation,
        id,
        lost,
    } in &STEPS
    {
        let mut tried = probe.steps.iter().filter(|s| s.operation == *operation);
        let Some(first) = tried.next() else { continue };
        let worst = std::iter::once(first)
            .chain(tried)
            .max_by_key(|step| (step.outcome.is_err() && step.needed, step.outcome.is_err()));
        let step = worst.unwrap_or(first);
        let need = if step.needed { "needed" } else { "optional" };
        let permission = match url {
            StoreUrl::S3 { .. } => operation.s3_permission(),
            StoreUrl::File(_) => "",
        };
        findings.push(match &step.outcome {
            Ok(()) => Finding::ok(id, permission, format!("allowed ({need})")),
            Err(error) if step.needed => failed(id, error),
            // Nobody needs these of an agent.
            Err(_) if matches!(operation, Operation::List | Operation::Delete) => Finding::ok(
                id,
                permission,
                format!("not allowed, and not needed; lost is {lost}"),
            ),
            Err(error) => Finding::warn(
                id,
                permission,
                format!("{} (optional; without it {lost})", chain(error)),
                format!("grant {permission} to the agent's identity, below the store's prefix"),
            ),
        });
    }
    if probe.failure().is_none() {
        findings.push(if probe.honours_create {
            Finding::ok("store.create", "", "the store refuses to overwrite where it is told so")
        } else {
            Finding::ok("store.create", "", "the store overwrites although it is told not to; crashes are kept apart by their ids")
        });
        findings.push(if probe.full_checksums {
            Finding::ok(
                "store.checksums",
                "",
                "the store keeps checksums of whole objects",
            )
        } else {
            Finding::ok(
                "store.checksums",
                "",
                "the store keeps no checksums of whole objects; ETags and lengths are compared",
            )
        });
    }
    findings
}

const LIFECYCLE: &str = "store.lifecycle";

fn judge_rules(rules: &[AbortRule], url: &StoreUrl) -> Finding {
    let StoreUrl::S3 { bucket, prefix } = url else {
        return Finding::ok(LIFECYCLE, "", "nothing is left behind");
    };
    // Dumps are all that goes up in parts.
    let ours = match prefix.as_str() {
        "" => "artifacts/".to_owned(),
        prefix => format!("{prefix}/artifacts/"),
    };
    let covering = rules.iter().filter(|rule| ours.starts_with(&rule.prefix));
    let remedy = format!(
        "give the bucket a lifecycle rule with AbortIncompleteMultipartUpload after 7 days for {}",
        if prefix.is_empty() { "all keys" } else { &ours }
    );
    match covering.min_by_key(|rule| rule.days) {
        Some(rule) => Finding::ok(
            LIFECYCLE,
            bucket,
            format!("incomplete uploads are aborted after {} days", rule.days),
        ),
        None if rules.is_empty() => Finding::warn(
            LIFECYCLE,
            bucket,
            "no lifecycle rule aborts incomplete uploads: what a node that went leaves of one is paid for for ever",
            remedy,
        ),
        None => Finding::warn(
            LIFECYCLE,
            bucket,
            format!("no lifecycle rule that aborts incomplete uploads covers {ours}"),
            remedy,
        ),
    }
}

fn judge_unseen_rules(error: &Error) -> Finding {
    match error.problem() {
        Problem::Denied(permission) => Finding::warn(
            LIFECYCLE,
            permission,
            format!(
                "whether a lifecycle rule aborts incomplete uploads cannot be seen: it needs {permission}"
            ),
            format!("grant {permission} on the bucket, or look yourself"),
        ),
        _ => Finding::skipped(
            LIFECYCLE,
            Operation::Lifecycle.s3_permission(),
            format!(
                "the store does not tell its lifecycle rules: {}",
                chain(error)
            ),
            "look yourself whether incomplete uploads are aborted",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_of_a_node_stays_its_own() {
        assert_eq!(short("node-a"), "node-a");
        let long = |end: &str| short(&format!("{}{end}", "n".repeat(100)));
        assert_ne!(long("a"), long("b"));
        assert!(long("a").len() < 90, "{}", long("a"));
    }
    use crate::doctor::Verdict;
    use crate::store::ProbeStep;

    fn url() -> StoreUrl {
        "s3://dumps/some/prefix".parse().expect("url")
    }

    fn probe(outcomes: &[(Operation, bool, bool)]) -> Probe {
        let steps = outcomes.iter().map(|(operation, needed, ok)| ProbeStep {
            operation: *operation,
            needed: *needed,
            outcome: match ok {
                true => Ok(()),
                false => {
                    let denied = Problem::Denied(operation.s3_permission());
                    Err(Error::new(*operation, "s3://dumps", denied))
                }
            },
        });
        Probe {
            steps: steps.collect(),
            ..Probe::default()
        }
    }

    #[test]
    fn each_permission_is_needed_optional_or_nobodys() {
        for (operation, needed, verdict) in [
            (Operation::Put, true, Verdict::Fail),
            (Operation::Abort, true, Verdict::Fail),
            (Operation::Get, false, Verdict::Warn),
            (Operation::ListParts, false, Verdict::Warn),
            (Operation::ListUploads, false, Verdict::Warn),
            (Operation::List, false, Verdict::Ok),
            (Operation::Delete, false, Verdict::Ok),
        ] {
            let findings = judge_probe(&probe(&[(operation, needed, false)]), &url());
            assert_eq!(findings[0].verdict, verdict, "{operation:?}");
            assert_eq!(findings[0].subject, operation.s3_permission());
        }
        let twice = [(Operation::Put, true, true), (Operation::Put, false, true)];
        let findings = judge_probe(&probe(&twice), &url());
        assert_eq!(findings.iter().filter(|f| f.id == "store.put").count(), 1);
    }

    #[test]
    fn a_rule_must_cover_where_dumps_go() {
        let rule = |prefix: &str| AbortRule {
            prefix: prefix.to_owned(),
            days: 7,
        };
        for (rules, verdict) in [
            (vec![], Verdict::Warn),
            (vec![rule("")], Verdict::Ok),
            (vec![rule("some/")], Verdict::Ok),
            (vec![rule("some/prefix/artifacts/")], Verdict::Ok),
            (vec![rule("some/prefix/crashes/")], Verdict::Warn),
            (vec![rule("other/"), rule("some")], Verdict::Ok),
        ] {
            assert_eq!(judge_rules(&rules, &url()).verdict, verdict, "{rules:?}");
        }
        let denied = Error::new(
            Operation::Lifecycle,
            "s3://dumps",
            Problem::Denied(Operation::Lifecycle.s3_permission()),
        );
        let unseen = judge_unseen_rules(&denied);
        assert_eq!(unseen.verdict, Verdict::Warn);
        assert!(unseen.cause.contains("s3:GetLifecycleConfiguration"));
    }
}
