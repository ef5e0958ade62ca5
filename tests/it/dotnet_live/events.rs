//! Event sessions with real runtimes: traces, counters, walks of the heap.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use salvage::dotnet::counters::{self, Counters, Table};
use salvage::dotnet::eventpipe::{Event, Trace, Visitor};
use salvage::dotnet::ipc::Target;
use salvage::dotnet::profiles::{self, Profile};
use salvage::dotnet::session::{self, Discard, Ended, Watcher, Why};
use salvage::dotnet::{Error, Limits, Refused, Sink, gcdump};

use super::on_each;
use crate::support::container::{Container, Dotnet, Launch};

const DEADLINE: Duration = Duration::from_secs(60);
const MOST: u64 = 1 << 30;

static NOT_CANCELLED: AtomicBool = AtomicBool::new(false);

fn within(time: Duration) -> Limits<'static> {
    Limits {
        deadline: Instant::now() + time,
        max_bytes: MOST,
        cancelled: &NOT_CANCELLED,
    }
}

/// The runtime's own counters, as `EventCounters` and as a `Meter`, each second.
fn runtime_counters() -> Result<Counters> {
    let names = || vec!["System.Runtime".to_owned()];
    Ok(Counters::new(names(), names(), 1)?)
}

/// A trace of one profile.
fn traced(
    target: &Target,
    profile: Profile,
    limits: &Limits<'_>,
    sink: &mut dyn Sink,
    watcher: &mut dyn Watcher,
) -> Result<Ended, Error> {
    let config = profiles::trace(&[profile], &[]).map_err(|why| Error::Refused(why.to_string()))?;
    session::run(target, &config, limits, sink, watcher)
}

