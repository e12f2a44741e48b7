//! Parameters of requests, read strictly: a misspelt one is an error, not another answer.

use std::str::FromStr;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query};
use axum::http::Uri;
use engine::chain::{ChainId, Height};

use super::problem::Problem;
use super::{MAX_PAGE, MAX_WAIT, PAGE};

/// What a path with parameters gives, or why not.
pub(super) type Params<T> = Result<Path<T>, PathRejection>;

/// The parameters of a path.
pub(super) fn path<T>(params: Params<T>) -> Result<T, Problem> {
    params.map(|Path(values)| values).map_err(|error| Problem::parameter("path", "", error.body_text()))
}

/// A chain id, as a number or in base58.
pub(super) fn chain(text: &str) -> Result<ChainId, Problem> {
    text.parse().map_err(|error| Problem::parameter("chain", text, error))
}

/// The height of a block.
pub(super) fn height(field: &str, text: &str) -> Result<Height, Problem> {
    let number =
        digits::<u64>(text).map(Height).filter(|height| *height > Height(0) && *height <= Height::MAX);
    number.ok_or_else(|| {
        let detail = format!("{:?} is no height: expected a number from 1 to {}", clip(text), Height::MAX);
        Problem::parameter(field, text, detail)
    })
}

/// `from` and `limit` of a list.
pub(super) fn page(uri: &Uri) -> Result<(Height, usize), Problem> {
    let (mut from, mut limit) = (Height(1), PAGE);
    for (name, value) in query(uri, &["from", "limit"])? {
        if name == "from" {
            from = height("from", &value)?;
        } else {
            limit = digits(&value).filter(|n| (1..=MAX_PAGE).contains(n)).ok_or_else(|| {
                Problem::parameter("limit", &value, format!("limit: expected a number from 1 to {MAX_PAGE}"))
            })?;
        }
    }
    Ok((from, limit))
}

/// How long to wait for a block; not at all by default.
pub(super) fn wait(uri: &Uri) -> Result<Duration, Problem> {
    let query = query(uri, &["wait"])?;
    let Some((_, text)) = query.first() else { return Ok(Duration::ZERO) };
    let (number, unit) =
        text.split_at(text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len());
    let wait = match unit {
        "ms" => digits(number).map(Duration::from_millis),
        "s" => digits(number).map(Duration::from_secs),
        _ => None,
    };
    wait.filter(|wait| *wait <= MAX_WAIT).ok_or_else(|| {
        let most = MAX_WAIT.as_secs();
        Problem::parameter("wait", text, format!("wait: expected a time such as 500ms or 30s, up to {most}s"))
    })
}

/// The parameters of a query; names other than `known` are refused.
pub(super) fn query(uri: &Uri, known: &[&str]) -> Result<Vec<(String, String)>, Problem> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error| Problem::parameter("query", uri.query().unwrap_or_default(), error.body_text()))?;
    for (position, (name, value)) in pairs.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let detail = format!("{:?} is no parameter of this route; it takes: {known}", clip(name));
            return Err(Problem::parameter(name, value, detail));
        }
        if pairs[..position].iter().any(|(before, _)| before == name) {
            return Err(Problem::parameter(name, value, format!("{name} is given twice")));
        }
    }
    Ok(pairs)
}

/// A number in decimal digits and nothing else (`+5` is not a number here).
fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn clip(text: &str) -> String {
    text.chars().take(100).collect()
}
