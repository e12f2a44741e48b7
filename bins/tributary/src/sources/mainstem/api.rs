//! The API of another Mainstem's node, bounded and checked.

use std::sync::Arc;
use std::time::Duration;

use engine::chain::{ChainId, Hash, Height, MainHeader};
use engine::proof::Document;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::sources::http::{Http, Reply, parse_base};
use crate::sources::shorten;

/// Most headers that are asked for at once: as many as a node gives.
const MAX_HEADERS: usize = 256;

/// The longest page of headers that is read: a header has less than 1 KiB.
const MAX_PAGE_BYTES: u64 = 1 << 20;

/// A node's API. Cloning shares its connections.
#[derive(Clone, Debug)]
pub(super) struct Api {
    http: Http,
    base: Arc<str>,
}

/// What `GET /v1/headers` answers: durable headers, by height, without gaps, each following the one before it.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) headers: Vec<MainHeader>,
    /// The next height, if it is there already.
    pub(super) next: Option<Height>,
    /// The newest height.
    pub(super) head: Height,
}

#[derive(Deserialize)]
struct Status {
    main_chain: MainChain,
    head: Option<Head>,
}

#[derive(Deserialize)]
struct MainChain {
    chain_id: ChainId,
}

#[derive(Deserialize)]
struct Head {
    height: Height,
}

/// Why the node gives nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("{0}")]
    Unreachable(String),
    #[error("HTTP status {status}: {detail}")]
    Refused {
        status: u16,
        /// The last part of the problem's type: `pruned`, `unknown-transaction`.
        kind: String,
        detail: String,
    },
    #[error("an answer that is none of a Mainstem node: {0}")]
    Form(String),
    #[error("main block {height}: {field} is {got}; expected {expected}")]
    Wrong { height: Height, field: &'static str, got: String, expected: String },
    #[error("it is a node of main chain {got}, not of {expected}; correct --node or --chain")]
    OtherChain { got: ChainId, expected: ChainId },
}

impl ApiError {
    /// Whether asking again is of no use.
    pub(super) fn lasts(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Form(_) => false,
            Self::Refused { kind, .. } => kind == "pruned",
            Self::Wrong { .. } | Self::OtherChain { .. } => true,
        }
    }
}

#[derive(Deserialize, Default)]
struct Problem {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    detail: String,
}

impl Api {
    pub(super) fn new(url: &str, timeout: Duration) -> Result<Self, String> {
        let http = Http::new(&parse_base(url, "--node")?, timeout);
        Ok(Self { http, base: url.trim_end_matches('/').into() })
    }

    /// The same for one answer to the main chain.
    pub(super) fn for_an_answer(&self) -> Self {
        Self { http: self.http.for_an_answer(), base: Arc::clone(&self.base) }
    }

    /// Where it is.
    pub(super) fn shown(&self) -> &str {
        &self.base
    }

    /// At most `max` headers from `from` on, checked: of main chain `chain`, and each following the one before it.
    pub(super) fn headers(&self, chain: ChainId, from: Height, max: usize) -> Result<Page, ApiError> {
        let limit = max.clamp(1, MAX_HEADERS);
        let page: Page = self.json(&format!("/v1/headers?from={from}&limit={limit}"))?;
        check(&page, chain, from, limit)?;
        Ok(page)
    }

    /// The newest height of main chain `chain`, 0 if it has no block yet.
    pub(super) fn head(&self, chain: ChainId) -> Result<Height, ApiError> {
        let status: Status = self.json("/v1/status")?;
        let got = status.main_chain.chain_id;
        if got != chain {
            return Err(ApiError::OtherChain { got, expected: chain });
        }
        Ok(status.head.map_or(Height(0), |head| head.height))
    }

    /// A proof, by its path, in the binary form. It is not verified.
    pub(super) fn proof(&self, path: &str) -> Result<Document, ApiError> {
        let bytes = self.get(path, "application/octet-stream", Document::MAX_BYTES as u64)?;
        Document::from_bytes(&bytes).map_err(|error| ApiError::Form(error.to_string()))
    }

    fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let bytes = self.get(path, "application/json", MAX_PAGE_BYTES)?;
        serde_json::from_slice(&bytes).map_err(|error| ApiError::Form(shorten(&error.to_string(), 200)))
    }

    fn get(&self, path: &str, accept: &str, most: u64) -> Result<Vec<u8>, ApiError> {
        let reply = self.http.get(&format!("{}{path}", self.base), Some(accept), most);
        let Reply { status, body } = reply.map_err(|error| ApiError::Unreachable(error.to_string()))?;
        if status == 200 {
            return Ok(body);
        }
        let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        let kind = problem.kind.rsplit(':').next().unwrap_or_default();
        Err(ApiError::Refused { status, kind: shorten(kind, 60), detail: shorten(&problem.detail, 300) })
    }
}

fn check(page: &Page, chain: ChainId, from: Height, most: usize) -> Result<(), ApiError> {
    if page.headers.len() > most {
        return Err(ApiError::Form(format!("{} headers; at most {most} were asked for", page.headers.len())));
    }
    if page.head > Height::MAX {
        return Err(ApiError::Form(format!("a newest block of height {}", page.head)));
    }
    let (mut height, mut parent) = (from, None::<Hash>);
    for header in &page.headers {
        let wrong =
            |field, got: String, expected: String| Err(ApiError::Wrong { height, field, got, expected });
        if header.chain_id != chain {
            return Err(ApiError::OtherChain { got: header.chain_id, expected: chain });
        }
        if header.version != MainHeader::VERSION {
            return wrong("version", header.version.to_string(), MainHeader::VERSION.to_string());
        }
        if header.height != height {
            return wrong("height", header.height.to_string(), height.to_string());
        }
        if parent.is_some_and(|parent| parent != header.parent) {
            return wrong("parent", header.parent.to_string(), parent.unwrap_or_default().to_string());
        }
        parent = Some(header.hash());
        height = height.next();
    }
    Ok(())
}
