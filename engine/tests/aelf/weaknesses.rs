//! Three things that proofs after AElf's rules do not show, and that ours do: which chain it was, how many there were,
//! and that it was a leaf.

use engine::aelf::address::Address;
use engine::aelf::contract::Contract;
use engine::aelf::data::ParentBlockData;
use engine::aelf::status::Status;
use engine::aelf::tree::{self, Tree};
use engine::chain::{BlockView, ChainId, Hash, Height};
use engine::merkle::path::{PathError, Step};
use engine::merkle::tree as ours;
use engine::proof::{self, AelfPart, CrossChainProof, Proof, Transaction, VerifyError};
use engine::store::BlockReader;
use engine::store::memory::MemoryReader;
use mainstem_engine as engine;

use crate::form::sha256;
use crate::indexing::side_block;
use crate::world::one_main_block;

/// Side chains 1, 2 and 3 with `counts` blocks in main block 1, whose header is trusted.
fn indexed(counts: [u32; 3]) -> MemoryReader {
    let roots = counts.map(|count| (0..count).map(leaf).collect());
    one_main_block(&roots)
}

fn trusted(reader: &MemoryReader) -> Hash {
    reader.block(Height(1)).unwrap().unwrap().header().hash()
}

fn proof(reader: &MemoryReader, chain: u32, height: u64) -> Proof {
    let proof = proof::build(reader, ChainId(chain), Height(height), None).unwrap();
    proof.verify_trusting(trusted(reader)).unwrap();
    proof
}

/// The proof of a transaction of a block, whose part is joined to the proof of the block.
fn joined(id: Hash, path: Vec<Step>, block: &Proof) -> CrossChainProof {
    let transaction = Transaction::Aelf(AelfPart { id, path });
    CrossChainProof { version: CrossChainProof::VERSION, transaction, block: block.clone() }
}

fn leaf(index: u32) -> Hash {
    sha256(index.to_string())
}

/// The transactions of a block of an AElf chain, and the tree over their statuses.
fn block(name: &str) -> (Vec<Hash>, Tree) {
    let ids: Vec<_> = (0..5).map(|index| sha256(format!("{name} {index}"))).collect();
    let tree = Tree::new(ids.iter().map(|id| Status::Mined.leaf(*id)).collect());
    (ids, tree)
}

#[test]
fn a_proof_of_aelf_passes_for_any_cousin_and_ours_for_no_other_chain() {
    // A parent indexed a block of chain B and one of chain C; on chain A, a transaction of B is proven.
    let [parent, a, b, c] = [9_992_731, 1, 2, 3].map(ChainId);
    let ((ids, of_b), (_, of_c)) = (block("b"), block("c"));
    let both = Tree::new(vec![of_b.root(), of_c.root()]);
    let mut contract = Contract::with_parent(parent, Height(10));
    let record = ParentBlockData {
        chain: parent,
        height: Height(10),
        status_root: Some(leaf(0)),
        side_root: Some(both.root()),
        paths: [].into(),
        extra_data: [].into(),
    };
    contract.record_parent(&[record]).unwrap();
    let path = [of_b.path(3).unwrap(), both.path(0).unwrap()].concat();
    for label in [b, c, a, ChainId(0), ChainId(77)] {
        assert_eq!(contract.verify_transaction(ids[3], &path, Height(10), label), Ok(true), "{label}");
    }
    assert_eq!(contract.verify_transaction(ids[2], &path, Height(10), b), Ok(false));

    let reader = indexed([2, 2, 2]);
    let genuine = proof(&reader, 2, 1);
    for label in (0..5).filter(|label| *label != 2) {
        let relabelled = Proof { chain_id: ChainId(label), ..genuine.clone() };
        assert!(matches!(relabelled.verify(), Err(VerifyError::Root { .. })), "{label}");
        let other = Proof { chain_id: ChainId(label), chain: proof(&reader, 3, 1).chain, ..genuine.clone() };
        assert!(other.verify().is_err(), "{label}");
    }

    // And the transaction of B itself, when a Mainstem has indexed B and C.
    let reader = one_main_block(&[vec![], vec![of_b.root()], vec![of_c.root()]]);
    let (in_b, in_c) = (proof(&reader, 2, 1), proof(&reader, 3, 1));
    let genuine = joined(ids[3], of_b.path(3).unwrap(), &in_b);
    genuine.verify_trusting(trusted(&reader)).unwrap();
    let elsewhere = joined(ids[3], of_b.path(3).unwrap(), &in_c);
    assert!(matches!(elsewhere.verify(), Err(VerifyError::In { .. })), "the block of C has another root");
    // The whole way in AElf's tree leads to the header's aelf_root, and there is no place for it.
    assert_eq!(reader.block(Height(1)).unwrap().unwrap().header().aelf_root, both.root());
    assert!(joined(ids[3], path, &in_c).verify().is_err());
    for label in (0..5).filter(|label| *label != 2) {
        let mut relabelled = genuine.clone();
        relabelled.block.chain_id = ChainId(label);
        assert!(relabelled.verify().is_err(), "{label}");
    }
}

