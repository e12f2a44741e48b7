//! A main chain whose registry changes, beside a model of what must come of it: on any store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine;
use engine::chain::{BlockView, ChainId, Columns, Hash, Height, NodeKey, Timestamp};
use engine::clock::Clock;
use engine::lane::{Claim, Lane, Refusal, SessionId};
use engine::pipeline::{Engine, OperateError, PipelineConfig, Running};
use engine::proof;
use engine::sim::{SimChain, SimConfig};
use engine::state::{Genesis, MainChain, Operation, OperationError, SideChain, ops_root};
use engine::store::{BlockReader, BlockStore};

pub(crate) const KEY: NodeKey = NodeKey([1; 32]);
pub(crate) const SESSION: SessionId = SessionId(1);

/// A store that is opened again and again.
pub(crate) trait Place {
    type Store: BlockStore + 'static;
    type Reader: BlockReader;

    fn open(&mut self) -> (Self::Store, Self::Reader);
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Register {
        chain: u32,
        first: u64,
    },
    Remove {
        chain: u32,
    },
    /// The chain's node sends so many blocks, or as many as there is room for.
    Push {
        chain: u32,
        count: u64,
    },
    Pause {
        chain: u32,
        paused: bool,
    },
    Restart,
}

/// A chain as it should be.
#[derive(Clone, Debug)]
struct Model {
    active: bool,
    paused: bool,
    first: u64,
    /// Newest indexed height; the one before `first` if none is.
    indexed: u64,
    /// Newest height received, and sent again after a restart.
    received: u64,
}

pub(crate) struct TestClock(Instant);

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + self.monotonic().as_millis() as u64)
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(TestClock(Instant::now()))
}

pub(crate) fn side(id: u32, first: u64) -> SideChain {
    SideChain {
        id: ChainId(id),
        name: format!("side {id}"),
        first_height: Height(first),
        nodes: vec![KEY],
        finality: engine::quorum::FinalityRule::Single,
    }
}

/// Chains 2 and 4.
pub(crate) fn genesis() -> Genesis {
    let main = MainChain { id: ChainId(9_992_731), name: "main".into(), aelf_root: true };
    Genesis::parse(&Genesis::document(&main, &[side(2, 1), side(4, 3)])).unwrap()
}

pub(crate) fn config(hash_threads: usize) -> PipelineConfig {
    PipelineConfig {
        seal_interval: Duration::from_millis(1),
        lane_blocks: 16,
        hash_threads,
        ..PipelineConfig::default()
    }
}

pub(crate) fn sim(chain: u32) -> SimChain {
    SimChain::new(ChainId(chain), Arc::new(SimConfig { transactions: 0, ..SimConfig::default() }))
}

/// Sends up to `count` blocks after those that the lane has; gives how many.
pub(crate) fn push(lane: &Lane, count: u64) -> Result<u64, Refusal> {
    let position = match lane.claim(KEY, SESSION)? {
        Claim::Speaker(position) | Claim::Standby(position) => position,
    };
    let mut sim = sim(lane.chain().0);
    let parent = sim.seek(position.received);
    assert!(position.hash.is_none_or(|hash| hash == parent), "the lane goes on after another block");
    let count = count.min(position.limit.0 - position.received.0);
    let mut blocks = Columns::default();
    for _ in 0..count {
        let (hash, tx_root, time) = sim.step();
        blocks.push(hash, tx_root, time);
    }
    lane.push(SESSION, position.received.next(), parent, blocks.as_ref(), Duration::ZERO)?;
    Ok(count)
}

pub(crate) fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Does the steps, checks each against the model, and gives the newest `state_root`.
pub(crate) fn run<P: Place>(place: &mut P, steps: &[Step], hash_threads: usize) -> Hash {
    let genesis = genesis();
    let mut models: BTreeMap<u32, Model> = (genesis.chains.iter())
        .map(|side| {
            let (first, before) = (side.first_height.0, side.first_height.0 - 1);
            (side.id.0, Model { active: true, paused: false, first, indexed: before, received: before })
        })
        .collect();
    let start = |place: &mut P| {
        let (store, reader) = place.open();
        let engine = Engine::resume(config(hash_threads), &genesis, store, &reader, clock()).unwrap();
        (engine.start(Vec::new()), reader)
    };
    let (mut running, mut reader) = start(place);
    for step in steps {
        match *step {
            Step::Register { chain, first } => register(&running, &mut models, chain, first),
            Step::Remove { chain } => remove(&running, &mut models, chain),
            Step::Push { chain, count } => {
                let model = models.get_mut(&chain).filter(|model| model.active);
                let lane = running.cache().lane(ChainId(chain));
                assert_eq!(lane.is_some(), model.is_some(), "chain {chain}");
                if let (Some(model), Some(lane)) = (model, lane) {
                    model.received += push(&lane, count).unwrap();
                    settle(&lane, model);
                }
            }
            Step::Pause { chain, paused } => {
                let model = models.get_mut(&chain).filter(|model| model.active);
                if let Some(model) = model {
                    let lane = running.cache().lane(ChainId(chain)).unwrap();
                    lane.pause(paused);
                    assert_eq!(lane.is_paused(), paused);
                    model.paused = paused;
                    settle(&lane, model);
                }
            }
            Step::Restart => {
                running.stop().unwrap();
                drop(reader);
                (running, reader) = start(place);
                // What was not indexed is sent again; a pause is not kept here.
                models.values_mut().for_each(|model| (model.received, model.paused) = (model.indexed, false));
            }
        }
        let active = models.iter().filter(|(_, model)| model.active).map(|(chain, _)| ChainId(*chain));
        let registered = running.registry().chains();
        assert!(registered.iter().map(|side| side.id).eq(active), "after {step:?}");
    }
    running.stop().unwrap();
    check(&reader, &genesis, &models)
}

