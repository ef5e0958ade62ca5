//! Whose a crash is: asks the pod index, waits for what may still tell, and brings a dump and the death that left it together.
//!
//! ```text
//! Waiting, a dump ──► attribute ──exact, and its reason known──────────────► Shipping ──► gather: wait for its death ──► manifest
//!                        └─ else until the join window closes ─────────────►
//! Waiting, a death ──► wait for its dump, until the window closes ──────────► Shipping (its log) ──► manifest
//! Waiting, a revision ─► see `revise`
//! ```
//!
//! Where the crash goes and its reason are chosen at the step to Shipping and never again: no byte leaves the node before.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Kubernetes;
use super::choose::{self, Named};
use super::steps::{Next, Run, StepError, blocking};
use crate::decide::{reason_of, why_no_dump};
use crate::kube::{Question, Selected, Whose};
use crate::model::{Confidence, Death, Missing, Reason, Role};
use crate::spool::{Awaited, Choice, DumpSays, Met, Phase, Piece, Progress};

/// Somebody else may know more soon: when to ask again.
const ASK_AGAIN: SignedDuration = SignedDuration::from_millis(500);

/// A dump whose pod nobody knows is held and asked for this often: there may be thousands.
const HELD: SignedDuration = SignedDuration::from_secs(30);

/// A death that was told late still waits this long for a dump that was found as late: the agent was not there, and now scans.
const AFTER_SEEN: SignedDuration = SignedDuration::from_secs(10);

/// The namespace that a crash of nobody known is stored under. No namespace of Kubernetes has such a name.
const NOBODYS: &str = "_unknown";

impl Run {
    /// Says whose the entry's dump is, as soon as that can be said.
    pub(super) async fn attribute(&mut self, kubernetes: &Kubernetes) -> Result<Next, StepError> {
        let Phase::Waiting { pieces } = &self.entry.phase else {
            return Ok(Next::Again);
        };
        let Some(says) = DumpSays::of(pieces) else {
            return self.settle_death(Some(kubernetes)).await;
        };
        let now = Timestamp::now();
        let whose = self.ask(kubernetes, says.clone()).await;
        match whose.selected {
            Selected::Yes => {}
            // Only what is certain is removed: a dump may be somebody else's by a claim.
            Selected::No if whose.attribution.confidence == Confidence::Exact => {
                return self.let_go().await;
            }
            Selected::No | Selected::Unknown => return Ok(self.hold(now)),
        }
        self.inner.spool.note_held(self.entry.id, false);
        let closes = kubernetes.closes(&says, now);
        if let Some(met) = self.meet(kubernetes, &says, &whose, now, closes).await? {
            return Ok(met);
        }
        let Phase::Waiting { pieces } = &self.entry.phase else {
            return Ok(Next::Again);
        };
        let named = named(whose, self.entry.death.as_deref());
        let mut phase = choose::shipping(pieces.clone(), named, self.entry.death.as_deref());
        if let Phase::Shipping { choice, .. } = &mut phase {
            choice.scope.get_or_insert_with(|| NOBODYS.to_owned());
        }
        let is_settled = |choice: &Choice| {
            choice.attribution.confidence == Confidence::Exact && choice.reason != Reason::Unknown
        };
        match &phase {
            Phase::Shipping { choice, .. } if !is_settled(choice) && now < closes => {
                Ok(Next::At(soon(now, closes)))
            }
            _ => self.choose(phase).await,
        }
    }

    /// Takes in the death that left the dump, if it is here. `Some` is what to do instead of going on.
    async fn meet(
        &mut self,
        kubernetes: &Kubernetes,
        says: &DumpSays,
        whose: &Whose,
        now: Timestamp,
        closes: Timestamp,
    ) -> Result<Option<Next>, StepError> {
        let dumped = says.dumped(&whose.pod, &whose.container);
        self.inner.spool.note_dumped(self.entry.id, dumped.clone());
        let Some(dumped) = dumped else {
            return Ok(None);
        };
        // Of several dumps of one start the one of the first process has the death; another only where none came.
        if !dumped.may_be_first() && now < closes {
            return Ok(None);
        }
        let window = kubernetes.window;
        let met = self
            .on_node(move |spool, entry| {
                spool.take_death(entry, &dumped, window, now >= closes, now)
            })
            .await?;
        Ok(match met {
            Met::Taken | Met::None => None,
            Met::Reopened => Some(Next::Over),
            Met::Wait(then) => Some(Next::At(then)),
        })
    }

