//! Which crashes people want to see.

use std::num::NonZeroUsize;
use std::str::FromStr;

use jiff::Timestamp;

use crate::model::{CrashId, CrashKey, CrashKeyParts, IdPrefix, Reason, crash_key_of};

/// What to look for; everything that is absent admits every crash.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Namespace, exactly; `-` for crashes without one.
    pub namespace: Option<String>,
    /// Pod.
    pub pod: Option<NamePattern>,
    /// Container.
    pub container: Option<NamePattern>,
    /// Class of the reason.
    pub reason: Option<Reason>,
    /// The first characters of the id.
    pub id: Option<IdPrefix>,
    /// Crashes at this instant or later.
    pub since: Option<Timestamp>,
    /// Crashes before this instant.
    pub until: Option<Timestamp>,
    /// Only so many of the newest.
    pub limit: Option<NonZeroUsize>,
}

/// A name as people write it: whole, or its beginning followed by `*`.
///
/// A pod's name ends in what its workload drew at random, so its beginning is what people know; patterns of more kinds would need a
/// manual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// This name.
    Exact(String),
    /// Every name that begins so.
    Prefix(String),
}

/// A pattern that could match no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name: write it whole, or its beginning followed by one *, such as cart-*")]
pub struct InvalidPattern(String);

impl FromStr for NamePattern {
    type Err = InvalidPattern;

    fn from_str(written: &str) -> Result<Self, InvalidPattern> {
        let (name, is_prefix) = match written.strip_suffix('*') {
            Some(name) => (name, true),
            None => (written, false),
        };
        if name.contains('*') || (name.is_empty() && !is_prefix) {
            return Err(InvalidPattern(written.chars().take(64).collect()));
        }
        Ok(if is_prefix {
            Self::Prefix(name.to_owned())
        } else {
            Self::Exact(name.to_owned())
        })
    }
}

impl NamePattern {
    /// The same in the form names have in keys, where a long or odd name is cut and ends in a digest: a whole name is changed the
    /// same way, a beginning is compared with what the key has.
    fn in_keys(&self, fit: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Exact(name) => Self::Exact(fit(name)),
            Self::Prefix(beginning) => Self::Prefix(beginning.clone()),
        }
    }

    fn admits(&self, name: &str) -> bool {
        match self {
            Self::Exact(wanted) => wanted == name,
            Self::Prefix(beginning) => name.starts_with(beginning),
        }
    }
}

impl Filter {
    /// The filter in the form names have in keys.
    pub(super) fn in_keys(&self) -> Self {
        Self {
            namespace: self
                .namespace
                .as_deref()
                .map(|name| as_in_key(|parts| parts.namespace = Some(name), CrashKey::namespace)),
            pod: self.pod.as_ref().map(|pattern| {
                pattern.in_keys(|name| as_in_key(|parts| parts.pod = Some(name), CrashKey::pod))
            }),
            container: self.container.as_ref().map(|pattern| {
                pattern.in_keys(|name| {
                    as_in_key(|parts| parts.container = Some(name), CrashKey::container)
                })
            }),
            ..self.clone()
        }
    }

    /// Whether a crash is wanted, from its key alone; the filter must be in the form of keys.
    pub(super) fn admits(&self, key: &CrashKey) -> bool {
        // The id's time has milliseconds, the key's only seconds.
        let time = key.id().time();
        self.namespace
            .as_ref()
            .is_none_or(|name| name == key.namespace())
            && self.pod.as_ref().is_none_or(|p| p.admits(key.pod()))
            && self
                .container
                .as_ref()
                .is_none_or(|p| p.admits(key.container()))
            && self.reason.is_none_or(|reason| reason == key.reason())
            && self.id.as_ref().is_none_or(|id| id.matches(key.id()))
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
    }
}

/// A name as a key has it.
fn as_in_key<'a>(
    name: impl FnOnce(&mut CrashKeyParts<'a>),
    read: impl FnOnce(&CrashKey) -> &str,
) -> String {
    let mut parts = CrashKeyParts {
        cluster: "-",
        namespace: None,
        pod: None,
        container: None,
        reason: Reason::Unknown,
        stored_bytes: 0,
        id: CrashId::new(Timestamp::UNIX_EPOCH, 0),
    };
    name(&mut parts);
    read(&crash_key_of(parts)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pod: &str) -> CrashKey {
        let time: Timestamp = "2026-11-21T10:00:00.5Z".parse().expect("time");
        crash_key_of(CrashKeyParts {
            cluster: "prod",
            namespace: Some("shop"),
            pod: Some(pod),
            container: Some("app"),
            reason: Reason::Signal(11),
            stored_bytes: 1,
            id: CrashId::new(time, 7),
        })
    }

    fn admits(filter: Filter, pod: &str) -> bool {
        filter.in_keys().admits(&key(pod))
    }

    #[test]
    fn a_pod_is_named_whole_or_by_its_beginning() {
        for (pattern, admitted) in [
            ("cart-0", true),
            ("cart", false),
            ("cart-*", true),
            ("*", true),
            ("basket*", false),
        ] {
            let filter = Filter {
                pod: Some(pattern.parse().expect("pattern")),
                ..Filter::default()
            };
            assert_eq!(admits(filter, "cart-0"), admitted, "{pattern}");
        }
        for bad in ["", "a*b", "**"] {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_too_long_for_a_key_is_found_by_its_whole_self() {
        let long = "x".repeat(200);
        let filter = Filter {
            pod: Some(NamePattern::Exact(long.clone())),
            ..Filter::default()
        };
        assert!(admits(filter, &long));
    }

    #[test]
    fn since_is_included_and_until_is_not() {
        let time: Timestamp = "2026-11-21T10:00:00.5Z".parse().expect("time");
        let within = |since, until| {
            admits(
                Filter {
                    since,
                    until,
                    ..Filter::default()
                },
                "cart-0",
            )
        };
        assert!(within(Some(time), None));
        assert!(!within(None, Some(time)));
        let later = Timestamp::from_millisecond(time.as_millisecond() + 1).expect("in range");
        assert!(within(None, Some(later)));
        assert!(!within(Some(later), None));
    }
}
