//! Every rule by itself and against the others, on scenes of one node: pods, what is known of them, and one dump.

mod among;
mod by_claims;
mod by_mounts;
mod by_uid;
mod cgroups;
mod containers;
mod forging;
mod narrowing;
mod places;
mod unsynced;

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::*;
use crate::model::{ContainerKind, Layout, Mount, NodeVolume, SubPath, Terminated, VolumeAt};

const ROOT: &str = "/var/crash";

/// Seconds from when the dump was ended.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("time")
}

/// A pod made an hour before the dump was ended, with the UID `uid-<name>`.
fn pod(namespace: &str, name: &str) -> KnownPod {
    KnownPod {
        uid: format!("uid-{name}"),
        node_uid: format!("uid-{name}"),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        host_users: true,
        created: Some(at(-3600)),
        ..KnownPod::default()
    }
}

/// A pod as the sources' layout wants it: its one container `app` mounts `/var/crash/<namespace>/<name>/app`.
fn tidy(namespace: &str, name: &str) -> KnownPod {
    let sub = format!("{namespace}/{name}/app");
    pod(namespace, name).writes("app", ROOT, &sub)
}

trait Build: Sized {
    fn with(self, change: impl FnOnce(&mut KnownPod)) -> Self;

    /// The container, made where it is not there.
    fn container(self, name: &str, change: impl FnOnce(&mut KnownContainer)) -> Self {
        self.with(|pod| {
            if KnownPod::container(pod, name).is_none() {
                pod.containers.push(KnownContainer {
                    name: name.to_owned(),
                    ..KnownContainer::default()
                });
            }
            let found = pod.containers.iter_mut().find(|c| c.name == name);
            change(found.expect("container"));
        })
    }

    fn mount(self, container: &str, at: VolumeAt, sub: SubPath, read_only: bool) -> Self {
        let volume = match &at {
            VolumeAt::EmptyDir => "dumps".to_owned(),
            VolumeAt::HostPath(path) => format!("host{}", path.display()),
        };
        let mount = Mount {
            volume: volume.clone(),
            sub,
            read_only,
        };
        let known = NodeVolume { name: volume, at };
        self.with(|pod| pod.volumes.push(known))
            .container(container, |c| c.mounts.push(mount))
    }

    /// Mounts a directory of the node; `sub` is empty for all of it.
    fn writes(self, container: &str, path: &str, sub: &str) -> Self {
        self.mount(container, VolumeAt::HostPath(path.into()), subs(sub), false)
    }

    /// Mounts the emptyDir `dumps`.
    fn empty_dir(self, container: &str, sub: &str) -> Self {
        self.mount(container, VolumeAt::EmptyDir, subs(sub), false)
    }

    fn uid(self, uid: &str) -> Self {
        self.with(|pod| {
            uid.clone_into(&mut pod.uid);
            uid.clone_into(&mut pod.node_uid);
        })
    }

    fn made(self, seconds: i64) -> Self {
        self.with(|pod| pod.created = Some(at(seconds)))
    }

    fn gone(self, seconds: i64) -> Self {
        self.with(|pod| pod.gone = Some(at(seconds)))
    }

    fn runs_as(self, container: &str, user: u32) -> Self {
        self.container(container, |c| c.run_as_user = Some(user))
    }

    fn ended(self, container: &str, seconds: i64, exit_code: i32) -> Self {
        let end = Terminated {
            id: Some(format!("{:0>64}", "e")),
            exit_code,
            finished_at: Some(at(seconds)),
            ..Terminated::default()
        };
        self.container(container, |c| {
            c.status.get_or_insert_default().ended_before = Some(end);
        })
    }
}

impl Build for KnownPod {
    fn with(mut self, change: impl FnOnce(&mut KnownPod)) -> Self {
        change(&mut self);
        self
    }
}

fn subs(sub: &str) -> SubPath {
    if sub.is_empty() {
        return SubPath::Whole;
    }
    SubPath::Levels(sub.split('/').map(str::to_owned).collect())
}

/// One node and one dump. The index is complete since long before.
struct Scene {
    node: Option<&'static str>,
    pods: Vec<KnownPod>,
    synced_since: Option<Timestamp>,
    own: Option<(String, Owner)>,
    logs: Vec<LogDir>,
    claims: Vec<(ClaimSource, String)>,
    file_uid: u32,
    layout: &'static str,
}

fn scene(pods: impl IntoIterator<Item = KnownPod>) -> Scene {
    Scene {
        node: Some("node-17"),
        pods: pods.into_iter().collect(),
        synced_since: Some(at(-86_400)),
        own: None,
        logs: Vec::new(),
        claims: Vec::new(),
        file_uid: 0,
        layout: "{namespace}/{pod}/{container}",
    }
}

impl Scene {
    fn host(mut self, name: &str) -> Self {
        self.claims
            .push((ClaimSource::Environment, name.to_owned()));
        self
    }

    fn file_name(mut self, name: &str) -> Self {
        self.claims.push((ClaimSource::FileName, name.to_owned()));
        self
    }

    fn file_uid(mut self, uid: u32) -> Self {
        self.file_uid = uid;
        self
    }

    fn synced(mut self, seconds: i64) -> Self {
        self.synced_since = Some(at(seconds));
        self
    }

    fn unsynced(mut self) -> Self {
        self.synced_since = None;
        self
    }

    fn log(mut self, namespace: &str, pod: &str, uid: &str) -> Self {
        self.logs.push(LogDir {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            uid: uid.to_owned(),
        });
        self
    }

