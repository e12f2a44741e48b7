//! Random drivers against a simple model, while lanes fill.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::chain::{BlockView, ChainId, Hash, Height, MainBlock, MainHeader};
use engine::external::{ExternalError, Limits, Proposal, Verdict};
use engine::pipeline::SealRules;
use engine::proof;
use engine::store::BlockReader;
use mainstem_engine as engine;

use super::{ALL, Node, Rng, config, first_height, genesis, send_some, sim};

const CHAINS: u32 = 5;

/// What the main chain must be.
struct Model {
    genesis_parent: Hash,
    /// From block 1 to the head.
    blocks: Vec<MainBlock>,
    irreversible: usize,
}

impl Model {
    fn hash_at(&self, height: usize) -> Hash {
        height.checked_sub(1).map_or(self.genesis_parent, |last| self.blocks[last].hash)
    }

    /// Of each chain the next height that is wanted on top of `height`.
    fn next_heights(&self, height: usize) -> Vec<u64> {
        let mut next: Vec<_> = (1..=CHAINS).map(|chain| first_height(chain).0).collect();
        for section in self.blocks[..height].iter().flat_map(|block| &block.sections) {
            let next = &mut next[section.chain.0 as usize - 1];
            assert_eq!(section.first_height.0, *next, "chain {}: once each, none left out", section.chain);
            *next += u64::from(section.count);
        }
        next
    }

    fn check(&self, node: &Node) {
        let status = node.external.status();
        assert_eq!(
            status.head.map_or(self.genesis_parent, |head| head.hash),
            self.hash_at(self.blocks.len())
        );
        assert_eq!(status.irreversible.0, self.irreversible as u64);
        assert_eq!(
            status.announced.map_or(self.genesis_parent, |head| head.hash),
            self.hash_at(self.irreversible)
        );
        assert_eq!(node.reader.head().0, self.blocks.len() as u64);
        let announced: Vec<_> = node.heads.0.lock().unwrap().iter().map(|head| head.hash).collect();
        let irreversible: Vec<_> = self.blocks[..self.irreversible].iter().map(|block| block.hash).collect();
        assert!(announced == irreversible, "each irreversible block once, in order, and no other");
        for (next, chain) in self.next_heights(self.irreversible).into_iter().zip(1..) {
            let durable = node.external.cache().lane(ChainId(chain)).unwrap().position().durable;
            assert_eq!(durable.0, next - 1, "chain {chain} is acknowledged up to the irreversible block");
        }
    }
}

