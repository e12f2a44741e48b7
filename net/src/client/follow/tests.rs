use engine::chain::{ChainId, Hash, Height, MainHeader, Timestamp};
use engine::merkle::{leaf, tree};
use engine::proof::ChainProof;

use super::verify::Verifier;

const MAIN: ChainId = ChainId(100);
const GENESIS: Hash = Hash([0x47; 32]);
const OURS: [ChainId; 2] = [ChainId(2), ChainId(3)];

/// The block after `before`, with `count` blocks of each of the chains 1 to 4 from height `first` on, and the proofs of
/// chains 2 and 3.
fn block(before: Option<&MainHeader>, first: u64, count: u32) -> (MainHeader, Vec<ChainProof>) {
    let mut proofs: Vec<ChainProof> = (1..=4)
        .map(|chain| ChainProof {
            chain_id: ChainId(chain),
            first_height: Height(first),
            count,
            chain_root: Hash([chain as u8; 32]),
            index: chain - 1,
            side_path: Vec::new(),
        })
        .collect();
    let leaf_of =
        |proof: &ChainProof| leaf::chain(proof.chain_id, proof.first_height, count, proof.chain_root);
    let leaves: Vec<Hash> = proofs.iter().map(leaf_of).collect();
    let mut stored = vec![Hash::ZERO; tree::stored_nodes(leaves.len())];
    let side_root = tree::root(&mut leaves.clone(), &mut stored);
    for (index, proof) in proofs.iter_mut().enumerate() {
        let path = tree::path(index, leaves.len(), &stored, |leaf| leaves[leaf]);
        proof.side_path = path.into_iter().map(|step| step.hash).collect();
    }
    let height = before.map_or(1, |before| before.height.0 + 1);
    let header = MainHeader {
        version: MainHeader::VERSION,
        chain_id: MAIN,
        height: Height(height),
        time: Timestamp::from_millis(1_000 + height),
        parent: before.map_or(MainHeader::genesis_parent(MAIN, GENESIS), MainHeader::hash),
        side_root,
        chain_count: 4,
        leaf_count: 4 * u64::from(count),
        ops_root: Hash::ZERO,
        state_root: Hash::ZERO,
        history_root: Hash::ZERO,
        aelf_root: Hash::ZERO,
    };
    (header, proofs[1..3].to_vec())
}

/// Main blocks 1 to `count`, with two blocks of each chain.
fn blocks(count: u64) -> Vec<(MainHeader, Vec<ChainProof>)> {
    let mut blocks: Vec<(MainHeader, Vec<ChainProof>)> = Vec::new();
    for height in 0..count {
        let next = block(blocks.last().map(|(header, _)| header), 2 * height + 1, 2);
        blocks.push(next);
    }
    blocks
}

fn verifier(wanted: Option<u64>, before: Option<MainHeader>) -> Verifier {
    let chains = OURS.map(|chain| (chain, true, None));
    Verifier::new((MAIN, GENESIS), wanted.map(Height), before, chains)
}

#[test]
fn what_follows_is_taken_from_wherever_it_begins() {
    let blocks = blocks(6);
    for (wanted, from) in [(Some(1), 0), (Some(4), 3), (None, 2)] {
        let mut verifier = verifier(wanted, None);
        for (header, proofs) in &blocks[from..] {
            assert_eq!(verifier.check(header, proofs), Ok(None));
        }
    }
}

#[test]
fn what_was_pruned_is_told_and_what_comes_after_it_is_held_against_what_was_before() {
    let blocks = blocks(6);
    let mut verifier = verifier(Some(1), None);
    verifier.check(&blocks[0].0, &blocks[0].1).unwrap();
    assert_eq!(verifier.check(&blocks[3].0, &blocks[3].1), Ok(Some((Height(2), Height(3)))));
    assert_eq!(verifier.check(&blocks[4].0, &blocks[4].1), Ok(None));
    // Also across a gap nothing is indexed twice.
    let (header, proofs) = block(Some(&blocks[4].0), 9, 2);
    let header = MainHeader { height: Height(8), ..header };
    assert_eq!(verifier.check(&header, &proofs).unwrap_err().field, "first_height");
}

