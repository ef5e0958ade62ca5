//! Whose turn it is at a runtime.
//!
//! The server of a runtime is one thread, and a dump holds it. A second command of ours would lie in its queue, time out, and be carried out later with
//! nobody listening. So there is one turn per process, whoever found it and how often: the turns of all processes are in one table of this program, by pid
//! and start time, because the runtime too is there once. A turn is forgotten when nobody has or wants it.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError, Weak};
use std::time::Instant;

/// Which process: its number on the host and when it started, in clock ticks since the boot.
type Key = (i32, u64);

static TURNS: LazyLock<Mutex<HashMap<Key, Weak<Queue>>>> = LazyLock::new(Mutex::default);

/// Those who want their turn at one process.
#[derive(Debug, Default)]
pub(super) struct Queue {
    taken: Mutex<bool>,
    free: Condvar,
}

/// A turn; it ends when this is dropped.
#[derive(Debug)]
pub(in crate::dotnet) struct Turn(Arc<Queue>);

impl Queue {
    /// That of a process.
    pub(super) fn of(key: Key) -> Arc<Self> {
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, queue| queue.strong_count() > 0);
        if let Some(queue) = turns.get(&key).and_then(Weak::upgrade) {
            return queue;
        }
        let queue = Arc::new(Self::default());
        turns.insert(key, Arc::downgrade(&queue));
        queue
    }

    /// Waits for a turn; `None` when it has not come by then.
    pub(super) fn turn(self: &Arc<Self>, until: Instant) -> Option<Turn> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.free.wait_timeout_while(taken, left, |taken| *taken);
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *taken {
            return None;
        }
        *taken = true;
        Some(Turn(Arc::clone(self)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_process_found_twice_has_one_turn() {
        let far = Instant::now() + Duration::from_secs(60);
        let first = Queue::of((1, 7));
        let turn = first.turn(far).expect("free");
        assert!(Queue::of((1, 7)).turn(Instant::now()).is_none());
        assert!(
            Queue::of((1, 8)).turn(Instant::now()).is_some(),
            "another start of that number"
        );
        let waiting = std::thread::spawn(move || Queue::of((1, 7)).turn(far).is_some());
        drop(turn);
        assert!(waiting.join().expect("no panic"));
    }
}
