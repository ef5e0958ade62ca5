//! From what is known of a container to whether its process would leave a dump.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::Scope;
use super::facts::{DUMPS, Facts, Place, PlaceKind, SeenPod};
use super::runtimes::{OPTIONS, To, Told, Writes};
use crate::decide::{Coverage, Selection};
use crate::doctor::Verdict;
use crate::model::{ByteSize, KnownPod, escaped};

/// Whether a dump would come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It would.
    Yes,
    /// It may, or not all of it.
    Perhaps,
    /// It would not.
    No,
}

/// Why a container's process would leave no dump, or why that is in doubt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// A stable name; see [`summary`].
    pub id: &'static str,
    /// What it does to the answer.
    pub answer: Answer,
    /// What was found.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}

/// A container, judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// Its namespace.
    pub namespace: String,
    /// Its pod.
    pub pod: String,
    /// Where it runs.
    pub node: Option<String>,
    /// Its name.
    pub container: String,
    /// Whether it would leave a dump.
    pub dump: Answer,
    /// What that means: a failure only where a dump was asked for.
    pub verdict: Verdict,
    /// How a dump would come, where one would.
    pub how: String,
    /// What stands against it, the weightiest first.
    pub reasons: Vec<Reason>,
}

/// What a reason means for all containers that have it.
pub fn summary(id: &str) -> (&'static str, &'static str) {
    SUMMARIES
        .iter()
        .find(|(known, ..)| *known == id)
        .map_or(("", ""), |(_, cause, remedy)| (cause, remedy))
}

const OPTED_OUT: &str = "opted_out";
const NOT_SELECTED: &str = "not_selected";
const NOT_INJECTED: &str = "not_injected";
const NO_SOURCE: &str = "no_source";
const READ_ONLY: &str = "read_only";
const IN_MEMORY: &str = "in_memory";
const ELSEWHERE: &str = "elsewhere";
const TOO_DEEP: &str = "too_deep";
const UNTOLD: &str = "untold";
const NOT_ENABLED: &str = "not_enabled";
const NO_VARIABLE: &str = "no_variable";
const WORKING_DIRECTORY: &str = "working_directory";
const SIZE_LIMIT: &str = "size_limit";
const EPHEMERAL_LIMIT: &str = "ephemeral_limit";

/// Each reason, what it says of many, and what helps.
const SUMMARIES: [(&str, &str, &str); 14] = [
    (
        OPTED_OUT,
        "left out on purpose, by an annotation or label",
        "",
    ),
    (
        NOT_SELECTED,
        "not selected by the agent's configuration",
        "change kubernetes.selection",
    ),
    (
        NOT_INJECTED,
        "labelled salvage.dev/dumps: enabled, and made without the volume",
        "check that injection.enabled is set, then make the pods anew (kubectl rollout restart)",
    ),
    (
        NO_SOURCE,
        "no mount of a place where dumps are looked for",
        "label the namespace or the pod salvage.dev/dumps: enabled and make the pod anew, or mount a source yourself",
    ),
    (
        READ_ONLY,
        "the place for dumps is mounted read-only",
        "remove readOnly from the mount",
    ),
    (
        IN_MEMORY,
        "the volume for dumps is in memory, which is not looked into",
        "remove medium: Memory from the volume",
    ),
    (
        ELSEWHERE,
        "the runtime writes its dump outside the place for dumps",
        "let the variable name a path below the mount",
    ),
    (
        TOO_DEEP,
        "the dump comes into a directory deeper than is looked into",
        "let it be written closer to the source, or give the source a layout with more levels",
    ),
    (
        UNTOLD,
        "whether a dump comes, or where to, is not told by the pod's object",
        "look at the value inside the container; a dump is found where the path is below the mount",
    ),
    (
        NOT_ENABLED,
        "a variable that the pod sets keeps a runtime from writing a dump",
        "add the runtime's options to the variable (docs/dumps.md), if this runtime is in the container",
    ),
    (
        NO_VARIABLE,
        "no variable in the pod makes .NET, Java or Node write a dump",
        "set the runtime's variables (docs/dumps.md); what the image or the program sets is not seen here",
    ),
    (
        WORKING_DIRECTORY,
        "the runtime writes its dump into its working directory",
        "let its variable name a path below the mount",
    ),
    (
        SIZE_LIMIT,
        "the volume's size limit is below the memory limit",
        "raise sizeLimit above the memory limit",
    ),
    (
        EPHEMERAL_LIMIT,
        "the limit of ephemeral storage is below the memory limit",
        "raise the limit of ephemeral-storage above the memory limit",
    ),
];

