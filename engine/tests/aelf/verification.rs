//! Proofs against the contract, and the paths that it keeps.

use std::collections::BTreeMap;

use engine::aelf::address::Address;
use engine::aelf::contract::Contract;
use engine::aelf::data::{ParentBlockData, SideBlockData};
use engine::aelf::tree;
use engine::chain::{ChainId, Height};
use mainstem_engine as engine;
use serde::Deserialize;
use serde_json::Value;

use crate::form::{HexHash, PathNode, read, steps};

/// What `<side>` and `<release height>` stand for.
const SIDE: ChainId = ChainId(1_866_392);
const RELEASE_HEIGHT: u64 = 77;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    setup: Setup,
    side_root_at_release_height: HexHash,
    verify: Vec<Verify>,
    merkle_path_view: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setup {
    parent_chain_id: u32,
    creation_height_on_parent_chain: u64,
    locked_token: u64,
    indexing_price: u64,
    index_parent_block: Parent,
    index_side_block: Side,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parent {
    height: u64,
    chain_id: u32,
    transaction_status_merkle_tree_root: HexHash,
    cross_chain_extra_data_root: Option<HexHash>,
    #[serde(default)]
    indexed_merkle_path: BTreeMap<String, Vec<PathNode>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Side {
    height: u64,
    chain_id: Symbol,
    block_header_hash: HexHash,
    transaction_status_merkle_tree_root: HexHash,
}

/// A number, or what stands for one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Symbol {
    Number(u64),
    Name(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    name: String,
    verified_chain_id: Symbol,
    transaction_id: HexHash,
    parent_chain_height: Symbol,
    path: Vec<PathNode>,
    expected: Option<bool>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct View {
    bound_parent_chain_height: u64,
    path: Vec<PathNode>,
    folds_with_leaf: HexHash,
    to_root: HexHash,
}

impl Symbol {
    fn value(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Name(name) => match name.as_str() {
                "<side>" => SIDE.0.into(),
                "<release height>" => RELEASE_HEIGHT,
                "<release height + 1>" => RELEASE_HEIGHT + 1,
                _ => panic!("unknown name {name}"),
            },
        }
    }

    fn chain(&self) -> ChainId {
        ChainId(self.value().try_into().unwrap())
    }
}

impl Parent {
    fn data(&self) -> ParentBlockData {
        let path = |(height, path): (&String, &Vec<PathNode>)| (Height(height.parse().unwrap()), steps(path));
        ParentBlockData {
            chain: ChainId(self.chain_id),
            height: Height(self.height),
            status_root: Some(self.transaction_status_merkle_tree_root.0),
            side_root: self.cross_chain_extra_data_root.map(|root| root.0),
            paths: self.indexed_merkle_path.iter().map(path).collect(),
            extra_data: BTreeMap::new(),
        }
    }
}

pub(crate) fn run(file: Value) -> usize {
    let file: File = read(file);
    let setup = &file.setup;
    let created = Height(setup.creation_height_on_parent_chain);
    let mut contract = Contract::with_parent(ChainId(setup.parent_chain_id), created);
    contract.create(SIDE, setup.locked_token, setup.indexing_price).unwrap();
    let parent = [setup.index_parent_block.data()];
    let side = &setup.index_side_block;
    let side = [SideBlockData {
        chain: side.chain_id.chain(),
        height: Height(side.height),
        header_hash: Some(side.block_header_hash.0),
        status_root: Some(side.transaction_status_merkle_tree_root.0),
    }];
    contract.check_proposal(&side, &parent).unwrap();
    contract.record_parent(&parent).unwrap();
    contract.record_side(Height(RELEASE_HEIGHT), SIDE, Address([1; 32]), &side).unwrap();
    assert!(contract.check_proposal(&side, &[]).is_err(), "a block is indexed once");

    let root = file.side_root_at_release_height.0;
    assert_eq!(contract.released_root(Height(RELEASE_HEIGHT)), Some(root));
    file.verify.iter().for_each(|case| case.run(&contract));
    1 + file.verify.len() + run_view(file.merkle_path_view, created)
}

impl Verify {
    fn run(&self, contract: &Contract) {
        let height = Height(self.parent_chain_height.value());
        let chain = self.verified_chain_id.chain();
        let verdict = contract.verify_transaction(self.transaction_id.0, &steps(&self.path), height, chain);
        match (self.expected, &self.error) {
            (Some(expected), None) => assert_eq!(verdict, Ok(expected), "{}", self.name),
            (None, Some(error)) => {
                let refused = verdict.expect_err(&self.name).to_string();
                assert!(error.starts_with("(any") || refused == *error, "{}: {refused}", self.name);
            }
            _ => panic!("{}: a case expects a verdict or an error", self.name),
        }
    }
}

fn run_view(mut view: BTreeMap<String, Value>, created: Height) -> usize {
    let parent: Parent = read(view.remove("index_parent_block").expect("a block of the parent"));
    let mut contract = Contract::with_parent(ChainId(parent.chain_id), created);
    contract.record_parent(&[parent.data()]).unwrap();
    let again = Parent { height: parent.height + 1, ..parent };
    if !again.indexed_merkle_path.is_empty() {
        assert!(contract.record_parent(&[again.data()]).is_err(), "a block is bound once");
    }
    for (call, expected) in &view {
        let height = call.strip_prefix("get_bound(").and_then(|rest| rest.strip_suffix(')'));
        let height = height.unwrap_or_else(|| panic!("unknown call {call}"));
        let bound = contract.bound(Height(height.parse().unwrap()));
        if let Some(text) = expected.as_str() {
            assert!(text.starts_with("error"), "unknown expectation {text}");
            assert!(bound.is_err());
        } else {
            let expected: View = read(expected.clone());
            let bound = bound.unwrap();
            assert_eq!(bound.parent_height, Height(expected.bound_parent_chain_height));
            assert_eq!(bound.path, steps(&expected.path));
            assert_eq!(tree::fold(expected.folds_with_leaf.0, &bound.path), expected.to_root.0);
        }
    }
    view.len()
}
