//! What is remembered of a `Capture`, of which there may be many that are none of ours.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::status::Phase;
use crate::capture::request::{self, TTL};
use crate::kube::{Capture, CaptureSpec, CaptureStatus};

/// A `Capture`, as it was heard of last.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// The pod that it is asked of.
    pub(super) pod: String,
    pub(super) version: String,
    pub(super) created: Timestamp,
    /// When it was heard of first, by our own clock: that of the API server may be another.
    pub(super) heard: Timestamp,
    /// Somebody has deleted it, and something else keeps it from going.
    pub(super) is_deleted: bool,
    pub(super) phase: Option<Phase>,
    pub(super) node: Option<String>,
    /// Which start of the agent took it on.
    pub(super) agent: Option<String>,
    pub(super) finished: Option<Timestamp>,
    pub(super) ttl: Duration,
    /// What is asked for, where that may still be ours to do.
    pub(super) spec: Option<Box<CaptureSpec>>,
    /// What it says, where that is ours.
    pub(super) status: Option<Box<CaptureStatus>>,
}

impl Seen {
    /// What is kept of this object by this start of the agent of `node`; nothing of one without the names that every object has.
    pub(super) fn of(capture: Capture, node: &str, agent: &str) -> Option<Self> {
        let (uid, namespace) = (capture.uid()?, capture.namespace()?);
        let (name, version) = (capture.name_any(), capture.resource_version()?);
        let created = capture.metadata.creation_timestamp?.0;
        let is_deleted = capture.metadata.deletion_timestamp.is_some();
        let status = capture.status.unwrap_or_default();
        // A status that is nonsense was written by nobody who may: it is taken for one that is none.
        let phase = status.phase.as_deref().and_then(Phase::named);
        let is_ours = is_ours(status.node.as_deref(), status.agent.as_deref(), node, agent);
        Some(Self {
            uid,
            namespace,
            name,
            pod: capture.spec.pod.clone(),
            version,
            created,
            heard: Timestamp::now(),
            is_deleted,
            phase,
            node: status.node.clone(),
            agent: status.agent.clone(),
            finished: status.finished_at.as_ref().map(|time| time.0),
            ttl: request::ttl(&capture.spec).unwrap_or(TTL.duration()),
            spec: (phase.is_none() || is_ours).then(|| Box::new(capture.spec)),
            status: is_ours.then(|| Box::new(status)),
        })
    }

    /// Whether this is of a later version: the API promises since 1.35 that they are numbers that grow.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        let number = |seen: &Self| seen.version.parse::<u128>().ok();
        number(self) > number(other) && number(other).is_some()
    }

    /// Whether an agent of this node with the same state took it on: this start of it or an earlier one.
    pub(super) fn is_of(&self, node: &str, agent: &str) -> bool {
        is_ours(self.node.as_deref(), self.agent.as_deref(), node, agent)
    }
}

fn is_ours(of_node: Option<&str>, of_agent: Option<&str>, node: &str, agent: &str) -> bool {
    let state = |agent: &str| agent.split('.').next().map(str::to_owned);
    of_node == Some(node) && of_agent.and_then(state) == state(agent)
}
