//! The agent's configuration, in two stages: what was written, then what the program can use. Every refusal happens in between, and names the
//! key and the remedy.

mod captures;
mod kubernetes;
#[cfg(test)]
mod reference;
mod written;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use url::Url;

pub use self::captures::Captures;
pub use self::kubernetes::Kubernetes;
use self::written::{Source, Written};
use crate::capture;
use crate::decide::{Coverage, Limits};
use crate::model::escaped;
use crate::ship::{self, Shipper};
use crate::source::{self, Shape};
use crate::spool;
use crate::store::{StoreConfig, StoreUrl};

/// Most sources: each has a thread.
const SOURCES_MAX: usize = 64;

/// Most dumps held at once: each costs a few kilobytes of memory and a state file.
const ENTRIES_MAX: usize = 10_000;

/// Most threads used for compression when nobody says how many.
const WORKERS_DEFAULT_MAX: usize = 4;

/// Largest configuration file.
const FILE_MAX: u64 = 1 << 20;

/// What the agent uses.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the node.
    pub node: String,
    /// Address of the metrics and health server.
    pub listen: SocketAddr,
    /// The watched directories.
    pub sources: Vec<source::Config>,
    /// The store.
    pub store: StoreConfig,
    /// The spool.
    pub spool: spool::Config,
    /// Shipping.
    pub ship: ship::Config,
    /// Kubernetes, where pods are to be looked up.
    pub kubernetes: Option<Kubernetes>,
    /// Captures, where they are taken.
    pub captures: Option<Captures>,
    /// How long a drain may take.
    pub grace_period: Duration,
    written: Written,
}

/// What is read besides the file: the environment and the machine, so that tests need neither.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `SALVAGE_CLUSTER`.
    pub cluster: Option<String>,
    /// `SALVAGE_NODE`.
    pub node: Option<String>,
    /// `SALVAGE_POD_NAMESPACE` and `SALVAGE_POD_NAME`: the agent's own pod.
    pub pod: Option<(String, String)>,
    /// The host name.
    pub host_name: Option<String>,
    /// CPUs the process may use.
    pub cpus: usize,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error(
        "{}: cannot be read; give a readable YAML file with --config",
        escaped(path)
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no YAML, or a key is unknown or has the wrong form.
    #[error("{}: {problem}", escaped(path))]
    Form {
        /// The file.
        path: PathBuf,
        /// What and where.
        problem: String,
    },
    /// A key cannot be used.
    #[error("{key}: {problem}")]
    Key {
        /// The key.
        key: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl Surroundings {
    /// What this process sees.
    pub fn of_this_process() -> Self {
        let set = |name| {
            std::env::var(name)
                .ok()
                .filter(|value: &String| !value.is_empty())
        };
        let host_name = rustix::system::uname()
            .nodename()
            .to_str()
            .ok()
            .map(str::to_owned)
            .filter(|name| !name.is_empty());
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cluster: set("SALVAGE_CLUSTER"),
            node: set("SALVAGE_NODE"),
            pod: set("SALVAGE_POD_NAMESPACE").zip(set("SALVAGE_POD_NAME")),
            host_name,
            cpus,
        }
    }
}

impl Config {
    /// Bytes of memory that an agent with it may take at worst.
    pub fn memory_needed(&self) -> u64 {
        let captures = self.captures.as_ref().map_or(0, |_| capture::MEMORY);
        Shipper::memory_bound(&self.ship) + ship::MEMORY_BESIDES + captures
    }

    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// The first thing that is wrong, by key.
    pub fn read(path: &Path, surroundings: &Surroundings) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, FILE_MAX), &mut text)
            .map_err(unreadable)?;
        Self::parse(&text, path, surroundings)
    }

    /// Checks `text`, which stands in the file at `path`; touches neither disk nor network.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(text: &str, path: &Path, surroundings: &Surroundings) -> Result<Self, Error> {
        if text.trim().is_empty() {
            let problem =
                "is empty; name at least cluster, state_dir, sources and store".to_owned();
            return Err(Error::Form {
                path: path.to_owned(),
                problem,
            });
        }
        let written: Written = serde_saphyr::from_str(text).map_err(|error| {
            let told = error.without_snippet().to_string();
            let told = told.trim_start_matches("error: ");
            // A wrong value does not say whose it is; its line does. The file holds no secret.
            let number = error.location().map_or(0, |location| location.line());
            let line = usize::try_from(number)
                .ok()
                .and_then(|n| text.lines().nth(n.checked_sub(1)?));
            let problem = match line {
                Some(line) => format!("{told}, in `{}`", escaped(line.trim())),
                None => told.to_owned(),
            };
            Error::Form {
                path: path.to_owned(),
                problem,
            }
        })?;
        check(written, surroundings)
    }

    /// The configuration in force, defaults and overrides included, as YAML. Holds no secret: credentials have no key.
    ///
    /// # Errors
    /// None that a configuration which was read can cause.
    pub fn effective(&self) -> anyhow::Result<String> {
        Ok(serde_saphyr::to_string(&self.written)?)
    }

    /// Where a dump would be seen. The kernel's `core_pattern` adds none: a path in it is one of the process's own file system.
    pub fn coverage(&self) -> Coverage {
        let mut coverage = Coverage::default();
        for source in &self.sources {
            let shape = &source.shape;
            // The levels down to a volume hold no dumps.
            let holds = |levels: usize| shape.holds_dumps(&vec![OsString::new(); levels]);
            let above = (0..shape.depth()).take_while(|n| !holds(*n)).count();
            let depth = shape.depth() - above;
            match shape {
                Shape::Directory(_) => coverage.directories.push((source.path.clone(), depth)),
                Shape::KubeletVolume(volume) => coverage.volumes.push((volume.clone(), depth)),
            }
        }
        coverage
    }
}

