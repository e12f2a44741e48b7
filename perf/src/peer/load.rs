//! The sending side: each connection goes flat out over its chains, as far as their credits reach.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use bytes::BytesMut;
use engine::chain::{ChainId, NodeKey};
use net::endpoint;
use quinn::{Endpoint, SendStream};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::message::{Acks, Draft, DraftBlock, Hello, Messages, put};
use super::{Tuning, server};
use crate::swarm::world::{World, hash, parent};

/// What a sender is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) addr: SocketAddr,
    pub(super) key: NodeKey,
    pub(super) chains: u32,
    pub(super) connections: u32,
    pub(super) tuning: Tuning,
}

/// Sends until the other side ends a connection.
pub(super) async fn send(setup: Setup) -> Result<()> {
    let endpoint = server::open(None)?;
    let world = World::new(setup.chains, setup.connections);
    let mut connections = JoinSet::new();
    for index in 0..setup.connections {
        let chains: Vec<_> = world.chains_of(index).map(|chain| chain.0).collect();
        connections.spawn(speak(endpoint.clone(), setup.clone(), world, index, chains));
    }
    connections.join_next().await.context("there is a connection")??
}

/// How far a chain may be sent. Relaxed: `raised` is what tells.
struct Credits {
    /// In the order of the chains.
    limits: Vec<AtomicU64>,
    raised: Notify,
}

async fn speak(endpoint: Endpoint, setup: Setup, world: World, index: u32, chains: Vec<u32>) -> Result<()> {
    let limits = server::limits(setup.connections);
    let config = endpoint::client_config(&world.identity(index), setup.key, &limits)?;
    let connection = endpoint::connect(&endpoint, config, setup.addr)?.await?;
    let (mut control, acks) = connection.open_bi().await?;
    let mut buffer = BytesMut::new();
    put(&Hello { chains: chains.clone() }, &mut buffer);
    control.write_chunk(buffer.split().freeze()).await?;
    let mut acks = Messages::new(acks, 4 << 10);
    let first: Acks = acks.next().await?.context("no welcome")?;

    // A chain stays on its stream, and each stream has a task of its own, on both sides.
    let streams = setup.tuning.streams(setup.connections).min(chains.len());
    let (mut parts, mut tasks) = (Vec::new(), JoinSet::new());
    for part in 0..streams {
        let mine = || first.acks.iter().skip(part).step_by(streams);
        let credits = Arc::new(Credits {
            limits: mine().map(|ack| AtomicU64::new(ack.limit)).collect(),
            raised: Notify::new(),
        });
        let chains: Vec<_> = mine().map(|ack| (ack.chain, ack.received + 1)).collect();
        let stream = connection.open_uni().await?;
        tasks.spawn(flat_out(stream, chains, Arc::clone(&credits), setup.tuning.clone(), setup.chains));
        parts.push(credits);
    }
    tasks.spawn(listen(acks, parts, setup.connections as usize));
    tasks.join_next().await.context("there is a stream")???;
    anyhow::bail!("the connection has ended: {:?}", connection.close_reason())
}

/// Raises the credits by what the acks say.
async fn listen(mut acks: Messages, parts: Vec<Arc<Credits>>, connections: usize) -> Result<()> {
    while let Some(Acks { acks }) = acks.next().await? {
        for ack in acks {
            // Chains are as far apart as there are connections, and the streams take them in turns.
            let place = (ack.chain as usize).wrapping_sub(1) / connections;
            let limit = parts.get(place % parts.len()).and_then(|part| part.limits.get(place / parts.len()));
            limit.context("an ack of a chain that is not ours")?.store(ack.limit, Ordering::Relaxed);
        }
        parts.iter().for_each(|credits| credits.raised.notify_one());
    }
    Ok(())
}

async fn flat_out(
    mut stream: SendStream,
    mut chains: Vec<(u32, u64)>,
    credits: Arc<Credits>,
    tuning: Tuning,
    all: u32,
) -> Result<()> {
    let (mut draft, mut buffer) = (Draft::default(), BytesMut::new());
    // Not a few blocks at a time whenever a little room comes.
    let least = u64::from(tuning.batch).min(tuning.window(all) / 4).max(1);
    loop {
        let mut idle = true;
        for ((chain, next), limit) in chains.iter_mut().zip(&credits.limits) {
            let room = (limit.load(Ordering::Relaxed) + 1).saturating_sub(*next);
            if room < least {
                continue;
            }
            idle = false;
            let count = room.min(tuning.batch.into());
            fill(&mut draft, *chain, *next, count as usize);
            *next += count;
            put(&draft, &mut buffer);
            if buffer.len() >= WRITE_BYTES {
                // quinn takes the buffer as it is.
                stream.write_chunk(buffer.split().freeze()).await?;
                buffer.reserve(WRITE_BYTES + (WRITE_BYTES >> 1));
            }
        }
        if !buffer.is_empty() {
            stream.write_chunk(buffer.split().freeze()).await?;
        }
        if idle {
            credits.raised.notified().await;
        }
    }
}

/// Several messages a write: as the frames of Mainstem.
const WRITE_BYTES: usize = 64 << 10;

/// Makes the batch out of the heights alone.
fn fill(draft: &mut Draft, chain: u32, first: u64, count: usize) {
    (draft.chain, draft.first_height) = (chain, first);
    set(&mut draft.parent, &parent(ChainId(chain), first).0);
    draft.blocks.resize_with(count, DraftBlock::default);
    for (block, height) in draft.blocks.iter_mut().zip(first..) {
        let hash = hash(ChainId(chain), height, 0).0;
        set(&mut block.hash, &hash);
        set(&mut block.tx_root, &hash);
        block.tx_root[31] = 0xff;
        block.time = height;
    }
}

fn set(bytes: &mut Vec<u8>, to: &[u8]) {
    bytes.clear();
    bytes.extend_from_slice(to);
}
