//! Tables for people: as wide as their cells, never wider.

use crate::model::Escaped;

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table that is printed in one or several batches of rows; a column only grows.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    columns: [(&'static str, Align); N],
    widths: [usize; N],
    is_begun: bool,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(columns: [(&'static str, Align); N]) -> Self {
        Self {
            columns,
            widths: columns.map(|(name, _)| name.len()),
            is_begun: false,
        }
    }

    /// The next rows as text, the first ones with the names of the columns above them.
    pub(super) fn rows(&mut self, rows: &[[String; N]]) -> String {
        let cell = |text: &String| Escaped::bytes(text.as_bytes()).to_string();
        let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(cell)).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        if !self.is_begun {
            self.is_begun = true;
            self.line(&mut text, &self.columns.map(|(name, _)| name.to_owned()));
        }
        for row in &rows {
            self.line(&mut text, row);
        }
        text
    }

    fn line(&self, text: &mut String, cells: &[String; N]) {
        let start = text.len();
        for ((cell, width), (_, align)) in cells.iter().zip(self.widths).zip(self.columns) {
            if text.len() > start {
                text.push_str("  ");
            }
            text.push_str(&match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_their_cells() {
        let mut table = Table::new([
            ("NAME", Align::Left),
            ("SIZE", Align::Right),
            ("ID", Align::Left),
        ]);
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let first = table.rows(&[row(["a", "1 B", "x"]), row(["longer", "10.0 KiB", "y"])]);
        assert_eq!(
            first,
            "NAME        SIZE  ID\na            1 B  x\nlonger  10.0 KiB  y\n"
        );
        assert_eq!(table.rows(&[row(["b", "2 B", ""])]), "b            2 B\n");
    }

    #[test]
    fn a_cell_cannot_leave_its_line() {
        let mut table = Table::new([("NAME", Align::Left)]);
        let text = table.rows(&[["a\nb\u{1b}[1m".to_owned()]]);
        assert_eq!(text, "NAME\na\\nb\\u{1b}[1m\n");
    }
}
