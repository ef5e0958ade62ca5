//! Tests of the whole: the real binary, real dumps, real stores.

#[path = "../support/mod.rs"]
mod support;

mod agent;
mod captures;

mod chart;
mod cli;
mod doctor;
mod dotnet_live;
mod dumps;
#[cfg(feature = "fault-points")]
mod fault_points;
mod formats;
mod garage;
mod hostile;
mod house;
mod identify;
mod image;
mod inputs;
mod kubernetes;
mod place;
mod prometheus;
mod query;
mod resume;
mod s3;
mod store;
