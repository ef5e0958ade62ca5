//! The thread of one source: waits, scans, and hands settled dumps to the taker.

use std::ffi::{OsStr, OsString};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch as status_channel;

use super::managed::{self, Tidy};
use super::metrics::Trouble;
use super::reported::Reported;
use super::scan::{Tree, Visitor};
use super::settle::{Settling, Verdict};
use super::watch::{WakeReason, Waker, Watcher};
use super::{Config, Found, Metrics, Root, Shape, Taken, Taker};
use crate::model::{FileId, escaped};
use crate::sys::{Dir, FileKind, Stat, data_bytes};

/// How often a source is scanned although nothing woke us.
const INTERVAL: Duration = Duration::from_secs(10);

/// First wait for a writer that seemed to have closed: the event is sent before the kernel gives the write access back.
const FIRST_LOOK_AGAIN: Duration = Duration::from_millis(20);

/// After a scan that looked for `t`, the next one waits for `t` times this: whoever makes events by the thousand gets a tenth of a core.
const REST: u32 = 9;

/// How often a managed source is tidied.
const TIDY_AGAIN: Duration = Duration::from_secs(30);

/// How soon a stop is seen while resting.
const STOP_SEEN: Duration = Duration::from_millis(50);

/// How a source is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its first scan is not done.
    Starting,
    /// The last scan saw it.
    Scanned,
    /// It cannot be looked at or taken from, and why.
    Trouble(String),
}

/// A running source.
#[derive(Debug)]
pub struct Handle {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    waker: Waker,
    status: status_channel::Receiver<Status>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// The source's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is doing, now and whenever that changes.
    pub fn status(&self) -> status_channel::Receiver<Status> {
        self.status.clone()
    }

    /// Asks it to take no more; what is being taken is finished.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake(WakeReason::Stop);
    }

    /// Waits until it has stopped.
    pub fn join(self) {
        // A panic there was reported by its own message; the agent stops anyway.
        let _ = self.thread.join();
    }
}

/// Starts watching `config.path`.
///
/// # Errors
/// The thread cannot be made.
pub fn spawn(config: Config, taker: Arc<dyn Taker>, metrics: Metrics) -> io::Result<Handle> {
    let (watcher, waker) = Watcher::new();
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, status) = status_channel::channel(Status::Starting);
    let path = config.path.clone();
    let looker = Looker {
        settling: Settling::new(config.quiet_period, config.settle_limit),
        reported: Reported::default(),
        config,
        taker,
        metrics,
        stop: Arc::clone(&stop),
        status: sender,
        refused: None,
        writers: 0,
        taking: Duration::ZERO,
    };
    let worker = Worker {
        looker,
        watcher,
        tree: Tree::default(),
        root: None,
        tidied: None,
    };
    let thread = std::thread::Builder::new()
        .name("source".into())
        .spawn(move || worker.run())?;
    Ok(Handle {
        path,
        stop,
        waker,
        status,
        thread,
    })
}

struct Worker {
    looker: Looker,
    watcher: Watcher,
    tree: Tree,
    /// The root as it was at the last pass.
    root: Option<FileId>,
    /// When a managed source was tidied last.
    tidied: Option<Instant>,
}

/// Everything of a pass but the walk itself.
struct Looker {
    config: Config,
    taker: Arc<dyn Taker>,
    metrics: Metrics,
    settling: Settling,
    reported: Reported,
    stop: Arc<AtomicBool>,
    status: status_channel::Sender<Status>,
    /// Why the source refuses to give files away, if this pass found that.
    refused: Option<String>,
    /// Files that this pass found open for writing.
    writers: usize,
    /// Time that this pass spent on taking dumps.
    taking: Duration,
}

impl Worker {
    fn run(mut self) {
        let mut why = WakeReason::Start;
        let mut look_again = FIRST_LOOK_AGAIN;
        while !self.looker.stops() {
            if why == WakeReason::Event {
                look_again = FIRST_LOOK_AGAIN;
            }
            let began = Instant::now();
            self.pass(why);
            // Taking is work worth doing, and mostly waiting for the disk: the next crash of the same name must not be overwritten meanwhile.
            let looking = began.elapsed().saturating_sub(self.looker.taking);
            let rest = (looking * REST).min(INTERVAL);
            why = self.wait(rest, look_again);
            look_again = (look_again * 2).min(INTERVAL);
        }
    }

