//! The side chains of a running node, as its operator changes them.

use std::sync::{Arc, Mutex, PoisonError};

use engine::cache::Cache;
use engine::chain::{ChainId, Height};
use engine::pipeline::{ConfigError, OperateError, Operator};
use engine::state::{Genesis, Operation, Registry, SideChain};
use net::server::NodeKeys;

use crate::command::words::counted;
use crate::settings::Settings;

/// Adds, removes and pauses side chains. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Chains {
    registry: Registry,
    cache: Cache,
    keys: Arc<NodeKeys>,
    /// None where the main chain's node decides.
    operator: Option<Operator>,
    room: Room,
    /// Held from an operation to the keys that follow from it, so that those of a later one are not overtaken.
    turn: Arc<Mutex<()>>,
}

impl Chains {
    pub(crate) fn new(
        registry: Registry,
        cache: Cache,
        keys: Arc<NodeKeys>,
        operator: Option<Operator>,
        room: Room,
    ) -> Self {
        Self { registry, cache, keys, operator, room, turn: Arc::default() }
    }

    /// Who is registered now.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Registers a chain. Blocks until the main block that says so is durable, and gives its height; the keys of the
    /// chain's nodes are let in then.
    ///
    /// # Errors
    /// Names what is wrong and what would be right; nothing has changed, unless the node stops.
    pub(crate) fn add(&self, side: SideChain) -> Result<Height, OperateError> {
        self.operate(Operation::Register(side))
    }

    /// Removes a chain, in the same way. What is indexed of it stays, and stays provable; what its nodes have sent and is
    /// not indexed is forgotten.
    ///
    /// # Errors
    /// As [`Chains::add`].
    pub(crate) fn remove(&self, chain: ChainId) -> Result<Height, OperateError> {
        self.operate(Operation::Remove(chain))
    }

    /// Stops a chain from being sealed, or lets it go on, until the node stops. False if there is no such chain.
    pub(crate) fn pause(&self, chain: ChainId, paused: bool) -> bool {
        let Some(lane) = self.cache.lane(chain) else { return false };
        lane.pause(paused);
        true
    }

    fn operate(&self, operation: Operation) -> Result<Height, OperateError> {
        let operator = self.operator.as_ref().ok_or(OperateError::External)?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Operation::Register(side) = &operation {
            // As a start judges it: what is let in here must not keep the node from starting again.
            self.room.judge(self.registry.ever_with(side.id))?;
        }
        let height = operator.operate(operation).map_err(|error| match error {
            OperateError::Config(error) => OperateError::Config(named(error)),
            other => other,
        })?;
        self.keys.set_chains(&self.registry.chains());
        Ok(height)
    }
}

/// How long main blocks may be, and what there is for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// `seal.max_leaves`.
    pub max_leaves: u64,
    /// Bytes of a segment of the log.
    pub segment_bytes: u64,
}

impl Room {
    /// Of these settings, in segments of this size.
    pub(crate) fn new(settings: &Settings, segment_bytes: u64) -> Self {
        Self { max_leaves: settings.seal.max_leaves, segment_bytes }
    }

    /// A main block that fits no segment would stop the node in the middle of its work. `chains` are all that were ever
    /// registered ([`Registry::ever`]): the index of a segment names those, too, that were removed.
    ///
    /// # Errors
    /// With so many chains a main block may be longer than a segment.
    pub(crate) fn judge(self, chains: usize) -> Result<(), ConfigError> {
        // Three columns, and at most one stored node for each side block; a section and a node for each chain in it. The
        // index of a segment names every chain.
        let (per_leaf, per_chain) = (72 + 32, 128 + 32);
        let rest = (64 << 10) + 32 * chains as u64;
        let Self { max_leaves, segment_bytes } = self;
        let in_one = (chains as u64).min(max_leaves);
        let longest = max_leaves * per_leaf + in_one * per_chain + rest;
        if longest <= segment_bytes {
            return Ok(());
        }
        let fits = segment_bytes.saturating_sub(in_one * per_chain + rest) / per_leaf;
        let lower = if fits > 0 { format!("lower it to {fits}, or ") } else { String::new() };
        let expected = format!(
            "side blocks are too many: a main block with so many of {} may take {longest} bytes, and a segment of this log \
             has {segment_bytes}; {lower}raise storage.segment_bytes of a new log",
            counted(chains as u64, "chain")
        );
        Err(ConfigError { key: "seal.max_leaves", value: max_leaves.to_string(), expected })
    }
}

