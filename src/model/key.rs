//! Object keys: where a crash and its artifacts stand in the bucket.
//!
//! ```text
//! crashes/cluster=<c>/namespace=<ns>/date=<YYYY-MM-DD>/<YYYYMMDDTHHMMSSZ>_<pod>_<container>_<reason>_<stored bytes>_<id>.json
//! artifacts/cluster=<c>/namespace=<ns>/date=<YYYY-MM-DD>/<id>/dump-0.core.zst
//! ```
//!
//! A crash's key says what, where, when, why and how big, so that a listing needs no further request. Keys are relative to the
//! store's URL. A component has at most 240 bytes, and no text from a dump enters a key unchecked: what does not fit is replaced,
//! cut, and ends in a digest of the whole.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::stored_as_text;
use super::{CrashId, Format, Reason, Sha256};

/// Longest key: S3 allows 1,024 bytes, and the prefix of the store's URL wants room as well.
const KEY_MAX: usize = 1_000;
/// Longest name of a cluster or namespace in a key.
const SCOPE_MAX: usize = 100;
/// Longest pod name in a key: with the longest of everything else the component stays within 240 bytes.
const POD_MAX: usize = 88;
/// Longest container name in a key; Kubernetes allows no longer one.
const CONTAINER_MAX: usize = 63;
/// Stands where nothing is known.
const NONE: &str = "-";

/// The name of one object, relative to the store's URL: components of `A-Z a-z 0-9 . _ - =`, separated by `/`, none of them empty
/// or beginning with a dot, so a key is also a safe relative path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

/// A text that is no key of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{written:?} is not a key of salvage: {problem}")]
pub struct InvalidKey {
    written: String,
    problem: &'static str,
}

impl ObjectKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl FromStr for ObjectKey {
    type Err = InvalidKey;

    fn from_str(written: &str) -> Result<Self, InvalidKey> {
        let invalid = |problem| InvalidKey {
            written: written.chars().take(256).collect(),
            problem,
        };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'=');
        if written.len() > KEY_MAX {
            return Err(invalid("longer than 1,000 bytes"));
        }
        for component in written.split('/') {
            if component.is_empty() || component.starts_with('.') {
                return Err(invalid("a component is empty or begins with a dot"));
            }
            if !component.bytes().all(allowed) {
                return Err(invalid("a character other than A-Z a-z 0-9 . _ - ="));
            }
        }
        Ok(Self(written.to_owned()))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What part an artifact plays in its crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The memory image itself, or what stands for it.
    Dump,
    /// The container's output before it ended.
    Log,
    /// A runtime's own account of the crash.
    Report,
    /// Events or values of a living process over a time.
    Trace,
}

impl Role {
    /// The name in keys, manifests and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dump => "dump",
            Self::Log => "log",
            Self::Report => "report",
            Self::Trace => "trace",
        }
    }
}

/// The last component of an artifact's key: role, number and format, nothing that a dump chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactName {
    /// The part it plays.
    pub role: Role,
    /// Counts the artifacts of one role from 0.
    pub number: u32,
    /// What it is.
    pub format: Format,
    /// Counts the objects of a dump too large for one, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<u32>,
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.role.name(), self.number)?;
        if let Some(volume) = self.volume {
            write!(f, ".{volume:03}")?;
        }
        write!(f, ".{}.zst", self.format.extension())
    }
}

/// What a crash's own key says: all that a listing shows. Every name is already fit for a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ObjectKey", into = "ObjectKey")]
pub struct CrashKey {
    cluster: String,
    namespace: String,
    time: Timestamp,
    pod: String,
    container: String,
    reason: Reason,
    stored_bytes: u64,
    id: CrashId,
}

/// What [`crash_key_of`] puts together.
#[derive(Clone, Copy, Debug)]
pub struct CrashKeyParts<'a> {
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Namespace, `_unknown`, or nothing without Kubernetes.
    pub namespace: Option<&'a str>,
    /// Pod name.
    pub pod: Option<&'a str>,
    /// Container name.
    pub container: Option<&'a str>,
    /// Class of the reason.
    pub reason: Reason,
    /// Bytes of all artifacts as stored.
    pub stored_bytes: u64,
    /// The crash; its time part becomes the date and time, to the second.
    pub id: CrashId,
}

/// Makes a crash's key from raw names.
pub fn crash_key_of(parts: CrashKeyParts<'_>) -> CrashKey {
    CrashKey {
        cluster: component(parts.cluster, SCOPE_MAX, true),
        namespace: component(parts.namespace.unwrap_or(NONE), SCOPE_MAX, true),
        time: whole_second(parts.id.time()),
        pod: component(parts.pod.unwrap_or(NONE), POD_MAX, false),
        container: component(parts.container.unwrap_or(NONE), CONTAINER_MAX, false),
        reason: parts.reason,
        stored_bytes: parts.stored_bytes,
        id: parts.id,
    }
}

