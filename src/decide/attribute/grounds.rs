//! The grounds of an attribution, each with two wordings: one that names pods, and one for a crash of nobody's, which every tenant may read.

use crate::model::{Evidence, escaped};

/// Where a piece of evidence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Cgroup,
    KubeletPath,
    Layout,
    Mounts,
    HostName,
    FileName,
    Uid,
    Termination,
    LogDirectory,
    Index,
}

impl Source {
    /// Its name in a manifest.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::KubeletPath => "kubelet path",
            Self::Layout => "layout",
            Self::Mounts => "mounts",
            Self::HostName => "hostname",
            Self::FileName => "file name",
            Self::Uid => "uid",
            Self::Termination => "termination",
            Self::LogDirectory => "log directory",
            Self::Index => "index",
        }
    }
}

/// What was considered, in the order it was.
#[derive(Debug, Default)]
pub(super) struct Grounds {
    evidence: Vec<(Evidence, String)>,
    conflicts: Vec<(String, String)>,
}

impl Grounds {
    /// Evidence that names no pod.
    pub(super) fn note(&mut self, source: Source, trusted: bool, says: String) {
        self.note_of(source, trusted, says.clone(), says);
    }

    /// Evidence in both wordings.
    pub(super) fn note_of(
        &mut self,
        source: Source,
        trusted: bool,
        says: String,
        unnamed: impl Into<String>,
    ) {
        let evidence = Evidence {
            source: source.name().to_owned(),
            says,
            trusted,
        };
        self.evidence.push((evidence, unnamed.into()));
    }

    /// A contradiction in both wordings.
    pub(super) fn conflict(&mut self, named: String, unnamed: &str) {
        self.conflicts.push((named, unnamed.to_owned()));
    }

    /// Whether anything contradicts anything.
    pub(super) fn contradict(&self) -> bool {
        !self.conflicts.is_empty()
    }

    /// The grounds of a crash that has a pod.
    pub(super) fn named(self) -> (Vec<Evidence>, Vec<String>) {
        let evidence = self.evidence.into_iter().map(|(named, _)| named);
        let conflicts = self.conflicts.into_iter().map(|(named, _)| named);
        (evidence.collect(), conflicts.collect())
    }

    /// The grounds of a crash that has none.
    pub(super) fn unnamed(self) -> (Vec<Evidence>, Vec<String>) {
        let evidence = self
            .evidence
            .into_iter()
            .map(|(named, says)| Evidence { says, ..named });
        let conflicts = self.conflicts.into_iter().map(|(_, unnamed)| unnamed);
        (evidence.collect(), conflicts.collect())
    }
}

/// A name that anyone may have chosen, fit for a manifest and bounded.
pub(super) fn shown(name: &str) -> String {
    escaped(name).to_string()
}

/// "1 pod", "3 pods".
pub(super) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
