//! Ready when every part says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntGaugeVec, Opts, Registry};

/// What the parts say, each under its name.
#[derive(Clone, Debug)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<String, Option<String>>>>,
    shown: IntGaugeVec,
}

/// All sources are one part to Prometheus: their names are paths.
const SOURCES: &str = "sources";

/// One part's say. A part that is dropped keeps its last word.
#[derive(Debug)]
pub struct Part {
    name: String,
    all: Readiness,
}

impl Readiness {
    /// Makes it, and registers what it shows.
    ///
    /// # Errors
    /// A metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let shown = IntGaugeVec::new(
            Opts::new(
                "salvage_ready",
                "Whether a part of the agent is ready; /readyz says why it is not.",
            ),
            &["part"],
        )?;
        registry.register(Box::new(shown.clone()))?;
        Ok(Self {
            parts: Arc::default(),
            shown,
        })
    }

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
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if parts.is_empty() {
            return BTreeMap::from([("agent".to_owned(), "starting".to_owned())]);
        }
        parts
            .iter()
            .filter_map(|(name, why)| Some((name.clone(), why.clone()?)))
            .collect()
    }

    fn set(&self, name: &str, why: Option<String>) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(name.to_owned(), why);
        let of_kind =
            |(part, why): (&String, &Option<String>)| kind(part) != kind(name) || why.is_none();
        self.shown
            .with_label_values(&[kind(name)])
            .set(i64::from(parts.iter().all(of_kind)));
    }
}

/// The metric's label of a part.
fn kind(name: &str) -> &str {
    if name.starts_with("source ") {
        SOURCES
    } else {
        name
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
        let readiness = Readiness::register(&Registry::new()).expect("an empty registry");
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

    #[test]
    fn one_source_that_is_not_ready_makes_the_sources_not_ready() {
        let readiness = Readiness::register(&Registry::new()).expect("an empty registry");
        let shown = |part| readiness.shown.with_label_values(&[part]).get();
        let first = readiness.part("source /a", "first scan not done");
        let second = readiness.part("source /b", "first scan not done");
        let store = readiness.part("store", "not probed yet");
        first.ready();
        store.ready();
        assert_eq!((shown("sources"), shown("store")), (0, 1));
        second.ready();
        assert_eq!(shown("sources"), 1);
        first.not_ready("gone");
        assert_eq!(shown("sources"), 0);
    }
}
