//! The routes of proofs: building them from the log, and verifying what others bring.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use engine::chain::{BlockView, ChainId, Hash, Height};
use engine::proof::{self, Document, Proof, ProofError};
use engine::store::BlockReader;
use serde::Deserialize;
use serde::de::{Error as _, Unexpected};

use super::answer::{Answers, Form};
use super::params::{self, Params};
use super::problem::Problem;
use super::routes::{Answer, Node, body_too_long, gone, not_indexed, pruned, unreadable};
use super::views;

/// Most blocks of one proof. The engine would take more; this bounds what one request costs.
const MAX_BLOCKS: usize = 4_096;

/// The longest that a client may wait for a block to be indexed.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);

/// The routes of this file.
pub(super) fn routes<R: BlockReader>() -> Router<Arc<Node<R>>> {
    Router::new()
        .route("/v1/proofs", post(blocks::<R>))
        .route("/v1/consistency", get(consistency::<R>))
        .route("/v1/blocks/{height}/chains/{chain}", get(content::<R>))
        .route("/v1/verify", post(verify::<R>))
}

/// The route that may be asked to wait, for as long as it is told to.
pub(super) fn waiting<R: BlockReader>() -> Router<Arc<Node<R>>> {
    Router::new().route("/v1/proofs/{chain}/{height}", get(block::<R>))
}

async fn block<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    params: Params<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    let (chain, height) = params::path(params)?;
    let (chain, height) = (params::chain(&chain)?, params::height("height", &height)?);
    let asked = Asked::new(&uri, &headers, &["head", "wait"])?;
    node.registered(chain)?;
    let (head, wait) = (asked.height("head")?, asked.wait()?);
    let proof = match wait {
        None => proof::build(&node.reader, chain, height, head).map_err(|error| node.refusal(error)),
        Some(wait) => node.wait_for(chain, height, head, wait).await,
    };
    asked.answers(&node).unchanging(&Document::Block(proof?))
}

/// The body of `POST /v1/proofs`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Blocks {
    blocks: Vec<Block>,
    head: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    #[serde(deserialize_with = "chain_of_either_form")]
    chain: ChainId,
    height: u64,
}

async fn blocks<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Response> {
    let asked = Asked::new(&uri, &headers, &[])?;
    let body: Blocks = serde_json::from_slice(&arrived(body)?).map_err(|error| {
        let detail = format!("the body does not name blocks: {error}");
        Problem::new(StatusCode::BAD_REQUEST, "invalid-body", "The body is not what it should be", detail)
    })?;
    if body.blocks.is_empty() || body.blocks.len() > MAX_BLOCKS {
        return Err(node.refusal(ProofError::Count { got: body.blocks.len(), most: MAX_BLOCKS }));
    }
    let height = |field, number: u64| params::height(field, &number.to_string());
    let mut wanted = Vec::with_capacity(body.blocks.len());
    for Block { chain, height: number } in body.blocks {
        node.registered(chain)?;
        wanted.push((chain, height("height", number)?));
    }
    let head = body.head.map(|head| height("head", head)).transpose()?;
    let proof = proof::build_many(&node.reader, &wanted, head).map_err(|error| node.refusal(error))?;
    asked.answers(&node).once(&Document::Blocks(proof))
}

async fn consistency<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    let asked = Asked::new(&uri, &headers, &["from", "to"])?;
    let given = |field: &str| {
        let height = asked.height(field)?;
        height.ok_or_else(|| Problem::parameter(field, "", format!("{field} is missing: expected a height")))
    };
    let (from, to) = (given("from")?, given("to")?);
    let proof = proof::build_consistency(&node.reader, from, to).map_err(|error| node.refusal(error))?;
    asked.answers(&node).unchanging(&Document::Consistency(proof))
}

