//! The cache: scripts of operations, which a lane follows too, threads, registration.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use engine::aelf::cache::Cache;
use engine::aelf::data::{BlockData, SideBlockData};
use engine::aelf::{BATCH, CACHE_BLOCKS, chain_id};
use engine::chain::{ChainId, Hash, Height};
use mainstem_engine as engine;
use serde::Deserialize;
use serde_json::Value;

use crate::form::read;
use crate::twin::Twins;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    constants: Constants,
    scripts: Vec<Script>,
    concurrent: Vec<Concurrent>,
    registration: Vec<Registration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Constants {
    capacity: usize,
    default_block_cache_entity_count: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    chain_id: u32,
    initial_target: u64,
    ops: Vec<Op>,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Op {
    Add { height: u64, chain_id: u32, has_root: bool, expect: bool },
    AddRange { from: u64, to: u64, chain_id: u32, has_root: bool, accepted_from: u64 },
    Take { height: u64, size_limited: bool, expect: bool },
    Target { expect: i64 },
    Clear { height: u64 },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Concurrent {
    initial_target: u64,
    parallel_adds: Vec<u64>,
    target_after: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    register: Option<(u32, u64)>,
    update: Option<BTreeMap<String, u64>>,
    add_entity: Option<Vec<(u32, u64)>>,
    size: Option<usize>,
    lib_heights: Option<BTreeMap<String, u64>>,
    validation_ignored_before: Option<bool>,
    validation_ignored_after: Option<bool>,
    unknown_chain: Option<String>,
    target: i64,
}

/// As AElf says it.
fn number(target: Option<Height>) -> i64 {
    target.map_or(-1, |height| height.0.cast_signed())
}

pub(crate) fn block(chain: u32, height: u64, has_root: bool) -> BlockData {
    BlockData::Side(SideBlockData {
        chain: ChainId(chain),
        height: Height(height),
        header_hash: None,
        status_root: has_root.then_some(Hash([1; 32])),
    })
}

/// A chain as a key: a number, or a name of AElf's.
fn chain(key: &str) -> ChainId {
    key.parse().map_or_else(|_| chain_id::parse(key).unwrap(), ChainId)
}

fn heights(map: &BTreeMap<String, u64>) -> BTreeMap<ChainId, Height> {
    map.iter().map(|(key, height)| (chain(key), Height(*height))).collect()
}

pub(crate) fn run(file: Value) -> usize {
    let file: File = read(file);
    assert_eq!(file.constants.capacity, CACHE_BLOCKS);
    assert_eq!(file.constants.default_block_cache_entity_count, BATCH);
    let mut checks = 2;
    checks += file.scripts.iter().map(Script::run).sum::<usize>();
    file.concurrent.iter().for_each(Concurrent::run);
    file.registration.iter().for_each(Registration::run);
    checks + file.concurrent.len() + file.registration.len()
}

impl Script {
    fn run(&self) -> usize {
        let mut twins = Twins::new(ChainId(self.chain_id), Height(self.initial_target));
        let mut checks = 0;
        for op in &self.ops {
            checks += 1;
            match *op {
                Op::Add { height, chain_id, has_root, expect } => {
                    assert_eq!(twins.add(height, chain_id, has_root), expect, "add {height}");
                }
                Op::AddRange { from, to, chain_id, has_root, accepted_from } => {
                    for height in from..=to {
                        let expected = accepted_from != 0 && height >= accepted_from;
                        assert_eq!(twins.add(height, chain_id, has_root), expected, "add {height}");
                    }
                    checks += (to - from) as usize;
                }
                Op::Take { height, size_limited, expect } => {
                    let (height, cache) = (Height(height), &twins.cache);
                    let taken = if size_limited { cache.take_limited(height) } else { cache.take(height) };
                    assert_eq!(taken.is_some(), expect, "take {height}");
                    assert!(taken.is_none_or(|block| block.height() == height));
                }
                Op::Target { expect } => assert_eq!(number(twins.cache.target()), expect),
                Op::Clear { height } => twins.clear(height),
            }
        }
        checks
    }
}

impl Concurrent {
    fn run(&self) {
        let chain = ChainId(123);
        let cache = Mutex::new(Cache::default());
        assert!(cache.lock().unwrap().insert(chain, Height(self.initial_target)));
        thread::scope(|scope| {
            for height in &self.parallel_adds {
                scope.spawn(|| cache.lock().unwrap().add(block(chain.0, *height, true)));
            }
        });
        assert_eq!(number(cache.lock().unwrap().target(chain).unwrap()), self.target_after);
    }
}

impl Registration {
    fn run(&self) {
        let mut cache = Cache::default();
        let chain = match (self.register, &self.add_entity, &self.lib_heights) {
            (Some((chain, height)), None, None) => {
                cache.finish_initial_sync(&BTreeMap::new());
                assert!(cache.register(ChainId(chain), Height(height)));
                if let Some(update) = &self.update {
                    cache.update(&heights(update));
                }
                ChainId(chain)
            }
            (None, Some(entities), None) => {
                for (index, (chain, target)) in entities.iter().enumerate() {
                    let new = entities[..index].iter().all(|(before, _)| before != chain);
                    assert_eq!(cache.insert(ChainId(*chain), Height(*target)), new);
                }
                ChainId(entities[0].0)
            }
            (None, None, Some(at_lib)) => {
                assert_eq!(Some(cache.ignores_proposals()), self.validation_ignored_before);
                cache.update(&heights(at_lib));
                assert!(cache.is_empty(), "nothing happens before the end of the initial sync");
                cache.finish_initial_sync(&heights(at_lib));
                assert_eq!(Some(cache.ignores_proposals()), self.validation_ignored_after);
                chain(at_lib.keys().next().unwrap())
            }
            _ => panic!("unknown form of registration"),
        };
        assert_eq!(number(cache.target(chain).unwrap()), self.target);
        assert!(self.size.is_none_or(|size| cache.len() == size));
        if let Some(error) = &self.unknown_chain {
            assert_eq!(error, "InvalidOperationException");
            assert!(cache.target(ChainId(chain.0 + 1)).is_err());
        }
        assert!(!cache.add(block(chain.0 + 1, 1, true)), "an unknown chain takes nothing");
        assert!(cache.take(ChainId(chain.0 + 1), Height(1)).is_none());
    }
}