/// What is known of the labels of namespaces.
#[derive(Clone, Debug, Default)]
pub(in crate::doctor) struct Namespaces {
    /// Values of the label for dumps; absent where they cannot be seen.
    known: Option<BTreeMap<String, String>>,
}

impl Namespaces {
    /// By name and value of the label.
    pub(in crate::doctor) fn of(labels: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            known: Some(labels.into_iter().collect()),
        }
    }

    /// The label's name.
    pub(in crate::doctor) const LABEL: &'static str = DUMPS;

    fn asks(&self, namespace: &str) -> Option<&str> {
        self.known.as_ref()?.get(namespace).map(String::as_str)
    }
}

/// What pods are judged by.
pub(in crate::doctor) struct Judge {
    pub(in crate::doctor) coverage: Coverage,
    pub(in crate::doctor) selection: Selection,
    pub(in crate::doctor) namespaces: Namespaces,
    pub(in crate::doctor) scope: Scope,
}

/// Whether a pod was asked to leave dumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// By its label or its namespace's.
    Yes,
    /// It is told not to.
    No,
    Nothing,
}

/// What a rule looks at.
struct Case<'a> {
    pod: &'a KnownPod,
    asked: Asked,
    facts: &'a Facts,
    ephemeral_limit: Option<u64>,
    judge: &'a Judge,
}

