//! What is to be done about a `Capture`, from what it says and what this agent knows: pure.
//!
//! ```text
//! (nothing) ──taken on by the pod's node──► Accepted ──► Capturing ──► Shipping ──► Stored ──ttl──► deleted
//!     └──nobody, for two minutes──► Failed ◄──────┴────────────┴───────────┘   └──────────ttl──► deleted
//! ```
//!
//! Taking on is a write that names the version that was read: of two agents one is refused. What is under way is begun once: by the start of the agent that the
//! status names. Another start of it finds the capture in the spool, or stored, or says that it was interrupted, and never begins again: the process would stand
//! still a second time, and nobody asked for that.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::seen::Seen;
use super::status::Phase;

/// So long the agent of the pod's node has for taking one on.
const TAKEN_ON_WITHIN: SignedDuration = SignedDuration::from_mins(2);

/// An agent that is not the one whose business it is waits up to so much longer, by a number of its own: all of them would do it at once.
const SPREAD: Duration = Duration::from_secs(120);

/// What an agent that is gone has left unfinished goes so long after its time.
const ABANDONED: SignedDuration = SignedDuration::from_hours(24);

/// What the agent knows besides what the object says.
#[derive(Clone, Copy, Debug)]
pub(super) struct World<'a> {
    pub(super) now: Timestamp,
    /// This node.
    pub(super) node: &'a str,
    /// This start of the agent.
    pub(super) agent: &'a str,
    /// The pod lives here, and all pods of this node are known.
    pub(super) pod_is_here: bool,
    /// It is being taken here and now.
    pub(super) is_running: bool,
    /// It was taken here or has failed, by this start of the agent.
    pub(super) has_ended: bool,
    /// Its entry is in the spool.
    pub(super) is_held: bool,
    /// It is stored, and that is remembered.
    pub(super) is_stored: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing now.
    Nothing,
    /// Take it on, and begin.
    TakeOn,
    /// Begin: it is ours already, and only the answer to that was lost.
    Begin,
    /// Say that nobody took it on.
    NobodyTookIt,
    /// End what is under way: it was withdrawn.
    Cancel,
    /// Say that it is on its way to the store.
    SayShipping,
    /// Say once more what came of it: what is heard is older than that.
    SayEnd,
    /// Say that it is stored.
    SayStored,
    /// Say that another start of the agent was stopped while it was taken.
    SayInterrupted,
    /// Say that it was taken and is lost.
    SayLost,
    /// Delete it: its time is over.
    Delete,
}

pub(super) fn next(seen: &Seen, world: &World<'_>) -> Next {
    if seen.is_deleted {
        return match world.is_running {
            true => Next::Cancel,
            false => Next::Nothing,
        };
    }
    if world.is_running {
        return Next::Nothing;
    }
    let is_ours = seen.is_of(world.node, world.agent);
    match seen.phase {
        None => unclaimed(seen, world),
        Some(Phase::Stored | Phase::Failed) => {
            let ended = seen.finished.unwrap_or(seen.created);
            let late = match is_ours {
                true => Duration::ZERO,
                false => SPREAD + spread(seen, world),
            };
            over(ended, seen.ttl + late, world.now)
        }
        Some(_) if !is_ours => {
            let patience = Duration::try_from(ABANDONED).unwrap_or_default();
            over(
                seen.created,
                seen.ttl + patience + spread(seen, world),
                world.now,
            )
        }
        // Never a second time: what is heard may be older than what was said.
        Some(Phase::Accepted | Phase::Capturing) if world.has_ended && !world.is_stored => {
            Next::SayEnd
        }
        Some(Phase::Accepted | Phase::Capturing) => match (world.is_stored, world.is_held) {
            (true, _) => Next::SayStored,
            (_, true) => Next::SayShipping,
            _ if seen.agent.as_deref() == Some(world.agent)
                && seen.phase == Some(Phase::Accepted) =>
            {
                Next::Begin
            }
            _ => Next::SayInterrupted,
        },
        Some(Phase::Shipping) => match (world.is_stored, world.is_held) {
            (true, _) => Next::SayStored,
            (_, true) => Next::Nothing,
            _ => Next::SayLost,
        },
    }
}

fn unclaimed(seen: &Seen, world: &World<'_>) -> Next {
    if world.pod_is_here {
        return Next::TakeOn;
    }
    let spread = SignedDuration::try_from(spread(seen, world)).unwrap_or_default();
    match world.now.duration_since(seen.heard) > TAKEN_ON_WITHIN + spread {
        true => Next::NobodyTookIt,
        false => Next::Nothing,
    }
}

fn over(since: Timestamp, after: Duration, now: Timestamp) -> Next {
    let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
    match now.duration_since(since) >= after {
        true => Next::Delete,
        false => Next::Nothing,
    }
}

