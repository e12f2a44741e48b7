//! [`Client`]: asks a node, and waits for what it says.

mod events;
mod pages;

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Response, StatusCode};
use ureq::{Body, RequestBuilder};
use verify::chain::{ChainId, Height};
use verify::proof::{ConsistencyProof, Document, Proof};

use crate::health::Health;
use crate::status::{History, Reason, State, Why};
use crate::trace::BlockTrace;
use crate::{
    BlockName, Chains, Header, Headers, IndexedBlock, MainBlock, PeerChains, Peers, Problem, Refusals,
    SideChain, Stats, Status, Verdict, Wanted,
};

pub use events::Events;

/// Longest answer that is read: a page of chains has about a MiB, and a proof at most so much.
const MAX_BYTES: u64 = Document::MAX_BYTES as u64;

/// How long an answer may take, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks the node at one address. Cheap to clone; connections are shared and kept.
#[derive(Clone)]
pub struct Client {
    base: String,
    agent: ureq::Agent,
    token: Option<String>,
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody listens there, or the connection broke, or the time was over.
    #[error("{url}: {source}; is the node running there?")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What went wrong.
        source: Box<ureq::Error>,
    },
    /// The node said why not.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// Somebody else listens there.
    #[error("{url}: the server answers {status}, and it does not seem to be a node")]
    NoNode {
        /// What was asked for.
        url: String,
        /// What it said.
        status: StatusCode,
    },
    /// An answer that this version of the client does not understand.
    #[error("{url}: not what a node answers: {why}")]
    Unexpected {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        why: String,
    },
}

impl Error {
    /// The problem, if the node told one.
    pub fn problem(&self) -> Option<&Problem> {
        if let Self::Problem(problem) = self { Some(problem) } else { None }
    }

    /// Its stable code, such as `MS-4002`.
    pub fn code(&self) -> Option<&str> {
        self.problem()?.code.as_deref()
    }

    /// Whether what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        self.problem().is_some_and(|problem| problem.status == 404)
    }

    /// Whether the node says that the block is not indexed yet, or never will be.
    pub fn is_not_indexed(&self) -> bool {
        self.problem().is_some_and(|problem| problem.kind() == "not-indexed")
    }

    fn unexpected(url: &str, why: impl fmt::Display) -> Self {
        Self::Unexpected { url: url.to_owned(), why: why.to_string() }
    }
}

/// Which side chains are wanted.
#[derive(Debug, Clone, Default)]
pub struct ChainFilter {
    /// Only those that do this.
    pub state: Option<State>,
    /// Only those that do so for this reason.
    pub reason: Option<Reason>,
    /// Only those whose id or name contains this text.
    pub text: Option<String>,
}

impl ChainFilter {
    fn query(&self) -> String {
        let mut query = String::new();
        let names = [self.state.map(State::name), self.reason.map(Reason::name), self.text.as_deref()];
        for (name, value) in ["state", "reason", "q"].into_iter().zip(names) {
            if let Some(value) = value {
                let _ = write!(query, "&{name}={}", escaped(value));
            }
        }
        query
    }
}

