//! The kubelet's logs of this node: the last lines of a container that ended, and the pods that the directories name.
//!
//! `/var/log/pods/<namespace>_<pod>_<uid>/<container>/<start>.log`, the older part of a large one beside it as `<start>.log.<date>` (kubelet,
//! `pkg/kubelet/kuberuntime/logs`). The kubelet keeps the logs of the last start or two of a container, so they are read when it ends. Their paths are the
//! kubelet's, their lines the container's.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::cri;
use crate::decide::LogDir;
use crate::model::{KnownContainer, KnownPod, LastLines};
use crate::sys::{Dir, FileKind};

/// Most directories and files looked at.
const NAMES_MAX: usize = 10_000;

/// How much of a log is taken.
#[derive(Clone, Debug)]
pub struct Config {
    /// The kubelet's directory of logs.
    pub dir: PathBuf,
    /// Most lines.
    pub lines: usize,
    /// Most bytes.
    pub bytes: usize,
    /// Namespaces whose logs are not taken.
    pub exclude_namespaces: Vec<String>,
}

/// Reads the last lines of containers.
#[derive(Clone, Debug)]
pub struct Logs(Config);

impl Logs {
    /// A reader with these limits.
    pub fn new(config: Config) -> Self {
        Self(config)
    }

    /// What the container wrote last in its start `number`; nothing where that cannot be read, is empty, or is not to be taken.
    pub(super) fn last_lines(
        &self,
        pod: &KnownPod,
        container: &KnownContainer,
        number: u32,
    ) -> Option<LastLines> {
        let Config {
            dir,
            lines,
            bytes,
            exclude_namespaces,
        } = &self.0;
        if pod.no_log || exclude_namespaces.contains(&pod.namespace) {
            return None;
        }
        let of_pod = format!("{}_{}_{}", pod.namespace, pod.name, pod.node_uid);
        let path = dir.join(&of_pod).join(&container.name);
        let file_name = format!("{number}.log");
        let opened = open_log(dir, &of_pod, &container.name, &file_name);
        let files = match opened {
            Ok(files) => files,
            Err(error) => {
                tracing::debug!(path = %path.display(), file = file_name, %error, "a container's log cannot be read");
                return None;
            }
        };
        let limits = cri::Limits {
            lines: *lines,
            bytes: *bytes,
        };
        match cri::last_lines(&files, limits) {
            Ok(tail) => {
                if let Some(error) = &tail.unread {
                    tracing::warn!(path = %path.display(), file = file_name, lines = tail.lines, %error, "older lines of a container's log cannot be read");
                }
                (!tail.text.is_empty()).then(|| LastLines {
                    text: tail.text,
                    path: path.join(file_name),
                    whole: !tail.cut && tail.unread.is_none(),
                })
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), file = file_name, %error, "a container's log cannot be read");
                None
            }
        }
    }
}

/// The files of one start's log, the oldest first. Older parts that are compressed are left out: the newest two hold more than is ever taken, unless the
/// kubelet was told to cut logs below a megabyte.
fn open_log(root: &Path, pod: &str, container: &str, name: &str) -> io::Result<Vec<File>> {
    let dir = Dir::open(root)?
        .open_dir(OsStr::new(pod))?
        .open_dir(OsStr::new(container))?;
    let mut older: Vec<OsString> = Vec::new();
    for entry in dir.entries()?.take(NAMES_MAX) {
        let entry = entry?;
        let text = entry.name.to_string_lossy();
        let rotated = text
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('.'));
        let is_part =
            rotated.is_some_and(|date| date.bytes().all(|b| b.is_ascii_digit() || b == b'-'));
        if is_part {
            older.push(entry.name);
        }
    }
    // They are named by their date.
    older.sort();
    let mut files: Vec<File> = Vec::new();
    for part in older.iter().rev().take(1) {
        files.extend(dir.open_file(part).ok());
    }
    match dir.open_file(OsStr::new(name)) {
        Ok(newest) => files.push(newest),
        // Cut off just now, and not begun again.
        Err(error) if files.is_empty() => return Err(error),
        Err(_) => {}
    }
    Ok(files)
}

