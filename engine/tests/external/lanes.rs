//! The same blocks as this node would seal by itself; AElf's choice of blocks; what lanes and senders see.

use std::time::Duration;

use engine::chain::{ChainId, Columns, Height};
use engine::external::{ExternalError, Limits};
use engine::lane::{Claim, Lane};
use engine::merkle::history::History;
use engine::pipeline::{SealRules, Sealer};
use engine::state::State;
use engine::sync::Doorbell;
use mainstem_engine as engine;

use super::{ALL, KEY, Node, Rng, SESSION, config, genesis, sim};

#[test]
fn candidates_are_what_this_node_would_seal_by_itself() {
    let chains = 5;
    let genesis = genesis(chains);
    let mut config = config(2500);
    config.pipeline.hash_threads = 3;
    let node = Node::new(&genesis, config);
    let mut sealer = Sealer::new(&genesis, None, State::new(&genesis), History::default());
    let (mut lanes, mut outlets, mut drains) = (Vec::new(), Vec::new(), Vec::new());
    for side in &genesis.chains {
        let (lane, ends) = Lane::new(side, side.first_height.previous(), None, 2500, Doorbell::new().0);
        lane.claim(KEY, SESSION).unwrap();
        lanes.push(lane);
        outlets.push(ends.outlet);
        drains.push(ends.drain);
    }
    let mut rng = Rng(3);
    let mut sealed = Sealer::blank();
    for turn in 0..40 {
        node.clock.advance(rng.below(5));
        for (chain, lane) in (1..=chains).zip(&lanes) {
            let position = lane.position();
            let mut sim = sim(chain);
            let parent = sim.seek(position.received);
            let mut blocks = Columns::default();
            // Now and then so many that their trees are cut.
            for _ in 0..rng.below(if turn % 13 == 5 { 1200 } else { 20 }) {
                let (hash, tx_root, time) = sim.step();
                blocks.push(hash, tx_root, time);
            }
            let first = position.received.next();
            let last = lane.push(SESSION, first, parent, blocks.as_ref(), Duration::ZERO).unwrap();
            node.send(chain, last.0);
        }
        // Other branches are tried and taken back before.
        let limits = Limits { max_leaves: 1 + rng.below(4096), max_per_chain: 1 + rng.below(2500), ..ALL };
        let base = node.head();
        for _ in 0..rng.below(3) {
            if let Ok(block) =
                node.external.candidate(node.head_hash(), Limits { max_leaves: 1 + rng.below(50), ..ALL })
            {
                node.commit(&block);
            }
        }
        node.external.rollback(Height(base)).unwrap();
        let block = match node.external.candidate(node.head_hash(), limits) {
            Ok(block) => block,
            Err(ExternalError::NothingWaits { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        let mut counts = vec![0; chains as usize];
        for section in &block.sections {
            counts[section.chain.0 as usize - 1] = u64::from(section.count);
        }
        sealer.seal(&mut outlets, &counts, block.header.time, &mut sealed);
        assert!(block == sealed, "turn {turn}: {:?}, {:?}", block.header, sealed.header);
        for section in &sealed.sections {
            drains[section.chain.0 as usize - 1].release(section.last_height(), Duration::ZERO, |_, _| ());
        }
        node.commit(&block);
        if rng.below(2) == 0 {
            node.external.finalize(Height(node.head())).unwrap();
        }
    }
    assert!(node.head() > 30);
    // What is counted is what will not be taken back.
    node.external.finalize(Height(node.head())).unwrap();
    let (stats, durable) = (node.external.stats(), node.external.durable());
    assert_eq!((durable.main_blocks, stats.main_blocks), (node.head(), node.head()));
    assert_eq!(stats.durable.len(), stats.side_blocks);
    assert_eq!(
        stats.side_blocks,
        outlets
            .iter()
            .zip(&genesis.chains)
            .map(|(outlet, side)| outlet.next_height().0 - side.first_height.0)
            .sum::<u64>()
    );
    assert!(stats.append.len() >= node.head() && stats.seal.len() > stats.append.len());
}

#[test]
fn by_aelfs_rule_the_first_block_of_a_chain_goes_alone_and_the_rest_when_it_is_irreversible() {
    let node = Node::new(&genesis(3), config(1024));
    let limits = Limits { max_per_chain: 256, rules: SealRules::Aelf, ..ALL };
    let counts = || {
        let parent = node.head_hash();
        let block = match node.external.candidate(parent, limits) {
            Ok(block) => block,
            Err(ExternalError::NothingWaits { .. }) => return Vec::new(),
            Err(error) => panic!("{error}"),
        };
        node.commit(&block);
        let counts = block.sections.iter().map(|section| (section.chain.0, section.count));
        counts.collect::<Vec<_>>()
    };
    // Chain 3 begins at 1, chain 1 at 2.
    node.send(3, 256);
    assert_eq!(counts(), []);
    node.send(3, 257);
    assert_eq!(counts(), [(3, 1)]);
    node.send(1, 257);
    node.send(3, 700);
    assert_eq!(counts(), [], "not before the first one is irreversible");
    node.send(1, 258);
    assert_eq!(counts(), [(1, 1)]);
    node.external.finalize(Height(1)).unwrap();
    assert_eq!(counts(), [(3, 256)]);
    node.external.finalize(Height(2)).unwrap();
    assert_eq!(counts(), [(1, 256), (3, 256)]);
    assert_eq!(counts(), [(3, 187)]);
    assert_eq!(counts(), []);
    node.external.rollback(Height(2)).unwrap();
    assert_eq!(counts(), [(1, 256), (3, 256)]);
}

#[test]
fn a_sender_goes_on_after_what_was_received_and_hears_only_of_what_is_irreversible() {
    let mut node = Node::new(&genesis(2), config(50));
    node.send(1, 30);
    node.send(2, 12);
    let few = Limits { max_leaves: 10, ..ALL };
    for _ in 0..3 {
        node.commit(&node.external.candidate(node.head_hash(), few).unwrap());
    }
    node.external.finalize(Height(1)).unwrap();
    let position = |node: &Node, chain| {
        let claim = node.external.cache().lane(ChainId(chain)).unwrap().claim(KEY, SESSION);
        let Ok(Claim::Speaker(position)) = claim else { panic!("{claim:?}") };
        (position.durable.0, position.received.0, position.limit.0, position.hash)
    };
    let hash = |chain, height| Some(sim(chain).seek(Height(height)));
    // Fair shares of 10: five each, then five each, and of the rest of chain 2 none is left.
    assert_eq!(position(&node, 1), (6, 30, 56, hash(1, 30)));
    assert_eq!(position(&node, 2), (7, 12, 57, hash(2, 12)));
    node = node.restart();
    // What was indexed and may be taken back is there again; what only waited is to be sent again.
    assert_eq!(position(&node, 1), (6, 21, 56, hash(1, 21)));
    assert_eq!(position(&node, 2), (7, 12, 57, hash(2, 12)));
    node.external.rollback(Height(1)).unwrap();
    let block = node.candidate();
    let all: Vec<_> = block.sections.iter().map(|section| (section.first_height.0, section.count)).collect();
    assert_eq!(all, [(7, 15), (8, 5)]);
    // Nothing of it was lost, and what comes next fits.
    node.send(1, 40);
    assert_eq!(node.candidate().header.leaf_count, 34 + 5);
}

#[test]
fn memory_of_lanes_is_given_back_once_all_is_final_though_nobody_came_after_a_restart() {
    let mut node = Node::new(&genesis(1), config(500));
    node.send(1, 300);
    node.commit(&node.candidate());
    node = node.restart();
    let lane = node.external.cache().lane(ChainId(1)).unwrap();
    assert!(lane.held().0 >= 299);
    node.external.finalize(Height(1)).unwrap();
    assert_eq!(lane.held(), (0, 0));
}
