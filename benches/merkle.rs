//! Trees: ours against `rs_merkle`, and both against the limit, SHA-256 of as many 64-byte nodes one by one.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use engine::chain::Hash;
use engine::merkle::{node, path, tree};
use rs_merkle::MerkleTree;
use rs_merkle::algorithms::Sha256 as RsSha256;
use sha2::{Digest, Sha256};

fn leaves(count: u32) -> Vec<Hash> {
    (0..count).map(|index| Hash(Sha256::digest(index.to_le_bytes()).into())).collect()
}

fn root(c: &mut Criterion) {
    for count in [1_000_u32, 100_000] {
        let leaves = leaves(count);
        let mut group = c.benchmark_group(format!("merkle::root/leaves={count}"));
        group.throughput(Throughput::Elements(count.into())).sample_size(20);
        let mut stored = vec![Hash::ZERO; tree::stored_nodes(leaves.len())];
        group.bench_function("mainstem", |b| {
            b.iter_batched_ref(|| leaves.clone(), |row| tree::root(row, &mut stored), BatchSize::LargeInput);
        });
        let raw: Vec<[u8; 32]> = leaves.iter().map(|leaf| leaf.0).collect();
        group.bench_function("rs_merkle", |b| {
            b.iter(|| MerkleTree::<RsSha256>::from_leaves(black_box(&raw)).root());
        });
        group.bench_function("limit: nodes hashed one by one", |b| {
            b.iter(|| leaves.windows(2).fold(Hash::ZERO, |last, pair| black_box(node(pair[0], last))));
        });
        group.finish();
    }
}

fn proof(c: &mut Criterion) {
    let count = 100_000;
    let leaves = leaves(count);
    let mut stored = vec![Hash::ZERO; tree::stored_nodes(leaves.len())];
    let root = tree::root(&mut leaves.clone(), &mut stored);
    let steps = tree::path(77_777, leaves.len(), &stored, |leaf| leaves[leaf]);
    let mut group = c.benchmark_group(format!("merkle::path/leaves={count}"));
    group.bench_function("from stored nodes", |b| {
        b.iter(|| tree::path(black_box(77_777), leaves.len(), &stored, |leaf| leaves[leaf]));
    });
    group.bench_function("verify", |b| {
        b.iter(|| {
            let folded = path::fold(leaves[77_777], 77_777, u64::from(count), black_box(&steps));
            assert_eq!(folded, Ok(root));
        });
    });
    group.finish();
}

criterion_group!(benches, root, proof);
criterion_main!(benches);
