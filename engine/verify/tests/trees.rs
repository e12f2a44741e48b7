//! Trees and AElf's leaves against the vectors of independent programs, which `engine`'s own builders are held against, too.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use verify::aelf;
use verify::chain::{ChainId, Hash, Height};
use verify::proof::{AelfPart, Claim, ProvenBlock, Transaction};
use verify::tree::{self, PathError, Step};

#[derive(Deserialize)]
struct Commitments {
    trees: Vec<Tree>,
}

#[derive(Deserialize)]
struct Tree {
    n: u64,
    root: Hash,
    aelf_root: Hash,
    paths: BTreeMap<String, Vec<Step>>,
}

impl Tree {
    fn leaves(&self) -> Vec<Hash> {
        leaves(self.n)
    }

    fn paths(&self) -> impl Iterator<Item = (u64, &[Step])> {
        self.paths.iter().map(|(index, path)| (index.parse().unwrap(), &path[..]))
    }
}

/// A hash as AElf writes it, without `0x`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Bare(Hash);

impl TryFrom<String> for Bare {
    type Error = const_hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const_hex::decode_to_array(text).map(|bytes| Self(Hash(bytes)))
    }
}

#[derive(Deserialize)]
struct PathNode {
    hash: Bare,
    is_left_child_node: bool,
}

#[derive(Deserialize)]
struct Merkle {
    cases: Vec<MerkleTree>,
}

#[derive(Deserialize)]
struct MerkleTree {
    leaf_count: u64,
    root: Bare,
    paths: Vec<MerklePath>,
}

#[derive(Deserialize)]
struct MerklePath {
    index: usize,
    path: Vec<PathNode>,
}

#[derive(Deserialize)]
struct Statuses {
    leaves: Vec<StatusLeaf>,
    block: StatusBlock,
}

#[derive(Deserialize)]
struct StatusLeaf {
    transaction_id: Bare,
    status: String,
    leaf: Bare,
}

#[derive(Deserialize)]
struct StatusBlock {
    transactions: Vec<StatusTransaction>,
    root: Bare,
    paths: Vec<Vec<PathNode>>,
}

#[derive(Deserialize)]
struct StatusTransaction {
    transaction_id: Bare,
    status: String,
}

fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

fn commitments() -> Vec<Tree> {
    read::<Commitments>(include_str!("../../tests/vectors/mainstem_commitments.json")).trees
}

/// In both files, leaf `i` is the SHA-256 of `i` in decimal digits.
fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| Hash(Sha256::digest(index.to_string()).into())).collect()
}

fn steps(path: &[PathNode]) -> Vec<Step> {
    path.iter().map(|node| Step { hash: node.hash.0, left: node.is_left_child_node }).collect()
}

/// All rows of a tree from the leaves up, an odd last node moved up unchanged.
fn rows(leaves: Vec<Hash>) -> Vec<Vec<Hash>> {
    let mut rows = vec![leaves];
    while let Some(row) = rows.last().filter(|row| row.len() > 1) {
        let above = row.chunks(2).map(|pair| match *pair {
            [left, right] => tree::node(left, right),
            _ => pair[0],
        });
        let above = above.collect();
        rows.push(above);
    }
    rows
}

/// AElf's path: rows of odd length are completed by a copy of their last node, and a single leaf is such a row.
fn aelf_path(mut row: Vec<Hash>, mut index: usize) -> Vec<Step> {
    let mut path = Vec::new();
    while row.len() > 1 || path.is_empty() {
        if row.len() % 2 == 1 {
            row.extend(row.last().copied());
        }
        path.push(Step { hash: row[index ^ 1], left: index % 2 == 1 });
        row = row.chunks(2).map(|pair| tree::node(pair[0], pair[1])).collect();
        index /= 2;
    }
    path
}

#[test]
fn all_leaves_of_a_tree_fold_to_its_root() {
    let trees = commitments();
    assert_eq!(trees.len(), 15);
    for case in trees {
        let mut all = (0..).zip(case.leaves()).collect();
        assert_eq!(tree::fold_many(&mut all, case.n, &[]), Ok(case.root), "{}", case.n);
    }
}

#[test]
fn every_path_leads_to_the_root_from_its_own_place_only() {
    let mut paths = 0;
    for case in commitments() {
        let leaves = case.leaves();
        for (index, path) in case.paths() {
            let leaf = leaves[index as usize];
            assert_eq!(tree::fold(leaf, index, case.n, path), Ok(case.root), "{index} of {}", case.n);
            let hashes: Vec<_> = path.iter().map(|step| step.hash).collect();
            assert_eq!(tree::fold_hashes(leaf, index, case.n, &hashes), Ok(case.root));
            for other in (0..case.n).filter(|other| *other != index) {
                assert_ne!(tree::fold(leaf, other, case.n, path), Ok(case.root), "{index} as {other}");
            }
            for turned in 0..path.len() {
                let mut path = path.to_vec();
                path[turned].left = !path[turned].left;
                assert!(matches!(tree::fold(leaf, index, case.n, &path), Err(PathError::Side { .. })));
            }
            paths += 1;
        }
    }
    assert_eq!(paths, 42);
}

