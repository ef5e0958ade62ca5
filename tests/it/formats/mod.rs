//! Facts of real files of each format, compared with readers that share nothing with ours.

mod minidump;
