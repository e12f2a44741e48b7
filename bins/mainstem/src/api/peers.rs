//! Who is connected, and who was refused: `GET /v1/peers`, `/v1/peers/{session}`, `/v1/refusals`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use engine::chain::ChainId;
use engine::store::BlockReader;
use net::control::RefusalCode;
use net::server::{KeyRefusal, LastRefusal, PeerChain, PeerChainState, PeerInfo};
use rest::{ChainOfPeer, Peer, PeerChains, Peers, Refusal, Refusals, Refused};

use super::params::{self, Params};
use super::problem::Problem;
use super::routes::{Answer, Node};
use super::views;

pub(super) async fn peers<R: BlockReader>(State(node): State<Arc<Node<R>>>, uri: Uri) -> Answer<Json<Peers>> {
    let (after, limit) = params::page(&uri, params::session)?;
    // Sessions are counted from 1.
    let (page, more) = node.peers.page(after.unwrap_or(0), limit);
    let next = page.last().map(|peer| peer.session).filter(|_| more);
    Ok(Json(Peers { peers: page.iter().map(peer_of).collect(), next }))
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
    let chains = page.iter().map(chain_of).collect();
    Ok(Json(PeerChains { peer: peer_of(&peer), chains, next }))
}

pub(super) async fn refusals<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    uri: Uri,
) -> Answer<Json<Refusals>> {
    params::query(&uri, &[])?;
    let refusals = node.peers.refusals().iter().map(|refusal| refusal_of(refusal)).collect();
    Ok(Json(Refusals { refusals }))
}

fn peer_of(peer: &PeerInfo) -> Peer {
    Peer {
        session: peer.session,
        key: views::key(peer.key),
        presented: views::key(peer.presented),
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
            .map(|LastRefusal { chain, code, detail }| refused(*chain, *code, detail)),
    }
}

fn refused(chain: Option<ChainId>, code: RefusalCode, detail: &str) -> Refused {
    Refused {
        chain_id: chain,
        chain: chain.map(|chain| chain.to_string()),
        code: code.name().to_owned(),
        detail: detail.to_owned(),
        remedy: code.remedy().to_owned(),
    }
}

fn chain_of(chain: &PeerChain) -> ChainOfPeer {
    ChainOfPeer {
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

fn refusal_of(refusal: &KeyRefusal) -> Refusal {
    Refusal {
        key: views::key(refusal.key),
        registered: refusal.registered,
        time: refusal.time,
        address: refusal.address,
        count: refusal.count,
        last: refused(refusal.chain, refusal.code, &refusal.detail),
    }
}
