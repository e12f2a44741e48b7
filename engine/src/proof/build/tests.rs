//! What is built against what follows from the rules word for word, over chains of many shapes, whole and pruned.

use std::collections::BTreeSet;

use super::*;
use crate::chain::MainBlock;
use crate::merkle::node;
use crate::pipeline::fixture;
use crate::proof::{AbsenceProof, BlocksProof, ConsistencyProof, Document, SectionProof};
use crate::store::BlockStore;
use crate::store::memory::{MemoryReader, MemoryStore};

/// The SplitMix64 generator.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// A sealed main chain, and the store that holds it.
struct Sealed {
    blocks: Vec<MainBlock>,
    store: MemoryStore,
    reader: MemoryReader,
}

impl Sealed {
    /// `turns[t][c]` blocks of each chain c in turn t.
    fn new(chains: u32, turns: &[Vec<u64>]) -> Self {
        let blocks = fixture::blocks(&fixture::genesis(chains), turns);
        let mut store = MemoryStore::default();
        for block in &blocks {
            store.append(block).unwrap();
        }
        store.sync().unwrap();
        let reader = store.reader();
        Self { blocks, store, reader }
    }

    /// Chains with gaps, sections of one block and of more than a group, and main blocks in numbers that are no powers of
    /// two.
    fn shapes() -> Vec<Self> {
        let mut random = Random(7);
        let mut shapes = vec![
            Self::new(1, &[vec![1]]),
            Self::new(1, &[vec![1], vec![2], vec![33]]),
            Self::new(3, &[vec![0, 1, 0], vec![1, 0, 1], vec![40, 0, 0], vec![0, 0, 65]]),
            Self::new(70, &[(0..70).map(|chain| chain % 3).collect(), vec![1; 70]]),
        ];
        for mains in [5, 8, 13] {
            let chains = 2 + random.below(5);
            let turns: Vec<Vec<u64>> = (0..mains)
                .map(|_| (0..chains).map(|_| [0, 1, 2, 5, 32, 37][random.below(6) as usize]).collect())
                .collect();
            shapes.push(Self::new(chains as u32, &turns));
        }
        shapes
    }

    fn head(&self) -> Height {
        self.reader.head()
    }

    fn main(&self, height: Height) -> &MainBlock {
        &self.blocks[height.0 as usize - 1]
    }

    /// All side blocks.
    fn all(&self) -> Vec<(ChainId, Height)> {
        let heights = |section: &Section| (section.first_height.0..=section.last_height().0).map(Height);
        let of_section = |section: &Section| {
            let chain = section.chain;
            heights(section).map(move |height| (chain, height)).collect::<Vec<_>>()
        };
        self.blocks.iter().flat_map(|block| block.sections.iter().flat_map(of_section)).collect()
    }

    fn history_leaves(&self, size: u64) -> Vec<Hash> {
        let leaf = |block: &MainBlock| leaf::history(block.header.height, block.header.hash());
        self.blocks[..size as usize].iter().map(leaf).collect()
    }
}

/// What completes a tree for whoever has the leaves at `known`: the rule of the blocks proof, on whole rows.
fn completing(mut row: Vec<Hash>, mut known: Vec<usize>) -> Vec<Hash> {
    let mut nodes = Vec::new();
    while row.len() > 1 {
        for &index in &known {
            if !known.contains(&(index ^ 1)) && index ^ 1 < row.len() {
                nodes.push(row[index ^ 1]);
            }
        }
        row = above(&row);
        known = known.iter().map(|index| index / 2).collect();
        known.dedup();
    }
    nodes
}

fn above(row: &[Hash]) -> Vec<Hash> {
    row.chunks(2).map(|pair| if let [l, r] = pair { node(*l, *r) } else { pair[0] }).collect()
}

fn root(mut row: Vec<Hash>) -> Hash {
    while row.len() > 1 {
        row = above(&row);
    }
    row.first().copied().unwrap_or(Hash::ZERO)
}

