//! `notify` wakes us; it is never believed.
//!
//! Each directory is watched on its own, by the path of its open descriptor (`/proc/self/fd/N`): a recursive watch of the library follows a
//! tenant's symlinks out of the source. The channel holds one wake-up, since ten say no more than one.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::sys::Dir;

/// What made a source be scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WakeReason {
    /// The first scan after the agent started.
    Start,
    /// Something changed in a watched directory.
    Event,
    /// The kernel's queue overflowed, so events are missing.
    Overflow,
    /// The watch reported an error.
    WatchError,
    /// The source's directory was removed and made anew, or appeared late.
    Remade,
    /// Nothing happened for a while, which proves nothing.
    Interval,
    /// The agent stops.
    Stop,
}

impl WakeReason {
    /// Every reason that a scan can have.
    pub(super) const ALL: [Self; 6] = [
        Self::Start,
        Self::Event,
        Self::Overflow,
        Self::WatchError,
        Self::Remade,
        Self::Interval,
    ];

    /// The metric's label.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Event => "event",
            Self::Overflow => "overflow",
            Self::WatchError => "watch_error",
            Self::Remade => "remade",
            Self::Interval => "interval",
            Self::Stop => "stop",
        }
    }
}

/// Wakes a source's worker from any thread.
#[derive(Clone, Debug)]
pub(super) struct Waker(SyncSender<WakeReason>);

impl Waker {
    pub(super) fn wake(&self, why: WakeReason) {
        match self.0.try_send(why) {
            // A wake-up is waiting already: the scan it causes sees what this one is about.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

/// The worker's side: waits, and keeps the watches.
#[derive(Debug)]
pub(super) struct Watcher {
    wakes: Receiver<WakeReason>,
    waker: Waker,
    inotify: Option<RecommendedWatcher>,
}

/// Why a directory is not watched.
#[derive(Debug)]
pub(super) enum NotWatched {
    /// `fs.inotify.max_user_watches` or `max_user_instances` is used up.
    Limit,
    /// Something else.
    Other(notify::Error),
}

impl Watcher {
    pub(super) fn new() -> (Self, Waker) {
        let (sender, wakes) = sync_channel(1);
        let waker = Waker(sender);
        (
            Self {
                wakes,
                waker: waker.clone(),
                inotify: None,
            },
            waker,
        )
    }

    /// Watches `dir`; the watch lasts until [`Watcher::unwatch`] with the same open directory.
    pub(super) fn watch(&mut self, dir: &Dir) -> Result<(), NotWatched> {
        let inotify = match &mut self.inotify {
            Some(inotify) => inotify,
            none => {
                let waker = self.waker.clone();
                let config = notify::Config::default().with_follow_symlinks(false);
                let made = RecommendedWatcher::new(move |event| wake_for(&waker, event), config)
                    .map_err(not_watched)?;
                none.insert(made)
            }
        };
        inotify
            .watch(&dir.proc_path(), RecursiveMode::NonRecursive)
            .map_err(not_watched)
    }

    /// Ends the watch of `path`, the `proc_path` a directory had when it was watched. The kernel ends it by itself when the directory is removed.
    pub(super) fn unwatch(&mut self, path: &Path) {
        if let Some(inotify) = &mut self.inotify {
            let _ = inotify.unwatch(path);
        }
    }

    /// Waits for a wake-up, `patience` at the longest.
    pub(super) fn wait(&self, patience: Duration) -> WakeReason {
        match self.wakes.recv_timeout(patience) {
            Ok(why) => why,
            Err(RecvTimeoutError::Timeout) => WakeReason::Interval,
            Err(RecvTimeoutError::Disconnected) => WakeReason::Stop,
        }
    }
}

fn not_watched(error: notify::Error) -> NotWatched {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => NotWatched::Limit,
        // Too many inotify instances: EMFILE.
        notify::ErrorKind::Io(io) if io.raw_os_error() == Some(libc::EMFILE) => NotWatched::Limit,
        _ => NotWatched::Other(error),
    }
}

/// Runs on the library's thread, so it only decides whether to wake.
fn wake_for(waker: &Waker, event: notify::Result<Event>) {
    match event {
        Err(_) => waker.wake(WakeReason::WatchError),
        Ok(event) if event.need_rescan() => waker.wake(WakeReason::Overflow),
        Ok(event) if matters(&event.kind) => waker.wake(WakeReason::Event),
        Ok(_) => {}
    }
}

/// Writes come by the thousand while a dump grows, and our own looking opens files: neither may wake us.
fn matters(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Create(_)
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Any
            | EventKind::Other
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_closed_file_wakes_and_looking_does_not() {
        let temp = tempfile::tempdir().expect("temp dir");
        std::fs::write(temp.path().join("old"), b"old").expect("write");
        let dir = Dir::open(temp.path()).expect("open");
        let (mut watcher, _waker) = Watcher::new();
        watcher.watch(&dir).expect("watch");
        drop(dir.open_file(std::ffi::OsStr::new("old")).expect("open"));
        std::fs::write(temp.path().join("new"), b"new").expect("write");
        assert_eq!(watcher.wait(PATIENCE), WakeReason::Event);
        while watcher.wait(Duration::from_millis(100)) == WakeReason::Event {}
        drop(dir.open_file(std::ffi::OsStr::new("new")).expect("open"));
        assert_eq!(
            watcher.wait(Duration::from_millis(200)),
            WakeReason::Interval
        );
    }

    #[test]
    fn a_wake_up_is_never_waited_for() {
        let (watcher, waker) = Watcher::new();
        for _ in 0..1_000 {
            waker.wake(WakeReason::Event);
        }
        assert_eq!(watcher.wait(PATIENCE), WakeReason::Event);
        assert_eq!(watcher.wait(Duration::from_millis(1)), WakeReason::Interval);
    }
}
