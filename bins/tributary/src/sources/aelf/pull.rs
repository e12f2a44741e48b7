//! Asking a side node for its blocks: in rounds, as AElf nodes do, but each message has the deadline, not all together.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aelf::acs7::SideChainBlockData;
use aelf::basic_cross_chain_rpc_client::BasicCrossChainRpcClient;
use aelf::hand_shake_reply::HandShakeStatus;
use aelf::side_chain_rpc_client::SideChainRpcClient;
use aelf::tonic::transport::{Channel, Endpoint};
use aelf::tonic::{Code, Status};
use aelf::{CrossChainRequest, HandShake};
use engine::aelf::server;
use engine::chain::{ChainId, Hash, Height};
use tokio::time::timeout;

use super::peers::Pick;
use super::window::{Block, Put, Wanted};
use super::{Problem, Shared, Trouble};
use crate::sources::shorten;

/// Asks whichever node is to be asked, for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        let pick = shared.state().peers.pick(Instant::now());
        match pick {
            Pick::Nobody => shared.poke.notified().await,
            Pick::At(time) => wait(&shared, time.saturating_duration_since(Instant::now())).await,
            Pick::Now(addr) => {
                let Err(error) = session(&shared, addr).await;
                shared.failed(addr, &error);
            }
        }
    }
}

/// Asks one node until it fails.
async fn session(shared: &Shared, addr: SocketAddr) -> Result<Infallible, PullError> {
    let mut node = Node::connect(shared, addr).await?;
    // Which anchor the node's blocks are known to follow.
    let mut proven = None;
    loop {
        let (wanted, alone) = {
            let state = shared.state();
            (state.window.wanted(proven), state.peers.is_alone())
        };
        let Some(wanted) = wanted else {
            // No room, or nothing is wanted yet.
            shared.poke.notified().await;
            continue;
        };
        let round = node.round(shared, wanted).await?;
        if round.taken {
            proven = Some(wanted.era);
        }
        shared.answered(addr, proven.is_some());
        if round.more {
            continue;
        }
        if wanted.check && !round.taken && !round.outdated && !shared.state().window.is_standing_by() {
            return Err(PullError::Behind { height: wanted.from });
        }
        if proven.is_none() && !round.outdated && !alone {
            return Err(PullError::Nothing);
        }
        wait(shared, shared.config.poll).await;
    }
}

/// Until the time has passed, or something has changed. Never quite at once: anybody can shake hands all the time.
async fn wait(shared: &Shared, time: Duration) {
    let least = time.min(SHORTEST_WAIT);
    tokio::time::sleep(least).await;
    let _ = timeout(time.saturating_sub(least), shared.poke.notified()).await;
}

/// A connection to a side node.
struct Node {
    client: SideChainRpcClient<Channel>,
}

/// How a round ended that was no failure.
#[derive(Clone, Copy, Default, Debug)]
struct Round {
    /// At least one block was as it should be.
    taken: bool,
    /// There may be more at once.
    more: bool,
    /// Something else is wanted by now.
    outdated: bool,
}

impl Node {
    async fn connect(shared: &Shared, addr: SocketAddr) -> Result<Self, PullError> {
        let config = &shared.config;
        let deadline = config.timeout.min(CONNECT);
        let endpoint = Endpoint::from_shared(format!("http://{addr}"))
            .map_err(|error| PullError::Connect(error.to_string()))?
            .connect_timeout(deadline)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        let channel = timeout(deadline, endpoint.connect())
            .await
            .map_err(|_| PullError::Connect(format!("no connection within {deadline:?}")))?
            .map_err(|error| PullError::Connect(causes(&error)))?;
        let hello =
            HandShake { listening_port: shared.addr.port().into(), chain_id: config.parent.0.cast_signed() };
        let mut basic =
            BasicCrossChainRpcClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let reply = within(config.timeout, "the handshake", basic.cross_chain_hand_shake(hello)).await?;
        if reply.into_inner().status() != HandShakeStatus::Success {
            // AElf nodes say so to every caller whose address is IPv6, and answer requests all the same.
            tracing::debug!(%addr, "the side node did not take our handshake");
        }
        let client = SideChainRpcClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { client })
    }

    /// One request.
    async fn round(&mut self, shared: &Shared, wanted: Wanted) -> Result<Round, PullError> {
        let config = &shared.config;
        let request = CrossChainRequest {
            chain_id: config.parent.0.cast_signed(),
            next_height: wanted.from.cast_signed(),
        };
        let asked = self.client.request_indexing_from_side_chain(request);
        let mut stream = within(config.timeout, "an answer", asked).await?.into_inner();
        let mut round = Round::default();
        let mut height = wanted.from;
        while let Some(message) = within(config.timeout, "the next block", stream.message()).await? {
            let block = check(&message, height, config.chain)?;
            let put = {
                let mut state = shared.state();
                let put = state.window.put(wanted, height, block);
                if put == Put::Taken || put == Put::Full {
                    state.newest = state.newest.max(Some(height));
                    shared.tip.set(state.newest.unwrap_or(height));
                }
                put
            };
            match put {
                Put::Taken => round.taken = true,
                Put::Full => return Ok(Round { taken: true, more: true, outdated: false }),
                Put::Outdated => return Ok(Round { more: true, outdated: true, ..round }),
                Put::Contradicts(known) => {
                    return Err(PullError::Contradicts { height, got: block.hash, known });
                }
            }
            height += 1;
        }
        round.more = height - wanted.from >= server::MAX_BLOCKS;
        Ok(round)
    }
}

