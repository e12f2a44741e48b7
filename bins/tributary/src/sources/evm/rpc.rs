//! JSON-RPC 2.0 over HTTP: calls and batches, bounded in size and in time.
//!
//! Answers are kept as text and parsed where they are needed, so that a fault is told with the height it belongs
//! to, and so that the parts nobody asked for are skipped, not built.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use ureq::RequestBuilder;
use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::typestate::WithBody;

use crate::sources::http::{self, Http, HttpError};
use crate::sources::shorten;

/// An EVM node's endpoint. Cloning shares its connections.
#[derive(Clone, Debug)]
pub(super) struct Rpc {
    http: Http,
    url: Arc<str>,
    shown: Arc<str>,
    headers: Arc<[(HeaderName, HeaderValue)]>,
    max_response_bytes: u64,
}

impl Rpc {
    /// An endpoint whose answers take at most `timeout` and `max_response_bytes` each. `headers` (`Name: value`)
    /// go with every request.
    pub(super) fn new(
        url: &str,
        headers: &[String],
        timeout: Duration,
        max_response_bytes: u64,
    ) -> Result<Self, String> {
        let uri = http::parse(url).map_err(|why| {
            let url = shorten(url, 100);
            format!("{url:?} is no URL of a JSON-RPC endpoint: {why}, as in http://127.0.0.1:8545")
        })?;
        let headers = headers.iter().map(|header| parse_header(header)).collect::<Result<_, _>>()?;
        Ok(Self {
            http: Http::new(&uri, timeout),
            url: url.into(),
            shown: without_secrets(&uri).into(),
            headers,
            max_response_bytes,
        })
    }

    /// The same for one answer to the main chain.
    pub(super) fn for_an_answer(&self) -> Self {
        Self { http: self.http.for_an_answer(), ..self.clone() }
    }

    /// The URL as it may be shown: without a password and without the keys that providers put into paths.
    pub(super) fn shown(&self) -> &Arc<str> {
        &self.shown
    }

    /// One call; `params` is the JSON of the array. `None` when the node answers `null`.
    pub(super) fn call(&self, method: &str, params: &str) -> Result<Option<Box<RawValue>>, CallError> {
        let answer = self.post(&call(0, method, params))?;
        match serde_json::from_slice(&answer) {
            Ok(reply) => Reply::outcome(reply).map(|result| result.map(RawValue::to_owned)),
            Err(error) => Err(CallError::garbage(&error, &answer)),
        }
    }

    /// Sends a body, which is a call or a batch, and returns the answer's.
    pub(super) fn post(&self, body: &str) -> Result<Vec<u8>, CallError> {
        let headers = |request: RequestBuilder<WithBody>| {
            self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
        };
        let reply = self.http.post(&self.url, headers, body, self.max_response_bytes);
        let http::Reply { status, body } = reply.map_err(|error| match error {
            HttpError::Timeout(time) => CallError::Timeout(time),
            HttpError::TooLong(limit) => CallError::TooLarge { limit },
            HttpError::Unreachable(error) => CallError::Unreachable(error),
        })?;
        if status == 200 {
            return Ok(body);
        }
        // Some nodes send a proper JSON-RPC error together with a status of 4xx or 5xx.
        if let Ok(Reply { error: Some(error), .. }) = serde_json::from_slice(&body)
            && !matches!(status, 401 | 403 | 413 | 429)
        {
            return Err(CallError::Rpc(error));
        }
        Err(CallError::Status { status, text: shorten(&String::from_utf8_lossy(&body), 200) })
    }
}