/// RFC 9162 section 2.1.4.1, word for word.
fn subproof(m: usize, leaves: &[Hash], is_root: bool) -> Vec<Hash> {
    let n = leaves.len();
    if m == n {
        return if is_root { vec![] } else { vec![root(leaves.to_vec())] };
    }
    let k = n.next_power_of_two() / 2;
    let mut proof =
        if m <= k { subproof(m, &leaves[..k], is_root) } else { subproof(m - k, &leaves[k..], false) };
    proof.push(root(if m <= k { leaves[k..].to_vec() } else { leaves[..k].to_vec() }));
    proof
}

fn side_leaves(block: &MainBlock, section: &Section) -> Vec<Hash> {
    let (columns, heights) = (&block.columns, (section.first_height.0..).map(Height));
    let leaf =
        |(leaf, height)| leaf::side(section.chain, height, columns.hashes[leaf], columns.tx_roots[leaf]);
    section.leaves().zip(heights).map(leaf).collect()
}

fn chain_leaves(block: &MainBlock) -> Vec<Hash> {
    let leaf = |section: &Section| {
        let chain_root = root(side_leaves(block, section));
        leaf::chain(section.chain, section.first_height, section.count, chain_root)
    };
    block.sections.iter().map(leaf).collect()
}

/// Checks a proof of many blocks against the rules; `wanted` ascends.
fn check_many(sealed: &Sealed, wanted: &[(ChainId, Height)], head: Option<Height>, proof: &BlocksProof) {
    let mut proven = BTreeSet::new();
    for part in &proof.main_blocks {
        let block = sealed.main(part.header.height);
        assert_eq!(part.header, block.header);
        for chain in &part.chains {
            let section = block.sections[chain.index as usize];
            assert_eq!((chain.chain_id, chain.first_height), (section.chain, section.first_height));
            assert_eq!(chain.count, section.count);
            let offsets = chain.blocks.iter().map(|block| (block.height.0 - chain.first_height.0) as usize);
            let nodes = completing(side_leaves(block, &section), offsets.collect());
            assert_eq!(chain.nodes, nodes);
            proven.extend(chain.blocks.iter().map(|block| (chain.chain_id, block.height)));
        }
        let indices = part.chains.iter().map(|chain| chain.index as usize).collect();
        assert_eq!(part.nodes, completing(chain_leaves(block), indices));
    }
    assert!(proven.iter().eq(wanted), "{wanted:?}");
    let newest = proof.main_blocks.last().unwrap().header.height;
    let ends_in = head.unwrap_or(newest);
    if proof.main_blocks.len() == 1 && ends_in == newest {
        assert_eq!((proof.head, &proof.history), (None, &None));
    } else {
        assert_eq!(proof.head, Some(sealed.main(ends_in).header));
        let heights = proof.main_blocks.iter().map(|part| part.header.height);
        let known = heights.filter(|height| *height < ends_in).map(|height| height.0 as usize - 1);
        let nodes = completing(sealed.history_leaves(ends_in.0 - 1), known.collect());
        assert_eq!(proof.history.as_ref(), Some(&nodes));
    }
    proof.verify().unwrap();
    reads_back(&Document::Blocks(proof.clone()));
}

fn reads_back(document: &Document) {
    let bytes = document.to_bytes();
    assert_eq!(Document::from_bytes(&bytes).as_ref(), Ok(document));
}

#[test]
fn any_blocks_are_proven_together_with_what_the_rules_ask_for_and_no_more() {
    let mut random = Random(1);
    for sealed in Sealed::shapes() {
        let all = sealed.all();
        for percent in [0, 1, 3, 20, 60, 100] {
            let mut wanted: Vec<_> = all.iter().copied().filter(|_| random.below(100) < percent).collect();
            wanted.push(all[random.below(all.len() as u64) as usize]);
            let asked: Vec<_> = wanted.iter().rev().chain(&wanted).copied().collect();
            wanted.sort_unstable();
            wanted.dedup();
            let newest = wanted.iter().map(|(chain, height)| sealed.reader.locate(*chain, *height).unwrap());
            let newest = newest.max().flatten().unwrap();
            for head in [None, Some(newest), Some(newest.next()), Some(sealed.head())] {
                let proof = build_many(&sealed.reader, &asked, head);
                match head {
                    Some(head) if head > sealed.head() => {
                        assert!(matches!(proof, Err(ProofError::NoSuchHead { .. })));
                    }
                    head => check_many(&sealed, &wanted, head, &proof.unwrap()),
                }
            }
            if let Some(below) = newest.0.checked_sub(1).filter(|below| *below > 0) {
                let refused = build_many(&sealed.reader, &asked, Some(Height(below)));
                assert!(matches!(refused, Err(ProofError::NoSuchHead { .. })), "{refused:?}");
            }
        }
    }
}

