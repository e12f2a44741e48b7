//! How much memory of a server hostile peers can hold: measured from outside, in a process of its own.
//!
//! The bounds: 2 MiB for a hostile peer with a registered key that has delivered nothing, 40 KiB for an idle connection, and
//! for all together what the two budgets of [`ServerConfig`] say. Each is measured after the server is warm, as what the
//! process has grown by.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine::chain::ChainId;
use mainstem_net::control::{ClientMessage, Hello, Message};
use mainstem_net::endpoint::{self, Bind, Limits};
use mainstem_net::frame::MAX_FRAME_BYTES;
use mainstem_net::reactor::{Handle, Reactor};
use mainstem_net::server::ServerConfig;
use quinn::{Connection, Endpoint};

use crate::by_hand::{Raw, frame, section};
use crate::stack::{self, NOTHING, Plan, burn, stream, uni};
use crate::support::*;

/// What a hostile peer may hold, in bytes.
const HOSTILE: usize = 2 << 20;

/// What an idle connection may hold, in bytes. A build that is not optimised keeps the state of tasks in more than twice the
/// space; what counts is measured in an optimised one, with ten thousand connections (`perf/RESULTS.md`).
const IDLE: usize = if cfg!(debug_assertions) { 64 << 10 } else { 40 << 10 };

/// How many there are at a time.
const HOSTILE_PEERS: u8 = 24;
const IDLE_PEERS: usize = 500;

/// How many fill the budgets together: more than fit into them.
const TOGETHER: u8 = 40;

/// Registered keys, each with a chain of its own number.
const KEYS: u8 = 200;

/// Tells a process that it is the server, and how large its two budgets are: `default`, or a number of MiB.
const SERVER_VAR: &str = "MAINSTEM_MEMORY_SERVER";

/// A server in a process of its own.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(budget: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "memory::a_process_that_serves", "--ignored", "--nocapture"])
            .env(SERVER_VAR, budget)
            // One heap for all threads, as large machines would have it: what is measured is what is held, not what
            // the allocator keeps for later.
            .env("MALLOC_ARENA_MAX", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("it serves").unwrap();
            if let Some((_, address)) = line.split_once("serves at ") {
                break address.parse().unwrap();
            }
        };
        // What it says later is of no interest, and must not stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// Its resident memory, in bytes.
    fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    /// The most that it has within the time that frames and control streams may take, once it has stopped growing.
    fn most(&self) -> usize {
        let (mut most, mut since) = (self.resident(), Instant::now());
        while since.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.resident();
            if now > most + (64 << 10) {
                (most, since) = (now, Instant::now());
            }
        }
        most
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "the child of other tests"]
fn a_process_that_serves() {
    let budget = std::env::var(SERVER_VAR).expect("started by a test");
    let sides: Vec<_> = (1..=KEYS).map(|seed| side(seed.into(), &[&identity(seed)])).collect();
    let main = Main::start_with(&sides, LANE, Stored::default(), |config| set(config, &budget));
    println!("serves at {}", main.addr());
    // Until the test ends, however it does.
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}

fn set(config: &mut ServerConfig, budget: &str) {
    // All of them come from one address, at once.
    config.handshake_burst = 10_000;
    config.max_sessions_per_key = IDLE_PEERS;
    // Nobody is to be gone before it was measured what he holds.
    config.hello_timeout = Duration::from_secs(300);
    config.frame_timeout = Duration::from_secs(300);
    config.frame_least_rate = 0;
    config.control_timeout = Duration::from_secs(300);
    if let Ok(mib) = budget.parse::<usize>() {
        (config.max_sessions, config.max_handshakes) = (1_024, 256);
        config.window_memory_bytes = mib << 20;
        config.frame_memory_bytes = mib << 20;
    }
}

fn config(budget: &str) -> ServerConfig {
    let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into(), server_identity());
    set(&mut config, budget);
    config.check().unwrap();
    config
}

/// Where the peers come from: one socket for all.
struct Peers {
    reactor: Reactor,
    endpoint: Endpoint,
    server: SocketAddr,
}

