//! A client that follows the main chain's blocks: from a real main chain, from one that lies, and from one that moves.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use engine::chain::{ChainId, Hash, Height, MainHeader, NodeKey, Timestamp};
use engine::clock::Clock;
use engine::lane::Position;
use engine::merkle::{leaf, tree};
use engine::pipeline::{Engine, PipelineConfig, Running};
use engine::proof::ChainProof;
use engine::quorum::FinalityRule;
use engine::sim::{SimConfig, SimSource};
use engine::state::{Genesis, MainChain, SideChain};
use engine::store::BlockReader as _;
use engine::store::memory::{MemoryReader, MemoryStore};
use mainstem_net::client::{
    Client, ClientConfig, ConnectionState, Contradiction, Event, EventSink, FollowedBlock, Lookup, MainSink,
};
use mainstem_net::control::{
    BlockStart, ClientMessage, Entry, EntryState, MainMessage, Message, ServerMessage, Tip, Welcome, receive,
};
use mainstem_net::endpoint::{self, Bind, Limits};
use mainstem_net::identity::Identity;
use mainstem_net::reactor::Reactor;
use mainstem_net::server::{NodeKeys, Parts, Server, ServerConfig};
use quinn::{Connection, Endpoint, RecvStream, SendStream};

/// Generous: the machine may be busy. It is below every idle timeout.
const PATIENCE: Duration = Duration::from_secs(40);

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn node() -> Identity {
    Identity::from_seed([1; 32])
}

fn main_identity() -> Identity {
    Identity::from_seed([0xee; 32])
}

/// Keeps blocks in memory.
#[derive(Debug, Default)]
struct Memory {
    from: Option<Height>,
    kept: Mutex<Kept>,
    /// While it is closed, nothing is taken.
    gate: Gate,
}

#[derive(Debug, Default)]
struct Kept {
    /// Taken and not settled.
    taken: Vec<FollowedBlock>,
    settled: Vec<FollowedBlock>,
    contradictions: Vec<Contradiction>,
    /// What is to be said instead of taking the block of this height, once.
    fail_at: Option<Height>,
    met: Vec<(ChainId, Hash)>,
    stranger: bool,
}

#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.opened.notify_all();
    }
}

impl Memory {
    fn new(from: u64) -> Arc<Self> {
        Arc::new(Self { from: Some(Height(from)), ..Self::default() })
    }

    fn settled(&self) -> Vec<FollowedBlock> {
        self.kept.lock().unwrap().settled.clone()
    }

    fn newest_height(&self) -> u64 {
        self.kept.lock().unwrap().settled.last().map_or(0, |block| block.header.height.0)
    }

    fn contradictions(&self) -> Vec<Contradiction> {
        self.kept.lock().unwrap().contradictions.clone()
    }
}

impl MainSink for Memory {
    fn meet(&self, main_chain: ChainId, genesis_hash: Hash) -> Result<(), String> {
        let mut kept = self.kept.lock().unwrap();
        kept.met.push((main_chain, genesis_hash));
        if kept.stranger { Err("what is kept is of another main chain".into()) } else { Ok(()) }
    }

    fn next(&self) -> Option<Height> {
        self.kept.lock().unwrap().settled.last().map(|block| block.header.height.next()).or(self.from)
    }

    fn take(&self, block: FollowedBlock) -> Result<(), String> {
        let closed = self.gate.closed.lock().unwrap();
        drop(self.gate.opened.wait_while(closed, |closed| *closed).unwrap());
        let mut kept = self.kept.lock().unwrap();
        if kept.fail_at.take_if(|height| *height == block.header.height).is_some() {
            kept.taken.clear();
            return Err("no space left".into());
        }
        kept.taken.push(block);
        Ok(())
    }

    fn settle(&self) -> Result<(), String> {
        let kept = &mut *self.kept.lock().unwrap();
        kept.settled.append(&mut kept.taken);
        Ok(())
    }

