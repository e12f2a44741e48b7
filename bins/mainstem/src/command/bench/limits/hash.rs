//! Hashing alone: a side leaf and a node for each block, with the best kernel that there is.

use std::time::Instant;

use engine::chain::{ChainId, Hash, Height};
use engine::merkle::leaf;
use engine::sha256::{Kernel, Pair};

use super::super::cpu::of_this_thread;
use super::super::outcome::over;
use super::{Found, Rounds, Spread};

/// Leaves of a tree: what fits into the cache of a core, with what it is made of.
const LEAVES: usize = 4096;

/// Side blocks a second whose leaves and nodes could be hashed on so many threads, if nothing else were done; and
/// the processor time of one, in nanoseconds.
pub(in super::super) fn measure(threads: usize, rounds: Rounds) -> Found<f64> {
    let (mut rates, mut blocks, mut spent) = (Vec::new(), 0, 0);
    for _ in 0..rounds.count {
        let start = Instant::now();
        let (hashed, took) = round(threads, start, rounds);
        rates.push(hashed as f64 / start.elapsed().as_secs_f64());
        blocks += hashed;
        spent += took;
    }
    Found { limit: Spread::of(rates), cost: over(spent as f64, blocks as f64) }
}

/// Blocks hashed, and processor time.
fn round(threads: usize, start: Instant, rounds: Rounds) -> (u64, u64) {
    std::thread::scope(|scope| {
        let run = || {
            let (mut tree, mut trees, before) = (Tree::new(), 0, of_this_thread());
            while start.elapsed() < rounds.time {
                std::hint::black_box(tree.root(trees));
                trees += 1;
            }
            (trees * LEAVES as u64, of_this_thread().saturating_sub(before))
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let each = threads.into_iter().map(|thread| thread.join().expect("hashing does not panic"));
        each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    })
}

struct Tree {
    kernel: Kernel,
    hashes: Vec<Hash>,
    tx_roots: Vec<Hash>,
    row: Vec<Hash>,
}

impl Tree {
    fn new() -> Self {
        let hash = |byte: u8| move |index: usize| Hash([byte ^ index as u8; 32]);
        Self {
            kernel: Kernel::best(),
            hashes: (0..LEAVES).map(hash(1)).collect(),
            tx_roots: (0..LEAVES).map(hash(2)).collect(),
            row: vec![Hash::ZERO; LEAVES],
        }
    }

    /// The root over the blocks from a height on.
    fn root(&mut self, turn: u64) -> Hash {
        leaf::side_row(
            ChainId(1),
            Height(1 + turn * LEAVES as u64),
            &self.hashes,
            &self.tx_roots,
            &mut self.row,
        );
        let mut width = LEAVES;
        while width > 1 {
            width /= 2;
            let pairs = (0..width).map(|place| Pair { left: 2 * place, to: place });
            self.kernel.nodes(&mut self.row, pairs);
        }
        self.row[0]
    }
}

#[cfg(test)]
mod tests {
    use engine::merkle::node;

    use super::*;

    #[test]
    fn what_is_measured_is_the_root_of_real_leaves() {
        let mut tree = Tree::new();
        let root = tree.root(3);
        let leaf = |index: usize| {
            let height = Height(1 + 3 * LEAVES as u64 + index as u64);
            leaf::side(ChainId(1), height, tree.hashes[index], tree.tx_roots[index])
        };
        let mut row: Vec<_> = (0..LEAVES).map(leaf).collect();
        while row.len() > 1 {
            row = row.chunks(2).map(|pair| node(pair[0], pair[1])).collect();
        }
        assert_eq!(root, row[0]);
    }
}
