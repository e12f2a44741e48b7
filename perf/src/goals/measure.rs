//! The runs that the goals take.

use anyhow::{Context, Result};

use super::results::{Figures, Latency, Results, Section, Shape};
use super::{Goal, Goals};
use crate::bench::{Outcome, Program, flags};
use crate::child::stopped;
use crate::table::Progress;

/// Chains and connections that are promised a rate.
pub(super) const SHAPES: [(u32, u32); 4] = [(100, 1), (10_000, 10), (1_000, 100), (10_000, 1_000)];

/// Chains on one connection.
pub(super) const FLAT: [u32; 4] = [1, 10, 100, 1_000];

/// Seal intervals, in ms.
pub(super) const INTERVALS: [u64; 2] = [100, 0];

/// Bytes on the disk for a block of the longest run, with some to spare.
const DISK_BYTES: u64 = 100;

/// How many runs there will be.
pub(super) fn steps(goals: &Goals) -> u64 {
    let runs = u64::from(goals.runs);
    let shapes = if goals.shapes() { SHAPES.len() as u64 * (1 + u64::from(goals.peer())) } else { 0 };
    let latency = if goals.wants(Goal::Latency) { INTERVALS.len() as u64 } else { 0 };
    let flat = if goals.wants(Goal::Flat) { FLAT.len() as u64 } else { 0 };
    let halved = u64::from(goals.wants(Goal::Latency) && !goals.shapes());
    runs * (shapes + latency + flat) + halved + u64::from(goals.wants(Goal::CatchUp))
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
        let shapes = bed.shapes()?;
        results.shapes = Some(bed.section(shapes));
    }
    if goals.wants(Goal::Latency) {
        // Half of what the first shape has just reached, or reaches now.
        let reached = results.shapes.as_ref().and_then(|shapes| shapes.data.first()?.speed());
        let first = match reached {
            Some(reached) => Some(reached.median),
            None => bed.bench(&plain(goals, SHAPES[0]))?.map(|run| run.blocks_per_second),
        };
        // Without a rate there is nothing to halve, and the run that failed has been told of.
        if let Some(first) = first {
            #[expect(clippy::cast_sign_loss, reason = "a rate is not below 0")]
            let paces = bed.latency((first / 2.0) as u64)?;
            results.latency = Some(bed.section(paces));
        }
    }
    if goals.wants(Goal::Flat) {
        let shapes = bed.flat()?;
        results.flat = Some(bed.section(shapes));
    }
    if goals.wants(Goal::CatchUp)
        && let Some(run) = bed.catch_up()?
    {
        results.catch_up = Some(bed.section(run));
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
    fn section<T>(&self, data: T) -> Section<T> {
        Section { commit: self.program.commit().to_owned(), machine: self.goals.machine.clone(), data }
    }

    fn shapes(&mut self) -> Result<Vec<Shape>> {
        let mut shapes = Shape::none(SHAPES);
        for _ in 0..self.goals.runs {
            for shape in &mut shapes {
                let mut flags = flags(shape.chains, shape.connections, self.goals.seconds);
                // The limits take longer than the run: once for each shape.
                if shape.runs.iter().any(|run| run.limits.is_some()) {
                    flags.push(NO_LIMITS.into());
                }
                let run = self.bench(&flags)?;
                let peer = if self.goals.peer() { self.peer(shape)? } else { None };
                shape.turn(run, peer);
            }
        }
        Ok(shapes)
    }

    fn latency(&mut self, rate: u64) -> Result<Vec<Latency>> {
        let mut paces = Latency::none(INTERVALS, rate);
        for _ in 0..self.goals.runs {
            for pace in &mut paces {
                let mut flags = flags(SHAPES[0].0, SHAPES[0].1, self.goals.seconds);
                flags.extend(named([("--rate", rate), ("--seal-interval-ms", pace.interval_ms)]));
                // Once, for the disk's own sync with pieces as large as these main blocks.
                if pace.runs.iter().any(|run| run.limits.is_some()) {
                    flags.push(NO_LIMITS.into());
                }
                pace.runs.extend(self.bench(&flags)?.map(Outcome::without_timeline));
            }
        }
        Ok(paces)
    }

    fn flat(&mut self) -> Result<Vec<Shape>> {
        let mut shapes = Shape::none(FLAT.map(|chains| (chains, 1)));
        for _ in 0..self.goals.runs {
            for shape in &mut shapes {
                let run = self.bench(&plain(self.goals, (shape.chains, 1)))?;
                shape.turn(run, None);
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
        let flags: Vec<_> = named(flags).chain([NO_LIMITS.to_owned()]).collect();
        self.bench(&flags)
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
    flags.push(NO_LIMITS.into());
    flags
}

const NO_LIMITS: &str = "--no-limits";
