//! The way back: from the store to a person's disk.
//!
//! ```text
//! list, resolve  LIST only: a crash's key says what people ask for
//! document       one GET: the manifest
//! artifact       the seek table first, then ranged GETs in order:
//!
//!   store ── pieces of whole frames ──┬──────────────> digest of what is stored ─┐
//!            (a few in flight)        └─> frames decoded in parallel, in order ──┼─> sink, digest of the file
//!                                                                                └─> compared with the manifest
//! ```
//!
//! Owns what is looked at and what is believed: everything in the bucket may have been written by somebody else, so listings are
//! paged, manifests and seek tables are bounded, and a file is whole only when every length and digest the manifest gives agrees.
//! Leaves to `store` how an object is reached, and to `cli` what people see and where a file goes.
//!
//! Invariants: memory does not grow with the store or with an object; nothing here writes to the store.

mod artifact;
mod days;
mod document;
mod error;
mod filter;
mod list;
mod patience;
mod plan;
mod presence;
mod resolve;
mod seek_table;

#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
#[path = "../../tests/support/stored.rs"]
mod stored;

pub use artifact::{Checked, Opened, Sink, open};
pub use document::{Document, document};
pub use error::{Error, Result};
pub use filter::{Filter, InvalidPattern, NamePattern};
pub use list::{Listed, list};
pub use presence::{Presence, presence};
pub use resolve::resolve;
