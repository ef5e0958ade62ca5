//! What is on a heap, by type.
//!
//! Bounded: 30,000 types and 4 MiB of their names; objects of further types are counted together, and the 1,000 types with most bytes are told. All of it is what the
//! target says. The stream that is stored has everything.

use std::collections::HashMap;
use std::time::Duration;

use super::events::{Nodes, Types};

const MAX_TYPES: usize = 30_000;
const MAX_NAME_BYTES: usize = 4 << 20;

/// Most types that are told.
const TOLD: usize = 1_000;

/// Longest name kept, in characters.
const MAX_NAME: usize = 512;

/// The sums of a heap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heap {
    /// Whether the walk was seen to its end without anything missing.
    pub whole: bool,
    /// How long the target stood still for it, collection and walk, as the runtime's own clock has it; none if its end was not seen.
    pub pause: Option<Duration>,
    /// Objects.
    pub objects: u64,
    /// Their bytes, without what the heap has between them.
    pub bytes: u64,
    /// Events of the session that the runtime had no room for. Objects are then missing, or names, or references.
    pub lost: u64,
    /// Types that objects have and that were not named.
    pub unnamed: u64,
    /// Objects of types beyond the 30,000th; they are in the sums above.
    pub other_objects: u64,
    /// The 1,000 types with the most bytes, those with most first. Names are as the target has them: hostile.
    pub types: Vec<TypeTotal>,
}

/// The objects of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeTotal {
    /// Its name as the runtime has it: ``Dictionary`2[System.String,Widget]``, `Widget[]`; `?` if none was told.
    pub name: String,
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Heap {
    /// The objects of the type called `name`.
    pub fn of(&self, name: &str) -> Option<&TypeTotal> {
        self.types.iter().find(|total| total.name == name)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    objects: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Adds up what comes. Types come before, between and after the objects that have them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    names: HashMap<u64, Box<str>>,
    name_bytes: usize,
    sums: HashMap<u64, Sum>,
    other: Sum,
    /// The index that the next event of this walk has.
    next: u32,
    gaps: u64,
}

impl Tally {
    pub(super) fn types(&mut self, types: Types<'_>) {
        for told in types {
            if self.names.len() >= MAX_TYPES || self.name_bytes > MAX_NAME_BYTES {
                return;
            }
            let name: Box<str> = told.name.cut(MAX_NAME).into();
            self.name_bytes += name.len();
            self.names.insert(told.id, name);
        }
    }

    /// A walk's first event begins anew: what came before was a walk that somebody else asked for.
    pub(super) fn nodes(&mut self, nodes: Nodes<'_>) {
        if nodes.index == 0 {
            self.sums.clear();
            self.other = Sum::default();
            self.gaps = 0;
        } else if nodes.index != self.next {
            self.gaps += 1;
        }
        self.next = nodes.index.wrapping_add(1);
        for node in nodes {
            let known = self.sums.len() < MAX_TYPES || self.sums.contains_key(&node.of);
            let sum = if known {
                self.sums.entry(node.of).or_default()
            } else {
                &mut self.other
            };
            sum.add(node.size);
        }
    }

    pub(super) fn heap(&self, whole: bool, lost: u64) -> Heap {
        let mut heap = Heap {
            whole: whole && lost == 0 && self.gaps == 0,
            lost: lost.max(self.gaps),
            objects: self.other.objects,
            bytes: self.other.bytes,
            other_objects: self.other.objects,
            ..Heap::default()
        };
        // Types of the same name, of two assemblies or contexts, are one to whoever reads it.
        let mut types: HashMap<&str, Sum> = HashMap::new();
        for (id, sum) in &self.sums {
            heap.objects += sum.objects;
            heap.bytes = heap.bytes.saturating_add(sum.bytes);
            let told = self.names.get(id).filter(|name| !name.is_empty());
            let name = told.map_or("?", |name| name);
            heap.unnamed += u64::from(told.is_none());
            let total = types.entry(name).or_default();
            total.objects += sum.objects;
            total.bytes = total.bytes.saturating_add(sum.bytes);
        }
        let mut types: Vec<(&str, Sum)> = types.into_iter().collect();
        types.sort_unstable_by(|(a, sum_of_a), (b, sum_of_b)| {
            sum_of_b.bytes.cmp(&sum_of_a.bytes).then_with(|| a.cmp(b))
        });
        types.truncate(TOLD);
        let told = types
            .into_iter()
            .map(|(name, Sum { objects, bytes })| TypeTotal {
                name: name.to_owned(),
                objects,
                bytes,
            });
        heap.types = told.collect();
        heap
    }
}
