//! GET over HTTP, bounded.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::http::Uri;

use crate::sources::shorten;

/// A base URL to read from.
#[derive(Debug, Clone)]
pub(super) struct Web {
    agent: Agent,
    base: Arc<str>,
    timeout: Duration,
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
        let uri: Option<Uri> = url.parse().ok();
        let is_url = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.query().is_none()
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        };
        let Some(uri) = uri.filter(is_url) else {
            let url = shorten(url, 100);
            return Err(format!("{option} {url:?} is no URL; expected one such as http://127.0.0.1:9480"));
        };
        let mut config = Agent::config_builder();
        if matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]")) {
            // A proxy named by the environment is meant for other machines.
            config = config.proxy(None);
        }
        let agent = config
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .max_redirects(0)
            .user_agent(concat!("tributary/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, base: url.trim_end_matches('/').into(), timeout })
    }

    /// The body of a success; `path` begins with a slash.
    pub(super) fn get(&self, path: &str, most: u64) -> Result<Vec<u8>, WebError> {
        let url = format!("{}{path}", self.base);
        let failed = |error| match error {
            ureq::Error::BodyExceedsLimit(most) => WebError::TooLong { url: url.clone(), most },
            ureq::Error::Timeout(_) => WebError::Unreachable {
                url: url.clone(),
                error: format!("no answer within {:?}", self.timeout),
            },
            error => WebError::Unreachable { url: url.clone(), error: error.to_string() },
        };
        let mut response = self.agent.get(&url).call().map_err(failed)?;
        let status = response.status().as_u16();
        let limit = if status == 200 { most } else { MAX_REFUSAL_BYTES };
        let body = response.body_mut().with_config().limit(limit).read_to_vec();
        if status == 200 {
            return body.map_err(failed);
        }
        let text = shorten(&String::from_utf8_lossy(&body.unwrap_or_default()), 300);
        Err(WebError::Status { url, status, text })
    }
}

/// What is read of a refusal, to show the beginning.
const MAX_REFUSAL_BYTES: u64 = 64 << 10;
