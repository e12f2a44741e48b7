//! A comparison for the terminal, with colours that the printing stream takes out again where none are wanted.

use std::fmt;

use anstyle::{AnsiColor, Style};

use super::{ABOUT_NOISE, Comparison, Difference, Verdict};
use crate::command::bench::outcome::Outcome;
use crate::command::bench::summary::printable;

const BOLD: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, run) in [("A", self.a), ("B", self.b)] {
            writeln!(f, "{BOLD}{name}{BOLD:#}  {}{FAINT}{}{FAINT:#}", run.shape(), origin(run))?;
        }
        self.differences(f)?;
        self.table(f)?;
        writeln!(f)?;
        writeln!(f, "{BOLD}{}{BOLD:#}", self.verdict)?;
        writeln!(f, "{FAINT}{ABOUT_NOISE}{FAINT:#}")
    }
}

impl Comparison<'_> {
    fn differences(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unlike() {
            writeln!(f)?;
            writeln!(f, "{WARNING}warning: these runs differ in more than their results{WARNING:#}")?;
        } else if !self.differences.is_empty() {
            writeln!(f)?;
        }
        let width =
            self.differences.iter().map(|difference| difference.name.chars().count()).max().unwrap_or(0);
        self.differences.iter().try_for_each(|Difference { name, a, b, .. }| {
            writeln!(f, "  {:width$}  {} -> {}", printable(name), printable(a), printable(b))
        })
    }

    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = || self.groups.iter().flat_map(|group| &group.rows);
        let width =
            |of: &dyn Fn(&super::Row) -> usize, least: usize| rows().map(of).max().unwrap_or(0).max(least);
        let name = width(&|row| row.name.chars().count(), 0);
        let (a, b) = (width(&|row| row.a.chars().count(), 8), width(&|row| row.b.chars().count(), 8));
        let change = width(&|row| row.change.chars().count(), 6);
        writeln!(f)?;
        writeln!(f, "  {:name$}  {BOLD}{:>a$}  {:>b$}  {:>change$}{BOLD:#}", "", "A", "B", "change")?;
        for group in &self.groups {
            writeln!(f, "{BOLD}{}{BOLD:#}", group.title)?;
            for row in &group.rows {
                let style = style(row.verdict);
                let change = format!("{:>change$}  {}", row.change, row.verdict.word());
                let change = change.trim_end();
                writeln!(
                    f,
                    "  {:name$}  {:>a$}  {:>b$}  {style}{change}{style:#}",
                    printable(&row.name),
                    row.a,
                    row.b
                )?;
            }
        }
        Ok(())
    }
}

/// When and of which version a run was, as far as that is known.
fn origin(run: &Outcome) -> String {
    let part = |text: &str| if text.is_empty() { String::new() } else { format!(", {}", printable(text)) };
    format!("{}, mainstem {}", part(&run.started), printable(&run.version))
}

const fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Better => AnsiColor::Green.on_default(),
        Verdict::Worse => AnsiColor::Red.on_default(),
        Verdict::Noise => FAINT,
        Verdict::Same | Verdict::Neutral => Style::new(),
    }
}
