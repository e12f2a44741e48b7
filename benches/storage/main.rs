//! Storage: our log against other stores at equal durability, and against plain writes and copies of the same bytes.
//!
//! Not a Criterion bench: what counts are whole runs with syncs, interleaved, and their spread. `-- --help` says how to
//! run it; without arguments, as under `cargo test`, it runs quickly and checks that all stores give the same answers.
//!
//! CI runs that with our log alone. The other stores are a feature that changes those of crates which all of us use, so
//! they would cost CI another build of the workspace; after a change here, run
//! `cargo bench -p mainstem-benches --features peers --bench storage -- --quick`.

#![deny(unsafe_code)]

mod append;
mod args;
mod candidate;
mod feed;
mod limit;
mod log;
mod lookup;
mod measure;
mod memory;
mod open;
#[cfg(feature = "peers")]
mod peers;
mod proof;
mod report;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use args::{Args, Part, Plan};
use candidate::Candidate;
use feed::Feed;
use report::Report;

/// What all parts share.
struct Bench {
    plan: Plan,
    candidates: Vec<Box<dyn Candidate>>,
    /// Empty, for the stores.
    dir: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.is_for_others() {
        return Ok(());
    }
    let plan = args.plan()?;
    let base = args.dir.as_deref().unwrap_or(Path::new(env!("CARGO_TARGET_TMPDIR")));
    if let Some(side_blocks) = args.memory_of {
        return memory::measure_in_this_process(base, side_blocks, plan.segment_bytes);
    }
    std::fs::create_dir_all(base).with_context(|| format!("{}", base.display()))?;
    if measure::is_in_memory(base)? {
        eprintln!("WARNING: {} is in memory: nothing is made durable there; use --dir", base.display());
    }
    let scratch = tempfile::Builder::new().prefix("mainstem-bench-").tempdir_in(base)?;
    let most = plan.shapes.iter().map(|shape| shape.leaves().max(plan.side_blocks)).max().unwrap_or(0);
    let limit_bytes = (most * 80).next_multiple_of(1 << 20).min(1 << 30);
    // A side block of a chain that has no other one there takes twice the bytes of one in a long section.
    let source_bytes =
        plan.shapes.iter().map(|shape| shape.leaves() * 74 + 1024 + u64::from(shape.sections) * 160);
    let source_bytes = (source_bytes.max().unwrap_or(0) as usize).next_multiple_of(1 << 20);
    let candidates = candidate::all(&args.peers, plan.segment_bytes, limit_bytes, source_bytes);
    let bench = Bench { plan, candidates, dir: scratch.path().to_owned() };

    let mut report = Report::default();
    if bench.plan.quick {
        println!("A quick run: it shows that everything works. Its figures say nothing.");
    }
    let stores = [Part::Append, Part::Lookup, Part::Open].iter().any(|part| bench.plan.has(*part));
    for &shape in bench.plan.shapes.iter().filter(|_| stores) {
        let mut feed = Feed::new(shape, bench.plan.side_blocks, false);
        let stored = append::run(&bench, shape, &mut feed, bench.plan.has(Part::Append), &mut report)?;
        if bench.plan.has(Part::Lookup) || bench.plan.has(Part::Open) {
            lookup::run(&bench, shape, &stored, &mut report)?;
        }
        for store in stored {
            std::fs::remove_dir_all(store.dir)?;
        }
    }
    if bench.plan.has(Part::Proof) {
        proof::run(&bench, &mut report)?;
    }
    if bench.plan.has(Part::Open) {
        open::run(&bench, &mut report)?;
    }
    if bench.plan.has(Part::Memory) {
        memory::run(&bench, &mut report)?;
    }
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    Ok(())
}

impl Bench {
    /// Whether a goal is met, in words.
    fn verdict(&self, met: bool) -> &'static str {
        match (self.plan.quick, met) {
            (true, _) => "not judged",
            (false, true) => "met",
            (false, false) => "**missed**",
        }
    }

    fn bar(length: u64) -> ProgressBar {
        let bar = ProgressBar::new(length);
        let style = "{elapsed_precise} {bar:30} {percent:>3} % {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is well-formed"));
        bar
    }
}