/// What a rule says of a case, if it is one of its own.
type Rule = fn(&Case<'_>) -> Option<(Answer, String)>;

/// Rules in their order. The first that says no ends it: what comes behind would be about a dump that does not come.
const RULES: [(&str, Rule); 10] = [
    (OPTED_OUT, opted_out),
    (NOT_SELECTED, not_selected),
    (NOT_INJECTED, not_injected),
    (NO_SOURCE, no_source),
    (IN_MEMORY, in_memory),
    (READ_ONLY, read_only),
    (ELSEWHERE, elsewhere),
    (TOO_DEEP, too_deep),
    (SIZE_LIMIT, size_limit),
    (EPHEMERAL_LIMIT, ephemeral_limit),
];

impl Judge {
    /// Judges every container of a pod that runs for as long as the pod does; none of one that is over.
    pub(in crate::doctor) fn judge(&self, pod: &SeenPod) -> Vec<Judged> {
        let Some(known) = pod.known.as_ref().filter(|_| !pod.is_over()) else {
            return Vec::new();
        };
        let asked = self.asked(known);
        let containers = pod.containers(&self.coverage);
        let ephemeral_limit = pod.ephemeral_limit();
        let judged = containers.iter().map(|facts| {
            let case = Case {
                pod: known,
                asked,
                facts,
                ephemeral_limit,
                judge: self,
            };
            let reasons = reasons(&case);
            let dump = reasons.iter().map(|r| r.answer).max();
            let dump = dump.unwrap_or(Answer::Yes);
            Judged {
                namespace: known.namespace.clone(),
                pod: known.name.clone(),
                node: pod.node().map(str::to_owned),
                container: facts.name.clone(),
                dump,
                verdict: self.verdict(&case, dump, &reasons),
                how: match dump {
                    Answer::No => String::new(),
                    _ => how(facts),
                },
                reasons,
            }
        });
        judged.collect()
    }

    fn asked(&self, pod: &KnownPod) -> Asked {
        let own = pod.labels.get(DUMPS).map(String::as_str);
        // A value that means nothing leaves the namespace its own.
        let own = own.filter(|value| matches!(*value, "enabled" | "disabled"));
        match own.or_else(|| self.namespaces.asks(&pod.namespace)) {
            Some("enabled") => Asked::Yes,
            Some("disabled") => Asked::No,
            _ => Asked::Nothing,
        }
    }

    fn verdict(&self, case: &Case<'_>, dump: Answer, reasons: &[Reason]) -> Verdict {
        let on_purpose = |reason: &Reason| matches!(reason.id, OPTED_OUT | NOT_SELECTED);
        match dump {
            Answer::Yes => Verdict::Ok,
            Answer::Perhaps => Verdict::Warn,
            Answer::No if matches!(self.scope, Scope::Pod(_)) => Verdict::Fail,
            Answer::No if reasons.iter().any(on_purpose) => Verdict::Skipped,
            Answer::No if case.asked == Asked::Yes || !case.facts.places.is_empty() => {
                Verdict::Fail
            }
            Answer::No => Verdict::Warn,
        }
    }
}

fn reasons(case: &Case<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for (id, rule) in RULES {
        let Some((answer, cause)) = rule(case) else {
            continue;
        };
        let (_, remedy) = summary(id);
        reasons.push(Reason {
            id,
            answer,
            cause,
            remedy: remedy.to_owned(),
        });
        if answer == Answer::No {
            // Doubts about a dump that does not come.
            reasons.retain(|reason| reason.answer == Answer::No);
            return reasons;
        }
    }
    reasons.extend(by_runtimes(case.facts));
    reasons
}

fn opted_out(case: &Case<'_>) -> Option<(Answer, String)> {
    if case.pod.opted_out {
        let cause = "the pod's annotation salvage.dev/collect is not \"true\"";
        return Some((Answer::No, cause.to_owned()));
    }
    let left_out = case.asked == Asked::No && case.facts.places.is_empty();
    left_out.then(|| (Answer::No, format!("the label {DUMPS} is disabled")))
}

fn not_selected(case: &Case<'_>) -> Option<(Answer, String)> {
    if case.judge.selection.selects(case.pod) {
        return None;
    }
    let namespace = escaped(&case.pod.namespace);
    let cause = match case.judge.selection.selects_namespace(&case.pod.namespace) {
        false => format!("kubernetes.selection leaves the namespace {namespace} out"),
        true => "kubernetes.selection.pods does not match the pod's labels".to_owned(),
    };
    Some((Answer::No, cause))
}

fn not_injected(case: &Case<'_>) -> Option<(Answer, String)> {
    let without = case.asked == Asked::Yes && case.facts.places.is_empty();
    without.then(|| {
        let cause = format!(
            "the label {DUMPS} is enabled, and the container mounts no place for dumps: the pod is older than the label, or nothing injects"
        );
        (Answer::No, cause)
    })
}

fn no_source(case: &Case<'_>) -> Option<(Answer, String)> {
    let places = case.judge.places();
    let none = case.facts.places.is_empty();
    none.then(|| (Answer::No, format!("it mounts none of {places}")))
}

impl Judge {
    /// Where dumps are looked for, for people.
    fn places(&self) -> String {
        let Coverage {
            directories,
            volumes,
        } = &self.coverage;
        let directories = directories
            .iter()
            .map(|(path, _)| escaped(path).to_string());
        let volumes = volumes
            .iter()
            .map(|(name, _)| format!("the emptyDir {name}"));
        let all: Vec<String> = directories.chain(volumes).collect();
        all.join(", ")
    }
}

/// All of a container's places have this in common.
fn all_places(case: &Case<'_>, what: impl Fn(&Place) -> bool) -> Option<String> {
    let places = &case.facts.places;
    let all = !places.is_empty() && places.iter().all(what);
    let names: Vec<String> = places
        .iter()
        .map(|place| format!("{} (volume {})", escaped(&place.path), place.volume))
        .collect();
    all.then(|| names.join(", "))
}

fn in_memory(case: &Case<'_>) -> Option<(Answer, String)> {
    let names = all_places(case, |place| place.kind == PlaceKind::Memory)?;
    Some((
        Answer::No,
        format!("{names} is in memory: it counts against the memory limit, and is not looked into"),
    ))
}

fn read_only(case: &Case<'_>) -> Option<(Answer, String)> {
    let names = all_places(case, |place| {
        place.read_only || place.kind == PlaceKind::Memory
    })?;
    Some((Answer::No, format!("{names} is mounted read-only")))
}

/// The place that a dump is taken from when it is written into this directory. The innermost mount is what the container sees there.
fn place_of<'a>(facts: &'a Facts, path: &Path) -> Option<&'a Place> {
    let holding = facts.mounts.iter().filter(|mount| path.starts_with(mount));
    let mount = holding.max_by_key(|mount| mount.components().count())?;
    let usable = facts.places.iter().filter(|place| place.is_usable());
    let its = usable.filter(|place| place.mount == *mount && path.starts_with(&place.path));
    its.max_by_key(|place| place.path.components().count())
}

