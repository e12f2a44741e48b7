//! What one chain does wrong changes nothing for another but its share of the machine.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine::chain::{ChainId, Columns, Hash, Height, NodeKey, Timestamp};
use engine::clock::Clock;
use engine::sim::{SimConfig, SimSource};
use engine::source::{Source, SourceError};
use net::client::{Client, ClientConfig};
use net::identity::Identity;
use serde_json::Value;

use crate::support::node::{Chain, Data, Node};
use crate::support::{alone, http, wait_for};

const GOOD: ChainId = ChainId(100);
const BAD: ChainId = ChainId(200);
/// Blocks a second of the good chain.
const RATE: f64 = 200.0;
/// Blocks of the good chain that a phase lasts at least.
const PHASE: usize = 400;

struct TestClock(Instant);

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

fn simulated(chain: ChainId, seed: u64, blocks_per_second: f64) -> SimSource {
    let (chains, transactions) = (vec![chain], 1);
    let config = SimConfig { seed, chains, blocks_per_second, transactions, ..SimConfig::default() };
    SimSource::new(config, Arc::new(TestClock(Instant::now())))
}

/// When each block of a chain was there to be sent, oldest first.
type Times = Arc<Mutex<VecDeque<(u64, Instant)>>>;

/// The good chain, which remembers when it gave which height.
struct Watched {
    inner: SimSource,
    next: u64,
    times: Times,
}

impl Source for Watched {
    fn chains(&self) -> Vec<ChainId> {
        self.inner.chains()
    }
    fn resume(&mut self, chain: ChainId, next: Height, parent: Option<Hash>) -> Result<(), SourceError> {
        self.next = next.0;
        self.inner.resume(chain, next, parent)
    }
    fn read(&mut self, chain: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        let before = out.len();
        let parent = self.inner.read(chain, max, out)?;
        let now = Instant::now();
        let mut times = self.times.lock().unwrap();
        for _ in before..out.len() {
            times.push_back((self.next, now));
            self.next += 1;
        }
        Ok(parent)
    }
}

/// A chain that sends ten blocks, and then nothing.
struct Stalled(SimSource, u64);

impl Source for Stalled {
    fn chains(&self) -> Vec<ChainId> {
        self.0.chains()
    }
    fn resume(&mut self, chain: ChainId, next: Height, parent: Option<Hash>) -> Result<(), SourceError> {
        self.0.resume(chain, next, parent)
    }
    fn read(&mut self, chain: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        let (before, max) = (out.len(), max.min(self.1 as usize));
        let parent = self.0.read(chain, max, out)?;
        self.1 -= (out.len() - before) as u64;
        Ok(parent)
    }
}

/// A chain that tells another story whenever it is asked to go on.
struct Equivocating {
    story: u64,
    inner: SimSource,
}

impl Source for Equivocating {
    fn chains(&self) -> Vec<ChainId> {
        vec![BAD]
    }
    fn resume(&mut self, chain: ChainId, next: Height, _: Option<Hash>) -> Result<(), SourceError> {
        self.story += 1;
        self.inner = simulated(BAD, self.story, 0.0);
        self.inner.resume(chain, next, None)
    }
    fn read(&mut self, chain: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        self.inner.read(chain, max.min(8), out)
    }
}

/// Time from "there to be sent" to "acknowledged as durable", of every block of a phase.
struct Lags(Vec<Duration>);

impl Lags {
    /// Lasts until enough blocks were acknowledged and `done` says so. A chain that waited for another would wait for
    /// ever; how long it takes is the machine's matter, which other tests share.
    fn measure(what: &str, good: &Client, times: &Times, mut done: impl FnMut() -> bool) -> Self {
        let mut lags = Vec::new();
        wait_for(&format!("{what}: all that the phase lasts for"), || {
            let durable = good.status().chains[0].durable.0;
            let now = Instant::now();
            let mut times = times.lock().unwrap();
            while let Some((_, at)) = times.pop_front_if(|(height, _)| *height <= durable) {
                lags.push(now - at);
            }
            drop(times);
            (lags.len() >= PHASE && done()).then_some(())
        });
        lags.sort();
        let lags = Self(lags);
        println!("{what}: {} blocks, median {:?}, worst {:?}", lags.0.len(), lags.median(), lags.0.last());
        lags
    }

    fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }
}

struct World {
    node: Node,
    main_key: NodeKey,
    bad: Identity,
    _data: Data,
}

impl World {
    fn client(&self, identity: Identity, source: Box<dyn Source>) -> Client {
        let mut config = ClientConfig::new(self.node.ingest.clone(), self.main_key, identity);
        // A fault is repeated as fast as it goes.
        config.retry_min = Duration::from_millis(10);
        config.retry_max = Duration::from_millis(10);
        Client::start(config, source).unwrap()
    }

    /// The good chain goes on while the bad one does what `source` does, until that is `done`, as the bad chain shows.
    fn phase(
        &self,
        name: &str,
        good: &Client,
        times: &Times,
        source: Box<dyn Source>,
        done: impl Fn(&Value) -> bool,
    ) -> Value {
        let bad = self.client(self.bad.clone(), source);
        let shown = || http::get(&self.node.api, &format!("/v1/chains/{}", BAD.0));
        wait_for("the bad chain to be heard of", || (shown()["received"].as_u64() > Some(0)).then_some(()));
        Lags::measure(name, good, times, || done(&shown()));
        drop(bad);
        shown()
    }
}

#[test]
fn a_chain_that_stalls_equivocates_or_floods_does_not_hold_up_another() {
    let _alone = alone();
    let (good, bad) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    let chain = |id: ChainId, identity: &Identity| Chain {
        id: id.0,
        first_height: 1,
        keys: vec![identity.public().to_string()],
    };
    let data = Data::new(&[chain(GOOD, &good), chain(BAD, &bad)]);
    let node = Node::start(&data.path(), None, &[]);
    let main_key = node.key.parse().unwrap();
    let world = World { node, main_key, bad, _data: data };

    let times = Times::default();
    let source = Watched { inner: simulated(GOOD, 1, RATE), next: 1, times: Arc::clone(&times) };
    let good = world.client(good, Box::new(source));
    wait_for("the good chain to begin", || (good.status().chains[0].durable > Height(0)).then_some(()));
    Lags::measure("quiet", &good, &times, || true);

    let stalled = Stalled(simulated(BAD, 0, 0.0), 10);
    let all_it_has = |chain: &Value| chain["durable"] == 10;
    world.phase("stall", &good, &times, Box::new(stalled), all_it_has);
    let equivocating = Equivocating { story: 1, inner: simulated(BAD, 1, 0.0) };
    // The contradiction is kept and shown.
    let contradicted = |chain: &Value| chain["evidence"].is_string();
    let evidence = world.phase("equivocate", &good, &times, Box::new(equivocating), contradicted);

    // A flood continues the chain as it is; the node grants it no more than its lane, and shares blocks fairly.
    let at = evidence["durable"].as_u64().unwrap();
    let flood = Flood { next: at + 1, parent: Hash::ZERO };
    let flooded = |chain: &Value| chain["durable"].as_u64() > Some(at + 10_000);
    world.phase("flood", &good, &times, Box::new(flood), flooded);
}

/// Blocks that cost nothing to make, as many as are taken, on top of whatever is there.
struct Flood {
    next: u64,
    parent: Hash,
}

impl Source for Flood {
    fn chains(&self) -> Vec<ChainId> {
        vec![BAD]
    }
    fn resume(&mut self, _: ChainId, next: Height, parent: Option<Hash>) -> Result<(), SourceError> {
        self.next = next.0;
        self.parent = parent.unwrap_or(Hash::ZERO);
        Ok(())
    }
    fn read(&mut self, _: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        let parent = self.parent;
        for _ in 0..max {
            let mut hash = [0xf1; 32];
            hash[..8].copy_from_slice(&self.next.to_le_bytes());
            self.next += 1;
            self.parent = Hash(hash);
            out.push(Hash(hash), Hash::ZERO, Timestamp::from_millis(self.next));
        }
        Ok(parent)
    }
}
