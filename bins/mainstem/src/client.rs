//! A client of a node's API.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use engine::chain::{ChainId, Height};
use engine::proof::{Document, Proof};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::Body;
use ureq::http::Response;

/// Longest answer that is read: a page of chains has less than a MiB, and a proof at most so much.
const MAX_BYTES: u64 = Document::MAX_BYTES as u64;

/// What a node answers instead of what was asked for.
struct Problem {
    status: u16,
    error: anyhow::Error,
}

/// Asks the node at one address.
#[derive(Debug)]
pub(crate) struct Client {
    base: String,
    agent: ureq::Agent,
}

/// Blocks that a proof is asked for, as `POST /v1/proofs` takes them.
#[derive(Serialize)]
struct Wanted {
    blocks: Vec<WantedBlock>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<Height>,
}

#[derive(Serialize)]
struct WantedBlock {
    chain: ChainId,
    height: Height,
}

impl Client {
    /// A client of the node at `url`; a bare `host:port` will do.
    pub(crate) fn new(url: &str) -> Self {
        let url = url.trim_end_matches('/');
        let base = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build();
        Self { base, agent: config.into() }
    }

    /// `GET /v1/proofs/{chain}/{height}`
    pub(crate) fn proof(&self, chain: ChainId, height: Height, head: Option<Height>) -> Result<Proof> {
        let head = head.map_or_else(String::new, |head| format!("?head={head}"));
        let path = format!("/v1/proofs/{}/{height}{head}", chain.0);
        match self.document(&path)? {
            Document::Block(proof) => Ok(proof),
            other => bail!("{}{path}: the node answers with a {} proof", self.base, other.kind()),
        }
    }

    /// A proof of any kind, by its path. It comes in the binary form, which is a third as long.
    pub(crate) fn document(&self, path: &str) -> Result<Document> {
        let url = format!("{}{path}", self.base);
        let request = self.agent.get(&url).header("accept", "application/octet-stream");
        read(&url, Self::answer(&url, request.call())?)
    }

    /// `POST /v1/proofs`
    pub(crate) fn proofs(&self, blocks: &[(ChainId, Height)], head: Option<Height>) -> Result<Document> {
        let url = format!("{}/v1/proofs", self.base);
        let blocks = blocks.iter().map(|&(chain, height)| WantedBlock { chain, height }).collect();
        let body = serde_json::to_vec(&Wanted { blocks, head })?;
        let request = self.agent.post(&url).header("accept", "application/octet-stream");
        read(&url, Self::answer(&url, request.send(&body[..]))?)
    }

    /// Gets a path of the API. A problem that the node answers becomes an error with its detail.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(path)?.map_err(|problem| problem.error)
    }

    /// The same; `None` if what is asked for is not there.
    pub(crate) fn get_if_there<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        match self.ask(path)? {
            Ok(found) => Ok(Some(found)),
            Err(problem) if problem.status == 404 => Ok(None),
            Err(problem) => Err(problem.error),
        }
    }

    fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<Result<T, Problem>> {
        let url = format!("{}{path}", self.base);
        let answer = Self::answer(&url, self.agent.get(&url).call())?;
        answer
            .map(|body| {
                serde_json::from_slice(&body).with_context(|| format!("{url}: not what a node answers"))
            })
            .map_or_else(|problem| Ok(Err(problem)), |found| found.map(Ok))
    }

    /// The body of an answer, or the problem that it tells.
    fn answer(url: &str, response: Result<Response<Body>, ureq::Error>) -> Result<Result<Vec<u8>, Problem>> {
        let mut response = response.map_err(|error| {
            anyhow!("{url}: {error}; is the node running there? (--node names another, --data reads its directory)")
        })?;
        let body = response.body_mut().with_config().limit(MAX_BYTES).read_to_vec();
        let body = body.with_context(|| format!("{url}: the answer could not be read"))?;
        if response.status().is_success() {
            return Ok(Ok(body));
        }
        let status = response.status().as_u16();
        let detail = serde_json::from_slice::<Value>(&body).ok();
        match detail.as_ref().and_then(|problem| problem.get("detail")?.as_str()) {
            Some(detail) => Ok(Err(Problem { status, error: anyhow!("{detail}") })),
            None => {
                bail!("{url}: the server answers {}, and it does not seem to be a node", response.status())
            }
        }
    }
}

fn read(url: &str, answer: Result<Vec<u8>, Problem>) -> Result<Document> {
    let bytes = answer.map_err(|problem| problem.error)?;
    Document::parse(&bytes).map_err(|error| anyhow!("{url}: not what a node answers: {error}"))
}
