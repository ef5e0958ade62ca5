//! Captures: whether the agent takes them, and when it does so by itself.

use std::time::Duration;

use super::{Error, key, written};
use crate::capture::memory::{Rule, RuleParts, Share, Take};

/// How often memory may be looked at.
const POLL: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);

/// Most rules.
const RULES_MAX: usize = 64;

/// What the agent uses for captures.
#[derive(Clone, Debug)]
pub struct Captures {
    /// Rules for captures before a container runs out of memory.
    pub rules: Vec<Rule>,
    /// What holds for a pod that asks for one where no rule selects it.
    pub usual: Rule,
    /// Whether pods may ask by annotation.
    pub annotations: bool,
    /// How often memory is looked at.
    pub poll: Duration,
}

/// Checks what was written.
pub(super) fn check(
    written: &written::Captures,
    kubernetes: bool,
) -> Result<Option<Captures>, Error> {
    let memory = &written.memory;
    let poll = memory.poll.duration();
    if !POLL.contains(&poll) {
        return Err(key("captures.memory.poll", "must be from 100ms to 60s"));
    }
    if memory.rules.len() > RULES_MAX {
        return Err(key(
            "captures.memory.rules",
            format!("are more than {RULES_MAX}"),
        ));
    }
    let rules = memory.rules.iter().enumerate().map(|(n, written)| {
        rule(written).map_err(|problem| key(format!("captures.memory.rules[{n}]"), problem))
    });
    let rules = rules.collect::<Result<Vec<Rule>, Error>>()?;
    let usual =
        rule(&written::MemoryRule::default()).map_err(|problem| key("captures.memory", problem))?;
    if !written.enabled {
        return Ok(None);
    }
    if !kubernetes {
        return Err(key(
            "captures.enabled",
            "needs kubernetes.enabled: who may capture what is decided by the API server; without it use salvage capture --pid",
        ));
    }
    Ok(Some(Captures {
        rules,
        usual,
        annotations: memory.annotations,
        poll,
    }))
}

fn rule(written: &written::MemoryRule) -> Result<Rule, String> {
    let at: Share = written.at.parse().map_err(|error| format!("at: {error}"))?;
    let rearm = written.rearm.as_deref().map(str::parse::<Share>);
    let rearm = rearm
        .transpose()
        .map_err(|error| format!("rearm: {error}"))?;
    let take: Take = written
        .take
        .parse()
        .map_err(|error| format!("take: {error}"))?;
    Rule::new(RuleParts {
        at,
        rearm,
        take,
        cooldown: written.cooldown.duration(),
        budget: written.budget,
        budget_window: written.budget_window.duration(),
        namespaces: written.namespaces.clone(),
        exclude_namespaces: written.exclude_namespaces.clone(),
    })
    .map_err(|error| error.to_string())
}