/// All blocks of a chain in a main block, or that it has none there.
async fn content<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    params: Params<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    let (main, chain) = params::path(params)?;
    let (main, chain) = (params::height("height", &main)?, params::chain(&chain)?);
    let asked = Asked::new(&uri, &headers, &["head"])?;
    let head = asked.height("head")?;
    // Any chain may be absent, also one that is not registered.
    let refusal = |error| node.refusal(error);
    let whole = proof::build_chain(&node.reader, chain, main, head).map_err(refusal)?;
    let document = match whole {
        Some(proof) => Some(Document::Chain(proof)),
        None => {
            proof::build_absence(&node.reader, chain, main, head).map_err(refusal)?.map(Document::Absence)
        }
    };
    let document = document.ok_or_else(|| {
        Problem::internal(format!("main block {main} neither has blocks of chain {chain} nor none"))
    })?;
    asked.answers(&node).unchanging(&document)
}

/// A proof is verified by itself, and the header it ends in must be one of this node's main chain.
async fn verify<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Json<views::Verdict>> {
    params::query(&uri, &[])?;
    let body = arrived(body)?;
    let binary = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/octet-stream");
    let parsed = if binary {
        Document::from_bytes(&body).map_err(|error| error.to_string())
    } else {
        Document::parse(&body).map_err(|error| error.to_string())
    };
    let document = parsed.map_err(|error| {
        let detail = format!("the body is not a proof: {error}");
        Problem::new(StatusCode::BAD_REQUEST, "not-a-proof", "The body is not a proof", detail)
    })?;
    let kind = document.kind();
    let outcome = match document.verify() {
        Ok(outcome) => outcome,
        Err(error) => return Ok(Json(views::refused(kind, error))),
    };
    let verified = outcome.verified;
    let (height, hash) = (verified.trusted.height, verified.trusted_hash);
    let ours = match node.reader.block(height).map_err(unreadable)? {
        None => None,
        Some(block) => {
            let ours = block.header().hash();
            block.intact().map_err(unreadable)?;
            Some(ours)
        }
    };
    let first = node.reader.base().first;
    let foreign = |ours: Option<Hash>| match ours {
        Some(ours) => format!("ends in header {hash} at height {height}, which is {ours} on this main chain"),
        None if height < first => format!(
            "ends in header {hash} at height {height}, which this node cannot compare: it keeps main blocks from \
             {first} on, and a proof that ends in one of them can be compared"
        ),
        None => format!("ends in header {hash} at height {height}, which this main chain does not have"),
    };
    let verified = ours == Some(hash);
    Ok(Json(views::Verdict {
        kind: kind.to_owned(),
        verified,
        reason: (!verified).then(|| foreign(ours)),
        header_hash: Some(outcome.verified.header_hash),
        trusted: Some(views::Trusted { height, hash }),
    }))
}

/// The query of a proof, and in which form it is wanted.
pub(super) struct Asked {
    query: Vec<(String, String)>,
    form: Form,
}

impl Asked {
    /// Reads a query that may have these parameters, and `format`.
    pub(super) fn new(uri: &Uri, headers: &HeaderMap, known: &[&str]) -> Answer<Self> {
        let mut names = known.to_vec();
        names.push("format");
        let query = params::query(uri, &names)?;
        let named = query.iter().find(|(name, _)| name == "format").map(|(_, form)| Form::named(form));
        let form = named.transpose()?.unwrap_or_else(|| Form::accepted(headers));
        Ok(Self { query, form })
    }

    pub(super) fn height(&self, field: &str) -> Answer<Option<Height>> {
        let given = self.query.iter().find(|(name, _)| name == field);
        given.map(|(_, text)| params::height(field, text)).transpose()
    }

    /// How long the client waits, if it does.
    fn wait(&self) -> Answer<Option<Duration>> {
        let given = self.query.iter().find(|(name, _)| name == "wait");
        given.map(|(_, text)| params::time("wait", text, MAX_WAIT)).transpose()
    }

    pub(super) fn answers<'a, R>(&self, node: &'a Node<R>) -> Answers<'a> {
        Answers { budget: &node.answers, form: self.form }
    }
}

