//! GET over HTTP, bounded.

use std::sync::Arc;
use std::time::Duration;

use crate::sources::http::{Http, HttpError, Reply, parse_base};
use crate::sources::shorten;

/// A base URL to read from.
#[derive(Debug, Clone)]
pub(super) struct Web {
    http: Http,
    base: Arc<str>,
}

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebError {
    #[error("{url}: {error}")]
    Unreachable { url: String, error: String },
    #[error("{url}: HTTP status {status} ({text})")]
    Status { url: String, status: u16, text: String },
    #[error("{url}: an answer of more than {most} bytes")]
    TooLong { url: String, most: u64 },
}

impl Web {
    /// `option` is where the URL comes from, for the error.
    pub(super) fn new(url: &str, option: &str, timeout: Duration) -> Result<Self, String> {
        let http = Http::new(&parse_base(url, option)?, timeout);
        Ok(Self { http, base: url.trim_end_matches('/').into() })
    }

    /// The same for one answer to the main chain.
    pub(super) fn for_an_answer(&self) -> Self {
        Self { http: self.http.for_an_answer(), base: Arc::clone(&self.base) }
    }

    /// The body of a success; `path` begins with a slash.
    pub(super) fn get(&self, path: &str, most: u64) -> Result<Vec<u8>, WebError> {
        let url = format!("{}{path}", self.base);
        match self.http.get(&url, None, most) {
            Ok(Reply { status: 200, body }) => Ok(body),
            Ok(Reply { status, body }) => {
                let text = shorten(&String::from_utf8_lossy(&body), 300);
                Err(WebError::Status { url, status, text })
            }
            Err(HttpError::TooLong(most)) => Err(WebError::TooLong { url, most }),
            Err(error) => Err(WebError::Unreachable { url, error: error.to_string() }),
        }
    }
}
