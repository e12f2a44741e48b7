//! The command line.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};

use crate::feed::{SHAPES, Shape};

/// Measure the log against other stores and against the limits of the disk.
///
/// Every store takes in the same side blocks of 1,000 chains, in main blocks, each of them durable before the next.
/// Runs are interleaved: the order changes with every round, since pages that are new to the page cache are many times
/// slower than used ones, and who pays for them depends on the order. Results are Markdown tables: the median of the
/// runs with the lowest and the highest, and what they are to be.
///
/// The other stores are built with `--features peers`. Needs about 15 GB of disk, 6 GB of memory and the better part of
/// an hour with all of them; a quiet machine, or the figures say little.
#[derive(Parser)]
#[command(name = "storage", bin_name = "cargo bench -p mainstem-benches --features peers --bench storage --")]
pub(crate) struct Args {
    /// Where the stores are made, in a directory of their own that is removed in the end. On a real disk: in memory,
    /// syncing costs nothing [default: the target directory]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,

    /// A few thousand blocks, to see that everything runs and that all stores give the same answers
    #[arg(long)]
    pub(crate) quick: bool,

    /// Only these parts [default: all]
    #[arg(long, value_delimiter = ',', value_name = "PART,..")]
    only: Vec<Part>,

    /// Only these stores: log (ours), redb, fjall, heed, heed-writemap [default: all that were built but the last one,
    /// which is LMDB writing through its map]
    #[arg(long, value_delimiter = ',', value_name = "STORE,..")]
    pub(crate) peers: Vec<String>,

    /// Only these sizes of a main block: 1k (50 chains of 20 side blocks), 64k (1,000 of 64), 1M (1,000 of 1,000),
    /// thin (1,000 of 1) [default: 1k,64k,1M]
    #[arg(long, value_delimiter = ',', value_name = "SIZE,..")]
    sizes: Vec<String>,

    /// How often each append is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) runs: u32,

    /// Side blocks that each store takes in
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    blocks: u64,

    /// Size of a segment of our log, in MiB
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1024))]
    segment_mib: u64,

    /// Write every figure to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Given by `cargo bench` and not by `cargo test`, which runs `--quick`
    #[arg(long, hide = true)]
    bench: bool,

    /// As a process of its own: write so many side blocks into a log in `--dir`, and say what memory that took
    #[arg(long, hide = true, value_name = "BLOCKS")]
    pub(crate) memory_of: Option<u64>,

    /// Names of benches, for all benches of the package
    #[arg(hide = true)]
    filter: Option<String>,
}

/// Whether this is a build as under `cargo test`, where looking at a block in the log takes milliseconds: rkyv's checks
/// are generic code, so they are built here and look at each byte.
pub(crate) const UNOPTIMISED: bool = cfg!(debug_assertions);

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Appending, and bytes on disk
    Append,
    /// Finding a side block
    Lookup,
    /// Building a whole proof
    Proof,
    /// Opening
    Open,
    /// Memory of a process that appends
    Memory,
}

/// What to do, and how much of it.
pub(crate) struct Plan {
    /// So little that nothing can be said of speed.
    pub(crate) quick: bool,
    pub(crate) parts: Vec<Part>,
    pub(crate) shapes: Vec<Shape>,
    pub(crate) side_blocks: u64,
    pub(crate) runs: u32,
    pub(crate) segment_bytes: u64,
    /// Timed look-ups and proofs.
    pub(crate) warm: u64,
    pub(crate) cold: u64,
    /// Segments of the log that is opened.
    pub(crate) segments: u64,
    /// Side blocks of the two logs whose writers' memory is compared.
    pub(crate) memory: [u64; 2],
}

impl Args {
    /// Whether some other bench is meant.
    pub(crate) fn is_for_others(&self) -> bool {
        self.filter.as_ref().is_some_and(|filter| !"storage".contains(filter.as_str()))
    }

    /// What was asked for, checked.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let names = crate::candidate::names();
        if let Some(unknown) = self.peers.iter().find(|peer| !names.contains(&peer.as_str())) {
            bail!(
                "--peers: {unknown:?} is not in this build; there are {} (the others need `--features peers`)",
                names.join(", ")
            );
        }
        let quick = self.quick || !self.bench;
        let default_sizes = match (quick, UNOPTIMISED) {
            (true, true) => &["1k", "thin"][..],
            (true, false) => &["1k", "64k", "thin"],
            (false, _) => &["1k", "64k", "1M"],
        };
        let sizes = if self.sizes.is_empty() {
            default_sizes.iter().map(ToString::to_string).collect()
        } else {
            self.sizes.clone()
        };
        let mut shapes = Vec::new();
        for size in sizes {
            match SHAPES.iter().find(|shape| shape.name == size) {
                Some(shape) => shapes.push(*shape),
                None => {
                    bail!("--sizes: {size:?} is not one of {}", SHAPES.map(|shape| shape.name).join(", "))
                }
            }
        }
        let parts = if self.only.is_empty() { Part::value_variants().to_vec() } else { self.only.clone() };
        let plan = Plan { parts, shapes, ..if quick { Plan::QUICK } else { Plan::WHOLE } };
        Ok(if quick {
            plan
        } else {
            Plan { side_blocks: self.blocks, runs: self.runs, segment_bytes: self.segment_mib << 20, ..plan }
        })
    }
}

impl Plan {
    const WHOLE: Self = Self {
        quick: false,
        parts: Vec::new(),
        shapes: Vec::new(),
        side_blocks: 10_000_000,
        runs: 3,
        segment_bytes: 256 << 20,
        warm: 1_000_000,
        cold: 1000,
        segments: 1000,
        memory: [5_000_000, 50_000_000],
    };

    /// Small segments, so that some are sealed; two runs, so that the order changes.
    const QUICK: Self = Self {
        quick: true,
        parts: Vec::new(),
        shapes: Vec::new(),
        side_blocks: 20_000,
        runs: 2,
        segment_bytes: 6 << 20,
        warm: if UNOPTIMISED { 200 } else { 2000 },
        cold: 20,
        segments: 5,
        memory: [64_000, 256_000],
    };

    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}
