//! What the directory levels below a source mean: `{namespace}/{pod}/{container}`.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::stored_as_text;

/// The meaning of one directory level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The Kubernetes namespace.
    Namespace,
    /// The pod's name.
    Pod,
    /// The container's name.
    Container,
    /// The pod's UID.
    Uid,
    /// Any name, without a meaning.
    Any,
}

const PLACEHOLDERS: [(Placeholder, &str); 5] = [
    (Placeholder::Namespace, "{namespace}"),
    (Placeholder::Pod, "{pod}"),
    (Placeholder::Container, "{container}"),
    (Placeholder::Uid, "{uid}"),
    (Placeholder::Any, "*"),
];

/// Most levels a source may have: each is a directory to watch per pod.
const LEVELS_MAX: usize = 6;

/// Names are taken from levels only up to this length; Kubernetes allows 253 for the longest.
const NAME_MAX: usize = 253;

/// The levels below a source, none by default: only files directly in it are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Layout(Vec<Placeholder>);

/// The names that a file's directory levels give.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Kubernetes namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Pod name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Container name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Pod UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The pod's volume that the file is in, where the kubelet's path says so; `uid` is then what the kubelet calls the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The levels from the volume's own directory to the file's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub below: Vec<String>,
}

/// A layout that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{written:?} is not a layout ({problem}): use {{namespace}}, {{pod}}, {{container}}, {{uid}} or *, one for each directory level, separated by /"
)]
pub struct InvalidLayout {
    written: String,
    problem: String,
}

impl Layout {
    /// Whether only files directly in the source are looked at.
    pub fn is_flat(&self) -> bool {
        self.0.is_empty()
    }

    /// How many directory levels lie between the source and its deepest files.
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// Which level, counted from 0, is the pod's UID, if one is.
    pub fn uid_level(&self) -> Option<usize> {
        self.0.iter().position(|level| *level == Placeholder::Uid)
    }

    /// The names that these levels, outermost first, give. A level that is no printable text up to 253 bytes gives none.
    pub fn names<'a>(&self, levels: impl IntoIterator<Item = &'a OsStr>) -> Names {
        let mut names = Names::default();
        for (placeholder, level) in self.0.iter().zip(levels) {
            let name = level
                .to_str()
                .filter(|name| name.len() <= NAME_MAX && name.chars().all(|c| c.is_ascii_graphic()))
                .map(str::to_owned);
            match placeholder {
                Placeholder::Namespace => names.namespace = name,
                Placeholder::Pod => names.pod = name,
                Placeholder::Container => names.container = name,
                Placeholder::Uid => names.uid = name,
                Placeholder::Any => {}
            }
        }
        names
    }
}

impl FromStr for Layout {
    type Err = InvalidLayout;

    fn from_str(written: &str) -> Result<Self, InvalidLayout> {
        let invalid = |problem: String| InvalidLayout {
            written: written.to_owned(),
            problem,
        };
        if written.is_empty() {
            return Ok(Self::default());
        }
        let mut levels = Vec::new();
        for level in written.split('/') {
            let (placeholder, _) = PLACEHOLDERS
                .into_iter()
                .find(|(_, text)| *text == level)
                .ok_or_else(|| invalid(format!("level {level:?} has no meaning")))?;
            if placeholder != Placeholder::Any && levels.contains(&placeholder) {
                return Err(invalid(format!("{level} stands there twice")));
            }
            levels.push(placeholder);
        }
        if levels.len() > LEVELS_MAX {
            return Err(invalid(format!("more than {LEVELS_MAX} levels")));
        }
        Ok(Self(levels))
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, placeholder) in self.0.iter().enumerate() {
            let text = PLACEHOLDERS
                .iter()
                .find(|(p, _)| p == placeholder)
                .map_or("*", |(_, text)| text);
            write!(f, "{}{text}", if n == 0 { "" } else { "/" })?;
        }
        Ok(())
    }
}

stored_as_text!(Layout => InvalidLayout);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::changes::changed;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn levels_become_names() {
        let layout: Layout = "{namespace}/*/{pod}/{container}".parse().expect("layout");
        let names = layout.names(["shop", "x", "cart-0", "app"].map(OsStr::new));
        assert_eq!(names.namespace.as_deref(), Some("shop"));
        assert_eq!(names.pod.as_deref(), Some("cart-0"));
        assert_eq!(names.container.as_deref(), Some("app"));
        assert_eq!(layout.to_string().parse(), Ok(layout));
    }

    #[test]
    fn a_file_above_the_deepest_level_has_fewer_names() {
        let layout: Layout = "{namespace}/{pod}".parse().expect("layout");
        assert_eq!(layout.names([OsStr::new("shop")]).pod, None);
    }

    #[test]
    fn hostile_levels_give_no_name() {
        let layout: Layout = "{pod}".parse().expect("layout");
        for level in [&b"a\nb"[..], b"\xff", b"a b", "ä".as_bytes()] {
            assert_eq!(layout.names([OsStr::from_bytes(level)]), Names::default());
        }
    }

    #[test]
    fn a_layout_without_meaning_is_refused() {
        for bad in [
            "{node}",
            "{pod}/{pod}",
            "/{pod}",
            "{pod}/",
            "pods",
            "*/*/*/*/*/*/*",
        ] {
            let error = bad.parse::<Layout>().expect_err(bad).to_string();
            assert!(error.contains("{container}"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_for_a_layout_is_spelt_so_and_names_any_levels(
            written in changed("{namespace}/{pod}/*/{container}/{uid}"),
            levels in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        ) {
            if let Ok(layout) = written.parse::<Layout>() {
                prop_assert_eq!(layout.to_string(), written);
                let names = layout.names(levels.iter().map(|level| OsStr::from_bytes(level)));
                let all = [names.namespace, names.pod, names.container, names.uid];
                prop_assert!(all.iter().flatten().all(|name| name.len() <= NAME_MAX));
            }
        }
    }
}