fn key(key: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Key {
        key: key.into(),
        problem: problem.into(),
    }
}

fn check(mut written: Written, surroundings: &Surroundings) -> Result<Config, Error> {
    let cluster = surroundings.cluster.clone().or(written.cluster.take());
    let cluster = name(
        "cluster",
        cluster.ok_or_else(|| {
            key(
                "cluster",
                "is missing; name the cluster, or set SALVAGE_CLUSTER",
            )
        })?,
    )?;
    let node = surroundings
        .node
        .clone()
        .or(written.node.take())
        .or(surroundings.host_name.clone());
    let node = name(
        "node",
        node.ok_or_else(|| {
            key(
                "node",
                "is missing and the host has no name; name the node, or set SALVAGE_NODE",
            )
        })?,
    )?;
    let listen = written.listen.parse().map_err(|_| {
        key(
            "listen",
            "is no address; write it as 0.0.0.0:9464 or [::]:9464",
        )
    })?;
    check_absolute("state_dir", &written.state_dir)?;
    let workers = workers(&mut written, surroundings.cpus)?;
    if !(1..=19).contains(&written.compression.level) {
        return Err(key("compression.level", "is a zstd level from 1 to 19"));
    }
    let kubernetes = kubernetes::check(&written.kubernetes, &node, surroundings)?;
    let captures = captures::check(&written.captures, kubernetes.is_some())?;
    let sources = sources(&written)?;
    let store = store(&written)?;
    let spool = spool_config(&written, &node)?;
    written.cluster = Some(cluster.clone());
    written.node = Some(node.clone());
    let level = written.compression.level;
    Ok(Config {
        listen,
        sources,
        store,
        spool,
        ship: ship::Config {
            cluster: cluster.clone(),
            node: node.clone(),
            level,
            workers,
            part_memory: ship::PART_MEMORY,
        },
        kubernetes,
        captures,
        grace_period: written.shutdown.grace_period.duration(),
        cluster,
        node,
        written,
    })
}

/// Names enter every key and every listing.
fn name(what: &str, name: String) -> Result<String, Error> {
    let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(fit) {
        return Err(key(
            what,
            format!(
                "{name:?} is no name; use up to 100 letters, digits, '.', '-' and '_', not beginning with '.'"
            ),
        ));
    }
    Ok(name)
}