#[test]
fn the_tail_of_a_tree_of_aelf_can_be_doubled_and_that_of_ours_cannot() {
    let three = [leaf(0), leaf(1), leaf(2)];
    let four = [leaf(0), leaf(1), leaf(2), leaf(2)];
    let root = tree::root(&mut three.to_vec());
    assert_eq!(root, tree::root(&mut four.to_vec()), "nobody can say how many leaves there are");
    let fourth = Tree::new(four.to_vec()).path(3).unwrap();
    assert_eq!(tree::fold(leaf(2), &fourth), root, "a fourth leaf is proven, in a tree of three");

    // On the contract: the last released block of a chain proves its transactions from two places.
    let mut contract = Contract::new();
    contract.create(ChainId(2), 10, 1).unwrap();
    let (ids, tree_of_last) = block("last");
    let roots = [leaf(0), leaf(1), tree_of_last.root()];
    let blocks: Vec<_> =
        (1..).zip(roots).map(|(height, root)| side_block(ChainId(2), height, Some(root))).collect();
    contract.record_side(Height(50), ChainId(2), Address([1; 32]), &blocks).unwrap();
    let doubled = Tree::new(roots.into_iter().chain([roots[2]]).collect());
    for place in [2, 3] {
        let path = [tree_of_last.path(0).unwrap(), doubled.path(place).unwrap()].concat();
        assert_eq!(contract.verify_transaction(ids[0], &path, Height(50), ChainId(2)), Ok(true), "{place}");
    }

    let root = |leaves: &[Hash]| ours::root(&mut leaves.to_vec(), &mut []);
    assert_ne!(root(&three), root(&four));
    // A fourth block in a main block that has three of the chain: the last one again, by every path that there is.
    let reader = indexed([3, 3, 3]);
    let last = proof(&reader, 2, 3);
    let paths = (1..=3).flat_map(|height| {
        let path = proof(&reader, 2, height).chain_path;
        let doubled = [path.clone(), path.clone()].concat();
        (0..=doubled.len()).map(move |length| doubled[..length].to_vec())
    });
    let mut tried = 0;
    for chain_path in paths {
        for left in [0_u32, 1, 2, 3] {
            let mut chain_path = chain_path.clone();
            let sides = (0..).map(|step| left >> step & 1 == 1);
            chain_path.iter_mut().zip(sides).for_each(|(step, left)| step.left = left);
            for (height, count) in [(4, 4), (4, 3), (3, 4), (3, 2)] {
                let mut forged = Proof { chain_path: chain_path.clone(), ..last.clone() };
                forged.block.height = Height(height);
                forged.chain.count = count;
                assert!(forged.verify_trusting(trusted(&reader)).is_err(), "{height} of {count}");
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");

    // The last transaction of a block of five, from the places that complete its rows.
    let (ids, five) = block("five");
    let reader = one_main_block(&[vec![five.root()]]);
    let block = proof(&reader, 1, 1);
    joined(ids[4], five.path(4).unwrap(), &block).verify_trusting(trusted(&reader)).unwrap();
    let mut leaves: Vec<_> = ids.iter().map(|id| Status::Mined.leaf(*id)).collect();
    leaves.resize(8, leaves[4]);
    let completed = Tree::new(leaves);
    assert_eq!(completed.root(), five.root());
    for place in 5..8 {
        let path = completed.path(place).unwrap();
        assert_eq!(tree::fold(Status::Mined.leaf(ids[4]), &path), five.root(), "AElf takes it");
        assert!(joined(ids[4], path, &block).verify().is_err(), "{place}");
    }
}

#[test]
fn an_inner_node_passes_for_a_leaf_of_aelf_and_not_for_one_of_ours() {
    let leaves: Vec<_> = (0..8).map(leaf).collect();
    let tree = Tree::new(leaves.clone());
    let path = tree.path(5).unwrap();
    for cut in 1..=path.len() {
        let inner = tree::fold(leaves[5], &path[..cut]);
        assert!(!leaves.contains(&inner));
        assert_eq!(tree::fold(inner, &path[cut..]), tree.root(), "as if it were the root of a block");
    }

    // As a transaction it fails with AElf as well: its leaf is made of 37 bytes.
    let (ids, of_block) = block("inner");
    let path = of_block.path(1).unwrap();
    let reader = one_main_block(&[vec![of_block.root()]]);
    let block = proof(&reader, 1, 1);
    for cut in 0..=path.len() {
        let inner = tree::fold(Status::Mined.leaf(ids[1]), &path[..cut]);
        assert_eq!(tree::fold(inner, &path[cut..]), of_block.root());
        assert!(joined(inner, path[cut..].to_vec(), &block).verify().is_err());
    }

    // Ours: a path that begins higher is refused for its length, and with the claims that its length fits, for where it
    // leads, whatever the block is said to be.
    let reader = indexed([1, 8, 1]);
    let genuine = proof(&reader, 2, 6);
    let side = engine::merkle::leaf::side(ChainId(2), Height(6), genuine.block.hash, genuine.block.tx_root);
    for cut in 1..=genuine.chain_path.len() {
        let inner = tree::fold(side, &genuine.chain_path[..cut]);
        let rest: Vec<Step> = genuine.chain_path[cut..].to_vec();
        for (hash, tx_root) in [(inner, inner), (genuine.block.hash, inner), (inner, genuine.block.tx_root)] {
            let mut forged = Proof { chain_path: rest.clone(), ..genuine.clone() };
            (forged.block.hash, forged.block.tx_root) = (hash, tx_root);
            let refused = forged.verify().unwrap_err();
            assert!(
                matches!(refused, VerifyError::Path { error: PathError::Length { .. }, .. }),
                "{refused}"
            );
            // A chain of so few blocks that the short path has the right length: the leaf has another tag than a node.
            forged.chain.count = 1 << rest.len();
            forged.block.height = Height(1 + (5 >> cut));
            assert!(matches!(forged.verify(), Err(VerifyError::Root { .. })));
        }
    }
}
