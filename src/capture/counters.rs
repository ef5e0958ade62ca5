//! Counters: a line of JSON for each sample into the spool, and the latest values for whoever watches.

use std::time::{Duration, Instant};

use super::events;
use super::spooled::{Spooled, Tell};
use super::take::Given;
use crate::dotnet::counters::{self, Counters, Row, Table};
use crate::dotnet::ipc::Target;
use crate::dotnet::{self, Limits};

/// How often the latest values are told: several samples of one interval come at once.
const TELL: Duration = Duration::from_millis(500);

/// Values that are told.
const TOLD: usize = 64;

/// Most notes of the runtime's that are passed on.
const NOTES: usize = 3;

/// Follows counters.
pub(super) fn take(
    target: &Target,
    wanted: &Counters,
    limits: &Limits<'_>,
    sink: &mut Spooled<'_>,
) -> Result<Given, dotnet::Error> {
    let tell: Tell<'_> = sink.tell;
    let (mut table, mut told) = (Table::default(), Instant::now());
    let mut seen = |sample: &counters::Sample| {
        table.take(sample);
        if told.elapsed() >= TELL {
            told = Instant::now();
            tell_values(&table, tell);
        }
    };
    let counted = counters::run(target, wanted, limits, sink, &mut seen)?;
    tell_values(&table, tell);
    let mut given = events::given(&counted.ended)?;
    let notes = counted.notes.iter().take(NOTES).cloned();
    let said: Vec<String> = given.note.take().into_iter().chain(notes).collect();
    if counted.samples == 0 {
        return Err(dotnet::Error::Incomplete {
            pid: target.pid(),
            what: format!(
                "no counter of these names sent a value{}: are they right, and does this version of .NET have them?",
                said.iter()
                    .map(|note| format!("; {note}"))
                    .collect::<String>()
            ),
        });
    }
    given.note = (!said.is_empty()).then(|| said.join("; "));
    Ok(given)
}

fn tell_values(table: &Table, tell: Tell<'_>) {
    let rows: Vec<Row> = table.rows().take(TOLD).collect();
    tell(&mut |progress| progress.values.clone_from(&rows));
}
