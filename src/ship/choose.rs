//! Finds out what a held file is, waits for what belongs to it, and fixes everything that the crash's keys are made of.

use std::time::Instant;

use jiff::Timestamp;

use super::Kubernetes;
use super::capture;
use super::metrics::Stage;
use super::steps::{Next, Run, StepError, blocking};
use crate::decide::{attribute_without_kubernetes, by_worth, reason_of};
use crate::identify::identify;
use crate::model::{Attribution, CaptureKind, Confidence, Death, Facts, Format, Step};
use crate::spool::{Choice, Kinship, Phase, Piece, Progress};
use crate::sys::Stat;

pub(super) use crate::decide::Named;

impl Run {
    /// Reads what the file says.
    pub(super) async fn look_into(&mut self) -> Result<Next, StepError> {
        let began = Instant::now();
        let files = self.entry.files();
        let Some(kept) = files.into_iter().next() else {
            return Ok(Next::Again);
        };
        let file = match self.open(kept.clone()).await {
            Ok(file) => file,
            Err(error) => return self.lost_or(error).await,
        };
        let captured = self.entry.capture.as_deref();
        let is_counters =
            captured.is_some_and(|captured| captured.taken.kind == CaptureKind::Counters);
        let (facts, bytes) = blocking(move || -> std::io::Result<(Facts, u64)> {
            let bytes = Stat::of(&file)?.size;
            // Lines of ours, which no first bytes tell from others.
            let facts = match is_counters {
                true => Facts::of(Format::Counters),
                false => identify(&file, bytes),
            };
            Ok((facts, bytes))
        })
        .await
        .map_err(StepError::Read)?;
        let Some(origin) = self.entry.origin.clone() else {
            let problem = "its state does not say where it came from";
            return Err(StepError::Read(std::io::Error::other(problem)));
        };
        let own = Piece {
            kept,
            origin,
            facts,
            bytes,
        };
        let waits = self.inner.kubernetes.is_some()
            || self.inner.spool.has_kin_to_wait_for(&self.entry, &own);
        let pieces = vec![own];
        if let Some(captured) = self.entry.capture.clone() {
            self.choose(capture::shipping(pieces, *captured)).await?;
            self.inner.metrics.took(Stage::Identify, began.elapsed());
            return Ok(Next::Again);
        }
        match waits {
            true => {
                self.advance(Step::NoteFacts, Phase::Waiting { pieces })
                    .await?;
            }
            false => {
                let named = without_kubernetes(&pieces);
                self.choose(shipping(pieces, named, None)).await?;
            }
        }
        self.inner.metrics.took(Stage::Identify, began.elapsed());
        Ok(Next::Again)
    }

    /// Brings together what one death left, as far as it is there, and says whose it is.
    pub(super) async fn wait(&mut self) -> Result<Next, StepError> {
        let kubernetes = self.inner.kubernetes.clone();
        if self.entry.told.is_some() {
            self.revise(kubernetes.as_ref()).await
        } else if self.entry.is_death_alone() {
            self.settle_death(kubernetes.as_ref()).await
        } else {
            self.join(kubernetes.as_ref()).await
        }
    }

    /// Joins what one death left, as far as it is there.
    async fn join(&mut self, kubernetes: Option<&Kubernetes>) -> Result<Next, StepError> {
        let now = Timestamp::now();
        match self
            .on_node(move |spool, entry| spool.join_kin(entry, now))
            .await?
        {
            Kinship::JoinedTo(_) => return Ok(Next::Over),
            Kinship::Wait(then) => return Ok(Next::At(then)),
            Kinship::Settled => {}
        }
        if let Some(kubernetes) = kubernetes {
            return self.attribute(kubernetes).await;
        }
        let Phase::Waiting { pieces } = &self.entry.phase else {
            return Ok(Next::Again);
        };
        let death = self.entry.death.as_deref();
        // One that met its death while pods were still looked up is known by that.
        let named = death.map_or_else(|| without_kubernetes(pieces), known_by);
        let phase = shipping(pieces.clone(), named, death);
        self.choose(phase).await
    }

    /// Goes on to ship what was decided; from then on a crash is counted.
    pub(super) async fn choose(&mut self, phase: Phase) -> Result<Next, StepError> {
        let count = self.entry.death.as_ref().map_or(1, |death| death.count);
        self.advance(Step::NoteChoice, phase).await?;
        if let Phase::Shipping { choice, .. } = &self.entry.phase
            && self.entry.capture.is_none()
        {
            self.inner.metrics.chosen(choice, count);
        }
        Ok(Next::Again)
    }
}

/// Whose a crash is, by its container's end.
pub(super) fn known_by(death: &Death) -> Named {
    Named {
        pod: death.pod.clone(),
        container: death.container.clone(),
        attribution: Attribution {
            confidence: Confidence::Exact,
            evidence: vec![death.evidence()],
            conflicts: Vec::new(),
            candidates: None,
        },
    }
}

/// Who left the files of a crash, where no Kubernetes can be asked. They come from one directory, so its levels say the same of each.
fn without_kubernetes(pieces: &[Piece]) -> Named {
    let mut facts = pieces.iter().map(|piece| &piece.facts);
    let host_name = facts.find_map(|facts| facts.host_name.as_deref());
    let names = pieces
        .first()
        .map(|piece| piece.origin.names.clone())
        .unwrap_or_default();
    attribute_without_kubernetes(&names, host_name)
}

/// Puts the files of a crash in the order of its artifacts.
pub(super) fn sort(pieces: &mut [Piece]) {
    pieces.sort_by(|a, b| {
        let worth = |piece: &Piece| piece.origin.ended;
        by_worth((&a.facts, worth(a)), (&b.facts, worth(b)))
    });
}

/// Decides over all files of a crash.
pub(super) fn shipping(mut pieces: Vec<Piece>, named: Named, death: Option<&Death>) -> Phase {
    sort(&mut pieces);
    let facts: Vec<&Facts> = pieces.iter().map(|piece| &piece.facts).collect();
    let mut choice = Choice {
        scope: named.pod.namespace.clone(),
        reason: reason_of(&facts, death),
        signal: facts.iter().find_map(|facts| facts.signal.clone()),
        pod: named.pod,
        container: named.container,
        attribution: named.attribution,
        artifacts: Vec::new(),
        missing: Vec::new(),
        stored: Vec::new(),
    };
    choice.name_artifacts(facts.iter().map(|facts| facts.format));
    Phase::Shipping {
        pieces,
        choice: Box::new(choice),
        progress: Box::new(Progress::default()),
    }
}
