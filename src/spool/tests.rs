//! Stops at every step: the spool is dropped where an agent could be killed, opened again, and what it holds is driven to the end.

use std::collections::BTreeMap;
use std::io::Read;

use prometheus::Registry;

use super::claim::held_name;
use super::entry::SourceDir;
use super::*;
use crate::model::{Facts, Format, Names};
use crate::source::{Found, Root, Taken, Taker};
use crate::sys::{Stat, ignore_lease_signal};

/// How dumps are taken from the bench's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rename,
    Hold,
    Copy,
}

/// A state directory and a source with one level below it.
struct Bench {
    temp: tempfile::TempDir,
    by: By,
    max_use: u64,
}

type Stored = BTreeMap<CrashId, Vec<u8>>;

impl Bench {
    fn new(by: By) -> Self {
        ignore_lease_signal().expect("signal");
        let temp = tempfile::tempdir().expect("temp dir");
        std::fs::create_dir_all(temp.path().join("source/pod")).expect("source");
        Self {
            temp,
            by,
            max_use: 1 << 30,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn source(&self) -> PathBuf {
        self.path("source")
    }

    /// Opens the spool and prepares the source, as the start of an agent does.
    fn open(&self) -> Spool {
        let limits = Limits {
            max_use: self.max_use,
            keep_free: 0,
            keep_free_inodes: 0,
            max_entries: 100,
        };
        let config = Config {
            state_dir: self.path("state"),
            limits,
            about: "a test".into(),
        };
        let metrics = Metrics::register(&Registry::new()).expect("metrics");
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let spool = Spool::open(config, metrics).expect("open");
        let (path, dir) = (self.source(), Dir::open(&self.source()).expect("source"));
        let root = Root {
            path: &path,
            kubelets: false,
            dir: &dir,
        };
        spool.prepare(root).expect("prepare");
        // One mount here, so that the ways for several are chosen by hand.
        let way = match self.by {
            By::Rename => Way::Rename,
            By::Copy => Way::Copy,
            By::Hold => match spool.holding_at(&path, &dir).expect("holding") {
                holding::Holding::Usable(dir) => {
                    let place = Place::Holding(path.as_path().into());
                    spool.adopt(&dir, &place).expect("adopt");
                    Way::Hold(dir)
                }
                other => panic!("{other:?}"),
            },
        };
        spool.inner().ways.insert(path.into(), way);
        spool
    }

    fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.source().join("pod").join(name), content).expect("write");
    }

    fn take(&self, spool: &Spool, name: &OsStr) -> Taken {
        let path = self.source();
        let root = Dir::open(&path).expect("source");
        let dir = root.open_dir(OsStr::new("pod")).expect("level");
        let file = dir.open_file(name).expect("file");
        let stat = Stat::of(&file).expect("stat");
        spool.take(&Found {
            root: Root {
                path: &path,
                kubelets: false,
                dir: &root,
            },
            dir: &dir,
            levels: &["pod".into()],
            name,
            stat,
            data_bytes: crate::sys::data_bytes(&file, stat.size),
            names: Names::default(),
            seen: Timestamp::now(),
            settled: Timestamp::now(),
            marks: Vec::new(),
            leased: true,
        })
    }

    /// Takes what is in the source and not known, as a scan does.
    fn scan(&self, spool: &Spool) {
        let Ok(dir) = Dir::open(&self.source().join("pod")) else {
            return;
        };
        for entry in dir.entries().expect("list") {
            let name = entry.expect("entry").name;
            if !spool.knows(dir.stat(&name).expect("stat").file) {
                assert!(matches!(self.take(spool, &name), Taken::Claimed));
            }
        }
    }

    /// Scans and works until nothing is left to do; what is stored is added.
    fn finish(&self, spool: &Spool, stored: &mut Stored) {
        // A claim that moved nothing is given up by the work, so a second scan meets its file.
        for _ in 0..2 {
            self.scan(spool);
            while let Some(mut entry) = next(spool, Timestamp::now()) {
                step(spool, &mut entry, stored);
                spool.check_in(entry.id);
            }
        }
        assert_eq!(spool.holding(), Holding::default());
        for directory in [
            "state/entries",
            "state/dumps",
            "source/pod",
            "source/.salvage",
        ] {
            let left: Vec<_> = match std::fs::read_dir(self.path(directory)) {
                Ok(list) => list.map(|entry| entry.expect("entry").path()).collect(),
                Err(_) => continue,
            };
            let left: Vec<_> = left
                .iter()
                .filter(|path| path.extension() != Some(OsStr::new("unreadable")))
                .collect();
            assert!(left.is_empty(), "{:?}: {left:?}", self.by);
        }
    }
}