    fn contradicted(&self, contradiction: &Contradiction) {
        self.kept.lock().unwrap().contradictions.push(contradiction.clone());
    }
}

#[derive(Debug)]
struct SystemClock(Instant);

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + self.0.elapsed().as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock(Instant::now()))
}

/// A main chain with the side chains 1 to 3, in memory.
struct Main {
    genesis: Genesis,
    reader: MemoryReader,
    running: Option<(Running, Server)>,
    /// Whether it listens where it did before.
    addr: SocketAddr,
}

impl Main {
    fn new() -> Self {
        let side = |id| SideChain {
            id: ChainId(id),
            name: id.to_string(),
            first_height: Height(1),
            nodes: vec![node().public()],
            finality: FinalityRule::Single,
        };
        let main = MainChain { id: ChainId(100), name: "main".into(), aelf_root: false };
        let document = Genesis::document(&main, &(1..=3).map(side).collect::<Vec<_>>());
        let genesis = Genesis::parse(&document).unwrap();
        let reader = MemoryStore::default().reader();
        let mut new = Self { genesis, reader, running: None, addr: ([127, 0, 0, 1], 0).into() };
        new.start();
        new
    }

    fn start(&mut self) {
        let config = PipelineConfig {
            seal_interval: Duration::from_millis(5),
            max_per_chain: 7,
            catch_up: false,
            ..PipelineConfig::default()
        };
        let store = MemoryStore::reopen(&self.reader);
        let engine = Engine::resume(config, &self.genesis, store, &self.reader, clock()).unwrap();
        let parts = Parts {
            cache: engine.cache(),
            clock: clock(),
            main_chain: self.genesis.main.id,
            genesis_hash: self.genesis.hash,
            keys: NodeKeys::new(&self.genesis.chains),
            head: engine.head(),
            blocks: Arc::new(self.reader.clone()),
        };
        let server = Server::start(ServerConfig::new(self.addr, main_identity()), parts).unwrap();
        self.addr = server.local_addr();
        let running = engine.start(vec![Box::new(server.head_sink())]);
        self.running = Some((running, server));
    }

    fn stop(&mut self) {
        if let Some((running, server)) = self.running.take() {
            running.stop().unwrap();
            server.shutdown(Duration::from_secs(5));
        }
    }

    fn client(&self, sink: &Arc<Memory>, chains: &[u32]) -> Client {
        let mut config = config(self.addr);
        config.follow = Some(Arc::clone(sink) as Arc<dyn MainSink>);
        let sim = SimConfig {
            chains: chains.iter().copied().map(ChainId).collect(),
            blocks_per_second: 500.0,
            ..SimConfig::default()
        };
        Client::start(config, Box::new(SimSource::new(sim, clock()))).unwrap()
    }

    /// That these are the main chain's own blocks, one after the other, with what they have of `chains`.
    fn assert_same(&self, blocks: &[FollowedBlock], first: u64, chains: &[u32]) {
        for (block, height) in blocks.iter().zip(first..) {
            let ours = self.reader.block(Height(height)).unwrap().unwrap();
            let of = |chain: &u32| ChainProof::of(&ours, ChainId(*chain)).unwrap();
            let expected: Vec<ChainProof> = chains.iter().filter_map(of).collect();
            assert_eq!(
                block,
                &FollowedBlock { header: header_of(&ours), chains: expected },
                "main block {height}"
            );
        }
    }
}

fn header_of(block: &impl engine::chain::BlockView) -> MainHeader {
    block.header()
}

impl Drop for Main {
    fn drop(&mut self) {
        self.stop();
    }
}

fn config(server: SocketAddr) -> ClientConfig {
    let mut config = ClientConfig::new(server.to_string(), main_identity().public(), node());
    config.retry_max = Duration::from_millis(400);
    config
}