impl Peers {
    fn new(server: SocketAddr) -> Self {
        let reactor = Reactor::spawn_thread("peers").unwrap();
        let bind = Bind::new(([127, 0, 0, 1], 0).into());
        let endpoint = endpoint::open(&reactor.handle(), &bind, &identity(1), None).unwrap();
        Self { reactor, endpoint, server }
    }

    fn within<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let handle = self.reactor.handle();
        self.reactor
            .handle()
            .block_on(async move { handle.timeout(Duration::from_secs(120), work).await })
            .unwrap()
            .expect("it does not hang")
    }

    fn connect(&self, config: quinn::ClientConfig) -> Connection {
        let connecting = endpoint::connect(&self.endpoint, config, self.server).unwrap();
        self.within(async move { connecting.await.unwrap() })
    }

    /// A node of its chain that has said hello, and says no more.
    fn idle(&self, seed: u8) -> (Connection, quinn::SendStream) {
        let limits = Limits::default();
        let connection = self
            .connect(endpoint::client_config(&identity(seed), server_identity().public(), &limits).unwrap());
        self.within(greet(connection, vec![ChainId(seed.into())], true, None))
    }

    /// A node whose stack lies.
    fn hostile(
        &self,
        seed: u8,
        plan: Plan,
        chains: Vec<ChainId>,
        read: bool,
    ) -> (Connection, quinn::SendStream) {
        let granted = Some((self.handle(), plan.granted()));
        let connection = self.connect(stack::client(&identity(seed), &server_identity(), plan.clone()));
        let greeted = self.within(greet(connection.clone(), chains, read, granted));
        drop(self.handle().spawn(burn(self.handle(), connection, plan)));
        greeted
    }

    /// Connections that come and go, so that what the process needs once is there.
    fn warm_up(&self) {
        for seed in 1..=8 {
            self.idle(seed).0.close(0_u32.into(), b"warm");
        }
        std::thread::sleep(Duration::from_millis(500));
    }

    fn handle(&self) -> Handle {
        self.reactor.handle()
    }
}

/// Says hello; whether the welcome is read is the question. `granted`: a stack that does not heed limits does it here.
async fn greet(
    connection: Connection,
    chains: Vec<ChainId>,
    read: bool,
    granted: Option<(Handle, Arc<AtomicU64>)>,
) -> (Connection, quinn::SendStream) {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let hello = hello(chains);
    let mut said = 0;
    for piece in hello.chunks(1 << 10) {
        said += piece.len() as u64;
        if let Some((handle, granted)) = &granted {
            while granted.load(Ordering::Relaxed) < said {
                handle.sleep(Duration::from_millis(1)).await;
            }
        }
        send.write_all(piece).await.unwrap();
    }
    if read {
        let mut byte = [0];
        receive.read_exact(&mut byte).await.unwrap();
    }
    // Or it would be stopped when it is dropped, and the server would have an end of it.
    std::mem::forget(receive);
    (connection, send)
}

/// What a hello takes of the window.
fn said(chains: &[ChainId]) -> Arc<AtomicU64> {
    Arc::new(AtomicU64::new(hello(chains.to_vec()).len() as u64))
}

fn hello(chains: Vec<ChainId>) -> Vec<u8> {
    let mut hello = Vec::new();
    ClientMessage::Hello(Hello { software: "x".repeat(64), chains }).encode(&mut hello);
    hello
}

/// A hello of the longest that is not refused: one chain of the node's own, and as many unknown ones as it may name.
fn longest_hello(seed: u8) -> Vec<ChainId> {
    let others = (1_000_000..).take(MAX_UNKNOWN_CHAINS);
    std::iter::once(u32::from(seed)).chain(others).map(ChainId).collect()
}

/// Chains of a hello that cannot be served, beside those that can.
const MAX_UNKNOWN_CHAINS: usize = 256;