/// Does what shipping does, a step at a time, with a store that takes everything.
fn step(spool: &Spool, entry: &mut Entry, stored: &mut Stored) {
    match entry.phase.clone() {
        Phase::Claiming { .. } => {
            spool.resolve_claim(entry).expect("resolve");
        }
        Phase::Held {
            place: Place::Source(_),
            ..
        } => match spool.copy_in(entry) {
            Ok(copied) => assert_eq!(copied, Copied::Done),
            Err(OpenError::Gone) => spool.lose(entry, Loss::Vanished).expect("lose"),
            Err(error) => panic!("{error}"),
        },
        Phase::Copied { .. } => spool.remove_original(entry).expect("remove"),
        Phase::Stored { .. } => spool.discard(entry).expect("discard"),
        _ => {
            let mut content = Vec::new();
            let files = entry.files();
            let mut file = spool.open_file(&files[0]).expect("open");
            file.read_to_end(&mut content).expect("read");
            assert!(stored.insert(entry.id, content).is_none(), "stored twice");
            entry.phase = Phase::Stored { files, told: None };
            spool.save(Step::NoteStored, entry).expect("save");
        }
    }
}

/// The one entry, checked out.
fn only(spool: &Spool) -> Entry {
    let entry = next(spool, Timestamp::now()).expect("one entry");
    assert!(next(spool, Timestamp::now()).is_none());
    entry
}

/// Puts the entry's state back to an earlier phase, as if the agent had been stopped before it wrote the later one.
fn rewind(spool: &Spool, mut entry: Entry, phase: Phase) {
    entry.phase = phase;
    spool.save(Step::NoteHeld, &entry).expect("save");
}

fn claiming(entry: &Entry) -> Phase {
    let Kept { file, place, .. } = own_file(entry);
    Phase::Claiming { file, place }
}

fn own_file(entry: &Entry) -> Kept {
    entry.files().remove(0)
}

/// Where the entry's own file is held, by name.
fn own_name(entry: &Entry) -> OsString {
    held_name(entry.id, &own_file(entry).place)
}

/// The directory that a claimed dump was moved to.
fn claimed_to(bench: &Bench) -> PathBuf {
    match bench.by {
        By::Rename => bench.path("state/dumps"),
        By::Hold => bench.path("source/.salvage"),
        By::Copy => bench.path("source/pod"),
    }
}

/// Takes one dump, lets `stop` bring about what a stop leaves behind, and checks that the next agent stores it `times` times.
fn stopped(by: By, times: usize, stop: impl FnOnce(&Bench, Spool)) {
    let bench = Bench::new(by);
    let content = b"the dump".repeat(1_000);
    bench.write("core", &content);
    let spool = bench.open();
    bench.scan(&spool);
    stop(&bench, spool);
    let mut stored = Stored::new();
    bench.finish(&bench.open(), &mut stored);
    assert_eq!(stored.len(), times, "{by:?}");
    assert!(stored.values().all(|stored| *stored == content), "{by:?}");
    // And a start after that finds nothing.
    bench.finish(&bench.open(), &mut Stored::new());
}

const WAYS: [By; 3] = [By::Rename, By::Hold, By::Copy];

#[test]
fn stopped_after_the_intent_and_before_the_move() {
    for by in WAYS {
        stopped(by, 1, |bench, spool| {
            let entry = only(&spool);
            let name = own_name(&entry);
            std::fs::rename(
                claimed_to(bench).join(name),
                bench.source().join("pod/core"),
            )
            .expect("move back");
            let phase = claiming(&entry);
            rewind(&spool, entry, phase);
        });
    }
}

#[test]
fn stopped_after_the_move_and_before_its_state() {
    for by in WAYS {
        stopped(by, 1, |_, spool| {
            let entry = only(&spool);
            let phase = claiming(&entry);
            rewind(&spool, entry, phase);
        });
    }
}

#[test]
fn stopped_while_held() {
    for by in WAYS {
        stopped(by, 1, |_, _| ());
    }
}

#[test]
fn stopped_while_copying() {
    stopped(By::Copy, 1, |bench, spool| {
        let entry = only(&spool);
        let partial = bench
            .path("state/dumps")
            .join(Spool::partial_name(entry.id));
        std::fs::write(partial, b"the du").expect("half a copy");
    });
}

