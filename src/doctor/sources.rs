//! The sources: whether dumps can be left there, seen when they are written, and taken away.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::StatVfsMountFlags;

use super::Finding;
use super::foreign::{self, Met};
use crate::model::escaped;
use crate::source::{self, Shape};
use crate::spool;
use crate::sys::{Dir, Lease, Stat, read_lease};

/// What is known of a source.
#[derive(Debug)]
pub(super) struct Facts {
    path: PathBuf,
    kubelets: bool,
    managed: bool,
    quiet_period: Duration,
    own_uid: u32,
    found: Result<Found, Missing>,
}

/// Why it cannot be looked at.
#[derive(Debug)]
enum Missing {
    NotThere,
    NoDirectory(&'static str),
    Other(io::Error),
}

#[derive(Debug)]
struct Found {
    stat: Stat,
    read_only: bool,
    /// Whether its directory can be read, and files be made and removed in it.
    access: io::Result<()>,
    /// Whether the state directory is on the same mount.
    with_state: bool,
    has_holding: bool,
    /// Why a holding directory would not be used.
    distrust: Option<&'static str>,
    leases: Leases,
    propagation: Propagation,
    met: Met,
}

/// Whether the kernel tells when somebody writes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leases {
    /// One was given.
    Given,
    /// None was tried; the file system is one that has them.
    Believed,
    /// The file system has none.
    None(&'static str),
}

/// Whether mounts that the node makes later are seen here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Propagation {
    /// It is no mount of its own, so that is not asked.
    NoMount,
    Received,
    Private,
}

/// Looks at a source, for a state directory on the mount `state`.
pub(super) fn gather(config: &source::Config, state: u64) -> Facts {
    let kubelets = matches!(config.shape, Shape::KubeletVolume(_));
    Facts {
        path: config.path.clone(),
        kubelets,
        managed: config.managed,
        quiet_period: config.quiet_period,
        own_uid: rustix::process::geteuid().as_raw(),
        found: look(config, kubelets, state),
    }
}

fn look(config: &source::Config, kubelets: bool, state: u64) -> Result<Found, Missing> {
    let path = &config.path;
    let dir = Dir::open(path).map_err(|error| missing(path, error))?;
    let other = Missing::Other;
    let stat = dir.stat_self().map_err(other)?;
    let read_only = rustix::fs::fstatvfs(&dir)
        .map_err(|error| Missing::Other(error.into()))?
        .f_flag
        .contains(StatVfsMountFlags::RDONLY);
    Ok(Found {
        stat,
        read_only,
        access: access(&dir),
        with_state: state != 0 && stat.mount == state,
        has_holding: !kubelets && dir.stat(OsStr::new(spool::HOLDING)).is_ok(),
        distrust: match kubelets {
            true => None,
            false => spool::distrust(&dir).map_err(Missing::Other)?,
        },
        leases: leases(&dir, kubelets),
        propagation: propagation(path),
        met: foreign::look(&dir, config),
    })
}

fn missing(path: &Path, error: io::Error) -> Missing {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => Missing::NoDirectory("a symbolic link"),
        Ok(meta) if meta.file_type().is_fifo() => Missing::NoDirectory("a FIFO"),
        Ok(meta) if !meta.is_dir() => Missing::NoDirectory("a file"),
        _ if error.kind() == io::ErrorKind::NotFound => Missing::NotThere,
        _ => Missing::Other(error),
    }
}

fn access(dir: &Dir) -> io::Result<()> {
    use rustix::fs::{Access, AtFlags};
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    Ok(rustix::fs::accessat(dir, c".", wanted, AtFlags::EACCESS)?)
}

/// Tries a lease on a file without a name, which no agent can meet. In the kubelet's directories nothing of ours is made, and some file systems have no such
/// files: there the kind of file system tells.
fn leases(dir: &Dir, kubelets: bool) -> Leases {
    let tried = (!kubelets).then(|| tried_lease(dir)).flatten();
    match (tried, without_leases(dir)) {
        (Some(true), _) => Leases::Given,
        (_, Some(name)) => Leases::None(name),
        (Some(false), None) => Leases::None("unknown"),
        (None, None) => Leases::Believed,
    }
}

fn tried_lease(dir: &Dir) -> Option<bool> {
    let written = dir.nameless_file().ok()?;
    let file = foreign::reopen(&written).ok()?;
    drop(written);
    Some(matches!(read_lease(&file), Ok(Lease::Held(_))))
}

/// File systems whose kernel modules give no leases, or only where the server lets them (`linux/magic.h`).
const WITHOUT_LEASES: [(u64, &str); 9] = [
    (0x6969, "NFS"),
    (0xfe53_4d42, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0x517b, "SMB"),
    (0x0102_1997, "9P"),
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x5346_414f, "AFS"),
];