/// First, if there was none before, a whole frame that brings nothing, which opens the other streams; then a frame of the
/// longest, all but its last byte, on the stream `first`, as far as the memory for frames goes; then on
/// the later streams fragments behind a gap, as much as the window allows: each a part of its packet, and only in one of
/// `every` packets, since memory is held by packets and not by bytes. `spent` is what was sent before.
fn filling(chain: u8, spent: Arc<AtomicU64>, first: u64, every: usize, part: usize) -> Plan {
    let mut opening = if first == 0 { frame(&[section(chain.into(), 5, 1)]) } else { Vec::new() };
    let mut header = [0; 16];
    header[..4].copy_from_slice(&(MAX_FRAME_BYTES as u32 - 16).to_le_bytes());
    (header[4], header[6]) = (1, 1);
    let whole = opening.len() as u64 + MAX_FRAME_BYTES as u64 - 1;
    opening.extend(header);
    let (mut sent, mut packets) = (0, 0_usize);
    // The next offset of each of the later streams; the first byte never comes.
    let mut ends: Vec<u64> = (first..7).map(|_| 1).collect();
    Plan::frames(move |room, granted| {
        packets += 1;
        let held: u64 = ends.iter().filter(|end| **end > 1).sum();
        let left = granted.saturating_sub(spent.load(Ordering::Relaxed) + sent + held) as usize;
        let most = left.min(room.saturating_sub(24));
        if sent < whole {
            let mut data = vec![7; most.min((whole - sent) as usize)];
            if data.is_empty() || (sent == 0 && data.len() < opening.len()) {
                return NOTHING.to_vec();
            }
            if sent == 0 {
                data[..opening.len()].copy_from_slice(&opening);
            }
            let frame = stream(uni(first), sent, &data);
            sent += data.len() as u64;
            return frame;
        }
        if most < 2 {
            return NOTHING.to_vec();
        }
        if !packets.is_multiple_of(every) {
            return vec![1, 1];
        }
        let which = packets / every % ends.len();
        let data = vec![7; most.min(room / part).max(1) - 1];
        let frame = stream(uni(first + 1 + which as u64), ends[which], &data);
        ends[which] += data.len() as u64 + 1;
        frame
    })
}

/// What each of the peers of `fill` holds at most, in bytes.
fn held(
    process: &Process,
    peers: &Peers,
    what: &str,
    mut fill: impl FnMut(u8) -> (Connection, quinn::SendStream),
) -> usize {
    let before = process.resident();
    let all: Vec<_> = (1..=HOSTILE_PEERS).map(|number| fill(number + 8)).collect();
    let most = process.most();
    let alive = all.iter().filter(|(connection, _)| connection.close_reason().is_none()).count();
    assert_eq!(alive, usize::from(HOSTILE_PEERS), "{what}: {:?}", all[0].0.close_reason());
    let each = most.saturating_sub(before) / usize::from(HOSTILE_PEERS);
    println!("{what}: {} KiB each", each >> 10);
    for (connection, _) in all {
        connection.close(0_u32.into(), b"measured");
    }
    peers.within({
        let handle = peers.handle();
        async move { handle.sleep(Duration::from_millis(500)).await }
    });
    each
}

#[test]
fn a_hostile_peer_with_a_registered_key_holds_no_more_than_it_may() {
    let figures = [
        ("a long hello, its welcome not read", None, true),
        ("that, a partial frame and fragments", Some((1, 3)), true),
        ("that, with small fragments in few packets", Some((10, 40)), true),
    ]
    .map(|(what, plan, long)| {
        let process = Process::start("default");
        let peers = Peers::new(process.address);
        peers.warm_up();
        let each = held(&process, &peers, what, |seed| {
            let chains = if long { longest_hello(seed) } else { vec![ChainId(seed.into())] };
            let plan = plan.map_or_else(
                || Plan::frames(|_, _| NOTHING.to_vec()),
                |(every, part)| filling(seed, said(&chains), 0, every, part),
            );
            peers.hostile(seed, plan, chains, !long)
        });
        (what, each)
    });
    let most = [HOSTILE; 3];
    for ((what, each), most) in figures.iter().zip(most) {
        assert!(*each <= most, "{what}: {each} bytes each, expected {most} at most: {figures:?}");
    }
}

#[test]
fn an_idle_connection_takes_little() {
    let process = Process::start("default");
    let peers = Peers::new(process.address);
    peers.warm_up();
    let before = process.resident();
    let connections: Vec<_> =
        (0..IDLE_PEERS).map(|number| peers.idle((number % usize::from(KEYS)) as u8 + 1)).collect();
    let each = process.most().saturating_sub(before) / IDLE_PEERS;
    println!("an idle connection: {} KiB", each >> 10);
    assert!(connections.iter().all(|(connection, _)| connection.close_reason().is_none()));
    assert!(each <= IDLE, "{each} bytes each");
}

