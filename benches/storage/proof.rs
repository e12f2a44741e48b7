//! Building whole proofs, up to the newest header, from a log with true trees.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use engine::chain::Height;
use engine::proof::{self, Proof};
use engine::store::BlockReader;
use serde_json::json;
use storage::{Log, LogReader};

use crate::Bench;
use crate::append::random_block;
use crate::feed::{CHAINS, Feed, Rng, Shape};
use crate::log::MainstemLog;
use crate::measure::{self, Times};
use crate::report::{Report, Table};

/// Measures all shapes.
pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut table = Table::new(&[
        "main blocks of",
        "warm us, p50",
        "warm us, p99",
        "cold us, p50",
        "cold us, p99",
        "hashes in a proof",
        "goal: p99 warm below 20 us",
    ]);
    for &shape in &bench.plan.shapes {
        let dir = bench.dir.join(format!("{}-proof", shape.name));
        let measured = one(bench, shape, &dir).with_context(|| format!("proofs of {}", shape.name))?;
        std::fs::remove_dir_all(&dir)?;
        let p99 = measured.warm.at(0.99) / 1e3;
        table.row(vec![
            shape.to_string(),
            format!("{:.2}", measured.warm.at(0.5) / 1e3),
            format!("{p99:.2}"),
            format!("{:.0}", measured.cold.at(0.5) / 1e3),
            format!("{:.0}", measured.cold.at(0.99) / 1e3),
            format!("{:.1}", measured.steps),
            bench.verdict(p99 < 20.0).into(),
        ]);
        report.figure(json!({
            "part": "proof", "size": shape.name,
            "warm_p50_ns": measured.warm.at(0.5), "warm_p99_ns": measured.warm.at(0.99),
            "cold_p50_ns": measured.cold.at(0.5), "cold_p99_ns": measured.cold.at(0.99),
            "steps": measured.steps,
        }));
    }
    let notes = [format!(
        "one thread, random side blocks; {} proofs warm, {} cold (files taken out of the page cache, opened again: the \
         first proof from a record reads and checks all of it); a sample was verified",
        bench.plan.warm / 5,
        bench.plan.cold / 4
    )];
    table.print("Whole proof of a side block, up to the newest header", &notes);
    Ok(())
}

struct Measured {
    warm: Times,
    cold: Times,
    steps: f64,
}

fn one(bench: &Bench, shape: Shape, dir: &Path) -> Result<Measured> {
    let blocks = shape.blocks_for(bench.plan.side_blocks);
    let head = Feed::chain_height(shape, blocks);
    let bar = Bench::bar(blocks);
    bar.set_message(format!("proofs {}: hashing and storing", shape.name));
    let mut feed = Feed::new(shape, bench.plan.side_blocks, true);
    let log = MainstemLog { segment_bytes: bench.plan.segment_bytes };
    let (mut writer, _, _) = Log::open(dir, log.options())?;
    for index in 0..blocks {
        writer.append(feed.next())?;
        // Durability is not measured here.
        if index % 64 == 63 || shape.leaves() >= 64_000 {
            writer.sync()?;
        }
        bar.inc(1);
    }
    writer.sync()?;
    drop(writer);
    bar.set_message(format!("proofs {}: building", shape.name));

    let mut rng = Rng(3);
    measure::forget(dir)?;
    let reader = LogReader::open(dir)?;
    let mut cold = Times::new();
    for _ in 0..bench.plan.cold / 4 {
        build(&reader, &mut rng, head, &mut cold)?;
    }
    drop(reader);

    let reader = LogReader::open(dir)?;
    ensure!(reader.head() == Height(blocks), "all blocks are there");
    let newest = reader.block(reader.head())?.context("the newest block")?.hash();
    let mut steps = 0;
    let sample = bench.plan.warm.min(1000);
    for _ in 0..sample {
        let (chain, height) = random_block(&mut rng, head);
        let proof = proof::build(&reader, Feed::chain(chain), Height(height), Some(reader.head()))?;
        let expected = feed.expected(chain, height);
        let block = proof.block;
        ensure!(
            (block.hash, block.tx_root) == (expected.hash, expected.tx_root),
            "the block that was stored"
        );
        ensure!(proof.verify_trusting(newest)?.trusted_hash == newest, "it ends in the newest header");
        steps +=
            proof.chain_path.len() + proof.side_path.len() + proof.history_path.map_or(0, |path| path.len());
    }
    // Every page that a proof may need.
    for chain in (0..CHAINS).filter(|_| !bench.plan.quick) {
        for height in (1..=head).step_by(32) {
            black_box(proof::build(&reader, Feed::chain(chain), Height(height), Some(reader.head()))?);
        }
    }
    let mut warm = Times::new();
    for _ in 0..bench.plan.warm / 5 {
        build(&reader, &mut rng, head, &mut warm)?;
    }
    bar.finish_and_clear();
    Ok(Measured { warm, cold, steps: steps as f64 / sample as f64 })
}

fn build(reader: &LogReader, rng: &mut Rng, head: u64, times: &mut Times) -> Result<Proof> {
    let (chain, height) = random_block(rng, head);
    let before = Instant::now();
    let proof = black_box(proof::build(reader, Feed::chain(chain), Height(height), Some(reader.head()))?);
    times.record(before.elapsed());
    Ok(proof)
}
