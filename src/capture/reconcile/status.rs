//! What a `Capture` says of itself: every change of its status is made here.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};

use crate::capture::failure::Failure;
use crate::capture::take::{Begun, Done, Progress};
use crate::dotnet::counters::Row;
use crate::kube::{CaptureEstimate, CaptureStatus, CounterValue, TypeCount};
use crate::model::{CrashId, Manifest, ObjectKey};

/// Values of counters that are shown: the runtime's own are 27.
const COUNTERS_SHOWN: usize = 40;

/// Longest text of the process's own that is shown.
const TEXT_MAX: usize = 160;

/// Types of a heap that are shown; the manifest has more.
const TYPES_SHOWN: usize = 10;

/// How far a capture has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Accepted,
    Capturing,
    Shipping,
    Stored,
    Failed,
}

const PHASES: [(Phase, &str); 5] = [
    (Phase::Accepted, "Accepted"),
    (Phase::Capturing, "Capturing"),
    (Phase::Shipping, "Shipping"),
    (Phase::Stored, "Stored"),
    (Phase::Failed, "Failed"),
];

impl Phase {
    pub(super) fn named(word: &str) -> Option<Self> {
        let found = PHASES.iter().find(|(_, name)| *name == word);
        found.map(|(phase, _)| *phase)
    }

    fn name(self) -> &'static str {
        let found = PHASES.iter().find(|(phase, _)| *phase == self);
        found.map_or("Failed", |(_, name)| name)
    }
}

/// What a condition is about. `kubectl wait --for=condition=Stored` waits for the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Accepted,
    Captured,
    Stored,
}

impl About {
    fn name(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Captured => "Captured",
            Self::Stored => "Stored",
        }
    }
}

/// A status that is being changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Board(pub(super) CaptureStatus);

impl Board {
    /// An agent takes it on.
    pub(super) fn accepted(node: &str, agent: &str, pod_uid: &str, now: Timestamp) -> Self {
        let mut board = Self(CaptureStatus {
            node: Some(node.to_owned()),
            agent: Some(agent.to_owned()),
            pod_uid: Some(pod_uid.to_owned()),
            ..CaptureStatus::default()
        });
        let message = format!("the agent on node {node} takes it");
        board.phase(Phase::Accepted, message.clone());
        board.set(About::Accepted, "True", "OnPodsNode", message, now);
        board
    }

    /// The process is found, and is asked now.
    fn capturing(&mut self, begun: &Begun, now: Timestamp) {
        let Begun {
            container,
            process,
            estimate,
            concerns,
        } = begun;
        let warnings: Vec<String> = concerns.iter().map(ToString::to_string).collect();
        let message = match warnings.is_empty() {
            true => format!("process {process} is asked"),
            false => format!(
                "process {process} is asked, although: {}",
                warnings.join("; ")
            ),
        };
        let status = &mut self.0;
        status.container.clone_from(container);
        status.process = Some(*process);
        status.started_at = Some(Time(now));
        status.estimate = Some(CaptureEstimate {
            pause: time(estimate.pause),
            bytes: number(estimate.bytes),
            memory: number(estimate.memory),
        });
        self.phase(Phase::Capturing, message.clone());
        self.set(About::Captured, "Unknown", "UnderWay", message, now);
    }

    /// Others are being taken: it has to wait for its turn.
    pub(super) fn waits(&mut self) {
        let message = "it waits: as many captures as this node takes at once are under way";
        self.phase(Phase::Accepted, message.to_owned());
    }

    /// How far it is.
    pub(super) fn note(&mut self, progress: &Progress, now: Timestamp) {
        if let Some(begun) = &progress.begun
            && self.0.started_at.is_none()
        {
            self.capturing(begun, now);
        }
        if progress.bytes > 0 {
            self.progress(progress.bytes);
        }
        if !progress.values.is_empty() {
            self.values(&progress.values);
        }
    }

    /// So many bytes are here.
    fn progress(&mut self, bytes: u64) {
        self.0.bytes = Some(number(bytes));
    }

    /// These are the last values.
    fn values(&mut self, rows: &[Row]) {
        let values = rows.iter().take(COUNTERS_SHOWN);
        self.0.counters = values
            .map(|row| CounterValue {
                name: match row.tags.is_empty() {
                    true => cut(&format!("{}: {}", row.provider, row.name)),
                    false => cut(&format!("{}: {} {{{}}}", row.provider, row.name, row.tags)),
                },
                value: cut(&row.value),
            })
            .collect();
    }

