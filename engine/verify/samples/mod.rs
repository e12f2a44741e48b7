//! A small world of chains, and proofs of all kinds about it: what the vectors, the tests and the fuzz seeds are made of.
//!
//! Trees are built here level by level, by the definition, and not by the code that is tested.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use verify::chain::{ChainId, Hash, Height, MainHeader, Timestamp};
use verify::leaf;
use verify::proof::{
    AbsenceProof, AelfPart, BlockContent, BlocksProof, ChainPart, ConsistencyProof, CrossChainProof,
    Document, ManyBlock, ManyChain, Neighbour, Nested, Proof, ProvenBlock, SectionProof, SimPart,
    Transaction,
};
use verify::tree::{Step, consistency_nodes, many, node, siblings};

pub mod accepted;
pub mod evm;
pub mod honest;
pub mod refused;

/// SHA-256.
pub fn digest(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

/// A tree, every level of it.
pub struct Tree(Vec<Vec<Hash>>);

impl Tree {
    pub fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while levels.last().unwrap().len() > 1 {
            let below = levels.last().unwrap();
            // An odd last node moves up unchanged.
            levels.push(below.chunks(2).map(|pair| pair.iter().copied().reduce(node).unwrap()).collect());
        }
        Self(levels)
    }

    pub fn root(&self) -> Hash {
        self.0.last().unwrap().first().copied().unwrap_or(Hash::ZERO)
    }

    pub fn path(&self, index: u64) -> Vec<Step> {
        let places = siblings(index, self.0[0].len() as u64);
        places.map(|at| Step { hash: self.0[at.level as usize][at.index as usize], left: at.left }).collect()
    }

    pub fn nodes(&self, places: impl Iterator<Item = (u32, u64)>) -> Vec<Hash> {
        places.map(|(level, index)| self.0[level as usize][index as usize]).collect()
    }
}

/// AElf's tree: a row of odd length, also a single leaf, is completed by a copy of its last node.
pub struct AelfTree(Vec<Vec<Hash>>);

impl AelfTree {
    pub fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while levels.len() == 1 || levels.last().unwrap().len() > 1 {
            let row = levels.last_mut().unwrap();
            if row.len() % 2 == 1 {
                row.push(*row.last().unwrap());
            }
            let above = row.chunks(2).map(|pair| node(pair[0], pair[1])).collect();
            levels.push(above);
        }
        Self(levels)
    }

    pub fn root(&self) -> Hash {
        self.0.last().unwrap()[0]
    }

    /// The path of a leaf, or of a copy that stands where no leaf is.
    pub fn path(&self, mut index: usize) -> Vec<Step> {
        let mut path = Vec::new();
        for row in &self.0[..self.0.len() - 1] {
            // Under a copy, which is two leaves wide where this is asked for.
            let sibling = index ^ 1;
            let hash = row.get(sibling).copied().unwrap_or_else(|| row[sibling - 2]);
            path.push(Step { hash, left: index % 2 == 1 });
            index /= 2;
        }
        path
    }
}

/// What a main block has of one chain: height of the first block, and the blocks.
#[derive(Clone)]
pub struct Section {
    pub first: u64,
    pub blocks: Vec<BlockContent>,
}

impl Section {
    pub fn tree(&self, chain: u32) -> Tree {
        let leaf = |(height, block): (u64, &BlockContent)| {
            leaf::side(ChainId(chain), Height(height), block.hash, block.tx_root)
        };
        Tree::new((self.first..).zip(&self.blocks).map(leaf).collect())
    }

    pub fn count(&self) -> u32 {
        self.blocks.len() as u32
    }
}

/// A main block: its sections in the order of their leaves.
#[derive(Clone)]
pub struct Block {
    pub header: MainHeader,
    pub sections: Vec<(u32, Section)>,
}

impl Block {
    pub fn side_tree(&self) -> Tree {
        let leaf = |(chain, section): &(u32, Section)| {
            leaf::chain(ChainId(*chain), Height(section.first), section.count(), section.tree(*chain).root())
        };
        Tree::new(self.sections.iter().map(leaf).collect())
    }

    pub fn index(&self, chain: u32) -> Option<usize> {
        self.sections.iter().position(|(id, _)| *id == chain)
    }
}

/// A main chain.
#[derive(Clone)]
pub struct World {
    pub chain: u32,
    pub blocks: Vec<Block>,
}

impl World {
    pub fn new(chain: u32) -> Self {
        Self { chain, blocks: Vec::new() }
    }

    /// Seals a block, its sections in ascending order.
    pub fn seal(&mut self, sections: &BTreeMap<u32, Section>) {
        self.seal_as_is(sections.iter().map(|(chain, section)| (*chain, section.clone())).collect());
    }

