//! A process's own numbers as it measures them: `EventCounters` of every .NET, and meters of .NET 8 and later.
//!
//! ```text
//! providers ─→ EventCounters events ──────────┐
//! System.Diagnostics.Metrics ─→ …Published ───┴─→ decode ─→ Sample ─→ a line of JSON each into the sink; Table for a terminal
//! ```
//!
//! Owns what is asked for, and lines and tables. The events themselves are not kept.
//!
//! Invariants: events are read by the names of their fields, since numbers differ between versions; all text is the target's, cut here and escaped where a
//! person sees it; a number that is none becomes `null`.
//!
//! Sources: dotnet/runtime `System.Diagnostics.Tracing.EventCounter` and `PollingCounter` for the first, `System/Diagnostics/Metrics/MetricsEventSource.cs` for the second.

mod decode;
mod sample;
mod table;
#[cfg(test)]
mod tests;

pub use sample::{Kind, Quantile, Sample};
pub use table::{Row, Table};

use super::eventpipe::{Event, Trace, Visitor};
use super::ipc::{Invalid, Provider, SessionConfig, Target};
use super::session::{self, Discard, Ended, Watcher};
use super::{Error, Limits, Refused, Sink};
use decode::Decoded;

/// The provider of all meters.
const METERS: &str = "System.Diagnostics.Metrics";

/// Buffer in the target's memory, in MB: a second's counters are some KB.
pub const BUFFER_MB: u32 = 10;

/// The session of meters that all tools share. Runtimes before .NET 8 know no sharing, and take it for the name of one.
const SHARED: &str = "SHARED";

/// As `dotnet-counters` asks unless told otherwise: tools that share must ask for the same.
const MAX_TIME_SERIES: u32 = 1_000;
const MAX_HISTOGRAMS: u32 = 10;

/// Most different notes that are kept.
const MAX_NOTES: usize = 16;

/// Which numbers, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    providers: Vec<String>,
    meters: Vec<String>,
    seconds: u32,
}

/// Numbers that cannot be asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCounters {
    /// How often.
    #[error("counters every {0} s: the interval is 1 to 3600 s")]
    Interval(u32),
    /// A name that would be read as something else.
    #[error("{0:?} is no name of a meter: it has none of ; , \\ = \" and no control characters")]
    Meter(String),
    /// What no runtime may be asked.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// What came besides samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// How the session ended. Its bytes are those of the lines.
    pub ended: Ended,
    /// Samples that were written.
    pub samples: u64,
    /// What the runtime said of limits and errors: for people, escaped.
    pub notes: Vec<String>,
}

impl Counters {
    /// The numbers of `providers` (`EventCounters`) and `meters` by name, every so many seconds.
    ///
    /// # Errors
    /// An interval that is not 1 to 3,600 s, or names that no runtime may be asked for.
    pub fn new(
        providers: Vec<String>,
        meters: Vec<String>,
        seconds: u32,
    ) -> Result<Self, InvalidCounters> {
        if !(1..=3_600).contains(&seconds) {
            return Err(InvalidCounters::Interval(seconds));
        }
        for meter in &meters {
            let reads_as_more =
                |c: char| matches!(c, ';' | ',' | '\\' | '=' | '"') || c.is_control();
            if meter.is_empty() || meter.contains(reads_as_more) {
                let start = meter.chars().take(64).collect();
                return Err(InvalidCounters::Meter(start));
            }
        }
        let this = Self {
            providers,
            meters,
            seconds,
        };
        this.session("")?;
        Ok(this)
    }

    /// What they ask of a runtime; `client` tells tools apart that share a session of meters.
    fn session(&self, client: &str) -> Result<SessionConfig, Invalid> {
        const INFORMATIONAL: u8 = 4;
        /// `TimeSeriesValues`: the numbers, without the descriptions of all instruments.
        const VALUES: u64 = 2;
        let interval = format!("EventCounterIntervalSec={}", self.seconds);
        let mut providers = self
            .providers
            .iter()
            .map(|name| Provider::new(name, u64::MAX, INFORMATIONAL, &interval))
            .collect::<Result<Vec<_>, _>>()?;
        if !self.meters.is_empty() {
            let arguments = format!(
                "SessionId={SHARED};Metrics={};RefreshInterval={};MaxTimeSeries={MAX_TIME_SERIES};MaxHistograms={MAX_HISTOGRAMS};ClientId={client}",
                self.meters.join(","),
                self.seconds,
            );
            providers.push(Provider::new(METERS, VALUES, INFORMATIONAL, &arguments)?);
        }
        SessionConfig::new(BUFFER_MB, false, providers)
    }

