//! Decisions: pure functions from what is known to what is to be done, with the reason. Nothing here reads a disk or a clock.

mod attribute;
mod coverage;
mod ends;
mod kin;
mod meet;
mod names;
mod parts;
mod quota;
mod reason;
mod selection;
mod when;

pub use attribute::{
    About, Attributed, Claim, ClaimSource, LogDir, Node, Where, attribute, belongs_to_container,
};
pub use coverage::{Coverage, Covered};
pub use ends::{Counted, End, new_ends, signal_of};
pub use kin::{KIN_GAP, Kin, Written, by_worth, dump_of_report, may_have_kin};
pub use meet::{Dumped, Fit};
pub use names::{Named, attribute_without_kubernetes};
pub use parts::{PartLimits, PartPlan, plan_parts};
pub use quota::{Demand, Holding, Limits, Refusal, Room, admit, left};
pub use reason::{reason_of, why_no_dump};
pub use selection::{Selection, UnknownPods};
pub use when::{container_time, crash_time};