#[test]
fn everything_that_cannot_be_is_refused_by_the_name_of_its_field() {
    type Change = fn(&mut MainHeader, &mut Vec<ChainProof>);
    let cases: [(&str, Change); 14] = [
        ("chain_id", |header, _| header.chain_id.0 += 1),
        ("height", |header, _| header.height.0 -= 1),
        ("height", |header, _| header.height.0 = 0),
        ("height", |header, _| header.height.0 = u64::MAX),
        ("parent", |header, _| header.parent.0[0] ^= 1),
        ("time", |header, _| header.time = Timestamp::from_millis(1)),
        ("indexed", |header, _| header.side_root.0[31] ^= 1),
        ("indexed", |_, proofs| proofs[1].count += 1),
        ("indexed", |_, proofs| proofs[1].chain_id.0 = 9),
        ("indexed", |_, proofs| proofs[0].side_path[0].0[3] ^= 4),
        ("indexed", |_, proofs| proofs.swap(0, 1)),
        ("indexed", |_, proofs| {
            let twice = proofs[1].clone();
            proofs.push(twice);
        }),
        ("first_height", |header, proofs| (*header, *proofs) = replaced(header, 8)),
        ("first_height", |header, proofs| (*header, *proofs) = replaced(header, 6)),
    ];
    let blocks = blocks(4);
    for (number, (field, change)) in cases.into_iter().enumerate() {
        let mut verifier = verifier(Some(1), None);
        for (header, proofs) in &blocks[..3] {
            verifier.check(header, proofs).unwrap();
        }
        let (mut header, mut proofs) = blocks[3].clone();
        change(&mut header, &mut proofs);
        let found = verifier.check(&header, &proofs).expect_err(&format!("case {number}"));
        assert_eq!(
            (found.field, found.header, found.before),
            (field, header, Some(blocks[2].0)),
            "case {number}"
        );
        assert!(found.to_string().contains(field), "{found}");
        assert_eq!(found.proof.is_some(), matches!(field, "indexed" | "first_height"), "case {number}");
        assert_eq!(
            verifier.check(&blocks[3].0, &blocks[3].1),
            Ok(None),
            "case {number}: the right one is taken still"
        );
    }
}

/// The same block with the chains' blocks from another height on; 7 is right.
fn replaced(header: &MainHeader, first: u64) -> (MainHeader, Vec<ChainProof>) {
    let (other, proofs) = block(None, first, 2);
    (MainHeader { side_root: other.side_root, ..*header }, proofs)
}

#[test]
fn the_first_block_names_the_genesis_document() {
    let (header, proofs) = block(None, 1, 2);
    let stranger =
        Verifier::new((MAIN, Hash([1; 32])), Some(Height(1)), None, OURS.map(|id| (id, true, None)));
    let mut stranger = stranger;
    assert_eq!(stranger.check(&header, &proofs).unwrap_err().field, "parent");
}

#[test]
fn another_head_than_what_was_durable_is_refused() {
    let blocks = blocks(5);
    let verifier = verifier(Some(4), Some(blocks[2].0));
    verifier.check_head(None).unwrap();
    verifier.check_head(Some(&blocks[2].0)).unwrap();
    verifier.check_head(Some(&blocks[4].0)).unwrap();
    verifier.check_head(Some(&blocks[1].0)).unwrap();
    let other = MainHeader { state_root: Hash([1; 32]), ..blocks[2].0 };
    assert_eq!(verifier.check_head(Some(&other)).unwrap_err().field, "hash");
}

#[test]
fn a_stream_that_goes_on_is_held_against_the_one_before() {
    let blocks = blocks(4);
    let mut first = verifier(Some(1), None);
    first.check(&blocks[0].0, &blocks[0].1).unwrap();

    let next = || {
        let mut next = verifier(Some(2), None);
        next.go_on(&first);
        next
    };
    assert_eq!(next().check(&blocks[1].0, &blocks[1].1), Ok(None));
    let forged = MainHeader { parent: Hash([9; 32]), ..blocks[1].0 };
    assert_eq!(next().check(&forged, &blocks[1].1).unwrap_err().field, "parent");
    let (header, proofs) = block(Some(&blocks[0].0), 4, 2);
    assert_eq!(next().check(&header, &proofs).unwrap_err().field, "first_height", "heights were left out");

    // Where the main chain did not serve the chain meanwhile, they may have been: nobody told us.
    let chains = OURS.map(|chain| (chain, false, None));
    let mut unserved = Verifier::new((MAIN, GENESIS), Some(Height(2)), None, chains);
    unserved.go_on(&first);
    assert_eq!(unserved.check(&header, &proofs), Ok(None));
    let (header, proofs) = block(Some(&header), 5, 2);
    assert_eq!(unserved.check(&header, &proofs).unwrap_err().field, "first_height", "but none twice");
}
