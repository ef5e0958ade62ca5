//! Keeps a directory that the agent manages usable for the pods that mount it, and free of what gone pods left.
//!
//! Pods mount `<base>/<namespace>/<pod>/<uid>/<container>` by `subPathExpr`. The kubelet makes these levels as root with the mode of the base (`pkg/volume/util/subpath`,
//! `SafeMakeDir`; seen on a 1.36 node), so a base of mode 1733 lets every user make files and nobody list or remove those of others. Where a pod came before the agent the kubelet has
//! made all of it 0755, and only root could dump: such levels get the mode as well. They stay when their pod goes, and are removed once they are empty.
//!
//! Never: a directory of a pod that lives, one above the pods' own that no pod below it has just left, one that is not empty (the kernel refuses), one that is younger than [`GROWN`], one of another owner.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Layout, escaped};
use crate::sys::{Dir, FileKind, Stat};

/// Anyone may make files, nobody may list them, and only their owner and root may remove them.
const MODE: u32 = 0o1733;

/// How old a level must be to be removed: the kubelet makes a pod's levels one after the other, and may have begun.
const GROWN: SignedDuration = SignedDuration::from_mins(10);

/// Most directories that one pass looks at: far more than a node has pods, and whoever is root in a container may make more.
const LOOKED_AT_MAX: usize = 20_000;

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tidied {
    /// Levels that now have the mode.
    pub(super) opened: usize,
    /// Directories that were removed.
    pub(super) removed: usize,
}

/// Makes the base if it is not there, and gives it the mode.
///
/// # Errors
/// Why it cannot be used, for people.
pub(super) fn prepare(path: &Path) -> Result<(), String> {
    let about = |what: &str, error: io::Error| format!("{}: {what}: {error}", escaped(path));
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(about("cannot be made", error));
        }
        _ => {}
    }
    let dir = Dir::open(path).map_err(|error| about("cannot be opened", error))?;
    let stat = dir
        .stat_self()
        .map_err(|error| about("cannot be looked at", error))?;
    let own = rustix::process::geteuid().as_raw();
    if stat.uid != own {
        return Err(format!(
            "{}: belongs to user {} and cannot be managed; chown it to {own}, or take `managed` away",
            escaped(path),
            stat.uid
        ));
    }
    if stat.mode & 0o7777 != MODE {
        // `/home`, say, must not become what nobody can list.
        if let Some(name) = somebody_elses(&dir, own) {
            return Err(format!(
                "{}: is in use ({} is in it) and cannot be managed; name a directory of its own, or make it 1733 yourself",
                escaped(path),
                escaped(&name)
            ));
        }
        dir.set_mode(MODE)
            .map_err(|error| about("cannot be given mode 1733", error))?;
    }
    Ok(())
}

/// Something in the directory that neither the agent nor the kubelet makes there: anything but directories of the agent's user.
fn somebody_elses(dir: &Dir, own: u32) -> Option<OsString> {
    let entries = dir.entries().ok()?;
    let is_ours = |name: &OsStr| {
        let stat = dir.stat(name);
        stat.is_ok_and(|stat| stat.kind == FileKind::Dir && stat.uid == own)
    };
    entries
        .flatten()
        .map(|entry| entry.name)
        .find(|name| !is_ours(name))
}

/// Whose directories may go, and as of when.
pub(super) struct Tidy<'a> {
    pub(super) layout: &'a Layout,
    /// Whether the pod with this UID is certainly gone from this node.
    pub(super) is_gone: &'a dyn Fn(&str) -> bool,
    /// Whether a name in the base is the agent's own.
    pub(super) is_ours: &'a dyn Fn(&OsStr) -> bool,
    pub(super) now: Timestamp,
}

impl Tidy<'_> {
    /// Looks at all levels below the base once.
    pub(super) fn run(&self, base: &Dir) -> Tidied {
        let mut pass = Pass {
            tidy: self,
            own: rustix::process::geteuid().as_raw(),
            left: LOOKED_AT_MAX,
            done: Tidied::default(),
        };
        pass.below(base, &mut Vec::new());
        pass.done
    }
}

