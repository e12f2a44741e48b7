//! A client of a node's API that does not share code with the node.

use std::time::Duration;

use serde_json::Value;

/// Gets a path; gives status and JSON. `None` if there is no node.
pub(crate) fn try_get(api: &str, path: &str) -> Option<(u16, Value)> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)))
        .build();
    let agent: ureq::Agent = config.into();
    let mut response = agent.get(format!("{api}{path}")).call().ok()?;
    let body = response.body_mut().read_to_string().ok()?;
    Some((response.status().as_u16(), serde_json::from_str(&body).ok()?))
}

/// Gets a path that is a text: its content type and itself.
pub(crate) fn text(api: &str, path: &str) -> (String, String) {
    let mut response = ureq::get(format!("{api}{path}")).call().unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    (kind, response.body_mut().read_to_string().unwrap())
}

/// Gets a path that must be there.
pub(crate) fn get(api: &str, path: &str) -> Value {
    let (status, body) = try_get(api, path).unwrap_or_else(|| panic!("{api}{path}: no answer"));
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// The durable heights of all chains, by ascending chain id; `None` if there is no node.
pub(crate) fn try_durable(api: &str) -> Option<Vec<(u32, u64)>> {
    let (status, body) = try_get(api, "/v1/chains")?;
    let number = |chain: &Value, name: &str| chain[name].as_u64().unwrap();
    let chains = body["chains"].as_array().filter(|_| status == 200)?;
    Some(chains.iter().map(|chain| (number(chain, "chain_id") as u32, number(chain, "durable"))).collect())
}

/// The durable height of one chain.
pub(crate) fn durable(api: &str, chain: u32) -> u64 {
    get(api, &format!("/v1/chains/{chain}"))["durable"].as_u64().unwrap()
}
