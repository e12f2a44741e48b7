//! For tests: main blocks sealed from simulated chains, the same ones whenever they are asked for.

use std::sync::Arc;
use std::time::Duration;

use crate::chain::{ChainId, Columns, Height, MainBlock, NodeKey, Timestamp};
use crate::lane::{Lane, SessionId};
use crate::merkle::history::History;
use crate::quorum::FinalityRule;
use crate::sim::{SimChain, SimConfig};
use crate::state::{Genesis, MainChain, SideChain, State};
use crate::sync::Doorbell;

use super::seal::Sealer;

const KEY: NodeKey = NodeKey([1; 32]);
const SESSION: SessionId = SessionId(1);

/// A main chain with side chains 1 to `chains`, whose first heights differ.
pub(crate) fn genesis(chains: u32) -> Genesis {
    let side = |id| SideChain {
        id: ChainId(id),
        name: id.to_string(),
        first_height: Height(u64::from(id % 3) + 1),
        nodes: vec![KEY],
        finality: FinalityRule::Single,
    };
    let main = MainChain { id: ChainId(1_000_000), name: "main".into(), aelf_root: true };
    Genesis::parse(&Genesis::document(&main, &(1..=chains).map(side).collect::<Vec<_>>())).unwrap()
}

/// The main blocks with `turns[t][c]` blocks of each chain c, one for each turn t that has any.
pub(crate) fn blocks(genesis: &Genesis, turns: &[Vec<u64>]) -> Vec<MainBlock> {
    let mut sealer = Sealer::new(genesis, None, State::new(genesis), History::default());
    let (mut lanes, mut outlets, mut drains) = (Vec::new(), Vec::new(), Vec::new());
    for side in &genesis.chains {
        let before = side.first_height.previous();
        let (lane, ends) = Lane::new(side, before, None, 8192, Doorbell::new().0);
        lane.claim(KEY, SESSION).unwrap();
        let config = SimConfig { transactions: 0, ..SimConfig::default() };
        let mut sim = SimChain::new(side.id, Arc::new(config));
        sim.seek(before);
        lanes.push((lane, sim));
        outlets.push(ends.outlet);
        drains.push(ends.drain);
    }
    let mut block = super::empty_block();
    let mut sealed = Vec::new();
    for (time, counts) in (0..).zip(turns).filter(|(_, counts)| counts.iter().sum::<u64>() > 0) {
        for ((lane, sim), &count) in lanes.iter_mut().zip(counts) {
            let (first, parent) = (sim.height().next(), sim.hash());
            let mut blocks = Columns::default();
            for _ in 0..count {
                let (hash, tx_root, time) = sim.step();
                blocks.push(hash, tx_root, time);
            }
            lane.push(SESSION, first, parent, blocks.as_ref(), Duration::ZERO).unwrap();
        }
        sealer.seal(&mut outlets, counts, Timestamp::from_millis(time), &mut block);
        for section in &block.sections {
            let drain = &mut drains[section.chain.0 as usize - 1];
            drain.release(section.last_height(), Duration::ZERO, |_, _| ());
        }
        sealed.push(block.clone());
    }
    sealed
}
