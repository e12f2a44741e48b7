//! The attacks, in a process of their own.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use engine::chain::{Height, NodeKey};
use net::control::{ClientMessage, EntryState, Resume, ServerMessage, Tip, receive};
use net::endpoint::{self, Limits};
use net::reactor::{Handle, Reactor};
use quinn::{Endpoint, SendStream};
use serde::{Deserialize, Serialize};

use super::peer::{HANDSHAKE_BYTES, Link, PACKET_BYTES, Peer, endpoint_at, frame, long_header};
use crate::child::{answer, setup, tell};
use crate::swarm::world::{World, identity};

/// Attacks; started by `hostile`.
#[derive(Args)]
pub(crate) struct Role {
    #[arg(long)]
    setup: String,
}

/// Name of the command.
pub(super) const NAME: &str = "attack";

/// All kinds.
pub(super) const KINDS: [&str; 12] = [
    "garbage",
    "initials",
    "unknown",
    "broken",
    "slow",
    "streams",
    "window",
    "gaps",
    "deaf",
    "replays",
    "equivocate",
    "chatter",
];

/// What to attack, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) server: SocketAddr,
    pub(super) key: NodeKey,
    pub(super) kind: String,
    /// Registered nodes, a chain each.
    pub(super) world: World,
    pub(super) mbit: u32,
}

/// Answer to "sample": since it was asked last.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Sample {
    /// Attacks a second: datagrams, handshakes, connections, frames, streams or messages, as the kind is.
    pub(super) per_second: f64,
    /// What the link carried.
    pub(super) mbit: f64,
}

pub(super) struct Shared {
    pub(super) setup: Setup,
    handle: Handle,
    link: Link,
    attacks: AtomicU64,
    bytes: AtomicU64,
}

impl Shared {
    /// Waits until the link has carried so much.
    pub(super) async fn spend(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let pause = self.link.take(bytes);
        if pause > Duration::ZERO {
            self.handle.sleep(pause).await;
        }
    }

    fn count(&self) {
        self.attacks.fetch_add(1, Ordering::Relaxed);
    }
}

/// Hosts of the loopback network that the attackers sit at.
const HOSTS: std::ops::Range<u8> = 2..10;

impl Role {
    pub(crate) fn run(&self) -> Result<()> {
        let setup: Setup = setup(&self.setup)?;
        let reactor = Reactor::spawn_thread("attack")?;
        let shared = Arc::new(Shared {
            handle: reactor.handle(),
            link: Link::new(setup.mbit),
            attacks: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            setup,
        });
        begin(&shared)?;
        tell(&())?;
        let last = Mutex::new((Instant::now(), 0, 0));
        answer(|question| {
            if question != "sample" {
                bail!("an attack has no answer to {question:?}");
            }
            let (attacks, bytes) =
                (shared.attacks.load(Ordering::Relaxed), shared.bytes.load(Ordering::Relaxed));
            let now = (Instant::now(), attacks, bytes);
            let then = std::mem::replace(&mut *last.lock().unwrap_or_else(PoisonError::into_inner), now);
            let seconds = (now.0 - then.0).as_secs_f64();
            Ok(serde_json::to_value(Sample {
                per_second: (attacks - then.1) as f64 / seconds,
                mbit: (bytes - then.2) as f64 * 8.0 / 1e6 / seconds,
            })?)
        })
    }
}

fn begin(shared: &Arc<Shared>) -> Result<()> {
    let kind = shared.setup.kind.as_str();
    if let "garbage" | "initials" = kind {
        let (shared, initials) = (Arc::clone(shared), kind == "initials");
        std::thread::Builder::new().name("datagrams".into()).spawn(move || {
            if let Err(error) = datagrams(&shared, initials) {
                eprintln!("the attack ended: {error:#}");
            }
        })?;
        return Ok(());
    }
    let loses = if kind == "gaps" { 2 } else { 0 };
    let endpoints: Result<Vec<_>> = HOSTS.map(|host| endpoint_at(&shared.handle, host, loses)).collect();
    let endpoints = endpoints?;
    for index in 0..shared.setup.world.nodes {
        let endpoint = endpoints[index as usize % endpoints.len()].clone();
        shared.handle.spawn(again(Arc::clone(shared), endpoint, index));
    }
    Ok(())
}

/// One attacker: whatever the server does to it, it comes again at once.
async fn again(shared: Arc<Shared>, endpoint: Endpoint, index: u32) {
    loop {
        let attack = async {
            match shared.setup.kind.as_str() {
                "unknown" => unknown(&shared, &endpoint, index).await,
                "broken" => broken(&shared, &endpoint, index).await,
                "slow" => slow(&shared, &endpoint, index).await,
                "streams" => streams(&shared, &endpoint, index).await,
                "window" => window(&shared, &endpoint, index).await,
                "gaps" => gaps(&shared, &endpoint, index).await,
                "deaf" => deaf(&shared, &endpoint, index).await,
                "replays" => refused(&shared, &endpoint, index, 0).await,
                "equivocate" => refused(&shared, &endpoint, index, 1).await,
                _ => chatter(&shared, &endpoint, index).await,
            }
        };
        // What the server says to it is no concern of an attacker.
        drop(attack.await);
        shared.spend(PACKET_BYTES).await;
        shared.handle.yield_now().await;
    }
}