#[test]
fn all_peers_together_hold_no_more_than_the_budgets_say() {
    let budget = "12";
    let config = config(budget);
    let process = Process::start(budget);
    let peers = Peers::new(process.address);
    peers.warm_up();
    let before = process.resident();
    let all: Vec<_> = (1..=TOGETHER)
        .map(|seed| {
            let chains = vec![ChainId(seed.into())];
            let plan = filling(seed, said(&chains), 0, 1, 3);
            peers.hostile(seed, plan, chains, true)
        })
        .collect();
    let grown = process.most().saturating_sub(before);
    for (connection, _) in &all {
        assert_eq!(connection.close_reason(), None);
    }
    // What windows allow may take two and a half times as much: quinn lets a stream hold packets of which that part is
    // not data (its assembler's threshold), and 32 KiB of each stream in any case.
    let streams = usize::from(TOGETHER) * config.transport.data_streams as usize * (32 << 10);
    let most = config.window_memory_bytes * 5 / 2
        + config.frame_memory_bytes
        + streams
        + usize::from(TOGETHER) * IDLE;
    println!("all together: {} KiB, of at most {} KiB", grown >> 10, most >> 10);
    assert!(grown <= most, "{grown} bytes, expected {most} at most");
    let _keep = Arc::new(all);
}

/// A node that delivers fast is lent more, and may turn hostile then. So it may hold more than others, but no more than it
/// was lent, and it had to be worth that before.
#[test]
fn a_node_that_has_delivered_fast_holds_what_it_was_lent() {
    let config = config("default");
    let process = Process::start("default");
    let peers = Peers::new(process.address);
    peers.warm_up();
    let nodes = 2;
    let before = process.resident();
    let all: Vec<_> = (1..=nodes)
        .map(|seed: u8| {
            let chains = vec![ChainId(seed.into())];
            let spent = said(&chains);
            let plan = filling(seed, Arc::clone(&spent), 1, 1, 3);
            let quic = stack::client(&identity(seed), &server_identity(), plan.clone());
            let (handle, server, granted) = (peers.handle(), process.address, plan.granted());
            let raw = peers.within(async move {
                let mut raw = Raw::connect(handle.clone(), server, quic).await.unwrap();
                raw.hello(&[seed.into()]).await;
                // What our own hello takes is not what that one does.
                spent.store(SAID_BY_HAND, Ordering::Relaxed);
                for round in 0..DELIVERED_FRAMES {
                    let bytes = frame(&[section(seed.into(), 1 + round * LANE as u64, LANE as u64)]);
                    for piece in bytes.chunks(4 << 10) {
                        let total =
                            spent.fetch_add(piece.len() as u64, Ordering::Relaxed) + piece.len() as u64;
                        while granted.load(Ordering::Relaxed) < total {
                            handle.sleep(Duration::from_millis(1)).await;
                        }
                        raw.send(piece).await;
                    }
                    raw.acked(seed.into(), (round + 1) * LANE as u64).await;
                }
                raw
            });
            drop(peers.handle().spawn(burn(peers.handle(), raw.connection.clone(), plan)));
            raw
        })
        .collect();
    let each = process.most().saturating_sub(before) / usize::from(nodes);
    println!("one that has delivered: {} KiB", each >> 10);
    for raw in &all {
        assert_eq!(raw.connection.close_reason(), None);
    }
    // See above for the part that is not data.
    let most = config.max_window_bytes as usize * 5 / 2 + config.session_frame_bytes + HOSTILE;
    assert!(each <= most, "{each} bytes, expected {most} at most");
}

/// Blocks that a lane of the server takes ahead.
const LANE: usize = 1_024;

/// So many frames of as many blocks are delivered: 4 MB, which widens the window on a machine that has time for it.
const DELIVERED_FRAMES: u64 = 60;

/// A hello by hand of one chain: 5 bytes of header, version, "raw", count, chain.
const SAID_BY_HAND: u64 = 5 + 2 + 1 + 3 + 4 + 4;
