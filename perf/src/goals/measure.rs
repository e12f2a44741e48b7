//! The runs that the goals take.

use anyhow::{Context, Result, bail};

use super::results::{Latency, Results, Section, Shape};
use super::{Goal, Goals};
use crate::bench::{Outcome, Program, flags};
use crate::table::{Progress, Spread};

/// Chains and connections that are promised a rate.
const SHAPES: [(u32, u32); 4] = [(100, 1), (10_000, 10), (1_000, 100), (10_000, 1_000)];

/// Chains on one connection.
const FLAT: [u32; 4] = [1, 10, 100, 1_000];

/// Seal intervals, in ms.
const INTERVALS: [u64; 2] = [100, 0];

/// Bytes on the disk for a block of the longest run, with some to spare.
const DISK_BYTES: u64 = 100;

/// How many runs there will be.
pub(super) fn steps(goals: &Goals) -> u64 {
    let runs = u64::from(goals.runs);
    let shapes = if goals.shapes() { SHAPES.len() as u64 * (1 + u64::from(goals.peer())) } else { 0 };
    let latency = if goals.wants(Goal::Latency) { INTERVALS.len() as u64 } else { 0 };
    let flat = if goals.wants(Goal::Flat) { FLAT.len() as u64 } else { 0 };
    runs * (shapes + latency + flat) + u64::from(goals.wants(Goal::CatchUp))
}

/// Measures what is wanted, into `results`.
pub(super) fn all(
    goals: &Goals,
    program: &Program,
    progress: &Progress,
    results: &mut Results,
) -> Result<()> {
    if goals.shapes() {
        results.shapes = Section::new(&goals.machine, shapes(goals, program, progress)?)?;
    }
    if goals.wants(Goal::Latency) {
        // Half of what the first shape has just reached, or reaches now.
        let first = match results.shapes.as_ref().and_then(|shapes| shapes.data.first()) {
            Some(shape) if goals.shapes() => shape.of(|run| run.blocks_per_second).median,
            _ => bench(program, progress, &plain(goals, SHAPES[0]))?.blocks_per_second,
        };
        let measured = latency(goals, program, progress, (first / 2.0) as u64)?;
        results.latency = Section::new(&goals.machine, measured)?;
    }
    if goals.wants(Goal::Flat) {
        results.flat = Section::new(&goals.machine, flat(goals, program, progress)?)?;
    }
    if goals.wants(Goal::CatchUp) {
        results.catch_up = Section::new(&goals.machine, catch_up(goals, program, progress)?)?;
    }
    Ok(())
}

fn shapes(goals: &Goals, program: &Program, progress: &Progress) -> Result<Vec<Shape>> {
    let empty = |&(chains, connections): &(u32, u32)| Shape { chains, connections, ..Shape::default() };
    let mut shapes: Vec<_> = SHAPES.iter().map(empty).collect();
    for _ in 0..goals.runs {
        for shape in &mut shapes {
            let run = bench(program, progress, &flags(shape.chains, shape.connections, goals.seconds))?;
            shape.runs.push(run.without_timeline());
            progress.step();
            if goals.peer() {
                progress
                    .say(format!("the peer, {} chains over {} connections", shape.chains, shape.connections));
                shape.peer.push(peer(goals, program, shape.chains, shape.connections)?);
                progress.step();
            }
        }
    }
    Ok(shapes)
}

#[cfg(feature = "peer")]
fn peer(goals: &Goals, program: &Program, chains: u32, connections: u32) -> Result<super::results::Figures> {
    let time = std::time::Duration::from_secs(goals.seconds);
    let dir = program.scratch().join("peer");
    let tuning = &crate::peer::Tuning::BEST;
    crate::peer::run(chains, connections, crate::bench::WARM_UP, time, tuning, &dir)
}

#[cfg(not(feature = "peer"))]
fn peer(_: &Goals, _: &Program, _: u32, _: u32) -> Result<super::results::Figures> {
    bail!("the peer is not built in")
}

fn latency(goals: &Goals, program: &Program, progress: &Progress, rate: u64) -> Result<Vec<Latency>> {
    let empty = |&interval_ms: &u64| Latency { interval_ms, rate, runs: Vec::new() };
    let mut paces: Vec<_> = INTERVALS.iter().map(empty).collect();
    for _ in 0..goals.runs {
        for pace in &mut paces {
            let mut flags = flags(SHAPES[0].0, SHAPES[0].1, goals.seconds);
            let more = [("--rate", rate), ("--seal-interval-ms", pace.interval_ms)];
            flags.extend(more.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]));
            pace.runs.push(bench(program, progress, &flags)?.without_timeline());
            progress.step();
        }
    }
    Ok(paces)
}

fn flat(goals: &Goals, program: &Program, progress: &Progress) -> Result<Vec<Shape>> {
    let mut shapes: Vec<_> =
        FLAT.iter().map(|&chains| Shape { chains, connections: 1, ..Shape::default() }).collect();
    for _ in 0..goals.runs {
        for shape in &mut shapes {
            let run = bench(program, progress, &plain(goals, (shape.chains, 1)))?;
            if run.node_ns().is_none() {
                bail!("the program does not say what processor time a block takes (spent_ns)");
            }
            shape.runs.push(run.without_timeline());
            progress.step();
        }
    }
    Ok(shapes)
}

fn catch_up(goals: &Goals, program: &Program, progress: &Progress) -> Result<Outcome> {
    let disk = rustix::fs::statvfs(program.scratch()).context("the free space of the disk is not known")?;
    let (free, needed) = (disk.f_bavail * disk.f_frsize, goals.blocks * DISK_BYTES);
    if free < needed {
        bail!(
            "catching up with {} blocks takes {} GB of disk, and {} has {}: choose fewer --blocks",
            goals.blocks,
            needed >> 30,
            program.scratch().display(),
            free >> 30
        );
    }
    let (chains, connections) = SHAPES[0];
    let named =
        [("--chains", chains.into()), ("--connections", connections.into()), ("--blocks", goals.blocks)];
    let flags: Vec<_> =
        named.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]).collect();
    let outcome = bench(program, progress, &flags)?;
    progress.step();
    Ok(outcome)
}

/// The flags of a run that needs no limits.
fn plain(goals: &Goals, (chains, connections): (u32, u32)) -> Vec<String> {
    let mut flags = flags(chains, connections, goals.seconds);
    flags.push("--no-limits".into());
    flags
}

fn bench(program: &Program, progress: &Progress, flags: &[String]) -> Result<Outcome> {
    progress.say(format!("mainstem bench {}", flags.join(" ")));
    let outcome = program.bench(flags)?;
    let speed = Spread::of([outcome.blocks_per_second / 1e6]);
    progress.note(&format!("mainstem bench {}: {speed} million side blocks/s", flags.join(" ")));
    Ok(outcome)
}
