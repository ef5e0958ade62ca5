//! Finds out what a held file is, waits for what belongs to it, and fixes everything that the crash's keys are made of.

use std::time::Instant;

use jiff::Timestamp;

use super::metrics::Stage;
use super::steps::{Next, Run, StepError, blocking};
use crate::decide::{attribute_without_kubernetes, by_worth, reason_of};
use crate::identify::identify;
use crate::model::{ArtifactName, Facts, Role, Step};
use crate::spool::{Choice, Kinship, Phase, Piece, Progress};
use crate::sys::Stat;

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
        let (facts, bytes) = blocking(move || -> std::io::Result<(Facts, u64)> {
            let bytes = Stat::of(&file)?.size;
            Ok((identify(&file, bytes), bytes))
        })
        .await
        .map_err(StepError::Read)?;
        let own = Piece {
            kept,
            origin: self.entry.origin.clone(),
            facts,
            bytes,
        };
        let waits = self.inner.spool.has_kin_to_wait_for(&self.entry, &own);
        let pieces = vec![own];
        let (as_step, phase) = match waits {
            true => (Step::NoteFacts, Phase::Waiting { pieces }),
            false => (Step::NoteChoice, shipping(pieces)),
        };
        self.advance(as_step, phase).await?;
        self.inner.metrics.took(Stage::Identify, began.elapsed());
        Ok(Next::Again)
    }

    /// Joins what one death left, as far as it is there.
    pub(super) async fn join(&mut self) -> Result<Next, StepError> {
        let now = Timestamp::now();
        match self
            .on_node(move |spool, entry| spool.join_kin(entry, now))
            .await?
        {
            Kinship::JoinedTo(_) => return Ok(Next::Over),
            Kinship::Wait(then) => return Ok(Next::At(then)),
            Kinship::Settled => {}
        }
        let Phase::Waiting { pieces } = &self.entry.phase else {
            return Ok(Next::Again);
        };
        let phase = shipping(pieces.clone());
        self.advance(Step::NoteChoice, phase).await?;
        Ok(Next::Again)
    }
}

/// Decides over all files of a crash.
fn shipping(mut pieces: Vec<Piece>) -> Phase {
    pieces.sort_by(|a, b| {
        let worth = |piece: &Piece| piece.origin.ended;
        by_worth((&a.facts, worth(a)), (&b.facts, worth(b)))
    });
    let facts: Vec<&Facts> = pieces.iter().map(|piece| &piece.facts).collect();
    let host_name = facts.iter().find_map(|facts| facts.host_name.as_deref());
    // They come from one directory, so its levels say the same of each.
    let names = pieces
        .first()
        .map(|piece| piece.origin.names.clone())
        .unwrap_or_default();
    let named = attribute_without_kubernetes(&names, host_name);
    let choice = Choice {
        reason: reason_of(&facts),
        signal: facts.iter().find_map(|facts| facts.signal.clone()),
        pod: named.pod,
        container: named.container,
        attribution: named.attribution,
        artifacts: artifact_names(&facts),
        missing: Vec::new(),
    };
    Phase::Shipping {
        pieces,
        choice: Box::new(choice),
        progress: Box::new(Progress::default()),
    }
}

/// Names artifacts by their role, counted in their order.
fn artifact_names(all: &[&Facts]) -> Vec<ArtifactName> {
    let mut names: Vec<ArtifactName> = Vec::with_capacity(all.len());
    for facts in all {
        let role: Role = facts.format.role();
        let before = names.iter().filter(|name| name.role == role).count();
        names.push(ArtifactName {
            role,
            number: u32::try_from(before).unwrap_or(u32::MAX),
            format: facts.format,
            volume: None,
        });
    }
    names
}
