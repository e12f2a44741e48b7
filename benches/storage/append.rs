//! Appending: all candidates take in the same main blocks, each made durable before the next.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::Bench;
use crate::candidate::{Candidate, Kind};
use crate::feed::{Feed, Rng, Shape};
use crate::measure::{self, Spread, Times};
use crate::report::{Report, Table};

/// What one run of a candidate took.
struct Run {
    seconds: f64,
    cpu_seconds: f64,
    /// From the last durable block until it was closed: what was put off.
    close: Duration,
    commits: Times,
    allocated: u64,
    reserved: u64,
}

/// A store that was written, and stays until this is dropped.
pub(crate) struct Stored<'a> {
    pub(crate) candidate: &'a dyn Candidate,
    pub(crate) dir: PathBuf,
}

/// Runs all candidates, or, when nothing is to be `measured`, only fills the stores. Returns them, checked.
pub(crate) fn run<'a>(
    bench: &'a Bench,
    shape: Shape,
    feed: &mut Feed,
    measured: bool,
    report: &mut Report,
) -> Result<Vec<Stored<'a>>> {
    let blocks = shape.blocks_for(bench.plan.side_blocks);
    let side_blocks = blocks * shape.leaves();
    let candidates: Vec<&dyn Candidate> = bench
        .candidates
        .iter()
        .map(AsRef::as_ref)
        .filter(|candidate| measured || candidate.kind().is_store())
        .collect();
    let rounds = if measured { bench.plan.runs } else { 1 };
    let bar = Bench::bar(u64::from(rounds) * candidates.len() as u64 * side_blocks);
    let mut runs: Vec<Vec<Run>> = candidates.iter().map(|_| Vec::new()).collect();
    let mut stored = Vec::new();
    for round in 0..rounds as usize {
        for turn in 0..candidates.len() {
            // Another one begins each round, and each comes after another one.
            let index = if round % 2 == 0 {
                (turn + round) % candidates.len()
            } else {
                (2 * candidates.len() - 1 - turn - round % candidates.len()) % candidates.len()
            };
            let candidate = candidates[index];
            bar.set_message(format!("append {}, round {}: {}", shape.name, round + 1, candidate.name()));
            let dir = bench.dir.join(format!("{}-{index}", shape.name));
            let run = run_one(candidate, &dir, feed, blocks, &|blocks| bar.inc(blocks * shape.leaves()))?;
            runs[index].push(run);
            if round + 1 == rounds as usize && candidate.kind().is_store() {
                check(bench, candidate, &dir, feed, shape)?;
                stored.push((index, Stored { candidate, dir }));
            } else {
                fs::remove_dir_all(&dir)?;
            }
        }
    }
    bar.finish_and_clear();
    if measured {
        show(bench, shape, &candidates, &runs, report);
    }
    stored.sort_by_key(|(index, _)| *index);
    Ok(stored.into_iter().map(|(_, stored)| stored).collect())
}

fn run_one(
    candidate: &dyn Candidate,
    dir: &Path,
    feed: &mut Feed,
    blocks: u64,
    progress: &dyn Fn(u64),
) -> Result<Run> {
    measure::settle(dir.parent().context("stores lie in a directory")?)?;
    let (mut seconds, mut cpu_seconds, mut commits) = (0.0, 0.0, Times::new());
    let mut done = Instant::now();
    candidate
        .write(dir, &mut |writer| {
            feed.start_after(writer.before());
            let (cpu, start) = (measure::cpu_seconds(), Instant::now());
            for _ in 0..blocks {
                let block = feed.next();
                let before = Instant::now();
                writer.commit(block)?;
                commits.record(before.elapsed());
                progress(1);
            }
            seconds = start.elapsed().as_secs_f64();
            cpu_seconds = measure::cpu_seconds() - cpu;
            done = Instant::now();
            Ok(())
        })
        .with_context(|| candidate.name())?;
    let close = done.elapsed();
    let (allocated, reserved) = if candidate.kind().is_store() {
        (measure::allocated_bytes(dir)?, candidate.reserved(dir)?)
    } else {
        (0, 0)
    };
    Ok(Run { seconds, cpu_seconds, close, commits, allocated, reserved })
}

/// All candidates must give the same answers: those that follow from what was fed.
fn check(bench: &Bench, candidate: &dyn Candidate, dir: &Path, feed: &Feed, shape: Shape) -> Result<()> {
    let blocks = shape.blocks_for(bench.plan.side_blocks);
    let head = Feed::chain_height(shape, blocks);
    let read = |reader: &dyn crate::candidate::Reader| {
        let mut rng = Rng(1);
        let edges = [(0, 1), (0, head), (crate::feed::CHAINS - 1, 1), (crate::feed::CHAINS - 1, head)];
        let random = (0..bench.plan.warm.min(2000)).map(|_| random_block(&mut rng, head));
        for (chain, height) in edges.into_iter().chain(random) {
            let found = reader.find(Feed::chain(chain), height)?;
            let expected = feed.expected(chain, height);
            ensure!(
                found == Some(expected),
                "chain {chain}, height {height}: found {found:?}, expected {expected:?}"
            );
        }
        for (chain, height) in [(0, 0), (0, head + 1), (crate::feed::CHAINS, 1), (crate::feed::CHAINS, head)]
        {
            let found = reader.find(Feed::chain(chain), height)?;
            ensure!(found.is_none(), "chain {chain}, height {height}: found {found:?}, expected nothing");
        }
        Ok(())
    };
    candidate.read(dir, &mut |reader| read(reader)).with_context(|| candidate.name())
}

