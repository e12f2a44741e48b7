//! HTTP to a node: what a URL has to be, one request with its bounds in size and time, and the time that an answer has.

use std::time::{Duration, Instant};

use ureq::http::{Response, Uri};
use ureq::typestate::{WithBody, WithoutBody};
use ureq::{Agent, Body, RequestBuilder};

use super::shorten;

/// Why a text is not the URL of a node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("{0}; expected http or https")]
    Form(#[from] ureq::http::uri::InvalidUri),
    #[error("expected http:// or https://")]
    Scheme,
    #[error("expected a host")]
    Host,
    #[error("a user and password go into a header, `Authorization: Basic ...`, not into the URL")]
    User,
}

/// The URL of a node: http or https, with a host and without a password.
pub(crate) fn parse(url: &str) -> Result<Uri, UrlError> {
    let uri: Uri = url.parse()?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(UrlError::Scheme);
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(UrlError::Host);
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(UrlError::User);
    }
    Ok(uri)
}

/// As [`parse`], of a URL that paths are put behind; `option` is where it comes from, for the error.
pub(crate) fn parse_base(url: &str, option: &str) -> Result<Uri, String> {
    parse(url).ok().filter(|uri| uri.query().is_none()).ok_or_else(|| {
        let url = shorten(url, 100);
        format!("{option} {url:?} is no URL; expected one such as http://127.0.0.1:9480")
    })
}

/// What sends requests to one node. Cloning shares its connections.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    agent: Agent,
    /// Of each request.
    timeout: Duration,
    /// When all of them together have to be done.
    until: Option<Instant>,
}

/// What a node answered, whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("an answer of more than {0} bytes")]
    TooLong(u64),
    #[error("no answer ({0})")]
    Unreachable(String),
}

impl Http {
    /// To the node at `uri`, each request within `timeout`.
    pub(crate) fn new(uri: &Uri, timeout: Duration) -> Self {
        let mut config = Agent::config_builder();
        if matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]")) {
            // A proxy named by the environment is meant for other machines.
            config = config.proxy(None);
        }
        let agent = config
            // The body of a refusal says more than its number: read it.
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("tributary/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { agent, timeout, until: None }
    }

    /// The same for one answer to the main chain: all its requests together, from now on, take [`ANSWER`] at most.
    pub(crate) fn for_an_answer(&self) -> Self {
        self.until(Instant::now() + ANSWER)
    }

    fn until(&self, until: Instant) -> Self {
        Self { until: Some(until), ..self.clone() }
    }

    /// A GET; `accept` is the form that is wanted. A success has at most `most` bytes.
    pub(crate) fn get(&self, url: &str, accept: Option<&str>, most: u64) -> Result<Reply, HttpError> {
        let mut request: RequestBuilder<WithoutBody> = self.agent.get(url);
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let time = self.time()?;
        let sent = request.config().timeout_global(Some(time)).build().call();
        read(sent, time, most)
    }

    /// A POST of JSON, with what `headers` adds. A success has at most `most` bytes.
    pub(crate) fn post(
        &self,
        url: &str,
        headers: impl FnOnce(RequestBuilder<WithBody>) -> RequestBuilder<WithBody>,
        body: &str,
        most: u64,
    ) -> Result<Reply, HttpError> {
        let request = headers(self.agent.post(url).content_type("application/json"));
        let time = self.time()?;
        let sent = request.config().timeout_global(Some(time)).build().send(body);
        read(sent, time, most)
    }

    /// What the next request has.
    fn time(&self) -> Result<Duration, HttpError> {
        let Some(until) = self.until else { return Ok(self.timeout) };
        match until.saturating_duration_since(Instant::now()).min(self.timeout) {
            Duration::ZERO => Err(HttpError::Timeout(Duration::ZERO)),
            left => Ok(left),
        }
    }
}

fn read(sent: Result<Response<Body>, ureq::Error>, time: Duration, most: u64) -> Result<Reply, HttpError> {
    let failed = |error| match error {
        ureq::Error::Timeout(_) => HttpError::Timeout(time),
        ureq::Error::BodyExceedsLimit(most) => HttpError::TooLong(most),
        ureq::Error::Io(error) => HttpError::Unreachable(error.to_string()),
        error => HttpError::Unreachable(error.to_string()),
    };
    let mut response = sent.map_err(failed)?;
    let status = response.status().as_u16();
    let limit = if status == 200 { most } else { MAX_REFUSAL_BYTES };
    let body = response.body_mut().with_config().limit(limit).read_to_vec();
    // Of a refusal, the status counts.
    let body = if status == 200 { body.map_err(failed)? } else { body.unwrap_or_default() };
    Ok(Reply { status, body })
}

/// How long the requests for one answer may take together: less than the 5 s for which the main chain waits, or few
/// questions to a node that is slow would hold up all others. Tests of a busy machine have longer.
const ANSWER: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 4 });
/// What is read of a refusal's body, to show the beginning.
const MAX_REFUSAL_BYTES: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_the_url_of_a_node_is_one() {
        for url in ["http://127.0.0.1:8545", "https://node.example/rpc", "http://[::1]:1/"] {
            assert!(parse(url).is_ok() && parse_base(url, "--node").is_ok(), "{url}");
        }
        let with_query = "https://node.example/?key=1";
        assert!(parse(with_query).is_ok() && parse_base(with_query, "--node").is_err());
        for url in ["", "a:1", "ws://a", "http://", "/path", "http://a:b@node.example"] {
            assert!(parse(url).is_err() && parse_base(url, "--node").is_err(), "{url}");
        }
    }

    #[test]
    fn an_answer_has_less_time_with_each_request_and_asks_nobody_once_it_is_over() {
        // It takes connections, and says nothing.
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let http = Http::new(&parse(&url).unwrap(), Duration::from_secs(3_600));
        assert_eq!(http.time().unwrap(), Duration::from_secs(3_600));
        assert!(http.for_an_answer().time().unwrap() <= ANSWER);

        let over = http.until(Instant::now());
        assert!(matches!(over.get(&url, None, 1), Err(HttpError::Timeout(Duration::ZERO))));
        assert!(matches!(over.post(&url, |request| request, "", 1), Err(HttpError::Timeout(Duration::ZERO))));
        assert!(listener.accept().is_err(), "nobody called");
        let soon = http.until(Instant::now() + Duration::from_millis(50));
        assert!(matches!(soon.get(&url, None, 1), Err(HttpError::Timeout(_))), "not within the hour");
    }
}
