//! Proofs: how many are built in a second by one core, how long it takes to verify one, and how long they are.
//!
//! Built from a log that lies in the page cache, at random heights: one row for a log of many main blocks, one for a main
//! block of a million leaves. Sizes against the length of the main chain are of true proofs of a chain that is not stored.

mod endless;
mod made;
#[path = "../turns.rs"]
mod turns;

use std::hint::black_box;

use anyhow::Result;
use engine::chain::{ChainId, Hash, Height};
use engine::merkle::{leaf, tree};
use engine::proof::{self, Document};
use engine::sha256::Kernel;
use engine::store::BlockReader;
use storage::LogReader;

use endless::Endless;
use made::{Shape, chain};
use turns::{Case, Figure, Limit, by_turns, measures, pool, timed};

fn main() -> Result<()> {
    let scratch =
        tempfile::Builder::new().prefix("mainstem-bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let whole = |full: Shape, brief: Shape| if measures() { full } else { brief };
    let usual = whole(Shape { chains: 100, per_chain: 20 }, Shape { chains: 9, per_chain: 5 });
    let giant = whole(Shape { chains: 1_024, per_chain: 1_024 }, Shape { chains: 40, per_chain: 40 });
    let (blocks, giants) = if measures() { (2_000, 2) } else { (20, 2) };
    println!("{:<52} {:>29} {:>12} {:>8}", "", "for each proof", "a second", "bytes");
    for (name, shape, blocks) in [("usual", usual, blocks), ("giant", giant, giants)] {
        let reader = made::log(&scratch.path().join(name), shape, blocks)?;
        println!("\n{blocks} main blocks of {} chains x {}", shape.chains, shape.per_chain);
        Bed { reader, shape, blocks }.measure()?;
    }
    sizes()
}

/// A log of main blocks of one shape.
struct Bed {
    reader: LogReader,
    shape: Shape,
    blocks: u64,
}

impl Bed {
    fn measure(&self) -> Result<()> {
        self.hashing();
        let newest = self.reader.head();
        let of = |count: usize| if measures() { count } else { 3 };
        self.single("one block", None, of(20_000))?;
        self.single("one block, up to the newest header", Some(newest), of(20_000))?;
        for wanted in [16, 256, 4_096] {
            self.many(wanted)?;
        }
        let mut random = Random(3);
        let mains: Vec<Height> = (0..of(2_000)).map(|_| Height(1 + random.below(self.blocks))).collect();
        let content = |name, chain: ChainId, mains: &[Height]| {
            Self::row(name, mains, |main| {
                if let Some(proof) = proof::build_chain(&self.reader, chain, *main, Some(newest))? {
                    return Ok(Document::Chain(proof));
                }
                let none = proof::build_absence(&self.reader, chain, *main, Some(newest))?;
                Ok(Document::Absence(none.expect("it is there or it is not")))
            })
        };
        content("all blocks of a chain, up to the newest header", chain(self.shape.chains / 2), &mains)?;
        let between = ChainId(chain(self.shape.chains / 2).0 + 1);
        content("no block of a chain, up to the newest header", between, &mains)?;
        Self::row("consistency, up to the newest header", &mains, |main| {
            Ok(Document::Consistency(proof::build_consistency(&self.reader, *main, newest)?))
        })
    }

    /// What of building one cannot be had otherwise, as the leaves of two groups are not stored: their hashes, and those of
    /// the nodes over them, by the same kernel from the cache.
    fn hashing(&self) {
        let (pool, limit) = (&pool(1), &Limit::new());
        let group = |leaves: u32| f64::from(leaves.min(1 << tree::STORED_LEVEL));
        let (blocks, chains) = (group(self.shape.per_chain), group(self.shape.chains));
        let side: Case<'_> = Box::new(|| {
            limit.of(pool, |row, out| {
                let (hashes, tx_roots) = row.split_at(out.len());
                leaf::side_row(ChainId(7), Height(8), hashes, tx_roots, out);
            })
        });
        let chain: Case<'_> = Box::new(|| {
            limit.of(pool, |row, out| {
                let message = |hash: &Hash| {
                    let mut message = [2; 49];
                    message[17..].copy_from_slice(hash.as_bytes());
                    message
                };
                Kernel::best().digests(row.iter().map(message), out);
            })
        });
        let nodes: Case<'_> = Box::new(|| limit.nodes(pool));
        let [side, chain, node] = by_turns(5, [side, chain, nodes]);
        let all = blocks * side.median() + chains * chain.median() + (blocks + chains - 2.0) * node.median();
        println!("{:<52} {all:8.1} ns {:>30.0}", "limit of one block: its hashes alone", 1e9 / all);
    }

    fn single(&self, name: &str, head: Option<Height>, count: usize) -> Result<()> {
        let blocks = self.wanted(count);
        Self::row(name, &blocks, |&(chain, height)| {
            Ok(Document::Block(proof::build(&self.reader, chain, height, head)?))
        })
    }

    /// Of `wanted` blocks each, at random, and next to each other.
    fn many(&self, wanted: usize) -> Result<()> {
        let times = if measures() { (100_000 / wanted).clamp(3, 200) } else { 1 };
        let sets: Vec<Vec<(ChainId, Height)>> = (0..times).map(|_| self.wanted(wanted)).collect();
        let build = |blocks: &Vec<(ChainId, Height)>| {
            Ok(Document::Blocks(proof::build_many(&self.reader, blocks, Some(self.reader.head()))?))
        };
        Self::row(&format!("{wanted} blocks at random in one proof"), &sets, build)?;
        let run = (wanted as u64).min(self.blocks * u64::from(self.shape.per_chain));
        let sets: Vec<Vec<(ChainId, Height)>> = (0..times)
            .map(|_| (1..=run).map(|height| (chain(self.shape.chains / 3), Height(height))).collect())
            .collect();
        Self::row(&format!("{run} blocks of one chain in one proof"), &sets, build)
    }

    /// Blocks at random.
    fn wanted(&self, count: usize) -> Vec<(ChainId, Height)> {
        let mut random = Random(count as u64);
        let heights = self.blocks * u64::from(self.shape.per_chain);
        let block = |_| {
            let index = random.below(u64::from(self.shape.chains)) as u32;
            (chain(index), Height(1 + random.below(heights)))
        };
        (0..count).map(block).collect()
    }

    /// Building, verifying, and the way over bytes, of what `build` makes of each of `asked`.
    fn row<T>(name: &str, asked: &[T], build: impl Fn(&T) -> Result<Document>) -> Result<()> {
        let documents: Vec<Document> = asked.iter().map(&build).collect::<Result<_>>()?;
        let bytes: Vec<Vec<u8>> = documents.iter().map(Document::to_bytes).collect();
        let json = |document: &Document| serde_json::to_vec(document).expect("a proof has a JSON form");
        let mean = bytes.iter().map(Vec::len).sum::<usize>() / bytes.len();
        for (document, bytes) in documents.iter().zip(&bytes) {
            assert!(document.verify().is_ok() && Document::from_bytes(bytes).as_ref() == Ok(document));
        }
        let built: Case<'_> = Box::new(|| {
            timed(1, asked.len(), || {
                for asked in asked {
                    black_box(build(black_box(asked)).is_ok());
                }
            })
        });
        let verified: Case<'_> = Box::new(|| each(&documents, |document| document.verify().is_ok()));
        let read: Case<'_> = Box::new(|| each(&bytes, |bytes| Document::from_bytes(bytes).is_ok()));
        let binary: Case<'_> = Box::new(|| each(&documents, Document::to_bytes));
        let text: Case<'_> = Box::new(|| each(&documents, json));
        let [built, verified, read, binary, text] = by_turns(5, [built, verified, read, binary, text]);
        line(&format!("{name}: built"), &built, mean);
        line("  verified", &verified, mean);
        line("  read from bytes", &read, mean);
        line("  written as bytes", &binary, mean);
        line("  written as JSON", &text, json(&documents[0]).len());
        Ok(())
    }
}