    /// Rests, then waits for a wake-up; shortly where a writer may just have closed.
    fn wait(&self, rest: Duration, look_again: Duration) -> WakeReason {
        let patience = if self.looker.writers > 0 {
            look_again
        } else if self.looker.settling.is_waiting() {
            self.looker
                .config
                .quiet_period
                .clamp(FIRST_LOOK_AGAIN, INTERVAL)
        } else {
            INTERVAL
        };
        let began = Instant::now();
        let why = self.watcher.wait(patience.max(rest));
        // Woken while resting: the rest of the rest gathers what else happens, so that one scan sees it all.
        while let Some(left) = rest
            .checked_sub(began.elapsed())
            .filter(|left| !left.is_zero() && !self.looker.stops())
        {
            std::thread::sleep(left.min(STOP_SEEN));
        }
        why
    }

    fn pass(&mut self, why: WakeReason) {
        self.looker.metrics.rescan(why);
        self.looker.begin();
        let outcome = self.scan();
        self.looker.end(outcome);
    }

    /// Looks at everything once; tells whether everything was seen.
    fn scan(&mut self) -> Result<bool, String> {
        let path = self.looker.config.path.clone();
        let kubelets = matches!(self.looker.config.shape, Shape::KubeletVolume(_));
        let unavailable =
            |error: io::Error| format!("{}: cannot be opened: {error}", escaped(&path));
        if self.looker.config.managed {
            managed::prepare(&path)?;
        }
        let dir = Dir::open(&path).map_err(unavailable)?;
        let id = dir.stat_self().map_err(unavailable)?.file;
        if self.root != Some(id) {
            if self.root.is_some() {
                self.looker.metrics.rescan(WakeReason::Remade);
            }
            self.looker.taker.prepare(Root {
                path: &path,
                kubelets,
                dir: &dir,
            })?;
            self.root = Some(id);
        }
        self.tidy(&dir);
        let mut pass = Pass {
            looker: &mut self.looker,
            root: Root {
                path: &path,
                kubelets,
                dir: &dir,
            },
        };
        self.tree
            .walk(
                &dir,
                pass.looker.config.shape.depth(),
                &mut self.watcher,
                &mut pass,
            )
            .map_err(unavailable)
    }
}

impl Worker {
    /// Before the walk, so that it sees what is left; not in every pass, which an event may cause a hundred times a second.
    fn tidy(&mut self, dir: &Dir) {
        let looker = &self.looker;
        let is_due = |last: Instant| last.elapsed() >= TIDY_AGAIN;
        let Shape::Directory(layout) = &looker.config.shape else {
            return;
        };
        if !looker.config.managed || !self.tidied.is_none_or(is_due) {
            return;
        }
        self.tidied = Some(Instant::now());
        let tidied = Tidy {
            layout,
            is_gone: &|uid| looker.taker.is_gone(uid),
            is_ours: &|name| looker.taker.owns(name),
            now: Timestamp::now(),
        }
        .run(dir);
        looker.metrics.directories_removed(tidied.removed);
        if tidied != managed::Tidied::default() {
            tracing::info!(source = %escaped(&looker.config.path), removed = tidied.removed, opened = tidied.opened, "tidied directories of pods");
        }
    }
}

impl Looker {
    fn begin(&mut self) {
        self.settling.begin_pass();
        self.refused = None;
        self.writers = 0;
        self.taking = Duration::ZERO;
    }

    fn end(&mut self, outcome: Result<bool, String>) {
        let gone = self.settling.end_pass(matches!(outcome, Ok(true)));
        for _ in 0..gone {
            self.metrics.gone();
        }
        let status = match (outcome, self.refused.take()) {
            (Ok(_), None) => Status::Scanned,
            (Ok(_), Some(why)) | (Err(why), _) => Status::Trouble(why),
        };
        self.status.send_if_modified(|last| {
            if *last == status {
                return false;
            }
            if let Status::Trouble(why) = &status {
                self.metrics.trouble(Trouble::SourceUnavailable);
                tracing::warn!(source = %escaped(&self.config.path), why, "source cannot be used");
            } else {
                tracing::info!(source = %escaped(&self.config.path), "source scanned");
            }
            *last = status;
            true
        });
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Counts and logs what was passed over, once for each file.
    fn report(
        &mut self,
        file: FileId,
        levels: &[OsString],
        name: &OsStr,
        trouble: Trouble,
        why: Option<String>,
    ) {
        if !self.reported.is_news(file, trouble) {
            return;
        }
        self.metrics.trouble(trouble);
        let path: PathBuf = self
            .config
            .path
            .join(levels.iter().collect::<PathBuf>())
            .join(name);
        tracing::warn!(path = %escaped(&path), kind = trouble.name(), why = why.as_deref(), "passed over");
    }
}

/// One pass over a source.
struct Pass<'a> {
    looker: &'a mut Looker,
    root: Root<'a>,
}