#[test]
fn every_main_block_comes_with_what_it_has_of_the_nodes_chains_also_over_a_restart_of_both() {
    let mut main = Main::new();
    let sink = Memory::new(1);
    let client = main.client(&sink, &[1, 3]);
    wait_until("some blocks are followed", || sink.newest_height() >= 20);
    main.stop();
    main.start();
    let before = sink.newest_height();
    wait_until("more blocks are followed", || sink.newest_height() >= before + 20);
    let status = client.stop(None);
    assert!(status.connections >= 2);
    let follow = status.follow.unwrap();
    assert!(follow.blocks > 0 && follow.contradiction.is_none() && follow.pruned.is_none(), "{follow:?}");

    let before = sink.newest_height();
    let client = main.client(&sink, &[1, 3]);
    wait_until("it goes on where it was", || sink.newest_height() >= before + 20);
    drop(client);
    let settled = sink.settled();
    main.assert_same(&settled, 1, &[1, 3]);
    assert_eq!(sink.newest_height(), settled.len() as u64, "none missing, none twice");
    assert!(settled.iter().all(|block| block.chains.iter().all(|proof| proof.verify(&block.header).is_ok())));
    let met = &sink.kept.lock().unwrap().met;
    assert!(met.iter().all(|met| *met == (ChainId(100), main.genesis.hash)));
}

#[test]
fn what_the_main_chain_has_pruned_is_told() {
    let mut main = Main::new();
    let sink = Memory::new(1);
    let client = main.client(&sink, &[1]);
    wait_until("there are blocks", || sink.newest_height() >= 20);
    drop(client);
    main.stop();
    MemoryStore::reopen(&main.reader).prune(Height(15)).unwrap();
    main.start();

    let late = Memory::new(3);
    let client = main.client(&late, &[1]);
    wait_until("blocks come", || late.newest_height() >= 20);
    assert_eq!(client.status().follow.unwrap().pruned, Some((Height(3), Height(14))));
    main.assert_same(&late.settled(), 15, &[1]);
}

#[test]
fn a_sink_that_fails_is_given_the_blocks_again_on_the_same_connection() {
    let main = Main::new();
    let sink = Memory::new(1);
    sink.kept.lock().unwrap().fail_at = Some(Height(5));
    let client = main.client(&sink, &[1, 2, 3]);
    wait_until("blocks come again", || sink.newest_height() >= 12);
    let status = client.status();
    assert_eq!(status.connections, 1);
    main.assert_same(&sink.settled(), 1, &[1, 2, 3]);
    wait_until("all is well again", || client.status().follow.unwrap().error.is_none());
}

#[test]
fn a_sink_of_another_main_chain_ends_the_connection_and_says_why() {
    let main = Main::new();
    let sink = Memory::new(1);
    sink.kept.lock().unwrap().stranger = true;
    let client = main.client(&sink, &[1]);
    wait_until("it is told", || {
        matches!(client.status().connection, ConnectionState::Waiting { reason }
            if reason.lasting && reason.text.contains("another main chain"))
    });
}