    /// Seals a block, its sections in any order, which an honest sealer does not.
    pub fn seal_as_is(&mut self, sections: Vec<(u32, Section)>) {
        let height = self.blocks.len() as u64 + 1;
        let id = ChainId(self.chain);
        let mut header = MainHeader {
            version: 1,
            chain_id: id,
            height: Height(height),
            time: Timestamp::from_millis(1_700_000_000_000 + height * 1000),
            parent: self.blocks.last().map_or_else(
                || MainHeader::genesis_parent(id, digest(b"genesis")),
                |last| last.header.hash(),
            ),
            side_root: Hash::ZERO,
            chain_count: sections.len() as u32,
            leaf_count: sections.iter().map(|(_, section)| section.blocks.len() as u64).sum(),
            ops_root: Hash::ZERO,
            state_root: digest(&height.to_le_bytes()),
            history_root: self.history(height).root(),
            aelf_root: Hash::ZERO,
        };
        let mut block = Block { header, sections };
        header.side_root = block.side_tree().root();
        block.header = header;
        self.blocks.push(block);
    }

    pub fn block(&self, height: u64) -> &Block {
        &self.blocks[height as usize - 1]
    }

    /// The tree over the headers below `height`.
    pub fn history(&self, height: u64) -> Tree {
        let headers = self.blocks.iter().map(|block| &block.header).take(height as usize - 1);
        Tree::new(headers.map(|header| leaf::history(header.height, header.hash())).collect())
    }

    /// The path from the header at `main` to `head`, and the head.
    pub fn to_head(&self, main: u64, head: Option<u64>) -> (Option<Vec<Step>>, Option<MainHeader>) {
        let Some(head) = head else { return (None, None) };
        (Some(self.history(head).path(main - 1)), Some(self.block(head).header))
    }

    /// The main block that has a side block.
    fn find(&self, chain: u32, height: u64) -> u64 {
        let has = |block: &Block| {
            block.index(chain).is_some_and(|index| {
                let section = &block.sections[index].1;
                (section.first..section.first + u64::from(section.count())).contains(&height)
            })
        };
        self.blocks.iter().position(has).expect("the block is indexed") as u64 + 1
    }

    pub fn proven(&self, chain: u32, height: u64) -> ProvenBlock {
        let main = self.block(self.find(chain, height));
        let section = &main.sections[main.index(chain).unwrap()].1;
        let block = section.blocks[(height - section.first) as usize];
        ProvenBlock { height: Height(height), hash: block.hash, tx_root: block.tx_root }
    }

    pub fn proof(&self, chain: u32, height: u64, head: Option<u64>) -> Proof {
        let main = self.find(chain, height);
        let block = self.block(main);
        let index = block.index(chain).unwrap();
        let section = &block.sections[index].1;
        let (history_path, head) = self.to_head(main, head);
        Proof {
            version: 1,
            chain_id: ChainId(chain),
            block: self.proven(chain, height),
            chain_path: section.tree(chain).path(height - section.first),
            chain: ChainPart {
                first_height: Height(section.first),
                count: section.count(),
                index: index as u32,
            },
            side_path: block.side_tree().path(index as u64),
            header: block.header,
            history_path,
            head,
        }
    }

    pub fn many(&self, wanted: &[(u32, u64)], head: Option<u64>) -> BlocksProof {
        let mut mains: BTreeMap<u64, BTreeMap<usize, Vec<u64>>> = BTreeMap::new();
        for &(chain, height) in wanted {
            let main = self.find(chain, height);
            let index = self.block(main).index(chain).unwrap();
            mains.entry(main).or_default().entry(index).or_default().push(height);
        }
        let main_blocks = mains.iter().map(|(&main, chains)| {
            let block = self.block(main);
            let all = chains.iter().map(|(&index, heights)| {
                let (chain, section) = &block.sections[index];
                let places =
                    many(heights.iter().map(|height| height - section.first), section.blocks.len() as u64);
                ManyChain {
                    chain_id: ChainId(*chain),
                    first_height: Height(section.first),
                    count: section.count(),
                    index: index as u32,
                    blocks: heights.iter().map(|height| self.proven(*chain, *height)).collect(),
                    nodes: section.tree(*chain).nodes(places),
                }
            });
            let places = many(chains.keys().map(|index| *index as u64), block.sections.len() as u64);
            ManyBlock { header: block.header, chains: all.collect(), nodes: block.side_tree().nodes(places) }
        });
        let history = head.map(|head| {
            let below = mains.keys().filter(|main| **main < head).map(|main| main - 1);
            self.history(head).nodes(many(below, head - 1))
        });
        let head = head.map(|head| self.block(head).header);
        BlocksProof { version: 1, main_blocks: main_blocks.collect(), history, head }
    }

    pub fn consistency(&self, from: u64, to: u64) -> ConsistencyProof {
        let tree = self.history(to);
        ConsistencyProof {
            version: 1,
            from: self.block(from).header,
            to: self.block(to).header,
            consistency: tree.nodes(consistency_nodes(from - 1, to - 1)),
            inclusion: if from == to {
                Vec::new()
            } else {
                tree.path(from - 1).iter().map(|step| step.hash).collect()
            },
        }
    }

