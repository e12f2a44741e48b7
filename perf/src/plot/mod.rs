//! The main rows as pictures: what `goals` has measured, as SVG.

mod charts;
mod svg;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::goals::{Results, default_file};
use crate::table::root;

/// Draw what the goals have given, for perf/RESULTS.md and the README
#[derive(Args)]
pub(crate) struct Plot {
    /// The file of the figures [default: perf/results/goals.json]
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Where the pictures go [default: perf/plots]
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

impl Plot {
    pub(crate) fn run(&self) -> Result<()> {
        let results = match &self.results {
            Some(file) => file.clone(),
            None => default_file()?,
        };
        let plots = match &self.plots {
            Some(dir) => dir.clone(),
            None => root()?.join("perf/plots"),
        };
        ensure!(results.exists(), "{} is not there: `goals` makes it", results.display());
        write(&Results::read(&results)?, &plots)
    }
}

/// Draws what `results` has.
pub(crate) fn write(results: &Results, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let shapes = results.shapes.as_ref().map(|section| &section.data[..]);
    let pictures = [
        ("shapes", shapes.and_then(charts::shapes)),
        ("peer", shapes.and_then(charts::peer)),
        ("latency", results.latency.as_ref().and_then(|section| charts::latency(&section.data))),
        ("catch-up", results.catch_up.as_ref().and_then(|section| charts::catch_up(&section.data))),
    ];
    for (name, picture) in pictures {
        let Some(picture) = picture else { continue };
        let path = dir.join(format!("{name}.svg"));
        fs::write(&path, picture).with_context(|| format!("{} cannot be written", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