impl Client {
    /// A client of the node at `url`; a bare `host:port` will do.
    pub fn new(url: &str) -> Self {
        let url = url.trim_end_matches('/');
        let base = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("mainstem-client/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { base, agent: config.into(), token: None, timeout: TIMEOUT }
    }

    /// Shows this secret with every request, as `Authorization: Bearer ..`.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Gives up on an answer after so long instead of 30 s. What waits by itself gets so much more.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Where the node is: `http://host:port`.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// `GET /v1/status`
    pub fn status(&self) -> Result<Status, Error> {
        self.get("/v1/status")
    }

    /// `GET /v1/stats`
    pub fn stats(&self) -> Result<Stats, Error> {
        self.get("/v1/stats")
    }

    /// A page of `GET /v1/chains`: at most `limit` chains that come after this one.
    pub fn chains(
        &self,
        filter: &ChainFilter,
        after: Option<ChainId>,
        limit: usize,
    ) -> Result<Chains, Error> {
        let after = after.map_or_else(String::new, |after| format!("&after={}", after.0));
        self.get(&format!("/v1/chains?limit={limit}{after}{}", filter.query()))
    }

    /// `GET /v1/chains/{id}`
    pub fn chain(&self, chain: ChainId) -> Result<SideChain, Error> {
        self.get(&format!("/v1/chains/{}", chain.0))
    }

    /// `GET /v1/chains/{id}/history`
    pub fn history(&self, chain: ChainId) -> Result<History, Error> {
        self.get(&format!("/v1/chains/{}/history", chain.0))
    }

    /// `GET /v1/chains/{id}/why`
    pub fn why(&self, chain: ChainId) -> Result<Why, Error> {
        self.get(&format!("/v1/chains/{}/why", chain.0))
    }

    /// `GET /v1/chains/{id}/blocks/{height}`
    pub fn side_block(&self, chain: ChainId, height: Height) -> Result<IndexedBlock, Error> {
        self.get(&format!("/v1/chains/{}/blocks/{height}", chain.0))
    }

    /// `GET /v1/blocks/{height}`
    pub fn block(&self, height: Height) -> Result<MainBlock, Error> {
        self.get(&format!("/v1/blocks/{height}"))
    }

    /// `GET /v1/blocks/latest`
    pub fn latest_block(&self) -> Result<MainBlock, Error> {
        self.get("/v1/blocks/latest")
    }

    /// A page of `GET /v1/headers`: at most `limit` headers from this height on.
    pub fn headers(&self, from: Height, limit: usize) -> Result<Headers, Error> {
        self.get(&format!("/v1/headers?from={from}&limit={limit}"))
    }

    /// A page of `GET /v1/peers`.
    pub fn peers(&self, after: Option<u64>) -> Result<Peers, Error> {
        let after = after.map_or_else(String::new, |after| format!("?after={after}"));
        self.get(&format!("/v1/peers{after}"))
    }

    /// A page of `GET /v1/peers/{session}`.
    pub fn peer(&self, session: u64, after: Option<ChainId>) -> Result<PeerChains, Error> {
        let after = after.map_or_else(String::new, |after| format!("?after={}", after.0));
        self.get(&format!("/v1/peers/{session}{after}"))
    }

    /// `GET /v1/refusals`
    pub fn refusals(&self) -> Result<Refusals, Error> {
        self.get("/v1/refusals")
    }

    /// `GET /v1/trace/blocks/{height}`
    pub fn trace(&self, height: Height) -> Result<BlockTrace, Error> {
        self.get(&format!("/v1/trace/blocks/{height}"))
    }

    /// `GET /livez`, `/readyz` or `/startupz`, also when it fails.
    pub fn health(&self, route: &str) -> Result<Health, Error> {
        let url = format!("{}{route}", self.base);
        let (status, body) = self.read(&url, self.send(self.agent.get(&url), self.timeout).call())?;
        if status.is_success() || status == StatusCode::SERVICE_UNAVAILABLE {
            return serde_json::from_slice(&body).map_err(|error| Error::unexpected(&url, error));
        }
        Err(refused(&url, status, &body))
    }

    /// `GET /v1/proofs/{chain}/{height}`: that a side block was indexed, under the header of `head` if one is given.
    pub fn proof(&self, chain: ChainId, height: Height, head: Option<Height>) -> Result<Proof, Error> {
        let head = head.map_or_else(String::new, |head| format!("?head={head}"));
        self.block_proof(&format!("/v1/proofs/{}/{height}{head}", chain.0), self.timeout)
    }

    /// The same; if the block is not indexed yet, the node waits for it, at most for so long, and answers as soon as it
    /// is. Nodes wait for a minute at most.
    pub fn wait_for_proof(&self, chain: ChainId, height: Height, wait: Duration) -> Result<Proof, Error> {
        let path = format!("/v1/proofs/{}/{height}?wait={}ms", chain.0, wait.as_millis());
        self.block_proof(&path, self.timeout + wait)
    }

    fn block_proof(&self, path: &str, timeout: Duration) -> Result<Proof, Error> {
        match self.document_within(path, timeout)? {
            Document::Block(proof) => Ok(proof),
            other => Err(self.other_kind(path, &other)),
        }
    }

    /// `GET /v1/proofs/tx/{chain}/{id}`: that a transaction is in an indexed side block. `id` is `0x` and hex digits.
    pub fn transaction(&self, chain: ChainId, id: &str, head: Option<Height>) -> Result<Document, Error> {
        let head = head.map_or_else(String::new, |head| format!("?head={head}"));
        self.document(&format!("/v1/proofs/tx/{}/{}{head}", chain.0, escaped(id)))
    }

    /// `POST /v1/proofs`: one proof of many side blocks.
    pub fn proofs(&self, blocks: &[(ChainId, Height)], head: Option<Height>) -> Result<Document, Error> {
        let blocks = blocks.iter().map(|&(chain, height)| BlockName { chain, height }).collect();
        let body = serde_json::to_vec(&Wanted { blocks, head }).expect("numbers can be written");
        let url = format!("{}/v1/proofs", self.base);
        let request = self.agent.post(&url).header("accept", BINARY).header("content-type", JSON);
        let answer = self.answer(&url, self.send(request, self.timeout).send(&body[..]))?;
        document(&url, &answer)
    }

    /// `GET /v1/consistency`: that the header of `to` continues the history of that of `from`.
    pub fn consistency(&self, from: Height, to: Height) -> Result<ConsistencyProof, Error> {
        let path = format!("/v1/consistency?from={from}&to={to}");
        match self.document(&path)? {
            Document::Consistency(proof) => Ok(proof),
            other => Err(self.other_kind(&path, &other)),
        }
    }

    /// `GET /v1/blocks/{height}/chains/{chain}`: all blocks of a chain in a main block, or that it has none there.
    pub fn all_of(&self, chain: ChainId, main: Height, head: Option<Height>) -> Result<Document, Error> {
        let head = head.map_or_else(String::new, |head| format!("?head={head}"));
        self.document(&format!("/v1/blocks/{main}/chains/{}{head}", chain.0))
    }

    /// `POST /v1/verify`: what the node thinks of a proof. Nobody has to believe it: [`Document::verify_trusting`] needs
    /// no node.
    pub fn verify(&self, proof: &Document) -> Result<Verdict, Error> {
        let url = format!("{}/v1/verify", self.base);
        let request = self.agent.post(&url).header("content-type", BINARY);
        let answer = self.answer(&url, self.send(request, self.timeout).send(&proof.to_bytes()[..]))?;
        serde_json::from_slice(&answer).map_err(|error| Error::unexpected(&url, error))
    }

    /// A proof of any kind, by its path. It comes in the binary form, which is a third as long.
    pub fn document(&self, path: &str) -> Result<Document, Error> {
        self.document_within(path, self.timeout)
    }

    fn document_within(&self, path: &str, timeout: Duration) -> Result<Document, Error> {
        let url = format!("{}{path}", self.base);
        let request = self.agent.get(&url).header("accept", BINARY);
        document(&url, &self.answer(&url, self.send(request, timeout).call())?)
    }

    /// Gets a path of the API that has no method of its own here.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let url = format!("{}{path}", self.base);
        let answer = self.answer(&url, self.send(self.agent.get(&url), self.timeout).call())?;
        serde_json::from_slice(&answer).map_err(|error| Error::unexpected(&url, error))
    }