/// Blocks made by hand, 1 to `count`, with one block of each of `chains` in each.
fn handmade(count: u64, chains: u32) -> Vec<(MainHeader, Vec<ChainProof>)> {
    let mut blocks: Vec<(MainHeader, Vec<ChainProof>)> = Vec::new();
    for height in 1..=count {
        let parent =
            blocks.last().map_or(MainHeader::genesis_parent(MAIN, GENESIS), |(header, _)| header.hash());
        let proof = |chain| ChainProof {
            chain_id: ChainId(chain),
            first_height: Height(height),
            count: 1,
            chain_root: Hash([chain as u8; 32]),
            index: chain - 1,
            side_path: Vec::new(),
        };
        let mut proofs: Vec<ChainProof> = (1..=chains).map(proof).collect();
        let leaf = |proof: &ChainProof| leaf::chain(proof.chain_id, proof.first_height, 1, proof.chain_root);
        let leaves: Vec<Hash> = proofs.iter().map(leaf).collect();
        let mut stored = vec![Hash::ZERO; tree::stored_nodes(leaves.len())];
        let side_root = tree::root(&mut leaves.clone(), &mut stored);
        for (index, proof) in proofs.iter_mut().enumerate() {
            let path = tree::path(index, leaves.len(), &stored, |leaf| leaves[leaf]);
            proof.side_path = path.into_iter().map(|step| step.hash).collect();
        }
        let header = MainHeader {
            version: MainHeader::VERSION,
            chain_id: MAIN,
            height: Height(height),
            time: Timestamp::from_millis(height),
            parent,
            side_root,
            chain_count: chains,
            leaf_count: chains.into(),
            ops_root: Hash::ZERO,
            state_root: Hash::ZERO,
            history_root: Hash::ZERO,
            aelf_root: Hash::ZERO,
        };
        blocks.push((header, proofs));
    }
    blocks
}

const MAIN: ChainId = ChainId(100);
const GENESIS: Hash = Hash([0x47; 32]);

/// A main chain made by hand, which does what ours never should.
struct Fake {
    reactor: Reactor,
    endpoint: Endpoint,
}

/// One connection of it, greeted.
struct Peer {
    connection: Connection,
    send: SendStream,
    control: RecvStream,
}

impl Fake {
    fn new() -> Self {
        let reactor = Reactor::spawn_thread("fake").unwrap();
        let keys = Arc::new(|_: &NodeKey| true);
        let quic = endpoint::server_config(&main_identity(), keys, &Limits::default()).unwrap();
        let bind = Bind::new(([127, 0, 0, 1], 0).into());
        let endpoint = endpoint::open(&reactor.handle(), &bind, &main_identity(), Some(quic)).unwrap();
        Self { reactor, endpoint }
    }

    fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    fn run<T: Send + 'static>(&self, serve: impl Future<Output = T> + Send + 'static) -> T {
        let handle = self.reactor.handle();
        let done = async move { handle.timeout(PATIENCE, serve).await };
        self.reactor.handle().block_on(done).expect("its assertions hold").expect("in time")
    }

    fn client(&self, sink: Option<&Arc<Memory>>, chains: u32, set: impl FnOnce(&mut ClientConfig)) -> Client {
        let mut config = config(self.addr());
        config.follow = sink.map(|sink| Arc::clone(sink) as Arc<dyn MainSink>);
        set(&mut config);
        let sim = SimConfig {
            chains: (1..=chains).map(ChainId).collect(),
            blocks_per_second: 50.0,
            ..SimConfig::default()
        };
        Client::start(config, Box::new(SimSource::new(sim, clock()))).unwrap()
    }
}

const NOWHERE: Position = Position { durable: Height(0), received: Height(0), hash: None, limit: Height(0) };

/// Welcomes the next client.
async fn greet(endpoint: &Endpoint, state: fn(ChainId) -> EntryState) -> Peer {
    let connection = endpoint.accept().await.unwrap().await.unwrap();
    let (mut send, mut control) = connection.accept_bi().await.unwrap();
    let hello = receive(&mut control, &mut Vec::new()).await.unwrap().unwrap();
    let ClientMessage::Hello(hello) = hello else { panic!("{hello:?}") };
    let chains = hello.chains.iter().map(|chain| Entry { chain: *chain, state: state(*chain) }).collect();
    let welcome = Welcome { main_chain: MAIN, genesis_hash: GENESIS, head: None, chains };
    say(&mut send, &ServerMessage::Welcome(welcome)).await;
    Peer { connection, send, control }
}

async fn say(stream: &mut SendStream, message: &impl Message) {
    let mut out = Vec::new();
    message.encode(&mut out);
    stream.write_all(&out).await.unwrap();
}

