//! What the tests share and the product does not have: real dumps, and readers that are not ours.

pub(crate) mod agent;
pub(crate) mod core_pattern;
pub(crate) mod disk;
pub(crate) mod process;
pub(crate) mod readers;
pub(crate) mod victims;
