//! Walks a source: every directory that its shape admits, every name in it, through descriptors only.
//!
//! Whoever writes below one directory of the root (a pod's, a namespace's) must not hide its neighbours: each of these has a share of its own of
//! the names that a pass looks at and of the watches. What is beyond a share is left for this pass or polled, and reported once for that directory.
//! Where many together use up the total, the next pass begins with the directory at which it was used up, so nobody is last for ever.
//!
//! Where a pass begins is a place in the root's own order, and the root is read a second time for what lies before it: a root may hold a million
//! dumps, whose names are never kept. Places shift when names come and go meanwhile, so such a pass never says that it saw everything.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use super::metrics::Trouble;
use super::watch::{NotWatched, Watcher};
use crate::model::FileId;
use crate::sys::{Dir, DirEntry, FileKind, is_scarce};

/// Most directories of a source that are watched; the kernel's limit is shared with the kubelet. Further ones are polled.
pub const MAX_WATCHES: usize = 4_096;

/// How much of a source one pass looks at, and how many of its directories are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    /// Most names in the root itself, and most in all directories below it: a pass ends, whatever is made meanwhile.
    names: usize,
    /// Most names in one directory of the root and all below it.
    names_share: usize,
    /// [`MAX_WATCHES`].
    watches: usize,
    /// Most of them in one directory of the root, itself included.
    watches_share: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            names: 1_000_000,
            // Far more than the dumps of a pod or a namespace; twenty such directories fit into a pass.
            names_share: 50_000,
            watches: MAX_WATCHES,
            // A pod's volume has a handful of directories, a namespace's layout two or three for each pod.
            watches_share: 256,
        }
    }
}

/// What a walk meets.
pub(super) trait Visitor {
    /// A name that is no directory.
    fn file(&mut self, dir: &Dir, levels: &[OsString], name: &OsStr);
    /// Something that was passed over.
    fn trouble(
        &mut self,
        about: FileId,
        levels: &[OsString],
        name: &OsStr,
        trouble: Trouble,
        why: Option<String>,
    );
    /// Whether to look no further: the agent stops.
    fn stops(&self) -> bool;
    /// Whether this directory below these levels is none to look into.
    fn skips(&self, levels: &[OsString], name: &OsStr) -> bool;
}

/// A directory with a watch. It stays open as long as it is watched: the watch's name is the descriptor's number.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    _dir: Dir,
    pass: u64,
}

/// The watched directories of a source, and where its next pass begins.
#[derive(Debug, Default)]
pub(super) struct Tree {
    limits: Limits,
    watched: HashMap<FileId, Watched>,
    pass: u64,
    /// The place in the root's order with which the next pass begins: where the last one had used up its names, else 0.
    first: usize,
}

/// One walk's bookkeeping.
struct Walk<'a> {
    tree: &'a mut Tree,
    watcher: &'a mut Watcher,
    visitor: &'a mut dyn Visitor,
    names_left: usize,
    /// Whether a name below the root was left because all of them together are too many.
    used_up: bool,
}

/// What is left to one directory of the root. It is counted anew in each pass, so what vanished has given its part back.
struct Share {
    /// That directory.
    owner: FileId,
    names_left: usize,
    watches_left: usize,
}

impl Tree {
    /// Walks from `root` down to `depth` levels below it. Returns whether everything was seen.
    pub(super) fn walk(
        &mut self,
        root: &Dir,
        depth: usize,
        watcher: &mut Watcher,
        visitor: &mut dyn Visitor,
    ) -> io::Result<bool> {
        self.pass += 1;
        let first = std::mem::take(&mut self.first);
        let names_left = self.limits.names;
        let mut walk = Walk {
            tree: self,
            watcher,
            visitor,
            names_left,
            used_up: false,
        };
        // Watched before it is listed: what comes between the two is seen by one of them.
        walk.watch(root, &[], None)?;
        let mut whole = walk.root(root, first..usize::MAX, depth)?;
        if first > 0 {
            walk.root(root, 0..first, depth)?;
            whole = false;
        }
        self.drop_unseen(watcher);
        Ok(whole)
    }

