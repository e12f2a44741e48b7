//! A table of text: columns as wide as they have to be.

use std::fmt::{self, Write as _};

/// Rows under a heading. The widths follow from what is in them.
#[derive(Debug)]
pub(crate) struct Table {
    /// Whether each column is aligned to the right.
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns; a name that begins with `>` is of one that is aligned to the right.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let name = |column: &&str| column.trim_start_matches('>').to_owned();
        Self {
            right: columns.iter().map(|column| column.starts_with('>')).collect(),
            rows: vec![columns.iter().map(name).collect()],
        }
    }

    /// Adds a row: one text a column.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.right.len(), "a cell for each column");
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..self.right.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, right), width) in row.iter().zip(&self.right).zip(&widths) {
                if !line.is_empty() {
                    line.push_str("  ");
                }
                let _ = if *right { write!(line, "{cell:>width$}") } else { write!(line, "{cell:width$}") };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&["NAME", ">N"]);
        table.row(["a".into(), "1,000".into()]);
        table.row(["longer".into(), "7".into()]);
        assert_eq!(table.to_string(), "NAME        N\na       1,000\nlonger      7\n");
    }
}