/// Index and height of some side block.
pub(crate) fn random_block(rng: &mut Rng, head: u64) -> (u32, u64) {
    (rng.below(crate::feed::CHAINS.into()) as u32, 1 + rng.below(head))
}

fn show(bench: &Bench, shape: Shape, candidates: &[&dyn Candidate], runs: &[Vec<Run>], report: &mut Report) {
    let blocks = shape.blocks_for(bench.plan.side_blocks);
    let side_blocks = (blocks * shape.leaves()) as f64;
    let rate = |run: &Run| side_blocks / run.seconds / 1e6;
    let rates: Vec<Spread> = runs.iter().map(|runs| Spread::of(runs.iter().map(rate))).collect();
    let best = |wanted: fn(Kind) -> bool| {
        let rates = candidates.iter().zip(&rates).filter(|(candidate, _)| wanted(candidate.kind()));
        rates
            .max_by(|a, b| a.1.median.total_cmp(&b.1.median))
            .map(|(candidate, rate)| (candidate.name(), *rate))
    };
    let fresh = best(|kind| kind == Kind::FreshLimit);
    let recycled = best(|kind| kind == Kind::RecycledLimit);
    let peer = best(|kind| matches!(kind, Kind::Peer));
    let ours = best(|kind| kind == Kind::Ours);
    let ours_recycled = best(|kind| kind == Kind::OursRecycled);

    let mut table = Table::new(&[
        "candidate",
        "M side blocks/s",
        "of the best limit, new file",
        "CPU ns/side block",
        "commit p50 / p99 ms",
        "closing s",
        "disk bytes/side block",
        "reserved ahead MB",
    ]);
    for ((candidate, runs), rate) in candidates.iter().zip(runs).zip(&rates) {
        let mut commits = Times::new();
        runs.iter().for_each(|run| commits.add(&run.commits));
        let cpu = Spread::of(runs.iter().map(|run| run.cpu_seconds * 1e9 / side_blocks));
        let close = Spread::of(runs.iter().map(|run| run.close.as_secs_f64()));
        let bytes = Spread::of(runs.iter().map(|run| (run.allocated - run.reserved) as f64 / side_blocks));
        let reserved = Spread::of(runs.iter().map(|run| run.reserved as f64 / 1e6));
        let of_store = |text: String| if candidate.kind().is_store() { text } else { "-".into() };
        table.row(vec![
            candidate.name(),
            rate.show(3),
            fresh.as_ref().map_or("-".into(), |(_, limit)| format!("{:.2}", rate.median / limit.median)),
            format!("{:.0}", cpu.median),
            format!("{:.2} / {:.2}", commits.at(0.5) / 1e6, commits.at(0.99) / 1e6),
            of_store(format!("{:.2}", close.median)),
            of_store(format!("{:.1}", bytes.median)),
            of_store(format!("{:.1}", reserved.median)),
        ]);
        report.figure(json!({
            "part": "append", "size": shape.name, "candidate": candidate.name(), "side_blocks": side_blocks,
            "seconds": runs.iter().map(|run| run.seconds).collect::<Vec<_>>(),
            "cpu_seconds": runs.iter().map(|run| run.cpu_seconds).collect::<Vec<_>>(),
            "closing_seconds": runs.iter().map(|run| run.close.as_secs_f64()).collect::<Vec<_>>(),
            "commit_p50_ms": commits.at(0.5) / 1e6, "commit_p99_ms": commits.at(0.99) / 1e6,
            "bytes_per_side_block": bytes.median, "reserved_bytes": reserved.median * 1e6,
        }));
    }
    let mut notes = Vec::new();
    for (what, ours, limit) in [("new", &ours, &fresh), ("recycled", &ours_recycled, &recycled)] {
        let (Some((_, ours)), Some((name, limit))) = (ours, limit) else { continue };
        let ratio = ours.median / limit.median;
        notes.push(format!(
            "ours over the best plain write, {what} files ({name}): {ratio:.2} (of the best runs: {:.2}); goal 0.80: {}",
            ours.high / limit.high,
            bench.verdict(ratio >= 0.8)
        ));
    }
    if let Some((name, peer)) = &peer {
        let goal = if shape.leaves() >= 64_000 { 10.0 } else { 5.0 };
        for (files, ours) in [("new", &ours), ("recycled", &ours_recycled)] {
            let Some((_, ours)) = ours else { continue };
            let ratio = ours.median / peer.median;
            notes.push(format!(
                "ours, {files} files, over the best peer ({name}): {ratio:.1}; goal {goal:.0}: {}",
                bench.verdict(ratio >= goal)
            ));
        }
        for (files, limit) in [("new", &fresh), ("recycled", &recycled)] {
            let Some((_, limit)) = limit else { continue };
            notes.push(format!(
                "the best plain write, {files} files, over the best peer: {:.1}; no store that syncs each block can \
                 be more than that",
                limit.median / peer.median
            ));
        }
    }
    let own = candidates.iter().position(|candidate| candidate.kind() == Kind::Ours);
    if let Some(runs) = own.map(|index| &runs[index]) {
        let bytes =
            Spread::of(runs.iter().map(|run| (run.allocated - run.reserved) as f64 / side_blocks)).median;
        notes.push(format!(
            "ours on disk: {bytes:.1} bytes per side block; goal 90: {}",
            bench.verdict(bytes <= 90.0)
        ));
    }
    let title = format!(
        "Append, {} side blocks in {blocks} main blocks of {shape}, each durable",
        blocks * shape.leaves(),
    );
    table.print(&title, &notes);
}
