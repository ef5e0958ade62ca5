//! How far a capture is: a line whenever something new happened, and on a terminal a table of counters that stays in its place.

use std::io::{IsTerminal, stderr};

use crate::cli::output::note;
use crate::cli::table::{Align, Table};
use crate::kube::{CaptureStatus, CounterValue};
use crate::model::{ByteSize, Escaped};

/// What was shown of a status.
pub(super) struct Live {
    said: String,
    is_terminal: bool,
    /// Lines of the table that stands there.
    height: usize,
    last: Vec<CounterValue>,
}

impl Live {
    pub(super) fn new() -> Self {
        Self {
            said: String::new(),
            is_terminal: stderr().is_terminal(),
            height: 0,
            last: Vec::new(),
        }
    }

    /// Shows what is new in it.
    pub(super) fn show(&mut self, status: &CaptureStatus) {
        let line = line(status);
        if !line.is_empty() && line != self.said {
            self.height = 0;
            note(format_args!("{line}"));
            self.said = line;
        }
        if status.counters.is_empty() || status.counters == self.last {
            return;
        }
        self.last.clone_from(&status.counters);
        if self.is_terminal {
            let table = table(&self.last);
            let up = match self.height {
                0 => String::new(),
                lines => format!("\x1b[{lines}A\x1b[J"),
            };
            self.height = table.lines().count();
            note(format_args!("{up}{}", table.trim_end()));
        }
    }

    /// Where no table could stand in its place, the last values are shown once.
    pub(super) fn end(&mut self) {
        if !self.is_terminal && !self.last.is_empty() {
            note(format_args!("{}", table(&self.last).trim_end()));
        }
    }
}

fn line(status: &CaptureStatus) -> String {
    let phase = status.phase.as_deref().unwrap_or_default();
    let message = status.message.as_deref().unwrap_or_default();
    let mut line = format!("{phase}: {message}");
    match phase {
        "" => return String::new(),
        "Capturing" => {
            if let Some(estimate) = &status.estimate {
                let bytes = u64::try_from(estimate.bytes).unwrap_or(0);
                let bytes = ByteSize::new(bytes).rounded();
                line += &format!(
                    " (expected: {bytes}, the process stands still for {})",
                    estimate.pause
                );
            }
        }
        "Stored" => {
            if let Some(pause) = &status.pause {
                line += &format!(" (the process stood still for {pause})");
            }
        }
        _ => {}
    }
    Escaped::bytes(line.as_bytes()).to_string()
}

fn table(values: &[CounterValue]) -> String {
    let mut table = Table::new([("COUNTER", Align::Left), ("VALUE", Align::Right)]);
    let rows = values
        .iter()
        .map(|value| [value.name.clone(), value.value.clone()]);
    let rows: Vec<[String; 2]> = rows.collect();
    table.rows(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_line_that_steers_no_terminal() {
        let status = CaptureStatus {
            phase: Some("Capturing".into()),
            message: Some("process 1 is asked\u{1b}[2J".into()),
            estimate: Some(crate::kube::CaptureEstimate {
                pause: "900ms".into(),
                bytes: 100 << 20,
                memory: 0,
            }),
            ..CaptureStatus::default()
        };
        assert_eq!(
            line(&status),
            r"Capturing: process 1 is asked\u{1b}[2J (expected: 100.0 MiB, the process stands still for 900ms)"
        );
        assert_eq!(line(&CaptureStatus::default()), "");
    }
}