#[test]
fn stopped_between_a_whole_copy_and_its_state() {
    stopped(By::Copy, 1, |_, spool| {
        let mut entry = only(&spool);
        let held = entry.phase.clone();
        assert_eq!(spool.copy_in(&mut entry).expect("copy"), Copied::Done);
        rewind(&spool, entry, held);
    });
}

#[test]
fn stopped_between_a_whole_copy_and_its_state_and_the_original_went_with_its_pod() {
    stopped(By::Copy, 1, |bench, spool| {
        let mut entry = only(&spool);
        let held = entry.phase.clone();
        assert_eq!(spool.copy_in(&mut entry).expect("copy"), Copied::Done);
        rewind(&spool, entry, held);
        std::fs::remove_dir_all(bench.source().join("pod")).expect("remove");
    });
}

#[test]
fn stopped_after_the_copy_and_before_the_original_goes() {
    stopped(By::Copy, 1, |_, spool| {
        let mut entry = only(&spool);
        assert_eq!(spool.copy_in(&mut entry).expect("copy"), Copied::Done);
    });
}

#[test]
fn stopped_after_the_original_went_and_before_that_is_noted() {
    stopped(By::Copy, 1, |_, spool| {
        let mut entry = only(&spool);
        assert_eq!(spool.copy_in(&mut entry).expect("copy"), Copied::Done);
        let copied = entry.phase.clone();
        spool.remove_original(&mut entry).expect("remove");
        rewind(&spool, entry, copied);
    });
}

#[test]
fn stopped_after_it_was_stored_it_is_not_stored_again() {
    for by in WAYS {
        stopped(by, 0, |_, spool| {
            let mut entry = only(&spool);
            let mut stored = Stored::new();
            while !matches!(entry.phase, Phase::Stored { .. }) {
                step(&spool, &mut entry, &mut stored);
            }
        });
        stopped(by, 0, |bench, spool| {
            let mut entry = only(&spool);
            let mut stored = Stored::new();
            while !matches!(entry.phase, Phase::Stored { .. }) {
                step(&spool, &mut entry, &mut stored);
            }
            let name = own_name(&entry);
            let place = match by {
                By::Hold => claimed_to(bench),
                _ => bench.path("state/dumps"),
            };
            std::fs::remove_file(place.join(name)).expect("the dump goes first");
        });
    }
}

#[test]
fn a_torn_or_foreign_state_loses_no_dump() {
    let torn = |text: String| text[..text.len() / 2].to_owned();
    let foreign = |text: String| text.replace("\"version\":1", "\"version\":99");
    let empty = |_: String| String::new();
    for by in WAYS {
        for damage in [&torn as &dyn Fn(String) -> String, &foreign, &empty] {
            stopped(by, 1, |bench, spool| {
                let state = bench
                    .path("state/entries")
                    .join(state_file(only(&spool).id));
                let text = std::fs::read_to_string(&state).expect("state");
                std::fs::write(&state, damage(text)).expect("damage");
                std::fs::write(bench.path("state/entries/.x.json.tmp"), b"{").expect("leftover");
            });
        }
    }
}

#[test]
fn a_file_that_no_entry_names_never_keeps_its_id() {
    for by in [By::Rename, By::Hold] {
        let bench = Bench::new(by);
        drop(bench.open());
        let planted: CrashId = "01arz3ndektsv4rrffq69g5fav".parse().expect("id");
        let into = claimed_to(&bench);
        std::fs::write(into.join(planted.to_string()), b"planted").expect("plant");
        std::fs::write(into.join("odd"), b"planted too").expect("plant");
        let mut stored = Stored::new();
        bench.finish(&bench.open(), &mut stored);
        assert_eq!(stored.len(), 2, "{by:?}");
        assert!(!stored.contains_key(&planted), "{by:?}");
    }
}

#[test]
fn a_dump_whose_pod_is_gone_does_not_stay_for_ever() {
    stopped(By::Copy, 0, |bench, _| {
        std::fs::remove_dir_all(bench.source().join("pod")).expect("remove");
    });
    stopped(By::Copy, 0, |bench, spool| {
        let entry = only(&spool);
        let phase = claiming(&entry);
        rewind(&spool, entry, phase);
        std::fs::remove_dir_all(bench.source().join("pod")).expect("remove");
    });
}

