//! A main chain without sealing: what is final in a lane is at once durable. And side chains to send to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::cache::Cache;
use engine::chain::{ChainId, Columns, Hash, Height, MainHeader, NodeKey, Timestamp};
use engine::clock::Clock;
use engine::lane::{Lane, LaneEnds};
use engine::pipeline::{Head, HeadSink};
use engine::quorum::FinalityRule;
use engine::source::{Source, SourceError};
use engine::state::SideChain;
use engine::store::memory::MemoryReader;
use engine::sync::{Doorbell, Waiter};
use mainstem_net::client::{Client, ClientConfig, Event, EventSink};
use mainstem_net::identity::Identity;
use mainstem_net::server::{NodeKeys, Parts, Server, ServerConfig, ServerHeads};

pub(crate) const MAIN: ChainId = ChainId(9_992_731);
pub(crate) const GENESIS: Hash = Hash([0x47; 32]);

/// Generous: the machine may be busy. Nothing waits so long when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn identity(seed: u8) -> Identity {
    Identity::from_seed([seed; 32])
}

pub(crate) fn server_identity() -> Identity {
    identity(0xee)
}

pub(crate) fn side(id: u32, nodes: &[&Identity]) -> SideChain {
    SideChain {
        id: ChainId(id),
        name: format!("chain {id}"),
        first_height: Height(1),
        nodes: nodes.iter().map(|node| node.public()).collect(),
        finality: FinalityRule::Single,
    }
}

/// The hash of a block; another `branch` is another chain from there on.
pub(crate) fn hash(chain: ChainId, height: u64, branch: u8) -> Hash {
    let mut bytes = [branch; 32];
    bytes[..4].copy_from_slice(&chain.to_le_bytes());
    bytes[8..16].copy_from_slice(&height.to_le_bytes());
    Hash(bytes)
}

pub(crate) fn parent_of(chain: ChainId, height: u64) -> Hash {
    if height == 1 { Hash::ZERO } else { hash(chain, height - 1, 0) }
}

pub(crate) fn blocks(chain: ChainId, first: u64, count: u64) -> Columns {
    let mut columns = Columns::default();
    for height in first..first + count {
        columns.push(
            hash(chain, height, 0),
            Hash([height as u8; 32]),
            Timestamp::from_millis(height * 1_000),
        );
    }
    columns
}

#[derive(Debug)]
struct SystemClock(Instant);

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What the log holds: survives a restart.
pub(crate) type Stored = Arc<Mutex<BTreeMap<ChainId, Vec<Hash>>>>;

/// A main chain that can be stopped and started again on the same log.
pub(crate) struct Main {
    pub(crate) server: Server,
    pub(crate) keys: Arc<NodeKeys>,
    pub(crate) cache: Cache,
    pub(crate) stored: Stored,
    /// Chains of which nothing is made durable for now.
    pub(crate) held: Arc<Mutex<BTreeSet<ChainId>>>,
    doorbell: Doorbell,
    stop: Arc<AtomicBool>,
    persist: Option<JoinHandle<()>>,
}

impl Main {
    pub(crate) fn start(sides: &[SideChain], capacity: usize) -> Self {
        Self::start_with(sides, capacity, Stored::default(), |_| ())
    }