    fn wants_meter(&self, name: &str) -> bool {
        self.meters
            .iter()
            .any(|meter| meter.eq_ignore_ascii_case(name))
    }
}

/// Follows `counters` of `target` until `limits` end it, with a line of JSON for each sample into `lines`, and tells `seen` of those that a
/// person should see.
///
/// `limits.max_bytes` holds for the lines and for the stream that they are made of, each.
///
/// # Errors
/// As `session::run`.
pub fn run(
    target: &Target,
    counters: &Counters,
    limits: &Limits<'_>,
    lines: &mut dyn Sink,
    seen: &mut dyn FnMut(&Sample),
) -> Result<Counted, Error> {
    let client = format!("salvage-{:016x}", fastrand::u64(..));
    let config = counters.session(&client);
    let config = config.map_err(|invalid| Error::Refused(invalid.to_string()))?;
    let mut following = Following::new(counters, &client, lines, seen, limits.max_bytes);
    let ended = session::run(target, &config, limits, &mut Discard, &mut following)?;
    Ok(Counted {
        ended: Ended {
            bytes: following.bytes,
            ..ended
        },
        samples: following.samples,
        notes: following.notes,
    })
}

/// Writes the lines.
struct Following<'a> {
    counters: &'a Counters,
    /// What we call ourselves to the provider of meters.
    client: &'a str,
    /// The interval of meters, in seconds, if it is known.
    meter_seconds: Option<f64>,
    lines: &'a mut dyn Sink,
    seen: &'a mut dyn FnMut(&Sample),
    most: u64,
    bytes: u64,
    samples: u64,
    notes: Vec<String>,
    refused: Option<Refused>,
}

impl Visitor for Following<'_> {
    fn event(&mut self, trace: &Trace, event: &Event<'_>) {
        match decode::decode(trace, event, self.meter_seconds) {
            Some(Decoded::Counter(sample)) => self.write(&sample),
            // A shared session brings what others asked for too.
            Some(Decoded::Meter(sample)) if self.counters.wants_meter(&sample.provider) => {
                self.write(&sample);
            }
            Some(Decoded::Note(note)) => self.note(note),
            Some(Decoded::Conflict { client, seconds }) => {
                if client == self.client {
                    self.meter_seconds = seconds;
                    self.note(
                        "another tool follows the meters of this process with another interval or other limits: they come as that tool asked for them"
                            .to_owned(),
                    );
                }
            }
            Some(Decoded::Meter(_)) | None => {}
        }
    }
}

impl Watcher for Following<'_> {
    fn enough(&mut self) -> Result<bool, Refused> {
        match self.refused.take() {
            Some(refused) => Err(refused),
            None => Ok(self.bytes >= self.most),
        }
    }
}

impl<'a> Following<'a> {
    fn new(
        counters: &'a Counters,
        client: &'a str,
        lines: &'a mut dyn Sink,
        seen: &'a mut dyn FnMut(&Sample),
        most: u64,
    ) -> Self {
        Self {
            counters,
            client,
            meter_seconds: Some(counters.seconds.into()),
            lines,
            seen,
            most,
            bytes: 0,
            samples: 0,
            notes: Vec::new(),
            refused: None,
        }
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < MAX_NOTES && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// A runtime of 3.1 now and then tells its counters twice in 2 ms. The second has its part of the sums, so it is written, but to a person it
    /// would be a processor that jumps to 50 % and back.
    fn is_of_an_interval(&self, sample: &Sample) -> bool {
        const SHORTEST_SHARE: f64 = 0.1;
        let least = f64::from(self.counters.seconds) * SHORTEST_SHARE;
        sample
            .interval_seconds
            .is_none_or(|seconds| seconds >= least)
    }

    fn write(&mut self, sample: &Sample) {
        if self.refused.is_some() || self.bytes >= self.most {
            return;
        }
        let line = sample.line();
        match self.lines.take(&line) {
            Ok(()) => {
                self.bytes += line.len() as u64;
                self.samples += 1;
                if self.is_of_an_interval(sample) {
                    (self.seen)(sample);
                }
            }
            Err(refused) => self.refused = Some(refused),
        }
    }
}
