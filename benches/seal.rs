//! Whole main blocks: side blocks in their lanes to all roots of a header, one chain or ten thousand, against the limit:
//! one side leaf and one node for each side block, hashed by the same kernel from the cache in the same run.
//!
//! What the limit leaves out is in our time: reading the lanes, filling the columns, storing nodes, chain leaves and the
//! tree over them, and for each chain the path to the state's root.

mod turns;

use std::sync::Arc;
use std::time::Duration;

use engine::chain::{ChainId, Columns, Height, MainBlock, NodeKey, Timestamp};
use engine::lane::{Drain, Lane, Outlet, SessionId};
use engine::merkle::history::History;
use engine::merkle::leaf;
use engine::pipeline::Sealer;
use engine::quorum::FinalityRule;
use engine::sha256::Kernel;
use engine::state::{Genesis, MainChain, SideChain, State};
use engine::sync::Doorbell;

use turns::{Case, Limit, by_turns, hash, pool, timed};

const KEY: NodeKey = NodeKey([1; 32]);
const SESSION: SessionId = SessionId(1);

fn main() {
    println!("kernel: {}", Kernel::best().name());
    let giant = || std::iter::once(252_145).chain(std::iter::repeat_n(1, 9_999)).collect();
    let shapes: [(&str, Vec<u64>); 7] = [
        ("1 chain x 262,144", vec![262_144]),
        ("100 chains x 2,621", vec![2_621; 100]),
        ("1,000 chains x 262", vec![262; 1_000]),
        ("10,000 chains x 26", vec![26; 10_000]),
        ("1 x 252,145 and 9,999 x 1", giant()),
        ("10,000 chains x 1", vec![1; 10_000]),
        ("100 chains x 20", vec![20; 100]),
    ];
    for threads in [1, 2] {
        println!("\nmain blocks on {threads} threads");
        println!(
            "{:<28} {:>29} {:>9} {:>15} {:>15} {:>8}",
            "", "for each side block", "million/s", "limit: leaf", "limit: node", "of limit"
        );
        for (name, counts) in shapes.iter().filter(|(name, _)| is_asked_for(name)) {
            seal(name, counts, threads);
        }
    }
}

/// Shapes may be named, by a part of their names.
fn is_asked_for(name: &str) -> bool {
    let mut parts = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    parts.peek().is_none() || parts.any(|part| name.contains(&part))
}

fn seal(name: &str, counts: &[u64], threads: usize) {
    let (pool, limit) = (&pool(threads), &Limit::new());
    let mut bed = Bed::new(counts);
    let ours: Case<'_> = Box::new(move || bed.turn(pool));
    let leaves: Case<'_> = Box::new(|| {
        limit.of(pool, |row, out| {
            let (hashes, tx_roots) = row.split_at(out.len());
            leaf::side_row(ChainId(7), Height(8), hashes, tx_roots, out);
        })
    });
    let nodes: Case<'_> = Box::new(|| limit.nodes(pool));
    let [ours, leaf, node] = by_turns(25, [ours, leaves, nodes]);
    let share = (leaf.median() + node.median()) / ours.median();
    println!(
        "{name:<28} {ours} {:>9.2} {:>12.1} ns {:>12.1} ns {:>6.0} %",
        1_000.0 / ours.median(),
        leaf.median(),
        node.median(),
        100.0 * share
    );
}

/// A main chain whose lanes are filled by hand.
struct Bed {
    sealer: Sealer,
    lanes: Vec<(Arc<Lane>, Drain)>,
    outlets: Vec<Outlet>,
    counts: Vec<u64>,
    blocks: Columns,
    block: MainBlock,
}

impl Bed {
    fn new(counts: &[u64]) -> Self {
        let main = MainChain { id: ChainId(u32::MAX), name: "main".into(), aelf_root: false };
        let side = |id: u32| SideChain {
            id: ChainId(id),
            name: id.to_string(),
            first_height: Height(1),
            nodes: vec![KEY],
            finality: FinalityRule::Single,
        };
        let document = Genesis::document(&main, &(1..=counts.len() as u32).map(side).collect::<Vec<_>>());
        let genesis = Genesis::parse(&document).expect("a document of ours");
        let (mut lanes, mut outlets) = (Vec::new(), Vec::new());
        for (side, &count) in genesis.chains.iter().zip(counts) {
            let (lane, ends) = Lane::new(side, Height(0), None, count as usize, Doorbell::new().0);
            lane.claim(KEY, SESSION).expect("the key is registered");
            lanes.push((lane, ends.drain));
            outlets.push(ends.outlet);
        }
        let mut blocks = Columns::default();
        for height in 0..counts.iter().copied().max().unwrap_or(0) {
            blocks.push(hash(height), hash(!height), Timestamp::from_millis(height));
        }
        let sealer = Sealer::new(&genesis, None, State::new(&genesis), History::default());
        Self { sealer, lanes, outlets, counts: counts.to_vec(), blocks, block: Sealer::blank() }
    }

    /// Fills the lanes, and measures how long it takes to seal what is in them.
    fn turn(&mut self, pool: &rayon::ThreadPool) -> f64 {
        for (((lane, _), outlet), &count) in self.lanes.iter().zip(&self.outlets).zip(&self.counts) {
            let blocks = self.blocks.as_ref().slice(0, count as usize);
            let pushed = lane.push(SESSION, outlet.next_height(), outlet.parent(), blocks, Duration::ZERO);
            pushed.expect("the next blocks, with room for them");
        }
        let Self { sealer, outlets, counts, block, .. } = self;
        let all = counts.iter().sum::<u64>() as usize;
        let time = pool.install(|| {
            timed(pool.current_num_threads(), all, || {
                sealer.seal(outlets, counts, Timestamp::from_millis(1), block);
            })
        });
        for ((_, drain), outlet) in self.lanes.iter_mut().zip(&self.outlets) {
            drain.release(outlet.next_height().previous(), Duration::ZERO, |_, _| ());
        }
        time
    }
}
