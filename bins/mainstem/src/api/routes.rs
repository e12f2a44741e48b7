//! The routes: what each answers, from the log and the lanes.
//!
//! Handlers read the log in place, without handing over to a pool of blocking threads: a read is a few memory
//! accesses and at worst a few page faults, shorter than the hand-over costs when the pages are there, and the
//! threads that wait for a page serve the API alone, never ingest or sealing.

use std::fmt::Display;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use axum::body::{Bytes, HttpBody as _};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use engine::cache::Cache;
use engine::chain::{BlockView, ChainId, Height, NodeKey};
use engine::proof::ProofError;
use engine::state::{Genesis, Registry, SideChain};
use engine::store::{BlockReader, StoreError};
use net::server::{Load, PeerList, Questions};
use serde::Serialize;

use super::answer::{Budget, unchanging};
use super::conditional::conditional;
use super::cors::{Pages, cors};
use super::heads::Heads;
use super::params::{self, Params};
use super::problem::{self, Problem};
use super::{
    aelf, chains, events, headers, health, metrics, openapi, peers, proofs, requests, rpc, stats, trace,
    transactions, views,
};
use crate::node::EngineSlot;
use crate::watch::Board;

/// Elements in one answer with a list, unless asked for fewer.
pub(super) const MAX_PAGE: usize = 1_000;

/// Most bytes of a refused body that are read, so that who still sends it hears why.
const MAX_DRAIN: usize = 8 << 20;

/// What the routes read.
#[derive(Debug)]
pub(crate) struct Node<R> {
    /// The log.
    pub reader: R,
    /// The lanes.
    pub cache: Cache,
    /// Who the main chain is, and which chains it began with.
    pub genesis: Arc<Genesis>,
    /// Which chains there are now.
    pub registry: Registry,
    /// This node's public key.
    pub key: NodeKey,
    /// Where it takes blocks in.
    pub ingest_addr: SocketAddr,
    /// When it started.
    pub started: Instant,
    /// How each chain is doing.
    pub board: Board,
    /// Who is connected.
    pub peers: PeerList,
    /// How busy ingest is.
    pub ingest: Load,
    /// The engine, for its figures.
    pub engine: EngineSlot,
    /// The newest answer of `/metrics`.
    pub scraped: metrics::Scraped,
    /// The memory of long answers.
    pub answers: Budget,
    /// Asks the nodes of side chains about transactions.
    pub questions: Questions,
    /// New main blocks, for those who wait.
    pub heads: Heads,
    /// How it is doing, looked at once a second.
    pub stats: stats::Sampler,
    /// Whether it is well.
    pub health: health::Health,
    /// What was asked.
    pub requests: requests::Requests,
    /// Side chains with series of their own in `/metrics`.
    pub max_chains: Arc<AtomicUsize>,
}

/// Bounds of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Largest body, in bytes.
    pub max_body: usize,
    /// Time for the body to arrive and the answer to be made.
    pub timeout: Duration,
}

/// All routes, with their error forms and limits, for web pages that may ask them.
pub(crate) fn router<R: BlockReader>(node: Arc<Node<R>>, limits: Limits, pages: Pages) -> Router {
    let aelf = aelf::Aelf::new(Arc::clone(&node));
    let counted = node.requests.clone();
    let answers = node.answers.clone();
    let native = Router::new()
        .route("/v1/status", get(status::<R>))
        .merge(chains::routes())
        .route("/v1/chains/{id}/blocks/{height}", get(side_block::<R>))
        .route("/v1/blocks/{height}", get(main_block::<R>))
        .merge(proofs::routes())
        .merge(transactions::routes())
        .merge(headers::routes())
        .merge(health::routes())
        .merge(stats::routes())
        .merge(trace::routes())
        .merge(openapi::routes())
        .merge(crate::web::routes())
        .merge(Arc::clone(&aelf).parents())
        .route("/v1/peers", get(peers::peers::<R>))
        .route("/v1/peers/{session}", get(peers::peer::<R>))
        .route("/v1/refusals", get(peers::refusals::<R>))
        .route("/metrics", get(metrics::metrics::<R>))
        .layer(from_fn_with_state(limits.timeout, deadline))
        // What waits has a time of its own.
        .merge(proofs::waiting())
        .merge(events::routes())
        .fallback(problem::no_route)
        .with_state(node);
    let bounded = |router: Router| {
        router
            .layer(DefaultBodyLimit::max(limits.max_body))
            .layer(from_fn_with_state(limits, announced_length))
            .layer(from_fn_with_state(limits, plain_body))
            .layer(from_fn(conditional))
            .layer(from_fn(problem::render))
    };
    // A call may wait as its route does.
    let calls = rpc::routes(bounded(native.clone()), answers)
        .layer(from_fn_with_state(limits.timeout + proofs::MAX_WAIT, deadline));
    // With errors of its own form.
    bounded(native.merge(calls))
        .merge(aelf.routes(limits))
        .layer(from_fn_with_state(pages, cors))
        .layer(from_fn_with_state(counted, requests::count))
}

