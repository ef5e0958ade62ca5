//! What the tests share and the product does not have: real dumps, and readers that are not ours.

pub(crate) mod agent;
pub(crate) mod bucket;
pub(crate) mod container;
pub(crate) mod core_pattern;
pub(crate) mod cuts;
pub(crate) mod disk;
pub(crate) mod eventpipe;
pub(crate) mod garage;
pub(crate) mod http;
#[allow(dead_code, unused_imports)]
pub(crate) mod kube;
pub(crate) mod line;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod readers;
pub(crate) mod reports;
pub(crate) mod s3;
pub(crate) mod stored;
pub(crate) mod victims;