/// Runtimes by name, each once.
fn names<'a>(writers: impl Iterator<Item = &'a Writes>) -> Vec<&'static str> {
    let mut names: Vec<&str> = writers.map(|writes| writes.runtime).collect();
    names.dedup();
    names
}

fn elsewhere(case: &Case<'_>) -> Option<(Answer, String)> {
    let writers = &case.facts.told.writers;
    let outside = |writes: &&Writes| match &writes.to {
        To::Path(path) => place_of(case.facts, path).is_none(),
        _ => false,
    };
    let count = writers.iter().filter(outside).count();
    if count == 0 {
        return None;
    }
    let answer = match count == writers.len() {
        true => Answer::No,
        false => Answer::Perhaps,
    };
    let cause = format!(
        "its variables let {} write outside its mounts of {}",
        names(writers.iter().filter(outside)).join(" and "),
        case.judge.places()
    );
    Some((answer, cause))
}

fn too_deep(case: &Case<'_>) -> Option<(Answer, String)> {
    let usable = || case.facts.places.iter().filter(|place| place.is_usable());
    let deep = |place: &Place, more: usize| place.levels + more > place.depth;
    let told = |place: &Place, more: usize| {
        format!(
            "{} levels below the place for dumps, of which {} are looked into",
            place.levels + more,
            place.depth
        )
    };
    if let Some(place) = usable().next()
        && usable().all(|place| deep(place, 0))
    {
        let cause = format!("{} is {}", escaped(&place.path), told(place, 0));
        return Some((Answer::No, cause));
    }
    let writers = &case.facts.told.writers;
    let found: Vec<(&Writes, &Place, usize)> = writers
        .iter()
        .filter_map(|writes| {
            let To::Path(path) = &writes.to else {
                return None;
            };
            let place = place_of(case.facts, path)?;
            let more = path.strip_prefix(&place.path).ok()?.components().count();
            deep(place, more).then_some((writes, place, more))
        })
        .collect();
    let (_, place, more) = found.first()?;
    let answer = match found.len() == writers.len() {
        true => Answer::No,
        false => Answer::Perhaps,
    };
    let names = names(found.iter().map(|(writes, ..)| *writes)).join(" and ");
    let cause = format!("its variables let {names} write {}", told(place, *more));
    Some((answer, cause))
}

fn size_limit(case: &Case<'_>) -> Option<(Answer, String)> {
    let memory = case.facts.memory_limit?;
    case.facts.places.iter().find_map(|place| {
        let PlaceKind::EmptyDir(Some(limit)) = place.kind else {
            return None;
        };
        (limit < memory).then(|| {
            let cause = format!(
                "the volume {} may have {}, and a dump may be as large as the memory limit of {}: the pod is evicted, and the dump with it",
                place.volume,
                ByteSize::new(limit).rounded(),
                ByteSize::new(memory).rounded()
            );
            (Answer::Perhaps, cause)
        })
    })
}