/// The error with the name of the setting in place of that of the engine's field.
pub(crate) fn named(error: ConfigError) -> ConfigError {
    let key = match error.key {
        "lane_blocks" => "cache.lane_blocks",
        "cache_bytes" => "cache.bytes",
        "seal_interval" => "seal.interval_ms",
        "seal_leaves" => "seal.leaves",
        "max_leaves" => "seal.max_leaves",
        "max_per_chain" => "seal.max_per_chain",
        "sync_interval" => "storage.sync_interval_ms",
        "hash_threads" => "threads.hashing",
        other => other,
    };
    ConfigError { key, ..error }
}

/// All registrations there ever were: by the genesis document, and by operations. Keys of chains that were removed are
/// known still, or what was changed of them would be refused.
pub(crate) fn ever_registered(genesis: &Genesis, operations: &[(Height, Operation)]) -> Vec<SideChain> {
    let added = operations.iter().filter_map(|(_, operation)| match operation {
        Operation::Register(side) => Some(side),
        Operation::Remove(_) => None,
    });
    genesis.chains.iter().chain(added).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine::chain::{NodeKey, Timestamp};
    use engine::clock::Clock;
    use engine::pipeline::{Engine, PipelineConfig};
    use engine::state::MainChain;
    use engine::store::BlockReader;
    use engine::store::memory::MemoryStore;

    use super::*;

    struct Stopped;

    impl Clock for Stopped {
        fn wall(&self) -> Timestamp {
            Timestamp::default()
        }
        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    fn side(id: u32) -> SideChain {
        SideChain {
            id: ChainId(id),
            name: "side".into(),
            first_height: Height(1),
            nodes: vec![NodeKey([1; 32])],
            finality: engine::quorum::FinalityRule::Single,
        }
    }

    #[test]
    fn whatever_is_registered_at_run_time_a_start_has_room_for() {
        let main = MainChain { id: ChainId(9_992_731), name: "main".into(), aelf_root: true };
        let genesis = Genesis::parse(&Genesis::document(&main, &[side(1), side(2)])).unwrap();
        // Room for the index of four chains.
        let mut room = Room { max_leaves: 1, segment_bytes: 1 << 16 };
        room.segment_bytes = (1..1 << 20)
            .map(|more| (1 << 16) + more)
            .find(|bytes| Room { segment_bytes: *bytes, ..room }.judge(4).is_ok())
            .unwrap();
        room.judge(5).unwrap_err();

        let store = MemoryStore::default();
        let reader = store.reader();
        let engine =
            Engine::resume(PipelineConfig::default(), &genesis, store, &reader, Arc::new(Stopped)).unwrap();
        let (registry, operator) = (engine.registry(), Some(engine.operator()));
        let keys = NodeKeys::new(&registry.chains());
        let chains = Chains::new(registry.clone(), engine.cache(), keys, operator, room);
        let running = engine.start(Vec::new());
        for id in [3, 4] {
            chains.add(side(id)).unwrap();
            chains.remove(ChainId(id)).unwrap();
        }
        // Two are registered, and four are known for ever.
        assert_eq!((registry.len(), registry.ever()), (2, 4));
        let Err(OperateError::Config(error)) = chains.add(side(5)) else { panic!("a start would refuse it") };
        assert_eq!(error.key, "seal.max_leaves");
        chains.add(side(3)).unwrap();
        let operations = reader.operations().unwrap();
        running.stop().unwrap();
        let again = Registry::new(&genesis, operations.iter().map(|(_, operation)| operation));
        room.judge(again.ever()).unwrap();
    }
}
