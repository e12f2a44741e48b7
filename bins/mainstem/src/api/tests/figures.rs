//! Health, figures and traces over HTTP.

use std::collections::BTreeSet;

use super::*;

#[test]
fn a_node_that_is_about_to_stop_is_not_ready_and_still_alive() {
    let node = Fixture::new();
    for path in ["/livez", "/readyz", "/startupz"] {
        let health = node.get(path);
        assert_eq!(health["status"], "ok", "{path}: {health}");
    }
    let names = |checks: &Value| -> Vec<String> {
        let names = checks.as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap().to_owned());
        names.collect()
    };
    let ready = node.get("/readyz");
    assert_eq!(
        names(&ready["checks"]),
        ["started", "engine", "log", "disk", "head", "damage", "ingest", "draining"]
    );
    node.health.drain();
    let (status, head, body) = node.ask("GET", "/readyz", b"");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert!(status == 503 && head.contains("content-type: application/json"), "{status} {head}");
    let failing: Vec<_> =
        body["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false).cloned().collect();
    assert_eq!((body["status"].as_str(), names(&failing.into())), (Some("failing"), vec!["draining".into()]));
    assert_eq!(node.get("/readyz?exclude=draining")["status"], "ok");
    assert_eq!(node.get("/livez")["status"], "ok");
    let (_, problem) = node.problem("GET", "/readyz?exclude=drain", b"");
    assert_eq!(problem["field"], "exclude");
}

#[test]
fn stats_tell_head_stages_and_totals() {
    let node = Fixture::new();
    let stats: rest::Stats = serde_json::from_value(node.get("/v1/stats")).unwrap();
    assert_eq!((stats.side_blocks, stats.head.unwrap().height), (BLOCKS, node.reader.head()));
    let names: Vec<_> = stats.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["ingest", "seal", "append", "sync"]);
    assert!(stats.stages.iter().all(|stage| (0.0..=1.0).contains(&stage.busy)));
}

#[test]
fn a_block_s_way_is_told_from_first_to_last_without_a_gap() {
    let node = Fixture::new();
    let trace: rest::BlockTrace = serde_json::from_value(node.get("/v1/trace/blocks/latest")).unwrap();
    let names: Vec<_> = trace.phases.iter().map(|phase| phase.name.as_str()).collect();
    assert_eq!(names, ["gathered", "hashed", "handed-on", "appended", "synced", "published"]);
    assert_eq!((trace.phases[0].start_us, trace.phases[5].end_us), (0, trace.total_us));
    assert!(trace.phases.windows(2).all(|pair| pair[0].end_us == pair[1].start_us), "{trace:?}");
    assert!(trace.leaf_count >= 4 && trace.chain_count == 1 && trace.synced_with >= 1);
    let (status, problem) = node.problem("GET", "/v1/trace/blocks/1000000", b"");
    assert_eq!((status, problem["type"].as_str()), (404, Some("urn:mainstem:problem:not-traced")));
}

#[test]
fn every_metric_is_documented_and_nothing_else_is() {
    let node = Fixture::new();
    node.get("/v1/status");
    // Figures of requests come with the first of them; answers are kept for a moment.
    let metrics = || node.ask("GET", "/metrics", b"").2;
    let deadline = Instant::now() + Duration::from_secs(60);
    let text = loop {
        let text = metrics();
        if text.contains("mainstem_api_request_seconds_bucket") || Instant::now() > deadline {
            break text;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let told: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect();
    let page = include_str!("../../../../../docs/metrics.md");
    let documented: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    let missing: Vec<_> = told.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
    let gone: Vec<_> = documented.difference(&told).collect();
    assert!(gone.is_empty(), "in docs/metrics.md, and not told any more: {gone:?}");
    assert!(text.contains("mainstem_api_requests_total{route=\"/v1/status\",status=\"200\"} 1"), "{text}");
    // Two chains, of which one may have series of its own.
    assert!(text.contains("mainstem_chain_lag_blocks{chain=\"other\"}"), "{text}");
    assert_eq!(text.matches("mainstem_chain_state{").count(), 1, "{text}");
}
