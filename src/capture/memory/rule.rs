//! Rules: at which share of its limit a container is captured, what is taken, and how often.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::annotation::Annotated;
use crate::capture::plan::Subject;
use crate::model::text::stored_as_text;
use crate::model::{DumpType, Span};

/// A share of a memory limit in whole percent, from 1 to 99: `90%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(u8);

/// What is no share, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no share of a memory limit: write a whole number from 1% to 99%, for example 90%"
)]
pub struct InvalidShare(String);

/// What is taken of a container near its limit. Traces and counters need a time that it may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Take {
    /// The objects of the managed heap.
    Gcdump,
    /// A memory image.
    Dump(DumpType),
}

/// What cannot be taken, with what can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be taken: use one of gcdump, mini, triage, heap, full")]
pub struct InvalidTake(String);

/// Longest text that an error repeats.
const SHOWN: usize = 64;

fn shown(written: &str) -> String {
    written.chars().take(SHOWN).collect()
}

impl Share {
    /// A share of so many percent.
    ///
    /// # Errors
    /// It is 0, or 100 and more.
    pub fn new(percent: u8) -> Result<Self, InvalidShare> {
        match percent {
            1..=99 => Ok(Self(percent)),
            _ => Err(InvalidShare(format!("{percent}%"))),
        }
    }

    /// In percent.
    pub const fn percent(self) -> u8 {
        self.0
    }

    /// Whether `used` is that much of `limit`, or more. Of no limit nothing is a share.
    pub fn is_reached(self, used: u64, limit: u64) -> bool {
        limit > 0 && u128::from(used) * 100 >= u128::from(limit) * u128::from(self.0)
    }

    /// How far usage has to fall where nobody says: ten points, or half of a small share.
    pub(super) fn usual_rearm(self) -> Option<Self> {
        Self::new(self.0.saturating_sub(10).max(self.0 / 2)).ok()
    }
}

impl FromStr for Share {
    type Err = InvalidShare;

    fn from_str(written: &str) -> Result<Self, InvalidShare> {
        let digits = written.trim().strip_suffix('%').map(str::trim_end);
        let is_number = |digits: &&str| digits.bytes().all(|byte| byte.is_ascii_digit());
        let percent = digits
            .filter(is_number)
            .and_then(|digits| digits.parse().ok());
        let share = percent.and_then(|percent| Self::new(percent).ok());
        share.ok_or_else(|| InvalidShare(shown(written)))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl FromStr for Take {
    type Err = InvalidTake;

    fn from_str(written: &str) -> Result<Self, InvalidTake> {
        match written.trim() {
            "gcdump" => Ok(Self::Gcdump),
            other => other
                .parse()
                .map(Self::Dump)
                .map_err(|_| InvalidTake(shown(written))),
        }
    }
}

impl fmt::Display for Take {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gcdump => f.write_str("gcdump"),
            Self::Dump(kind) => f.write_str(kind.name()),
        }
    }
}

impl From<Take> for Subject {
    fn from(take: Take) -> Self {
        match take {
            Take::Gcdump => Self::Gcdump,
            Take::Dump(kind) => Self::Dump(kind),
        }
    }
}

stored_as_text!(Share => InvalidShare, Take => InvalidTake);

/// What a rule is made of, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleParts {
    /// At which share of its limit a container is captured.
    pub at: Share,
    /// Below which share it may be captured again; absent for ten points less than `at`.
    pub rearm: Option<Share>,
    /// What is taken.
    pub take: Take,
    /// Shortest time between two captures of a workload.
    pub cooldown: Duration,
    /// Most captures of a workload in a window.
    pub budget: u32,
    /// The window.
    pub budget_window: Duration,
    /// The namespaces it is for; all where empty.
    pub namespaces: Vec<String>,
    /// The namespaces it is not for.
    pub exclude_namespaces: Vec<String>,
}

/// A rule that can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule(RuleParts, Share);

/// A rule that cannot be kept: the key, and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// There is nothing to fall below.
    #[error(
        "rearm: {rearm} is not less than at ({at}): a container that stays there would be captured again and again"
    )]
    Rearm {
        /// The share to fall below.
        rearm: Share,
        /// The share to reach.
        at: Share,
    },
    /// Nothing is less than the least share.
    #[error("at: {0} leaves nothing to fall below; write 2% or more")]
    At(Share),
    /// No capture, or more than is remembered.
    #[error("budget: {0} captures; write a number from 1 to {BUDGET_MAX}, or leave the rule out")]
    Budget(u32),
    /// No window, or one that is longer than is remembered.
    #[error("budget_window: {0}; write a time from 1m to 30d")]
    Window(String),
    /// A pause longer than the window in which there is a budget.
    #[error("cooldown: {0} is longer than budget_window: no second capture would ever fit in one")]
    Cooldown(String),
}

