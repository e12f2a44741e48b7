//! Who is connected, and who was refused: `GET /v1/peers`, `/v1/peers/{session}`, `/v1/refusals`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use engine::chain::{ChainId, Height, NodeKey, Timestamp};
use engine::store::BlockReader;
use net::control::RefusalCode;
use net::server::{KeyRefusal, LastRefusal, PeerChain, PeerChainState, PeerInfo};
use serde::{Deserialize, Serialize};

use super::params::{self, Params};
use super::problem::Problem;
use super::routes::{Answer, Node};

/// `GET /v1/peers`
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Peers {
    /// The sessions, oldest first.
    pub peers: Vec<Peer>,
    /// What to pass as `after` for the next page.
    pub next: Option<u64>,
}

/// A session.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub(crate) struct Peer {
    pub session: u64,
    /// The registered key.
    pub key: NodeKey,
    /// The key that it has shown: another one if that stands for the registered one.
    pub presented: NodeKey,
    pub address: SocketAddr,
    pub software: String,
    pub since: Timestamp,
    pub chains: usize,
    pub speaks_for: usize,
    pub bytes: u64,
    pub frames: u64,
    pub blocks: u64,
    /// When its last frame came.
    pub last_frame: Option<Timestamp>,
    /// Blocks that its sources have and that are not durable here, of the chains it speaks for; if it has told.
    pub behind: Option<u64>,
    pub rtt_us: u64,
    pub window_bytes: u64,
    pub memory_bytes: u64,
    pub last_refusal: Option<Refused>,
}

/// What was refused to a session last.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub(crate) struct Refused {
    /// `None`: the whole connection.
    pub chain_id: Option<ChainId>,
    pub chain: Option<String>,
    pub code: String,
    pub detail: String,
    pub remedy: String,
}

/// `GET /v1/peers/{session}`
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct PeerChains {
    pub peer: Peer,
    /// By ascending id.
    pub chains: Vec<ChainOfPeer>,
    /// What to pass as `after` for the next page.
    pub next: Option<ChainId>,
}

/// Where a chain stands in a session.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct ChainOfPeer {
    pub chain_id: ChainId,
    pub chain: String,
    /// `speaker`, `standby`, `left`, or the code of a refusal.
    pub state: String,
    pub received: Height,
    pub durable: Height,
    /// The highest height that it may send.
    pub limit: Height,
    /// The newest height of its source, if it has told.
    pub tip: Option<Height>,
    /// Blocks from `durable` to `tip`.
    pub behind: Option<u64>,
}

/// `GET /v1/refusals`
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Refusals {
    /// The last one of each key, newest first.
    pub refusals: Vec<Refusal>,
}

/// The last refusal of a key.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Refusal {
    pub key: NodeKey,
    /// Whether the operator knows the key: it is registered, stands for one that is, or was revoked.
    pub registered: bool,
    pub time: Timestamp,
    pub address: SocketAddr,
    /// How often the key was refused anything.
    pub count: u64,
    #[serde(flatten)]
    pub last: Refused,
}

pub(super) async fn peers<R: BlockReader>(State(node): State<Arc<Node<R>>>, uri: Uri) -> Answer<Json<Peers>> {
    let (after, limit) = params::page(&uri, params::session)?;
    // Sessions are counted from 1.
    let (page, more) = node.peers.page(after.unwrap_or(0), limit);
    let next = page.last().map(|peer| peer.session).filter(|_| more);
    Ok(Json(Peers { peers: page.iter().map(Peer::from).collect(), next }))
}

pub(super) async fn peer<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    number: Params<String>,
    uri: Uri,
) -> Answer<Json<PeerChains>> {
    let (after, limit) = params::page(&uri, params::chain_id)?;
    let text = params::path(number)?;
    let number = params::session("session", &text)?;
    let peer = node.peers.peer(number);
    // It may end between the two.
    let Some((peer, all)) = peer.zip(node.peers.chains(number)) else {
        let detail =
            format!("there is no session {number}, or no more; GET /v1/peers lists those that are open");
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-such-session", "No such session", detail)
            .with("field", "session")
            .with("value", text));
    };
    let start = after.map_or(0, |after| all.partition_point(|chain| chain.chain <= after));
    let page = &all[start..all.len().min(start + limit)];
    let next = page.last().map(|chain| chain.chain).filter(|_| start + page.len() < all.len());
    let chains = page.iter().map(ChainOfPeer::from).collect();
    Ok(Json(PeerChains { peer: Peer::from(&peer), chains, next }))
}

pub(super) async fn refusals<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    uri: Uri,
) -> Answer<Json<Refusals>> {
    params::query(&uri, &[])?;
    let refusals = node.peers.refusals().iter().map(Refusal::from).collect();
    Ok(Json(Refusals { refusals }))
}

impl From<&PeerInfo> for Peer {
    fn from(peer: &PeerInfo) -> Self {
        Self {
            session: peer.session,
            key: peer.key,
            presented: peer.presented,
            address: peer.address,
            software: peer.software.clone(),
            since: peer.since,
            chains: peer.chains,
            speaks_for: peer.speaks_for,
            bytes: peer.bytes,
            frames: peer.frames,
            blocks: peer.blocks,
            last_frame: peer.last_frame,
            behind: peer.behind,
            rtt_us: u64::try_from(peer.rtt.as_micros()).unwrap_or(u64::MAX),
            window_bytes: peer.window_bytes,
            memory_bytes: peer.memory_bytes,
            last_refusal: peer
                .last_refusal
                .as_ref()
                .map(|LastRefusal { chain, code, detail }| Refused::new(*chain, *code, detail)),
        }
    }
}

impl Refused {
    fn new(chain: Option<ChainId>, code: RefusalCode, detail: &str) -> Self {
        Self {
            chain_id: chain,
            chain: chain.map(|chain| chain.to_string()),
            code: code.name().to_owned(),
            detail: detail.to_owned(),
            remedy: code.remedy().to_owned(),
        }
    }
}

impl From<&PeerChain> for ChainOfPeer {
    fn from(chain: &PeerChain) -> Self {
        Self {
            chain_id: chain.chain,
            chain: chain.chain.to_string(),
            state: match chain.state {
                PeerChainState::Speaker => "speaker".to_owned(),
                PeerChainState::Standby => "standby".to_owned(),
                PeerChainState::Left => "left".to_owned(),
                PeerChainState::Refused(code) => code.name().to_owned(),
            },
            received: chain.received,
            durable: chain.durable,
            limit: chain.limit,
            tip: chain.tip,
            behind: chain.tip.map(|tip| tip.0.saturating_sub(chain.durable.0)),
        }
    }
}

impl From<&KeyRefusal> for Refusal {
    fn from(refusal: &KeyRefusal) -> Self {
        Self {
            key: refusal.key,
            registered: refusal.registered,
            time: refusal.time,
            address: refusal.address,
            count: refusal.count,
            last: Refused::new(refusal.chain, refusal.code, &refusal.detail),
        }
    }
}