struct Pass<'a> {
    tidy: &'a Tidy<'a>,
    own: u32,
    left: usize,
    done: Tidied,
}

impl Pass<'_> {
    /// Looks at the directories in `dir`, whose place is `levels`. What cannot be looked at is left alone: the scan reports it.
    fn below(&mut self, dir: &Dir, levels: &mut Vec<OsString>) {
        if levels.len() >= self.tidy.layout.depth() {
            return;
        }
        let Ok(entries) = dir.entries() else {
            return;
        };
        for entry in entries.flatten() {
            let is_dir = entry.kind.is_none_or(|kind| kind == FileKind::Dir);
            if !is_dir || (levels.is_empty() && (self.tidy.is_ours)(&entry.name)) {
                continue;
            }
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            levels.push(entry.name);
            self.level(dir, levels);
            levels.pop();
        }
    }

    /// Looks at one directory, the last of `levels` in `parent`.
    fn level(&mut self, parent: &Dir, levels: &mut Vec<OsString>) {
        let Some(name) = levels.last().cloned() else {
            return;
        };
        let Ok(dir) = parent.open_dir(&name) else {
            return;
        };
        // Before what is in it is removed, which makes it young.
        let Ok(before) = dir.stat_self() else {
            return;
        };
        if before.uid != self.own {
            return;
        }
        let removed = self.done.removed;
        self.below(&dir, levels);
        let has_lost = self.done.removed > removed;
        if self.may_go(&before, levels, has_lost) && parent.remove_dir(&name).is_ok() {
            self.done.removed += 1;
            return;
        }
        if before.mode & 0o7777 != MODE && dir.set_mode(MODE).is_ok() {
            self.done.opened += 1;
        }
    }

    /// Whether a level may go. `has_lost`: something in it went in this pass.
    fn may_go(&self, stat: &Stat, levels: &[OsString], has_lost: bool) -> bool {
        if self.tidy.now.duration_since(stat.changed) < GROWN {
            return false;
        }
        let layout = self.tidy.layout;
        // Without a UID nobody knows whose the level is. One above it goes with the last pod below it; one that was empty anyway may be mounted itself.
        let Some(uid_level) = layout.uid_level() else {
            return false;
        };
        if levels.len() <= uid_level {
            return has_lost;
        }
        let names = layout.names(levels.iter().map(OsString::as_os_str));
        names.uid.is_some_and(|uid| (self.tidy.is_gone)(&uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::PathBuf;

    struct Base(tempfile::TempDir);

    impl Base {
        fn new() -> Self {
            let base = Self(tempfile::tempdir().expect("temp dir"));
            prepare(&base.path("base")).expect("prepared");
            base
        }

        fn path(&self, below: &str) -> PathBuf {
            self.0.path().join(below)
        }

        fn make(&self, levels: &str) {
            fs::create_dir_all(self.path("base").join(levels)).expect("made");
        }

        /// Tidies as it would be so much later, with these pods gone.
        fn tidy(&self, later: SignedDuration, gone: &[&str]) -> Tidied {
            let base = Dir::open(&self.path("base")).expect("base");
            Tidy {
                layout: &"{namespace}/{pod}/{uid}/{container}"
                    .parse()
                    .expect("layout"),
                is_gone: &|uid| gone.contains(&uid),
                is_ours: &|name| name == ".salvage",
                now: Timestamp::now() + later,
            }
            .run(&base)
        }

        fn has(&self, levels: &str) -> bool {
            self.path("base").join(levels).exists()
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o7777
    }

    const LATER: SignedDuration = SignedDuration::from_mins(11);

    #[test]
    fn the_base_is_made_and_given_its_mode() {
        let base = Base::new();
        assert_eq!(mode(&base.path("base")), 0o1733);
        fs::set_permissions(base.path("base"), fs::Permissions::from_mode(0o755)).expect("chmod");
        prepare(&base.path("base")).expect("prepared");
        assert_eq!(mode(&base.path("base")), 0o1733);
    }

    #[test]
    fn a_base_that_cannot_be_is_refused_with_its_name() {
        let base = Base::new();
        fs::write(base.path("file"), "").expect("file");
        std::os::unix::fs::symlink(base.path("base"), base.path("link")).expect("link");
        for bad in ["file", "link", "none/base"] {
            let why = prepare(&base.path(bad)).expect_err(bad);
            assert!(why.contains(bad), "{why}");
        }
    }

    #[test]
    fn a_directory_that_is_in_use_is_not_opened_to_all() {
        let base = Base::new();
        let home = base.path("home");
        fs::create_dir_all(home.join("of-root")).expect("made");
        fs::write(home.join("notes"), "").expect("file");
        let why = prepare(&home).expect_err("it is in use");
        assert!(why.contains("notes is in it"), "{why}");
        assert_ne!(mode(&home), 0o1733);
        fs::remove_file(home.join("notes")).expect("removed");
        prepare(&home).expect("the kubelet made it");
    }

    #[test]
    fn levels_that_the_kubelet_made_before_the_agent_came_can_be_written_by_all() {
        let base = Base::new();
        base.make("shop/cart-0/uid-1/app");
        let before = base.tidy(SignedDuration::ZERO, &[]);
        assert_eq!((before.opened, before.removed), (4, 0));
        for level in [
            "shop",
            "shop/cart-0",
            "shop/cart-0/uid-1",
            "shop/cart-0/uid-1/app",
        ] {
            assert_eq!(mode(&base.path("base").join(level)), 0o1733, "{level}");
        }
        assert_eq!(base.tidy(SignedDuration::ZERO, &[]), Tidied::default());
    }

    #[test]
    fn what_a_gone_pod_left_empty_goes_with_all_that_is_empty_above_it() {
        let base = Base::new();
        for levels in [
            "shop/cart-0/uid-1/app",
            "shop/cart-0/uid-1/sidecar",
            "shop/cart-1/uid-2/app",
            "till/x/uid-3/app",
        ] {
            base.make(levels);
        }
        assert_eq!(
            base.tidy(SignedDuration::from_mins(9), &["uid-1", "uid-3"])
                .removed,
            0,
            "they are young"
        );
        assert_eq!(base.tidy(LATER, &["uid-1", "uid-3"]).removed, 3 + 1 + 4);
        assert!(base.has("shop/cart-1/uid-2/app") && !base.has("shop/cart-0") && !base.has("till"));
    }

    #[test]
    fn a_pod_that_lives_keeps_its_directories_whatever_they_are() {
        let base = Base::new();
        base.make("shop/cart-0/uid-1/app");
        base.make("shop/cart-0/uid-2/app");
        assert_eq!(base.tidy(LATER, &["uid-1"]).removed, 2);
        assert!(base.has("shop/cart-0/uid-2/app"));
    }

    #[test]
    fn a_level_above_the_pods_own_that_was_empty_anyway_stays() {
        let base = Base::new();
        base.make("shop/cart-0");
        assert_eq!(
            base.tidy(LATER, &["uid-1"]).removed,
            0,
            "a pod may mount it"
        );
    }

    #[test]
    fn a_directory_with_something_in_it_stays() {
        let base = Base::new();
        base.make("shop/cart-0/uid-1/app/of-the-app");
        base.make("shop/cart-0/uid-1/other");
        fs::write(base.path("base/shop/cart-0/uid-1/other/core"), "x").expect("file");
        assert_eq!(base.tidy(LATER, &["uid-1"]).removed, 0);
        assert!(
            base.has("shop/cart-0/uid-1/app/of-the-app")
                && base.has("shop/cart-0/uid-1/other/core")
        );
    }

    #[test]
    fn links_and_what_is_ours_are_not_looked_into() {
        let base = Base::new();
        fs::create_dir_all(base.path("elsewhere/pod/uid-1/app")).expect("made");
        base.make("shop");
        std::os::unix::fs::symlink(base.path("elsewhere"), base.path("base/link")).expect("link");
        base.make(".salvage/pod/uid-1/app");
        assert_eq!(base.tidy(LATER, &["uid-1"]).removed, 0);
        assert!(
            base.path("elsewhere/pod/uid-1/app").exists() && base.has(".salvage/pod/uid-1/app")
        );
    }
}
