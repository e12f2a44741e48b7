//! Status leaves, extra data, blooms and transaction ids.

use engine::aelf::bloom::Bloom;
use engine::aelf::extra_data;
use engine::aelf::status::Status;
use engine::aelf::transaction;
use engine::aelf::tree::Tree;
use engine::chain::Hash;
use mainstem_engine as engine;
use serde::Deserialize;
use serde_json::Value;

use crate::form::{Hex, HexHash, PathNode, chains_in, fake_root, hashes, number_before, read, sha256, steps};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusFile {
    leaves: Vec<StatusLeaf>,
    web_api_trap: Vec<WebName>,
    block: Block,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusLeaf {
    transaction_id: HexHash,
    status: String,
    enum_value: i32,
    leaf: HexHash,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebName {
    transaction_id: HexHash,
    status_text_of_web_api: String,
    leaf_if_upper_case_is_used: HexHash,
    correct_leaf: HexHash,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    transactions: Vec<Transaction>,
    leaves: Vec<HexHash>,
    root: HexHash,
    paths: Vec<Vec<PathNode>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transaction {
    transaction_id: HexHash,
    status: String,
}

fn status(name: &str) -> Status {
    Status::of_name(name).unwrap_or_else(|| panic!("unknown status {name}"))
}

pub(crate) fn run_status_leaves(file: Value) -> usize {
    let file: StatusFile = read(file);
    for case in &file.leaves {
        let status = status(&case.status);
        assert_eq!(status as i32, case.enum_value);
        assert_eq!(status.leaf(case.transaction_id.0), case.leaf.0);
    }
    for case in &file.web_api_trap {
        assert_eq!(Status::of_name(&case.status_text_of_web_api), None, "no name that is hashed");
        let status = Status::of_web_name(&case.status_text_of_web_api).unwrap();
        let leaf = status.leaf(case.transaction_id.0);
        assert_eq!(leaf, case.correct_leaf.0);
        assert_ne!(leaf, case.leaf_if_upper_case_is_used.0);
    }
    let block = &file.block;
    let leaf = |one: &Transaction| status(&one.status).leaf(one.transaction_id.0);
    let leaves: Vec<_> = block.transactions.iter().map(leaf).collect();
    assert_eq!(leaves, hashes(&block.leaves));
    let tree = Tree::new(leaves);
    assert_eq!(tree.root(), block.root.0);
    assert_eq!(block.paths.len(), block.transactions.len());
    for (index, path) in block.paths.iter().enumerate() {
        assert_eq!(tree.path(index), Some(steps(path)));
    }
    file.leaves.len() + file.web_api_trap.len() + 1 + block.paths.len()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtraFile {
    header_extra_key: String,
    cases: Vec<Extra>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Extra {
    name: String,
    side_chain_roots: Option<Vec<HexHash>>,
    roots_rule: Option<String>,
    count: usize,
    root: HexHash,
    header_extra_data_hex: Hex,
}

impl Extra {
    fn roots(&self) -> Vec<Hash> {
        match (&self.side_chain_roots, self.roots_rule.as_deref()) {
            (Some(roots), None) => hashes(roots),
            (None, Some("see name")) => roots_in_words(&self.name),
            _ => panic!("unknown form of roots: {}", self.name),
        }
    }
}

/// "... 261 blocks, every root sha256('124')", or "... 257 blocks each of chains 2112,2113, all with root
/// fakeMerkleTreeRoot1/2 ...".
fn roots_in_words(text: &str) -> Vec<Hash> {
    let unknown = || panic!("unknown rule for roots: {text}");
    let blocks = number_before(text, "blocks").unwrap_or_else(unknown) as usize;
    if let Some((_, preimage)) = text.split_once("every root sha256('") {
        vec![sha256(preimage.split('\'').next().unwrap()); blocks]
    } else if text.contains("all with root fakeMerkleTreeRoot1/2") {
        let chains = chains_in(text).unwrap_or_else(|| panic!("no chains in {text}"));
        (0..chains.len()).flat_map(|chain| vec![fake_root(chain); blocks]).collect()
    } else {
        panic!("unknown rule for roots: {text}")
    }
}

pub(crate) fn run_extra_data(file: Value) -> usize {
    let file: ExtraFile = read(file);
    assert_eq!(extra_data::KEY, file.header_extra_key);
    for case in &file.cases {
        let roots = case.roots();
        assert_eq!(roots.len(), case.count, "{}", case.name);
        let value = extra_data::of_status_roots(&roots);
        assert_eq!(value, case.header_extra_data_hex.0, "{}", case.name);
        let root = (!roots.is_empty()).then_some(case.root.0);
        assert_eq!(extra_data::parse(&value), Ok(root), "{}", case.name);
        assert_eq!(Tree::new(roots).root(), case.root.0, "{}", case.name);
    }
    file.cases.len()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BloomFile {
    bloom: BloomCase,
    event_bloom: Event,
    transaction_id: IdCase,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BloomCase {
    values: Vec<Hex>,
    value_sha256: Vec<HexHash>,
    bloom: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    event: String,
    bloom: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdCase {
    raw_transaction: Hex,
    unsigned_bytes: Hex,
    transaction_id: HexHash,
}

pub(crate) fn run_blooms_and_ids(file: Value) -> usize {
    let file: BloomFile = read(file);
    let (mut by_value, mut by_hash) = (Bloom::empty(), Bloom::empty());
    file.bloom.values.iter().for_each(|value| by_value.add(&value.0));
    file.bloom.value_sha256.iter().for_each(|hash| by_hash.add_hash(hash.0));
    assert_eq!(by_value.0[..], file.bloom.bloom.0);
    assert_eq!(by_hash.0[..], file.bloom.bloom.0);

    let event = Bloom::of_event(None, &file.event_bloom.event, &[]);
    assert_eq!(event.0[..], file.event_bloom.bloom.0);

    let case = &file.transaction_id;
    for bytes in [&case.raw_transaction.0, &case.unsigned_bytes.0] {
        assert_eq!(transaction::id(bytes), Ok(case.transaction_id.0));
    }
    file.bloom.values.len() + file.bloom.value_sha256.len() + 1 + 2
}