fn register(running: &Running, models: &mut BTreeMap<u32, Model>, chain: u32, first: u64) {
    let done = running.operate(Operation::Register(side(chain, first)));
    let fresh = Model { active: true, paused: false, first, indexed: first - 1, received: first - 1 };
    match models.get_mut(&chain) {
        Some(model) if model.active => {
            assert_eq!(done, Err(OperateError::Operation(OperationError::Taken { chain: ChainId(chain) })));
        }
        Some(model) if model.indexed >= model.first => {
            if first > model.indexed + 1 {
                let (first_height, indexed) = (Height(first), Height(model.indexed));
                let gap = OperationError::Gap { chain: ChainId(chain), first_height, indexed };
                return assert_eq!(done, Err(OperateError::Operation(gap)));
            }
            assert!(done.unwrap() <= running.head().unwrap().header.height);
            *model = Model { first: model.first, indexed: model.indexed, received: model.indexed, ..fresh };
        }
        _ => {
            done.unwrap();
            models.insert(chain, fresh);
        }
    }
}

fn remove(running: &Running, models: &mut BTreeMap<u32, Model>, chain: u32) {
    let lane = running.cache().lane(ChainId(chain));
    let done = running.operate(Operation::Remove(ChainId(chain)));
    let Some(model) = models.get_mut(&chain).filter(|model| model.active) else {
        let unknown = OperationError::Unknown { chain: ChainId(chain) };
        return assert_eq!(done, Err(OperateError::Operation(unknown)));
    };
    assert_eq!(done.unwrap(), running.head().unwrap().header.height, "nothing else is on its way");
    let lane = lane.unwrap();
    assert!(lane.is_closed());
    assert_eq!(push(&lane, 1), Err(Refusal::Removed { chain: ChainId(chain) }));
    (model.active, model.paused, model.received) = (false, false, model.indexed);
}

/// Waits until what should be indexed is.
fn settle(lane: &Lane, model: &mut Model) {
    if !model.paused {
        model.indexed = model.received;
        wait_until("what was sent is durable", || lane.position().durable.0 == model.received);
    }
    assert_eq!((lane.position().durable.0, lane.position().received.0), (model.indexed, model.received));
}

/// Every block that should be indexed is, once, and proven; headers commit to the operations. Gives the state root.
fn check<R: BlockReader>(reader: &R, genesis: &Genesis, models: &BTreeMap<u32, Model>) -> Hash {
    let head = reader.head();
    if head == Height(0) {
        return Hash::ZERO;
    }
    let newest = reader.block(head).unwrap().unwrap().header();
    let mut leaves = 0;
    for (chain, model) in models {
        let mut sim = sim(*chain);
        sim.seek(Height(model.first - 1));
        for height in model.first..=model.indexed {
            let (hash, ..) = sim.step();
            let proof = proof::build(reader, ChainId(*chain), Height(height), Some(head)).unwrap();
            proof.verify_trusting(newest.hash()).unwrap();
            assert_eq!(proof.block.hash, hash, "chain {chain}, height {height}");
        }
        leaves += model.indexed + 1 - model.first;
        assert_eq!(reader.locate(ChainId(*chain), Height(model.indexed + 1)).unwrap(), None);
    }
    let operations = reader.operations().unwrap();
    let mut indexed = 0;
    for height in (1..=head.0).map(Height) {
        let header = reader.block(height).unwrap().unwrap().header();
        let own = operations.iter().filter(|(at, _)| *at == height).map(|(_, operation)| operation.clone());
        assert_eq!(header.ops_root, ops_root(&own.collect::<Vec<_>>()));
        indexed += header.leaf_count;
    }
    assert_eq!(indexed, leaves, "nothing twice, nothing lost");
    assert_eq!(newest.chain_id, genesis.main.id);
    newest.state_root
}