#[test]
fn several_leaves_fold_together_to_the_root() {
    for case in commitments() {
        let rows = rows(case.leaves());
        let mut indices: Vec<u64> = case.paths().map(|(index, _)| index).collect();
        indices.sort_unstable();
        let nodes = tree::many(indices.iter().copied(), case.n);
        let nodes: Vec<_> = nodes.map(|(level, index)| rows[level as usize][index as usize]).collect();
        let mut some: Vec<_> = indices.iter().map(|index| (*index, rows[0][*index as usize])).collect();
        some[0].1 = Hash::ZERO;
        assert_ne!(tree::fold_many(&mut some.clone(), case.n, &nodes), Ok(case.root), "another leaf");
        some[0].1 = rows[0][indices[0] as usize];
        assert_eq!(tree::fold_many(&mut some, case.n, &nodes), Ok(case.root), "{indices:?} of {}", case.n);
    }
}

#[test]
fn each_tree_begins_each_larger_one() {
    let trees = commitments();
    for (at, large) in trees.iter().enumerate() {
        let rows = rows(large.leaves());
        for small in &trees[..at] {
            let nodes = tree::consistency_nodes(small.n, large.n);
            let nodes: Vec<_> = nodes.map(|(level, index)| rows[level as usize][index as usize]).collect();
            let check = |before, after| tree::verify_consistency(small.n, large.n, before, after, &nodes);
            assert_eq!(check(small.root, large.root), Ok(()), "{} in {}", small.n, large.n);
            assert!(check(Hash::ZERO, large.root).is_err());
            assert!(check(small.root, Hash::ZERO).is_err());
        }
    }
}

#[test]
fn paths_of_aelf_lead_to_the_root_that_aelf_says() {
    for case in commitments() {
        let leaves = case.leaves();
        for index in [0, leaves.len() / 2, leaves.len() - 1] {
            let path = aelf_path(leaves.clone(), index);
            assert_eq!(aelf::fold(leaves[index], &path), Ok(case.aelf_root), "{index} of {}", case.n);
        }
    }
    let mut paths = 0;
    let merkle: Merkle = read(include_str!("../../tests/vectors/aelf_gen_merkle.json"));
    for case in merkle.cases {
        let leaves = leaves(case.leaf_count);
        assert_eq!(case.paths.len(), leaves.len());
        for MerklePath { index, path } in case.paths {
            let path = steps(&path);
            assert_eq!(path, aelf_path(leaves.clone(), index), "{index} of {}", leaves.len());
            assert_eq!(aelf::fold(leaves[index], &path), Ok(case.root.0), "{index} of {}", leaves.len());
            copies_are_refused(leaves[index], &path);
            paths += 1;
        }
    }
    assert_eq!(paths, 173);
}

/// The same root is reached from the place of a copy, where nothing stands.
fn copies_are_refused(leaf: Hash, path: &[Step]) {
    let mut below = leaf;
    for (step, sibling) in path.iter().enumerate() {
        if sibling.hash == below {
            let mut turned = path.to_vec();
            turned[step].left = true;
            assert_eq!(aelf::fold(leaf, &turned), Err(PathError::Copy { step }));
        }
        below = aelf::fold(below, std::slice::from_ref(sibling)).unwrap();
    }
}

#[test]
fn the_leaf_of_a_mined_transaction_is_that_of_no_other_status() {
    let statuses: Statuses = read(include_str!("../../tests/vectors/aelf_gen_tx_status_leaf.json"));
    let mut mined = 0;
    for case in &statuses.leaves {
        let same = aelf::mined(case.transaction_id.0) == case.leaf.0;
        assert_eq!(same, case.status == "Mined", "{}", case.status);
        mined += u32::from(same);
    }
    assert!(mined > 0);

    let StatusBlock { transactions, root, paths } = &statuses.block;
    assert_eq!(transactions.len(), paths.len());
    for (transaction, path) in transactions.iter().zip(paths) {
        let (id, path) = (transaction.transaction_id.0, steps(path));
        let is_mined = transaction.status == "Mined";
        assert_eq!(aelf::fold(aelf::mined(id), &path) == Ok(root.0), is_mined);
        let block = ProvenBlock { height: Height(1), hash: Hash::ZERO, tx_root: root.0 };
        let claim = Transaction::Aelf(AelfPart { id, path }).verify(ChainId(1), &block);
        assert_eq!(claim.is_ok(), is_mined, "{}", transaction.status);
        assert!(claim.is_err() || claim == Ok(Claim::Aelf { id }));
    }
}