impl Peer {
    /// The next message that is wanted; others are passed over.
    async fn hear<T>(&mut self, find: impl Fn(ClientMessage) -> Option<T>) -> T {
        loop {
            let message = receive(&mut self.control, &mut Vec::new()).await.unwrap().unwrap();
            if let Some(found) = find(message) {
                return found;
            }
        }
    }

    async fn follow(&mut self) -> Height {
        self.hear(|message| match message {
            ClientMessage::Follow(from) => Some(from),
            _ => None,
        })
        .await
    }
}

fn encoded(header: &MainHeader, proofs: &[ChainProof]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = BlockStart { header: *header, chains: proofs.len() as u32 };
    MainMessage::Block(Box::new(start)).encode(&mut out);
    for some in proofs.chunks(512) {
        MainMessage::Indexed(some.to_vec()).encode(&mut out);
    }
    out
}

#[test]
fn a_main_chain_that_contradicts_itself_is_left_with_the_field_and_the_evidence() {
    let fake = Fake::new();
    let sink = Memory::new(1);
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let told = Arc::clone(&events);
    let client = fake.client(Some(&sink), 2, |config| {
        config.on_event = Some(EventSink::new(move |event| told.lock().unwrap().push(event)));
    });
    let endpoint = fake.endpoint.clone();
    let close = fake.run(async move {
        let mut peer = greet(&endpoint, |_| EntryState::Standby(NOWHERE)).await;
        assert_eq!(peer.follow().await, Height(1));
        let mut stream = peer.connection.open_uni().await.unwrap();
        let mut blocks = handmade(3, 2);
        blocks[2].1[1].side_path[0].0[0] ^= 1;
        for (header, proofs) in &blocks {
            stream.write_all(&encoded(header, proofs)).await.unwrap();
        }
        peer.connection.closed().await
    });
    assert!(matches!(close, quinn::ConnectionError::ApplicationClosed(_)), "{close}");
    wait_until("it is told", || {
        events.lock().unwrap().iter().any(|event| {
            matches!(event, Event::Disconnected { reason, .. } if reason.lasting && reason.contradiction.is_some()
                && reason.text.contains("main block 3: indexed: chain 2: side_path"))
        })
    });
    let [found] = &sink.contradictions()[..] else { panic!("one contradiction") };
    assert_eq!((found.field, found.header.height), ("indexed", Height(3)));
    assert_eq!(found.before, Some(handmade(2, 2)[1].0));
    assert_eq!(found.proof.as_ref().unwrap().chain_id, ChainId(2));
    assert_eq!(sink.newest_height(), 2, "what came before it is kept");
    assert_eq!(client.status().follow.unwrap().contradiction.as_deref(), Some(found));
}

#[test]
fn bytes_that_are_no_blocks_end_the_connection() {
    let first = handmade(1, 2).remove(0);
    let mut extra = encoded(&first.0, &first.1[..1]);
    // Two chains where one was announced.
    MainMessage::Indexed(first.1.clone()).encode(&mut extra);
    let mut surplus = Vec::new();
    let start = BlockStart { header: first.0, chains: 1 };
    MainMessage::Block(Box::new(start)).encode(&mut surplus);
    MainMessage::Indexed(first.1.clone()).encode(&mut surplus);
    let mut stray = Vec::new();
    MainMessage::Indexed(first.1.clone()).encode(&mut stray);
    let mut cut = Vec::new();
    MainMessage::Block(Box::new(BlockStart { header: first.0, chains: 2 })).encode(&mut cut);
    cut.extend(encoded(&first.0, &[]));
    let wide = MainHeader { chain_count: 3, ..first.0 };
    let mut many = Vec::new();
    MainMessage::Block(Box::new(BlockStart { header: wide, chains: 3 })).encode(&mut many);
    for (bytes, says) in [
        (extra, "chains without a block"),
        (surplus, "more chains than it said"),
        (stray, "chains without a block"),
        (cut, "fewer chains than it said"),
        (many, "chains is 3; expected at most 2"),
        (vec![0x93, 0, 0, 0, 0], "message type is 0x93"),
    ] {
        let fake = Fake::new();
        let sink = Memory::new(1);
        let client = fake.client(Some(&sink), 2, |_| ());
        let endpoint = fake.endpoint.clone();
        fake.run(async move {
            let mut peer = greet(&endpoint, |_| EntryState::Standby(NOWHERE)).await;
            peer.follow().await;
            let mut stream = peer.connection.open_uni().await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            peer.connection.closed().await;
        });
        wait_until(says, || {
            matches!(client.status().connection, ConnectionState::Waiting { reason }
                if reason.lasting && reason.text.contains("stream of main blocks") && reason.text.contains(says))
        });
    }
}