    fn layout(mut self, layout: &'static str) -> Self {
        self.layout = layout;
        self
    }

    /// For a dump below `/var/crash`, its levels read by the layout.
    fn below(&self, levels: &str) -> Checked {
        let layout: Layout = self.layout.parse().expect("layout");
        let split = levels.split('/').filter(|level| !level.is_empty());
        let names = layout.names(split.map(std::ffi::OsStr::new));
        self.in_dir(&format!("{ROOT}/{levels}"), &names)
    }

    fn in_dir(&self, dir: &str, names: &Names) -> Checked {
        self.decide(Where::HostDir {
            dir: Path::new(dir),
            root: Path::new(ROOT),
            names,
        })
    }

    /// For a dump in the emptyDir `dumps`.
    fn in_volume(&self, uid: &str, levels: &str) -> Checked {
        let split = levels.split('/').filter(|level| !level.is_empty());
        let levels: Vec<String> = split.map(str::to_owned).collect();
        self.decide(Where::KubeletVolume {
            uid,
            volume: "dumps",
            levels: &levels,
        })
    }

    fn in_cgroup(&self, path: &str) -> Checked {
        self.decide(Where::Cgroup { path })
    }

    fn decide(&self, place: Where<'_>) -> Checked {
        let pods: Vec<&KnownPod> = self.pods.iter().collect();
        let claims: Vec<Claim<'_>> = self
            .claims
            .iter()
            .map(|(source, host_name)| Claim {
                source: *source,
                host_name,
            })
            .collect();
        let about = About {
            place,
            claims: &claims,
            file_uid: self.file_uid,
            ended: at(0),
        };
        let node = Node {
            name: self.node,
            pods: &pods,
            synced_since: self.synced_since,
            own: self.own.as_ref().map(|(ns, owner)| (ns.as_str(), owner)),
            log_dirs: &self.logs,
        };
        let checked = Checked(attribute(&about, &node));
        if checked.0.attribution.confidence == Confidence::Unknown {
            checked.names_nobody(self);
        }
        checked
    }
}

/// A decision, and what tests say of it.
struct Checked(Attributed);

impl Checked {
    #[track_caller]
    fn is(&self, confidence: Confidence, names: (&str, &str, &str), container: &str) -> &Self {
        let Attributed { pod, .. } = &self.0;
        let told = |name: &Option<String>| name.clone().unwrap_or_default();
        let found = (told(&pod.namespace), told(&pod.name), told(&pod.uid));
        let found = (found.0.as_str(), found.1.as_str(), found.2.as_str());
        let ran = told(&self.0.container.name);
        let all = (self.0.attribution.confidence, found, ran.as_str());
        assert_eq!(all, (confidence, names, container), "{:#?}", self.0);
        self
    }

    /// Pods of tests have the UID `uid-<name>`.
    #[track_caller]
    fn exact(&self, namespace: &str, name: &str, container: &str) -> &Self {
        let uid = format!("uid-{name}");
        self.is(Confidence::Exact, (namespace, name, &uid), container);
        self.conflicts(0)
    }

    #[track_caller]
    fn probable(&self, namespace: &str, name: &str, container: &str) -> &Self {
        let uid = format!("uid-{name}");
        self.is(Confidence::Probable, (namespace, name, &uid), container)
    }

    #[track_caller]
    fn unknown(&self) -> &Self {
        self.is(Confidence::Unknown, ("", "", ""), "")
    }

    #[track_caller]
    fn conflicts(&self, n: usize) -> &Self {
        assert_eq!(self.0.attribution.conflicts.len(), n, "{:#?}", self.0);
        self
    }

    #[track_caller]
    fn candidates(&self, n: usize) -> &Self {
        assert_eq!(self.0.candidates, n, "{:#?}", self.0);
        self
    }

    /// The pods with these UIDs could have written it, and no others.
    #[track_caller]
    fn among(&self, uids: &[&str]) -> &Self {
        assert_eq!(self.0.among, uids, "{:#?}", self.0);
        assert!(self.0.among_all);
        self.candidates(uids.len())
    }

    /// The grounds hold these sources: `+` before a trusted one, `-` before another.
    #[track_caller]
    fn by(&self, sources: &[&str]) -> &Self {
        let evidence = &self.0.attribution.evidence;
        for source in sources {
            let (trusted, name) = source.split_at(1);
            let is =
                |e: &&crate::model::Evidence| e.source == name && e.trusted == (trusted == "+");
            assert!(evidence.iter().any(|e| is(&e)), "{source}: {:#?}", self.0);
        }
        self
    }

    #[track_caller]
    fn not_by(&self, source: &str) -> &Self {
        let mut evidence = self.0.attribution.evidence.iter();
        assert!(evidence.all(|e| e.source != source), "{:#?}", self.0);
        self
    }

    /// An unknown crash is read by every tenant.
    #[track_caller]
    fn names_nobody(&self, scene: &Scene) {
        let text = format!(
            "{:?}",
            Attributed {
                // For selection, and in no manifest.
                among: Vec::new(),
                ..self.0.clone()
            }
        );
        let pods = scene.pods.iter().flat_map(|pod| [&pod.name, &pod.uid]);
        let logs = scene.logs.iter().flat_map(|log| [&log.pod, &log.uid]);
        let claims = scene.claims.iter().map(|(_, name)| name);
        let names = pods.chain(logs).chain(claims);
        for name in names.filter(|name| !name.is_empty()) {
            assert!(!text.contains(name.as_str()), "{name}: {:#?}", self.0);
        }
    }
}