    /// With all artifacts stored: whether the death that left the dump is to be waited for.
    pub(super) async fn gather(&mut self) -> Result<Option<Next>, StepError> {
        let Some(kubernetes) = self.inner.kubernetes.clone() else {
            return Ok(None);
        };
        let Phase::Shipping { pieces, choice, .. } = &self.entry.phase else {
            return Ok(None);
        };
        let is_capture = self.entry.capture.is_some();
        if is_capture || self.entry.death.is_some() || self.entry.told.is_some() {
            return Ok(None);
        }
        let dump = DumpSays::of(pieces);
        let Some((says, dumped)) = dump
            .and_then(|says| Some((says.clone(), says.dumped(&choice.pod, &choice.container)?)))
        else {
            return Ok(None);
        };
        let now = Timestamp::now();
        let closes = kubernetes.closes(&says, now);
        if dumped.may_be_first() || now >= closes {
            let window = kubernetes.window;
            let met = self
                .on_node(move |spool, entry| {
                    spool.take_held_death(entry, &dumped, window, now >= closes, now)
                })
                .await?;
            match met {
                Met::Taken => return Ok(Some(Next::Again)),
                Met::Wait(then) => return Ok(Some(Next::At(then))),
                Met::Reopened | Met::None => {}
            }
        }
        Ok((now < closes).then(|| Next::At(soon(now, closes))))
    }

    /// A container's end without a dump so far.
    pub(super) async fn settle_death(
        &mut self,
        kubernetes: Option<&Kubernetes>,
    ) -> Result<Next, StepError> {
        let (Some(death), Phase::Waiting { pieces }) =
            (self.entry.death.as_deref(), &self.entry.phase)
        else {
            return Err(StepError::nothing_known());
        };
        let (death, logs, now) = (death.clone(), pieces.clone(), Timestamp::now());
        // Without Kubernetes nothing can come any more.
        let Some(window) = kubernetes.map(|kubernetes| kubernetes.window) else {
            return self.choose(death_alone(&death, logs)).await;
        };
        let told = {
            let death = death.clone();
            self.on_node(move |spool, entry| {
                let told = spool.told_dump_of(&death, window)?;
                Some(spool.reopen(entry, told, now))
            })
            .await
        };
        match told.transpose()? {
            Some(Met::Wait(then)) => return Ok(Next::At(then)),
            Some(Met::Reopened) => return Ok(Next::Over),
            Some(Met::Taken | Met::None) | None => {}
        }
        let closes = closes_for_death(&death, window, now);
        if now < closes {
            return Ok(Next::At(closes));
        }
        let latest = after(after(closes, window), window);
        match self.inner.spool.dump_of(self.entry.id, &death, window, now) {
            Awaited::Dump(dump) => {
                let given = self.on_node(move |spool, entry| spool.give_death(entry, dump, now));
                return Ok(match given.await? {
                    Met::Wait(then) => Next::At(then),
                    _ => Next::Over,
                });
            }
            Awaited::Told => return Ok(Next::At(soon(now, Timestamp::MAX))),
            Awaited::Perhaps if now < latest => return Ok(Next::At(soon(now, latest))),
            Awaited::Perhaps | Awaited::Nothing => {}
        }
        // Its pod may have asked meanwhile not to be collected from.
        let uid = &death.start.uid;
        if kubernetes.is_some_and(|kubernetes| !kubernetes.pods.is_collected(uid)) {
            self.on_node(|spool, entry| spool.discard(entry))
                .await
                .map_err(StepError::Node)?;
            return Ok(Next::Over);
        }
        self.choose(death_alone(&death, logs)).await
    }

