//! Ready when every part says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What the parts say, each under its name.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, Option<String>>>>);

/// One part's say. A part that is dropped keeps its last word.
#[derive(Debug)]
pub struct Part {
    name: String,
    all: Readiness,
}

impl Readiness {
    /// Adds a part that is not ready yet, and why.
    pub fn part(&self, name: impl Into<String>, why: impl Into<String>) -> Part {
        let part = Part {
            name: name.into(),
            all: self.clone(),
        };
        part.not_ready(why);
        part
    }

    /// The parts that are not ready and why, by name; empty when all are. Nothing is ready before there is a part.
    pub fn missing(&self) -> BTreeMap<String, String> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if parts.is_empty() {
            return BTreeMap::from([("agent".to_owned(), "starting".to_owned())]);
        }
        parts
            .iter()
            .filter_map(|(name, why)| Some((name.clone(), why.clone()?)))
            .collect()
    }

    fn set(&self, name: &str, why: Option<String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), why);
    }
}

impl Part {
    /// This part is ready.
    pub fn ready(&self) {
        self.all.set(&self.name, None);
    }

    /// This part is not ready, and why: said to people, so it names what to do.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.all.set(&self.name, Some(why.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_that_is_not_ready_is_named_with_its_reason() {
        let readiness = Readiness::default();
        assert_eq!(readiness.missing().len(), 1, "nothing has started");
        let (store, spool) = (
            readiness.part("store", "probing"),
            readiness.part("spool", "recovering"),
        );
        store.ready();
        assert_eq!(
            readiness.missing(),
            BTreeMap::from([("spool".to_owned(), "recovering".to_owned())])
        );
        spool.ready();
        assert!(readiness.missing().is_empty());
        store.not_ready("access denied");
        assert_eq!(readiness.missing()["store"], "access denied");
    }
}