/// The text of one call.
pub(super) fn call(id: usize, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

/// The text of a batch of calls of one method, numbered from 0.
pub(super) fn batch(method: &str, params: impl Iterator<Item = String>) -> String {
    let calls: Vec<_> = params.enumerate().map(|(id, params)| call(id, method, &params)).collect();
    format!("[{}]", calls.join(","))
}

/// The answers to a batch of `count` calls, in the order of the calls, whatever their order in `answer`.
/// `Err` with the position, where it is known, of the first call that was not answered.
pub(super) fn replies(
    answer: &[u8],
    count: usize,
) -> Result<Vec<Option<&RawValue>>, (Option<usize>, CallError)> {
    if !answer.trim_ascii_start().starts_with(b"[") {
        // A node that takes no such batch answers with one error, outside an array.
        let error = match serde_json::from_slice(answer) {
            Ok(Reply { error: Some(error), .. }) => CallError::Rpc(error),
            Ok(_) => CallError::Garbage("one answer to a batch of calls".to_owned()),
            Err(error) => CallError::garbage(&error, answer),
        };
        return Err((None, error));
    }
    let replies: Vec<Reply<'_>> =
        serde_json::from_slice(answer).map_err(|error| (None, CallError::garbage(&error, answer)))?;
    let mut ordered: Vec<Option<Option<&RawValue>>> = vec![None; count];
    for reply in replies {
        let position = reply.position();
        let result = reply.outcome().map_err(|error| (position, error))?;
        let slot = position.and_then(|position| ordered.get_mut(position));
        let Some(slot @ None) = slot else {
            let text = "an answer to a call that was not made, or two to one".to_owned();
            return Err((None, CallError::Garbage(text)));
        };
        *slot = Some(result);
    }
    ordered
        .into_iter()
        .enumerate()
        .map(|(position, slot)| {
            let missing = || CallError::Garbage("no answer to one call of a batch".to_owned());
            slot.ok_or_else(|| (Some(position), missing()))
        })
        .collect()
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// No connection, or it broke.
    #[error("no connection ({0})")]
    Unreachable(String),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// HTTP said no.
    #[error("HTTP status {status} ({text})")]
    Status {
        /// Its number.
        status: u16,
        /// What came with it.
        text: String,
    },
    /// The answer passes the bound.
    #[error("an answer of more than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: u64,
    },
    /// JSON-RPC said no.
    #[error("{0}")]
    Rpc(RpcError),
    /// It is not an answer of JSON-RPC.
    #[error("not an answer of JSON-RPC ({0})")]
    Garbage(String),
}

impl CallError {
    fn garbage(error: &serde_json::Error, answer: &[u8]) -> Self {
        let start = String::from_utf8_lossy(&answer[..answer.len().min(80)]);
        Self::Garbage(format!("{error}; it begins {start:?}"))
    }

    /// Whether the same call in a smaller batch may succeed.
    pub(super) fn may_be_the_batch(&self) -> bool {
        match self {
            Self::Unreachable(_) => false,
            Self::Status { status, .. } => !matches!(status, 401..=407 | 429),
            Self::Rpc(error) => !error.no_such_method(),
            Self::Timeout(_) | Self::TooLarge { .. } | Self::Garbage(_) => true,
        }
    }

    /// Whether asking again is of no use before somebody changes something.
    pub(super) fn lasts(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Timeout(_) | Self::Garbage(_) => false,
            Self::Status { status, .. } => matches!(status, 301..=308 | 401..=407),
            Self::TooLarge { .. } => true,
            Self::Rpc(error) => error.no_such_method() || error.code == INVALID_PARAMS,
        }
    }

    /// What the user can do about it.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "check that the node runs and serves JSON-RPC over HTTP at this URL",
            Self::Timeout(_) => "the node may be overloaded; a smaller --batch or a longer --timeout helps",
            Self::Status { status: 401 | 403 | 407, .. } => {
                "the node wants credentials: give them by --rpc-header 'Authorization: ...'"
            }
            Self::Status { status: 404 | 405 | 301..=308, .. } => {
                "the URL of --rpc is not that of a JSON-RPC endpoint; check its path"
            }
            Self::Status { status: 429, .. } => "the node limits the rate of calls; a smaller --batch helps",
            Self::TooLarge { .. } => "raise --max-response",
            Self::Rpc(error) if error.no_such_method() => {
                "the node does not serve this method: switch its `eth` API on, or use another node"
            }
            Self::Status { .. } | Self::Rpc(_) => "look into the node's log",
            Self::Garbage(_) => "check that the URL of --rpc is that of an EVM node's JSON-RPC endpoint",
        }
    }
}

/// What a node says in the place of a result.
#[derive(Debug, Deserialize, thiserror::Error)]
#[error("error {code}: {}", shorten(message, 200))]
pub(super) struct RpcError {
    #[serde(default)]
    pub(super) code: i64,
    #[serde(default)]
    pub(super) message: String,
}

impl RpcError {
    /// Whether the node has no such method. -32601 by the standard; ganache sends -32700 and these words.
    pub(super) fn no_such_method(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        self.code == METHOD_NOT_FOUND
            || message.contains("method")
                && ["does not exist", "not found", "not supported", "not available", "unsupported"]
                    .iter()
                    .any(|words| message.contains(words))
    }
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<RpcError>,
}