fn check(message: &SideChainBlockData, height: u64, chain: ChainId) -> Result<Block, PullError> {
    let wrong = |field, got: String, expected: String| PullError::Wrong { height, field, got, expected };
    let got = ChainId(message.chain_id.cast_unsigned());
    if got != chain {
        return Err(PullError::OtherChain { got, expected: chain });
    }
    if message.height != height.cast_signed() {
        return Err(wrong("height", message.height.to_string(), height.to_string()));
    }
    let hash = |field, hash: &Option<aelf::Hash>| {
        let bytes = hash.as_ref().map_or(0, |hash| hash.value.len());
        let hash = hash.as_ref().and_then(aelf::Hash::bytes).map(Hash);
        hash.ok_or_else(|| wrong(field, format!("{bytes} bytes"), "32 bytes".to_owned()))
    };
    Ok(Block {
        hash: hash("block_header_hash", &message.block_header_hash)?,
        tx_root: hash("transaction_status_merkle_tree_root", &message.transaction_status_merkle_tree_root)?,
    })
}

/// Why a node is not asked any further, for now.
#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    #[error("{0}")]
    Connect(String),
    #[error("{what} did not come within {after:?}")]
    Silent { what: &'static str, after: Duration },
    #[error("{what}: {code:?}: {text}")]
    Refused { what: &'static str, code: Code, text: String },
    #[error("it is of chain {got}; expected {expected}")]
    OtherChain { got: ChainId, expected: ChainId },
    #[error("block {height}: {field} is {got}; expected {expected}")]
    Wrong { height: u64, field: &'static str, got: String, expected: String },
    #[error("block {height} has the hash {got} there; the main chain has {known}")]
    Contradicts { height: u64, got: Hash, known: Hash },
    #[error("it has no block {height} yet, which the main chain has")]
    Behind { height: u64 },
    #[error("it has no block yet")]
    Nothing,
}

impl PullError {
    /// Whether it is of no use to ask this node again soon.
    fn lasts(&self) -> bool {
        match self {
            Self::OtherChain { .. } | Self::Contradicts { .. } => true,
            Self::Refused { code, .. } => *code == Code::Unimplemented,
            _ => false,
        }
    }
}

/// What comes of a call, in time.
async fn within<T>(
    after: Duration,
    what: &'static str,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, PullError> {
    match timeout(after, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(status)) => {
            Err(PullError::Refused { what, code: status.code(), text: shorten(status.message(), 200) })
        }
        Err(_) => Err(PullError::Silent { what, after }),
    }
}

/// An error with what it comes from.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    shorten(&text, 300)
}

impl Shared {
    fn answered(&self, addr: SocketAddr, proven: bool) {
        let mut state = self.state();
        state.peers.answered(addr, Instant::now());
        if proven {
            if !state.peers.is_speaker(addr) {
                tracing::info!(%addr, chain = %self.config.chain, "reading an AElf node");
                state.peers.speaks(addr);
            }
            state.trouble = None;
        }
    }

    fn failed(&self, addr: SocketAddr, error: &PullError) {
        let chain = self.config.chain;
        let mut state = self.state();
        let is_known = state.peers.is_speaker(addr) || state.peers.is_pinned(addr);
        let what = match *error {
            // Of any other node it shows only that this is another one.
            PullError::Contradicts { height, got, known } if is_known => {
                Problem::Fork { height: Height(height), ours: got, theirs: known }
            }
            _ => Problem::Passing(format!("node {addr} of chain {chain}: {error}")),
        };
        state.peers.failed(addr, Instant::now(), error.lasts());
        let before = state.trouble.take();
        if before.as_ref().is_none_or(|before| before.what != what) {
            tracing::warn!(%addr, %chain, %error, "the AElf node does not give blocks");
        }
        let since = before.map_or_else(Instant::now, |before| before.since);
        state.trouble = Some(Trouble { since, what });
    }
}

/// To connect: a machine that is gone says nothing, and another address may be the right one.
const CONNECT: Duration = Duration::from_secs(2);
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
/// A block has about 100 bytes.
const MAX_MESSAGE_BYTES: usize = 16 << 10;
/// What may be on its way to us.
const WINDOW_BYTES: u32 = 256 << 10;