#[test]
fn a_stream_that_the_main_chain_ends_is_asked_for_anew() {
    let fake = Fake::new();
    let sink = Memory::new(1);
    let client = fake.client(Some(&sink), 2, |_| ());
    let (endpoint, reader) = (fake.endpoint.clone(), Arc::clone(&sink));
    let handle = fake.reactor.handle();
    let peer = fake.run(async move {
        let mut peer = greet(&endpoint, |_| EntryState::Standby(NOWHERE)).await;
        for (turn, (header, proofs)) in handmade(3, 2).iter().enumerate() {
            assert_eq!(peer.follow().await, header.height);
            let mut stream = peer.connection.open_uni().await.unwrap();
            stream.write_all(&encoded(header, proofs)).await.unwrap();
            while reader.newest_height() < header.height.0 {
                handle.sleep(Duration::from_millis(2)).await;
            }
            // Either way of ending one.
            if turn == 0 { stream.finish().unwrap() } else { stream.reset(0_u32.into()).unwrap() }
        }
        peer
    });
    assert_eq!(client.status().connections, 1);
    assert!(peer.connection.close_reason().is_none());
}

#[test]
fn a_slow_sink_stops_the_stream_and_memory_stays_bounded() {
    const CHAINS: u32 = 200;
    const BLOCKS: u64 = 400;
    // What may be on its way: the room of the follower, and the windows of QUIC.
    let blocks = handmade(BLOCKS, CHAINS);
    let bytes = encoded(&blocks[0].0, &blocks[0].1).len();
    let windows = 64 << 10;
    let most = 16_385 / u64::from(CHAINS) + (2 * windows / bytes) as u64 + 8;
    assert!(most < BLOCKS / 2, "{most}: the test would show nothing");

    let fake = Fake::new();
    let sink = Memory::new(1);
    sink.gate.set(true);
    let client = fake.client(Some(&sink), CHAINS, |config| {
        config.transport.stream_window_bytes = windows as u32;
        config.transport.connection_window_bytes = 2 * windows as u32;
    });
    let endpoint = fake.endpoint.clone();
    let written = Arc::new(AtomicU64::new(0));
    let (count, gate) = (Arc::clone(&written), Arc::clone(&sink));
    let handle = fake.reactor.handle();
    let _peer = fake.run(async move {
        let mut peer = greet(&endpoint, |_| EntryState::Standby(NOWHERE)).await;
        peer.follow().await;
        let mut stream = peer.connection.open_uni().await.unwrap();
        let write = {
            let count = Arc::clone(&count);
            handle.spawn(async move {
                for (header, proofs) in &blocks {
                    stream.write_all(&encoded(header, proofs)).await.unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                }
                stream
            })
        };
        // The follower's room is full: the rest has to wait, however long.
        while count.load(Ordering::Relaxed) < 16_385 / u64::from(CHAINS + 1) {
            handle.sleep(Duration::from_millis(2)).await;
        }
        handle.sleep(Duration::from_millis(300)).await;
        let before = count.load(Ordering::Relaxed);
        assert!(before <= most, "{before} blocks were taken by nobody");
        gate.gate.set(false);
        (peer, write.await.unwrap())
    });
    wait_until("all have come", || sink.newest_height() == BLOCKS);
    assert_eq!(client.status().connections, 1);
}

