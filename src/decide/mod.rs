//! Decisions: pure functions from what is known to what is to be done, with the reason. Nothing here reads a disk or a clock.

mod kin;
mod names;
mod parts;
mod quota;
mod reason;
mod when;

pub use kin::{KIN_GAP, Kin, Written, by_worth, dump_of_report, may_have_kin};
pub use names::{Named, attribute_without_kubernetes};
pub use parts::{PartLimits, PartPlan, plan_parts};
pub use quota::{Demand, Holding, Limits, Refusal, Room, admit};
pub use reason::reason_of;
pub use when::crash_time;