fn ephemeral_limit(case: &Case<'_>) -> Option<(Answer, String)> {
    let (limit, memory) = (case.ephemeral_limit?, case.facts.memory_limit?);
    let on_disk = |place: &Place| matches!(place.kind, PlaceKind::EmptyDir(_));
    let counts = case.facts.places.iter().any(on_disk);
    (counts && limit < memory).then(|| {
        let cause = format!(
            "the pod's ephemeral storage may be {}, and a dump may be as large as the memory limit of {}: the pod is evicted, and the dump with it",
            ByteSize::new(limit).rounded(),
            ByteSize::new(memory).rounded()
        );
        (Answer::Perhaps, cause)
    })
}

fn by_runtimes(facts: &Facts) -> Vec<Reason> {
    let doubt = |id: &'static str, cause: String| Reason {
        id,
        answer: Answer::Perhaps,
        cause,
        remedy: summary(id).1.to_owned(),
    };
    let Told { writers, idle } = &facts.told;
    let mut reasons = Vec::new();
    let usable = || facts.places.iter().filter(|place| place.is_usable());
    if usable().next().is_some() && usable().all(|place| !place.is_told) {
        let cause = "which directory of the node its subPathExpr means is not told by the object";
        reasons.push(doubt(UNTOLD, cause.to_owned()));
    }
    if writers.is_empty() {
        let cause = "no variable in its object makes .NET, Java or Node write a dump; what the image sets is not seen, and a kernel core comes only as core_pattern says";
        reasons.push(doubt(NO_VARIABLE, cause.to_owned()));
        return reasons;
    }
    let into_its_own = names(writers.iter().filter(|w| w.to == To::WorkingDirectory));
    if !into_its_own.is_empty() {
        let cause = format!(
            "{} writes into the directory it runs in, which is not told by the object",
            into_its_own.join(" and ")
        );
        reasons.push(doubt(WORKING_DIRECTORY, cause));
    }
    let untold: Vec<&str> = writers
        .iter()
        .filter(|writes| writes.to == To::Untold)
        .map(|writes| writes.by)
        .collect();
    if !untold.is_empty() {
        let cause = format!(
            "whether and where {} writes is not told by the object ({})",
            names(writers.iter().filter(|w| w.to == To::Untold)).join(" and "),
            untold.join(", ")
        );
        reasons.push(doubt(UNTOLD, cause));
    }
    if !idle.is_empty() {
        let set: Vec<String> = idle
            .iter()
            .map(|(runtime, by)| format!("{by} makes {runtime} write none"))
            .collect();
        reasons.push(doubt(NOT_ENABLED, set.join(", ")));
    }
    // Injection leaves these alone where they may be set like that.
    if facts.from_elsewhere.len() == OPTIONS.len() {
        let cause = "Java and Node may have their options from envFrom, which is not seen; none that writes a dump is in the object";
        reasons.push(doubt(UNTOLD, cause.to_owned()));
    }
    reasons
}