/// Most captures of a workload in a window: each is remembered.
pub(super) const BUDGET_MAX: u32 = 100;

/// Windows: one that is over at once is no bound, and of more than a month nobody remembers.
const WINDOW_MIN: Duration = Duration::from_secs(60);
pub(super) const WINDOW_MAX: Duration = Duration::from_secs(30 * 86_400);

impl Rule {
    /// Checks a rule.
    ///
    /// # Errors
    /// Why it cannot be kept, by key.
    pub fn new(parts: RuleParts) -> Result<Self, InvalidRule> {
        let at = parts.at;
        let span = |time: Duration| match Span::from_str(&format!("{}ms", time.as_millis())) {
            Ok(span) => span.to_string(),
            Err(_) => format!("{} s", time.as_secs()),
        };
        let rearm = match parts.rearm {
            Some(rearm) => rearm,
            None => at.usual_rearm().ok_or(InvalidRule::At(at))?,
        };
        if rearm >= at {
            return Err(InvalidRule::Rearm { rearm, at });
        }
        if !(1..=BUDGET_MAX).contains(&parts.budget) {
            return Err(InvalidRule::Budget(parts.budget));
        }
        if !(WINDOW_MIN..=WINDOW_MAX).contains(&parts.budget_window) {
            return Err(InvalidRule::Window(span(parts.budget_window)));
        }
        if parts.cooldown > parts.budget_window {
            return Err(InvalidRule::Cooldown(span(parts.cooldown)));
        }
        Ok(Self(parts, rearm))
    }

    /// At which share of its limit a container is captured.
    pub const fn at(&self) -> Share {
        self.0.at
    }

    /// Below which share it may be captured again.
    pub const fn rearm(&self) -> Share {
        self.1
    }

    /// What is taken.
    pub const fn take(&self) -> Take {
        self.0.take
    }

    /// Shortest time between two captures of a workload.
    pub const fn cooldown(&self) -> Duration {
        self.0.cooldown
    }

    /// Most captures of a workload in a window.
    pub const fn budget(&self) -> u32 {
        self.0.budget
    }

    /// The window.
    pub const fn budget_window(&self) -> Duration {
        self.0.budget_window
    }

    /// Whether it is for pods of the namespace.
    pub fn selects(&self, namespace: &str) -> bool {
        let among = |list: &[String]| list.iter().any(|name| name == namespace);
        (self.0.namespaces.is_empty() || among(&self.0.namespaces))
            && !among(&self.0.exclude_namespaces)
    }

    /// The rule with what a pod's author asks for. Cooldown and budget stay the operator's.
    fn with(&self, at: Option<Share>, take: Option<Take>) -> Result<Self, InvalidRule> {
        let mut parts = self.0.clone();
        if let Some(at) = at.filter(|at| *at != parts.at) {
            parts.at = at;
            parts.rearm = None;
        }
        parts.take = take.unwrap_or(parts.take);
        Self::new(parts)
    }
}