fn check_absolute(what: &str, path: &Path) -> Result<(), Error> {
    let plain = path
        .components()
        .all(|component| matches!(component, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || path == Path::new("/") {
        return Err(key(
            what,
            format!(
                "{} is no directory to use; write an absolute path without '..', not '/'",
                escaped(path)
            ),
        ));
    }
    Ok(())
}

fn workers(written: &mut Written, cpus: usize) -> Result<usize, Error> {
    let workers = written
        .compression
        .workers
        .unwrap_or(cpus.clamp(1, WORKERS_DEFAULT_MAX));
    if !(1..=64).contains(&workers) {
        return Err(key(
            "compression.workers",
            "is a number of threads from 1 to 64",
        ));
    }
    written.compression.workers = Some(workers);
    Ok(workers)
}

fn sources(written: &Written) -> Result<Vec<source::Config>, Error> {
    if written.sources.is_empty() {
        return Err(key(
            "sources",
            "is empty; name at least one directory: sources: [{path: /var/crash}]",
        ));
    }
    if written.sources.len() > SOURCES_MAX {
        return Err(key(
            "sources",
            format!("has more than {SOURCES_MAX} directories; name a common parent with a layout"),
        ));
    }
    let (size, data) = (written.limits.max_dump_size, written.limits.max_dump_data);
    if size.bytes() == 0 || data.bytes() == 0 {
        return Err(key(
            "limits",
            "max_dump_size and max_dump_data must be more than 0, or nothing would ever be stored",
        ));
    }
    if written.settle.quiet_period.duration() < Duration::from_secs(1) {
        return Err(key(
            "settle.quiet_period",
            "is less than 1s; writers pause longer than that",
        ));
    }
    let mut checked: Vec<source::Config> = Vec::new();
    for (n, source) in written.sources.iter().enumerate() {
        let this = format!("sources[{n}].path");
        let (path, shape) = place(n, source, &written.kubernetes.kubelet_dir)?;
        if source.managed && source.path.is_none() {
            return Err(key(
                format!("sources[{n}].managed"),
                "has no meaning beside kubelet_volumes, whose directories are the kubelet's; remove it",
            ));
        }
        check_absolute(&this, &path)?;
        for (other, theirs, beside) in checked
            .iter()
            .map(|other| {
                (
                    "another source",
                    &other.path,
                    are_beside(&other.shape, &shape),
                )
            })
            .chain([("state_dir", &written.state_dir, false)])
        {
            if !beside && (path.starts_with(theirs) || theirs.starts_with(&path)) {
                let (ours, theirs) = (escaped(&path), escaped(theirs));
                return Err(key(
                    this,
                    format!(
                        "{ours} and {theirs} ({other}) lie in one another, so a dump would be met twice; choose separate directories"
                    ),
                ));
            }
        }
        checked.push(source::Config {
            path,
            shape,
            managed: source.managed,
            quiet_period: written.settle.quiet_period.duration(),
            settle_limit: written.settle.limit.duration(),
            max_dump_size: size.bytes(),
            max_dump_data: data.bytes(),
        });
    }
    Ok(checked)
}

/// Where a source is and what its directories mean.
fn place(n: usize, source: &Source, kubelet_dir: &Path) -> Result<(PathBuf, Shape), Error> {
    match (&source.path, &source.kubelet_volumes) {
        (Some(path), None) => Ok((path.clone(), Shape::Directory(source.layout.clone()))),
        (None, Some(volumes)) if source.layout.is_flat() => {
            let name = format!("sources[{n}].kubelet_volumes.volume");
            let fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            let volume = &volumes.volume;
            if volume.is_empty() || volume.len() > 63 || !volume.chars().all(fit) {
                let problem = format!(
                    "{volume:?} is no name of a volume; write it as the pods' `volumes` do"
                );
                return Err(key(name, problem));
            }
            Ok((
                kubelet_dir.join("pods"),
                Shape::KubeletVolume(volume.clone()),
            ))
        }
        (None, Some(_)) => Err(key(
            format!("sources[{n}].layout"),
            "has no meaning beside kubelet_volumes, whose path names the pod; remove it",
        )),
        _ => Err(key(
            format!("sources[{n}]"),
            "needs exactly one of path and kubelet_volumes",
        )),
    }
}

/// Whether two sources may share a root: volumes of different names are different directories.
fn are_beside(one: &Shape, other: &Shape) -> bool {
    match (one, other) {
        (Shape::KubeletVolume(one), Shape::KubeletVolume(other)) => one != other,
        _ => false,
    }
}

fn store(written: &Written) -> Result<StoreConfig, Error> {
    let url: StoreUrl = written
        .store
        .url
        .parse()
        .map_err(|error| key("store.url", format!("{error}")))?;
    let endpoint = written
        .store
        .endpoint
        .as_deref()
        .map(Url::parse)
        .transpose();
    let endpoint = endpoint.map_err(|error| {
        key(
            "store.endpoint",
            format!("{error}; write it as https://minio.example:9000"),
        )
    })?;
    if let StoreUrl::File(root) = &url {
        for (n, source) in written.sources.iter().enumerate() {
            let Some(path) = &source.path else { continue };
            if root.starts_with(path) || path.starts_with(root) {
                let problem = "lies in a source or around one, so what is stored would be a dump again; choose separate directories";
                return Err(key(
                    "store.url",
                    format!("{} and sources[{n}].path: {problem}", escaped(root)),
                ));
            }
        }
    }
    let config = StoreConfig {
        url,
        endpoint,
        region: written.store.region.clone(),
        path_style: written.store.path_style,
    };
    config
        .check()
        .map_err(|error| key("store", error.to_string()))?;
    Ok(config)
}

fn spool_config(written: &Written, node: &str) -> Result<spool::Config, Error> {
    if written.spool.max_use.bytes() == 0 {
        return Err(key(
            "spool.max_use",
            "is 0, so nothing could ever be held; allow at least the size of one dump",
        ));
    }
    Ok(spool::Config {
        state_dir: written.state_dir.clone(),
        limits: Limits {
            max_use: written.spool.max_use.bytes(),
            keep_free: written.spool.keep_free.bytes(),
            keep_free_inodes: written.spool.keep_free_inodes,
            max_entries: ENTRIES_MAX,
        },
        about: format!("pid {} on node {node}", std::process::id()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::changes::changed;
    use proptest::prelude::*;

    const SMALLEST: &str = "cluster: c\nnode: n\nstate_dir: /var/lib/salvage\nsources: [{path: /var/crash}]\nstore: {url: 's3://bucket'}\n";

    const EVERY_KEY: &str = "\
cluster: c
node: n
state_dir: /var/lib/salvage
listen: '[::]:9464'
sources: [{path: /var/crash}, {path: /var/dumps, layout: '{namespace}/{pod}/{container}'}, {kubeletVolumes: {volume: dumps}}, {kubelet_volumes: {volume: x}}]
store: {url: 's3://bucket/prefix', endpoint: 'https://minio.example:9000', region: eu-central-1, path_style: true}
compression: {level: 3, workers: 2}
spool: {max_use: 20GiB, keep_free: 2GiB, keep_free_inodes: 1000}
limits: {max_dump_size: 1TiB, max_dump_data: 512GiB}
settle: {quiet_period: 30s, limit: 10m}
shutdown: {grace_period: 25s}
kubernetes:
  enabled: true
  kubelet_dir: /var/lib/k0s/kubelet
  pod_logs_dir: /var/log/pods
  start_jitter: 1s
  join_window: 10s
  keep_gone_pods: 1h
  labels: [app, team]
  log: {enabled: false, lines: 10, max_bytes: 4KiB, exclude_namespaces: [bank]}
  events: false
  selection: {namespaces: [shop], exclude_namespaces: [bank], pods: {matchLabels: {team: a}}, unknown: hold}
";

    fn parse(text: &str) -> Result<Config, Error> {
        let surroundings = Surroundings {
            cpus: 2,
            ..Surroundings::default()
        };
        Config::parse(text, Path::new("salvage.yaml"), &surroundings)
    }

    #[test]
    fn the_smallest_configuration_is_enough_and_its_effective_form_reads_back() {
        let config = parse(SMALLEST).expect("valid");
        assert_eq!(config.listen, "0.0.0.0:9464".parse().expect("address"));
        let effective = config.effective().expect("yaml");
        assert!(
            effective.contains("workers: 2") && effective.contains("max_use: 20GiB"),
            "{effective}"
        );
        assert_eq!(
            parse(&effective).expect("valid").effective().expect("yaml"),
            effective
        );
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let surroundings = Surroundings {
            cluster: Some("env-c".into()),
            node: Some("env-n".into()),
            cpus: 64,
            ..Surroundings::default()
        };
        let config = Config::parse(SMALLEST, Path::new("x"), &surroundings).expect("valid");
        assert_eq!(
            (
                config.cluster.as_str(),
                config.node.as_str(),
                config.ship.workers
            ),
            ("env-c", "env-n", 4)
        );
    }

    #[test]
    fn a_refusal_names_the_key_and_the_remedy() {
        let cases = [
            ("cluster: c\n", "clutser: c\n", "clutser"),
            ("cluster: c\n", "", "SALVAGE_CLUSTER"),
            (
                "cluster: c\n",
                "cluster: a/b\n",
                "cluster: \"a/b\" is no name",
            ),
            ("/var/lib/salvage", "var/lib", "state_dir"),
            ("/var/lib/salvage", "/var/crash/state", "sources[0].path"),
            ("[{path: /var/crash}]", "[]", "sources: is empty"),
            (
                "[{path: /var/crash}]",
                "[{path: /var/crash, layuot: x}]",
                "layuot",
            ),
            (
                "[{path: /var/crash}]",
                "[{path: /var/crash, layout: '{node}'}]",
                "{container}",
            ),
            (
                "[{path: /var/crash}]",
                "[{path: /a}, {path: /a/b}]",
                "sources[1].path",
            ),
            (
                "[{path: /var/crash}]",
                "[{path: /a/../b}]",
                "sources[0].path",
            ),
            (
                "[{path: /var/crash}]",
                "[{path: /var/crash, kubelet_volumes: {volume: dumps}}]",
                "sources[0]: needs exactly one",
            ),
            (
                "[{path: /var/crash}]",
                "[{}]",
                "sources[0]: needs exactly one",
            ),
            (
                "[{path: /var/crash}]",
                "[{kubelet_volumes: {volume: ../x}}]",
                "sources[0].kubelet_volumes.volume",
            ),
            (
                "[{path: /var/crash}]",
                "[{kubelet_volumes: {volume: a}}, {kubelet_volumes: {volume: a}}]",
                "sources[1].path",
            ),
            (
                "[{path: /var/crash}]",
                "[{kubelet_volumes: {volume: a}, managed: true}]",
                "sources[0].managed",
            ),
            (
                "[{path: /var/crash}]",
                "[{kubelet_volumes: {volume: a}, layout: '{pod}'}]",
                "sources[0].layout",
            ),
            ("{url: 's3://bucket'}", "{url: 'ftp://x'}", "store.url"),
            (
                "{url: 's3://bucket'}",
                "{url: 'file:///var/crash/store'}",
                "store.url",
            ),
            (
                "{url: 's3://bucket'}",
                "{url: 's3://bucket', endpoint: 'not a url'}",
                "store.endpoint",
            ),
        ];
        for (old, new, wanted) in cases {
            let text = SMALLEST.replace(old, new);
            let error = parse(&text).expect_err(new).to_string();
            assert!(error.contains(wanted), "{new}: {error}");
        }
        let added = [
            ("compression: {level: 20}", "compression.level"),
            ("compression: {workers: 0}", "compression.workers"),
            ("spool: {max_use: 10}", "for example 64MiB"),
            ("spool:\n  max_use: 10", "max_use: 10"),
            ("spool: {max_use: 0B}", "spool.max_use"),
            ("settle: {quiet_period: 30}", "for example 30s"),
            ("settle: {quiet_period: 10ms}", "settle.quiet_period"),
            ("limits: {max_dump_size: 0B}", "limits"),
            (
                "kubernetes: {enabled: true, labels: ['']}",
                "kubernetes.labels",
            ),
            (
                "kubernetes: {enabled: true, kubelet_dir: kubelet}",
                "kubernetes.kubelet_dir",
            ),
            (
                "kubernetes: {enabled: true, log: {lines: 0}}",
                "kubernetes.log",
            ),
            (
                "kubernetes: {enabled: true, log: {max_bytes: 1GiB}}",
                "kubernetes.log.max_bytes",
            ),
            (
                "kubernetes: {enabled: true, join_window: 1ms}",
                "kubernetes.join_window",
            ),
            (
                "kubernetes: {enabled: true, selection: {pods: {matchExpressions: [{key: a, operator: Like}]}}}",
                "kubernetes.selection.pods",
            ),
            (
                "kubernetes: {enabled: true, selection: {unknown: drop}}",
                "drop",
            ),
            ("listen: nowhere", "listen"),
            ("cluster: again", "cluster"),
        ];
        for (line, wanted) in added {
            let error = parse(&format!("{SMALLEST}{line}\n"))
                .expect_err(line)
                .to_string();
            assert!(error.contains(wanted), "{line}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_written_as_what_is_accepted_and_the_same(text in changed(EVERY_KEY)) {
            if let Ok(config) = parse(&text) {
                let effective = config.effective().expect("yaml");
                let again = parse(&effective).expect("what was written can be read");
                prop_assert_eq!(again.effective().expect("yaml"), effective);
            }
        }
    }
}