    /// Ends the watches of directories that the last walk did not meet, or met beyond their share.
    fn drop_unseen(&mut self, watcher: &mut Watcher) {
        let pass = self.pass;
        self.watched.retain(|_, watched| {
            let met = watched.pass == pass;
            if !met {
                watcher.unwatch(&watched.path);
            }
            met
        });
    }
}

impl Walk<'_> {
    /// Looks at those names in the root whose places in its order are these.
    fn root(&mut self, root: &Dir, places: Range<usize>, depth: usize) -> io::Result<bool> {
        let mut whole = true;
        let mut levels = Vec::new();
        let entries = root.entries()?.enumerate();
        for (place, entry) in entries.skip(places.start).take(places.len()) {
            if self.visitor.stops() {
                return Ok(false);
            }
            if place >= self.tree.limits.names {
                self.report(root, &[], OsStr::new(""), Trouble::TooMany, None);
                return Ok(false);
            }
            let Ok(entry) = entry else { return Ok(false) };
            let Some(kind) = kind_of(root, &entry) else {
                continue;
            };
            if kind != FileKind::Dir {
                self.visitor.file(root, &levels, &entry.name);
                continue;
            }
            if depth == 0 || self.visitor.skips(&levels, &entry.name) {
                continue;
            }
            // The root's own files are still looked at.
            if self.used_up {
                whole = false;
                continue;
            }
            whole &= self.below(root, &mut levels, entry.name, depth - 1, None);
            if self.used_up {
                // A share is less than the total, so the directory that a pass begins with is never the one it ends with.
                self.tree.first = place;
                self.report(root, &[], OsStr::new(""), Trouble::TooMany, None);
            }
        }
        Ok(whole)
    }

    /// Looks at a directory of the root, which gets a share of its own.
    fn owner(&mut self, dir: &Dir, levels: &mut Vec<OsString>, depth: usize) -> io::Result<bool> {
        let mut share = Share {
            owner: dir.stat_self()?.file,
            names_left: self.tree.limits.names_share,
            watches_left: self.tree.limits.watches_share,
        };
        self.directory(dir, levels, depth, &mut share)
    }

    fn directory(
        &mut self,
        dir: &Dir,
        levels: &mut Vec<OsString>,
        depth: usize,
        share: &mut Share,
    ) -> io::Result<bool> {
        // Before it is listed, as the root.
        self.watch(dir, levels, Some(share))?;
        let mut whole = true;
        for entry in dir.entries()? {
            if self.visitor.stops() || !self.counts(levels, share) {
                return Ok(false);
            }
            // A directory that is removed while it is read ends early; the next pass sees what became of it.
            let Ok(entry) = entry else { return Ok(false) };
            let Some(kind) = kind_of(dir, &entry) else {
                continue;
            };
            if kind != FileKind::Dir {
                self.visitor.file(dir, levels, &entry.name);
            } else if depth > 0 && !self.visitor.skips(levels, &entry.name) {
                whole &= self.below(dir, levels, entry.name, depth - 1, Some(share));
            }
        }
        Ok(whole)
    }

    /// Counts a name below the root; whether it may be looked at.
    fn counts(&mut self, levels: &[OsString], share: &mut Share) -> bool {
        if share.names_left == 0 {
            self.report_owner(share, levels, Trouble::TooMany);
            return false;
        }
        if self.names_left == 0 {
            self.used_up = true;
            return false;
        }
        share.names_left -= 1;
        self.names_left -= 1;
        true
    }

    /// One bad directory never stops a pass.
    fn below(
        &mut self,
        dir: &Dir,
        levels: &mut Vec<OsString>,
        name: OsString,
        depth: usize,
        share: Option<&mut Share>,
    ) -> bool {
        match dir.open_dir(&name) {
            Ok(inner) => {
                levels.push(name);
                let whole = match share {
                    Some(share) => self.directory(&inner, levels, depth, share),
                    None => self.owner(&inner, levels, depth),
                };
                levels.pop();
                whole.unwrap_or(false)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => {
                // ELOOP and ENOTDIR: swapped for a link or a file since it was listed. EXDEV: a mount, which is not followed.
                self.report(
                    dir,
                    levels,
                    &name,
                    Trouble::Unreadable,
                    Some(error.to_string()),
                );
                false
            }
        }
    }

    /// Watches a directory, or goes on watching it, as far as its share allows.
    fn watch(
        &mut self,
        dir: &Dir,
        levels: &[OsString],
        share: Option<&mut Share>,
    ) -> io::Result<()> {
        let id = dir.stat_self()?.file;
        let mut none = Share {
            owner: id,
            names_left: 0,
            watches_left: usize::MAX,
        };
        let share = share.unwrap_or(&mut none);
        // Also where it is watched already: that watch then ends with this pass.
        if share.watches_left == 0 {
            self.report_owner(share, levels, Trouble::WatchLimit);
            return Ok(());
        }
        match self.watched(dir, id) {
            Ok(()) => share.watches_left -= 1,
            Err(NotWatched::Limit) => self.report_owner(share, levels, Trouble::WatchLimit),
            Err(NotWatched::Other(error)) => self.visitor.trouble(
                id,
                levels,
                OsStr::new(""),
                Trouble::Watch,
                Some(error.to_string()),
            ),
        }
        Ok(())
    }

    /// Whatever its share.
    fn watched(&mut self, dir: &Dir, id: FileId) -> Result<(), NotWatched> {
        let pass = self.tree.pass;
        if let Some(watched) = self.tree.watched.get_mut(&id) {
            watched.pass = pass;
            return Ok(());
        }
        if self.tree.watched.len() >= self.tree.limits.watches {
            return Err(NotWatched::Limit);
        }
        // A descriptor of its own: the watch outlives this pass, the walk's descriptor does not.
        let own = match dir.reopen() {
            Ok(own) if !is_scarce(&own) => own,
            // Whoever makes directories must not use up what storing dumps needs.
            Ok(_) | Err(_) => return Err(NotWatched::Limit),
        };
        self.watcher.watch(&own)?;
        let watched = Watched {
            path: own.proc_path(),
            _dir: own,
            pass,
        };
        self.tree.watched.insert(id, watched);
        Ok(())
    }

    /// Reports the owner of a share and not each directory below it: whoever makes them by the thousand would fill the log.
    fn report_owner(&mut self, share: &Share, levels: &[OsString], trouble: Trouble) {
        let owner = levels.get(..1).unwrap_or_default();
        self.visitor
            .trouble(share.owner, owner, OsStr::new(""), trouble, None);
    }

    fn report(
        &mut self,
        dir: &Dir,
        levels: &[OsString],
        name: &OsStr,
        trouble: Trouble,
        why: Option<String>,
    ) {
        let about = if name.is_empty() {
            dir.stat_self()
        } else {
            dir.stat(name)
        };
        if let Ok(stat) = about {
            self.visitor.trouble(stat.file, levels, name, trouble, why);
        }
    }
}