#[test]
fn a_dump_in_a_source_that_is_not_mounted_yet_is_waited_for() {
    let bench = Bench::new(By::Copy);
    bench.write("core", b"dump");
    let spool = bench.open();
    bench.scan(&spool);
    let mut entry = only(&spool);
    std::fs::rename(bench.source(), bench.path("away")).expect("unmount");
    assert!(matches!(spool.copy_in(&mut entry), Err(OpenError::Io(_))));
    std::fs::rename(bench.path("away"), bench.source()).expect("mount");
    assert_eq!(spool.copy_in(&mut entry).expect("copy"), Copied::Done);
}

#[test]
fn sources_that_take_at_the_same_time_stay_within_the_quota() {
    for _ in 0..10 {
        let mut bench = Bench::new(By::Rename);
        bench.max_use = 3 << 16;
        for n in 0..16 {
            bench.write(&format!("core.{n}"), &[7; 1 << 16]);
        }
        let spool = bench.open();
        let (bench, spool) = (&bench, &spool);
        let claimed: usize = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..16)
                .map(|n| {
                    scope.spawn(move || {
                        let name = OsString::from(format!("core.{n}"));
                        usize::from(matches!(bench.take(spool, &name), Taken::Claimed))
                    })
                })
                .collect();
            takers
                .into_iter()
                .map(|taker| taker.join().expect("no panic"))
                .sum()
        });
        assert_eq!(claimed, 3);
        assert_eq!(spool.holding().entries, 3);
    }
}

#[test]
fn a_wait_that_a_wrong_clock_wrote_is_not_waited_for() {
    let bench = Bench::new(By::Rename);
    bench.write("core", b"dump");
    let spool = bench.open();
    bench.scan(&spool);
    let now = Timestamp::now();
    let mut entry = only(&spool);
    let later = |wait| now.saturating_add(wait).expect("time");
    spool.postpone(&mut entry, later(SignedDuration::from_mins(10)));
    spool.check_in(entry.id);
    assert!(next(&spool, now).is_none(), "a wait of ours");
    assert!(next(&spool, later(SignedDuration::from_mins(11))).is_some());
    spool.postpone(&mut entry, later(SignedDuration::from_hours(24 * 365)));
    spool.check_in(entry.id);
    assert!(next(&spool, now).is_some(), "the clock was wrong");
}

#[test]
fn entries_that_wait_are_read_again_from_their_state() {
    let bench = Bench::new(By::Copy);
    bench.write("core", b"dump");
    let spool = bench.open();
    bench.scan(&spool);
    let mut entry = only(&spool);
    let Phase::Held {
        place: Place::Source(SourceDir { levels, .. }),
        ..
    } = &entry.phase
    else {
        panic!("{entry:?}")
    };
    assert_eq!(levels[0].as_os_str(), "pod");
    spool.postpone(&mut entry, Timestamp::now());
    spool.check_in(entry.id);
    assert_eq!(next(&spool, Timestamp::now()), Some(entry));
}

/// Puts an entry's own file into the phase in which it waits for others, with what it says.
fn looked_into(spool: &Spool, mut entry: Entry, facts: Facts) -> CrashId {
    let kept = own_file(&entry);
    let origin = entry.origin.clone().expect("it was found");
    let own = Piece {
        kept,
        bytes: origin.data_bytes,
        origin,
        facts,
    };
    entry.phase = Phase::Waiting { pieces: vec![own] };
    spool.save(Step::NoteFacts, &entry).expect("save");
    spool.check_in(entry.id);
    entry.id
}

/// A core and a report of one process, held and looked into; the older entry first.
fn one_death(bench: &Bench) -> (Spool, [CrashId; 2]) {
    bench.write("core.7.crashreport.json", b"report");
    bench.write("core.7", b"core");
    let spool = bench.open();
    bench.scan(&spool);
    let mut entries = Vec::new();
    while let Some(entry) = next(&spool, Timestamp::now()) {
        let origin = entry.origin.as_ref().expect("it was found");
        let is_report = origin.name.as_os_str() != "core.7";
        let format = match is_report {
            true => Format::DotnetCrashReport,
            false => Format::ElfCore,
        };
        entries.push((entry, Facts::of(format)));
    }
    let ids: Vec<CrashId> = entries
        .into_iter()
        .map(|(entry, facts)| looked_into(&spool, entry, facts))
        .collect();
    let [a, b] = ids.try_into().expect("two entries");
    (spool, [a.min(b), a.max(b)])
}