    /// Posts JSON to a path of the API that has no method of its own here.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        let url = format!("{}{path}", self.base);
        let body = serde_json::to_vec(body).map_err(|error| Error::unexpected(&url, error))?;
        let request = self.agent.post(&url).header("content-type", JSON);
        let answer = self.answer(&url, self.send(request, self.timeout).send(&body[..]))?;
        serde_json::from_slice(&answer).map_err(|error| Error::unexpected(&url, error))
    }

    /// `GET /v1/headers/{height}`
    pub fn header(&self, height: Height) -> Result<Header, Error> {
        self.get(&format!("/v1/headers/{height}"))
    }

    /// `GET /v1/headers/latest`
    pub fn latest_header(&self) -> Result<Header, Error> {
        self.get("/v1/headers/latest")
    }

    fn send<T>(&self, request: RequestBuilder<T>, timeout: Duration) -> RequestBuilder<T> {
        let request = match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        request.config().timeout_global(Some(timeout)).build()
    }

    /// The body of an answer, or the problem that it tells.
    fn answer(&self, url: &str, response: Result<Response<Body>, ureq::Error>) -> Result<Vec<u8>, Error> {
        let (status, body) = self.read(url, response)?;
        if status.is_success() { Ok(body) } else { Err(refused(url, status, &body)) }
    }

    #[expect(clippy::unused_self, reason = "reads as one chain of calls")]
    fn read(
        &self,
        url: &str,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Result<(StatusCode, Vec<u8>), Error> {
        let unreachable = |source| Error::Unreachable { url: url.to_owned(), source: Box::new(source) };
        let mut response = response.map_err(unreachable)?;
        let body = response.body_mut().with_config().limit(MAX_BYTES).read_to_vec();
        Ok((response.status(), body.map_err(unreachable)?))
    }

    fn other_kind(&self, path: &str, document: &Document) -> Error {
        Error::unexpected(&format!("{}{path}", self.base), format_args!("a {} proof", document.kind()))
    }
}

impl fmt::Debug for Client {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

const BINARY: &str = "application/octet-stream";
const JSON: &str = "application/json";

fn document(url: &str, bytes: &[u8]) -> Result<Document, Error> {
    Document::parse(bytes).map_err(|error| Error::unexpected(url, error))
}

fn refused(url: &str, status: StatusCode, body: &[u8]) -> Error {
    match serde_json::from_slice(body) {
        Ok(problem) => Error::Problem(Box::new(problem)),
        Err(_) => Error::NoNode { url: url.to_owned(), status },
    }
}

/// A text as it may stand in a path or in a query (RFC 3986, section 2.3).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests;
