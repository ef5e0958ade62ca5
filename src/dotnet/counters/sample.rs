//! One value of one counter at one time, and its line of JSON.
//!
//! ```text
//! {"time":"2026-03-01T12:00:01.5Z","provider":"System.Runtime","name":"cpu-usage","display_name":"CPU Usage","unit":"%","kind":"mean","value":3.5,"interval_seconds":1.0}
//! {"time":…,"provider":"System.Net.Http","name":"http.client.request.duration","unit":"s","tags":"server.address=a,server.port=80","kind":"histogram","value":null,
//!  "count":12,"sum":0.7,"quantiles":[{"quantile":0.5,"value":0.04},…]}
//! ```
//!
//! A line is one sample. `display_name`, `unit`, `tags`, `interval_seconds`, `total`, `count`, `sum` and `quantiles` are left out where there is nothing to say.
//! A number that is infinite or none is `null`. `tags` is as the runtime writes it, which escapes nothing.

use jiff::Timestamp;
use serde::Serialize;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The mean over the interval, or the last value where it is polled once in it.
    Mean,
    /// By how much it grew over the interval.
    Sum,
    /// The value at the time.
    Gauge,
    /// Quantiles over the interval; `value` is none.
    Histogram,
}

/// A quantile of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantile {
    /// The share of values that are not above it, 0 to 1.
    pub quantile: f64,
    /// Its value.
    pub value: f64,
}

/// One value. Texts are the target's own: hostile.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// When, by the target's clock.
    pub time: Timestamp,
    /// The provider or meter.
    pub provider: String,
    /// The counter or instrument.
    pub name: String,
    /// Its name for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// What it counts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// What tells the series of one instrument apart: `key=value,key=value`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tags: String,
    /// What the value is.
    pub kind: Kind,
    /// The value; none where there is no number.
    pub value: Option<f64>,
    /// How long the interval was, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<f64>,
    /// Of a sum its value since the process began, where it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// Of a histogram how many values there were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<f64>,
    /// Of a histogram their sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum: Option<f64>,
    /// Of a histogram its quantiles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<Quantile>,
}

impl Sample {
    /// Its line, with the end of it.
    pub fn line(&self) -> Vec<u8> {
        // Only a map with keys that are no text, or a writer that fails, could refuse: neither is here.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}
