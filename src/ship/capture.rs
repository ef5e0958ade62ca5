//! What is shipped of a living process: who it is of was known before it was taken, and nothing else belongs to it.

use crate::model::{CaptureKind, Reason, Role, Taken, Trigger};
use crate::spool::{Captured, Choice, Phase, Piece, Progress};

/// Decides over a capture, which is one file.
pub(super) fn shipping(pieces: Vec<Piece>, captured: Captured) -> Phase {
    let Captured {
        taken,
        pod,
        container,
        attribution,
    } = captured;
    let mut choice = Choice {
        scope: pod.namespace.clone(),
        reason: reason_of(&taken),
        signal: None,
        pod,
        container,
        attribution,
        artifacts: Vec::new(),
        missing: Vec::new(),
        stored: Vec::new(),
    };
    choice.name_artifacts(pieces.iter().map(|piece| piece.facts.format));
    for name in &mut choice.artifacts {
        name.role = role_of(taken.kind);
    }
    Phase::Shipping {
        pieces,
        choice: Box::new(choice),
        progress: Box::new(Progress::default()),
    }
}

fn reason_of(taken: &Taken) -> Reason {
    match taken.trigger {
        Trigger::Request => Reason::Capture,
        Trigger::Memory => Reason::MemoryHigh,
    }
}

/// The heap as events stands for a memory image; a trace does not, though it is of the same format.
fn role_of(kind: CaptureKind) -> Role {
    match kind {
        CaptureKind::Dump | CaptureKind::Gcdump => Role::Dump,
        CaptureKind::Trace | CaptureKind::Counters => Role::Trace,
    }
}