fn each<T, R>(all: &[T], run: impl Fn(&T) -> R) -> f64 {
    timed(1, all.len(), || {
        for one in all {
            black_box(run(black_box(one)));
        }
    })
}

fn line(name: &str, figure: &Figure, bytes: usize) {
    println!("{name:<52} {figure} {:>12.0} {bytes:>8}", 1e9 / figure.median());
}

/// Proofs against the length of the main chain. Each is built and verified.
fn sizes() -> Result<()> {
    let powers: &[u32] = if measures() { &[3, 4, 5, 6, 7] } else { &[2, 3] };
    let heads: Vec<Height> = powers.iter().map(|power| Height(10_u64.pow(*power))).collect();
    let shape = Shape { chains: 100, per_chain: 20 };
    let asked: Vec<Height> = heads.iter().flat_map(|head| samples(*head)).collect();
    let all: Vec<Height> = heads.iter().chain(&asked).copied().collect();
    let endless = Endless::new(made::block(shape, Height(1)), &all);
    println!(
        "\nmain chains of so many blocks of {} chains x {}: bytes at least and at most",
        shape.chains, shape.per_chain
    );
    println!(
        "{:>12} {:>15} {:>15} {:>15} {:>15}",
        "main blocks", "one block", "in JSON", "consistency", "16 blocks"
    );
    for head in heads {
        let (mut one, mut json, mut on, mut many) = (Range::new(), Range::new(), Range::new(), Range::new());
        for main in samples(head) {
            let reader = endless.found_in(main);
            let block = Document::Block(proof::build(&reader, chain(7), Height(8), Some(head))?);
            json.add(serde_json::to_vec(&block)?.len());
            let consistency = Document::Consistency(proof::build_consistency(&reader, main, head)?);
            let blocks: Vec<_> =
                (0..16).map(|index| (chain(3 * index), Height(u64::from(index) + 1))).collect();
            let blocks = Document::Blocks(proof::build_many(&reader, &blocks, Some(head))?);
            for (document, range) in [(block, &mut one), (consistency, &mut on), (blocks, &mut many)] {
                document.verify()?;
                range.add(document.to_bytes().len());
            }
        }
        println!("{:>12} {one:>15} {json:>15} {on:>15} {many:>15}", head.0);
    }
    Ok(())
}

/// Some blocks of a chain that ends at `head`: ends, middles, and any.
fn samples(head: Height) -> Vec<Height> {
    let mut random = Random(head.0);
    let mut samples = vec![1, 2, head.0 / 2, head.0 / 2 + 1, head.0.next_power_of_two() / 2, head.0 - 1];
    samples.extend((0..20).map(|_| 1 + random.below(head.0 - 1)));
    samples.into_iter().filter(|height| (1..head.0).contains(height)).map(Height).collect()
}

/// The least and the most of some lengths.
struct Range(usize, usize);

impl Range {
    const fn new() -> Self {
        Self(usize::MAX, 0)
    }

    fn add(&mut self, length: usize) {
        *self = Self(self.0.min(length), self.1.max(length));
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{}-{}", self.0, self.1))
    }
}

/// The SplitMix64 generator.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
