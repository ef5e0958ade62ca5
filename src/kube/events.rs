//! One Event on the pod for each crash or capture that is stored, so that `kubectl describe` tells where its dump is: a Warning for a crash.
//!
//! The Event is named after the crash, so a crash has one whatever is repeated. A pod that crashes all the time gets some and then one in a while; a failure is
//! counted and forgotten: an Event is news, the crash is in the bucket.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

use super::Metrics;
use super::bucket::Bucket;
use super::metrics::Outcome;
use crate::model::{ByteSize, Kind, Manifest, Role, Taken, Trigger};
use crate::telemetry::chain;

/// What Events say they are from.
const CONTROLLER: &str = "salvage.dev/agent";

/// Longest note; the API server takes no longer one.
const NOTE_MAX: usize = 1_024;

/// Events of one pod at once, and how long until there may be another one.
const OF_POD: Bucket = Bucket::new(3.0, Duration::from_secs(300));

/// The same for all pods of the node.
const OF_NODE: Bucket = Bucket::new(25.0, Duration::from_secs(10));

/// Most pods whose Events are counted; beyond it the node's limit stands alone.
const PODS_MAX: usize = 1_024;

/// Crashes that wait to be told; a node that has more of them at once tells no more.
const WAITING: usize = 64;

/// An API server that takes longer for an Event is not waited for.
const ANSWERS: Duration = Duration::from_secs(10);

/// Crashes that are to be told.
pub type Told = Receiver<Manifest>;

/// Hands crashes on to be told, and never waits.
#[derive(Clone, Debug)]
pub struct Teller {
    sender: Sender<Manifest>,
    metrics: Metrics,
}

impl Teller {
    /// A teller, and what [`Events::run`] takes.
    pub fn new(metrics: Metrics) -> (Self, Told) {
        let (sender, told) = channel(WAITING);
        (Self { sender, metrics }, told)
    }

    /// Tells of a crash, or counts that it is not told.
    pub fn tell(&self, manifest: &Manifest) {
        if self.sender.try_send(manifest.clone()).is_err() {
            self.metrics.event(Outcome::Dropped);
        }
    }
}

/// How Events are made.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node that they are from.
    pub node: String,
}

/// Makes Events.
pub struct Events {
    client: Client,
    config: Config,
    metrics: Metrics,
    node: Bucket,
    pods: HashMap<String, Bucket>,
}

impl Events {
    /// A maker of Events.
    pub fn new(client: Client, config: Config, metrics: Metrics) -> Self {
        Self {
            client,
            config,
            metrics,
            node: OF_NODE,
            pods: HashMap::new(),
        }
    }

    /// Makes an Event of each manifest, until no more can come.
    pub async fn run(mut self, mut stored: Told) {
        while let Some(manifest) = stored.recv().await {
            let Some(event) = event_of(&manifest, &self.config.node, Timestamp::now()) else {
                continue;
            };
            let outcome = if self.may_send(&event, Instant::now()) {
                self.send(&event).await
            } else {
                Outcome::Limited
            };
            self.metrics.event(outcome);
        }
    }

    fn may_send(&mut self, event: &Event, now: Instant) -> bool {
        let uid = event.regarding.as_ref().and_then(|pod| pod.uid.clone());
        let uid = uid.unwrap_or_default();
        if self.pods.len() >= PODS_MAX {
            self.pods.retain(|_, bucket| !bucket.is_full(now));
        }
        let of_pod = self.pods.len() < PODS_MAX || self.pods.contains_key(&uid);
        let pod_passes = !of_pod || self.pods.entry(uid).or_insert(OF_POD).lets_through(now);
        pod_passes && self.node.lets_through(now)
    }

    async fn send(&self, event: &Event) -> Outcome {
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams::default();
        match timeout(ANSWERS, events.create(&params, event)).await {
            Ok(Ok(_)) => Outcome::Sent,
            // It was made before the agent was stopped.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Outcome::Sent,
            Ok(Err(error)) => {
                tracing::debug!(error = chain(&error), "an Event was not taken");
                Outcome::Failed
            }
            Err(_) => Outcome::Failed,
        }
    }
}

/// An Event that says that a crash of a pod is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// Its name.
    pub name: String,
    /// What it says.
    pub note: String,
}

/// The Events that any agent has made on the pod with this UID.
///
/// # Errors
/// They cannot be listed.
pub async fn collected(
    client: &Client,
    namespace: &str,
    uid: &str,
) -> Result<Vec<Collected>, CollectedError> {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let of_pod = ListParams::default().fields(&format!("regarding.uid={uid}"));
    let listed = timeout(ANSWERS, events.list(&of_pod)).await;
    let failed = |problem| CollectedError {
        namespace: namespace.to_owned(),
        problem,
    };
    let listed = listed.map_err(|_| failed("no answer in time".to_owned()))?;
    let listed = listed.map_err(|error| failed(chain(&error)))?;
    let ours = listed
        .items
        .into_iter()
        .filter(|event| event.reporting_controller.as_deref() == Some(CONTROLLER));
    Ok(ours
        .filter_map(|event| {
            Some(Collected {
                name: event.metadata.name?,
                note: event.note?,
            })
        })
        .collect())
}

/// Events cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error(
    "listing Events in namespace {namespace} ({problem}); the service account needs to list events of events.k8s.io there"
)]
pub struct CollectedError {
    namespace: String,
    problem: String,
}

