//! The dashboard: a few files that the program carries, under `/ui/`. `bins/mainstem/web/README.md` tells how they
//! are made.
//!
//! # Architecture invariant
//! Nothing here reads the node. The pages ask the API's routes, like everyone else, and are fetched from nowhere
//! else: the policy that each answer carries lets a browser load nothing, and run nothing, but these files.

use std::sync::OnceLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};

use crate::api::problem;

/// Where the dashboard is.
pub(crate) const HOME: &str = "/ui/";

/// What a browser may do with the pages: load scripts, styles and pictures from here, ask this API, and no more.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file, as it is built in.
struct File {
    /// Below `/ui/`; empty for the page itself.
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
    tag: OnceLock<String>,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($path:literal $content_type:ident $file:literal)*) => {
        [$(File { path: $path, content_type: $content_type, bytes: include_bytes!($file), tag: OnceLock::new() }),*]
    };
}

/// All of them. The verifier's modules stand beside each other, since they import each other by such paths.
static FILES: [File; 27] = files! {
    "" HTML "../web/index.html"
    "style.css" CSS "../web/style.css"
    "icon.svg" SVG "../web/icon.svg"
    "theme.js" JS "../web/theme.js"
    "app.js" JS "../web/app.js"
    "dom.js" JS "../web/dom.js"
    "live.js" JS "../web/live.js"
    "chart.js" JS "../web/chart.js"
    "table.js" JS "../web/table.js"
    "states.js" JS "../web/states.js"
    "overview.js" JS "../web/overview.js"
    "chains.js" JS "../web/chains.js"
    "chain.js" JS "../web/chain.js"
    "blocks.js" JS "../web/blocks.js"
    "peers.js" JS "../web/peers.js"
    "proof.js" JS "../web/proof.js"
    "proof-steps.js" JS "../web/proof-steps.js"
    "proof-picture.js" JS "../web/proof-picture.js"
    "verify.mjs" JS "../../../engine/verify/js/mainstem-verify.mjs"
    "binary-form.mjs" JS "../../../engine/verify/js/binary-form.mjs"
    "bytes.mjs" JS "../../../engine/verify/js/bytes.mjs"
    "evm.mjs" JS "../../../engine/verify/js/evm.mjs"
    "json-form.mjs" JS "../../../engine/verify/js/json-form.mjs"
    "json.mjs" JS "../../../engine/verify/js/json.mjs"
    "keccak256.mjs" JS "../../../engine/verify/js/keccak256.mjs"
    "sha256.mjs" JS "../../../engine/verify/js/sha256.mjs"
    "tree.mjs" JS "../../../engine/verify/js/tree.mjs"
};

/// The routes of this file, for a router of any state.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(home))
        .route("/ui", get(async || redirect()))
        .route(HOME, get(async |headers: HeaderMap| FILES[0].answer(&headers)))
        .route("/ui/{file}", get(file))
}

/// Browsers are sent to the dashboard. Others asked for nothing that is here, and are told of all routes.
async fn home(headers: HeaderMap, uri: Uri) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accepts.is_some_and(|accept| accept.contains("text/html")) {
        redirect()
    } else {
        problem::no_route(uri).await.into_response()
    }
}

/// Not for good: what `/` answers may change with a later version.
fn redirect() -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, HOME)]).into_response()
}

async fn file(Path(path): Path<String>, headers: HeaderMap, uri: Uri) -> Response {
    match FILES[1..].iter().find(|file| file.path == path) {
        Some(file) => file.answer(&headers),
        None => problem::no_route(uri).await.into_response(),
    }
}

impl File {
    /// The file, or that the browser has it already. It asks every time: the files of another version have other
    /// tags, and pages of two versions must not meet.
    fn answer(&self, asked: &HeaderMap) -> Response {
        let tag = self.tag.get_or_init(|| {
            let hash = Sha256::digest(self.bytes);
            format!("\"{}\"", const_hex::encode(&hash[..12]))
        });
        let same = |had: &str| had.trim().trim_start_matches("W/") == tag || had.trim() == "*";
        let has = asked
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(same));
        let headers = [
            (header::ETAG, tag.as_str()),
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        ];
        if has {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, [(header::CONTENT_TYPE, self.content_type)], self.bytes).into_response()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::HeaderValue;

    use super::*;

    async fn ask(path: &str, header: Option<(HeaderName, &str)>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let mut headers = HeaderMap::new();
        headers.extend(header.map(|(name, value)| (name, HeaderValue::from_str(value).unwrap())));
        let (head, body) = file(Path(path.into()), headers, Uri::from_static("/ui/x")).await.into_parts();
        (head.status, head.headers, to_bytes(body, 1 << 20).await.unwrap().to_vec())
    }

    #[tokio::test]
    async fn a_file_is_sent_once_and_again_only_when_it_changes() {
        let (status, headers, body) = ask("app.js", None).await;
        assert_eq!((status, &headers[header::CONTENT_TYPE]), (StatusCode::OK, &HeaderValue::from_static(JS)));
        assert!(!body.is_empty());
        let tag = headers[header::ETAG].to_str().unwrap().to_owned();
        for (asked, answer) in [
            (tag.as_str(), StatusCode::NOT_MODIFIED),
            (&format!("\"other\", W/{tag}"), StatusCode::NOT_MODIFIED),
            ("*", StatusCode::NOT_MODIFIED),
            ("\"other\"", StatusCode::OK),
        ] {
            let (status, headers, body) = ask("app.js", Some((header::IF_NONE_MATCH, asked))).await;
            assert_eq!((status, body.is_empty()), (answer, answer == StatusCode::NOT_MODIFIED), "{asked}");
            assert_eq!(headers[header::ETAG], tag);
        }
    }

    #[tokio::test]
    async fn every_file_forbids_what_the_dashboard_does_not_need() {
        for file in &FILES {
            let response = file.answer(&HeaderMap::new());
            let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
            assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        }
    }

    #[tokio::test]
    async fn what_is_no_file_is_no_route() {
        for path in ["", "index.html", "../app.js", "app.js/", "APP.JS"] {
            assert_eq!(ask(path, None).await.0, StatusCode::NOT_FOUND, "{path:?}");
        }
    }

    #[tokio::test]
    async fn only_browsers_are_sent_from_the_root_to_the_dashboard() {
        let accepting = |accept: &'static str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            home(headers, Uri::from_static("/"))
        };
        let response = accepting("text/html,application/xhtml+xml,*/*;q=0.8").await;
        assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(response.headers()[header::LOCATION], HOME);
        assert_eq!(accepting("*/*").await.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn the_dashboard_is_light_runs_nothing_inline_and_links_only_to_its_own_files() {
        let weight: usize = FILES.iter().map(|file| file.bytes.len()).sum();
        assert!(weight < 300_000, "{weight} bytes");
        let page = std::str::from_utf8(FILES[0].bytes).unwrap();
        assert!(!page.contains("<style") && !page.contains(" style="));
        assert!(!page.split_whitespace().any(|word| word.starts_with("on") && word.contains('=')));
        assert_eq!(
            page.matches("<script").count(),
            page.matches("<script src=\"").count() + page.matches("<script type=\"module\" src=\"").count()
        );
        for link in page
            .split("src=\"")
            .skip(1)
            .chain(page.split("<link ").skip(1).filter_map(|link| link.split("href=\"").nth(1)))
        {
            let path = link.split('"').next().unwrap();
            assert!(FILES.iter().any(|file| !path.is_empty() && file.path == path), "{path}");
        }
    }
}