    /// All of it is in the agent's spool.
    pub(super) fn shipping(&mut self, id: CrashId, done: Option<&Done>, now: Timestamp) {
        let mut message = format!(
            "it is taken and on its way to the store; salvage get {id} fetches it from there"
        );
        if let Some(done) = done {
            self.progress(done.bytes);
            self.0.pause = done.pause.map(time);
            self.0.complete = done.complete;
            let types = done.types.iter().take(TYPES_SHOWN);
            self.0.types = types
                .map(|heap| TypeCount {
                    name: cut(&heap.name),
                    instances: number(heap.instances),
                    bytes: number(heap.bytes),
                })
                .collect();
            if let Some(note) = &done.note {
                message = format!("{message}; {note}");
            }
        }
        self.0.crash_id = Some(id.to_string());
        self.phase(Phase::Shipping, message.clone());
        self.set(About::Captured, "True", "Taken", message, now);
        let waits = "it is not in the store yet".to_owned();
        self.set(About::Stored, "Unknown", "UnderWay", waits, now);
    }

    /// The store does not take it now.
    pub(super) fn waits_for_store(&mut self, attempts: u32, now: Timestamp) -> bool {
        let message = format!(
            "the store did not take it yet ({attempts} attempts); it is kept on the node and tried again: the agent's log says why"
        );
        let before = self.0.message.clone();
        self.phase(Phase::Shipping, message.clone());
        self.set(About::Stored, "Unknown", "Retrying", message, now);
        before != self.0.message
    }

    /// It is stored and verified.
    pub(super) fn stored(&mut self, manifest: &Manifest, key: &ObjectKey, now: Timestamp) {
        let stored = manifest
            .artifacts
            .iter()
            .map(|artifact| artifact.stored_bytes);
        let bytes = manifest.artifacts.iter().map(|artifact| artifact.bytes);
        let complete = manifest
            .artifacts
            .iter()
            .find_map(|artifact| artifact.complete);
        let status = &mut self.0;
        status.crash_id = Some(manifest.id.to_string());
        status.key = Some(key.to_string());
        status.bytes = Some(number(bytes.sum()));
        status.stored_bytes = Some(number(stored.sum()));
        let taken = manifest.capture.as_deref();
        let whole = taken.and_then(|taken| taken.complete);
        status.complete = match (complete, whole) {
            (Some(file), Some(heap)) => Some(file && heap),
            (file, heap) => file.or(heap),
        };
        status.finished_at = Some(Time(now));
        let mut message = format!("stored and verified; salvage get {}", manifest.id);
        if let Some(note) = taken.and_then(|taken| taken.note.as_deref()) {
            message = format!("{message}; {note}");
        }
        self.phase(Phase::Stored, message.clone());
        self.set(
            About::Captured,
            "True",
            "Taken",
            "it is taken".to_owned(),
            now,
        );
        self.set(About::Stored, "True", "Verified", message, now);
    }

    /// It has failed.
    pub(super) fn failed(&mut self, failure: &Failure, now: Timestamp) {
        self.0.finished_at = Some(Time(now));
        self.phase(Phase::Failed, failure.message.clone());
        let about = match self.0.crash_id.is_some() {
            true => About::Stored,
            false => About::Captured,
        };
        let (reason, message) = (failure.reason.name(), failure.message.clone());
        self.set(about, "False", reason, message.clone(), now);
        if about == About::Captured {
            // Whoever waits for this one is not to wait for ever.
            self.set(About::Stored, "False", reason, message, now);
        }
    }

    /// The patch of an object of this version. A UID would not hold another object of the name off: of a custom resource's status the server takes the metadata that is
    /// there, and looks at the version alone.
    pub(super) fn patch(&self, version: &str) -> Value {
        json!({ "metadata": { "resourceVersion": version }, "status": self.0 })
    }

    fn phase(&mut self, phase: Phase, message: String) {
        self.0.phase = Some(phase.name().to_owned());
        self.0.message = Some(message);
    }

    fn set(&mut self, about: About, status: &str, reason: &str, message: String, now: Timestamp) {
        let conditions = &mut self.0.conditions;
        let old = conditions.iter().find(|old| old.type_ == about.name());
        let since = old.filter(|old| old.status == status);
        let new = Condition {
            type_: about.name().to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: since.map_or(Time(now), |old| old.last_transition_time.clone()),
            observed_generation: None,
        };
        conditions.retain(|old| old.type_ != about.name());
        conditions.push(new);
    }
}

/// A text of the process's as the object has it: every agent hears of every change.
fn cut(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A time for people: milliseconds below ten seconds, seconds above.
fn time(time: Duration) -> String {
    match time < Duration::from_secs(10) {
        true => format!("{}ms", time.as_millis()),
        false => format!("{}s", time.as_secs()),
    }
}