/// The Event about a crash; none where no pod is known.
fn event_of(manifest: &Manifest, node: &str, now: Timestamp) -> Option<Event> {
    let pod = manifest.pod.as_ref()?;
    let (namespace, name, uid) = (pod.namespace.clone()?, pod.name.clone()?, pod.uid.clone()?);
    let is_capture = manifest.kind == Kind::Capture;
    let (reason, type_) = match is_capture {
        true => ("CaptureStored", "Normal"),
        false => ("CrashCollected", "Warning"),
    };
    Some(Event {
        metadata: ObjectMeta {
            // A name has 253 characters, and a pod's may have them all.
            name: Some(format!("{}.{}", cut(&name, 200), manifest.id)),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        action: Some("Collected".to_owned()),
        reason: Some(reason.to_owned()),
        note: Some(note(manifest)),
        type_: Some(type_.to_owned()),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(cut(node, 128).to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(namespace),
            name: Some(name),
            uid: Some(uid),
            ..ObjectReference::default()
        }),
        ..Event::default()
    })
}

/// What happened, what there is of it, and how to get it. Nothing that a dump chose: everybody in the namespace reads Events.
fn note(manifest: &Manifest) -> String {
    let container = manifest
        .container
        .as_ref()
        .and_then(|container| container.name.as_deref());
    let who = container.map_or_else(
        || "A process".to_owned(),
        |name| format!("Container {name}"),
    );
    if let Some(taken) = manifest.capture.as_deref() {
        return cut(&note_of_capture(manifest, taken, &who), NOTE_MAX).to_owned();
    }
    let mut note = match manifest.exit_code {
        Some(code) => format!("{who} crashed: {} (exit code {code}).", manifest.reason),
        None => format!("{who} crashed: {}.", manifest.reason),
    };
    let dump: u64 = manifest
        .artifacts
        .iter()
        .filter(|artifact| artifact.role == Role::Dump)
        .map(|artifact| artifact.bytes)
        .sum();
    let missing = manifest
        .missing
        .iter()
        .find(|missing| missing.role == Role::Dump);
    if dump > 0 {
        note += &format!(" Its dump of {} is stored.", ByteSize::new(dump).rounded());
    } else if let Some(missing) = missing {
        note += &format!(" No dump ({}).", missing.why);
    }
    note += &format!(" salvage get {}", manifest.id);
    cut(&note, NOTE_MAX).to_owned()
}

/// What was taken of a living process, and why.
fn note_of_capture(manifest: &Manifest, taken: &Taken, who: &str) -> String {
    let what = match taken.dump_type {
        Some(kind) => format!("{kind} {}", taken.kind),
        None => taken.kind.to_string(),
    };
    let why = match (taken.trigger, taken.memory) {
        (Trigger::Memory, Some(memory)) => format!(
            " Its memory was at {} of {}.",
            ByteSize::new(memory.used).rounded(),
            ByteSize::new(memory.limit).rounded()
        ),
        _ => String::new(),
    };
    let bytes = manifest.artifacts.iter().map(|artifact| artifact.bytes);
    let bytes = ByteSize::new(bytes.sum()).rounded();
    format!(
        "{who}: a {what} of {bytes} is stored.{why} salvage get {}",
        manifest.id
    )
}

fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest() -> Manifest {
        serde_json::from_value(json!({
            "schema": 1, "id": "01m7xww73z8tgy3eqr24zwfz0y", "revision": 1, "kind": "crash", "cluster": "c", "node": "n",
            "time": "2026-11-21T01:52:31Z", "time_source": "container_finished", "reason": "SIGSEGV", "exit_code": 139,
            "pod": {"namespace": "shop", "name": "cart-0", "uid": "u"}, "container": {"name": "app"},
            "missing": [{"role": "dump", "why": "not_written"}]
        }))
        .expect("a manifest")
    }

    #[test]
    fn an_event_says_what_happened_and_how_to_get_it() {
        let event = event_of(&manifest(), "node-1", Timestamp::UNIX_EPOCH).expect("an event");
        assert_eq!(
            event.note.as_deref(),
            Some(
                "Container app crashed: SIGSEGV (exit code 139). No dump (not_written). salvage get 01m7xww73z8tgy3eqr24zwfz0y"
            )
        );
        assert_eq!(
            event.metadata.name.as_deref(),
            Some("cart-0.01m7xww73z8tgy3eqr24zwfz0y")
        );
        assert_eq!(
            event.regarding.and_then(|pod| pod.uid).as_deref(),
            Some("u")
        );
    }

    #[test]
    fn an_event_of_a_capture_says_what_was_taken_and_why() {
        let taken = json!({
            "kind": "dump", "type": "heap", "trigger": "memory", "started": "2026-11-21T01:52:31Z", "took_ms": 1,
            "memory": {"used": 943_718_400, "limit": 1_073_741_824}
        });
        let capture = Manifest {
            kind: Kind::Capture,
            capture: Some(Box::new(
                serde_json::from_value(taken).expect("how it was taken"),
            )),
            exit_code: None,
            missing: Vec::new(),
            ..manifest()
        };
        let event = event_of(&capture, "node-1", Timestamp::UNIX_EPOCH).expect("an event");
        assert_eq!(event.type_.as_deref(), Some("Normal"));
        assert_eq!(
            event.note.as_deref(),
            Some(
                "Container app: a heap dump of 0 B is stored. Its memory was at 900.0 MiB of 1.0 GiB. salvage get 01m7xww73z8tgy3eqr24zwfz0y"
            )
        );
    }

    #[test]
    fn a_crash_of_nobody_has_no_event() {
        let nobody = Manifest {
            pod: None,
            ..manifest()
        };
        assert!(event_of(&nobody, "n", Timestamp::UNIX_EPOCH).is_none());
    }
}