#[test]
fn one_block_proven_as_many_has_the_nodes_of_its_own_proof() {
    for sealed in Sealed::shapes() {
        for (chain, height) in sealed.all() {
            let alone = build(&sealed.reader, chain, height, Some(sealed.head())).unwrap();
            alone.verify().unwrap();
            let many = build_many(&sealed.reader, &[(chain, height)], Some(sealed.head())).unwrap();
            let hashes = |path: &[Step]| path.iter().map(|step| step.hash).collect::<Vec<_>>();
            assert_eq!(many.main_blocks[0].chains[0].nodes, hashes(&alone.chain_path));
            assert_eq!(many.main_blocks[0].nodes, hashes(&alone.side_path));
            assert_eq!(many.history, alone.history_path.as_deref().map(hashes));
        }
    }
}

#[test]
fn every_later_header_is_proven_consistent_with_every_earlier_one() {
    for sealed in Sealed::shapes() {
        for from in 1..=sealed.head().0 {
            for to in from..=sealed.head().0 {
                let proof = build_consistency(&sealed.reader, Height(from), Height(to)).unwrap();
                proof.verify().unwrap();
                let leaves = sealed.history_leaves(to - 1);
                let (m, grown) = (from as usize - 1, from < to);
                let nodes = if m > 0 && grown { subproof(m, &leaves, true) } else { vec![] };
                assert_eq!(proof.consistency, nodes, "{from} to {to}");
                let inclusion = if grown { completing(leaves, vec![m]) } else { vec![] };
                assert_eq!(proof.inclusion, inclusion, "{from} to {to}");
                reads_back(&Document::Consistency(proof));
            }
            let refused = build_consistency(&sealed.reader, Height(from), Height(from - 1));
            assert!(matches!(refused, Err(ProofError::Order { .. })));
        }
        let beyond = build_consistency(&sealed.reader, Height(1), sealed.head().next());
        assert!(matches!(beyond, Err(ProofError::NoSuchBlock { field: "to", .. })), "{beyond:?}");
    }
}

/// Both questions about a chain in a main block: exactly one has an answer.
fn content(
    reader: &MemoryReader,
    chain: ChainId,
    main: Height,
    head: Option<Height>,
) -> Result<Document, ProofError> {
    let (whole, none) = (build_chain(reader, chain, main, head)?, build_absence(reader, chain, main, head)?);
    Ok(match (whole, none) {
        (Some(whole), None) => Document::Chain(whole),
        (None, Some(none)) => Document::Absence(none),
        other => panic!("exactly one of them: {other:?}"),
    })
}

#[test]
fn of_every_chain_and_main_block_all_blocks_are_proven_or_that_there_are_none() {
    let (mut chains, mut absences) = (0, 0);
    for sealed in Sealed::shapes() {
        for block in &sealed.blocks {
            let main = block.header.height;
            for chain in (0..80).map(ChainId) {
                for head in [None, Some(main), Some(sealed.head())] {
                    let document = content(&sealed.reader, chain, main, head).unwrap();
                    document.verify().unwrap();
                    let found = block.sections.iter().position(|section| section.chain == chain);
                    match (&document, found) {
                        (
                            Document::Chain(SectionProof { blocks, index, header, head: end, .. }),
                            Some(position),
                        ) => {
                            let section = block.sections[position];
                            assert_eq!((*index as usize, blocks.len()), (position, section.count as usize));
                            let hashes = blocks.iter().map(|block| block.hash);
                            assert!(hashes.eq(block.columns.hashes[section.leaves()].iter().copied()));
                            assert_eq!(*header, block.header);
                            let later = head.filter(|head| *head != main);
                            assert_eq!(*end, later.map(|head| sealed.main(head).header));
                            chains += 1;
                        }
                        (Document::Absence(AbsenceProof { before, after, .. }), None) => {
                            assert!(before.as_ref().is_none_or(|before| before.chain_id < chain));
                            assert!(after.as_ref().is_none_or(|after| after.chain_id > chain));
                            absences += 1;
                        }
                        _ => panic!("{chain} in {main}: {found:?}, {document:?}"),
                    }
                    reads_back(&document);
                }
            }
        }
        let next = sealed.head().next();
        let refused = content(&sealed.reader, ChainId(1), next, None);
        assert!(matches!(refused, Err(ProofError::NoSuchBlock { field: "main", .. })));
        let refused = content(&sealed.reader, ChainId(1), Height(1), Some(next));
        assert!(matches!(refused, Err(ProofError::NoSuchHead { .. })));
    }
    assert!(chains > 200 && absences > 200, "{chains} {absences}");
}

