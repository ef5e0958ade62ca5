//! The trigger before the OOM kill, which leaves no dump: a container whose memory comes near its limit is captured while it lives.
//!
//! ```text
//! config ── rule ─┬─ asked: the rule of a container
//! annotations ────┘         │
//! /proc/<pid>/cgroup ── path ── tree: usage and limit ──┴── trigger: once per rise ── budget: spent on disk, then it fires
//! ```
//!
//! Owns when a container is captured and how often. Leaves to its callers: who the containers are, asking again and again, whether the capture is bearable
//! ([`plan`](super::plan)), and taking it. What never happens: a capture that is not in the budget's file, whatever stops the agent; more captures of a workload
//! than its rule allows in a window; memory or a state file that grows with the number of containers that come and go.

mod annotation;
mod budget;
mod cgroup;
mod path;
mod rule;
mod tree;
mod trigger;

pub use annotation::{Annotated, CAPTURE_AT_MEMORY, CAPTURE_TAKE, InvalidAnnotation};
pub use budget::{Budget, BudgetError, Opened};
pub use cgroup::{Memory, MemoryCgroup};
pub use path::{CgroupPath, InvalidCgroup, Version};
pub use rule::{InvalidRule, InvalidShare, InvalidTake, Rule, RuleParts, Share, Take, rule_for};
pub use tree::{CgroupTree, TreeError};
pub use trigger::{Fire, Instance, Seen, Workload};
