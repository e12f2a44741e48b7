//! A client of a node's API.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use engine::chain::{ChainId, Height};
use engine::proof::Proof;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longest answer that is read: a page of chains has less than a MiB.
const MAX_BYTES: u64 = 16 << 20;

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
        self.get(&format!("/v1/proofs/{}/{height}{head}", chain.0))
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
        let mut response = self.agent.get(&url).call().map_err(|error| {
            anyhow!("{url}: {error}; is the node running there? (--node names another, --data reads its directory)")
        })?;
        let body = response.body_mut().with_config().limit(MAX_BYTES).read_to_string();
        let body = body.with_context(|| format!("{url}: the answer could not be read"))?;
        if response.status().is_success() {
            let found = serde_json::from_str(&body);
            return found.map(Ok).with_context(|| format!("{url}: not what a node answers"));
        }
        let status = response.status().as_u16();
        let detail = serde_json::from_str::<Value>(&body).ok();
        match detail.as_ref().and_then(|problem| problem.get("detail")?.as_str()) {
            Some(detail) => Ok(Err(Problem { status, error: anyhow!("{detail}") })),
            None => {
                bail!("{url}: the server answers {}, and it does not seem to be a node", response.status())
            }
        }
    }
}