/// Whatever a request waits for, it waits no longer than this.
async fn deadline(State(timeout): State<Duration>, request: Request, next: Next) -> Response {
    tokio::time::timeout(timeout, next.run(request)).await.unwrap_or_else(|_| {
        let detail = format!("the request was not complete after {} ms", timeout.as_millis());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "The request took too long", detail)
            .into_response()
    })
}

/// A body that is announced to be too long is refused before any of it is read.
async fn announced_length(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    if limits.takes(&request) {
        return next.run(request).await;
    }
    limits.drain(request);
    body_too_long().into_response()
}

/// A body that is compressed, or the like, is refused: what it says could not be read.
pub(crate) async fn plain_body(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let encodings = request.headers().get_all(header::CONTENT_ENCODING).iter();
    let is_plain = |name: &str| name.is_empty() || name.eq_ignore_ascii_case("identity");
    let other = encodings
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .find(|value| !value.split(',').all(|name| is_plain(name.trim())));
    let Some(other) = other.filter(|_| !request.body().is_end_stream()) else {
        return next.run(request).await;
    };
    let other: String = other.chars().take(100).collect();
    limits.drain(request);
    let detail = format!("content-encoding: {other}: expected a body as it is, without that header");
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-encoding",
        "The body's encoding is not supported",
        detail,
    )
    .into_response()
}

impl Limits {
    /// Whether a body is not announced to be too long.
    pub(super) fn takes(self, request: &Request) -> bool {
        request.body().size_hint().lower() <= self.max_body as u64
    }

    /// Reads what is refused: closing a connection that still has something to be read resets it, and the answer may be
    /// lost with that.
    pub(super) fn drain(self, request: Request) {
        let drain = async move {
            let (mut body, mut rest) = (request.into_body(), MAX_DRAIN);
            while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                let Some(left) = rest.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
                rest = left;
            }
        };
        tokio::spawn(tokio::time::timeout(self.timeout, drain));
    }
}

pub(super) type Answer<T> = Result<T, Problem>;

async fn status<R: BlockReader>(State(node): State<Arc<Node<R>>>, uri: Uri) -> Answer<Json<views::Status>> {
    params::query(&uri, &[])?;
    let head = match node.reader.block(node.reader.head()).map_err(unreadable)? {
        None => None,
        Some(block) => {
            let header = block.header();
            block.intact().map_err(unreadable)?;
            Some(views::Head { height: header.height, hash: header.hash(), time: header.time })
        }
    };
    let main = &node.genesis.main;
    Ok(Json(views::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        main_chain: views::MainChain {
            chain_id: main.id,
            chain: main.id.to_string(),
            name: main.name.clone(),
            genesis_hash: node.genesis.hash,
        },
        head,
        first_block: node.reader.base().first,
        chains: node.registry.len(),
        side_blocks: side_blocks(&node.registry.chains(), &node.cache),
        node_key: views::key(node.key),
        ingest_addr: node.ingest_addr.to_string(),
        uptime_ms: node.started.elapsed().as_millis() as u64,
    }))
}

async fn side_block<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    params: Params<(String, String)>,
    uri: Uri,
) -> Answer<Response> {
    params::query(&uri, &[])?;
    let (id, height) = params::path(params)?;
    let (id, height) = (params::chain(&id)?, params::height("height", &height)?);
    node.registered(id)?;
    let reader = &node.reader;
    let base = || reader.base();
    let Some(main) = reader.locate(id, height).map_err(unreadable)? else {
        let (base, chain) = (base(), node.chain(id)?);
        return Err(match base.head(id) {
            Some(head) if height <= head.height => pruned(&chain, height, base.first),
            _ => not_indexed(&chain, height),
        });
    };
    let Some(block) = reader.block(main).map_err(unreadable)? else {
        // Unless it was pruned a moment ago.
        return Err(match base().first {
            first if main < first => pruned(&node.chain(id)?, height, first),
            _ => Problem::internal(format!("main block {main} is indexed and missing")),
        });
    };
    let found = block.find(id).and_then(|(_, section)| {
        let offset = height.0.checked_sub(section.first_height.0)?;
        let leaf = section.leaves().nth(usize::try_from(offset).ok()?)?;
        let columns = block.columns();
        Some((*columns.hashes.get(leaf)?, *columns.tx_roots.get(leaf)?, *columns.times.get(leaf)?))
    });
    let header = block.header();
    block.intact().map_err(unreadable)?;
    let Some((hash, tx_root, time)) = found else {
        return Err(Problem::internal(format!("main block {main} lacks height {height} of chain {id}")));
    };
    let indexed_in = views::IndexedIn { height: main, hash: header.hash(), time: header.time };
    let view =
        views::IndexedBlock { chain_id: id, chain: id.to_string(), height, hash, tx_root, time, indexed_in };
    Ok(unchanging(Json(view)))
}