    pub(crate) fn start_with(
        sides: &[SideChain],
        capacity: usize,
        stored: Stored,
        set: impl FnOnce(&mut ServerConfig),
    ) -> Self {
        let (doorbell, waiter) = Doorbell::new();
        let cache = Cache::default();
        let mut ends = Vec::new();
        for side in sides {
            let mut stored = stored.lock().unwrap();
            let have = stored.entry(side.id).or_default();
            let start = Height(have.len() as u64);
            let (lane, end) = Lane::new(side, start, have.last().copied(), capacity, doorbell.clone());
            cache.insert(lane);
            ends.push(end);
        }
        let mut config = ServerConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), server_identity());
        set(&mut config);
        let keys = NodeKeys::new(sides);
        let parts = Parts {
            cache: cache.clone(),
            clock: Arc::new(SystemClock(Instant::now())),
            main_chain: MAIN,
            genesis_hash: GENESIS,
            keys: Arc::clone(&keys),
            head: None,
            blocks: Arc::new(MemoryReader::default()),
        };
        let server = Server::start(config, parts).unwrap();
        let (stop, held) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let persist = Persist {
            ends,
            waiter,
            stored: Arc::clone(&stored),
            held: Arc::clone(&held),
            stop: Arc::clone(&stop),
            heads: server.head_sink(),
            height: 0,
        };
        let persist = Some(std::thread::spawn(move || persist.run()));
        Self { server, keys, cache, stored, held, doorbell, stop, persist }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    pub(crate) fn client(&self, identity: &Identity) -> ClientConfig {
        client_config(self.addr(), identity)
    }

    pub(crate) fn durable(&self, chain: ChainId) -> u64 {
        self.stored.lock().unwrap()[&chain].len() as u64
    }

    /// Whether exactly the blocks `1..=count` of branch 0 are stored.
    pub(crate) fn assert_holds(&self, chain: ChainId, count: u64) {
        let stored = self.stored.lock().unwrap();
        let have = &stored[&chain];
        assert_eq!(have.len() as u64, count, "chain {chain}");
        for (have, height) in have.iter().zip(1..) {
            assert_eq!(*have, hash(chain, height, 0), "chain {chain}, height {height}");
        }
    }

    pub(crate) fn hold(&self, chain: ChainId) {
        self.held.lock().unwrap().insert(chain);
    }

    pub(crate) fn let_go(&self, chain: ChainId) {
        self.held.lock().unwrap().remove(&chain);
        self.doorbell.ring();
    }

    pub(crate) fn end_persisting(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.doorbell.ring();
        if let Some(persist) = self.persist.take() {
            persist.join().unwrap();
        }
    }

    pub(crate) fn shutdown(mut self) {
        self.end_persisting();
        self.server.shutdown(Duration::from_secs(5));
    }
}

struct Persist {
    ends: Vec<LaneEnds>,
    waiter: Waiter,
    stored: Stored,
    held: Arc<Mutex<BTreeSet<ChainId>>>,
    stop: Arc<AtomicBool>,
    heads: ServerHeads,
    height: u64,
}

impl Persist {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            self.waiter.wait(Duration::from_millis(100));
            let held = self.held.lock().unwrap().clone();
            let mut leaves = 0;
            for LaneEnds { outlet, drain } in &mut self.ends {
                let count = outlet.available();
                if count == 0 || held.contains(&outlet.chain()) {
                    continue;
                }
                let mut stored = self.stored.lock().unwrap();
                let have = stored.get_mut(&outlet.chain()).unwrap();
                outlet.take(count, |slot| have.push(slot.hash));
                drain.release(Height(have.len() as u64), Duration::ZERO, |_, _| ());
                leaves += count;
            }
            if leaves > 0 {
                self.height += 1;
                self.heads.publish(&head(self.height, leaves));
            }
        }
    }
}

fn head(height: u64, leaf_count: u64) -> Head {
    let header = MainHeader {
        version: MainHeader::VERSION,
        chain_id: MAIN,
        height: Height(height),
        time: Timestamp::from_millis(height),
        parent: Hash::ZERO,
        side_root: Hash::ZERO,
        chain_count: 1,
        leaf_count,
        ops_root: Hash::ZERO,
        state_root: Hash::ZERO,
        history_root: Hash::ZERO,
        aelf_root: Hash::ZERO,
    };
    Head { header, hash: header.hash() }
}

/// Side chains, as their nodes have them.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Mutex<BTreeMap<ChainId, Side>>>);

#[derive(Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault that a test can set by itself")]
pub(crate) struct Side {
    /// How many irreversible blocks there are.
    pub(crate) made: u64,
    /// From this height on the node tells of another branch, without having noticed when it is asked to resume.
    pub(crate) lies_from: Option<u64>,
    /// From this height on the node is on another branch: it reads no further, and says so when it is asked to resume.
    pub(crate) forked_at: Option<u64>,
    /// The node does not answer.
    pub(crate) down: bool,
    /// The node answers where it stands, and gives no blocks.
    pub(crate) unreadable: bool,
    /// The program that reads the node has a fault.
    pub(crate) panics: bool,
    /// The node gives more than it was asked for.
    pub(crate) floods: bool,
    /// Every height that it was asked to resume at.
    pub(crate) resumed: Vec<u64>,
    read: u64,
}

