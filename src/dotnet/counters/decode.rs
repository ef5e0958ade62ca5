//! From an event to a sample, by the names of its fields.

use super::super::eventpipe::{self, Event, Trace, Value};
use super::sample::{Kind, Quantile, Sample};
use super::{METERS, SHARED};
use crate::model::Escaped;

/// Longest text kept, in characters.
const MAX_TEXT: usize = 256;
/// Longest tags kept, in characters.
const MAX_TAGS: usize = 1_024;
/// Most quantiles kept. The runtime sends three.
const MAX_QUANTILES: usize = 32;

/// What an event says.
pub(super) enum Decoded {
    /// A value of an `EventCounter`.
    Counter(Sample),
    /// A value of a meter's instrument.
    Meter(Sample),
    /// Something for people.
    Note(String),
    /// A client that shares a session of meters wanted another interval or other limits than the session has.
    Conflict {
        /// The client, as it called itself.
        client: String,
        /// The session's interval, in seconds.
        seconds: Option<f64>,
    },
}

/// Reads an event; none if it says nothing of values. A meter's interval is not told with its values: it is `seconds`.
pub(super) fn decode(trace: &Trace, event: &Event<'_>, seconds: Option<f64>) -> Option<Decoded> {
    let found = eventpipe::values(event.kind, event.payload).ok()?;
    let fields = Fields(&found);
    let time = trace.timestamp(event.ticks)?;
    let name = &*event.kind.name;
    if &*event.kind.provider != METERS {
        let sample = (name == "EventCounters").then(|| fields.counter(event))?;
        return Some(Decoded::Counter(Sample { time, ..sample? }));
    }
    if name == "MultipleSessionsConfiguredIncorrectlyError" {
        // What is expected is what the session has; what is actual is what was asked.
        return Some(Decoded::Conflict {
            client: fields.text("clientId", MAX_TEXT),
            seconds: fields.written("expectedRefreshInterval"),
        });
    }
    if let Some(note) = fields.note(name) {
        return Some(Decoded::Note(note));
    }
    // Of other tools, which do not share.
    if fields.text("sessionId", MAX_TEXT) != SHARED {
        return None;
    }
    let sample = fields.meter(name, seconds)?;
    Some(Decoded::Meter(Sample { time, ..sample }))
}

/// The fields of an event by name.
struct Fields<'a>(&'a [(&'a str, Value<'a>)]);

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        // Case differs between the two kinds of providers, and between versions.
        let mut found = self
            .0
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| *value)
    }

    fn text(&self, name: &str, most: usize) -> String {
        match self.get(name) {
            Some(Value::Text(text)) => text.cut(most),
            _ => String::new(),
        }
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(Value::number).filter(finite)
    }

    /// A number that is written as text, which is how meters send them.
    fn written(&self, name: &str) -> Option<f64> {
        self.text(name, MAX_TEXT).parse().ok().filter(finite)
    }

    /// A value of the one structure that `EventCounters` have. A mean has `Mean`, a sum `Increment`.
    fn counter(&self, event: &Event<'_>) -> Option<Sample> {
        let (kind, value) = if self.get("Increment").is_some() {
            (Kind::Sum, self.number("Increment"))
        } else {
            self.get("Mean")?;
            (Kind::Mean, self.number("Mean"))
        };
        let name = self.text("Name", MAX_TEXT);
        if name.is_empty() {
            return None;
        }
        Some(Sample {
            provider: event.kind.provider.to_string(),
            name,
            display_name: self.text("DisplayName", MAX_TEXT),
            unit: self.text("DisplayUnits", MAX_TEXT),
            // Of the counter itself; no text was seen in it.
            tags: self.text("Metadata", MAX_TAGS),
            // Four bytes of floating point have not more than this.
            interval_seconds: self.number("IntervalSec").map(|s| (s * 1e3).round() / 1e3),
            ..empty(kind, value)
        })
    }

    fn meter(&self, event: &str, interval_seconds: Option<f64>) -> Option<Sample> {
        let sample = match event {
            "CounterRateValuePublished" => Sample {
                interval_seconds,
                total: self.written("value"),
                ..empty(Kind::Sum, self.written("rate"))
            },
            "UpDownCounterRateValuePublished" => empty(Kind::Gauge, self.written("value")),
            "GaugeValuePublished" => empty(Kind::Gauge, self.written("lastValue")),
            "HistogramValuePublished" => Sample {
                interval_seconds,
                count: self.number("count"),
                sum: self.number("sum"),
                quantiles: self.quantiles(),
                ..empty(Kind::Histogram, None)
            },
            _ => return None,
        };
        Some(Sample {
            provider: self.text("meterName", MAX_TEXT),
            name: self.text("instrumentName", MAX_TEXT),
            unit: self.text("unit", MAX_TEXT),
            tags: self.text("tags", MAX_TAGS),
            ..sample
        })
    }

    /// `0.5=1;0.95=2;0.99=3`
    fn quantiles(&self) -> Vec<Quantile> {
        let written = self.text("quantiles", MAX_TAGS);
        let pairs = written.split(';').take(MAX_QUANTILES);
        pairs
            .filter_map(|pair| {
                let (quantile, value) = pair.split_once('=')?;
                Some(Quantile {
                    quantile: quantile.parse().ok().filter(finite)?,
                    value: value.parse().ok().filter(finite)?,
                })
            })
            .collect()
    }

    /// What the provider of meters says of limits and mistakes.
    fn note(&self, event: &str) -> Option<String> {
        Some(match event {
            "TimeSeriesLimitReached" => {
                "more series of meters are there than a session tells; the rest is missing".to_owned()
            }
            "HistogramLimitReached" => {
                "more histograms are there than a session tells; the rest is missing".to_owned()
            }
            // It is told to all. Where ours is the session that runs, another tool was refused.
            "MultipleSessionsNotSupportedError"
                if self.text("runningSessionId", MAX_TEXT) != SHARED =>
            {
                "another tool follows the meters of this process and shares them with nobody: no meters come"
                    .to_owned()
            }
            "Error" | "ObservableInstrumentCallbackError" => {
                let text = self.text("errorMessage", MAX_TEXT);
                let text = if text.is_empty() {
                    self.text("message", MAX_TEXT)
                } else {
                    text
                };
                // Its first line names the mistake; a stack follows.
                let first = text.lines().next().unwrap_or_default();
                format!("the runtime says of its meters: {}", Escaped::bytes(first.as_bytes()))
            }
            _ => return None,
        })
    }
}

fn finite(number: &f64) -> bool {
    number.is_finite()
}

fn empty(kind: Kind, value: Option<f64>) -> Sample {
    Sample {
        time: jiff::Timestamp::UNIX_EPOCH,
        provider: String::new(),
        name: String::new(),
        display_name: String::new(),
        unit: String::new(),
        tags: String::new(),
        kind,
        value,
        interval_seconds: None,
        total: None,
        count: None,
        sum: None,
        quantiles: Vec::new(),
    }
}