impl<'a> Reply<'a> {
    fn outcome(self) -> Result<Option<&'a RawValue>, CallError> {
        match self.error {
            Some(error) => Err(CallError::Rpc(error)),
            None => Ok(self.result),
        }
    }

    /// Which call it answers.
    fn position(&self) -> Option<usize> {
        // The standard wants the number back as it came; some proxies send it back as a string.
        self.id.and_then(|id| id.get().trim_matches('"').parse().ok())
    }
}

fn without_secrets(uri: &Uri) -> String {
    struct Shown<'a>(&'a Uri);
    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}://{}", self.0.scheme_str().unwrap_or("http"), self.0.host().unwrap_or_default())?;
            if let Some(port) = self.0.port_u16() {
                write!(f, ":{port}")?;
            }
            for part in self.0.path().split('/').skip(1).filter(|part| !part.is_empty()) {
                write!(f, "/{}", if part.len() < LENGTH_OF_A_SECRET { part } else { "…" })?;
            }
            if self.0.query().is_some() { f.write_str("?…") } else { Ok(()) }
        }
    }
    Shown(uri).to_string()
}

fn parse_header(header: &str) -> Result<(HeaderName, HeaderValue), String> {
    let parsed = header.split_once(':').and_then(|(name, value)| {
        Some((name.trim().parse().ok()?, HeaderValue::from_str(value.trim()).ok()?))
    });
    // What it says is a secret: it is not repeated.
    parsed.ok_or_else(|| "a header is not of the form `Name: value`".to_owned())
}

const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
/// Parts of a path this long are taken for keys (Infura: 32 digits, Alchemy: 32 letters).
const LENGTH_OF_A_SECRET: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_put_in_the_order_of_the_calls() {
        let answer = br#"[{"id":2,"result":"c"},{"id":"0","result":"a"},{"id":1,"result":null}]"#;
        let ordered = replies(answer, 3).unwrap();
        let texts: Vec<_> = ordered.iter().map(|reply| reply.map(RawValue::get)).collect();
        assert_eq!(texts, [Some("\"a\""), None, Some("\"c\"")]);
    }

    #[test]
    fn every_call_is_answered_once_or_the_batch_is_refused() {
        for (answer, position) in [
            (r#"[{"id":0,"result":1}]"#, Some(1)),
            (r#"[{"id":0,"result":1},{"id":0,"result":1}]"#, None),
            (r#"[{"id":0,"result":1},{"id":2,"result":1}]"#, None),
            (r#"[{"id":0,"result":1},{"result":1}]"#, None),
            (r#"[{"id":0,"result":1},{"id":1,"error":{"code":-32005,"message":"limit"}}]"#, Some(1)),
            (r#"{"id":null,"error":{"code":-32600,"message":"batch too large"}}"#, None),
            ("[1,2]", None),
            ("<html>", None),
            ("", None),
        ] {
            let (got, error) = replies(answer.as_bytes(), 2).unwrap_err();
            assert_eq!(got, position, "{answer}: {error}");
            assert!(error.may_be_the_batch(), "{answer}: {error}");
        }
    }

    #[test]
    fn a_missing_method_is_known_by_code_or_by_words() {
        let error = |code, message: &str| RpcError { code, message: message.to_owned() };
        assert!(error(-32601, "").no_such_method());
        assert!(
            error(-32700, "The method eth_getBlockReceipts does not exist/is not available").no_such_method()
        );
        assert!(error(-32000, "Method eth_getBlockReceipts not supported").no_such_method());
        assert!(!error(-32000, "header not found").no_such_method());
    }

    #[test]
    fn a_url_is_shown_without_what_is_secret() {
        for (url, shown) in [
            ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
            ("https://node.example/rpc", "https://node.example/rpc"),
            ("https://main.example/v3/0123456789abcdef0123456789abcdef", "https://main.example/v3/…"),
            ("https://node.example/?key=1", "https://node.example?…"),
        ] {
            assert_eq!(&**Rpc::new(url, &[], Duration::from_secs(1), 1).unwrap().shown(), shown);
        }
        for url in
            ["", "127.0.0.1:8545", "ws://127.0.0.1:8545", "http://", "/path", "http://a:b@node.example"]
        {
            assert!(Rpc::new(url, &[], Duration::from_secs(1), 1).is_err(), "{url}");
        }
    }
}
