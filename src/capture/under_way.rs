//! Which captures are under way on this node: one at a time for each container, and none begun any more once the agent stops.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::CrashId;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    /// What ends each.
    captures: Mutex<HashMap<CrashId, Arc<AtomicBool>>>,
    /// Containers and processes of which something is being taken, and what.
    busy: Mutex<HashMap<String, CrashId>>,
    stopping: AtomicBool,
}

impl UnderWay {
    /// Counts a capture as under way until what this gives is dropped. `cancelled` ends it.
    pub(super) fn begin(&self, id: CrashId, cancelled: &Arc<AtomicBool>) -> impl Drop {
        locked(&self.captures).insert(id, Arc::clone(cancelled));
        Until(move || {
            locked(&self.captures).remove(&id);
        })
    }

    /// Has a container or process, which `key` stands for, to itself until what this gives is dropped.
    ///
    /// # Errors
    /// The capture that has it.
    pub(super) fn turn(&self, key: String, id: CrashId) -> Result<impl Drop, CrashId> {
        let mut busy = locked(&self.busy);
        if let Some(other) = busy.get(&key) {
            return Err(*other);
        }
        busy.insert(key.clone(), id);
        Ok(Until(move || {
            locked(&self.busy).remove(&key);
        }))
    }

    /// Ends what is under way; what begins after this finds [`Self::is_stopping`] true.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for cancelled in locked(&self.captures).values() {
            cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Whether no more is to be taken. Asked after [`Self::begin`], it misses no stop: that sets this first, and then ends what is there.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        locked(&self.captures).is_empty()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs something when it is dropped.
struct Until<F: FnMut()>(F);

impl<F: FnMut()> Drop for Until<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn id(number: u128) -> CrashId {
        CrashId::new(Timestamp::UNIX_EPOCH, number)
    }

    #[test]
    fn of_a_container_one_is_taken_at_a_time() {
        let under_way = UnderWay::default();
        let turn = under_way.turn("c0".to_owned(), id(1)).expect("free");
        assert!(under_way.turn("c1".to_owned(), id(2)).is_ok());
        assert_eq!(under_way.turn("c0".to_owned(), id(3)).err(), Some(id(1)));
        drop(turn);
        assert!(under_way.turn("c0".to_owned(), id(3)).is_ok());
    }

    #[test]
    fn a_stop_ends_what_is_under_way_and_is_seen_by_what_begins() {
        let under_way = UnderWay::default();
        let (early, late) = (Arc::default(), Arc::default());
        let begun = under_way.begin(id(1), &early);
        assert!(!under_way.is_idle() && !under_way.is_stopping());
        under_way.stop();
        assert!(early.load(Ordering::Relaxed));
        let begun_late = under_way.begin(id(2), &late);
        assert!(under_way.is_stopping());
        drop((begun, begun_late));
        assert!(under_way.is_idle());
    }
}