/// How a dump would come. Which runtime is in the container nobody knows here.
fn how(facts: &Facts) -> String {
    let writers = &facts.told.writers;
    let mut into = writers.iter().filter_map(|writes| match &writes.to {
        To::Path(path) => place_of(facts, path),
        _ => None,
    });
    let any = || facts.places.iter().find(|place| place.is_usable());
    let Some(place) = into.next().or_else(any) else {
        return String::new();
    };
    let mut by: Vec<String> = writers
        .iter()
        .map(|w| format!("{} ({})", w.runtime, w.by))
        .collect();
    by.dedup();
    let at = format!("{} of the volume {}", escaped(&place.path), place.volume);
    let Some(last) = by.pop() else {
        return format!("what it leaves in {at} is taken");
    };
    match by.is_empty() {
        true => format!("into {at}, if it is {last}"),
        false => format!("into {at}, if it is {} or {last}", by.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::pods::PodName;
    use serde_json::{Value, json};

    fn judge() -> Judge {
        Judge {
            coverage: Coverage {
                directories: vec![("/var/dumps".into(), 2)],
                volumes: vec![("salvage-dumps".into(), 2)],
            },
            selection: Selection::default(),
            namespaces: Namespaces::default(),
            scope: Scope::All,
        }
    }

    /// A pod as the injection leaves it.
    fn injected() -> Value {
        json!({
            "metadata": {"name": "cart-0", "namespace": "shop", "uid": "u", "labels": {"salvage.dev/dumps": "enabled"}},
            "spec": {
                "nodeName": "node-a",
                "volumes": [{"name": "salvage-dumps", "emptyDir": {}}],
                "containers": [{
                    "name": "app",
                    "env": [
                        {"name": "DOTNET_DbgEnableMiniDump", "value": "1"},
                        {"name": "DOTNET_DbgMiniDumpName", "value": "/var/salvage/%p.dmp"},
                        {"name": "PASSWORD", "value": "hunter2"},
                    ],
                    "resources": {"limits": {"memory": "512Mi"}},
                    "volumeMounts": [{"name": "salvage-dumps", "mountPath": "/var/salvage", "subPath": "app"}],
                }],
            },
            "status": {"phase": "Running"},
        })
    }

    fn set(mut pod: Value, at: &str, to: Value) -> Value {
        let (parent, field) = at.rsplit_once('/').expect("a pointer");
        let parent = pod.pointer_mut(parent).expect("it is there");
        match parent {
            Value::Array(items) => items[field.parse::<usize>().expect("a number")] = to,
            parent => parent[field] = to,
        }
        pod
    }

    fn judged(judge: &Judge, pod: Value) -> Judged {
        let pod: SeenPod = serde_json::from_value(pod).expect("a pod");
        let mut all = judge.judge(&pod);
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn a_pod_as_it_is_injected_leaves_a_dump_and_its_values_are_not_shown() {
        let judged = judged(&judge(), injected());
        assert_eq!((judged.dump, judged.verdict), (Answer::Yes, Verdict::Ok));
        assert_eq!(judged.reasons, []);
        assert_eq!(judged.node.as_deref(), Some("node-a"));
        assert!(judged.how.contains("/var/salvage") && judged.how.contains(".NET"));
        assert!(!format!("{judged:?}").contains("hunter2"));
    }

    #[test]
    fn every_reason_has_a_pod_that_has_it() {
        const C: &str = "/spec/containers/0";
        let at = |field: &str| format!("{C}/{field}");
        let no_mount = || set(injected(), &at("volumeMounts"), json!([]));
        let unlabelled = |pod| set(pod, "/metadata/labels", json!({}));
        let table: Vec<(&str, Value, Answer, Verdict)> = vec![
            (
                OPTED_OUT,
                set(
                    injected(),
                    "/metadata/annotations",
                    json!({"salvage.dev/collect": "false"}),
                ),
                Answer::No,
                Verdict::Skipped,
            ),
            (
                OPTED_OUT,
                set(
                    no_mount(),
                    "/metadata/labels",
                    json!({"salvage.dev/dumps": "disabled"}),
                ),
                Answer::No,
                Verdict::Skipped,
            ),
            (NOT_INJECTED, no_mount(), Answer::No, Verdict::Fail),
            (NO_SOURCE, unlabelled(no_mount()), Answer::No, Verdict::Warn),
            (
                READ_ONLY,
                set(
                    unlabelled(injected()),
                    &at("volumeMounts/0/readOnly"),
                    json!(true),
                ),
                Answer::No,
                Verdict::Fail,
            ),
            (
                IN_MEMORY,
                set(
                    injected(),
                    "/spec/volumes/0/emptyDir",
                    json!({"medium": "Memory"}),
                ),
                Answer::No,
                Verdict::Fail,
            ),
            (
                ELSEWHERE,
                set(injected(), &at("env/1/value"), json!("/tmp/%p.dmp")),
                Answer::No,
                Verdict::Fail,
            ),
            (
                TOO_DEEP,
                set(
                    injected(),
                    &at("env/1/value"),
                    json!("/var/salvage/a/b/%p.dmp"),
                ),
                Answer::No,
                Verdict::Fail,
            ),
            (
                TOO_DEEP,
                set(injected(), &at("volumeMounts/0/subPath"), json!("a/b/c")),
                Answer::No,
                Verdict::Fail,
            ),
            (
                UNTOLD,
                set(injected(), &at("env/1/value"), json!("$(DIR)/%p.dmp")),
                Answer::Perhaps,
                Verdict::Warn,
            ),
            (
                UNTOLD,
                set(
                    injected(),
                    &at("envFrom"),
                    json!([{"configMapRef": {"name": "settings"}}]),
                ),
                Answer::Perhaps,
                Verdict::Warn,
            ),
            (
                NOT_ENABLED,
                set(
                    injected(),
                    &at("env/2"),
                    json!({"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g"}),
                ),
                Answer::Perhaps,
                Verdict::Warn,
            ),
            (
                WORKING_DIRECTORY,
                set(
                    injected(),
                    &at("env/2"),
                    json!({"name": "NODE_OPTIONS", "value": "--report-on-fatalerror"}),
                ),
                Answer::Perhaps,
                Verdict::Warn,
            ),
            (
                NO_VARIABLE,
                set(injected(), &at("env"), json!([])),
                Answer::Perhaps,
                Verdict::Warn,
            ),
            (
                WORKING_DIRECTORY,
                set(injected(), &at("env/1/value"), json!("core.%p")),
                Answer::Perhaps,
                Verdict::Warn,
            ),
            (
                SIZE_LIMIT,
                set(
                    injected(),
                    "/spec/volumes/0/emptyDir",
                    json!({"sizeLimit": "100Mi"}),
                ),
                Answer::Perhaps,
                Verdict::Warn,
            ),
            (
                EPHEMERAL_LIMIT,
                set(
                    injected(),
                    &at("resources/limits"),
                    json!({"memory": "512Mi", "ephemeral-storage": "100Mi"}),
                ),
                Answer::Perhaps,
                Verdict::Warn,
            ),
        ];
        for (id, pod, dump, verdict) in &table {
            let judged = judged(&judge(), pod.clone());
            let ids: Vec<_> = judged.reasons.iter().map(|r| r.id).collect();
            assert_eq!(ids, [*id], "{judged:#?}");
            assert_eq!((judged.dump, judged.verdict), (*dump, *verdict), "{id}");
            assert!(!judged.reasons[0].cause.is_empty());
        }
        let selecting = Judge {
            selection: Selection::new(vec!["bank".into()], vec![], Default::default(), None)
                .expect("valid"),
            ..judge()
        };
        let left_out = judged(&selecting, injected());
        assert_eq!(left_out.reasons[0].id, NOT_SELECTED);
        assert_eq!(left_out.verdict, Verdict::Skipped);
        for (id, ..) in SUMMARIES {
            let has = |row: &(&str, Value, Answer, Verdict)| row.0 == id;
            assert!(id == NOT_SELECTED || table.iter().any(has), "{id}");
        }
        // Both numbers are told.
        let small = set(
            injected(),
            "/spec/volumes/0/emptyDir",
            json!({"sizeLimit": "100Mi"}),
        );
        let cause = judged(&judge(), small).reasons.remove(0).cause;
        assert!(
            cause.contains("100.0 MiB") && cause.contains("512.0 MiB"),
            "{cause}"
        );
    }

    #[test]
    fn a_pod_that_is_asked_about_fails_where_it_leaves_no_dump() {
        let one = Judge {
            scope: Scope::Pod(PodName {
                namespace: "shop".into(),
                name: "cart-0".into(),
            }),
            ..judge()
        };
        let bare = set(injected(), "/spec/containers/0/volumeMounts", json!([]));
        let bare = set(bare, "/metadata/labels", json!({}));
        assert_eq!(judged(&one, bare).verdict, Verdict::Fail);
    }

    #[test]
    fn a_namespaces_label_asks_for_its_pods() {
        let labelled = Judge {
            namespaces: Namespaces::of([("shop".to_owned(), "enabled".to_owned())]),
            ..judge()
        };
        let bare = set(injected(), "/spec/containers/0/volumeMounts", json!([]));
        let bare = set(bare, "/metadata/labels", json!({}));
        let judged = judged(&labelled, bare);
        assert_eq!(judged.reasons[0].id, NOT_INJECTED);
        assert_eq!(judged.verdict, Verdict::Fail);
    }

    #[test]
    fn a_directory_of_the_node_is_a_place_and_has_no_limit_of_the_pods() {
        let pod = set(
            injected(),
            "/spec/volumes",
            json!([{"name": "salvage-dumps", "hostPath": {"path": "/var/dumps/shop"}}]),
        );
        let limits = json!({"memory": "512Mi", "ephemeral-storage": "1Mi"});
        let pod = set(pod, "/spec/containers/0/resources/limits", limits);
        assert_eq!(judged(&judge(), pod).dump, Answer::Yes);
    }

    #[test]
    fn pods_that_are_over_and_containers_that_end_are_not_judged() {
        let over = set(injected(), "/status/phase", json!("Succeeded"));
        let over: SeenPod = serde_json::from_value(over).expect("a pod");
        assert_eq!(judge().judge(&over), []);
        let init = json!([{"name": "setup"}, {"name": "mesh", "restartPolicy": "Always"}]);
        let with_init = set(injected(), "/spec/initContainers", init);
        let with_init: SeenPod = serde_json::from_value(with_init).expect("a pod");
        let names: Vec<_> = judge()
            .judge(&with_init)
            .into_iter()
            .map(|judged| judged.container)
            .collect();
        assert_eq!(names, ["app", "mesh"]);
    }

    /// What the innermost mount shows is what counts, and the place may be below a mount.
    #[test]
    fn a_path_is_in_a_place_only_where_the_container_sees_it_there() {
        let mount = |volume: &str, path: &str, read_only: bool| json!({"name": volume, "mountPath": path, "readOnly": read_only});
        let volumes = json!([
            {"name": "salvage-dumps", "emptyDir": {}},
            {"name": "var", "hostPath": {"path": "/var"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        ]);
        let whole = || mount("salvage-dumps", "/var/salvage", false);
        let table = [
            (vec![mount("var", "/host", false)], "/host/dumps/core", None),
            (
                vec![mount("var", "/host", false)],
                "/host/tmp/core",
                Some(ELSEWHERE),
            ),
            (
                vec![mount("var", "/host", false)],
                "/host/dumps/a/b/c/core",
                Some(TOO_DEEP),
            ),
            (
                vec![whole(), mount("data", "/var/salvage/dumps", false)],
                "/var/salvage/dumps/core",
                Some(ELSEWHERE),
            ),
            (
                vec![whole(), mount("salvage-dumps", "/var/salvage/ro", true)],
                "/var/salvage/ro/core",
                Some(ELSEWHERE),
            ),
            (vec![whole()], "/var/salvage/../core", Some(UNTOLD)),
        ];
        for (mounts, path, reason) in table {
            let pod = set(injected(), "/spec/volumes", volumes.clone());
            let pod = set(pod, "/spec/containers/0/volumeMounts", json!(mounts));
            let pod = set(pod, "/spec/containers/0/env/1/value", json!(path));
            let judged = judged(&judge(), pod);
            let ids: Vec<_> = judged.reasons.iter().map(|r| r.id).collect();
            assert_eq!(ids, Vec::from_iter(reason), "{path}: {judged:#?}");
        }
    }
}
