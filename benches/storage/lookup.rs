//! Looking up random side blocks by chain and height, and opening what is looked up in.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;

use crate::Bench;
use crate::append::{Stored, random_block};
use crate::args::Part;
use crate::candidate::{Kind, Reader};
use crate::feed::{CHAINS, Feed, Rng, Shape};
use crate::measure::{self, Spread, Times};
use crate::report::{Report, Table};

/// Groups of look-ups without a clock between them.
const GROUPS: u64 = 20;

/// How a store answers.
struct Answers {
    name: String,
    kind: Kind,
    /// Milliseconds, from a call until the first look-up can begin: without and with the files in the page cache.
    open: [f64; 2],
    cold: Times,
    /// Fetched from the disk for each cold look-up.
    cold_bytes: f64,
    warm: Times,
    /// Nanoseconds for each of many, without a clock between them, in each of some groups.
    warm_each: Spread,
}

/// Measures all stores.
pub(crate) fn run(bench: &Bench, shape: Shape, stored: &[Stored<'_>], report: &mut Report) -> Result<()> {
    let head = Feed::chain_height(shape, shape.blocks_for(bench.plan.side_blocks));
    let bar = Bench::bar(stored.len() as u64);
    let mut all = Vec::new();
    for store in stored {
        let name = store.candidate.name();
        bar.set_message(format!("look up {}: {name}", shape.name));
        all.push(one(bench, store, head).context(name)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    for answers in &all {
        report.figure(json!({
            "part": "lookup", "size": shape.name, "candidate": answers.name,
            "open_cold_ms": answers.open[0], "open_warm_ms": answers.open[1],
            "cold_p50_ns": answers.cold.at(0.5), "cold_p99_ns": answers.cold.at(0.99),
            "cold_bytes_from_disk": answers.cold_bytes, "warm_each_ns": answers.warm_each.median,
            "warm_p50_ns": answers.warm.at(0.5), "warm_p99_ns": answers.warm.at(0.99),
        }));
    }
    if bench.plan.has(Part::Lookup) {
        show_answers(bench, shape, &all);
    }
    if bench.plan.has(Part::Open) {
        show_open(shape, &all);
    }
    Ok(())
}

fn one(bench: &Bench, store: &Stored<'_>, head: u64) -> Result<Answers> {
    let (candidate, dir) = (store.candidate, &store.dir);
    let mut rng = Rng(2);
    let mut open = [0.0; 2];

    measure::forget(dir)?;
    let (mut cold, mut cold_bytes) = (Times::new(), 0.0);
    let start = Instant::now();
    candidate.read(dir, &mut |reader| {
        open[0] = start.elapsed().as_secs_f64() * 1e3;
        let before = measure::bytes_from_disk();
        for _ in 0..bench.plan.cold {
            timed(reader, &mut rng, head, &mut cold)?;
        }
        cold_bytes = (measure::bytes_from_disk() - before) as f64 / bench.plan.cold as f64;
        Ok(())
    })?;

    let (mut warm, mut warm_each) = (Times::new(), Vec::new());
    let start = Instant::now();
    candidate.read(dir, &mut |reader| {
        open[1] = start.elapsed().as_secs_f64() * 1e3;
        if !bench.plan.quick {
            warm_up(reader, head)?;
        }
        for _ in 0..bench.plan.warm {
            timed(reader, &mut rng, head, &mut warm)?;
        }
        // In groups, so that what else the machine does shows, and does not count.
        for _ in 0..GROUPS {
            let start = Instant::now();
            for _ in 0..bench.plan.warm / GROUPS {
                let (chain, height) = random_block(&mut rng, head);
                black_box(reader.find(Feed::chain(chain), height)?);
            }
            warm_each.push(start.elapsed().as_nanos() as f64 / (bench.plan.warm / GROUPS) as f64);
        }
        Ok(())
    })?;
    let warm_each = Spread::of(warm_each);
    Ok(Answers { name: candidate.name(), kind: candidate.kind(), open, cold, cold_bytes, warm, warm_each })
}

fn timed(reader: &dyn Reader, rng: &mut Rng, head: u64, times: &mut Times) -> Result<()> {
    let (chain, height) = random_block(rng, head);
    let before = Instant::now();
    let found = black_box(reader.find(Feed::chain(chain), height)?);
    times.record(before.elapsed());
    found.context("what was stored is found")?;
    Ok(())
}

/// Looks up every eighth side block, which is one at least in every page of every store.
fn warm_up(reader: &dyn Reader, head: u64) -> Result<()> {
    for chain in 0..CHAINS {
        for height in (1..=head).step_by(8) {
            black_box(reader.find(Feed::chain(chain), height)?);
        }
    }
    Ok(())
}

fn show_answers(bench: &Bench, shape: Shape, all: &[Answers]) {
    let mut table = Table::new(&[
        "store",
        "warm ns each",
        "warm ns, p50 / p99",
        "cold us, p50 / p99",
        "from disk, KB per cold look-up",
    ]);
    for answers in all {
        table.row(vec![
            answers.name.clone(),
            answers.warm_each.show(0),
            format!("{:.0} / {:.0}", answers.warm.at(0.5), answers.warm.at(0.99)),
            format!("{:.0} / {:.0}", answers.cold.at(0.5) / 1e3, answers.cold.at(0.99) / 1e3),
            format!("{:.1}", answers.cold_bytes / 1e3),
        ]);
    }
    let mut notes = vec![format!(
        "one thread; {} look-ups warm, {} cold (files taken out of the page cache, opened again); single times \
         include {:.0} ns of the clock; each: of {GROUPS} groups without a clock inside",
        bench.plan.warm,
        bench.plan.cold,
        clock_ns()
    )];
    let best = |wanted: fn(Kind) -> bool| {
        all.iter()
            .filter(|answers| wanted(answers.kind))
            .min_by(|a, b| a.warm_each.median.total_cmp(&b.warm_each.median))
            .map(|answers| (answers.name.clone(), answers.warm_each.median))
    };
    if let (Some((_, ours)), Some((name, peer))) =
        (best(|kind| kind == Kind::Ours), best(|kind| matches!(kind, Kind::Peer)))
    {
        let ratio = ours / peer;
        notes.push(format!(
            "ours over the best peer ({name}), warm: {ratio:.2}; goal 1.00 or less: {}",
            bench.verdict(ratio <= 1.0)
        ));
    }
    let title = format!("Look-up of a random (chain, height), main blocks of {shape}");
    table.print(&title, &notes);
}

fn show_open(shape: Shape, all: &[Answers]) {
    let mut table = Table::new(&["store", "cold ms", "warm ms"]);
    for answers in all {
        let [cold, warm] = answers.open;
        table.row(vec![answers.name.clone(), format!("{cold:.2}"), format!("{warm:.2}")]);
    }
    let notes =
        ["ours: a reader beside a writer, which judges each record of the last segment; a writer's opening \
                  stands in its own table"
            .to_owned()];
    table.print(&format!("Opening what append left, main blocks of {shape}"), &notes);
}

/// What a measurement of nothing takes.
pub(crate) fn clock_ns() -> f64 {
    let mut times = Times::new();
    for _ in 0..10_000 {
        let before = Instant::now();
        times.record(black_box(before.elapsed()));
    }
    times.mean()
}