#[test]
fn a_client_says_how_far_it_is_and_changes_places_whenever_it_is_told() {
    let fake = Fake::new();
    // Chain 1 speaks, chain 2 stands by at height 70.
    let client = fake.client(None, 2, |_| ());
    let endpoint = fake.endpoint.clone();
    // Both are kept: without the connection nobody has a place.
    let (first, _peer, _data) = fake.run(async move {
        let mut peer = greet(&endpoint, |chain| {
            let limit = Height::MAX;
            if chain == ChainId(1) {
                EntryState::Speaker(Position { limit, ..NOWHERE })
            } else {
                EntryState::Standby(Position {
                    received: Height(70),
                    hash: Some(sim_hash(2, 70)),
                    limit,
                    ..NOWHERE
                })
            }
        })
        .await;
        let mut tips: BTreeMap<ChainId, Vec<u64>> = BTreeMap::new();
        while tips.get(&ChainId(1)).is_none_or(|told| told.len() < 2) || !tips.contains_key(&ChainId(2)) {
            let told: Vec<Tip> = peer
                .hear(|message| match message {
                    ClientMessage::Tips(tips) => Some(tips),
                    _ => None,
                })
                .await;
            for tip in told {
                tips.entry(tip.chain).or_default().push(tip.height.0);
            }
        }
        assert!(tips[&ChainId(1)].is_sorted_by(|before, after| before < after), "{tips:?}");
        assert!(tips[&ChainId(2)].iter().all(|tip| *tip >= 70), "{tips:?}");
        let mut data = peer.connection.accept_uni().await.unwrap();

        // Now the other way round.
        let limit = Height::MAX;
        let received = Height(80);
        let state = EntryState::Standby(Position { received, hash: Some(sim_hash(1, 80)), limit, ..NOWHERE });
        say(&mut peer.send, &ServerMessage::Position(Entry { chain: ChainId(1), state })).await;
        let received = Height(75);
        let state = EntryState::Speaker(Position { received, hash: Some(sim_hash(2, 75)), limit, ..NOWHERE });
        say(&mut peer.send, &ServerMessage::Position(Entry { chain: ChainId(2), state })).await;
        (first_of(&mut data, ChainId(2)).await, peer, data)
    });
    assert_eq!(first, Height(76), "right after what was received");
    wait_until("both know their places", || {
        use mainstem_net::client::ChainState;
        let states: Vec<_> = client.status().chains.iter().map(|chain| chain.state).collect();
        states == [ChainState::Standby, ChainState::Speaking]
    });
    assert!(client.status().chains.iter().all(|chain| chain.tip.is_some()));
}

/// The first height of `chain` that comes on a data stream.
async fn first_of(data: &mut RecvStream, chain: ChainId) -> Height {
    loop {
        let mut header = [0; 16];
        data.read_exact(&mut header).await.unwrap();
        let length = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        let sections = u16::from_le_bytes(header[4..6].try_into().unwrap());
        let mut body = vec![0; length];
        data.read_exact(&mut body).await.unwrap();
        let mut rest = &body[..];
        for _ in 0..sections {
            let id = u32::from_le_bytes(rest[..4].try_into().unwrap());
            let count = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
            let first = u64::from_le_bytes(rest[8..16].try_into().unwrap());
            if ChainId(id) == chain {
                return Height(first);
            }
            rest = &rest[48 + 72 * count..];
        }
    }
}

fn sim_hash(chain: u32, height: u64) -> Hash {
    engine::sim::SimChain::new(ChainId(chain), Arc::new(SimConfig::default())).seek(Height(height))
}