/// The rule of a container, if it has one: the first of `rules` that is for its namespace, with what the pod's annotations change. `usual` stands in for a rule
/// where annotations ask for a capture and no rule is for the namespace.
///
/// # Errors
/// What the annotations ask for cannot be kept.
pub fn rule_for(
    rules: &[Rule],
    usual: &Rule,
    namespace: &str,
    annotated: Annotated,
) -> Result<Option<Rule>, InvalidRule> {
    let selected = rules.iter().find(|rule| rule.selects(namespace));
    match annotated {
        Annotated::Off => Ok(None),
        Annotated::Nothing => Ok(selected.cloned()),
        Annotated::Take(take) => selected.map(|rule| rule.with(None, Some(take))).transpose(),
        Annotated::At(at, take) => selected.unwrap_or(usual).with(Some(at), take).map(Some),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) fn share(percent: u8) -> Share {
        Share::new(percent).expect("a share")
    }

    pub(in super::super) fn parts() -> RuleParts {
        RuleParts {
            at: share(90),
            rearm: Some(share(80)),
            take: Take::Gcdump,
            cooldown: Duration::from_secs(3_600),
            budget: 3,
            budget_window: Duration::from_secs(86_400),
            namespaces: Vec::new(),
            exclude_namespaces: Vec::new(),
        }
    }

    pub(in super::super) fn rule() -> Rule {
        Rule::new(parts()).expect("a rule")
    }

    #[test]
    fn shares_and_what_is_taken_are_read_as_they_are_written() {
        for text in ["1%", "50%", "99%"] {
            assert_eq!(text.parse::<Share>().expect(text).to_string(), text);
        }
        assert_eq!(" 90 %".parse(), Ok(share(90)));
        for text in [
            "", "%", "0%", "100%", "90", "0.9", "-5%", "+5%", "9 0%", "256%", "９0%",
        ] {
            let refused = text.parse::<Share>().expect_err(text).to_string();
            assert!(
                refused.ends_with("from 1% to 99%, for example 90%"),
                "{refused}"
            );
        }
        for text in ["gcdump", "mini", "triage", "heap", "full"] {
            assert_eq!(text.parse::<Take>().expect(text).to_string(), text);
        }
        for text in ["", "trace", "Heap", "dump"] {
            let refused = text.parse::<Take>().expect_err(text).to_string();
            assert!(
                refused.ends_with("use one of gcdump, mini, triage, heap, full"),
                "{refused}"
            );
        }
        let json = serde_json::to_string(&(share(90), Take::Dump(DumpType::Heap))).expect("JSON");
        assert_eq!(json, r#"["90%","heap"]"#);
        assert!(serde_json::from_str::<Share>("90").is_err());
    }

    #[test]
    fn a_rule_that_cannot_be_kept_is_refused_by_its_key() {
        let refused = |change: fn(&mut RuleParts)| {
            let mut parts = parts();
            change(&mut parts);
            Rule::new(parts).expect_err("refused").to_string()
        };
        let begins = |said: String, key: &str| assert!(said.starts_with(key), "{said}");
        begins(
            refused(|rule| rule.rearm = Some(share(90))),
            "rearm: 90% is not less than at (90%)",
        );
        begins(
            refused(|rule| (rule.at, rule.rearm) = (share(1), None)),
            "at: 1% leaves nothing",
        );
        begins(refused(|rule| rule.budget = 0), "budget: 0 captures");
        begins(refused(|rule| rule.budget = 101), "budget: 101 captures");
        begins(
            refused(|rule| rule.budget_window = Duration::from_secs(59)),
            "budget_window: 59s",
        );
        begins(
            refused(|rule| rule.budget_window = Duration::MAX),
            "budget_window: ",
        );
        begins(
            refused(|rule| rule.cooldown = Duration::from_secs(2 * 86_400)),
            "cooldown: 2d is longer",
        );
    }

    #[test]
    fn without_a_word_usage_has_to_fall_by_ten_points() {
        for (at, rearm) in [(99, 89), (90, 80), (20, 10), (15, 7), (2, 1)] {
            let rule = Rule::new(RuleParts {
                at: share(at),
                rearm: None,
                ..parts()
            });
            assert_eq!(rule.expect("a rule").rearm(), share(rearm));
        }
    }

    #[test]
    fn the_first_rule_for_the_namespace_counts_and_annotations_change_it() {
        let for_shop = Rule::new(RuleParts {
            namespaces: vec!["shop".into()],
            budget: 7,
            ..parts()
        })
        .expect("a rule");
        let for_most = Rule::new(RuleParts {
            exclude_namespaces: vec!["vault".into()],
            at: share(95),
            ..parts()
        })
        .expect("a rule");
        let rules = [for_shop.clone(), for_most.clone()];
        let of = |namespace, annotated| {
            rule_for(&rules, &rule(), namespace, annotated).expect("a rule or none")
        };
        assert_eq!(of("shop", Annotated::Nothing), Some(for_shop));
        assert_eq!(of("pay", Annotated::Nothing), Some(for_most));
        assert_eq!(of("vault", Annotated::Nothing), None);
        assert_eq!(of("shop", Annotated::Off), None);
        let heap = Take::Dump(DumpType::Heap);
        assert_eq!(of("vault", Annotated::Take(heap)), None);
        let changed = of("shop", Annotated::At(share(70), Some(heap))).expect("a rule");
        assert_eq!(
            (changed.at(), changed.rearm(), changed.take()),
            (share(70), share(60), heap)
        );
        assert_eq!(changed.budget(), 7, "the operator's");
        let own = of("vault", Annotated::At(share(70), None)).expect("a rule");
        assert_eq!((own.take(), own.budget()), (Take::Gcdump, 3));
        let refused = rule_for(&rules, &rule(), "shop", Annotated::At(share(1), None));
        assert_eq!(refused, Err(InvalidRule::At(share(1))));
    }

    proptest! {
        #[test]
        fn a_share_is_reached_exactly_there(percent in 1..=99u8, limit in 1..u64::MAX / 100) {
            let edge = u64::try_from((u128::from(limit) * u128::from(percent)).div_ceil(100)).expect("below the limit");
            prop_assert!(share(percent).is_reached(edge, limit));
            prop_assert!(!share(percent).is_reached(edge.saturating_sub(1), limit) || edge == 0);
            prop_assert!(share(percent).is_reached(u64::MAX, u64::MAX) && !share(percent).is_reached(u64::MAX, 0));
        }

        #[test]
        fn no_text_is_a_panic(text in ".{0,80}") {
            if let Ok(share) = text.parse::<Share>() {
                prop_assert_eq!(share.to_string().parse(), Ok(share));
            }
            let _ = text.parse::<Take>();
        }
    }
}
