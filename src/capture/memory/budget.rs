//! What was spent, on disk: a restart of the agent gives nobody a new budget.
//!
//! `<state_dir>/captures.json` holds when captures of each workload began. It is written before a capture starts: stopped in between, one was spent that was not
//! taken, never the other way round.
//!
//! A file that cannot be read counts as everything spent, for one window from then on: what it held may have been all of it, and a node whose disk loses files must
//! not stop its processes over and over. That this was so is in the file that takes its place, so that a restart does not begin the window anew. A file that is not
//! there counts as nothing spent: that is a new node.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::rule::{BUDGET_MAX, Rule};
use super::trigger::{Fire, Instance, Ledger, Seen, Trigger, WORKLOADS_MAX, Workload};
use crate::model::escaped;
use crate::sys::{Dir, write_durably};

const NAME: &str = "captures.json";

const VERSION: u32 = 1;

/// Largest file read: of the most workloads with the most captures and names of 253 characters.
const FILE_MAX: u64 = 8 << 20;

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unknown_before: Option<Timestamp>,
    workloads: Vec<Spent>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spent {
    workload: Workload,
    at: Vec<Timestamp>,
}

/// The trigger with its file.
#[derive(Debug)]
pub struct Budget {
    trigger: Trigger,
    dir: Dir,
    path: PathBuf,
}

/// What was there when it was opened.
#[derive(Debug)]
pub enum Opened {
    /// No file: nothing was spent.
    New,
    /// A file.
    Known,
    /// A file that cannot be read, and why: nobody is captured for one window.
    Unreadable(io::Error),
}

/// What was spent cannot be kept, so no capture may start.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: what captures were taken cannot be written, so none is started; free or mend the disk of the state directory",
    escaped(path)
)]
pub struct BudgetError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Budget {
    /// Opens what was spent, in `state_dir`, which nobody else uses.
    ///
    /// # Errors
    /// The directory cannot be opened, or an unreadable file not be replaced.
    pub fn open(state_dir: &Path, now: Timestamp) -> Result<(Self, Opened), BudgetError> {
        let path = state_dir.join(NAME);
        let failed = |source| BudgetError {
            path: path.clone(),
            source,
        };
        let dir = state_dir
            .canonicalize()
            .and_then(|state_dir| Dir::open(&state_dir))
            .map_err(failed)?;
        let (mut ledger, opened) = match load(&dir) {
            Ok(Some(ledger)) => (ledger, Opened::Known),
            Ok(None) => (Ledger::default(), Opened::New),
            Err(error) => {
                let ledger = Ledger {
                    unknown_before: Some(now),
                    ..Ledger::default()
                };
                (ledger, Opened::Unreadable(error))
            }
        };
        ledger.set_back_to(now);
        ledger.forget(now);
        let budget = Self {
            trigger: Trigger::new(ledger),
            dir,
            path,
        };
        if matches!(opened, Opened::Unreadable(_)) {
            budget.write()?;
        }
        Ok((budget, opened))
    }

    /// Looks at a container with its rule. Where it is to be captured, that is spent and on disk already.
    ///
    /// # Errors
    /// What was spent cannot be written: the capture must not start, and counts as taken until the agent starts anew.
    pub fn observe(
        &mut self,
        now: Timestamp,
        instance: &Instance,
        workload: &Workload,
        rule: &Rule,
        seen: Seen,
    ) -> Result<Option<Fire>, BudgetError> {
        let fire = self.trigger.observe(now, instance, workload, rule, seen);
        if fire.is_some() {
            self.write()?;
        }
        Ok(fire)
    }

    /// Forgets a container that is gone. What was spent for it stays spent.
    pub fn forget(&mut self, instance: &Instance) {
        self.trigger.forget(instance);
    }

    fn write(&self) -> Result<(), BudgetError> {
        let ledger = self.trigger.ledger();
        let workloads = ledger.spent.iter().map(|(workload, at)| Spent {
            workload: workload.clone(),
            at: at.clone(),
        });
        let file = File {
            version: VERSION,
            unknown_before: ledger.unknown_before,
            workloads: workloads.collect(),
        };
        let json = serde_json::to_vec(&file).map_err(io::Error::other);
        let written = json.and_then(|json| write_durably(&self.dir, OsStr::new(NAME), &json));
        written.map_err(|source| BudgetError {
            path: self.path.clone(),
            source,
        })
    }
}