/// Counts a provider's events.
struct Count(&'static str, u64);

impl Visitor for Count {
    fn event(&mut self, _: &Trace, event: &Event<'_>) {
        self.1 += u64::from(&*event.kind.provider == self.0);
    }
}

impl Watcher for Count {
    fn enough(&mut self) -> Result<bool, Refused> {
        Ok(false)
    }
}

/// Takes nothing.
struct Full;

impl Sink for Full {
    fn take(&mut self, _: &[u8]) -> Result<(), Refused> {
        Err(Refused("the quota is full".to_owned()))
    }
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_trace_of_3_s_has_samples_and_its_end() -> Result<()> {
    on_each(
        |launch| launch.read_only_root(),
        |container| {
            let target = container.target()?;
            let (mut stream, mut samples) =
                (Vec::new(), Count("Microsoft-DotNETCore-SampleProfiler", 0));
            let three = within(Duration::from_secs(3));
            let ended = traced(
                &target,
                Profile::CpuSampling,
                &three,
                &mut stream,
                &mut samples,
            )?;
            ensure!(
                ended.why == Why::Deadline && ended.complete && ended.trouble.is_none(),
                "{ended:?}"
            );
            ensure!(ended.bytes == stream.len() as u64 && stream.last() == Some(&1));
            ensure!(samples.1 > 300, "{} samples", samples.1);
            Ok(())
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn counters_come_as_lines_and_as_a_table() -> Result<()> {
    on_each(
        |launch| launch.read_only_root(),
        |container| {
            let target = container.target()?;
            let (mut lines, mut table) = (Vec::new(), Table::default());
            let wanted = runtime_counters()?;
            let limits = within(Duration::from_secs(4));
            let mut seen = |sample: &_| table.take(sample);
            let counted = counters::run(&target, &wanted, &limits, &mut lines, &mut seen)?;
            ensure!(
                counted.ended.complete && counted.notes.is_empty(),
                "{counted:?}"
            );
            let lines = lines
                .split_inclusive(|byte| *byte == b'\n')
                .map(serde_json::from_slice)
                .collect::<Result<Vec<serde_json::Value>, _>>()?;
            ensure!(counted.samples == lines.len() as u64);
            let value = |name: &str| {
                let mut of_name = lines.iter().filter(|line| line["name"] == name);
                let value = of_name.next_back().and_then(|line| line["value"].as_f64());
                value.with_context(|| format!("no {name}"))
            };
            ensure!((0.0..=100.0).contains(&value("cpu-usage")?));
            ensure!((10.0..2_000.0).contains(&value("working-set")?));
            if container.dotnet() == Dotnet::Net9 {
                ensure!(value("dotnet.process.memory.working_set")? > 10e6);
            }
            let shown = table.rows().any(|row| row.name == "Working Set (MB)");
            ensure!(shown && !table.is_cut());
            Ok(())
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_walk_of_the_heap_counts_a_known_type_exactly() -> Result<()> {
    for orders in [1, 4_711, 100_000] {
        on_each(
            |launch| launch.orders(orders),
            |container| {
                let target = container.target()?;
                // A runtime of 3.1 would tell the names of types once only.
                for _ in 0..2 {
                    let mut stream = Vec::new();
                    let taken =
                        gcdump::run(&target, gcdump::BUFFER_MB, &within(DEADLINE), &mut stream)?;
                    let heap = &taken.heap;
                    ensure!(
                        heap.whole && heap.unnamed == 0 && taken.ended.complete,
                        "{:?}",
                        taken.ended
                    );
                    let found = heap.of("Order4711").context("the type is there")?;
                    ensure!(found.objects == u64::from(orders), "{found:?}");
                    ensure!(heap.pause.is_some_and(|pause| pause < DEADLINE));
                    ensure!(stream.last() == Some(&1));
                }
                Ok(())
            },
        )?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_walk_beside_a_trace_and_counters_is_exact() -> Result<()> {
    on_each(
        |launch| launch,
        |container| {
            let target = container.target()?;
            let walk = || gcdump::run(&target, gcdump::BUFFER_MB, &within(DEADLINE), &mut Discard);
            let trace = || {
                let two = within(Duration::from_secs(2));
                traced(&target, Profile::Gc, &two, &mut Discard, &mut ())
            };
            let wanted = runtime_counters()?;
            let count = || {
                let two = within(Duration::from_secs(2));
                counters::run(&target, &wanted, &two, &mut Discard, &mut |_| {})
            };
            let (walk, trace, counted) = thread::scope(|scope| {
                let (trace, count) = (scope.spawn(trace), scope.spawn(count));
                (walk(), trace.join(), count.join())
            });
            let heap = walk?.heap;
            let found = heap.of("Order4711").context("the type is there")?;
            ensure!(heap.whole && found.objects == 4_711, "{found:?}");
            let trace = trace.map_err(|_| anyhow::anyhow!("a panic"))??;
            ensure!(trace.complete, "{trace:?}");
            let counted = counted.map_err(|_| anyhow::anyhow!("a panic"))??;
            ensure!(counted.ended.complete && counted.samples > 0, "{counted:?}");
            Ok(())
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_sink_that_refuses_leaves_no_session_behind() -> Result<()> {
    /// A runtime has 64 at a time.
    const SESSIONS: usize = 66;
    on_each(
        |launch| launch,
        |container| {
            let target = container.target()?;
            for _ in 0..SESSIONS {
                let limits = within(DEADLINE);
                let refused = traced(&target, Profile::Http, &limits, &mut Full, &mut ());
                ensure!(
                    refused.as_ref().is_err_and(|why| why.reason() == "Refused"),
                    "{refused:?}"
                );
            }
            Ok(())
        },
    )
}

/// Holds back what it is given until it is told to go on.
struct Stalls {
    stalled: Sender<()>,
    go_on: Receiver<()>,
}

impl Sink for Stalls {
    fn take(&mut self, _: &[u8]) -> Result<(), Refused> {
        // Both ends are dropped when it need not stall any more.
        if self.stalled.send(()).is_ok() {
            let _ = self.go_on.recv();
        }
        Ok(())
    }
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn a_sink_that_stalls_stops_nothing_in_the_target() -> Result<()> {
    on_each(
        |launch| launch,
        |container| {
            let target = container.target()?;
            let (stalled, has_stalled) = channel();
            let (go, go_on) = channel();
            thread::scope(|scope| {
                let session = scope.spawn(|| {
                    let mut sink = Stalls { stalled, go_on };
                    let one = within(Duration::from_secs(1));
                    traced(&target, Profile::CpuSampling, &one, &mut sink, &mut ())
                });
                has_stalled.recv().context("something came")?;
                for _ in 0..20 {
                    container.ensure_alive()?;
                }
                drop((has_stalled, go));
                let ended = session.join().map_err(|_| anyhow::anyhow!("a panic"))??;
                ensure!(ended.complete, "{ended:?}");
                Ok(())
            })
        },
    )
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn what_a_target_sent_before_it_was_killed_is_kept() -> Result<()> {
    /// Kills it once something has come.
    struct Kills(Pid, u64);
    impl Sink for Kills {
        fn take(&mut self, bytes: &[u8]) -> Result<(), Refused> {
            self.1 += bytes.len() as u64;
            let killed = kill_process(self.0, Signal::KILL);
            killed.map_err(|why| Refused(why.to_string()))
        }
    }
    for dotnet in Dotnet::provisioned() {
        let container: Container = Launch::of(dotnet).start()?;
        let target = container.target()?;
        let pid = Pid::from_raw(target.pid()).context("a number")?;
        let mut sink = Kills(pid, 0);
        let limits = within(DEADLINE);
        let ended = traced(&target, Profile::CpuSampling, &limits, &mut sink, &mut ())?;
        ensure!(ended.why == Why::Target && !ended.complete, "{ended:?}");
        ensure!(ended.bytes == sink.1 && sink.1 > 0);
        let after = traced(&target, Profile::CpuSampling, &limits, &mut sink, &mut ());
        ensure!(
            after
                .as_ref()
                .is_err_and(|why| matches!(why.reason(), "TargetDied" | "NoRuntime")),
            "{after:?}"
        );
    }
    Ok(())
}