fn without_leases(dir: &Dir) -> Option<&'static str> {
    let kind = rustix::fs::fstatfs(dir).ok()?.f_type;
    // Some architectures have it as 32 bits with a sign.
    let kind = kind as u64 & 0xffff_ffff;
    let known = WITHOUT_LEASES.iter().find(|(magic, _)| *magic == kind);
    known.map(|(_, name)| *name)
}

fn propagation(path: &Path) -> Propagation {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    propagation_in(&mounts, path)
}

/// From `/proc/self/mountinfo`: `36 35 98:0 /root /mount/point options optional fields - type source options`. Mounts at one place hide those before them.
fn propagation_in(mounts: &str, path: &Path) -> Propagation {
    let of_path = mounts.lines().rev().find_map(|line| {
        let (before, _) = line.split_once(" - ")?;
        let mut fields = before.split(' ');
        // A path with a space is written with an escape, and is no kubelet's.
        let is_here = fields.nth(4)? == path.to_str()?;
        is_here.then(|| {
            fields
                .skip(1)
                .any(|field| field.starts_with("master:") || field.starts_with("shared:"))
        })
    });
    match of_path {
        None => Propagation::NoMount,
        Some(true) => Propagation::Received,
        Some(false) => Propagation::Private,
    }
}

impl Facts {
    /// Whether dumps have to be copied out of it.
    pub(super) fn copies(&self) -> bool {
        let Ok(found) = &self.found else { return false };
        match self.kubelets {
            true => !found.with_state,
            false => found.way().is_some(),
        }
    }

    /// What was met below it.
    pub(super) fn met(&self) -> Option<(&Met, bool)> {
        let found = self.found.as_ref().ok()?;
        Some((&found.met, !matches!(found.leases, Leases::None(_))))
    }

    /// Judges where `in_pods` says that dumps come from pods, and `in_a_pod` that we are in one ourselves.
    pub(super) fn judge(&self, in_pods: bool, in_a_pod: bool) -> Vec<Finding> {
        const DIRECTORY: &str = "source.directory";
        let path = escaped(&self.path).to_string();
        let found = match &self.found {
            Ok(found) => found,
            Err(missing) => return vec![self.judge_missing(&path, missing)],
        };
        let mut findings = Vec::new();
        if found.read_only {
            return vec![Finding::fail(
                "source.mount",
                path,
                "the source is mounted read-only: dumps cannot be taken away, and are not looked at",
                "mount it writable (readOnly: false)",
            )];
        }
        findings.push(match &found.access {
            Ok(()) => Finding::ok(DIRECTORY, &path, "it can be read, and files be taken away"),
            Err(error) => Finding::fail(
                DIRECTORY,
                &path,
                format!(
                    "files cannot be taken away: {error} (uid {}, mode {:04o})",
                    found.stat.uid,
                    found.stat.mode & 0o7777
                ),
                "give it to the agent's user, or the agent the capabilities DAC_READ_SEARCH and DAC_OVERRIDE",
            ),
        });
        match self.kubelets {
            true => findings.extend(self.judge_kubelet(&path, found, in_a_pod)),
            false => {
                findings.push(self.judge_mode(&path, found, in_pods));
                findings.push(judge_way(&path, found));
            }
        }
        findings.push(self.judge_leases(&path, found));
        findings
    }

    fn judge_missing(&self, path: &str, missing: &Missing) -> Finding {
        const ID: &str = "source.directory";
        let fail = |cause: String, remedy: String| Finding::fail(ID, path, cause, remedy);
        match missing {
            Missing::NotThere if self.kubelets => fail(
                "the kubelet's directory of pods does not exist here".to_owned(),
                format!("mount {path} of the node at the same path, or correct kubernetes.kubelet_dir"),
            ),
            Missing::NotThere => fail(
                "the source does not exist".to_owned(),
                format!("make it (install -d -m 1733 {path}), or mount it at the same path"),
            ),
            Missing::NoDirectory(what) => fail(
                format!("the source is {what} and no directory"),
                "name the directory itself".to_owned(),
            ),
            Missing::Other(error) => fail(
                format!("the source cannot be opened: {error}"),
                "run the agent as uid 0 with the capability DAC_READ_SEARCH, or let its user read it"
                    .to_owned(),
            ),
        }
    }

