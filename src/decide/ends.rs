//! How a container's starts ended, and which of those ends are crashes.
//!
//! A status shows the last end or two, again and again, and not at all what came before. So ends are counted from the numbers and ids of a container's
//! starts against what was counted before ([`Counted`]), never from the updates in which they showed: the same end in a hundred updates is one, and ends that
//! no update showed are known by their number alone.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::{ContainerKind, ContainerStatus, KnownContainer, KnownPod, Terminated};

/// Of a container that the agent meets with a past, what ended within this is still recorded.
const PAST: SignedDuration = SignedDuration::from_hours(1);

/// How far the clocks of the node and of the API server may be apart: the end is told by one, the wish that the pod should end by the other.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

/// Ids of counted starts that are remembered: a status shows two at a time.
const IDS: usize = 4;

/// What was counted of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The lowest number of a start whose end is not counted.
    pub next: u32,
    /// Ids of the starts whose end was counted last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// When the last of them ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
}

/// An end that was not counted before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// One that a status showed.
    Seen {
        /// The number of the start that ended.
        number: u32,
        /// How it ended.
        terminated: Terminated,
        /// Why it is no crash, if it is none.
        stop: Option<&'static str>,
    },
    /// Ends that no status showed, known from the number of starts.
    Unseen {
        /// The number of the last of them.
        number: u32,
        /// How many.
        count: u32,
    },
}

/// The ends of `container` that `counted` does not have, oldest first, and what is counted with them. `counted` is absent when the container is met for the first
/// time: with `from_birth` all its ends are news, else it has a past that is none of ours but for the last hour.
pub fn new_ends(
    pod: &KnownPod,
    container: &KnownContainer,
    counted: Option<&Counted>,
    from_birth: bool,
    now: Timestamp,
) -> (Vec<End>, Counted) {
    let met_before = counted.is_some() || from_birth;
    let mut counted = counted.cloned().unwrap_or_default();
    let Some(status) = &container.status else {
        return (Vec::new(), counted);
    };
    let mut ends = Vec::new();
    for (number, terminated) in shown(status) {
        if counted.has(number, terminated) {
            continue;
        }
        if met_before && number > counted.next {
            ends.push(End::Unseen {
                number: number - 1,
                count: number - counted.next,
            });
        }
        counted.add(number, terminated);
        let old = |at: Timestamp| now.duration_since(at) > PAST;
        if met_before || !terminated.finished_at.is_none_or(old) {
            ends.push(End::Seen {
                number,
                terminated: terminated.clone(),
                stop: stop(pod, container, terminated),
            });
        }
    }
    // Every start before the last one has ended, also those that the status has forgotten.
    if status.restarts > counted.next {
        if met_before {
            ends.push(End::Unseen {
                number: status.restarts - 1,
                count: status.restarts - counted.next,
            });
        }
        counted.next = status.restarts;
    }
    (ends, counted)
}

impl Counted {
    fn has(&self, number: u32, terminated: &Terminated) -> bool {
        match &terminated.id {
            Some(id) if self.ids.contains(id) => true,
            // Its number may have been counted again from the beginning: then its time tells that it is another one.
            Some(_) => number < self.next && terminated.finished_at <= self.last,
            None => number < self.next,
        }
    }

    fn add(&mut self, number: u32, terminated: &Terminated) {
        self.next = self.next.max(number.saturating_add(1));
        self.last = self.last.max(terminated.finished_at);
        if let Some(id) = &terminated.id {
            self.ids.push(id.clone());
            let more = self.ids.len().saturating_sub(IDS);
            self.ids.drain(..more);
        }
    }
}

/// The ends that a status shows, with the number of the start that ended, oldest first.
fn shown(status: &ContainerStatus) -> impl Iterator<Item = (u32, &Terminated)> {
    let last = status.restarts;
    let before = status.ended_before.as_ref().map(|ended| {
        // While the next start is waited for, the end of the last one stands there already, under the last one's number.
        let is_of_last = status.ended.is_none()
            && ended.id.is_some()
            && ended.id == status.id
            && status.running_since.is_none();
        let number = if is_of_last {
            last
        } else {
            last.saturating_sub(1)
        };
        (number, ended)
    });
    let at_last = status.ended.as_ref().map(|ended| (last, ended));
    before.into_iter().chain(at_last)
}

const SIGQUIT: i32 = 3;

/// Signals whose default action writes a core (`signal(7)`).
const CORE_SIGNALS: [i32; 10] = [SIGQUIT, 4, 5, 6, 7, 8, 11, 24, 25, 31];

/// The signal that ended a start.
pub fn signal_of(terminated: &Terminated) -> Option<u8> {
    let told = terminated.signal.filter(|signal| *signal > 0);
    let signal = told.unwrap_or_else(|| terminated.exit_code.wrapping_sub(128));
    u8::try_from(signal)
        .ok()
        .filter(|signal| (1..=31).contains(signal))
}

/// Why an end is no crash, if it is none.
fn stop(
    pod: &KnownPod,
    container: &KnownContainer,
    terminated: &Terminated,
) -> Option<&'static str> {
    let signal = signal_of(terminated).map(i32::from);
    // SIGQUIT is also how some images ask to be stopped.
    if signal.is_some_and(|signal| CORE_SIGNALS.contains(&signal) && signal != SIGQUIT) {
        return None;
    }
    if terminated.exit_code == 0 && signal.is_none() {
        return Some("ended well");
    }
    if let Some(stopping) = &pod.stopping {
        let asked_before = match (stopping.since, terminated.finished_at) {
            (Some(since), Some(finished)) => {
                finished >= since.saturating_sub(CLOCKS).unwrap_or(since)
            }
            _ => true,
        };
        if asked_before {
            return Some("asked to end");
        }
    }
    let main_ended = || {
        let mut main = pod
            .containers
            .iter()
            .filter(|container| container.kind == ContainerKind::Main)
            .peekable();
        main.peek().is_some()
            && main.all(|container| {
                let ended = container
                    .status
                    .as_ref()
                    .and_then(|status| status.ended.as_ref());
                ended.is_some_and(|ended| ended.finished_at <= terminated.finished_at)
            })
    };
    if container.kind == ContainerKind::Sidecar && main_ended() {
        return Some("ended after the containers it served");
    }
    None
}

#[cfg(test)]
mod tests;
