//! Revisions: a crash that is stored, said anew at the same key with what was learnt since. Where it is stored, and its reason, stay as they are.

use super::Kubernetes;
use super::choose;
use super::steps::{Next, Run, StepError};
use crate::kube::{Selected, Whose};
use crate::model::{
    Attribution, Confidence, CrashKey, Death, Facts, Manifest, Pod, Role, Step, artifact_number,
};
use crate::spool::{Choice, DumpSays, Phase, Piece, Progress, Told};

impl Run {
    /// What was learnt of a stored crash.
    pub(super) async fn revise(
        &mut self,
        kubernetes: Option<&Kubernetes>,
    ) -> Result<Next, StepError> {
        let (Some(told), Phase::Waiting { pieces }) =
            (self.entry.told.as_deref(), &self.entry.phase)
        else {
            return Ok(Next::Again);
        };
        let dump = DumpSays::of(pieces).or_else(|| told.dump.clone());
        let (told, pieces) = (told.clone(), pieces.clone());
        let whose = match kubernetes.zip(dump) {
            Some((kubernetes, says)) => Some(self.ask(kubernetes, says).await),
            None => None,
        };
        // What is known of a pod that is not collected from is not told either.
        let whose = whose.filter(|whose| whose.selected == Selected::Yes);
        let learnt = revision(&told, whose, self.entry.death.as_deref(), pieces);
        match learnt {
            Some(phase) => {
                self.advance(Step::NoteChoice, phase).await?;
                Ok(Next::Again)
            }
            None => {
                self.on_node(|spool, entry| spool.forget(entry))
                    .await
                    .map_err(StepError::Node)?;
                Ok(Next::Over)
            }
        }
    }
}

/// What is to be sent for a stored crash of which more is known now; nothing if nothing is. Where it is stored and its reason stay as they are.
fn revision(
    told: &Told,
    whose: Option<Whose>,
    death: Option<&Death>,
    mut pieces: Vec<Piece>,
) -> Option<Phase> {
    let manifest = &told.manifest;
    let old_pod = manifest.pod.clone().unwrap_or_default();
    let mut choice = Choice {
        // Where its manifest is, its further artifacts go.
        scope: CrashKey::try_from(told.key.clone())
            .ok()
            .map(|key| key.namespace().to_owned()),
        reason: manifest.reason,
        signal: manifest.signal.clone(),
        pod: old_pod.clone(),
        container: manifest.container.clone().unwrap_or_default(),
        attribution: manifest.attribution.clone().unwrap_or(Attribution {
            confidence: Confidence::Unknown,
            evidence: Vec::new(),
            conflicts: Vec::new(),
            candidates: None,
        }),
        artifacts: Vec::new(),
        missing: manifest.missing.clone(),
        stored: manifest
            .artifacts
            .iter()
            .map(|artifact| (artifact.role, artifact_number(&artifact.key).unwrap_or(0)))
            .collect(),
    };
    if let Some(whose) = whose.filter(|whose| whose.pod.owner.is_some()) {
        learn_pod(&mut choice, whose, manifest);
    }
    if let Some(death) = death.or(told.death.as_ref()) {
        choice.learn_of(death);
    }
    choose::sort(&mut pieces);
    let facts: Vec<&Facts> = pieces.iter().map(|piece| &piece.facts).collect();
    let signal = facts.iter().find_map(|facts| facts.signal.clone());
    choice.signal = choice.signal.or(signal);
    choice.name_artifacts(facts.iter().map(|facts| facts.format));
    if choice.artifacts.iter().any(|name| name.role == Role::Dump) {
        choice.missing.retain(|missing| missing.role != Role::Dump);
    }
    let is_news = death.is_some() || !pieces.is_empty() || choice.pod != old_pod;
    is_news.then(|| Phase::Shipping {
        pieces,
        choice: Box::new(choice),
        progress: Box::new(Progress::default()),
    })
}

/// Takes over what the index says of the pod now, unless it is another one than the crash was stored for.
fn learn_pod(choice: &mut Choice, whose: Whose, manifest: &Manifest) {
    let agrees = |ours: fn(&Pod) -> &Option<String>| {
        let old = ours(&choice.pod);
        old.is_none() || old == ours(&whose.pod)
    };
    if agrees(|pod| &pod.uid) && agrees(|pod| &pod.namespace) && agrees(|pod| &pod.name) {
        if manifest.container.is_none() || choice.container.name == whose.container.name {
            choice.container = whose.container;
        }
        choice.pod = whose.pod;
        // Who was certain when it was stored is no less so because others may write there now.
        let (old, new) = (&choice.attribution, &whose.attribution);
        if rank(new.confidence) >= rank(old.confidence) {
            choice.attribution = whose.attribution;
        }
    } else if choice.attribution.conflicts.is_empty() {
        choice.attribution.conflicts.push(
            "what was known when it was stored and what the pod index says now name different pods"
                .into(),
        );
    }
}

fn rank(confidence: Confidence) -> u8 {
    match confidence {
        Confidence::Exact => 2,
        Confidence::Probable => 1,
        Confidence::Unknown => 0,
    }
}
