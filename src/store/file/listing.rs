//! A page of a directory tree in byte order of whole keys, with memory for a page and not for a directory.
//!
//! A directory is sorted as if its name ended in `/`, which makes the order of the tree that of the keys: `a-b` stands before `a/c`. Of
//! each directory on the way only a batch of names is held, the smallest ones after those already seen; a larger directory is read again
//! for the next batch.

use std::collections::BinaryHeap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::staging::STAGING;
use super::trouble::absent;
use crate::model::ObjectKey;
use crate::store::{ListQuery, ObjectInfo, PAGE, Page};
use crate::sys::{Dir, FileKind};

/// Names held of one directory.
const BATCH: usize = 256;
/// Longest key; below a longer path there is none.
const PATH_MAX: usize = 1_000;

/// Lists what is below `root`.
pub(super) fn page(root: &Dir, query: &ListQuery) -> io::Result<Page> {
    let (base, partial) = match query.prefix.rfind('/') {
        Some(slash) => query.prefix.split_at(slash + 1),
        None => ("", query.prefix.as_str()),
    };
    let is_key = |text: &str| text.is_empty() || text.parse::<ObjectKey>().is_ok();
    if !is_key(base.strip_suffix('/').unwrap_or(base)) || !is_key(partial) || base == "/" {
        // No key begins like that.
        return Ok(Page::default());
    }
    let mut dir: Option<Dir> = None;
    for component in base.split_terminator('/') {
        let opened = dir.as_ref().unwrap_or(root).open_dir(OsStr::new(component));
        match opened {
            Ok(next) => dir = Some(next),
            Err(error) if absent(&error) || leads_away(&error) => return Ok(Page::default()),
            Err(error) => return Err(error),
        }
    }
    let mut walk = Walk {
        after: query.next.as_deref().unwrap_or_default().as_bytes(),
        fold: query.folders,
        page: Page::default(),
        foreign: 0,
    };
    let going_on = walk.directory(dir.as_ref().unwrap_or(root), base, partial)?;
    if going_on {
        walk.page.foreign += walk.foreign;
        walk.page.next = None;
    }
    Ok(walk.page)
}

struct Walk<'a> {
    /// The last entry of the page before.
    after: &'a [u8],
    fold: bool,
    page: Page,
    /// Foreign names since the last entry: they belong to this page only if nothing follows on the next.
    foreign: usize,
}

/// A name of a directory; `sorted` is the name as it counts in the order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    sorted: Vec<u8>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    File,
    Dir,
    Other,
}