/// The key of an artifact of the crash `id`.
pub fn artifact_key(
    cluster: &str,
    namespace: Option<&str>,
    id: CrashId,
    name: ArtifactName,
) -> ObjectKey {
    let cluster = component(cluster, SCOPE_MAX, true);
    let namespace = component(namespace.unwrap_or(NONE), SCOPE_MAX, true);
    let date = id.time().strftime("%Y-%m-%d");
    ObjectKey(format!(
        "artifacts/cluster={cluster}/namespace={namespace}/date={date}/{id}/{name}"
    ))
}

/// The number in an artifact's key.
pub fn artifact_number(key: &ObjectKey) -> Option<u32> {
    let (_, number) = key.file_name().split_once('-')?;
    number.split('.').next()?.parse().ok()
}

/// The key at which the agent of `node` tries what it may do in the store; never listed as a crash.
pub fn probe_key(cluster: &str, node: &str) -> ObjectKey {
    let cluster = component(cluster, SCOPE_MAX, true);
    let node = component(node, SCOPE_MAX, true);
    ObjectKey(format!("artifacts/cluster={cluster}/probe={node}"))
}

impl CrashKey {
    /// Name of the cluster, as in the key.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Namespace as in the key; `-` where none is known.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// When it crashed, to the second.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Pod name as in the key; `-` where none is known.
    pub fn pod(&self) -> &str {
        &self.pod
    }

    /// Container name as in the key; `-` where none is known.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// Class of the reason.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Bytes of all artifacts as stored.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// The crash.
    pub fn id(&self) -> CrashId {
        self.id
    }

    /// The key as an object's name.
    pub fn to_object_key(&self) -> ObjectKey {
        ObjectKey(self.to_string())
    }
}

impl fmt::Display for CrashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cluster,
            namespace,
            time,
            pod,
            container,
            reason,
            stored_bytes,
            id,
        } = self;
        let date = time.strftime("%Y-%m-%d");
        let second = time.strftime("%Y%m%dT%H%M%SZ");
        write!(
            f,
            "crashes/cluster={cluster}/namespace={namespace}/date={date}/{second}_{pod}_{container}_{reason}_{stored_bytes}_{id}.json"
        )
    }
}

impl From<CrashKey> for ObjectKey {
    fn from(key: CrashKey) -> Self {
        key.to_object_key()
    }
}

impl TryFrom<ObjectKey> for CrashKey {
    type Error = InvalidKey;

    fn try_from(key: ObjectKey) -> Result<Self, InvalidKey> {
        key.as_str().parse()
    }
}

impl FromStr for CrashKey {
    type Err = InvalidKey;

    fn from_str(written: &str) -> Result<Self, InvalidKey> {
        let invalid = |problem| InvalidKey {
            written: written.chars().take(256).collect(),
            problem,
        };
        let shape = || {
            invalid(
                "not crashes/cluster=/namespace=/date=/<time>_<pod>_<container>_<reason>_<bytes>_<id>.json",
            )
        };
        ObjectKey::from_str(written)?;
        let [crashes, cluster, namespace, date, name] = written
            .split('/')
            .collect::<Vec<_>>()
            .try_into()
            .map_err(|_| shape())?;
        let cluster = cluster.strip_prefix("cluster=").ok_or_else(shape)?;
        let namespace = namespace.strip_prefix("namespace=").ok_or_else(shape)?;
        let date = date.strip_prefix("date=").ok_or_else(shape)?;
        let name = name.strip_suffix(".json").ok_or_else(shape)?;
        let [second, pod, container, reason, stored_bytes, id] = name
            .split('_')
            .collect::<Vec<_>>()
            .try_into()
            .map_err(|_| shape())?;
        let id: CrashId = id
            .parse()
            .map_err(|_| invalid("it does not end in a crash id"))?;
        let key = Self {
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            time: whole_second(id.time()),
            pod: pod.to_owned(),
            container: container.to_owned(),
            reason: reason.parse().map_err(|_| invalid("its reason is none"))?,
            stored_bytes: stored_bytes
                .parse()
                .map_err(|_| invalid("its size is no number"))?,
            id,
        };
        // One instant, written three times: a key that contradicts itself is not ours. Comparing the whole text also refuses
        // any second spelling of a number or a name.
        let one_instant = key.time.strftime("%Y-%m-%d").to_string() == date
            && key.time.strftime("%Y%m%dT%H%M%SZ").to_string() == second;
        if crashes != "crashes" || !one_instant || key.to_string() != written {
            return Err(invalid("its date, time and id do not agree"));
        }
        Ok(key)
    }
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Makes a name fit for a key. What has to be changed ends in 8 hex digits of SHA-256 over the whole name, so two names never
/// become one; `_` separates the parts of a crash's name and is kept only where `underscore` says so.
fn component(name: &str, max: usize, underscore: bool) -> String {
    let fit =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-') || (underscore && c == '_');
    if !name.is_empty() && name.len() <= max && name.chars().all(fit) && !name.starts_with('.') {
        return name.to_owned();
    }
    if name.is_empty() {
        return NONE.to_owned();
    }
    let digest = Sha256::of(name.as_bytes());
    let readable: String = name
        .chars()
        .take(max - 9)
        .map(|c| if fit(c) { c } else { '-' })
        .collect::<String>()
        .replacen('.', "-", usize::from(name.starts_with('.')));
    format!("{readable}-{}", hex::encode(&digest[..4]))
}

stored_as_text!(ObjectKey => InvalidKey);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::changes::changed;
    use proptest::prelude::*;