#[test]
fn a_pruned_log_proves_what_is_left_as_before_and_says_what_is_gone() {
    for mut sealed in Sealed::shapes() {
        let (reader, head) = (sealed.reader.clone(), sealed.head());
        let heads: Vec<Height> = (1..=head.0).map(Height).collect();
        let all = sealed.all();
        let mains: Vec<Height> = all.iter().map(|(c, h)| reader.locate(*c, *h).unwrap().unwrap()).collect();
        let consistency = |from, to| build_consistency(&reader, from, to);
        let before: Vec<Vec<ConsistencyProof>> = heads
            .iter()
            .map(|from| {
                heads[from.0 as usize - 1..].iter().map(|to| consistency(*from, *to).unwrap()).collect()
            })
            .collect();
        let many = |from: Height| {
            let wanted = all.iter().zip(&mains).filter(|(_, main)| **main >= from).map(|(block, _)| *block);
            build_many(&reader, &wanted.collect::<Vec<_>>(), Some(head)).unwrap()
        };
        let whole: Vec<BlocksProof> = heads.iter().map(|from| many(*from)).collect();
        for first in heads.iter().copied() {
            sealed.store.prune(first).unwrap();
            assert_eq!(many(first), whole[first.0 as usize - 1]);
            for (from, proofs) in heads.iter().zip(&before) {
                for (to, proof) in heads[from.0 as usize - 1..].iter().zip(proofs) {
                    match consistency(*from, *to) {
                        Ok(built) => assert!(*from >= first && built == *proof),
                        Err(ProofError::PrunedBlock { field: "from", height, first: at }) => {
                            assert!(height == *from && at == first && *from < first);
                        }
                        Err(error) => panic!("{from} to {to}, pruned before {first}: {error}"),
                    }
                }
                let answer = content(&reader, ChainId(1), *from, Some(head));
                match answer {
                    Ok(document) => drop(document.verify().unwrap()),
                    Err(ProofError::PrunedBlock { field: "main", .. }) => assert!(*from < first),
                    Err(error) => panic!("{error}"),
                }
            }
            if let Some((gone, _)) = all.iter().zip(&mains).find(|(_, main)| **main < first) {
                let refused = build_many(&reader, &[*gone, all[all.len() - 1]], None);
                assert!(matches!(refused, Err(ProofError::Pruned { .. })), "{refused:?}");
            }
        }
    }
}

#[test]
fn no_blocks_too_many_and_unknown_ones_are_refused() {
    let sealed = Sealed::new(2, &[vec![3, 2]]);
    let build =
        |blocks: &[(ChainId, Height)]| build_many(&sealed.reader, blocks, None).unwrap_err().to_string();
    assert_eq!(build(&[]), "0 blocks; a proof is of 1 to 65536");
    let block = sealed.all()[0];
    assert_eq!(build(&vec![block; MAX_BLOCKS + 1]), "65537 blocks; a proof is of 1 to 65536");
    build_many(&sealed.reader, &vec![block; MAX_BLOCKS], None).unwrap();
    assert_eq!(
        build(&[block, (ChainId(3), Height(1))]),
        "chain 21So: height 1 is not indexed (no block of this chain is yet)"
    );
    assert!(build(&[block, (block.0, Height(100))]).contains("height 100 is not indexed (newest: "));
}
