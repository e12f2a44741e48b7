//! `mainstem bench machine`: what this machine can do, stage by stage, without a node.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use net::probe::Datagrams;
use serde::Serialize;

use crate::settings::Settings;
use crate::signals::Signals;
use crate::threads::cores;

use super::bed::Scratch;
use super::cpu::Cpu;
use super::format::{bytes, count, time};
use super::limits::{BLOCK_BYTES, Found, Rounds, Spread, disk, hash, quic};
use super::outcome::{Machine, over};
use super::progress::Progress;
use super::{bed, check_out, host};

/// Measure this machine alone: hashing, memory, disk, UDP, QUIC, and how many side blocks a second each allows
///
/// Takes some seconds. No node runs and no load: what a node reaches is below the lowest line, since its stages share the
/// processors.
#[derive(Args)]
pub(super) struct MachineBench {
    /// Where to put the file that is written; removed afterwards. Choose the disk to be measured
    #[arg(long, value_name = "DIR", default_value = "mainstem-bench")]
    data: PathBuf,
    /// Write the result to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The result. The names are those of the JSON.
#[derive(Serialize)]
struct Report {
    format: u32,
    version: &'static str,
    started: String,
    machine: Machine,
    measures: Vec<Measure>,
    /// Name of the measure that allows the fewest side blocks.
    narrowest: &'static str,
    narrowest_blocks_per_second: f64,
    sync_p50_ms: f64,
    sync_p99_ms: f64,
}

/// What one part of the machine can do.
#[derive(Serialize)]
struct Measure {
    name: &'static str,
    /// In `unit`: the median, and the lowest and the highest of the rounds.
    value: f64,
    low: f64,
    high: f64,
    unit: &'static str,
    /// What of it a side block needs.
    needs: f64,
    why: String,
    blocks_per_second: f64,
    /// Processor time of a side block, where it was measured, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    ns: Option<f64>,
    /// Whether a node has to do with so little: what one or two threads can do is no limit where there are more
    /// processors than they use.
    #[serde(skip)]
    is_limit: bool,
}

const ROUNDS: Rounds = Rounds { count: 3, time: Duration::from_millis(200) };

/// On how many processors at most a measure is a limit: on any number, as all of them were used, or as a node uses no more
/// either, like the log, which has one end.
const ANY: usize = usize::MAX;

/// What a block's bytes are copied to: the datagram, the frame, the lane, the main block, the page of the file.
const COPIES: u64 = 5;

/// Bytes that are copied or read at a time: more than the caches hold.
const ROW: usize = 64 << 20;

/// What copies are aligned to.
const PAGE: usize = 4096;

/// What the disk is given at a time: half of a second at some hundred thousand blocks a second, or a few milliseconds at
/// some millions.
const PIECE: u64 = 65_536 * BLOCK_BYTES;

/// The file that is written, half as many bytes as a segment has.
const FILE: u64 = 128 << 20;

/// The largest datagram that QUIC is sent in here.
const DATAGRAM: u16 = 6_500;

impl MachineBench {
    pub(super) fn run(&self) -> Result<()> {
        self.json.as_deref().map_or(Ok(()), check_out)?;
        let (signals, started) = (Signals::listen()?, host::now());
        let (scratch, progress) = (Scratch::make(&self.data)?, Progress::new());
        let report = report(scratch.path(), started, |part| {
            progress.step(part);
            bed::stopped(&signals, Duration::ZERO)
        });
        progress.finish();
        let report = report?;
        print!("{report}");
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(&report).context("a result can be written as JSON")?;
            std::fs::write(path, text + "\n")
                .with_context(|| format!("{} cannot be written", path.display()))?;
        }
        Ok(())
    }
}