impl Visitor for Pass<'_> {
    fn file(&mut self, dir: &Dir, levels: &[OsString], name: &OsStr) {
        let ours = levels.is_empty() && self.looker.taker.owns(name);
        if ours || !self.looker.config.shape.holds_dumps(levels) {
            return;
        }
        // Gone since it was listed, and never waited for: nothing was lost.
        let Ok(stat) = dir.stat(name) else { return };
        if self.looker.taker.knows(stat.file) {
            return;
        }
        if let Some(trouble) = no_dump(&stat, &self.looker.config) {
            return self.looker.report(stat.file, levels, name, trouble, None);
        }
        if stat.size > 0 {
            self.looker.reported.forget(stat.file, Trouble::Empty);
        }
        // One file that makes us panic must not hide those behind it, nor end the source's thread.
        let looked = catch_unwind(AssertUnwindSafe(|| {
            self.settle_and_take(dir, levels, name, &stat)
        }));
        let looked = looked.unwrap_or_else(|_| Err(io::Error::other("looking at it panicked")));
        if let Err(error) = looked {
            match error.kind() {
                // Between the listing and the look it went, or a foreign lease is on it: the next pass sees.
                io::ErrorKind::NotFound | io::ErrorKind::WouldBlock => {}
                _ => self.looker.report(
                    stat.file,
                    levels,
                    name,
                    Trouble::Unreadable,
                    Some(error.to_string()),
                ),
            }
        }
    }

    fn trouble(
        &mut self,
        about: FileId,
        levels: &[OsString],
        name: &OsStr,
        trouble: Trouble,
        why: Option<String>,
    ) {
        self.looker.report(about, levels, name, trouble, why);
    }

    fn stops(&self) -> bool {
        self.looker.stops()
    }

    fn skips(&self, levels: &[OsString], name: &OsStr) -> bool {
        let ours = levels.is_empty() && self.looker.taker.owns(name);
        ours || !self.looker.config.shape.admits(levels, name)
    }
}

/// Why a name stands for no dump, whatever is in it.
fn no_dump(stat: &Stat, config: &Config) -> Option<Trouble> {
    match stat.kind {
        FileKind::Symlink => return Some(Trouble::Symlink),
        FileKind::Special | FileKind::Dir => return Some(Trouble::Special),
        FileKind::File => {}
    }
    if stat.links != 1 {
        // No link at all: it was removed between the listing and the look.
        return (stat.links > 1).then_some(Trouble::HardLink);
    }
    (stat.size > config.max_dump_size || stat.allocated > config.max_dump_data)
        .then_some(Trouble::TooLarge)
}