    fn judge_mode(&self, path: &str, found: &Found, in_pods: bool) -> Finding {
        const ID: &str = "source.mode";
        let (uid, mode) = (found.stat.uid, found.stat.mode & 0o7777);
        let is_open = mode & 0o022 != 0;
        if uid != 0 && uid != self.own_uid {
            return Finding::warn(
                ID,
                path,
                format!(
                    "it belongs to uid {uid}, who can remove or swap everybody's dumps (mode {mode:04o})"
                ),
                format!("give it to root: chown root {path}"),
            );
        }
        if is_open && mode & 0o1000 == 0 {
            return Finding::warn(
                ID,
                path,
                format!(
                    "others may write it and it is not sticky (mode {mode:04o}), so anyone can remove or swap another's dump"
                ),
                format!("make it sticky: chmod 1733 {path}"),
            );
        }
        // A managed base has its directories made writable.
        if !is_open && in_pods && !self.managed && !found.met.is_open_below {
            return Finding::warn(
                ID,
                path,
                format!(
                    "only uid {uid} may leave dumps there (mode {mode:04o}), and pods run as other users"
                ),
                format!("open it: chmod 1733 {path}"),
            );
        }
        let who = if is_open { "sticky" } else { "closed" };
        Finding::ok(ID, path, format!("{who} (uid {uid}, mode {mode:04o})"))
    }

    fn judge_kubelet(&self, path: &str, found: &Found, in_a_pod: bool) -> Vec<Finding> {
        const ID: &str = "source.volumes";
        let mut findings = vec![match &found.met.denied {
            Some((denied, error)) => Finding::fail(
                ID,
                escaped(denied),
                format!("a pod's directory cannot be opened: {error}"),
                "run the agent as uid 0 with the capability DAC_READ_SEARCH; where SELinux is enforced, as type spc_t",
            ),
            // Our own pod has one at least.
            None if in_a_pod && !found.met.has_directories() => Finding::fail(
                ID,
                path,
                "no pod has a directory here: the kubelet has its own elsewhere",
                "correct kubernetes.kubelet_dir, and mount that directory of the node at the same path",
            ),
            None => Finding::ok(
                ID,
                path,
                format!(
                    "directories of pods can be opened ({} were)",
                    found.met.directories
                ),
            ),
        }];
        if found.propagation == Propagation::Private {
            findings.push(Finding::warn(
                "source.propagation",
                path,
                "mounts of the node do not come and go here, so the agent may keep a volume of a gone pod busy",
                "mount it with mountPropagation: HostToContainer",
            ));
        }
        findings
    }

    fn judge_leases(&self, path: &str, found: &Found) -> Finding {
        const ID: &str = "source.leases";
        match found.leases {
            Leases::Given => Finding::ok(ID, path, "its file system gives leases; one was tried"),
            Leases::Believed => Finding::ok(ID, path, "its file system is one that gives leases"),
            Leases::None(name) => Finding::warn(
                ID,
                path,
                format!(
                    "its file system ({name}) gives no leases, so a dump is taken only when it has not changed for {} s (settle.quiet_period)",
                    self.quiet_period.as_secs()
                ),
                "let dumps be written to a disk of the node",
            ),
        }
    }
}

impl Met {
    fn has_directories(&self) -> bool {
        self.directories > 0
    }
}

impl Found {
    /// Why dumps have to be copied, if they have to.
    fn way(&self) -> Option<&'static str> {
        match self.with_state {
            true => None,
            false => self.distrust,
        }
    }
}