/// Measures all parts. `show` is told what comes next, and may end it.
fn report(dir: &Path, started: String, mut show: impl FnMut(&'static str) -> Result<()>) -> Result<Report> {
    let all = cores().get();
    show("hashing")?;
    let (one, hashed) = (hash::measure(1, ROUNDS), hash::measure(all, ROUNDS));
    show("memory")?;
    let (copied, streamed) = memory();
    show("disk")?;
    let disk = disk::measure(dir, FILE, PIECE, ROUNDS)?;
    show("UDP")?;
    let (udp, batch) = udp()?;
    let batches = format!("its bytes, {batch} datagrams a send");
    show("QUIC")?;
    let quic = quic::measure(&Settings::default(), 1, ROUNDS)?;
    let quic_ns = quic.cost.send + quic.cost.receive;

    let block = BLOCK_BYTES as f64;
    let per_block = |found: Spread| found.times(block);
    let part = |name, most: usize, value: Spread, unit, needs, why: &str, ns| Measure {
        name,
        value: value.median,
        low: value.low,
        high: value.high,
        unit,
        needs,
        why: why.into(),
        blocks_per_second: over(value.median, needs),
        ns,
        is_limit: all <= most,
    };
    let hashes = "a leaf and a node";
    let mut measures = vec![
        part("hashing, 1 thread", 1, one.limit.times(2.0), "hashes/s", 2.0, hashes, Some(one.cost)),
        part(
            "hashing, all threads",
            ANY,
            hashed.limit.times(2.0),
            "hashes/s",
            2.0,
            hashes,
            Some(hashed.cost),
        ),
        part(
            "memory, copied",
            1,
            copied,
            "bytes/s",
            COPIES as f64 * block,
            "its bytes, copied five times",
            None,
        ),
        part("memory, read", 1, streamed, "bytes/s", block, "its bytes, once", None),
        part(
            "write and sync",
            ANY,
            per_block(disk.write.limit),
            "bytes/s",
            block,
            "its bytes, 65,536 blocks a sync",
            Some(disk.write.cost),
        ),
        part("UDP, GSO and GRO", 2, udp.limit, "bytes/s", block, &batches, Some(udp.cost)),
        part(
            "QUIC, 1 connection",
            2,
            per_block(quic.limit),
            "bytes/s",
            block,
            "its bytes, sent and received here",
            Some(quic_ns),
        ),
    ];
    let ns = quic_ns + hashed.cost + disk.write.cost;
    let shared = Spread::of(vec![all as f64 * 1e9]);
    measures.push(part(
        "processors, all shared",
        ANY,
        shared,
        "ns/s",
        ns,
        "QUIC, hashing and writing",
        Some(ns),
    ));

    let limits = measures.iter().filter(|measure| measure.is_limit && measure.blocks_per_second > 0.0);
    let narrowest = limits.min_by(|a, b| a.blocks_per_second.total_cmp(&b.blocks_per_second));
    let narrowest = narrowest.context("nothing could be measured")?;
    Ok(Report {
        format: 1,
        version: env!("CARGO_PKG_VERSION"),
        started,
        machine: host::describe(dir),
        narrowest: narrowest.name,
        narrowest_blocks_per_second: narrowest.blocks_per_second,
        measures,
        sync_p50_ms: disk.sync_p50_ms,
        sync_p99_ms: disk.sync_p99_ms,
    })
}

/// Bytes a second that one thread copies, and that it reads, from memory to memory.
fn memory() -> (Spread, Spread) {
    // The same place in a page on both sides: just beside it copying is many times slower on some processors.
    let row = || vec![0x5a_u8; ROW + PAGE];
    let place = |row: &[u8]| row.as_ptr().align_offset(PAGE).min(PAGE);
    let (from, mut to) = (row(), row());
    let (source, target) = (place(&from), place(&to));
    let rate = |mut pass: Box<dyn FnMut() + '_>| {
        // The first one brings what is not there yet.
        pass();
        let rates = (0..ROUNDS.count).map(|_| {
            let (start, mut passes) = (Instant::now(), 0);
            while start.elapsed() < ROUNDS.time {
                pass();
                passes += 1;
            }
            (passes * ROW) as f64 / start.elapsed().as_secs_f64()
        });
        Spread::of(rates.collect())
    };
    let copied = rate(Box::new(|| {
        to[target..target + ROW].copy_from_slice(&from[source..source + ROW]);
        black_box(&mut to);
    }));
    let read = rate(Box::new(|| {
        let (words, _) = from[source..source + ROW].as_chunks::<8>();
        black_box(words.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word))));
    }));
    (copied, read)
}

/// Bytes a second over a socket of UDP, and processor time of a side block's bytes; and how many datagrams went in a
/// send.
fn udp() -> Result<(Found<f64>, usize)> {
    let datagrams = Datagrams::start(DATAGRAM).context("the UDP limit cannot be measured")?;
    std::thread::sleep(ROUNDS.time / 4);
    let look = || (Instant::now(), datagrams.bytes(), Cpu::of_self());
    let (mut rates, mut last) = (Vec::new(), look());
    let (_, bytes, cpu) = last.clone();
    for _ in 0..ROUNDS.count {
        std::thread::sleep(ROUNDS.time);
        let now = look();
        rates.push((now.1 - last.1) as f64 / (now.0 - last.0).as_secs_f64());
        last = now;
    }
    let spent = last.2.since(&cpu, |thread| thread.starts_with("udp-"));
    let cost = over(spent as f64 * BLOCK_BYTES as f64, (last.1 - bytes) as f64);
    Ok((Found { limit: Spread::of(rates), cost }, datagrams.segments()))
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Machine { cpu, processors, memory_bytes, kernel, disk } = &self.machine;
        writeln!(f, "{processors} x {cpu}, {}, Linux {kernel}, {disk}", bytes(*memory_bytes as f64))?;
        writeln!(f)?;
        writeln!(
            f,
            "                                      a second   side blocks/s   ns each   a side block needs"
        )?;
        for measure in &self.measures {
            let value = match measure.unit {
                "bytes/s" => bytes(measure.value),
                "ns/s" => format!("{processors} s"),
                _ => count(measure.value),
            };
            let ns = measure.ns.map(time).unwrap_or_default();
            let narrowest = if measure.name == self.narrowest { "   narrowest" } else { "" };
            let blocks = count(measure.blocks_per_second);
            writeln!(
                f,
                "  {:24} {value:>19} {blocks:>15} {ns:>9}   {}{narrowest}",
                measure.name, measure.why
            )?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "fdatasync of {}: {} ms (p50), {} ms (p99)",
            bytes(PIECE as f64),
            time(self.sync_p50_ms),
            time(self.sync_p99_ms)
        )?;
        writeln!(
            f,
            "The narrowest is {}: {} side blocks a second.",
            self.narrowest,
            count(self.narrowest_blocks_per_second)
        )?;
        let below = |measure: &Measure| measure.blocks_per_second < self.narrowest_blocks_per_second;
        if self.measures.iter().any(below) {
            writeln!(f, "Below it is only what one or two threads do alone, and here a node has more.")?;
        }
        Ok(())
    }
}