/// Long after both were written: nothing more is waited for.
fn afterwards() -> Timestamp {
    Timestamp::now()
        .saturating_add(SignedDuration::from_mins(2))
        .expect("time")
}

/// The oldest entry with any work to do.
fn next(spool: &Spool, now: Timestamp) -> Option<Entry> {
    let work = |work| spool.check_out(work, now);
    work(Work::Copy).or_else(|| work(Work::Ship))
}

fn checked_out(spool: &Spool, id: CrashId) -> Entry {
    let mut others = Vec::new();
    let found = loop {
        let entry = next(spool, afterwards()).expect("the entry");
        if entry.id == id {
            break entry;
        }
        others.push(entry.id);
    };
    others.into_iter().for_each(|id| spool.check_in(id));
    found
}

#[test]
fn whichever_is_worked_on_first_the_older_takes_in_the_younger() {
    for first in [0, 1] {
        let bench = Bench::new(By::Rename);
        let (spool, ids) = one_death(&bench);
        let mut entry = checked_out(&spool, ids[first]);
        let joined = spool.join_kin(&mut entry, afterwards()).expect("join");
        let expected = match first {
            0 => Kinship::Settled,
            _ => Kinship::JoinedTo(ids[0]),
        };
        assert_eq!(joined, expected);
        spool.check_in(entry.id);
        let older = only_at(&spool, afterwards());
        assert_eq!(older.id, ids[0]);
        let files: Vec<CrashId> = older.files().iter().map(|kept| kept.id).collect();
        assert_eq!(files, ids);
        assert_eq!(spool.holding().entries, 1);
        assert_eq!(
            spool.holding().bytes,
            older
                .files()
                .iter()
                .map(|kept| kept.data_bytes)
                .sum::<u64>()
        );
        spool.discard(&older).expect("discard");
        bench.finish(&spool, &mut Stored::new());
    }
}

fn only_at(spool: &Spool, now: Timestamp) -> Entry {
    let entry = next(spool, now).expect("one entry");
    assert!(next(spool, now).is_none());
    entry
}

#[test]
fn stopped_between_the_joining_and_the_end_of_the_younger_entry() {
    let bench = Bench::new(By::Rename);
    let (spool, ids) = one_death(&bench);
    let younger = checked_out(&spool, ids[1]);
    let mut older = checked_out(&spool, ids[0]);
    spool.check_in(ids[1]);
    spool.join_kin(&mut older, afterwards()).expect("join");
    // Its state comes back, as if it had never gone.
    spool.save(Step::NoteFacts, &younger).expect("save");
    drop(spool);
    let spool = bench.open();
    let older = only_at(&spool, afterwards());
    assert_eq!((older.id, older.files().len()), (ids[0], 2));
    spool.discard(&older).expect("discard");
    bench.finish(&spool, &mut Stored::new());
}

#[test]
fn what_somebody_else_works_on_is_waited_for() {
    let bench = Bench::new(By::Rename);
    let (spool, ids) = one_death(&bench);
    let _busy = checked_out(&spool, ids[1]);
    let mut older = checked_out(&spool, ids[0]);
    let now = Timestamp::now();
    let kinship = spool.join_kin(&mut older, now).expect("join");
    assert!(
        matches!(kinship, Kinship::Wait(then) if then > now),
        "{kinship:?}"
    );
    let kinship = spool.join_kin(&mut older, afterwards()).expect("join");
    assert_eq!(kinship, Kinship::Settled, "but not for ever");
}

#[test]
fn a_report_waits_for_the_dump_that_is_being_written() {
    let bench = Bench::new(By::Rename);
    bench.write("core.7.crashreport.json", b"report");
    let spool = bench.open();
    bench.scan(&spool);
    let id = looked_into(&spool, only(&spool), Facts::of(Format::DotnetCrashReport));
    bench.write("core.7", b"half a core");
    let mut report = checked_out(&spool, id);
    let kinship = spool.join_kin(&mut report, afterwards()).expect("join");
    assert!(matches!(kinship, Kinship::Wait(_)), "{kinship:?}");
    let hours = Timestamp::now().saturating_add(SignedDuration::from_hours(2));
    let kinship = spool
        .join_kin(&mut report, hours.expect("time"))
        .expect("join");
    assert_eq!(kinship, Kinship::Settled, "but not for ever");
    std::fs::remove_file(bench.source().join("pod/core.7")).expect("remove");
    let kinship = spool.join_kin(&mut report, afterwards()).expect("join");
    assert_eq!(kinship, Kinship::Settled, "there is none");
}