/// Carries datagrams between one client and a server, until it is cut.
struct Wire {
    addr: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl Wire {
    fn to(server: SocketAddr) -> Self {
        let inner = UdpSocket::bind("127.0.0.1:0").unwrap();
        let outer = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let (addr, cut) = (inner.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let inner = Arc::new(inner);
        let client: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let (from, to, who, off) =
            (Arc::clone(&inner), Arc::clone(&outer), Arc::clone(&client), Arc::clone(&cut));
        std::thread::spawn(move || {
            let mut bytes = vec![0; 65_536];
            while let Ok((length, sender)) = from.recv_from(&mut bytes) {
                *who.lock().unwrap() = Some(sender);
                if !off.load(Ordering::Relaxed) {
                    let _ = to.send_to(&bytes[..length], server);
                }
            }
        });
        let off = Arc::clone(&cut);
        std::thread::spawn(move || {
            let mut bytes = vec![0; 65_536];
            while let Ok((length, _)) = outer.recv_from(&mut bytes) {
                let client = *client.lock().unwrap();
                if let Some(client) = client.filter(|_| !off.load(Ordering::Relaxed)) {
                    let _ = inner.send_to(&bytes[..length], client);
                }
            }
        });
        Self { addr, cut }
    }
}

#[test]
fn a_server_that_moved_without_a_word_is_found_by_its_name() {
    let mut main = Main::new();
    let wire = Wire::to(main.addr);
    let there = Arc::new(Mutex::new(wire.addr));
    let lookups = Arc::new(AtomicU64::new(0));
    let (answer, asked) = (Arc::clone(&there), Arc::clone(&lookups));
    let mut config = config(main.addr);
    config.server = "main.example.org:9481".into();
    config.address_check_after = Duration::from_millis(300);
    config.lookup = Lookup::new(move |name| {
        assert_eq!(name, "main.example.org:9481");
        asked.fetch_add(1, Ordering::Relaxed);
        Ok(vec![*answer.lock().unwrap()])
    });
    let sim = SimConfig { chains: vec![ChainId(1)], blocks_per_second: 200.0, ..SimConfig::default() };
    let client = Client::start(config, Box::new(SimSource::new(sim, clock()))).unwrap();
    let durable = || client.status().chains[0].durable.0;
    wait_until("blocks flow", || durable() > 20);

    // Silent, and its name leads nowhere else: nothing but a look now and then.
    wire.cut.store(true, Ordering::Relaxed);
    let before = lookups.load(Ordering::Relaxed);
    wait_until("its name is looked up", || lookups.load(Ordering::Relaxed) >= before + 2);
    assert_eq!(client.status().connections, 1);
    wire.cut.store(false, Ordering::Relaxed);
    let here = durable();
    wait_until("blocks flow on", || durable() > here + 20);
    assert_eq!(client.status().connections, 1);

    // And now it is elsewhere.
    wire.cut.store(true, Ordering::Relaxed);
    *there.lock().unwrap() = main.addr;
    wait_until("it is found", || client.status().connections == 2);
    let here = durable();
    wait_until("blocks flow there", || durable() > here + 20);
    drop(client);
    main.stop();
}

#[test]
fn either_key_of_a_main_chain_that_changes_its_key_is_talked_to() {
    let main = Main::new();
    let sim = || SimConfig { chains: vec![ChainId(1)], ..SimConfig::default() };
    let other = Identity::from_seed([7; 32]).public();
    for keys in [vec![other, main_identity().public()], vec![main_identity().public(), other]] {
        let mut config = config(main.addr);
        config.server_keys = keys;
        let client = Client::start(config, Box::new(SimSource::new(sim(), clock()))).unwrap();
        wait_until("it is connected", || client.status().main.is_some());
    }
    let mut config = config(main.addr);
    config.server_keys = Vec::new();
    let refused = Client::start(config, Box::new(SimSource::new(sim(), clock()))).unwrap_err();
    assert!(refused.to_string().contains("server_keys"), "{refused}");
}
