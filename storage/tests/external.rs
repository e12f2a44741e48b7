//! A main chain driven from outside, on a log: it is opened again after each step, in order and as a killed process
//! leaves it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::chain::{BlockView, ChainId, Columns, Hash, Height, MainBlock, NodeKey, Timestamp};
use engine::clock::Clock;
use engine::external::{External, ExternalConfig, ExternalError, Limits, Proposal, StartError};
use engine::lane::{Claim, SessionId};
use engine::pipeline::{PipelineConfig, SealRules};
use engine::proof;
use engine::quorum::FinalityRule;
use engine::sim::{SimChain, SimConfig};
use engine::state::{Genesis, MainChain, SideChain};
use engine::store::BlockReader;
use mainstem_storage::{Log, LogReader, Options, Prepare};
use support::{MAIN, Rng, scratch};

const KEY: NodeKey = NodeKey([1; 32]);
const CHAINS: u32 = 4;
const ALL: Limits = Limits { max_leaves: 4096, max_per_chain: 4096, rules: SealRules::Mainstem };

/// Stands still.
struct Still;

impl Clock for Still {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

fn genesis() -> Genesis {
    let main = MainChain { id: MAIN, name: "main".into(), aelf_root: false };
    let side = |id| SideChain {
        id: ChainId(id),
        name: format!("side {id}"),
        first_height: Height(1),
        nodes: vec![KEY],
        finality: FinalityRule::Single,
    };
    Genesis::parse(&Genesis::document(&main, &(1..=CHAINS).map(side).collect::<Vec<_>>())).unwrap()
}

fn options(genesis: &Genesis, reversible: bool) -> Options {
    let options = Options::new(genesis.hash, MAIN);
    Options { segment_bytes: 1 << 16, prepare: Prepare::AtRoll, reversible, ..options }
}

fn open(dir: &Path, genesis: &Genesis) -> (External, LogReader) {
    let (log, reader, _) = Log::open(dir, options(genesis, true)).unwrap();
    let pipeline = PipelineConfig { lane_blocks: 2000, ..Default::default() };
    let config = ExternalConfig { pipeline, max_reversible: 1000 };
    let (external, _) = External::resume(config, genesis, log, &reader, Arc::new(Still)).unwrap();
    (external, reader)
}

/// Sends the blocks up to `height` that the lane does not have.
fn send(external: &External, chain: u32, height: u64) {
    let lane = external.cache().lane(ChainId(chain)).unwrap();
    let Ok(Claim::Speaker(position)) = lane.claim(KEY, SessionId(1)) else { panic!("somebody else speaks") };
    let config = SimConfig { transactions: 0, ..Default::default() };
    let mut sim = SimChain::new(ChainId(chain), Arc::new(config));
    let parent = sim.seek(position.received);
    assert!(position.hash.is_none_or(|hash| hash == parent));
    let mut blocks = Columns::default();
    for _ in position.received.0..height {
        let (hash, tx_root, time) = sim.step();
        blocks.push(hash, tx_root, time);
    }
    lane.push(SessionId(1), position.received.next(), parent, blocks.as_ref(), Duration::ZERO).unwrap();
}

fn head_hash(external: &External) -> Hash {
    external.status().head.map_or(Hash::ZERO, |head| head.hash)
}

#[test]
fn forks_and_restarts_at_every_step_lose_and_repeat_nothing_on_a_log() {
    let (dir, genesis) = (scratch(), genesis());
    let (mut external, mut reader) = open(dir.path(), &genesis);
    let mut rng = Rng(11);
    let (mut blocks, mut irreversible, mut sent) = (Vec::<MainBlock>::new(), 0, [0; CHAINS as usize]);
    let mut deepest = 0;
    for step in 0..260 {
        for (chain, sent) in (1..).zip(&mut sent) {
            *sent += rng.below(9);
            send(&external, chain, *sent);
        }
        let depth = blocks.len() - irreversible;
        match rng.below(20) {
            0 if depth > 0 => {
                let back = 1 + rng.below(depth as u64) as usize;
                deepest = deepest.max(back);
                blocks.truncate(blocks.len() - back);
                external.rollback(Height(blocks.len() as u64)).unwrap();
            }
            1 => {
                irreversible += rng.below(depth as u64 / 2 + 1) as usize;
                external.finalize(Height(irreversible as u64)).unwrap();
            }
            _ => {
                let limits =
                    Limits { max_leaves: 1 + rng.below(40), max_per_chain: 30, rules: SealRules::Mainstem };
                match external.candidate(head_hash(&external), limits) {
                    Ok(block) => {
                        external.commit(&Proposal::of(&block)).unwrap();
                        blocks.push(block);
                    }
                    Err(ExternalError::NothingWaits { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        let before = external.status();
        if step % 8 == 1 {
            let killed = scratch();
            for entry in std::fs::read_dir(dir.path()).unwrap() {
                let path = entry.unwrap().path();
                std::fs::copy(&path, killed.path().join(path.file_name().unwrap())).unwrap();
            }
            let (after, log) = open(killed.path(), &genesis);
            assert_eq!(
                (after.status().head, after.status().irreversible),
                (before.head, before.irreversible)
            );
            (1..).zip(sent).for_each(|(chain, sent)| send(&after, chain, sent));
            for point in (irreversible..=blocks.len()).step_by(3) {
                let parent = point.checked_sub(1).map_or(Hash::ZERO, |last| blocks[last].hash);
                let expected = external.candidate(parent, ALL);
                assert!(after.candidate(parent, ALL) == expected, "on top of block {point}");
            }
            assert_eq!(log.head(), reader.head());
        }
        if step % 2 == 0 {
            drop((external, reader));
            (external, reader) = open(dir.path(), &genesis);
            let after = external.status();
            assert_eq!((after.head, after.irreversible), (before.head, before.irreversible));
            assert_eq!(after.announced, before.announced);
        }
        assert_eq!(reader.head().0, blocks.len() as u64);
        assert_eq!(external.status().irreversible.0, irreversible as u64);
    }
    assert!(deepest > 10 && reader.segments().len() > 1, "{deepest}, {}", reader.segments().len());
    let mut next = [1; CHAINS as usize];
    for block in &blocks {
        let stored = reader.block(block.header.height).unwrap().unwrap();
        assert_eq!((stored.header(), stored.columns().times), (block.header, &block.columns.times[..]));
        for section in &block.sections {
            let next = &mut next[section.chain.0 as usize - 1];
            assert_eq!(section.first_height.0, *next, "each once, none left out");
            *next += u64::from(section.count);
        }
    }
    let trusted = head_hash(&external);
    for (chain, next) in (1..).zip(next) {
        let config = SimConfig { transactions: 0, ..Default::default() };
        let mut sim = SimChain::new(ChainId(chain), Arc::new(config));
        for height in 1..next {
            let (hash, ..) = sim.step();
            if height % 16 == 0 {
                let proof =
                    proof::build(&reader, ChainId(chain), Height(height), Some(reader.head())).unwrap();
                assert_eq!(proof.block.hash, hash);
                proof.verify_trusting(trusted).unwrap();
            }
        }
    }
}

#[test]
fn a_log_made_for_another_mode_is_refused() {
    let (dir, genesis) = (scratch(), genesis());
    let (log, reader, _) = Log::open(dir.path(), options(&genesis, false)).unwrap();
    let started = External::resume(ExternalConfig::default(), &genesis, log, &reader, Arc::new(Still));
    assert!(matches!(started, Err(StartError::NotReversible)));
}

#[test]
fn a_pruned_log_keeps_what_forks_stand_on() {
    let (dir, genesis) = (scratch(), genesis());
    let one = Limits { max_leaves: 400, max_per_chain: 400, rules: SealRules::Mainstem };
    let (external, reader) = open(dir.path(), &genesis);
    let mut blocks = Vec::new();
    for round in 1..=12 {
        for chain in 1..=CHAINS {
            send(&external, chain, 100 * round);
        }
        let block = external.candidate(head_hash(&external), one).unwrap();
        external.commit(&Proposal::of(&block)).unwrap();
        blocks.push(block);
    }
    external.finalize(Height(9)).unwrap();
    assert!(reader.segments().len() > 5);
    drop((external, reader));
    // Whatever is asked for, down to the irreversible block nothing goes.
    let (mut log, reader, _) = Log::open(dir.path(), options(&genesis, true)).unwrap();
    assert!(log.prune(Height(12)).unwrap().segments > 0);
    assert!(reader.base().first > Height(1) && reader.base().first <= Height(9));
    drop((log, reader));
    let (external, reader) = open(dir.path(), &genesis);
    assert_eq!(external.status().announced.unwrap().hash, blocks[8].hash);
    external.rollback(Height(9)).unwrap();
    for chain in 1..=CHAINS {
        send(&external, chain, 1200);
    }
    for block in &blocks[9..] {
        let again = external.candidate(head_hash(&external), one).unwrap();
        assert!(again == *block);
        external.commit(&Proposal::of(&again)).unwrap();
    }
    assert_eq!(reader.head(), Height(12));
}
