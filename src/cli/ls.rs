//! `salvage ls`: which crashes there are.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use anyhow::bail;
use jiff::Timestamp;
use serde::Serialize;

use super::output::{OutputError, note, print};
use super::store::StoreArgs;
use super::table::{Align, Table};
use super::when::When;
use super::{EXIT_CODES, Outcome};
use crate::fetch::{self, Filter, NamePattern};
use crate::model::{ByteSize, CrashId, CrashKey, Reason};

/// List crashes, newest first.
///
/// Only the names of objects are read, never their content. A name may be written whole or as its beginning and one `*` (quote it for
/// the shell). Where a name is not known the store has `-`, and `-n -` finds those crashes; what belongs to nobody for certain is in
/// the namespace `_unknown`.
///
/// With `-o json` every line is one object with id, time (RFC 3339), cluster, namespace, pod, container, reason, stored_bytes and key
/// (relative to the store's URL). More fields may come.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Args {
    /// Only crashes of this namespace.
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    /// Crashes of all namespaces, which is the default.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Only crashes of this pod, or of pods whose names begin so: 'cart-*'.
    #[arg(long, value_name = "NAME")]
    pod: Option<NamePattern>,
    /// Only crashes of this container, or of containers whose names begin so.
    #[arg(long, value_name = "NAME")]
    container: Option<NamePattern>,
    /// Only crashes for this reason: a signal such as SIGSEGV, Exception, OOMKilled, ExitCode, Killed, Unseen or Unknown.
    #[arg(long)]
    reason: Option<Reason>,
    /// Only crashes since then: so long ago (30m, 2h, 7d), a day in UTC (2026-11-21) or a time (2026-11-21T10:00:00Z).
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Only crashes before then; a day is included.
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// At most so many, 0 for all.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// A table for people, or one JSON object a line.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// A line of `-o json`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    id: CrashId,
    time: Timestamp,
    cluster: &'a str,
    namespace: &'a str,
    pod: &'a str,
    container: &'a str,
    reason: Reason,
    stored_bytes: u64,
    key: String,
}

pub(super) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let now = Timestamp::now();
    let filter = Filter {
        namespace: args.namespace,
        pod: args.pod,
        container: args.container,
        reason: args.reason,
        id: None,
        since: args.since.map(|since| since.start(now)),
        until: args.until.map(|until| until.end(now)),
        limit: NonZeroUsize::new(args.limit),
    };
    if let (Some(since), Some(until)) = (filter.since, filter.until)
        && since >= until
    {
        bail!("--since {since} is not before --until {until}: no time lies between them");
    }
    let store = args.store.open().await?;

    let mut printer = Printer::new(args.output);
    let mut shown = 0;
    let mut failed = None;
    // With a limit all rows are known before the first is printed, so the columns fit them all; without one they are printed day by
    // day, since nobody knows how many there are.
    let mut held = Vec::new();
    let listed = fetch::list(&*store, &filter, |batch| {
        shown += batch.len();
        if filter.limit.is_some() {
            held.extend(batch);
            return ControlFlow::Continue(());
        }
        match printer.print(&batch) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })
    .await?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if !held.is_empty() {
        printer.print(&held)?;
    }
    if listed.foreign > 0 {
        note(format_args!(
            "note: names below crashes/ that are not salvage's were left out: {}",
            listed.foreign
        ));
    }
    if listed.may_be_more {
        note(format_args!(
            "note: these are the newest {shown}, there may be more: --limit 0 shows all"
        ));
    }
    if shown == 0 {
        note(format_args!("no such crash in {}", store.url()));
        return Ok(Outcome::Nothing);
    }
    Ok(Outcome::Done)
}

struct Printer {
    format: Format,
    table: Table<7>,
}

impl Printer {
    fn new(format: Format) -> Self {
        let left = |name| (name, Align::Left);
        let table = Table::new([
            left("TIME"),
            left("NAMESPACE"),
            left("POD"),
            left("CONTAINER"),
            left("REASON"),
            ("SIZE", Align::Right),
            left("ID"),
        ]);
        Self { format, table }
    }

    fn print(&mut self, crashes: &[CrashKey]) -> Result<(), OutputError> {
        match self.format {
            Format::Table => {
                let rows: Vec<_> = crashes.iter().map(row).collect();
                print(&self.table.rows(&rows))
            }
            Format::Json => print(&crashes.iter().map(line).collect::<String>()),
        }
    }
}

fn row(key: &CrashKey) -> [String; 7] {
    [
        key.time().strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        key.namespace().to_owned(),
        key.pod().to_owned(),
        key.container().to_owned(),
        key.reason().to_string(),
        ByteSize::new(key.stored_bytes()).rounded(),
        key.id().to_string(),
    ]
}

fn line(key: &CrashKey) -> String {
    let line = Line {
        id: key.id(),
        time: key.time(),
        cluster: key.cluster(),
        namespace: key.namespace(),
        pod: key.pod(),
        container: key.container(),
        reason: key.reason(),
        stored_bytes: key.stored_bytes(),
        key: key.to_string(),
    };
    let mut text = serde_json::to_string(&line).expect("text and numbers always serialise");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CrashKeyParts, crash_key_of};

    #[test]
    fn a_line_for_machines_keeps_its_form() {
        let id = CrashId::new("2026-11-21T10:00:00.123Z".parse().expect("time"), 7);
        let key = crash_key_of(CrashKeyParts {
            cluster: "prod",
            namespace: Some("shop"),
            pod: Some("cart-0"),
            container: None,
            reason: Reason::Signal(11),
            stored_bytes: 1234,
            id,
        });
        assert_eq!(
            line(&key),
            format!(
                "{{\"id\":\"{id}\",\"time\":\"2026-11-21T10:00:00Z\",\"cluster\":\"prod\",\"namespace\":\"shop\",\"pod\":\"cart-0\",\"container\":\"-\",\"reason\":\"SIGSEGV\",\"stored_bytes\":1234,\"key\":\"{key}\"}}\n"
            )
        );
    }
}