/// The pods that have logs on this node; none where the directory cannot be read.
pub(super) fn pods_with_logs(root: &Path) -> Vec<LogDir> {
    let Ok(names) = Dir::open(root).and_then(|dir| dir.entries()) else {
        return Vec::new();
    };
    let directories = names
        .take(NAMES_MAX)
        .flatten()
        .filter(|entry| entry.kind == Some(FileKind::Dir));
    directories
        .filter_map(|entry| {
            let name = entry.name.into_string().ok()?;
            // None of the three may hold an underscore.
            let mut parts = name.split('_').map(str::to_owned);
            let dir = LogDir {
                namespace: parts.next()?,
                pod: parts.next()?,
                uid: parts.next()?,
            };
            parts.next().is_none().then_some(dir)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "29f83447-5763-4bfc-bc67-90e7a1524d07";

    fn pod() -> KnownPod {
        KnownPod {
            namespace: "shop".into(),
            name: "checkout-0".into(),
            uid: UID.into(),
            node_uid: UID.into(),
            ..KnownPod::default()
        }
    }

    fn api() -> KnownContainer {
        KnownContainer {
            name: "api".into(),
            ..KnownContainer::default()
        }
    }

    fn line(n: usize) -> String {
        format!("2026-11-20T21:35:22.{n:09}Z stdout F line {n}\n")
    }

    fn logs(root: &Path) -> Logs {
        Logs::new(Config {
            dir: root.to_owned(),
            lines: 3,
            bytes: 1 << 20,
            exclude_namespaces: vec!["bank".into()],
        })
    }

    fn text(log: Option<LastLines>) -> Option<String> {
        log.map(|log| String::from_utf8(log.text).expect("text"))
    }

    #[test]
    fn the_last_lines_of_the_start_that_ended_are_read_over_a_rotation() {
        let temp = tempfile::tempdir().expect("temp dir");
        let dir = temp.path().join(format!("shop_checkout-0_{UID}/api"));
        std::fs::create_dir_all(&dir).expect("directories");
        std::fs::write(dir.join("3.log"), line(9)).expect("write");
        std::fs::write(
            dir.join("4.log.20261120-213522"),
            format!("{}{}{}", line(0), line(1), line(2)),
        )
        .expect("write");
        std::fs::write(dir.join("4.log.20261120-213000"), line(8)).expect("write");
        std::fs::write(dir.join("4.log"), line(3)).expect("write");
        let logs = logs(temp.path());
        let last = text(logs.last_lines(&pod(), &api(), 4)).expect("lines");
        let expected: Vec<String> = (1..=3)
            .map(|n| format!("2026-11-20T21:35:22.{n:09}Z line {n}\n"))
            .collect();
        assert_eq!(last, expected.concat());
        assert!(
            text(logs.last_lines(&pod(), &api(), 3))
                .expect("lines")
                .contains("line 9")
        );
        assert_eq!(text(logs.last_lines(&pod(), &api(), 5)), None);
    }

    #[test]
    fn a_log_that_is_not_to_be_taken_is_not() {
        let temp = tempfile::tempdir().expect("temp dir");
        for namespace in ["shop", "bank"] {
            let dir = temp
                .path()
                .join(format!("{namespace}_checkout-0_{UID}/api"));
            std::fs::create_dir_all(&dir).expect("directories");
            std::fs::write(dir.join("0.log"), line(0)).expect("write");
        }
        let logs = logs(temp.path());
        assert!(logs.last_lines(&pod(), &api(), 0).is_some());
        let no_log = KnownPod {
            no_log: true,
            ..pod()
        };
        assert!(logs.last_lines(&no_log, &api(), 0).is_none());
        let bank = KnownPod {
            namespace: "bank".into(),
            ..pod()
        };
        assert!(logs.last_lines(&bank, &api(), 0).is_none());
    }

    #[test]
    fn directories_name_pods() {
        let temp = tempfile::tempdir().expect("temp dir");
        for name in [
            format!("shop_checkout-0_{UID}"),
            "odd".into(),
            "a_b_c_d".into(),
        ] {
            std::fs::create_dir(temp.path().join(name)).expect("directory");
        }
        std::fs::write(temp.path().join("x_y_z"), b"").expect("write");
        let pods = pods_with_logs(temp.path());
        assert_eq!(
            pods,
            [LogDir {
                namespace: "shop".into(),
                pod: "checkout-0".into(),
                uid: UID.into()
            }]
        );
        assert_eq!(pods_with_logs(Path::new("/nowhere")), []);
    }
}
