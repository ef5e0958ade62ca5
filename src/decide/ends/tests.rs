use super::*;
use crate::model::Stopping;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).expect("in range")
}

fn ended(id: &str, exit_code: i32, second: i64) -> Terminated {
    Terminated {
        id: Some(id.to_owned()),
        exit_code,
        finished_at: Some(at(second)),
        ..Terminated::default()
    }
}

/// A container after `restarts` restarts whose last start has the id `id`.
fn status(restarts: u32, id: &str) -> ContainerStatus {
    ContainerStatus {
        id: Some(id.to_owned()),
        restarts,
        ..ContainerStatus::default()
    }
}

fn running(restarts: u32, id: &str, before: Option<Terminated>) -> ContainerStatus {
    ContainerStatus {
        running_since: Some(at(0)),
        ended_before: before,
        ..status(restarts, id)
    }
}

fn container(status: ContainerStatus) -> KnownContainer {
    KnownContainer {
        name: "app".into(),
        status: Some(status),
        ..KnownContainer::default()
    }
}

/// A container's life as a watch shows it.
struct Life {
    pod: KnownPod,
    counted: Option<Counted>,
}

impl Life {
    fn from_birth() -> Self {
        Self {
            pod: KnownPod::default(),
            counted: Some(Counted::default()),
        }
    }

    fn see(&mut self, status: &ContainerStatus) -> Vec<End> {
        let container = container(status.clone());
        let (ends, counted) =
            new_ends(&self.pod, &container, self.counted.as_ref(), false, at(100));
        // Restarted or not: what counts is what is written.
        let written = serde_json::to_string(&counted).expect("serialises");
        self.counted = Some(serde_json::from_str(&written).expect("reads back"));
        ends
    }
}

fn numbers(ends: &[End]) -> Vec<(u32, i32)> {
    ends.iter()
        .map(|end| match end {
            End::Seen {
                number, terminated, ..
            } => (*number, terminated.exit_code),
            End::Unseen { number, count } => (*number, -i32::try_from(*count).expect("few")),
        })
        .collect()
}

#[test]
fn an_end_shown_in_many_updates_is_one() {
    let mut life = Life::from_birth();
    assert_eq!(life.see(&running(0, "a", None)), []);
    let dead = ContainerStatus {
        ended: Some(ended("a", 139, 1)),
        ..status(0, "a")
    };
    assert_eq!(numbers(&life.see(&dead)), [(0, 139)]);
    assert_eq!(life.see(&dead), []);
    // The runtime has not started it again, and the kubelet waits: the same end stands where the one before stood.
    let waiting = ContainerStatus {
        ended_before: Some(ended("a", 139, 1)),
        ..status(0, "a")
    };
    assert_eq!(life.see(&waiting), []);
    assert_eq!(life.see(&running(1, "b", Some(ended("a", 139, 1)))), []);
}

#[test]
fn the_end_of_the_last_start_may_stand_where_the_one_before_stood() {
    let mut life = Life::from_birth();
    let waiting = ContainerStatus {
        ended_before: Some(ended("b", 3, 5)),
        ..status(1, "b")
    };
    assert_eq!(numbers(&life.see(&waiting)), [(0, -1), (1, 3)]);
    assert_eq!(life.see(&running(2, "c", Some(ended("b", 3, 5)))), []);
}

#[test]
fn two_ends_between_two_updates_are_two() {
    let mut life = Life::from_birth();
    let both = ContainerStatus {
        ended: Some(ended("b", 134, 2)),
        ended_before: Some(ended("a", 139, 1)),
        ..status(1, "b")
    };
    assert_eq!(numbers(&life.see(&both)), [(0, 139), (1, 134)]);
    assert_eq!(life.see(&both), []);
}

#[test]
fn ends_that_no_update_showed_are_known_by_their_number() {
    let mut life = Life::from_birth();
    assert_eq!(
        numbers(&life.see(&running(5, "f", Some(ended("e", 1, 9))))),
        [(3, -4), (4, 1)]
    );
    assert_eq!(numbers(&life.see(&running(8, "i", None))), [(7, -3)]);
    assert_eq!(life.see(&running(8, "i", None)), []);
}

#[test]
fn an_older_state_that_comes_again_brings_nothing() {
    let mut life = Life::from_birth();
    let (first, second) = (
        running(1, "b", Some(ended("a", 1, 1))),
        running(2, "c", Some(ended("b", 1, 2))),
    );
    assert_eq!(life.see(&first).len(), 1);
    assert_eq!(life.see(&second).len(), 1);
    assert_eq!(life.see(&first), []);
    assert_eq!(life.see(&second), []);
}

