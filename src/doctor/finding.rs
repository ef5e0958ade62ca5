//! What was found, and what it means for a dump.

use serde::Serialize;

use super::pods::Judged;

/// Version of what machines read. More fields may come within one.
pub const SCHEMA: u32 = 1;

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is as it should be.
    Ok,
    /// It could not be looked at, or is left alone on purpose.
    Skipped,
    /// A dump comes, but later, more slowly, or not always.
    Warn,
    /// A dump is lost or never made.
    Fail,
}

impl Verdict {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was asked: a stable name.
    pub id: &'static str,
    /// Of what: a path, a permission, a node; empty where there is only one.
    pub subject: String,
    /// What it means.
    pub verdict: Verdict,
    /// What was found, on one line.
    pub cause: String,
    /// What to do about it, on one line; empty where there is nothing to do.
    pub remedy: String,
}

impl Finding {
    fn new(
        id: &'static str,
        subject: impl ToString,
        verdict: Verdict,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            id,
            subject: subject.to_string(),
            verdict,
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn ok(id: &'static str, subject: impl ToString, cause: impl Into<String>) -> Self {
        Self::new(id, subject, Verdict::Ok, cause, "")
    }

    pub(super) fn skipped(
        id: &'static str,
        subject: impl ToString,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(id, subject, Verdict::Skipped, cause, remedy)
    }

    pub(super) fn warn(
        id: &'static str,
        subject: impl ToString,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(id, subject, Verdict::Warn, cause, remedy)
    }

    pub(super) fn fail(
        id: &'static str,
        subject: impl ToString,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(id, subject, Verdict::Fail, cause, remedy)
    }
}

/// All that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What holds for every pod.
    pub checks: Vec<Finding>,
    /// What holds for single containers.
    pub pods: Vec<Judged>,
}

impl Report {
    pub(super) fn new(checks: Vec<Finding>, pods: Vec<Judged>) -> Self {
        Self {
            schema: SCHEMA,
            checks,
            pods,
        }
    }

    /// How many findings of each verdict there are; a container counts as one.
    pub fn count(&self, verdict: Verdict) -> usize {
        let checks = self.checks.iter().map(|finding| finding.verdict);
        let pods = self.pods.iter().map(|judged| judged.verdict);
        checks.chain(pods).filter(|found| *found == verdict).count()
    }

    /// The worst that was found; skipped where nothing could be looked at.
    pub fn worst(&self) -> Verdict {
        if self.count(Verdict::Fail) > 0 {
            Verdict::Fail
        } else if self.count(Verdict::Warn) > 0 {
            Verdict::Warn
        } else if self.count(Verdict::Ok) > 0 {
            Verdict::Ok
        } else {
            Verdict::Skipped
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides_and_what_was_skipped_decides_only_alone() {
        let report = |checks: Vec<Finding>| Report::new(checks, Vec::new());
        let (ok, skipped) = (Finding::ok("a", "", ""), Finding::skipped("b", "", "", ""));
        let (warn, fail) = (
            Finding::warn("c", "", "", ""),
            Finding::fail("d", "", "", ""),
        );
        assert_eq!(report(vec![]).worst(), Verdict::Skipped);
        assert_eq!(report(vec![skipped.clone()]).worst(), Verdict::Skipped);
        assert_eq!(
            report(vec![skipped.clone(), ok.clone()]).worst(),
            Verdict::Ok
        );
        assert_eq!(
            report(vec![ok.clone(), warn.clone()]).worst(),
            Verdict::Warn
        );
        assert_eq!(report(vec![fail, warn, ok, skipped]).worst(), Verdict::Fail);
    }
}
