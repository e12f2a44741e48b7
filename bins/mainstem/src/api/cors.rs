//! Which web pages of elsewhere may ask this node (Fetch standard, section "CORS protocol"): none, unless the operator
//! names them.
//!
//! A browser keeps what is answered from pages of elsewhere, but sends what they ask; and a page whose name server says that
//! it is this machine (DNS rebinding) is not of elsewhere to it. So [`Pages::guard`] refuses what names a node that listens
//! on this machine alone by any other name, and what asks for more than to read something once and comes from a page that
//! nobody named.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

use super::problem::Problem;
use crate::listen::{is_this_machine, named};
use crate::settings::Origins;

/// What they may send, and see of the answer.
const HEADERS: HeaderValue = HeaderValue::from_static("accept, content-type, if-none-match, last-event-id");
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");
const SHOWN: HeaderValue = HeaderValue::from_static("etag");

/// For so long, in seconds, a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Which pages may ask. They can change while the node runs: clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Pages {
    origins: Arc<RwLock<Arc<Origins>>>,
    /// Whether the node listens for this machine alone.
    local: bool,
}

impl Pages {
    /// Of these origins may ask, and those of the node itself, which listens on `addr`.
    pub(crate) fn new(addr: SocketAddr, origins: Origins) -> Self {
        Self { origins: Arc::new(RwLock::new(Arc::new(origins))), local: addr.ip().is_loopback() }
    }

    /// From now on, these.
    pub(crate) fn set(&self, origins: Origins) {
        *self.origins.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(origins);
    }

    fn origins(&self) -> Arc<Origins> {
        Arc::clone(&self.origins.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Refuses what pages ask that may not.
    pub(crate) fn guard(&self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(self.clone(), guard))
    }

    /// Why a request is refused, if it is.
    fn refuses(&self, request: &Request) -> Option<&'static str> {
        const NAMED: &str = "this node listens on its own machine alone (api.addr): it is called localhost, 127.0.0.1 or \
                             [::1], or as an origin of api.cors_origins says";
        const FOREIGN: &str =
            "the page that asks is of another origin, and api.cors_origins does not name it";
        const CHANGES: &str = "the page that asks is of another origin, and what is under /v1/admin/ is for no page, \
                               whatever api.cors_origins names";
        let (headers, origins) = (request.headers(), self.origins());
        let Ok(host) = named(request.uri(), headers) else { return Some(NAMED) };
        // A proxy may hand on the name by which the world calls it.
        let is_origin =
            |host: &str| ["https", "http"].iter().any(|scheme| origins.allow(&format!("{scheme}://{host}")));
        if self.local && host.is_some_and(|host| !is_this_machine(host) && !is_origin(host)) {
            return Some(NAMED);
        }
        let origin = headers.get(header::ORIGIN)?;
        let text = origin.to_str().unwrap_or("null");
        // What browsers say of themselves; no page can change it.
        let same = headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin")
            || text
                .split_once("://")
                .is_some_and(|(_, from)| host.is_some_and(|host| host.eq_ignore_ascii_case(from)));
        if same {
            return None;
        }
        let path = request.uri().path();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        match path {
            path if path.starts_with("/v1/admin") => Some(CHANGES),
            "/v1/events" => (!origins.allow(text)).then_some(FOREIGN),
            _ => (!reads && !origins.allow(text)).then_some(FOREIGN),
        }
    }
}

async fn guard(State(pages): State<Pages>, request: Request, next: Next) -> Response {
    let Some(detail) = pages.refuses(&request) else { return next.run(request).await };
    Problem::new(StatusCode::FORBIDDEN, "unauthorized", "The call has no right to be made", detail)
        .render(request.uri())
}

/// A layer that says so. What changes the node is never for pages of elsewhere.
pub(crate) async fn cors(State(pages): State<Pages>, request: Request, next: Next) -> Response {
    let origins = pages.origins();
    let path = request.uri().path();
    let allowed = if path.starts_with("/v1/admin") { None } else { origin(&origins, request.headers()) };
    let preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &allowed {
        Some(_) if preflight => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
            response
        }
        _ => next.run(request).await,
    };
    if !origins.is_empty() {
        response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Some(origin) = allowed {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, SHOWN);
    }
    response
}

/// The page's origin, if it may ask.
fn origin(origins: &Origins, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    origins.allow(origin.to_str().ok()?).then(|| origin.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(pages: &Pages, asked: &str, headers: &[(&str, &str)]) -> bool {
        let (method, path) = asked.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        pages.refuses(&request.body(Body::empty()).unwrap()).is_some()
    }

    fn pages(addr: &str, origins: &str) -> Pages {
        Pages::new(addr.parse().unwrap(), Origins::of(origins).unwrap())
    }

    #[test]
    fn a_node_for_its_own_machine_is_called_by_no_other_name() {
        let local = pages("127.0.0.1:9480", "-");
        let named = |pages: &Pages, host| refused(pages, "GET /v1/status", &[("host", host)]);
        for host in ["localhost", "localhost:9480", "127.0.0.1:9480", "[::1]:9480"] {
            assert!(!named(&local, host), "{host}");
        }
        for host in
            ["evil.example", "evil.example:9480", "127.0.0.1.evil.example", "10.0.0.1:9480", "", "\u{e9}"]
        {
            assert!(named(&local, host), "{host}");
        }
        assert!(!refused(&local, "GET /v1/status", &[]), "no browser leaves it out");
        // What a proxy hands on.
        assert!(!named(&pages("[::1]:9480", "https://main.example"), "main.example"));
        assert!(!named(&pages("0.0.0.0:9480", "-"), "main.example"), "others call it as they do");
        local.set(Origins::of("https://main.example").unwrap());
        assert!(!named(&local, "main.example"), "from now on");
    }

    #[test]
    fn foreign_pages_read_what_everybody_reads_and_do_nothing_else() {
        let node = pages("0.0.0.0:9480", "https://explorer.example");
        let ask = |asked, origin| refused(&node, asked, &[("host", "main.example:9480"), ("origin", origin)]);
        for asked in ["POST /rpc", "POST /v1/verify", "GET /v1/events", "DELETE /v1/admin/chains/7"] {
            for origin in ["https://evil.example", "null", "http://main.example"] {
                assert!(ask(asked, origin), "{asked} {origin}");
            }
            assert!(!ask(asked, "http://main.example:9480"), "the node's own page: {asked}");
            assert!(!refused(&node, asked, &[("host", "main.example:9480")]), "no page: {asked}");
            let behind_a_proxy = [
                ("host", "127.0.0.1:9480"),
                ("origin", "https://main.example"),
                ("sec-fetch-site", "same-origin"),
            ];
            assert!(!refused(&node, asked, &behind_a_proxy), "{asked}");
        }
        assert!(!ask("POST /rpc", "https://explorer.example"));
        assert!(!ask("GET /v1/events", "https://explorer.example"));
        assert!(ask("POST /v1/admin/reload", "https://explorer.example"), "never for pages of elsewhere");
        assert!(!ask("GET /v1/status", "https://evil.example") && !ask("OPTIONS /rpc", "null"));
    }
}