async fn main_block<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    height: Params<String>,
    uri: Uri,
) -> Answer<Response> {
    node.show_block(height, &uri, |block| {
        let header = block.header();
        let part = |index| {
            let section = block.section(index);
            views::ChainPart {
                chain_id: section.chain,
                chain: section.chain.to_string(),
                first_height: section.first_height,
                count: section.count,
                chain_root: section.chain_root,
            }
        };
        let chains = (0..block.section_count()).map(part).collect();
        views::MainBlock { hash: header.hash(), header, chains }
    })
}

pub(super) fn body_too_long() -> Problem {
    let detail = "the body is longer than this node takes (its setting api.max_body)";
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too long", detail)
}

/// How many side blocks of all chains are durable.
pub(crate) fn side_blocks(chains: &[SideChain], cache: &Cache) -> u64 {
    let of_chain = |side: &SideChain| {
        let indexed = cache.lane(side.id).map_or(0, |lane| lane.cursors().indexed);
        indexed.saturating_sub(side.first_height.previous().0)
    };
    chains.iter().map(of_chain).sum()
}

impl<R: BlockReader> Node<R> {
    /// Answers with what `view` makes of the main block of a height, or of the `latest` one, once it is known to be whole.
    pub(super) fn show_block<T: Serialize>(
        &self,
        height: Params<String>,
        uri: &Uri,
        view: impl FnOnce(&R::Block<'_>) -> T,
    ) -> Answer<Response> {
        params::query(uri, &[])?;
        let text = params::path(height)?;
        let block = self.main_block(&text)?;
        let view = Json(view(&block));
        block.intact().map_err(unreadable)?;
        Ok(if text == "latest" { view.into_response() } else { unchanging(view) })
    }

    /// The main block of a height, or the `latest` one.
    fn main_block(&self, text: &str) -> Answer<R::Block<'_>> {
        let newest = self.reader.head();
        let asked = params::main_height(text)?;
        let (latest, height) = (asked.is_none(), asked.unwrap_or(newest));
        if let Some(block) = self.reader.block(height).map_err(unreadable)? {
            return Ok(block);
        }
        let first = self.reader.base().first;
        if height < first && !latest {
            let detail = format!(
                "main block {height} was pruned from this log, which begins with {first}; ask an archive, or a node \
                 that keeps it"
            );
            return Err(gone(height, first, detail));
        }
        let detail = match newest {
            Height(0) => "there is no main block yet".to_owned(),
            newest => format!("main block {height} does not exist yet; the newest is {newest}"),
        };
        Err(Problem::new(StatusCode::NOT_FOUND, "no-such-block", "No such main block", detail)
            .with("head", newest.0))
    }
}

impl<R> Node<R> {
    pub(super) fn chain(&self, id: ChainId) -> Answer<views::SideChain> {
        self.board.chain(id).map(chains::view).ok_or_else(|| chains::unknown(id))
    }
}

pub(super) fn not_indexed(chain: &views::SideChain, height: Height) -> Problem {
    let (name, first, durable) = (&chain.chain, chain.first_height, chain.durable);
    let detail = if height < first {
        format!("chain {name}: height {height} is below {first}, the first height that is indexed")
    } else if height > chain.received {
        format!("chain {name}: height {height} was not received yet; received up to {}", chain.received)
    } else {
        format!("chain {name}: height {height} was received and is not indexed yet; indexed up to {durable}")
    };
    Problem::new(StatusCode::NOT_FOUND, "not-indexed", "The block is not indexed", detail)
        .with("chain_id", chain.chain_id.0)
        .with("height", height.0)
        .with("received", chain.received.0)
        .with("durable", durable.0)
}

/// A side block whose main block is not kept.
pub(super) fn pruned(chain: &views::SideChain, height: Height, first: Height) -> Problem {
    if height < chain.first_height {
        return not_indexed(chain, height);
    }
    let id = chain.chain_id;
    gone(height, first, ProofError::Pruned { chain: id, height, first }).with("chain_id", id.0)
}

pub(super) fn gone(height: Height, first: Height, detail: impl Display) -> Problem {
    Problem::new(StatusCode::GONE, "pruned", "The main block was pruned", detail)
        .with("field", "height")
        .with("value", height.0)
        .with("first_block", first.0)
}

pub(super) fn unreadable(error: StoreError) -> Problem {
    Problem::internal(error)
}
