//! Tables for people, on the standard output, and every figure for programs, in a file.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// All that was measured.
#[derive(Default)]
pub(crate) struct Report {
    figures: Vec<Value>,
}

impl Report {
    /// Keeps a figure for the file.
    pub(crate) fn figure(&mut self, figure: Value) {
        self.figures.push(figure);
    }

    /// Writes all figures as a JSON array.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(&self.figures).expect("numbers and texts can be written");
        std::fs::write(path, json + "\n").with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// A table in Markdown.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row: as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(crate) fn print(&self, title: &str, notes: &[String]) {
        println!("\n### {title}\n");
        let columns = self.rows[0].len();
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            println!("| {} |", cells.join(" | "));
            if index == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                println!("| {} |", rules.join(" | "));
            }
        }
        println!();
        for note in notes {
            println!("- {note}");
        }
    }
}