/// What an entry is; nothing where it is gone.
fn kind_of(dir: &Dir, entry: &DirEntry) -> Option<FileKind> {
    let look = || dir.stat(&entry.name).ok().map(|stat| stat.kind);
    entry.kind.or_else(look)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// Remembers what a pass met: files and troubles by their paths below the root.
    #[derive(Debug, Default)]
    struct Met {
        files: BTreeSet<String>,
        troubles: BTreeSet<(String, &'static str)>,
    }

    fn joined(levels: &[OsString], name: &OsStr) -> String {
        let mut path: PathBuf = levels.iter().collect();
        if !name.is_empty() {
            path.push(name);
        }
        path.display().to_string()
    }

    impl Visitor for Met {
        fn file(&mut self, _: &Dir, levels: &[OsString], name: &OsStr) {
            assert!(self.files.insert(joined(levels, name)), "met once");
        }

        fn trouble(
            &mut self,
            _: FileId,
            levels: &[OsString],
            name: &OsStr,
            trouble: Trouble,
            _: Option<String>,
        ) {
            self.troubles.insert((joined(levels, name), trouble.name()));
        }

        fn stops(&self) -> bool {
            false
        }

        fn skips(&self, _: &[OsString], _: &OsStr) -> bool {
            false
        }
    }

    impl Met {
        fn in_dir(&self, dir: &str) -> usize {
            let inside = |file: &&String| Path::new(file).starts_with(dir);
            self.files.iter().filter(inside).count()
        }

        fn troubles(&self) -> Vec<(&str, &str)> {
            let pairs = self.troubles.iter();
            pairs.map(|(path, name)| (path.as_str(), *name)).collect()
        }
    }

    /// A source, and the passes over it.
    struct Scenario {
        temp: tempfile::TempDir,
        tree: Tree,
        watcher: Watcher,
    }

    const DEPTH: usize = 3;

    impl Scenario {
        fn new(limits: Limits) -> Self {
            Self {
                temp: tempfile::tempdir().expect("temp dir"),
                tree: Tree {
                    limits,
                    ..Tree::default()
                },
                watcher: Watcher::new().0,
            }
        }

        fn dir(&self, path: &str) {
            fs::create_dir_all(self.temp.path().join(path)).expect("directory");
        }

        fn file(&self, path: &str) {
            let path = self.temp.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("directory");
            fs::write(path, b"dump").expect("file");
        }

        fn remove(&self, path: &str) {
            fs::remove_dir_all(self.temp.path().join(path)).expect("remove");
        }

        fn pass(&mut self) -> (bool, Met) {
            let mut met = Met::default();
            let root = Dir::open(self.temp.path()).expect("root");
            let whole = self
                .tree
                .walk(&root, DEPTH, &mut self.watcher, &mut met)
                .expect("walk");
            (whole, met)
        }

        fn is_watched(&self, path: &str) -> bool {
            let dir = Dir::open(&self.temp.path().join(path)).expect("open");
            let id = dir.stat_self().expect("stat").file;
            self.tree.watched.contains_key(&id)
        }

        fn watched_of(&self, dirs: &[String]) -> usize {
            dirs.iter().filter(|dir| self.is_watched(dir)).count()
        }
    }

    /// Some before and some after the greedy one, whatever the file system's order.
    fn neighbours() -> Vec<String> {
        (0..8).map(|n| format!("pod-{n}")).collect()
    }

    #[test]
    fn a_directory_with_more_names_than_its_share_hides_no_neighbour() {
        let mut source = Scenario::new(Limits {
            names: 100,
            names_share: 10,
            ..Limits::default()
        });
        for pod in neighbours() {
            source.file(&format!("{pod}/volume/dump"));
        }
        for n in 0..60 {
            source.file(&format!("greedy/{n}"));
            source.file(&format!("sly/{}/{}/{n}", n % 3, n % 7));
        }
        let (whole, met) = source.pass();
        assert!(!whole, "nothing may be taken for gone");
        for pod in neighbours() {
            assert_eq!(met.in_dir(&pod), 1, "{pod}");
        }
        assert_eq!(met.in_dir("greedy"), 10);
        assert!(met.in_dir("sly") <= 10);
        let reported = [("greedy", "too_many"), ("sly", "too_many")];
        assert_eq!(met.troubles(), reported);

        source.remove("greedy");
        source.remove("sly");
        let (whole, met) = source.pass();
        assert!(whole && met.troubles.is_empty(), "{met:?}");
    }

    #[test]
    fn a_share_that_is_just_used_up_is_no_trouble() {
        let mut source = Scenario::new(Limits {
            names_share: 3,
            watches_share: 2,
            ..Limits::default()
        });
        source.file("pod/volume/a");
        source.file("pod/volume/b");
        let (whole, met) = source.pass();
        assert!(whole && met.troubles.is_empty(), "{met:?}");
        assert_eq!(met.files.len(), 2);
    }

    #[test]
    fn a_directory_with_more_directories_than_its_share_leaves_watches_to_its_neighbours() {
        let mut source = Scenario::new(Limits {
            watches: 1 + 8 * 2 + 4,
            watches_share: 4,
            ..Limits::default()
        });
        let greedy: Vec<String> = (0..40).map(|n| format!("greedy/{n}")).collect();
        for dir in &greedy {
            source.file(&format!("{dir}/dump"));
        }
        for pod in neighbours() {
            source.file(&format!("{pod}/volume/dump"));
        }
        for _ in 0..3 {
            let (whole, met) = source.pass();
            assert!(whole, "what is not watched is polled");
            assert_eq!(met.files.len(), 40 + 8);
            assert_eq!(met.troubles(), [("greedy", "watch_limit")]);
            for pod in neighbours() {
                assert!(source.is_watched(&pod), "{pod}");
                assert!(source.is_watched(&format!("{pod}/volume")), "{pod}");
            }
            assert!(source.is_watched("") && source.is_watched("greedy"));
            assert_eq!(source.watched_of(&greedy), 3);
        }
    }

    #[test]
    fn what_vanishes_gives_its_watches_back() {
        let mut source = Scenario::new(Limits {
            watches: 7,
            watches_share: 3,
            ..Limits::default()
        });
        let of = |pod: &str, ns: Range<usize>| -> Vec<String> {
            ns.map(|n| format!("{pod}/{n}")).collect()
        };
        for dir in [of("a", 0..4), of("b", 0..4)].concat() {
            source.dir(&dir);
        }
        source.pass();
        assert_eq!(source.tree.watched.len(), 7);
        // New directories beside the old ones get no more than the share.
        for dir in of("a", 4..8) {
            source.dir(&dir);
        }
        source.pass();
        source.pass();
        assert_eq!(source.watched_of(&of("a", 0..8)), 2);
        // Those that are left have the share of those that went.
        for dir in of("a", 0..6) {
            source.remove(&dir);
        }
        source.pass();
        let (_, met) = source.pass();
        assert_eq!(source.watched_of(&of("a", 6..8)), 2);
        assert_eq!(met.troubles(), [("b", "watch_limit")]);
        // And another pod has that of a pod that went.
        source.remove("b");
        source.dir("c/0");
        source.pass();
        let (_, met) = source.pass();
        assert!(source.is_watched("c") && source.is_watched("c/0"));
        assert!(met.troubles.is_empty(), "{met:?}");
        source.remove("a");
        source.remove("c");
        source.pass();
        assert_eq!(source.tree.watched.len(), 1, "the root");
    }

    #[test]
    fn where_many_use_up_the_total_nobody_is_last_for_ever() {
        let mut source = Scenario::new(Limits {
            names: 40,
            names_share: 10,
            ..Limits::default()
        });
        let greedy: Vec<String> = (0..12).map(|n| format!("greedy-{n}")).collect();
        for (n, pod) in greedy.iter().flat_map(|pod| (0..20).map(move |n| (n, pod))) {
            source.file(&format!("{pod}/{n}"));
        }
        for pod in neighbours() {
            source.file(&format!("{pod}/volume/dump"));
        }
        source.file("beside");
        let mut seen = BTreeSet::new();
        // Twelve of ten names and eight of two are 136: four passes of forty, and one for what a pass breaks off.
        for _ in 0..5 {
            let (whole, met) = source.pass();
            assert!(!whole);
            assert!(met.files.contains("beside"), "the root's own files");
            assert!(met.files.len() <= 41);
            assert!(met.troubles().contains(&("", "too_many")));
            seen.extend(met.files);
        }
        for pod in neighbours() {
            assert!(seen.contains(&format!("{pod}/volume/dump")), "{pod}");
        }
        for pod in &greedy {
            source.remove(pod);
        }
        source.pass();
        let (whole, met) = source.pass();
        assert!(whole && met.troubles.is_empty(), "{met:?}");
        assert_eq!(met.files.len(), 9);
    }

    #[test]
    fn files_in_the_root_have_the_total_and_no_share() {
        let mut source = Scenario::new(Limits {
            names: 30,
            names_share: 5,
            ..Limits::default()
        });
        for n in 0..30 {
            source.file(&format!("{n}"));
        }
        let (whole, met) = source.pass();
        assert!(whole && met.troubles.is_empty(), "{met:?}");
        assert_eq!(met.files.len(), 30);
        source.file("one more");
        let (whole, met) = source.pass();
        assert!(!whole);
        assert_eq!(met.files.len(), 30);
        assert_eq!(met.troubles(), [("", "too_many")]);
    }
}
