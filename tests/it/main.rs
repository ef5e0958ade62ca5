//! Tests of the whole: real programs, real files, real processes.

mod identify;