impl Pass<'_> {
    fn settle_and_take(
        &mut self,
        dir: &Dir,
        levels: &[OsString],
        name: &OsStr,
        listed: &Stat,
    ) -> io::Result<()> {
        let looker = &mut *self.looker;
        let (now, clock) = (Instant::now(), Timestamp::now());
        let file = dir.open_file(name)?;
        let stat = Stat::of(&file)?;
        // Swapped between the look and the open: the next pass looks at what is there now.
        if !stat.file.same_file(&listed.file) || no_dump(&stat, &looker.config).is_some() {
            return Ok(());
        }
        let seen = looker.settling.see(&stat, now, clock);
        let (leased, marks) = match looker.settling.look(&file, &stat, now)? {
            Verdict::Settled { leased, marks } => (leased, marks),
            Verdict::Wait => {
                looker.writers += 1;
                return Ok(());
            }
        };
        // Only now: every dump is empty while its writer has just begun.
        if stat.size == 0 {
            looker.settling.forget(stat.file);
            looker.report(stat.file, levels, name, Trouble::Empty, None);
            return Ok(());
        }
        let data_bytes = data_bytes(&file, stat.size);
        if data_bytes > looker.config.max_dump_data {
            looker.report(stat.file, levels, name, Trouble::TooLarge, None);
            return Ok(());
        }
        let names = looker.config.shape.names(levels);
        let found = Found {
            root: self.root,
            dir,
            levels,
            name,
            stat,
            data_bytes,
            names,
            seen,
            settled: clock,
            marks,
            leased,
        };
        let began = Instant::now();
        let taken = looker.taker.take(&found);
        looker.taking += began.elapsed();
        self.after(taken, &stat, levels, name);
        Ok(())
    }

    fn after(&mut self, taken: Taken, stat: &Stat, levels: &[OsString], name: &OsStr) {
        let looker = &mut *self.looker;
        match taken {
            Taken::Claimed => looker.settling.forget(stat.file),
            Taken::Unsettled => looker.writers += 1,
            Taken::Gone => {
                looker.settling.forget(stat.file);
                looker.metrics.gone();
            }
            Taken::NotSelected => {
                looker.report(stat.file, levels, name, Trouble::NotSelected, None)
            }
            Taken::NoRoom(refusal) => looker.report(
                stat.file,
                levels,
                name,
                Trouble::NoRoom(refusal),
                Some(format!("{refusal} is reached; it stays where it is")),
            ),
            Taken::NotWritable(error) => {
                looker.report(
                    stat.file,
                    levels,
                    name,
                    Trouble::NotWritable,
                    Some(error.to_string()),
                );
                looker.refused = Some(format!(
                    "{}: files cannot be taken away: {error}; mount it writable and let the agent write there",
                    escaped(&looker.config.path)
                ));
            }
            Taken::Failed(error) => looker.report(
                stat.file,
                levels,
                name,
                Trouble::State,
                Some(error.to_string()),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Takes by removing, panics at `poison`, and tells every name.
    struct Remover(mpsc::Sender<OsString>);

    impl Taker for Remover {
        fn prepare(&self, _: Root<'_>) -> Result<(), String> {
            Ok(())
        }

        fn knows(&self, _: FileId) -> bool {
            false
        }

        fn owns(&self, _: &OsStr) -> bool {
            false
        }

        fn is_gone(&self, _: &str) -> bool {
            false
        }

        fn take(&self, found: &Found<'_>) -> Taken {
            self.0.send(found.name.to_owned()).ok();
            assert_ne!(found.name, "poison", "as a fault of ours would");
            match found.dir.remove_file(found.name) {
                Ok(()) => Taken::Claimed,
                Err(error) => Taken::Failed(error),
            }
        }
    }

    fn watch(path: &Path) -> (Handle, mpsc::Receiver<OsString>, Metrics) {
        crate::sys::ignore_lease_signal().expect("signal");
        let metrics = Metrics::register(&prometheus::Registry::new()).expect("metrics");
        let (sender, taken) = mpsc::channel();
        let config = Config {
            path: path.to_owned(),
            shape: Shape::Directory(crate::model::Layout::default()),
            managed: false,
            quiet_period: Duration::from_secs(30),
            settle_limit: Duration::from_secs(600),
            max_dump_size: 1 << 30,
            max_dump_data: 1 << 30,
        };
        let handle =
            spawn(config, Arc::new(Remover(sender)), metrics.clone()).expect("thread starts");
        (handle, taken, metrics)
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_file_that_makes_us_panic_hides_no_other() {
        let temp = tempfile::tempdir().expect("temp dir");
        for name in ["before", "poison", "zlast"] {
            std::fs::write(temp.path().join(name), b"dump").expect("write");
        }
        let (handle, taken, metrics) = watch(temp.path());
        let mut names: Vec<OsString> = (0..3)
            .map(|_| taken.recv_timeout(PATIENCE).expect("all are looked at"))
            .collect();
        names.sort();
        assert_eq!(names, ["before", "poison", "zlast"]);
        std::fs::write(temp.path().join("later"), b"dump").expect("write");
        while taken.recv_timeout(PATIENCE).expect("the thread lives") != "later" {}
        assert_eq!(metrics.count(Trouble::Unreadable), 1);
        handle.stop();
        handle.join();
    }

    #[test]
    fn an_empty_file_counts_only_when_nobody_writes_it() {
        let temp = tempfile::tempdir().expect("temp dir");
        let (handle, taken, metrics) = watch(temp.path());
        let mut writer = std::fs::File::create(temp.path().join("slow")).expect("create");
        std::fs::write(temp.path().join("first"), b"dump").expect("write");
        assert_eq!(taken.recv_timeout(PATIENCE).expect("taken"), "first");
        assert_eq!(metrics.count(Trouble::Empty), 0);
        std::io::Write::write_all(&mut writer, b"dump").expect("write");
        drop(writer);
        assert_eq!(taken.recv_timeout(PATIENCE).expect("taken"), "slow");
        assert_eq!(metrics.count(Trouble::Empty), 0);
        std::fs::write(temp.path().join("empty"), b"").expect("write");
        let deadline = Instant::now() + PATIENCE;
        while metrics.count(Trouble::Empty) == 0 {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        handle.stop();
        handle.join();
    }
}
