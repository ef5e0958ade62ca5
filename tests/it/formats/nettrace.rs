//! Traces of a real .NET runtime, compared with a reader in Python, with the process and with the clock.

/// All need the runtime.
mod dotnet {
    use std::fs;
    use std::path::{Path, PathBuf};

    use anyhow::{Context, Result, ensure};
    use jiff::Timestamp;
    use salvage::identify::identify;
    use salvage::model::{Completeness, Facts, Format};
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use crate::support::eventpipe::{Provider, Session};
    use crate::support::process::ending;
    use crate::support::victims::{Launch, Victim};
    use crate::support::{cuts, readers};

    /// Samples of all stacks, methods that are compiled, exceptions.
    const CPU: [Provider; 2] = [
        (0, 4, "Microsoft-DotNETCore-SampleProfiler", ""),
        (0x14_c14f_ccbd, 4, "Microsoft-Windows-DotNETRuntime", ""),
    ];

    const COUNTERS: [Provider; 1] = [(0, 4, "System.Runtime", "EventCounterIntervalSec=1")];

    /// Every object of the heap and what it refers to, with a collection at the beginning.
    const HEAP: [Provider; 1] = [(0x198_0001, 5, "Microsoft-Windows-DotNETRuntime", "")];

    struct Traced {
        directory: TempDir,
        victim: Victim,
        before: Timestamp,
    }

    impl Traced {
        fn new() -> Result<Self> {
            let directory = TempDir::new()?;
            let launch = Launch::dotnet_at_rest(directory.path())?;
            let victim = launch.start_in(directory.path())?;
            Ok(Self {
                directory,
                victim,
                before: Timestamp::now(),
            })
        }

        fn begin(&self, providers: &[Provider], rundown: bool) -> Result<Session> {
            let pid = self.victim.facts().pid;
            Session::begin(self.directory.path(), pid, providers, rundown)
        }

        fn keep(&self, trace: &[u8]) -> Result<PathBuf> {
            let path = self.directory.path().join("x.nettrace");
            fs::write(&path, trace)?;
            Ok(path)
        }

        /// What holds of every trace of it, whole or not.
        fn agrees(&self, path: &Path) -> Result<(Facts, Value)> {
            let file = fs::File::open(path)?;
            let facts = identify(&file, file.metadata()?.len());
            let read = readers::python("nettrace.py", path)?;
            assert_eq!(facts.format, Format::Nettrace);
            assert_eq!(facts.unread, Vec::<String>::new());
            assert_eq!(facts.format_version.as_deref(), Some("4"));
            assert_eq!(json!(4), read["version"]);
            let pid = facts.process.clone().and_then(|process| process.pid);
            assert_eq!(pid, Some(i32::try_from(self.victim.facts().pid)?));
            assert_eq!(json!(pid), read["pid"]);
            let written = facts.written.context("it has a time")?;
            assert_eq!(json!(written.as_millisecond()), read["time_ms"]);
            let before = Timestamp::from_millisecond(self.before.as_millisecond())?;
            ensure!(
                before <= written && written <= Timestamp::now(),
                "{before} {written}"
            );
            let runtime = facts.runtime.clone().and_then(|runtime| runtime.name);
            assert_eq!(runtime.as_deref(), Some(".NET"));
            let complete = facts.completeness == Completeness::Complete;
            assert_eq!(json!(complete), read["complete"]);
            cuts::never_complete(path, Format::Nettrace, 0);
            Ok((facts, read))
        }
    }

    #[test]
    #[ignore = "needs a real .NET; tests/run provisions it"]
    fn traces_that_were_stopped_are_whole() -> Result<()> {
        let traced = Traced::new()?;
        for (providers, rundown, bytes) in [
            (&CPU[..], true, 20_000),
            (&COUNTERS, false, 1_000),
            (&HEAP, false, 100_000),
        ] {
            let mut session = traced.begin(providers, rundown)?;
            session.read_until(bytes)?;
            let path = traced.keep(&session.stop()?)?;
            let (facts, read) = traced.agrees(&path)?;
            assert_eq!(facts.completeness, Completeness::Complete, "{read}");
            ensure!(read["objects"]["EventBlock"].as_u64() > Some(0), "{read}");
        }
        Ok(())
    }

    #[test]
    #[ignore = "needs a real .NET; tests/run provisions it"]
    fn a_trace_of_a_process_that_was_killed_is_truncated() -> Result<()> {
        let mut traced = Traced::new()?;
        let mut session = traced.begin(&CPU, true)?;
        session.read_until(10_000)?;
        assert_eq!(ending(traced.victim.process().kill()?), "signal 9");
        let path = traced.keep(&session.read_to_end()?)?;
        let (facts, _) = traced.agrees(&path)?;
        assert_eq!(
            facts.completeness,
            Completeness::Truncated { expected: None }
        );
        Ok(())
    }

    #[test]
    #[ignore = "needs a real .NET; tests/run provisions it"]
    fn a_trace_whose_reader_went_away_is_truncated() -> Result<()> {
        let traced = Traced::new()?;
        let mut session = traced.begin(&HEAP, false)?;
        session.read_until(50_000)?;
        let path = traced.keep(&session.trace)?;
        let (facts, _) = traced.agrees(&path)?;
        assert_eq!(
            facts.completeness,
            Completeness::Truncated { expected: None }
        );
        Ok(())
    }
}