fn datagrams(shared: &Shared, initials: bool) -> Result<()> {
    let sockets: std::io::Result<Vec<_>> =
        HOSTS.map(|host| UdpSocket::bind((Ipv4Addr::new(127, 0, 0, host), 0))).collect();
    let sockets = sockets?;
    let (mut noise, mut bytes) = (0x9e37_79b9_7f4a_7c15_u64, [0_u8; 1_200]);
    for socket in sockets.iter().cycle() {
        for word in bytes.chunks_exact_mut(8) {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            word.copy_from_slice(&noise.to_le_bytes());
        }
        let mut length = [40, 200, 1_200][noise as usize % 3];
        if initials {
            // A long header of type Initial, version 1, connection ids of 8 bytes, no token, 1,174 bytes of payload.
            length = 1_200;
            bytes[0] = 0xc0 | (bytes[0] & 0x0f);
            bytes[1..6].copy_from_slice(&[0, 0, 0, 1, 8]);
            bytes[14] = 8;
            bytes[23] = 0;
            bytes[24..26].copy_from_slice(&(0x4000_u16 + 1_174).to_be_bytes());
        }
        // A full buffer of the system is a datagram less.
        let _ = socket.send_to(&bytes[..length], shared.setup.server);
        shared.count();
        shared.bytes.fetch_add((length + 66) as u64, Ordering::Relaxed);
        std::thread::sleep(shared.link.take(length + 66));
    }
    Ok(())
}

async fn unknown(shared: &Arc<Shared>, endpoint: &Endpoint, index: u32) -> Result<()> {
    let quic = endpoint::client_config(&identity(2_000_000 + index), shared.setup.key, &Limits::default())?;
    let once = |shared: Arc<Shared>, quic, endpoint: Endpoint| async move {
        loop {
            shared.spend(HANDSHAKE_BYTES).await;
            shared.count();
            if let Ok(connection) =
                endpoint::connect(&endpoint, Clone::clone(&quic), shared.setup.server)?.await
            {
                // It regards the handshake as done before it hears of the refusal.
                connection.closed().await;
            }
        }
        #[expect(unreachable_code, reason = "says what the type of the future is")]
        Ok::<(), anyhow::Error>(())
    };
    // Several at a time, so that the way there and back does not bound them.
    for _ in 0..7 {
        let more = once(Arc::clone(shared), quic.clone(), endpoint.clone());
        shared.handle.spawn(async move { drop(more.await) });
    }
    once(Arc::clone(shared), quic, endpoint.clone()).await
}

async fn broken(shared: &Shared, endpoint: &Endpoint, index: u32) -> Result<()> {
    let peer = Peer::connect(shared, endpoint, index).await?;
    let mut data = peer.connection.open_uni().await?;
    let mut bytes = frame(peer.chain, peer.received + 1, 16, 0);
    match shared.attacks.load(Ordering::Relaxed) % 6 {
        0 => bytes[20] ^= 1,
        1 => bytes[6] = 9,
        2 => bytes[..4].fill(0xff),
        3 => bytes[4..6].fill(0xff),
        4 => bytes[7] = 1,
        _ => bytes.fill(0xa5),
    }
    shared.count();
    shared.spend(bytes.len() + PACKET_BYTES).await;
    data.write_all(&bytes).await?;
    peer.connection.closed().await;
    Ok(())
}

/// Data streams, as many as a session has, each with the header of a long frame and no more. Before them comes a whole
/// frame that brings nothing, without which there is but one stream.
async fn half_frames(peer: &Peer) -> Result<Vec<SendStream>> {
    let mut data = Vec::new();
    for index in 0..8 {
        let mut stream = peer.connection.open_uni().await?;
        if index == 0 {
            stream.write_all(&frame(peer.chain, peer.received + 1_000, 1, 0)).await?;
        }
        stream.write_all(&long_header()).await?;
        data.push(stream);
    }
    Ok(data)
}

async fn slow(shared: &Shared, endpoint: &Endpoint, index: u32) -> Result<()> {
    let peer = Peer::connect(shared, endpoint, index).await?;
    let mut data = half_frames(&peer).await?;
    loop {
        for stream in &mut data {
            shared.count();
            shared.spend(1 + PACKET_BYTES).await;
            stream.write_all(&[7]).await?;
        }
        shared.handle.sleep(Duration::from_millis(100)).await;
    }
}

