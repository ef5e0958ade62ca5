//! Facts of real files of each format, compared with readers that share nothing with ours.

mod dotnet;
mod heap_snapshot;
mod hostile;
mod hprof;
mod hs_err;
mod minidump;
mod nettrace;
mod node;