impl<R: BlockReader> Node<R> {
    /// The proof of a block, once it is indexed and there is a main block `head`. While they are not, nothing is looked for
    /// in the log: the chain's lane knows how far it is indexed.
    async fn wait_for(
        &self,
        chain: ChainId,
        height: Height,
        head: Option<Height>,
        wait: Duration,
    ) -> Answer<Proof> {
        let build = || proof::build(&self.reader, chain, height, head).map_err(|error| self.refusal(error));
        // What is there needs no place to wait in, and what will never be there is not waited for.
        if self.may_prove(chain, height, head) || height < self.chain(chain)?.first_height {
            return build();
        }
        let _slot = self.heads.slot()?;
        let mut heads = self.heads.watch();
        let over = tokio::time::sleep(wait);
        let mut over = std::pin::pin!(over);
        loop {
            heads.mark_unchanged();
            if self.may_prove(chain, height, head) {
                return build();
            }
            tokio::select! {
                changed = heads.changed() => changed.map_err(Problem::internal)?,
                () = over.as_mut() => {
                    let waited = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                    return build().map_err(|problem| problem.with("waited_ms", waited));
                }
            }
        }
    }

    /// Whether the block is indexed and that main block is there, as far as one can tell without the log.
    fn may_prove(&self, chain: ChainId, height: Height, head: Option<Height>) -> bool {
        let newest = self.reader.head();
        // A chain that was removed is not waited for.
        let Some(lane) = self.cache.lane(chain) else { return true };
        let indexed = lane.cursors().indexed >= height.0
            // In external mode lanes may be ahead of what may be served.
            && self.reader.chain_head(chain).is_ok_and(|indexed| indexed >= Some(height));
        indexed && head.is_none_or(|head| head <= newest)
    }

    /// A problem if the chain is not registered here, and was not when its blocks were indexed.
    pub(super) fn registered(&self, chain: ChainId) -> Answer<()> {
        let known = self.registry.chain(chain).is_some()
            // What is indexed of a chain that was removed stays provable.
            || self.reader.chain_head(chain).is_ok_and(|head| head.is_some());
        if known { Ok(()) } else { self.chain(chain).map(drop) }
    }

    /// What is said of a proof that cannot be had.
    pub(super) fn refusal(&self, error: ProofError) -> Problem {
        let not_found =
            |kind, title, error: &dyn Display| Problem::new(StatusCode::NOT_FOUND, kind, title, error);
        match error {
            ProofError::NotIndexed { chain, height, .. } => match self.chain(chain) {
                Ok(chain) => not_indexed(&chain, height),
                Err(problem) => problem,
            },
            ProofError::Pruned { chain, height, first } => match self.chain(chain) {
                Ok(chain) => pruned(&chain, height, first),
                Err(problem) => problem,
            },
            ProofError::NoSuchHead { head, indexed_in, newest } => {
                not_found("no-such-head", "The proof cannot end in that main block", &error)
                    .with("field", "head")
                    .with("value", head.0)
                    .with("indexed_in", indexed_in.0)
                    .with("head", newest.0)
            }
            ProofError::NoSuchBlock { newest, .. } => {
                not_found("no-such-block", "No such main block", &error).with("head", newest.0)
            }
            ProofError::PrunedBlock { height, first, .. } => gone(height, first, &error),
            ProofError::Order { from, .. } => Problem::parameter("from", &from.to_string(), error),
            ProofError::Count { got, .. } => Problem::parameter("blocks", &got.to_string(), error),
            ProofError::TooLong { .. } => super::answer::too_long(error),
            error => Problem::internal(error),
        }
    }
}

/// A body, once it has arrived.
pub(super) fn arrived(body: Result<Bytes, BytesRejection>) -> Answer<Bytes> {
    body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => body_too_long(),
        status => Problem::new(status, "invalid-body", "The body did not arrive", error.body_text()),
    })
}

/// A chain id as a number or in base58.
fn chain_of_either_form<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ChainId, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u32),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(number) => Ok(ChainId(number)),
        Either::Text(text) => text.parse().map_err(|_| {
            D::Error::invalid_value(Unexpected::Str(&text), &"a chain id, as a number or in base58")
        }),
    }
}
