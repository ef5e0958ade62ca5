//! Walks a source: every directory no deeper than the layout says, every name in it, through descriptors only.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

use super::metrics::Trouble;
use super::watch::{NotWatched, Watcher};
use crate::model::FileId;
use crate::sys::{Dir, FileKind, is_scarce};

/// Most directories of one source that are watched; the kernel's limit is shared with the kubelet. Further ones are polled.
const WATCHES_MAX: usize = 4_096;

/// Most names one pass looks at, over all directories: a pass ends, whatever is made meanwhile.
const NAMES_MAX: usize = 1_000_000;

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
    /// Whether this name directly below the root is none of ours to look into.
    fn skips(&self, name: &OsStr) -> bool;
}

/// A directory with a watch. It stays open as long as it is watched: the watch's name is the descriptor's number.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    _dir: Dir,
    pass: u64,
}

/// The watched directories of a source.
#[derive(Debug, Default)]
pub(super) struct Tree {
    watched: HashMap<FileId, Watched>,
    pass: u64,
}

/// One walk's bookkeeping.
struct Walk<'a> {
    tree: &'a mut Tree,
    watcher: &'a mut Watcher,
    visitor: &'a mut dyn Visitor,
    names_left: usize,
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
        let mut walk = Walk {
            tree: self,
            watcher,
            visitor,
            names_left: NAMES_MAX,
        };
        let whole = walk.directory(root, &mut Vec::new(), depth)?;
        self.drop_unseen(watcher);
        Ok(whole)
    }

    /// Ends the watches of directories that the last walk did not meet.
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
    fn directory(
        &mut self,
        dir: &Dir,
        levels: &mut Vec<OsString>,
        depth: usize,
    ) -> io::Result<bool> {
        // Watched before it is listed: what comes between the two is seen by one of them.
        self.watch(dir, levels)?;
        let mut whole = true;
        for entry in dir.entries()? {
            if self.visitor.stops() {
                return Ok(false);
            }
            let Some(left) = self.names_left.checked_sub(1) else {
                self.report(dir, levels, OsStr::new(""), Trouble::TooMany, None);
                return Ok(false);
            };
            self.names_left = left;
            // A directory that is removed while it is read ends early; the next pass sees what became of it.
            let Ok(entry) = entry else { return Ok(false) };
            if levels.is_empty() && self.visitor.skips(&entry.name) {
                continue;
            }
            let kind = match entry.kind {
                Some(kind) => kind,
                None => match dir.stat(&entry.name) {
                    Ok(stat) => stat.kind,
                    Err(_) => continue,
                },
            };
            if kind != FileKind::Dir {
                self.visitor.file(dir, levels, &entry.name);
            } else if depth > 0 {
                whole &= self.below(dir, levels, entry.name, depth - 1);
            }
        }
        Ok(whole)
    }

    /// One bad directory never stops a pass.
    fn below(
        &mut self,
        dir: &Dir,
        levels: &mut Vec<OsString>,
        name: OsString,
        depth: usize,
    ) -> bool {
        match dir.open_dir(&name) {
            Ok(inner) => {
                levels.push(name);
                let whole = self.directory(&inner, levels, depth).unwrap_or(false);
                levels.pop();
                whole
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

    fn watch(&mut self, dir: &Dir, levels: &[OsString]) -> io::Result<()> {
        let id = dir.stat_self()?.file;
        let pass = self.tree.pass;
        if let Some(watched) = self.tree.watched.get_mut(&id) {
            watched.pass = pass;
            return Ok(());
        }
        let name = OsStr::new("");
        if self.tree.watched.len() >= WATCHES_MAX {
            self.visitor
                .trouble(id, levels, name, Trouble::WatchLimit, None);
            return Ok(());
        }
        // A descriptor of its own: the watch outlives this pass, the walk's descriptor does not.
        let own = match dir.reopen() {
            Ok(own) if !is_scarce(&own) => own,
            // Whoever makes directories must not use up what storing dumps needs.
            Ok(_) | Err(_) => {
                self.visitor
                    .trouble(id, levels, name, Trouble::WatchLimit, None);
                return Ok(());
            }
        };
        match self.watcher.watch(&own) {
            Ok(()) => {
                let path = own.proc_path();
                self.tree.watched.insert(
                    id,
                    Watched {
                        path,
                        _dir: own,
                        pass,
                    },
                );
            }
            Err(NotWatched::Limit) => {
                self.visitor
                    .trouble(id, levels, name, Trouble::WatchLimit, None)
            }
            Err(NotWatched::Other(error)) => {
                self.visitor
                    .trouble(id, levels, name, Trouble::Watch, Some(error.to_string()))
            }
        }
        Ok(())
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