impl Walk<'_> {
    /// Goes through what is in `dir` and begins with `partial`; false when the page is full.
    fn directory(&mut self, dir: &Dir, base: &str, partial: &str) -> io::Result<bool> {
        let mut seen: Option<Vec<u8>> = None;
        loop {
            let (names, more) = self.batch(dir, base, partial, seen.as_deref())?;
            for name in &names {
                if !self.entry(dir, base, name)? {
                    return Ok(false);
                }
            }
            match (more, names.into_iter().last()) {
                (true, Some(last)) => seen = Some(last.sorted),
                _ => return Ok(true),
            }
        }
    }

    /// The smallest names after `seen` that this page may still need, in order, and whether there are more.
    fn batch(
        &self,
        dir: &Dir,
        base: &str,
        partial: &str,
        seen: Option<&[u8]>,
    ) -> io::Result<(Vec<Name>, bool)> {
        let mut smallest = BinaryHeap::with_capacity(BATCH + 1);
        let mut more = false;
        for entry in dir.entries()? {
            let entry = entry?;
            if !entry.name.as_bytes().starts_with(partial.as_bytes()) {
                continue;
            }
            if base.is_empty() && entry.name == OsStr::new(STAGING) {
                continue;
            }
            let Some(kind) = kind_of(dir, &entry.name, entry.kind)? else {
                continue;
            };
            let mut sorted = entry.name.into_vec();
            if kind == Kind::Dir {
                sorted.push(b'/');
            }
            if seen.is_some_and(|seen| sorted.as_slice() <= seen)
                || self.passed(base, &sorted, kind)
            {
                continue;
            }
            smallest.push(Name { sorted, kind });
            if smallest.len() > BATCH {
                smallest.pop();
                more = true;
            }
        }
        Ok((smallest.into_sorted_vec(), more))
    }

    /// Whether an entry lies on an earlier page as a whole.
    fn passed(&self, base: &str, sorted: &[u8], kind: Kind) -> bool {
        let whole = [base.as_bytes(), sorted].concat();
        let open = kind == Kind::Dir && !self.fold && self.after.starts_with(&whole);
        whole.as_slice() <= self.after && !open
    }

    fn entry(&mut self, dir: &Dir, base: &str, name: &Name) -> io::Result<bool> {
        let bare = name.sorted.strip_suffix(b"/").unwrap_or(&name.sorted);
        let key = std::str::from_utf8(bare)
            .ok()
            .and_then(|bare| format!("{base}{bare}").parse::<ObjectKey>().ok());
        let Some(key) = key.filter(|_| name.kind != Kind::Other) else {
            self.foreign += 1;
            return Ok(true);
        };
        let bare = OsStr::from_bytes(bare);
        if name.kind == Kind::File {
            return match dir.stat(bare) {
                Ok(stat) => Ok(self.object(key, stat.size)),
                Err(error) if absent(&error) => Ok(true),
                Err(error) => Err(error),
            };
        }
        let inner = match dir.open_dir(bare) {
            Ok(inner) => inner,
            Err(error) if absent(&error) => return Ok(true),
            Err(error) if leads_away(&error) => {
                self.foreign += 1;
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let below = format!("{key}/");
        if !self.fold {
            return self.directory(&inner, &below, "");
        }
        match holds_objects(&inner, below.len())? {
            true => Ok(self.folder(below)),
            false => Ok(true),
        }
    }

    fn object(&mut self, key: ObjectKey, bytes: u64) -> bool {
        if !self.has_room() {
            return false;
        }
        self.page.next = Some(key.to_string());
        self.page.objects.push(ObjectInfo { key, bytes });
        true
    }

    fn folder(&mut self, prefix: String) -> bool {
        if !self.has_room() {
            return false;
        }
        self.page.next = Some(prefix.clone());
        self.page.folders.push(prefix);
        true
    }

    fn has_room(&mut self) -> bool {
        if self.page.objects.len() + self.page.folders.len() >= PAGE {
            return false;
        }
        self.page.foreign += self.foreign;
        self.foreign = 0;
        true
    }
}

/// What a name stands for; nothing if it went meanwhile.
fn kind_of(dir: &Dir, name: &OsString, told: Option<FileKind>) -> io::Result<Option<Kind>> {
    let kind = match told {
        Some(kind) => kind,
        None => match dir.stat(name) {
            Ok(stat) => stat.kind,
            Err(error) if absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        },
    };
    Ok(Some(match kind {
        FileKind::File => Kind::File,
        FileKind::Dir => Kind::Dir,
        FileKind::Symlink | FileKind::Special => Kind::Other,
    }))
}

/// Whether any file is below `dir`: a bucket has no empty folders, and a put that was stopped may leave some here.
fn holds_objects(dir: &Dir, path: usize) -> io::Result<bool> {
    for entry in dir.entries()? {
        let entry = entry?;
        match kind_of(dir, &entry.name, entry.kind)? {
            Some(Kind::File) => return Ok(true),
            Some(Kind::Dir) => {}
            _ => continue,
        }
        let below = path + entry.name.len() + 1;
        if below > PATH_MAX {
            continue;
        }
        match dir.open_dir(&entry.name) {
            Ok(inner) if holds_objects(&inner, below)? => return Ok(true),
            Ok(_) => {}
            Err(error) if absent(&error) || leads_away(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// A symlink or another mount.
fn leads_away(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::LOOP | Errno::XDEV))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(root: &Dir, query: &ListQuery) -> (Vec<String>, Vec<String>, usize) {
        let (mut keys, mut folders, mut foreign) = (Vec::new(), Vec::new(), 0);
        let mut query = query.clone();
        loop {
            let page = page(root, &query).expect("page");
            assert!(page.objects.len() + page.folders.len() <= PAGE);
            keys.extend(
                page.objects
                    .into_iter()
                    .map(|object| object.key.to_string()),
            );
            folders.extend(page.folders);
            foreign += page.foreign;
            match page.next {
                Some(next) => query.next = Some(next),
                None => return (keys, folders, foreign),
            }
        }
    }

    fn make(root: &std::path::Path, path: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("directories");
        std::fs::write(path, b"x").expect("file");
    }

    #[test]
    fn a_page_ends_the_listing_only_when_nothing_follows() {
        let temp = tempfile::tempdir().expect("temp dir");
        for n in 0..PAGE {
            make(temp.path(), &format!("a/{n:05}"));
        }
        make(temp.path(), "a/ foreign");
        make(temp.path(), "b/~ foreign");
        let root = Dir::open(temp.path()).expect("root");
        let only = page(&root, &ListQuery::default()).expect("page");
        assert_eq!(only.objects.len(), PAGE);
        assert_eq!((only.next, only.foreign), (None, 2));
        make(temp.path(), "c");
        let (keys, _, foreign) = all(&root, &ListQuery::default());
        assert_eq!((keys.len(), foreign), (PAGE + 1, 2));
    }

    #[test]
    fn folders_without_objects_are_not_shown() {
        let temp = tempfile::tempdir().expect("temp dir");
        make(temp.path(), "full/deep/down/x");
        std::fs::create_dir_all(temp.path().join("empty/deep/down")).expect("directories");
        let root = Dir::open(temp.path()).expect("root");
        let query = ListQuery {
            folders: true,
            ..ListQuery::default()
        };
        let (keys, folders, foreign) = all(&root, &query);
        assert_eq!((keys.len(), foreign), (0, 0));
        assert_eq!(folders, ["full/"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_order_is_that_of_the_keys(
            paths in proptest::collection::btree_set("[a.=_-]{1,2}(/[ab-]{1,2}){0,3}", 1..40),
            prefix in "([ab=-]{1,2}/){0,2}[ab=-]{0,1}",
        ) {
            let temp = tempfile::tempdir().expect("temp dir");
            let mut kept: Vec<String> = Vec::new();
            for path in paths {
                let clashes = kept.iter().any(|other| {
                    other.starts_with(&format!("{path}/")) || path.starts_with(&format!("{other}/"))
                });
                if path.starts_with('.') || clashes {
                    continue;
                }
                make(temp.path(), &path);
                kept.push(path);
            }
            kept.retain(|path| path.starts_with(&prefix));
            let root = Dir::open(temp.path()).expect("root");
            let query = ListQuery { prefix: prefix.clone(), ..ListQuery::default() };
            let (keys, folders, foreign) = all(&root, &query);
            prop_assert_eq!(&keys, &kept);
            prop_assert_eq!((folders.len(), foreign), (0, 0));

            let folded: std::collections::BTreeSet<String> = kept
                .iter()
                .filter_map(|path| path[prefix.len()..].find('/').map(|slash| path[..=prefix.len() + slash].to_owned()))
                .collect();
            let query = ListQuery { prefix: prefix.clone(), folders: true, ..ListQuery::default() };
            let (_, folders, _) = all(&root, &query);
            prop_assert_eq!(folders, folded.into_iter().collect::<Vec<_>>());
        }
    }
}