async fn streams(shared: &Shared, endpoint: &Endpoint, index: u32) -> Result<()> {
    let peer = Peer::connect(shared, endpoint, index).await?;
    loop {
        let mut stream = peer.connection.open_uni().await?;
        shared.count();
        shared.spend(PACKET_BYTES / 4).await;
        if stream.id().index() % 2 == 0 {
            stream.finish()?;
        } else {
            stream.reset(0_u32.into())?;
        }
        shared.handle.yield_now().await;
    }
}

async fn window(shared: &Shared, endpoint: &Endpoint, index: u32) -> Result<()> {
    let peer = Peer::connect(shared, endpoint, index).await?;
    let mut data: Vec<_> =
        half_frames(&peer).await?.into_iter().map(|stream| (stream, (1 << 20) - 17)).collect();
    let piece = vec![0x5a; 16 << 10];
    loop {
        for (stream, left) in &mut data {
            let bytes = piece.len().min(*left);
            shared.count();
            shared.spend(bytes + PACKET_BYTES).await;
            // One that has no room must not keep the others waiting.
            let write = stream.write_all(&piece[..bytes]);
            if let Ok(written) = shared.handle.timeout(Duration::from_millis(20), write).await {
                written?;
            }
            *left -= bytes;
        }
        if data.iter().all(|(_, left)| *left == 0) {
            shared.handle.sleep(Duration::from_millis(100)).await;
        }
        if let Some(reason) = peer.connection.close_reason() {
            return Err(reason.into());
        }
    }
}

async fn gaps(shared: &Shared, endpoint: &Endpoint, index: u32) -> Result<()> {
    let peer = Peer::connect(shared, endpoint, index).await?;
    let mut data = half_frames(&peer).await?;
    loop {
        for stream in &mut data {
            shared.count();
            shared.spend(2 + PACKET_BYTES).await;
            stream.write_all(&[7, 7]).await?;
            // A datagram each: what is written next goes into the next one.
            shared.handle.yield_now().await;
        }
    }
}

async fn deaf(shared: &Shared, endpoint: &Endpoint, index: u32) -> Result<()> {
    let mut peer = Peer::connect(shared, endpoint, index).await?;
    let mut data = peer.connection.open_uni().await?;
    loop {
        for _ in 0..8 {
            let bytes = frame(peer.chain, peer.received + 1, 1, 0);
            peer.received += 1;
            shared.count();
            shared.spend(bytes.len() + PACKET_BYTES).await;
            data.write_all(&bytes).await?;
        }
        let resume = Resume { chain: peer.chain, frames: u64::MAX };
        peer.say(shared, &ClientMessage::Resume(resume)).await?;
        let chain = peer.chain;
        peer.say(shared, &ClientMessage::Resume(Resume { chain, frames: 0 })).await?;
        shared.handle.yield_now().await;
    }
}

/// Sends what must be refused, and asks to go on: blocks, and then for the same heights the same again or, on another
/// branch, something else.
async fn refused(shared: &Shared, endpoint: &Endpoint, index: u32, branch: u8) -> Result<()> {
    let mut peer = Peer::connect(shared, endpoint, index).await?;
    let mut data = peer.connection.open_uni().await?;
    let (chain, mut frames, mut first) = (peer.chain, 0, peer.received + 1);
    loop {
        let mut bytes = frame(chain, first, 64, 0);
        bytes.extend(frame(chain, first, 64, branch));
        shared.count();
        shared.spend(bytes.len() + PACKET_BYTES).await;
        data.write_all(&bytes).await?;
        frames += 2;
        peer.say(shared, &ClientMessage::Resume(Resume { chain, frames })).await?;
        first = loop {
            let heard = receive(&mut peer.receive, &mut Vec::new()).await?.context("the server hung up")?;
            if let ServerMessage::Position(entry) = heard {
                let EntryState::Speaker(at) = entry.state else { bail!("{:?}", entry.state) };
                break at.received.0 + 1;
            }
        };
    }
}

async fn chatter(shared: &Shared, endpoint: &Endpoint, index: u32) -> Result<()> {
    let Peer { mut send, receive: mut stream, chain, connection, .. } =
        Peer::connect(shared, endpoint, index).await?;
    shared.handle.spawn(async move {
        let mut sink = vec![0; 16 << 10];
        while let Ok(Some(_)) = stream.read(&mut sink).await {}
    });
    let mut out = Vec::new();
    for message in [
        ClientMessage::Tips(vec![Tip { chain, height: Height(1 << 40) }]),
        ClientMessage::Follow(Height(1)),
        ClientMessage::Leave(chain),
        ClientMessage::Resume(Resume { chain, frames: 0 }),
    ] {
        net::control::Message::encode(&message, &mut out);
    }
    loop {
        shared.attacks.fetch_add(4, Ordering::Relaxed);
        shared.spend(out.len() + PACKET_BYTES / 8).await;
        send.write_all(&out).await?;
        if let Some(reason) = connection.close_reason() {
            return Err(reason.into());
        }
        shared.handle.yield_now().await;
    }
}