    fn key(pod: &str) -> CrashKey {
        let time: Timestamp = "2026-11-21T10:00:00.5Z".parse().expect("time");
        crash_key_of(CrashKeyParts {
            cluster: "prod-eu",
            namespace: Some("shop"),
            pod: Some(pod),
            container: None,
            reason: Reason::Signal(11),
            stored_bytes: 1234,
            id: CrashId::new(time, 99),
        })
    }

    #[test]
    fn a_key_says_what_where_when_why_and_how_big() {
        let key = key("cart-0");
        let text = key.to_string();
        assert!(text.starts_with("crashes/cluster=prod-eu/namespace=shop/date=2026-11-21/20261121T100000Z_cart-0_-_SIGSEGV_1234_"), "{text}");
        assert_eq!(text.parse(), Ok(key));
    }

    #[test]
    fn a_forged_key_is_refused() {
        let text = key("cart-0").to_string();
        for forged in [
            text.replace("date=2026-11-21", "date=2026-11-22"),
            text.replace("100000Z", "100001Z"),
            text.replace("crashes/", "artifacts/"),
            text.replace("_1234_", "_01234_"),
            text.replace("cart-0", "../x"),
            text.replace(".json", ""),
            text.replace("SIGSEGV", "SIGNOTHING"),
        ] {
            assert!(forged.parse::<CrashKey>().is_err(), "{forged}");
        }
    }

    #[test]
    fn names_that_do_not_fit_stay_apart() {
        assert_ne!(component("a/b", 20, false), component("a?b", 20, false));
        assert_ne!(
            component(&"a".repeat(300), 88, false),
            component(&"a".repeat(301), 88, false)
        );
        assert_eq!(component("", 20, false), "-");
        assert_eq!(component("_unknown", 20, true), "_unknown");
        assert!(component("..", 20, true).starts_with("-."));
    }

    #[test]
    fn artifact_names_hold_role_number_and_format_only() {
        let id = CrashId::new("2026-11-21T10:00:00Z".parse().expect("time"), 1);
        let name = ArtifactName {
            role: Role::Dump,
            number: 0,
            format: Format::ElfCore,
            volume: None,
        };
        let key = artifact_key("c", None, id, name);
        assert_eq!(
            key.as_str(),
            format!("artifacts/cluster=c/namespace=-/date=2026-11-21/{id}/dump-0.core.zst")
        );
        assert_eq!(
            ArtifactName {
                volume: Some(7),
                ..name
            }
            .to_string(),
            "dump-0.007.core.zst"
        );
        assert!(key.as_str().parse::<ObjectKey>().is_ok());
        assert!(
            probe_key("c", "node/1")
                .as_str()
                .parse::<ObjectKey>()
                .is_ok()
        );
    }

    proptest! {
        #[test]
        fn any_names_make_a_key_that_reads_back(cluster in ".{0,300}", namespace in ".{0,300}", pod in ".{0,300}", container in ".{0,300}", bytes: u64, ms in 0i64..253_402_300_799_000, random: u128, signal in 1u8..=64) {
            let key = crash_key_of(CrashKeyParts {
                cluster: &cluster,
                namespace: Some(&namespace),
                pod: Some(&pod),
                container: Some(&container),
                reason: Reason::Signal(signal),
                stored_bytes: bytes,
                id: CrashId::new(Timestamp::from_millisecond(ms).expect("in range"), random),
            });
            let text = key.to_string();
            prop_assert!(text.len() <= KEY_MAX);
            prop_assert!(text.split('/').all(|component| component.len() <= 240), "{}", text);
            prop_assert_eq!(text.parse(), Ok(key));
        }

        #[test]
        fn what_is_taken_for_a_key_is_spelt_like_one(written in changed(key("cart-0").to_string())) {
            if let Ok(key) = written.parse::<CrashKey>() {
                prop_assert_eq!(key.to_string(), written.clone());
            }
            if let Ok(key) = written.parse::<ObjectKey>() {
                prop_assert_eq!(key.to_string(), written.clone());
                let safe = |component: &str| !component.is_empty() && !component.starts_with('.');
                prop_assert!(written.split('/').all(safe));
            }
        }
    }
}
