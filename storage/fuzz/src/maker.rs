//! [`Maker`]: seals main blocks as the engine does, so that their proofs verify.

use engine::chain::{ChainId, Columns, Hash, Height, MainBlock, MainHeader, Section, Timestamp};
use engine::merkle::history::History;
use engine::merkle::{leaf, tree};
use std::collections::BTreeMap;

use crate::template::MAIN;

/// Makes blocks that follow each other; always the same ones.
pub(crate) struct Maker {
    height: u64,
    heads: BTreeMap<u32, u64>,
    history: History,
    random: u64,
}

impl Maker {
    pub(crate) fn new() -> Self {
        Self { height: 0, heads: BTreeMap::new(), history: History::default(), random: 1 }
    }

    /// Goes on at some height, with a chain at some height, and with a history that is none.
    pub(crate) fn after(height: Height, chain: ChainId, head: Height) -> Self {
        Self { height: height.0, heads: BTreeMap::from([(chain.0, head.0)]), ..Self::new() }
    }

    /// The next block: so many side blocks of each chain, by ascending chain.
    pub(crate) fn block(&mut self, chains: &[(u32, u32)]) -> MainBlock {
        self.height += 1;
        let mut columns = Columns::default();
        let (mut sections, mut chain_nodes) = (Vec::new(), Vec::new());
        for &(chain, count) in chains {
            let head = self.heads.get(&chain).copied().unwrap_or(0);
            let first_leaf = columns.len();
            for _ in 0..count {
                let (hash, tx_root) = (self.hash(), self.hash());
                columns.push(hash, tx_root, Timestamp::from_millis(self.next()));
            }
            let side = |index: usize| {
                let height = Height(head + 1 + (index - first_leaf) as u64);
                leaf::side(ChainId(chain), height, columns.hashes[index], columns.tx_roots[index])
            };
            let mut leaves: Vec<Hash> = (first_leaf..columns.len()).map(side).collect();
            let mut nodes = vec![Hash::ZERO; tree::stored_nodes(leaves.len())];
            sections.push(Section {
                chain: ChainId(chain),
                count,
                first_height: Height(head + 1),
                parent: Hash([chain as u8; 32]),
                chain_root: tree::root(&mut leaves, &mut nodes),
                first_leaf: first_leaf as u32,
                first_node: chain_nodes.len() as u32,
            });
            chain_nodes.append(&mut nodes);
            self.heads.insert(chain, head + u64::from(count));
        }
        let leaf_of = |section: &Section| {
            leaf::chain(section.chain, section.first_height, section.count, section.chain_root)
        };
        let mut leaves: Vec<Hash> = sections.iter().map(leaf_of).collect();
        let mut side_nodes = vec![Hash::ZERO; tree::stored_nodes(leaves.len())];
        let header = MainHeader {
            version: MainHeader::VERSION,
            chain_id: MAIN,
            height: Height(self.height),
            time: Timestamp::from_millis(self.next()),
            parent: self.hash(),
            side_root: tree::root(&mut leaves, &mut side_nodes),
            chain_count: sections.len() as u32,
            leaf_count: columns.len() as u64,
            ops_root: Hash::ZERO,
            state_root: Hash::ZERO,
            history_root: self.history.root(),
            aelf_root: Hash::ZERO,
        };
        let hash = header.hash();
        let history_nodes = if self.history.size() + 1 == self.height {
            self.history.append(leaf::history(header.height, hash))
        } else {
            vec![Hash::ZERO; self.height.trailing_zeros() as usize]
        };
        let operations = Vec::new();
        MainBlock { header, hash, operations, sections, columns, chain_nodes, side_nodes, history_nodes }
    }

    fn hash(&mut self) -> Hash {
        let mut hash = Hash::ZERO;
        for part in hash.0.chunks_exact_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes());
        }
        hash
    }

    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
