//! When a container is captured: once on each rise above its share, within its workload's budget. Pure: time and usage are given.
//!
//! ```text
//!              used >= at, budget allows
//!   armed ───────────────────────────────► fired ──┐ used >= rearm
//!     ▲  ▲── cooldown or budget says no ──┐   │ ▲──┘
//!     │  └── (armed still: it may later) ─┘   │
//!     └───────────── used < rearm ────────────┘
//! ```
//!
//! Containers of one workload share cooldown and budget: replicas leak together, and stopping one of them says as much as stopping all.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::rule::{BUDGET_MAX, Rule, Take, WINDOW_MAX};
use crate::model::Owner;

/// Whose budget it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// What a person deployed.
    pub owner: Owner,
    /// The container's name in its pods.
    pub container: String,
}

/// One container that runs, by the id that its runtime gave it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Instance(pub String);

/// What was seen of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its working set in bytes.
    pub used: u64,
    /// Its limit, if it has one.
    pub limit: Option<u64>,
}

/// A container is to be captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fire {
    /// Which.
    pub instance: Instance,
    /// Of which workload.
    pub workload: Workload,
    /// What is to be taken.
    pub take: Take,
    /// Its working set in bytes.
    pub used: u64,
    /// Its limit.
    pub limit: u64,
    /// How many captures its workload has left in this window.
    pub left: u32,
}

/// What was spent, as it is kept over restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// When captures of a workload began, the oldest first.
    pub(super) spent: HashMap<Workload, Vec<Timestamp>>,
    /// Since when nobody knows what was spent before: then everything counts as spent.
    pub(super) unknown_before: Option<Timestamp>,
}

/// Most workloads whose captures are remembered. A node has some hundred pods; a workload more is not captured until another's window is over.
pub(super) const WORKLOADS_MAX: usize = 1_024;

/// Most containers remembered as having fired.
const FIRED_MAX: usize = 4_096;

/// The state of all containers.
#[derive(Debug, Default)]
pub(super) struct Trigger {
    ledger: Ledger,
    /// Those that fired, and when they were last seen.
    fired: HashMap<Instance, Timestamp>,
}

impl Trigger {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            fired: HashMap::new(),
        }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Looks at a container. Where it is to be captured, the budget is spent already.
    pub(super) fn observe(
        &mut self,
        now: Timestamp,
        instance: &Instance,
        workload: &Workload,
        rule: &Rule,
        seen: Seen,
    ) -> Option<Fire> {
        let limit = seen.limit.filter(|limit| *limit > 0)?;
        if let Some(last) = self.fired.get_mut(instance) {
            if rule.rearm().is_reached(seen.used, limit) {
                *last = now;
                return None;
            }
            self.fired.remove(instance);
        }
        if !rule.at().is_reached(seen.used, limit) {
            return None;
        }
        let left = self.ledger.spend(now, workload, rule)?;
        if self.fired.len() >= FIRED_MAX {
            self.forget_oldest();
        }
        self.fired.insert(instance.clone(), now);
        Some(Fire {
            instance: instance.clone(),
            workload: workload.clone(),
            take: rule.take(),
            used: seen.used,
            limit,
            left,
        })
    }

    /// Forgets a container that is gone.
    pub(super) fn forget(&mut self, instance: &Instance) {
        self.fired.remove(instance);
    }

    /// The container that was not seen for the longest time is most likely gone. If not, its workload's cooldown is in force all the same.
    fn forget_oldest(&mut self) {
        let oldest = self.fired.iter().min_by_key(|(_, last)| **last);
        if let Some(oldest) = oldest.map(|(instance, _)| instance.clone()) {
            self.fired.remove(&oldest);
        }
    }
}

impl Ledger {
    /// Spends one capture of the workload, if the rule allows it, and says how many are left.
    fn spend(&mut self, now: Timestamp, workload: &Workload, rule: &Rule) -> Option<u32> {
        if self
            .unknown_before
            .is_some_and(|then| is_within(then, now, rule.budget_window()))
        {
            return None;
        }
        let is_recent = |time: &&Timestamp| is_within(**time, now, rule.budget_window());
        let known = self.spent.get(workload).map_or(&[][..], Vec::as_slice);
        let count = known.iter().filter(is_recent).count();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let is_cooling = known
            .iter()
            .any(|time| is_within(*time, now, rule.cooldown()));
        if count >= rule.budget() || is_cooling {
            return None;
        }
        if known.is_empty() && self.spent.len() >= WORKLOADS_MAX {
            self.forget(now);
            if self.spent.len() >= WORKLOADS_MAX {
                return None;
            }
        }
        let times = self.spent.entry(workload.clone()).or_default();
        times.push(now);
        let most = usize::try_from(BUDGET_MAX).unwrap_or(usize::MAX);
        times.drain(..times.len().saturating_sub(most));
        Some(rule.budget() - count - 1)
    }

    /// Forgets what no window reaches.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.spent.retain(|_, times| {
            times.retain(|time| is_within(*time, now, WINDOW_MAX));
            !times.is_empty()
        });
        self.unknown_before = self
            .unknown_before
            .filter(|then| is_within(*then, now, WINDOW_MAX));
    }

    /// A clock that was set back has not made anything that was spent unspent: it counts from now.
    pub(super) fn set_back_to(&mut self, now: Timestamp) {
        let times = self.spent.values_mut().flatten();
        for time in times.chain(self.unknown_before.as_mut()) {
            *time = (*time).min(now);
        }
    }
}