/// Senders of all chains, which go on wherever the lanes of the running node want them to.
fn under_load(node: Node, drive: impl FnOnce(Node, &Mutex<engine::cache::Cache>) -> Node) -> Node {
    let cache = Mutex::new(node.external.cache());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also when the driver panics: or the test would wait for senders that never end.
        let _stop = StopOnDrop(&stop);
        for chain in 1..=CHAINS {
            let (cache, stop) = (&cache, &stop);
            scope.spawn(move || {
                let (mut sim, mut rng) = (sim(chain), Rng(chain.into()));
                while !stop.load(Ordering::Relaxed) {
                    let now = cache.lock().unwrap().clone();
                    send_some(&now, chain, &mut sim, 1 + rng.below(4 * u64::from(chain)), u64::MAX);
                    std::thread::yield_now();
                }
            });
        }
        drive(node, &cache)
    })
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A candidate on top of block `height`, once there is something for it.
fn candidate(node: &Node, model: &Model, height: usize, limits: Limits) -> Option<MainBlock> {
    match node.external.candidate(model.hash_at(height), limits) {
        Ok(block) => {
            assert_eq!(
                (block.header.height.0, block.header.parent),
                (height as u64 + 1, model.hash_at(height))
            );
            assert_eq!(node.judge(&block), Verdict::Valid);
            Some(block)
        }
        Err(ExternalError::NothingWaits { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn drive(mut node: Node, cache: &Mutex<engine::cache::Cache>, seed: u64, turns: u64) -> (Node, Model, usize) {
    let mut rng = Rng(seed);
    let genesis_parent = MainHeader::genesis_parent(node.genesis.main.id, node.genesis.hash);
    let mut model = Model { genesis_parent, blocks: Vec::new(), irreversible: 0 };
    let (mut deepest, mut turn) = (0, 0);
    while turn < turns {
        turn += 1;
        node.clock.advance(rng.below(3));
        let depth = model.blocks.len() - model.irreversible;
        let max_leaves = 1 + rng.below(12);
        let limits = Limits { max_leaves, max_per_chain: 1 + rng.below(5), rules: SealRules::Mainstem };
        match rng.below(40) {
            // A fork: to any depth, and others in the place of those that are gone.
            0 | 1 if depth > 0 => {
                let back = 1 + rng.below(depth as u64) as usize;
                let to = model.blocks.len() - back;
                let late = Proposal::of(model.blocks.last().unwrap());
                let head = node.external.rollback(Height(to as u64)).unwrap();
                assert_eq!(head.map_or(genesis_parent, |head| head.hash), model.hash_at(to));
                deepest = deepest.max(back);
                model.blocks.truncate(to);
                if back > 1 {
                    let verdict = node.external.validate(&late).unwrap();
                    assert!(matches!(verdict, Verdict::UnknownParent { .. }), "{verdict:?}");
                }
            }
            2 => {
                model.irreversible += rng.below(depth as u64 / 2 + 1) as usize;
                node.external.finalize(Height(model.irreversible as u64)).unwrap();
            }
            3 if rng.below(4) == 0 => {
                node = node.restart();
                *cache.lock().unwrap() = node.external.cache();
            }
            // A block of a fork that is not built on.
            4..8 => {
                let height = model.irreversible + rng.below(depth as u64 + 1) as usize;
                if let Some(block) = candidate(&node, &model, height, limits) {
                    let next = model.next_heights(height);
                    for section in &block.sections {
                        assert_eq!(section.first_height.0, next[section.chain.0 as usize - 1]);
                    }
                    if height < model.blocks.len() {
                        let refused = node.external.commit(&Proposal::of(&block));
                        let is_head = block.hash == model.hash_at(model.blocks.len());
                        assert!(is_head == refused.is_ok(), "{refused:?}");
                    }
                }
            }
            _ => {
                if let Some(block) = candidate(&node, &model, model.blocks.len(), limits) {
                    node.commit(&block);
                    model.blocks.push(block);
                } else {
                    // The senders have to go on first, however long that takes; or a block has to be finalized.
                    turn -= 1;
                    std::thread::yield_now();
                }
            }
        }
        if turn % 16 == 0 {
            model.check(&node);
        }
    }
    (node, model, deepest)
}

/// What the store has is what the model has, whole, with proofs that end in the newest header; and it is what the chains
/// were, up to what was received.
fn check_final(node: &Node, model: &Model) {
    let reader = &node.reader;
    for (block, height) in model.blocks.iter().zip(1..) {
        let stored = reader.block(Height(height)).unwrap().unwrap();
        assert_eq!((stored.header(), stored.columns().hashes), (block.header, &block.columns.hashes[..]));
        assert_eq!(stored.history_nodes(), block.history_nodes);
        assert_eq!(stored.columns().times, block.columns.times);
    }
    let head = reader.head();
    let trusted = reader.block(head).unwrap().unwrap().header().hash();
    for (next, chain) in model.next_heights(model.blocks.len()).into_iter().zip(1..) {
        let received = node.external.cache().lane(ChainId(chain)).unwrap().position().received;
        assert_eq!(next - 1, received.0, "chain {chain}: all that was received is indexed");
        let mut sim = sim(chain);
        sim.seek(first_height(chain).previous());
        for height in first_height(chain).0..next {
            let (hash, tx_root, _) = sim.step();
            if height % 7 == 0 {
                let proof = proof::build(reader, ChainId(chain), Height(height), Some(head)).unwrap();
                proof.verify_trusting(trusted).unwrap();
                assert_eq!((proof.block.hash, proof.block.tx_root), (hash, tx_root));
            }
        }
    }
}

#[test]
fn forks_under_load_lose_and_repeat_nothing() {
    let mut deepest = 0;
    for seed in 1..=4 {
        let node = Node::new(&genesis(CHAINS), config(900));
        let mut end = None;
        let node = under_load(node, |node, cache| {
            let (node, model, depth) = drive(node, cache, seed, 700);
            end = Some((model, depth));
            node
        });
        let (mut model, depth) = end.unwrap();
        deepest = deepest.max(depth);
        // Whatever the senders left in the lanes.
        while let Some(block) = candidate(&node, &model, model.blocks.len(), ALL) {
            node.commit(&block);
            model.blocks.push(block);
        }
        model.irreversible = model.blocks.len();
        node.external.finalize(Height(model.irreversible as u64)).unwrap();
        model.check(&node);
        check_final(&node, &model);
    }
    assert!(deepest >= 10, "{deepest}");
}

#[test]
fn forks_of_every_depth_up_to_a_hundred_keep_every_block() {
    let node = Node::new(&genesis(CHAINS), config(900));
    let genesis_parent = MainHeader::genesis_parent(node.genesis.main.id, node.genesis.hash);
    let mut model = Model { genesis_parent, blocks: Vec::new(), irreversible: 0 };
    let limits = Limits { max_leaves: 3, ..ALL };
    let mut rng = Rng(9);
    let node = under_load(node, |mut node, cache| {
        for depth in 1..=100_usize {
            while model.blocks.len() < model.irreversible + depth {
                let height = model.blocks.len();
                if let Some(block) =
                    candidate(&node, &model, height, Limits { max_leaves: 1 + rng.below(4), ..limits })
                {
                    node.commit(&block);
                    model.blocks.push(block);
                }
            }
            let fork = model.blocks.len() - depth;
            // A competing block on the far end is valid before the fork, and is committed after it.
            node.clock.advance(1);
            let other = candidate(&node, &model, fork, limits).unwrap();
            if depth % 10 == 0 {
                node = node.restart();
                *cache.lock().unwrap() = node.external.cache();
            }
            node.external.rollback(Height(fork as u64)).unwrap();
            model.blocks.truncate(fork);
            node.commit(&other);
            model.blocks.push(other);
            model.check(&node);
            if depth % 3 == 0 {
                model.irreversible = model.blocks.len();
                node.external.finalize(Height(model.irreversible as u64)).unwrap();
            }
        }
        node
    });
    while let Some(block) = candidate(&node, &model, model.blocks.len(), ALL) {
        node.commit(&block);
        model.blocks.push(block);
    }
    check_final(&node, &model);
}

#[test]
fn a_restart_after_each_step_changes_nothing() {
    let run = |restart: bool| {
        let mut node = Node::new(&genesis(CHAINS), config(300));
        let mut rng = Rng(77);
        let (mut seen, mut sent) = (Vec::new(), [0; CHAINS as usize]);
        let (mut hashes, mut irreversible) = (vec![Hash::ZERO], 0);
        for step in 0..120 {
            node.clock.advance(10);
            for (chain, sent) in (1..).zip(&mut sent) {
                let cache = node.external.cache();
                *sent = send_some(&cache, chain, &mut sim(chain), rng.below(6), u64::MAX).0;
            }
            let depth = hashes.len() - 1 - irreversible;
            match rng.below(10) {
                0 | 1 if depth > 0 => {
                    hashes.truncate(hashes.len() - 1 - rng.below(depth as u64) as usize);
                    node.external.rollback(Height(hashes.len() as u64 - 1)).unwrap();
                }
                2 => {
                    irreversible += rng.below(depth as u64 + 1) as usize;
                    node.external.finalize(Height(irreversible as u64)).unwrap();
                }
                _ => {
                    let limits = Limits { max_leaves: 1 + rng.below(9), ..ALL };
                    let parent = *hashes.last().unwrap();
                    if let Ok(block) = node.external.candidate(parent, limits) {
                        hashes.push(node.commit(&block).hash);
                    }
                }
            }
            if restart {
                node = node.restart();
                // What only waited is sent again.
                (1..).zip(sent).for_each(|(chain, sent)| node.send(chain, sent));
            }
            for parent in &hashes[irreversible..] {
                seen.push(node.external.candidate(*parent, ALL).map_err(|error| (step, error)));
            }
            let status = node.external.status();
            assert_eq!(status.irreversible.0, irreversible as u64);
        }
        let heads = node.heads.0.lock().unwrap().clone();
        (seen, heads, node.reader.head())
    };
    let (whole, restarted) = (run(false), run(true));
    assert!(whole == restarted);
    assert!(whole.0.len() > 300);
}

#[test]
fn a_lane_that_is_full_of_what_may_be_taken_back_gives_no_candidate_until_it_is_final() {
    let node = Node::new(&genesis(1), config(4));
    node.send(1, 5);
    let block = node.candidate();
    assert_eq!(block.header.leaf_count, 4, "chain 1 begins at 2");
    node.commit(&block);
    let cache = node.external.cache();
    assert_eq!(send_some(&cache, 1, &mut sim(1), 10, 10), Height(5), "no room");
    let refused = node.external.candidate(node.head_hash(), ALL);
    assert!(matches!(refused, Err(ExternalError::NothingWaits { .. })), "{refused:?}");
    node.external.finalize(Height(1)).unwrap();
    node.send(1, 9);
    assert_eq!(node.candidate().header.leaf_count, 4);
}