#[test]
fn a_count_that_begins_anew_hides_no_end() {
    let mut life = Life::from_birth();
    life.see(&running(7, "h", Some(ended("g", 1, 10))));
    assert_eq!(
        numbers(&life.see(&running(1, "k", Some(ended("i", 1, 20))))),
        [(0, 1)]
    );
}

#[test]
fn an_end_without_an_id_is_counted_by_its_number() {
    let mut life = Life::from_birth();
    let lost = Terminated {
        id: None,
        ..ended("", 137, 3)
    };
    assert_eq!(
        numbers(&life.see(&running(1, "b", Some(lost.clone())))),
        [(0, 137)]
    );
    assert_eq!(life.see(&running(1, "b", Some(lost))), []);
}

#[test]
fn of_a_container_with_a_past_only_the_last_hour_is_news() {
    let old = running(40, "z", Some(ended("y", 1, 0)));
    let meet = |status: &ContainerStatus, now: i64, from_birth| {
        let container = container(status.clone());
        let pod = KnownPod::default();
        numbers(&new_ends(&pod, &container, None, from_birth, at(now)).0)
    };
    assert_eq!(meet(&old, 3_000, false), [(39, 1)]);
    assert_eq!(meet(&old, 4_000, false), []);
    assert_eq!(meet(&old, 4_000, true), [(38, -39), (39, 1)]);
    let (ends, counted) = new_ends(
        &KnownPod::default(),
        &container(old),
        None,
        false,
        at(4_000),
    );
    assert_eq!((ends.len(), counted.next), (0, 40));
}

#[test]
fn a_container_of_which_nothing_is_told_has_no_end() {
    let silent = KnownContainer::default();
    let (ends, counted) = new_ends(&KnownPod::default(), &silent, None, true, at(0));
    assert_eq!((ends, counted), (Vec::new(), Counted::default()));
}

fn stops(stopping: Option<Stopping>, terminated: &Terminated) -> bool {
    let pod = KnownPod {
        stopping,
        ..KnownPod::default()
    };
    stop(&pod, &KnownContainer::default(), terminated).is_some()
}

fn deleted(second: i64) -> Option<Stopping> {
    Some(Stopping {
        why: "deleted".into(),
        since: Some(at(second)),
    })
}

#[test]
fn what_ends_after_it_was_asked_to_is_no_crash() {
    for code in [0, 1, 2, 137, 143, 131, 255] {
        assert!(stops(deleted(10), &ended("a", code, 11)), "{code}");
    }
    for code in [132, 133, 134, 135, 136, 139, 152, 153, 159] {
        assert!(!stops(deleted(10), &ended("a", code, 11)), "{code}");
    }
    let evicted = Some(Stopping {
        why: "Evicted".into(),
        since: None,
    });
    assert!(stops(evicted, &ended("a", 137, 1)));
}

#[test]
fn clocks_that_differ_make_no_crash_of_a_stop_and_no_stop_of_a_crash_long_before() {
    assert!(stops(deleted(200), &ended("a", 143, 20)));
    assert!(!stops(deleted(1_000), &ended("a", 143, 20)));
}

#[test]
fn only_an_end_with_code_0_is_none_by_itself() {
    assert!(stops(None, &ended("a", 0, 1)));
    for code in [1, 3, 137, 143, 139, 255, -1, i32::MIN, i32::MAX] {
        assert!(!stops(None, &ended("a", code, 1)), "{code}");
    }
}

#[test]
fn a_sidecar_that_goes_after_its_containers_has_not_crashed() {
    let main = |ended: Option<Terminated>| KnownContainer {
        name: "main".into(),
        status: Some(ContainerStatus {
            ended,
            ..status(0, "m")
        }),
        ..KnownContainer::default()
    };
    let sidecar = KnownContainer {
        kind: ContainerKind::Sidecar,
        ..container(status(0, "s"))
    };
    let goes = |main: KnownContainer, at: i64| {
        let pod = KnownPod {
            containers: vec![main, sidecar.clone()],
            ..KnownPod::default()
        };
        stop(&pod, &sidecar, &ended("s", 143, at)).is_some()
    };
    assert!(goes(main(Some(ended("m", 0, 5))), 6));
    assert!(!goes(main(Some(ended("m", 0, 5))), 4));
    assert!(!goes(main(None), 6));
}

#[test]
fn the_signal_is_in_the_code_or_said() {
    let said = Terminated {
        signal: Some(6),
        ..ended("a", 1, 1)
    };
    assert_eq!(signal_of(&said), Some(6));
    assert_eq!(signal_of(&ended("a", 139, 1)), Some(11));
    for code in [0, 1, 127, 128, 160, 255, i32::MIN, i32::MAX] {
        assert_eq!(signal_of(&ended("a", code, 1)), None, "{code}");
    }
}