/// Whether `then` is less than `window` ago. What is still to come was before the clock was set back.
fn is_within(then: Timestamp, now: Timestamp, window: Duration) -> bool {
    let window = SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX);
    now.duration_since(then) < window
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::rule::RuleParts;
    use super::super::rule::tests::{parts, rule};
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_750_000_000 + seconds).expect("a time")
    }

    pub(in super::super) fn workload(name: &str) -> Workload {
        Workload {
            namespace: "shop".into(),
            owner: Owner {
                kind: "Deployment".into(),
                name: name.into(),
            },
            container: "api".into(),
        }
    }

    fn used(percent: u64) -> Seen {
        Seen {
            used: percent,
            limit: Some(100),
        }
    }

    /// Looks at a container of `cart` with so many percent of its limit in use.
    fn look(
        trigger: &mut Trigger,
        rule: &Rule,
        seconds: i64,
        instance: &str,
        percent: u64,
    ) -> Option<Fire> {
        let instance = Instance(instance.into());
        trigger.observe(
            at(seconds),
            &instance,
            &workload("cart"),
            rule,
            used(percent),
        )
    }

    #[test]
    fn a_container_fires_once_until_its_usage_has_fallen() {
        let rule = Rule::new(RuleParts {
            cooldown: Duration::ZERO,
            budget: 10,
            ..parts()
        })
        .expect("a rule");
        let mut trigger = Trigger::default();
        let mut fired = Vec::new();
        // It is armed below 80, and fires from 90 on.
        let usages = [10, 89, 90, 99, 85, 95, 80, 91, 79, 89, 90, 100, 0, 90];
        for (second, percent) in (0..).zip(usages) {
            if look(&mut trigger, &rule, second, "a", percent).is_some() {
                fired.push(second);
            }
        }
        assert_eq!(fired, [2, 10, 13]);
    }

    #[test]
    fn what_fires_says_what_is_to_be_taken_and_what_is_left() {
        let mut trigger = Trigger::default();
        let fire = look(&mut trigger, &rule(), 0, "a", 93).expect("it fires");
        let expected = Fire {
            instance: Instance("a".into()),
            workload: workload("cart"),
            take: Take::Gcdump,
            used: 93,
            limit: 100,
            left: 2,
        };
        assert_eq!(fire, expected);
    }

    #[test]
    fn replicas_wait_for_the_cooldown_and_then_have_their_turn() {
        let mut trigger = Trigger::default();
        assert!(look(&mut trigger, &rule(), 0, "a", 95).is_some());
        for second in 1..3_600 {
            assert_eq!(look(&mut trigger, &rule(), second, "b", 95), None);
        }
        let fire = look(&mut trigger, &rule(), 3_600, "b", 95);
        assert_eq!(fire.map(|fire| fire.left), Some(1));
        // Another workload has its own.
        let other = Instance("c".into());
        let other = trigger.observe(at(1), &other, &workload("pay"), &rule(), used(95));
        assert_eq!(other.map(|fire| fire.left), Some(2));
    }

    #[test]
    fn without_a_limit_nothing_is_near_it() {
        let mut trigger = Trigger::default();
        for limit in [None, Some(0)] {
            let seen = Seen {
                used: u64::MAX,
                limit,
            };
            let instance = Instance("a".into());
            let fire = trigger.observe(at(0), &instance, &workload("cart"), &rule(), seen);
            assert_eq!(fire, None);
        }
    }

    #[test]
    fn state_is_bounded_whatever_comes_and_goes() {
        let mut trigger = Trigger::default();
        for n in 0..WORKLOADS_MAX + 10 {
            let instance = Instance(format!("{n}"));
            let workload = workload(&format!("w{n}"));
            let fire = trigger.observe(at(0), &instance, &workload, &rule(), used(95));
            assert_eq!(fire.is_some(), n < WORKLOADS_MAX, "{n}");
        }
        let rule = Rule::new(RuleParts {
            cooldown: Duration::ZERO,
            budget: 100,
            budget_window: Duration::from_secs(60),
            ..parts()
        })
        .expect("a rule");
        // A month later those are forgotten.
        let later = 31 * 86_400;
        for n in 0..FIRED_MAX + 100 {
            let second = later + i64::try_from(n).expect("small");
            let workload = workload(&format!("v{}", n % 64));
            let instance = Instance(format!("{n}"));
            trigger.observe(at(second), &instance, &workload, &rule, used(95));
        }
        assert_eq!(trigger.fired.len(), FIRED_MAX);
        assert!(trigger.ledger.spent.len() <= WORKLOADS_MAX);
        assert!(
            trigger
                .ledger
                .spent
                .values()
                .all(|times| times.len() <= 100)
        );
        trigger.forget(&Instance(format!("{}", FIRED_MAX + 99)));
        assert_eq!(trigger.fired.len(), FIRED_MAX - 1);
    }

    proptest! {
        #[test]
        fn no_window_has_more_captures_than_the_budget(
            steps in proptest::collection::vec((0..5_000i64, 0..4u8, 0..110u64), 1..300),
            budget in 1..5u32,
            cooldown in 0..8_000u64,
        ) {
            let rule = Rule::new(RuleParts {
                budget,
                cooldown: Duration::from_secs(cooldown),
                budget_window: Duration::from_secs(20_000),
                ..parts()
            }).expect("a rule");
            let mut trigger = Trigger::default();
            let mut now = 0;
            let mut fired: Vec<i64> = Vec::new();
            for (wait, instance, percent) in steps {
                now += wait;
                if look(&mut trigger, &rule, now, &instance.to_string(), percent).is_some() {
                    prop_assert!(percent >= 90);
                    fired.push(now);
                }
            }
            for (n, time) in fired.iter().enumerate() {
                let in_window = fired[n..].iter().filter(|other| **other - time < 20_000).count();
                prop_assert!(in_window <= budget as usize);
                if let Some(next) = fired.get(n + 1) {
                    prop_assert!(next - time >= i64::try_from(cooldown).expect("small"));
                }
            }
        }
    }
}
