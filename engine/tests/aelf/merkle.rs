//! Trees and paths.

use engine::aelf::concat;
use engine::aelf::tree::{self, Tree};
use engine::chain::Hash;
use mainstem_engine as engine;
use serde::Deserialize;
use serde_json::Value;

use crate::form::{Hex, HexHash, PathNode, hashes, leaves, read, sha256, steps};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Case {
    Root {
        leaves: Vec<HexHash>,
        root: HexHash,
    },
    Path {
        leaves: Option<Vec<HexHash>>,
        leaf_rule: Option<String>,
        leaf_count: Option<u64>,
        index: usize,
        path_node_indexes: Option<Vec<usize>>,
        path: Vec<PathNode>,
        root: HexHash,
    },
    PathError {
        leaf_count: u64,
        index: i64,
        #[serde(rename = "error")]
        _error: String,
    },
    NodeCount {
        leaf_count: usize,
        node_count: usize,
    },
    ComputeRoot {
        preimage: Option<Hex>,
        leaf: HexHash,
        path: Vec<PathNode>,
        root: HexHash,
    },
    Concat3 {
        #[serde(rename = "hash1_of")]
        _hash1_of: String,
        hash1: HexHash,
        #[serde(rename = "hash2_of")]
        _hash2_of: String,
        hash2: HexHash,
        hash3: HexHash,
        sha256_of_concat: HexHash,
    },
}

pub(crate) fn run_cases(file: Value) -> usize {
    let cases = read::<Cases>(file).cases;
    cases.iter().for_each(Case::run);
    cases.len()
}

impl Case {
    fn run(&self) {
        match self {
            Self::Root { leaves, root } => check_root(&hashes(leaves), root.0),
            Self::Path { leaves: given, leaf_rule, leaf_count, index, path_node_indexes, path, root } => {
                let leaves = match (given, leaf_rule, leaf_count) {
                    (Some(given), None, None) => hashes(given),
                    (None, Some(rule), Some(count)) => leaves(rule, *count),
                    _ => panic!("a path has leaves, or a rule and a count of them"),
                };
                check_root(&leaves, root.0);
                check_path(&leaves, &Tree::new(leaves.clone()), *index, path);
                if let Some(expected) = path_node_indexes {
                    let nodes = Tree::new(leaves.clone()).nodes();
                    assert_eq!(tree::path_indexes(*index, leaves.len()).as_ref(), Some(expected));
                    let at: Vec<_> = expected.iter().map(|at| nodes[*at]).collect();
                    assert_eq!(at, steps(path).iter().map(|step| step.hash).collect::<Vec<_>>());
                }
            }
            Self::PathError { leaf_count, index, .. } => {
                let leaves = leaves("sha256(ascii decimal)", *leaf_count);
                // A negative index cannot be asked for.
                if let Ok(index) = usize::try_from(*index) {
                    assert_eq!(tree::path(&leaves, index), None);
                    assert_eq!(Tree::new(leaves).path(index), None);
                    assert_eq!(tree::path_indexes(index, *leaf_count as usize), None);
                }
            }
            Self::NodeCount { leaf_count, node_count } => {
                assert_eq!(tree::node_count(*leaf_count), *node_count);
                let leaves = leaves("sha256(ascii decimal)", *leaf_count as u64);
                assert_eq!(Tree::new(leaves).nodes().len(), *node_count);
            }
            Self::ComputeRoot { preimage, leaf, path, root } => {
                assert!(preimage.as_ref().is_none_or(|preimage| sha256(&preimage.0) == leaf.0));
                assert_eq!(tree::fold(leaf.0, &steps(path)), root.0);
            }
            Self::Concat3 { hash1, hash2, hash3, sha256_of_concat, .. } => {
                assert_eq!(concat(&hashes(&[*hash1, *hash2, *hash3])), sha256_of_concat.0);
            }
        }
    }
}

fn check_root(leaves: &[Hash], expected: Hash) {
    assert_eq!(tree::root(&mut leaves.to_vec()), expected, "{} leaves", leaves.len());
    assert_eq!(Tree::new(leaves.to_vec()).root(), expected, "{} leaves", leaves.len());
}

fn check_path(leaves: &[Hash], tree: &Tree, index: usize, expected: &[PathNode]) {
    let expected = steps(expected);
    assert_eq!(tree.path(index).as_ref(), Some(&expected), "{index} of {}", leaves.len());
    assert_eq!(tree::path(leaves, index).as_ref(), Some(&expected));
    assert_eq!(tree::fold(leaves[index], &expected), tree.root());
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generated {
    leaf_rule: String,
    #[serde(rename = "node_rule")]
    _node_rule: String,
    empty_root: HexHash,
    cases: Vec<GeneratedTree>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GeneratedTree {
    leaf_count: u64,
    root: HexHash,
    node_count: usize,
    nodes_sha256: HexHash,
    nodes: Option<Vec<HexHash>>,
    path_length: usize,
    paths: Vec<GeneratedPath>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GeneratedPath {
    index: usize,
    path: Vec<PathNode>,
}

pub(crate) fn run_generated(file: Value) -> usize {
    let file: Generated = read(file);
    check_root(&[], file.empty_root.0);
    let mut checks = 1;
    for case in &file.cases {
        let leaves = leaves(&file.leaf_rule, case.leaf_count);
        check_root(&leaves, case.root.0);
        let tree = Tree::new(leaves.clone());
        let nodes = tree.nodes();
        assert_eq!(nodes.len(), case.node_count);
        assert_eq!(tree::node_count(leaves.len()), case.node_count);
        assert_eq!(concat(&nodes), case.nodes_sha256.0);
        assert!(case.nodes.as_ref().is_none_or(|expected| nodes == hashes(expected)));
        for path in &case.paths {
            assert_eq!(path.path.len(), case.path_length);
            check_path(&leaves, &tree, path.index, &path.path);
        }
        checks += 1 + case.paths.len();
    }
    checks
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    facts: Vec<Fact>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fact {
    name: String,
    leaves: Option<Vec<HexHash>>,
    path_0: Option<Vec<PathNode>>,
    same_root_as: Option<Vec<HexHash>>,
    leaf: Option<HexHash>,
    path: Option<Vec<PathNode>>,
    root: HexHash,
}

pub(crate) fn run_facts(file: Value) -> usize {
    let facts = read::<Facts>(file).facts;
    for fact in &facts {
        match (&fact.leaves, &fact.leaf, &fact.path) {
            (Some(leaves), None, None) => {
                let leaves = hashes(leaves);
                check_root(&leaves, fact.root.0);
                if let Some(path) = &fact.path_0 {
                    check_path(&leaves, &Tree::new(leaves.clone()), 0, path);
                }
                if let Some(others) = &fact.same_root_as {
                    assert_ne!(hashes(others), leaves);
                    check_root(&hashes(others), fact.root.0);
                }
            }
            (None, Some(leaf), Some(path)) if fact.path_0.is_none() && fact.same_root_as.is_none() => {
                assert_eq!(tree::fold(leaf.0, &steps(path)), fact.root.0, "{}", fact.name);
            }
            _ => panic!("unknown form of fact: {}", fact.name),
        }
    }
    facts.len()
}