    pub fn section(&self, chain: u32, main: u64, head: Option<u64>) -> SectionProof {
        let block = self.block(main);
        let index = block.index(chain).unwrap();
        let section = &block.sections[index].1;
        let (history_path, head) = self.to_head(main, head);
        SectionProof {
            version: 1,
            chain_id: ChainId(chain),
            first_height: Height(section.first),
            blocks: section.blocks.clone(),
            index: index as u32,
            side_path: block.side_tree().path(index as u64),
            header: block.header,
            history_path,
            head,
        }
    }

    pub fn absence(&self, chain: u32, main: u64, head: Option<u64>) -> AbsenceProof {
        let block = self.block(main);
        let index = block.sections.iter().filter(|(id, _)| *id < chain).count();
        let (history_path, head) = self.to_head(main, head);
        AbsenceProof {
            version: 1,
            chain_id: ChainId(chain),
            index: index as u32,
            before: index.checked_sub(1).map(|index| self.neighbour(main, index)),
            after: (index < block.sections.len()).then(|| self.neighbour(main, index)),
            header: block.header,
            history_path,
            head,
        }
    }

    /// The chain leaf at `index` of a main block.
    pub fn neighbour(&self, main: u64, index: usize) -> Neighbour {
        let block = self.block(main);
        let (chain, section) = &block.sections[index];
        Neighbour {
            chain_id: ChainId(*chain),
            first_height: Height(section.first),
            count: section.count(),
            chain_root: section.tree(*chain).root(),
            path: block.side_tree().path(index as u64),
        }
    }

    /// All of its headers from `first` to `last`, as blocks of a side chain of another.
    pub fn as_side(&self, first: u64, last: u64) -> Section {
        let content = |height| {
            let header = self.block(height).header;
            BlockContent { hash: header.hash(), tx_root: header.side_root }
        };
        Section { first, blocks: (first..=last).map(content).collect() }
    }
}

/// Blocks of a chain of which only the hashes matter.
pub fn section(chain: u32, first: u64, count: u64) -> Section {
    let content = |height: u64| BlockContent {
        hash: digest(format!("hash {chain} {height}").as_bytes()),
        tx_root: digest(format!("tx_root {chain} {height}").as_bytes()),
    };
    Section { first, blocks: (first..first + count).map(content).collect() }
}

/// A transaction of an AElf chain with `count` of them in the block.
pub fn aelf_ids(count: usize) -> Vec<Hash> {
    (0..count).map(|index| digest(format!("transaction {index} of {count}").as_bytes())).collect()
}

pub fn aelf_tree(count: usize) -> AelfTree {
    AelfTree::new(aelf_ids(count).into_iter().map(verify::aelf::mined).collect())
}

pub fn aelf_part(count: usize, index: usize) -> Transaction {
    Transaction::Aelf(AelfPart { id: aelf_ids(count)[index], path: aelf_tree(count).path(index) })
}

/// The bytes of the transactions of a simulated chain's block.
pub fn sim_data(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|index| format!("data {index} of {count}").into_bytes()).collect()
}

pub fn sim_tree(data: &[Vec<u8>]) -> Tree {
    Tree::new(data.iter().map(|data| digest(&[&[0x10], &data[..]].concat())).collect())
}

pub fn sim_part(data: &[Vec<u8>], index: usize) -> Transaction {
    Transaction::Sim(SimPart { data: data[index].clone(), path: sim_tree(data).path(index as u64) })
}

/// A transaction proof in a world.
pub fn transaction(
    world: &World,
    part: Transaction,
    (chain, height): (u32, u64),
    head: Option<u64>,
) -> CrossChainProof {
    CrossChainProof { version: 1, transaction: part, block: world.proof(chain, height, head) }
}

pub fn nested(inner: CrossChainProof) -> Transaction {
    Transaction::Mainstem(Box::new(Nested::Transaction(inner)))
}

/// A document that is to be accepted.
pub struct Sample {
    pub name: String,
    pub document: Document,
    /// Hash of the newest header that it ends in.
    pub trusted: Hash,
}

impl Sample {
    pub fn new(name: impl Into<String>, document: Document) -> Self {
        let header = match &document {
            Document::Block(proof) => proof.head.unwrap_or(proof.header),
            Document::Transaction(proof) => proof.block.head.unwrap_or(proof.block.header),
            Document::Blocks(proof) => proof.head.unwrap_or_else(|| proof.main_blocks[0].header),
            Document::Consistency(proof) => proof.to,
            Document::Chain(proof) => proof.head.unwrap_or(proof.header),
            Document::Absence(proof) => proof.head.unwrap_or(proof.header),
        };
        Self { name: name.into(), document, trusted: header.hash() }
    }
}