/// Reads the file, if there is one.
fn load(dir: &Dir) -> io::Result<Option<Ledger>> {
    let file = match dir.open_file(OsStr::new(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut json = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut json)?;
    let file: File = serde_json::from_slice(&json).map_err(io::Error::other)?;
    let most = usize::try_from(BUDGET_MAX).unwrap_or(usize::MAX);
    let fits = file.workloads.len() <= WORKLOADS_MAX
        && file.workloads.iter().all(|spent| spent.at.len() <= most);
    if file.version != VERSION || !fits {
        let problem = format!(
            "is of version {} or larger than version {VERSION} writes",
            file.version
        );
        return Err(io::Error::other(problem));
    }
    let spent = file
        .workloads
        .into_iter()
        .map(|spent| (spent.workload, spent.at));
    Ok(Some(Ledger {
        spent: spent.collect(),
        unknown_before: file.unknown_before,
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::rule::tests::{parts, rule};
    use super::super::trigger::tests::workload;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    const NEAR: Seen = Seen {
        used: 95,
        limit: Some(100),
    };

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_750_000_000 + hours * 3_600).expect("a time")
    }

    /// Whether a container that was never seen before is captured now.
    fn fires(budget: &mut Budget, hours: i64, name: &str) -> bool {
        let new = Instance(format!("{name} {hours}"));
        let fire = budget.observe(at(hours), &new, &workload(name), &rule(), NEAR);
        fire.expect("written").is_some()
    }

    fn open(dir: &Path, hours: i64) -> (Budget, Opened) {
        Budget::open(dir, at(hours)).expect("opened")
    }

    #[test]
    fn a_restart_gives_nobody_a_new_budget() {
        let temp = tempfile::tempdir().expect("temp dir");
        let mut taken = Vec::new();
        for hours in 0..30 {
            // Each hour another agent.
            let (mut budget, opened) = open(temp.path(), hours);
            assert_eq!(matches!(opened, Opened::New), hours == 0, "{opened:?}");
            if fires(&mut budget, hours, "cart") {
                taken.push(hours);
            }
        }
        assert_eq!(taken, [0, 1, 2, 24, 25, 26], "three in 24 hours");
    }

    #[test]
    fn a_capture_is_on_disk_before_it_is_told() {
        let temp = tempfile::tempdir().expect("temp dir");
        let (mut budget, _) = open(temp.path(), 0);
        assert!(fires(&mut budget, 0, "cart"));
        let json = std::fs::read_to_string(temp.path().join(NAME)).expect("the file");
        assert_eq!(
            json,
            r#"{"version":1,"workloads":[{"workload":{"namespace":"shop","owner":{"kind":"Deployment","name":"cart"},"container":"api"},"at":["2025-06-15T15:06:40Z"]}]}"#
        );
    }

    #[test]
    fn what_cannot_be_written_is_not_taken() {
        let temp = tempfile::tempdir().expect("temp dir");
        let (mut budget, _) = open(temp.path(), 0);
        // A directory in the file's place can be neither replaced nor read.
        std::fs::create_dir(temp.path().join(NAME)).expect("a directory");
        let first = Instance("a".into());
        let refused = budget.observe(at(0), &first, &workload("cart"), &rule(), NEAR);
        let refused = refused.expect_err("not written").to_string();
        let remedy = "so none is started; free or mend the disk of the state directory";
        assert!(refused.ends_with(remedy), "{refused}");
        std::fs::remove_dir(temp.path().join(NAME)).expect("removed");
        assert!(!fires(&mut budget, 0, "cart"), "it counts all the same");
        assert!(fires(&mut budget, 0, "pay"));
    }

    #[test]
    fn an_unreadable_file_counts_as_spent_for_one_window_and_no_longer() {
        for text in [
            "",
            "{",
            "\0\0\0",
            r#"{"version":1,"workl"#,
            r#"{"version":2,"workloads":[]}"#,
            r#"{"version":1,"workloads":[],"more":1}"#,
        ] {
            let temp = tempfile::tempdir().expect("temp dir");
            std::fs::write(temp.path().join(NAME), text).expect("written");
            let (_, opened) = open(temp.path(), 0);
            assert!(
                matches!(opened, Opened::Unreadable(_)),
                "{text:?}: {opened:?}"
            );
            let mut taken = Vec::new();
            for hours in 0..30 {
                let (mut budget, opened) = open(temp.path(), hours);
                assert!(matches!(opened, Opened::Known), "{text:?}: {opened:?}");
                if fires(&mut budget, hours, "cart") {
                    taken.push(hours);
                }
            }
            assert_eq!(taken, [24, 25, 26], "{text:?}");
        }
    }

    #[test]
    fn a_clock_that_was_wrong_neither_frees_nor_blocks_for_ever() {
        let temp = tempfile::tempdir().expect("temp dir");
        let (mut budget, _) = open(temp.path(), 10_000);
        for hours in 10_000..10_003 {
            assert!(fires(&mut budget, hours, "cart"));
        }
        // It was set back, while the agent ran and over a restart.
        assert!(!fires(&mut budget, 0, "cart"));
        let (mut budget, _) = open(temp.path(), 0);
        assert!(!fires(&mut budget, 0, "cart") && !fires(&mut budget, 23, "cart"));
        assert!(fires(&mut budget, 24, "cart"));
    }

    #[test]
    fn a_full_ledger_still_fits_its_file() {
        let temp = tempfile::tempdir().expect("temp dir");
        let long = "n".repeat(253);
        let most = usize::try_from(BUDGET_MAX).expect("small");
        let spent = (0..WORKLOADS_MAX)
            .map(|n| (workload(&format!("{long}{n}")), vec![at(0); most]))
            .collect();
        let ledger = Ledger {
            spent,
            unknown_before: None,
        };
        let (mut budget, _) = open(temp.path(), 0);
        budget.trigger = Trigger::new(ledger.clone());
        budget.write().expect("written");
        let (reopened, opened) = open(temp.path(), 0);
        assert!(matches!(opened, Opened::Known), "{opened:?}");
        assert_eq!(*reopened.trigger.ledger(), ledger);
    }

    #[test]
    fn a_shorter_window_of_another_rule_is_its_own() {
        let temp = tempfile::tempdir().expect("temp dir");
        let (mut budget, _) = open(temp.path(), 0);
        assert!(fires(&mut budget, 0, "cart"));
        let mut short = parts();
        (short.budget, short.budget_window, short.cooldown) = (1, 2 * HOUR, HOUR);
        let short = Rule::new(short).expect("a rule");
        for (hours, expected) in [(1, false), (2, true)] {
            let other = Instance("b".into());
            let fire = budget.observe(at(hours), &other, &workload("cart"), &short, NEAR);
            assert_eq!(fire.expect("written").is_some(), expected, "{hours}");
        }
    }
}
