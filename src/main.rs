//! The `salvage` command.

fn main() {}