impl World {
    pub(crate) fn new(chains: &[u32], made: u64) -> Self {
        let sides = chains.iter().map(|id| (ChainId(*id), Side { made, ..Side::default() })).collect();
        Self(Arc::new(Mutex::new(sides)))
    }

    pub(crate) fn change(&self, chain: u32, change: impl FnOnce(&mut Side)) {
        change(self.0.lock().unwrap().get_mut(&ChainId(chain)).unwrap());
    }

    pub(crate) fn side(&self, chain: u32) -> Side {
        self.0.lock().unwrap()[&ChainId(chain)].clone()
    }

    /// A node of the world's chains: the same chains, read on its own.
    pub(crate) fn node(&self) -> Box<dyn Source> {
        Box::new(Node(self.clone()))
    }
}

struct Node(World);

impl Source for Node {
    fn chains(&self) -> Vec<ChainId> {
        self.0.0.lock().unwrap().keys().copied().collect()
    }

    fn resume(&mut self, chain: ChainId, next: Height, parent: Option<Hash>) -> Result<(), SourceError> {
        let mut sides = self.0.0.lock().unwrap();
        let side = sides.get_mut(&chain).unwrap();
        if side.down {
            return Err(SourceError::Later("the node is down".into()));
        }
        let height = next.previous();
        if let Some(at) = side.forked_at
            && at <= height.0
            && let Some(theirs) = parent
        {
            return Err(SourceError::Fork { chain, height, ours: hash(chain, height.0, 1), theirs });
        }
        assert_eq!(parent, (next.0 > 1).then(|| hash(chain, next.0 - 1, 0)), "of chain {chain}");
        side.resumed.push(next.0);
        side.read = height.0;
        Ok(())
    }

    fn read(&mut self, chain: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        let mut sides = self.0.0.lock().unwrap();
        let side = sides.get_mut(&chain).unwrap();
        if side.down || side.unreadable || side.forked_at.is_some() {
            return Err(SourceError::Later("the node is down".into()));
        }
        assert!(!side.panics, "as the test wants it");
        let branch = |height| u8::from(side.lies_from.is_some_and(|from| height >= from)) * 2;
        let first = side.read + 1;
        let most = if side.floods { max as u64 + 1 } else { max as u64 };
        let last = side.made.min(side.read + most);
        for height in first..=last {
            out.push(
                hash(chain, height, branch(height)),
                Hash([height as u8; 32]),
                Timestamp::from_millis(height * 1_000),
            );
        }
        let parent = if first == 1 { Hash::ZERO } else { hash(chain, first - 1, branch(first)) };
        side.read = last;
        Ok(parent)
    }
}

pub(crate) fn client_config(server: SocketAddr, identity: &Identity) -> ClientConfig {
    let mut config = ClientConfig::new(server.to_string(), server_identity().public(), identity.clone());
    config.software = "test".into();
    config.retry_max = Duration::from_millis(400);
    config
}

/// What a client told.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<Event>>>);

impl Told {
    pub(crate) fn listen(&self, config: &mut ClientConfig) {
        let events = Arc::clone(&self.0);
        config.on_event = Some(EventSink::new(move |event| events.lock().unwrap().push(event)));
    }

    pub(crate) fn wait_for<T>(&self, what: &str, mut find: impl FnMut(&Event) -> Option<T>) -> T {
        let mut found = None;
        wait_until(&format!("the client tells of {what}"), || {
            found = self.0.lock().unwrap().iter().find_map(&mut find);
            found.is_some()
        });
        found.unwrap()
    }

    pub(crate) fn count(&self, find: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| find(event)).count()
    }

    pub(crate) fn any(&self, find: impl Fn(&Event) -> bool) -> bool {
        self.0.lock().unwrap().iter().any(find)
    }
}

pub(crate) fn start(mut config: ClientConfig, world: &World) -> (Client, Told) {
    let told = Told::default();
    told.listen(&mut config);
    (Client::start(config, world.node()).unwrap(), told)
}

pub(crate) fn wait_durable(main: &Main, chain: u32, height: u64) {
    wait_until(&format!("chain {chain} is durable up to {height}"), || {
        main.durable(ChainId(chain)) >= height
    });
}

pub(crate) fn key(seed: u8) -> NodeKey {
    identity(seed).public()
}