/// A number of this node's own for each object.
fn spread(seen: &Seen, world: &World<'_>) -> Duration {
    let mut hasher = DefaultHasher::new();
    (&seen.uid, world.node).hash(&mut hasher);
    let share = hasher.finish() % 1_000;
    SPREAD * u32::try_from(share).unwrap_or(0) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(NOW + second).expect("in range")
    }

    fn seen(phase: Option<Phase>, node: Option<&str>) -> Seen {
        Seen {
            uid: "u".into(),
            namespace: "shop".into(),
            name: "cart".into(),
            pod: "cart-0".into(),
            version: "7".into(),
            created: at(0),
            heard: at(0),
            is_deleted: false,
            phase,
            node: node.map(str::to_owned),
            agent: node.map(|_| "state.1".to_owned()),
            finished: None,
            ttl: Duration::from_secs(3_600),
            spec: None,
            status: None,
        }
    }

    fn world(second: i64) -> World<'static> {
        World {
            now: at(second),
            node: "node-1",
            agent: "state.2",
            pod_is_here: false,
            is_running: false,
            has_ended: false,
            is_held: false,
            is_stored: false,
        }
    }

    #[test]
    fn the_agent_of_the_pods_node_takes_it_on_and_no_other() {
        let here = World {
            pod_is_here: true,
            ..world(1)
        };
        assert_eq!(next(&seen(None, None), &here), Next::TakeOn);
        assert_eq!(next(&seen(None, None), &world(1)), Next::Nothing);
        assert_eq!(next(&seen(None, None), &world(120)), Next::Nothing);
        assert_eq!(next(&seen(None, None), &world(241)), Next::NobodyTookIt);
        // A clock that is ahead gives nobody up.
        let mut ahead = seen(None, None);
        ahead.heard = at(240);
        assert_eq!(next(&ahead, &world(241)), Next::Nothing);
    }

    #[test]
    fn what_was_begun_by_another_start_is_found_or_given_up_and_never_begun_again() {
        for phase in [Phase::Accepted, Phase::Capturing] {
            let ours = seen(Some(phase), Some("node-1"));
            assert_eq!(next(&ours, &world(1)), Next::SayInterrupted);
            let held = World {
                is_held: true,
                ..world(1)
            };
            assert_eq!(next(&ours, &held), Next::SayShipping);
            let stored = World {
                is_stored: true,
                ..held
            };
            assert_eq!(next(&ours, &stored), Next::SayStored);
        }
        let mut answer_lost = seen(Some(Phase::Accepted), Some("node-1"));
        answer_lost.agent = Some("state.2".into());
        assert_eq!(next(&answer_lost, &world(1)), Next::Begin);
        let running = World {
            is_running: true,
            ..world(1)
        };
        assert_eq!(next(&answer_lost, &running), Next::Nothing);
    }

    #[test]
    fn what_has_ended_here_is_never_begun_again_whatever_is_heard() {
        for phase in [Phase::Accepted, Phase::Capturing] {
            let mut stale = seen(Some(phase), Some("node-1"));
            stale.agent = Some("state.2".into());
            let ended = World {
                has_ended: true,
                ..world(1)
            };
            assert_eq!(next(&stale, &ended), Next::SayEnd);
            let held = World {
                is_held: true,
                ..ended
            };
            assert_eq!(next(&stale, &held), Next::SayEnd);
            let stored = World {
                is_stored: true,
                ..held
            };
            assert_eq!(next(&stale, &stored), Next::SayStored);
        }
    }

    #[test]
    fn what_another_node_has_begun_is_left_to_it() {
        for phase in [Phase::Accepted, Phase::Capturing, Phase::Shipping] {
            let theirs = seen(Some(phase), Some("node-2"));
            let here = World {
                pod_is_here: true,
                ..world(80_000)
            };
            assert_eq!(next(&theirs, &here), Next::Nothing);
            assert_eq!(next(&theirs, &world(3_600 + 86_400 + 121)), Next::Delete);
        }
    }

    #[test]
    fn what_an_agent_with_another_state_has_begun_is_left_to_it() {
        let mut theirs = seen(Some(Phase::Capturing), Some("node-1"));
        theirs.agent = Some("other.1".into());
        let here = World {
            pod_is_here: true,
            ..world(1)
        };
        assert_eq!(next(&theirs, &here), Next::Nothing);
    }

    #[test]
    fn one_that_has_ended_goes_when_its_time_is_over() {
        let mut ended = seen(Some(Phase::Stored), Some("node-1"));
        ended.finished = Some(at(100));
        assert_eq!(next(&ended, &world(3_699)), Next::Nothing);
        assert_eq!(next(&ended, &world(3_700)), Next::Delete);
        ended.node = Some("node-2".into());
        assert_eq!(next(&ended, &world(3_700)), Next::Nothing);
        assert_eq!(next(&ended, &world(3_700 + 241)), Next::Delete);
    }

    #[test]
    fn one_that_is_shipped_is_stored_or_lost() {
        let shipping = seen(Some(Phase::Shipping), Some("node-1"));
        let world = world(1);
        let held = World {
            is_held: true,
            ..world
        };
        let stored = World {
            is_stored: true,
            ..world
        };
        assert_eq!(next(&shipping, &held), Next::Nothing);
        assert_eq!(next(&shipping, &stored), Next::SayStored);
        assert_eq!(next(&shipping, &world), Next::SayLost);
    }

    #[test]
    fn deleting_one_withdraws_it() {
        let mut withdrawn = seen(Some(Phase::Capturing), Some("node-1"));
        withdrawn.is_deleted = true;
        let running = World {
            is_running: true,
            ..world(1)
        };
        assert_eq!(next(&withdrawn, &running), Next::Cancel);
        assert_eq!(next(&withdrawn, &world(1)), Next::Nothing);
    }
}