fn judge_way(path: &str, found: &Found) -> Finding {
    const ID: &str = "source.take";
    match (found.with_state, found.way()) {
        (true, _) if !found.has_holding => Finding::ok(
            ID,
            path,
            "on the mount of state_dir: dumps are taken by renaming",
        ),
        (true, _) => Finding::ok(ID, path, "dumps are taken by renaming"),
        (false, None) => Finding::ok(
            ID,
            path,
            "dumps are taken by renaming into its directory .salvage",
        ),
        (false, Some(why)) => Finding::warn(
            ID,
            path,
            format!("dumps have to be copied, within spool.max_use and spool.keep_free: {why}"),
            format!(
                "put state_dir on the same mount, or give the source to root, sticky: chmod 1733 {path}"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use std::os::unix::fs::PermissionsExt;

    fn config(path: &Path) -> source::Config {
        source::Config {
            path: path.to_owned(),
            shape: Shape::Directory(crate::model::Layout::default()),
            managed: false,
            quiet_period: Duration::from_secs(30),
            settle_limit: Duration::ZERO,
            max_dump_size: 1,
            max_dump_data: 1,
        }
    }

    fn bad(facts: &Facts) -> Vec<(&'static str, Verdict, String)> {
        facts
            .judge(false, false)
            .into_iter()
            .filter(|f| f.verdict != Verdict::Ok)
            .map(|f| (f.id, f.verdict, f.cause))
            .collect()
    }

    #[test]
    fn what_is_wrong_with_a_directory_is_named() {
        let temp = tempfile::tempdir().expect("temp dir");
        let path = temp.path().join("crash");
        let facts = || {
            let state = Dir::open(temp.path()).and_then(|dir| dir.stat_self());
            gather(&config(&path), state.expect("a mount").mount)
        };
        assert!(bad(&facts())[0].2.contains("does not exist"));
        std::os::unix::fs::symlink(temp.path(), &path).expect("link");
        assert!(bad(&facts())[0].2.contains("symbolic link"));
        fs::remove_file(&path).expect("removed");
        fs::write(&path, b"").expect("written");
        assert!(bad(&facts())[0].2.contains("a file and no directory"));
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("made");
        let chmod = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        };
        for mode in [0o700, 0o755, 0o1777] {
            chmod(mode);
            assert_eq!(bad(&facts()), [], "{mode:o}");
        }
        chmod(0o777);
        let found = bad(&facts());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].0, found[0].1), ("source.mode", Verdict::Warn));
        assert!(found[0].2.contains("not sticky (mode 0777)"), "{found:?}");
        // On another mount than the state such a directory makes dumps be copied.
        let elsewhere = gather(&config(&path), 0);
        assert!(elsewhere.copies());
        assert!(bad(&elsewhere).iter().any(|f| f.0 == "source.take"));
        chmod(0o1777);
        assert!(!gather(&config(&path), 0).copies());
        assert_eq!(
            fs::read_dir(&path).expect("list").count(),
            0,
            "nothing is made"
        );
    }

    #[test]
    fn a_closed_source_is_told_where_pods_can_write_nothing_below_it() {
        let temp = tempfile::tempdir().expect("temp dir");
        let chmod = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
        };
        let source = |managed| source::Config {
            shape: Shape::Directory("{namespace}".parse().expect("a layout")),
            managed,
            ..config(temp.path())
        };
        let verdict = |managed| {
            let findings = gather(&source(managed), 0).judge(true, false);
            let mode = findings.iter().find(|f| f.id == "source.mode");
            mode.map(|f| f.verdict)
        };
        chmod(temp.path(), 0o755);
        assert_eq!(verdict(false), Some(Verdict::Warn));
        assert_eq!(verdict(true), Some(Verdict::Ok));
        let below = temp.path().join("shop");
        fs::create_dir(&below).expect("made");
        chmod(&below, 0o755);
        assert_eq!(verdict(false), Some(Verdict::Warn));
        chmod(&below, 0o1777);
        assert_eq!(verdict(false), Some(Verdict::Ok));
    }

    #[test]
    fn without_leases_the_quiet_period_is_told() {
        let temp = tempfile::tempdir().expect("temp dir");
        let mut facts = gather(&config(temp.path()), 0);
        let found = facts.found.as_mut().expect("it is there");
        assert_eq!(found.leases, Leases::Given);
        found.leases = Leases::None("NFS");
        let found = bad(&facts);
        let leases = found.iter().find(|f| f.0 == "source.leases");
        let (_, verdict, cause) = leases.expect("a finding");
        assert_eq!(*verdict, Verdict::Warn);
        assert!(cause.contains("NFS") && cause.contains("30 s"), "{cause}");
    }

    #[test]
    fn in_a_pod_a_kubelets_directory_without_pods_is_another_one() {
        let temp = tempfile::tempdir().expect("temp dir");
        let config = source::Config {
            shape: Shape::KubeletVolume("dumps".into()),
            ..config(temp.path())
        };
        let verdict = |in_a_pod| {
            let findings = gather(&config, 0).judge(true, in_a_pod);
            let volumes = findings.iter().find(|f| f.id == "source.volumes");
            volumes.map(|f| f.verdict)
        };
        assert_eq!(verdict(true), Some(Verdict::Fail));
        assert_eq!(verdict(false), Some(Verdict::Ok));
        let pod = temp.path().join("00000000-0000-4000-8000-000000000001");
        fs::create_dir(pod).expect("made");
        assert_eq!(verdict(true), Some(Verdict::Ok));
    }

    #[test]
    fn a_mounts_propagation_is_read() {
        let mounts = "\
36 35 98:0 / / rw shared:1 - ext4 /dev/sda rw
40 36 98:0 /var/lib/kubelet/pods /var/lib/kubelet/pods rw,relatime master:7 - ext4 /dev/sda rw
41 36 98:0 /x /private rw - ext4 /dev/sda rw
";
        for (path, expected) in [
            ("/var/lib/kubelet/pods", Propagation::Received),
            ("/private", Propagation::Private),
            ("/var/lib/kubelet", Propagation::NoMount),
        ] {
            assert_eq!(propagation_in(mounts, Path::new(path)), expected, "{path}");
        }
    }
}