    /// Asks the pod index, which looks at directories.
    pub(super) async fn ask(&mut self, kubernetes: &Kubernetes, says: DumpSays) -> Whose {
        let pods = Arc::clone(&kubernetes.pods);
        blocking(move || pods.whose(&question(&says), Timestamp::now())).await
    }

    /// Keeps a dump on the node that might be of somebody who is not collected from.
    fn hold(&self, now: Timestamp) -> Next {
        if self.inner.spool.note_held(self.entry.id, true) {
            tracing::warn!(crash = %self.entry.id, "a dump is held: nobody knows whose it is, and it might be of a pod that is not selected");
        }
        Next::At(after(now, HELD))
    }

    /// A dump that is not to be collected and was taken before that was known.
    async fn let_go(&mut self) -> Result<Next, StepError> {
        self.on_node(|spool, entry| spool.discard(entry))
            .await
            .map_err(StepError::Node)?;
        self.inner.metrics.suppressed();
        tracing::warn!(crash = %self.entry.id, "a dump of a pod that is not selected is removed, not stored");
        Ok(Next::Over)
    }
}

impl Kubernetes {
    /// When the join window of a dump closes. A dump that was there before the agent waits for the agent's pod index. A time ahead of the clock is none to wait for.
    fn closes(&self, says: &DumpSays, now: Timestamp) -> Timestamp {
        let from = says.origin.ended.min(says.origin.seen).max(self.began);
        after(from.min(now), self.window)
    }
}

fn closes_for_death(death: &Death, window: SignedDuration, now: Timestamp) -> Timestamp {
    // The kernel ended it by SIGKILL: nothing could be written. And where nobody saw the end, nothing tells a dump of it.
    if death.oom_killed() || death.terminated.is_none() {
        return now;
    }
    let seen = death.seen.min(now);
    let ended = death.time().min(seen);
    after(ended, window).max(after(seen, AFTER_SEEN.min(window)))
}

fn after(from: Timestamp, wait: SignedDuration) -> Timestamp {
    from.saturating_add(wait).unwrap_or(from)
}

fn soon(now: Timestamp, closes: Timestamp) -> Timestamp {
    after(now, ASK_AGAIN).min(closes)
}

fn question(says: &DumpSays) -> Question<'_> {
    Question {
        source: says.origin.source.as_os_str(),
        levels: says
            .origin
            .levels
            .iter()
            .map(|level| level.as_os_str())
            .collect(),
        names: &says.origin.names,
        file_name: Some(says.origin.name.as_os_str()),
        file_uid: says.origin.uid,
        host_name: says.host_name.as_deref(),
        ended: says.origin.ended,
    }
}

/// What is known of pod and container, with what the container's end adds.
fn named(whose: Whose, death: Option<&Death>) -> Named {
    let Whose {
        pod,
        mut container,
        mut attribution,
        ..
    } = whose;
    if let Some(death) = death {
        container = death.container.clone();
        attribution.evidence.push(death.evidence());
    }
    Named {
        pod,
        container,
        attribution,
    }
}

/// The crash that a container's end is when no dump of it came.
fn death_alone(death: &Death, logs: Vec<Piece>) -> Phase {
    let named = choose::known_by(death);
    let mut choice = Choice {
        scope: named.pod.namespace.clone(),
        reason: reason_of(&[], Some(death)),
        signal: None,
        pod: named.pod,
        container: named.container,
        attribution: named.attribution,
        artifacts: Vec::new(),
        missing: vec![Missing {
            role: Role::Dump,
            why: why_no_dump(death).to_owned(),
        }],
        stored: Vec::new(),
    };
    choice.name_artifacts(logs.iter().map(|log| log.facts.format));
    Phase::Shipping {
        pieces: logs,
        choice: Box::new(choice),
        progress: Box::new(Progress::default()),
    }
}
