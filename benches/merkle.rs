//! Roots of trees from their leaves: ours, `rs_merkle`, `ct-merkle` (RFC 6962), and the limit: as many nodes as a tree has,
//! hashed by the same kernel from the cache. All by turns in one run.
//!
//! Each is given the leaves as a slice and leaves it as it is. `ct-merkle` hashes each leaf as well, which cannot be
//! switched off: one hash more for each node.

mod turns;

use std::hint::black_box;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use engine::chain::Hash;
use engine::merkle::{node, path, tree};
use rs_merkle::MerkleTree;
use rs_merkle::algorithms::Sha256 as RsSha256;
use sha2::Sha256;

use turns::{Case, Limit, by_turns, leaves, measures, pool, timed};

fn main() {
    for threads in [1, 2] {
        println!("\nroots of trees on {threads} threads (the peers use one)");
        println!("{:>9}  {:<30} {:>29} {:>8} {:>7}", "leaves", "", "for each leaf", "of limit", "ours is");
        let most = if measures() { 1_000_000 } else { 10_000 };
        for count in [1_000, 10_000, 100_000, 1_000_000].into_iter().filter(|count| *count <= most) {
            roots(count, threads);
        }
    }
    paths();
}

fn roots(count: usize, threads: usize) {
    let pool = &pool(threads);
    let (leaves, limit) = (&leaves(count), &Limit::new());
    let raw = &leaves.iter().map(|leaf| leaf.0).collect::<Vec<_>>();
    let (mut row, mut stored) = (leaves.clone(), vec![Hash::ZERO; tree::stored_nodes(count)]);
    // About as long for each size, of the fastest.
    let times = (200_000 / count).max(1);
    let ours: Case<'_> = Box::new(move || {
        pool.install(|| {
            timed(threads, count * times, || {
                for _ in 0..times {
                    row.copy_from_slice(black_box(leaves));
                    black_box(tree::root(&mut row, &mut stored));
                }
            })
        })
    });
    let rs_merkle: Case<'_> = Box::new(|| {
        timed(1, count, || {
            black_box(MerkleTree::<RsSha256>::from_leaves(black_box(raw)).root());
        })
    });
    let ct_merkle: Case<'_> = Box::new(|| {
        timed(1, count, || {
            let mut tree = MemoryBackedTree::<Sha256, [u8; 32]>::new();
            black_box(raw).iter().for_each(|leaf| tree.push(*leaf));
            black_box(tree.root());
        })
    });
    let best: Case<'_> = Box::new(|| limit.nodes(pool));
    let single: Case<'_> = Box::new(|| {
        limit.of(pool, |row, out| {
            let (pairs, _) = row.as_chunks::<2>();
            pairs.iter().zip(out).for_each(|([left, right], out)| *out = node(*left, *right));
        })
    });
    let turns = if count > 100_000 { 5 } else { 15 };
    let [ours, rs_merkle, ct_merkle, best, single] =
        by_turns(turns, [ours, rs_merkle, ct_merkle, best, single]);
    let least = best.median() * (count - 1) as f64 / count as f64;
    let line = |name: &str, figure: &turns::Figure| {
        let (share, times) = (least / figure.median(), figure.median() / ours.median());
        println!("{count:>9}  {name:<30} {figure} {:>6.0} % {times:>6.1}x", 100.0 * share);
    };
    line("mainstem", &ours);
    line("rs_merkle", &rs_merkle);
    line("ct-merkle (leaves hashed, too)", &ct_merkle);
    line("sha2, nodes one by one", &single);
    line("limit: independent nodes", &best);
}

fn paths() {
    let count = 100_000;
    let leaves = &leaves(count);
    let mut stored = vec![Hash::ZERO; tree::stored_nodes(count)];
    let root = tree::root(&mut leaves.clone(), &mut stored);
    let steps = &tree::path(77_777, count, &stored, |leaf| leaves[leaf]);
    let times = 1_000;
    let build: Case<'_> = Box::new(|| {
        timed(1, times, || {
            for _ in 0..times {
                black_box(tree::path(black_box(77_777), count, &stored, |leaf| leaves[leaf]));
            }
        })
    });
    let verify: Case<'_> = Box::new(|| {
        timed(1, times, || {
            for _ in 0..times {
                let folded = path::fold(leaves[77_777], 77_777, count as u64, black_box(steps));
                assert_eq!(folded, Ok(root));
            }
        })
    });
    let [build, verify] = by_turns(15, [build, verify]);
    println!("\npaths in a tree of {count} leaves");
    println!("{:<40}{build}", "from stored nodes");
    println!("{:<40}{verify}", "verify");
}
