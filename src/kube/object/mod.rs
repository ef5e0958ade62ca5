//! A pod's object as the API server sends it, read slimly, and what the agent keeps of it.
//!
//! ```text
//! JSON ── loose: any value in any place ── wire, meta: the few fields read ── known ─┬─ owner: what a person deployed
//!                                                                                  ├─ mounts ── expand: $(VAR) in sub paths
//!                                                                                  └─ stopping: who asked it to end
//! ```
//!
//! Owns what is read, the bounds of it, and what of it is believed. Leaves fetching, watching and remembering to its callers. The API server is
//! trusted to send what it stored; most of what it stored was written by a pod's author. So a conversion never fails on a value: what cannot be
//! read is absent, and **what was left out for its length never makes a pod look as if it had fewer mounts**, see `mounts`; how much is kept is said in
//! `bounds`.

mod bounds;
mod expand;
mod known;
mod loose;
mod meta;
mod mounts;
mod owner;
mod stopping;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use wire::PodObject;
