//! The runs that the goals take.

use anyhow::{Context, Result};

use super::results::{Figures, Latency, Results, Section, Shape};
use super::{Goal, Goals};
use crate::bench::{Outcome, Program, flags};
use crate::child::stopped;
use crate::table::Progress;

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

/// Measures what is wanted, into `results`. A run that fails is said and left out; how many did is returned.
pub(super) fn all(
    goals: &Goals,
    program: &Program,
    progress: &Progress,
    results: &mut Results,
) -> Result<u32> {
    let bed = &mut Bed { goals, program, progress, failed: 0 };
    if goals.shapes() {
        results.shapes = Section::new(&goals.machine, bed.shapes()?)?;
    }
    if goals.wants(Goal::Latency) {
        // Half of what the first shape has just reached, or reaches now.
        let first = match results.shapes.as_ref().and_then(|shapes| shapes.data.first()) {
            Some(shape) if goals.shapes() && !shape.runs.is_empty() => {
                shape.of(|run| run.blocks_per_second).median
            }
            _ => bed.bench(&plain(goals, SHAPES[0]))?.context("there is no rate to halve")?.blocks_per_second,
        };
        #[expect(clippy::cast_sign_loss, reason = "a rate is not below 0")]
        let half = (first / 2.0) as u64;
        results.latency = Section::new(&goals.machine, bed.latency(half)?)?;
    }
    if goals.wants(Goal::Flat) {
        results.flat = Section::new(&goals.machine, bed.flat()?)?;
    }
    if goals.wants(Goal::CatchUp)
        && let Some(run) = bed.catch_up()?
    {
        results.catch_up = Section::new(&goals.machine, run)?;
    }
    Ok(bed.failed)
}

struct Bed<'a> {
    goals: &'a Goals,
    program: &'a Program,
    progress: &'a Progress,
    failed: u32,
}

impl Bed<'_> {
    fn shapes(&mut self) -> Result<Vec<Shape>> {
        let empty = |&(chains, connections): &(u32, u32)| Shape { chains, connections, ..Shape::default() };
        let mut shapes: Vec<_> = SHAPES.iter().map(empty).collect();
        for _ in 0..self.goals.runs {
            for shape in &mut shapes {
                let run = self.bench(&flags(shape.chains, shape.connections, self.goals.seconds))?;
                let peer = if self.goals.peer() { self.peer(shape)? } else { None };
                // In pairs, since they are compared run by run.
                if let Some(run) = run.filter(|_| peer.is_some() || !self.goals.peer()) {
                    shape.runs.push(run.without_timeline());
                    shape.peer.extend(peer);
                }
            }
        }
        Ok(shapes)
    }

    fn latency(&mut self, rate: u64) -> Result<Vec<Latency>> {
        let empty = |&interval_ms: &u64| Latency { interval_ms, rate, runs: Vec::new() };
        let mut paces: Vec<_> = INTERVALS.iter().map(empty).collect();
        for _ in 0..self.goals.runs {
            for pace in &mut paces {
                let mut flags = flags(SHAPES[0].0, SHAPES[0].1, self.goals.seconds);
                flags.extend(named([("--rate", rate), ("--seal-interval-ms", pace.interval_ms)]));
                pace.runs.extend(self.bench(&flags)?.map(Outcome::without_timeline));
            }
        }
        Ok(paces)
    }

    fn flat(&mut self) -> Result<Vec<Shape>> {
        let empty = |&chains: &u32| Shape { chains, connections: 1, ..Shape::default() };
        let mut shapes: Vec<_> = FLAT.iter().map(empty).collect();
        for _ in 0..self.goals.runs {
            for shape in &mut shapes {
                let run = self.bench(&plain(self.goals, (shape.chains, 1)))?;
                shape.runs.extend(run.map(Outcome::without_timeline));
            }
        }
        Ok(shapes)
    }

    fn catch_up(&mut self) -> Result<Option<Outcome>> {
        let disk =
            rustix::fs::statvfs(self.program.scratch()).context("the free space of the disk is not known")?;
        let (blocks, free) = (self.goals.blocks, disk.f_bavail * disk.f_frsize);
        if free < blocks * DISK_BYTES {
            self.progress.note(&format!(
                "catching up with {blocks} blocks takes {} GB of disk, and {} has {}: left out; choose fewer --blocks",
                blocks * DISK_BYTES / 1_000_000_000,
                self.program.scratch().display(),
                free / 1_000_000_000
            ));
            self.failed += 1;
            return Ok(None);
        }
        let (chains, connections) = SHAPES[0];
        let flags =
            [("--chains", chains.into()), ("--connections", connections.into()), ("--blocks", blocks)];
        self.bench(&named(flags).collect::<Vec<_>>())
    }

    /// A run of Mainstem; nothing if it failed.
    fn bench(&mut self, flags: &[String]) -> Result<Option<Outcome>> {
        let what = format!("mainstem bench {}", flags.join(" "));
        self.progress.say(what.clone());
        let result = self.program.bench(flags);
        self.told(&what, result, |run| run.blocks_per_second)
    }

    /// A run of the peer with a load of the same shape; nothing if it failed.
    fn peer(&mut self, shape: &Shape) -> Result<Option<Figures>> {
        let what = format!("the peer, {} chains over {} connections", shape.chains, shape.connections);
        self.progress.say(what.clone());
        let result = peer(self.goals, self.program, shape.chains, shape.connections);
        self.told(&what, result, |run| run.blocks_per_second)
    }

    fn told<T>(&mut self, what: &str, result: Result<T>, speed: fn(&T) -> f64) -> Result<Option<T>> {
        // Who is to stop has ended the run, too.
        stopped()?;
        self.progress.step();
        match result {
            Ok(run) => {
                self.progress.note(&format!("{what}: {:.2} million side blocks/s", speed(&run) / 1e6));
                Ok(Some(run))
            }
            Err(error) => {
                self.progress.note(&format!("{what}: failed: {error:#}"));
                self.failed += 1;
                Ok(None)
            }
        }
    }
}

#[cfg(feature = "peer")]
fn peer(goals: &Goals, program: &Program, chains: u32, connections: u32) -> Result<Figures> {
    let time = std::time::Duration::from_secs(goals.seconds);
    let dir = program.scratch().join("peer");
    let tuning = &crate::peer::Tuning::BEST;
    crate::peer::run(chains, connections, crate::bench::WARM_UP, time, tuning, &dir)
}

#[cfg(not(feature = "peer"))]
fn peer(_: &Goals, _: &Program, _: u32, _: u32) -> Result<Figures> {
    anyhow::bail!("the peer is not built in")
}

/// Flags with numbers.
fn named<const N: usize>(flags: [(&str, u64); N]) -> impl Iterator<Item = String> {
    flags.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()])
}

/// The flags of a run that needs no limits.
fn plain(goals: &Goals, (chains, connections): (u32, u32)) -> Vec<String> {
    let mut flags = flags(chains, connections, goals.seconds);
    flags.push("--no-limits".into());
    flags
}
