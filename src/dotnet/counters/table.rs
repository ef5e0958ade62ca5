//! The latest value of each series, for a terminal: in an order that does not change while the numbers do.

use std::collections::BTreeMap;

use super::sample::{Kind, Sample};
use crate::model::Escaped;

/// Most series, and most bytes of them. More are no table, and a target can make them without end.
const MAX_SERIES: usize = 1_000;
const MAX_BYTES: usize = 512 << 10;

/// The latest values.
#[derive(Clone, Debug, Default)]
pub struct Table {
    series: BTreeMap<(String, String, String), Sample>,
    bytes: usize,
    left_out: bool,
}

/// A line of it, escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The provider or meter.
    pub provider: String,
    /// The name for people where there is one, and the unit in brackets: `CPU Usage (%)`, `Gen 0 GC Count (Count / 1 sec)`.
    pub name: String,
    /// What tells it apart from others of the name.
    pub tags: String,
    /// The value; of a histogram its quantiles.
    pub value: String,
}

impl Table {
    /// Takes the latest value of a series.
    pub fn take(&mut self, sample: &Sample) {
        let series = (
            sample.provider.clone(),
            sample.name.clone(),
            sample.tags.clone(),
        );
        let known = self.series.get(&series);
        let bytes = self.bytes - known.map_or(0, bytes_of) + bytes_of(sample);
        if bytes > MAX_BYTES || (known.is_none() && self.series.len() >= MAX_SERIES) {
            self.left_out = true;
            return;
        }
        self.bytes = bytes;
        self.series.insert(series, sample.clone());
    }

    /// Its lines by provider, name and tags.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.series.values().map(row)
    }

    /// Whether there was more than the 1,000 series and 512 KiB that it keeps.
    pub fn is_cut(&self) -> bool {
        self.left_out
    }
}

/// What a series takes, about: its texts, those by which it is found once more, and what is around them.
fn bytes_of(sample: &Sample) -> usize {
    let found_by = sample.provider.len() + sample.name.len() + sample.tags.len();
    let texts = sample.display_name.len() + sample.unit.len();
    let quantiles = size_of_val(sample.quantiles.as_slice());
    2 * found_by + texts + quantiles + size_of::<Sample>() + 3 * size_of::<String>()
}

fn row(sample: &Sample) -> Row {
    let name = match sample.display_name.as_str() {
        "" => &sample.name,
        name => name,
    };
    let per = match (sample.kind, sample.interval_seconds) {
        // A runtime's second is 0.999 or 1.001 of one.
        (Kind::Sum, Some(seconds)) => format!(" / {} sec", number((seconds * 10.0).round() / 10.0)),
        _ => String::new(),
    };
    let unit = match (sample.unit.as_str(), per.as_str()) {
        ("", "") => String::new(),
        ("", per) => format!(" (Count{per})"),
        (unit, per) => format!(" ({unit}{per})"),
    };
    let value = if sample.kind == Kind::Histogram {
        let quantiles = sample.quantiles.iter();
        let shown = quantiles.map(|q| format!("{}: {}", number(q.quantile), number(q.value)));
        shown.collect::<Vec<_>>().join(", ")
    } else {
        sample.value.map(number).unwrap_or_else(|| "-".to_owned())
    };
    let shown = |text: &str| Escaped::bytes(text.as_bytes()).to_string();
    Row {
        provider: shown(&sample.provider),
        name: shown(&format!("{name}{unit}")),
        tags: shown(&sample.tags),
        value,
    }
}

/// At most three decimals, unless it is too small for them.
fn number(number: f64) -> String {
    const SMALL: f64 = 0.001;
    const LARGE: f64 = 1e15;
    let size = number.abs();
    if number != 0.0 && !(SMALL..LARGE).contains(&size) {
        return format!("{number:.3e}");
    }
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
