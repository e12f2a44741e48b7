//! What a log has of simulated chains.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::chain::{BlockView, ChainId, Hash, Height, MainHeader};
use engine::sim::{SimChain, SimConfig};
use engine::store::BlockReader;

/// Every block of every chain is there exactly once, in order, as the simulated chain of the default seed has it, and the
/// main blocks are linked. Gives each chain as it stands at its newest block.
pub(crate) fn as_simulated(reader: &storage::LogReader) -> BTreeMap<ChainId, SimChain> {
    let config = Arc::new(SimConfig::default());
    let mut chains: BTreeMap<ChainId, SimChain> = BTreeMap::new();
    let mut parent: Option<Hash> = None;
    for height in 1..=reader.head().0 {
        let block = reader.block(Height(height)).unwrap().unwrap();
        let header: MainHeader = block.header();
        assert_eq!(header.height, Height(height));
        assert!(parent.is_none_or(|parent| parent == header.parent), "main block {height} is not linked");
        parent = Some(header.hash());
        for index in 0..block.section_count() {
            let section = block.section(index);
            let id = section.chain;
            let chain = chains.entry(id).or_insert_with(|| SimChain::new(id, Arc::clone(&config)));
            let next = chain.height().next();
            assert_eq!(section.first_height, next, "chain {id} in main block {height}: lost or twice");
            assert_eq!(section.parent, chain.hash(), "chain {id}");
            for leaf in section.leaves() {
                let (hash, tx_root, _) = chain.step();
                let columns = block.columns();
                let found = (columns.hashes[leaf], columns.tx_roots[leaf]);
                assert_eq!(found, (hash, tx_root), "chain {id}, height {}", chain.height());
            }
        }
    }
    chains
}
