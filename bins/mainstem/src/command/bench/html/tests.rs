//! That the page is whole, needs nothing from elsewhere, and cannot be taken over by what is in a file.

use super::*;
use crate::command::bench::outcome::{Quantile, Tick};

/// What no browser may take for markup.
const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror='a'>\"&";

fn sample() -> Outcome {
    Outcome::sample()
}

/// Fails unless every element that is opened is closed, in order. What lies in `style` and `script` is no markup.
fn assert_well_formed(page: &str) {
    const VOID: [&str; 4] = ["meta", "br", "img", "link"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("a page of today");
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let end = rest.find('>').unwrap_or_else(|| panic!("an element without an end: {rest:.80}"));
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        assert_eq!(tag.matches('"').count() % 2, 0, "an attribute without an end: {tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed, but not open");
            continue;
        }
        let name = tag.split([' ', '/']).next().expect("a name");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "no name of an element: {tag}");
        if tag.ends_with('/') || VOID.contains(&name) {
            continue;
        }
        open.push(name);
        if name == "style" || name == "script" {
            rest = &rest[rest.find(&format!("</{name}>")).expect("it ends")..];
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

/// The JSON of an element.
fn embedded(page: &str, id: &str) -> Outcome {
    let start = format!("id=\"{id}\">");
    let from = page.find(&start).expect("the element is there") + start.len();
    let to = from + page[from..].find("</script>").expect("it ends");
    serde_json::from_str(&page[from..to]).expect("it is JSON")
}

#[test]
fn the_page_of_a_run_is_well_formed_and_whole() {
    let page = page(&sample()).into_string();
    assert_well_formed(&page);
    for section in [
        "Throughput",
        "Roofline",
        "Latency by percentile",
        "Latency over time",
        "Stages",
        "Queues",
        "Processor time",
        "Memory",
        "Latency percentiles",
        "Latencies",
        "Machine",
        "Options",
        "Heap allocations",
    ] {
        assert_eq!(
            page.matches(&format!("<h2>{section}</h2>")).count(),
            if section == "Stages" { 2 } else { 1 }
        );
    }
    assert_eq!(page.matches("<svg ").count(), 8, "eight plots");
    assert!(page.contains("<h1>6.33 M side blocks a second, durably</h1>"));
    assert!(page.contains("<title>3.20 s\ndurable: 6."), "values are shown under the pointer");
    assert!(embedded(&page, "outcome") == sample());
}

#[test]
fn a_page_without_limits_shows_nothing_that_was_not_measured() {
    let outcome = Outcome::sample_without_limits();
    let page = page(&outcome).into_string();
    assert!(page.contains("Latencies</h2>") && page.contains("seal and hash"), "what was measured is there");
    for absent in [
        "disk alone",
        "disk_sync",
        "oofline",
        "QUIC",
        "each alone",
        "need alone",
        "Every limit",
        "costs_ns",
        "bottleneck",
    ] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(embedded(&page, "outcome") == outcome);
}

#[test]
fn the_page_of_two_runs_is_well_formed_and_whole() {
    let (a, mut b) = (sample(), sample());
    b.chains = 1_000;
    let page = comparison::page(&Comparison::of(&a, &b)).into_string();
    assert_well_formed(&page);
    assert!(page.contains("These runs differ in more than their results"));
    assert!(page.contains("<h2>B: queues</h2>"));
    assert!((embedded(&page, "outcome-a"), embedded(&page, "outcome-b")) == (a, b));
}

#[test]
fn nothing_is_fetched_and_nothing_runs() {
    let (a, b) = (sample(), sample());
    for page in [page(&a).into_string(), comparison::page(&Comparison::of(&a, &b)).into_string()] {
        for external in ["http:", "https:", "//", "url(", "@import", " src=", " href=", "javascript"] {
            assert!(!page.contains(external), "{external}");
        }
        assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
    }
}

#[test]
fn hostile_texts_stay_texts() {
    let mut outcome = sample();
    let text = || HOSTILE.to_owned();
    outcome.options.insert(text(), HOSTILE.into());
    outcome.options.insert("rate".into(), serde_json::json!({ HOSTILE: [HOSTILE] }));
    outcome.machine.cpu = text();
    outcome.machine.kernel = text();
    outcome.machine.disk = text();
    outcome.version = text();
    outcome.started = text();
    outcome.command = text();
    outcome.bottleneck_stage = Some(text());
    outcome.stages[0].name = text();
    outcome.stages[0].unit = text();
    for tick in &mut outcome.timeline {
        tick.utilisation.insert(text(), 0.5);
        tick.queue.insert(text(), 0.5);
    }
    outcome.allocations.as_mut().unwrap().by_thread[0].name = text();
    let plain = sample();
    for page in
        [page(&outcome).into_string(), comparison::page(&Comparison::of(&plain, &outcome)).into_string()]
    {
        assert_well_formed(&page);
        assert!(!page.contains("<script>") && !page.contains("<img"), "markup out of a text");
        assert!(page.contains("&lt;script&gt;alert(1)"), "the text is shown");
        assert_eq!(page.matches("<script ").count(), page.matches("</script>").count());
    }
    assert!(embedded(&page(&outcome).into_string(), "outcome") == outcome);
}

#[test]
fn a_value_between_gaps_is_a_dot() {
    let mut outcome = sample();
    let lonely =
        |outcome: &Outcome| charts::latency(&[("", outcome)]).into_string().matches("<circle ").count();
    assert_eq!(lonely(&outcome), 0);
    for (index, tick) in outcome.timeline.iter_mut().enumerate() {
        if index % 10 != 5 {
            (tick.p50_ms, tick.p99_ms) = (None, None);
        }
    }
    assert_eq!(lonely(&outcome), 12, "six values of two lines");
}

#[test]
fn runs_without_a_timeline_or_with_odd_values_have_a_page_too() {
    let mut bare = sample();
    bare.timeline.clear();
    bare.stages.clear();
    bare.latency.clear();
    bare.allocations = None;
    bare.spent_ns = crate::command::bench::outcome::Spent::default();
    let mut still = sample();
    for tick in &mut still.timeline {
        *tick = Tick { at: tick.at, blocks_per_second: 0.0, p50_ms: None, p99_ms: None, ..tick.clone() };
        tick.queue.clear();
    }
    let mut once = sample();
    once.timeline.truncate(1);
    once.latency.truncate(1);
    let mut huge = sample();
    huge.timeline[0].at = -1e18;
    huge.timeline[59].at = 1e18;
    huge.timeline[30].blocks_per_second = 1e18;
    huge.timeline[30].utilisation.insert("ingest".into(), 1e18);
    huge.latency.push(Quantile { quantile: 99.999_999_999, ms: 1e18 });
    huge.limits.quic = 1e-300;
    let unlimited = Outcome::sample_without_limits();
    for outcome in [bare, still, once, huge, unlimited] {
        assert_well_formed(&page(&outcome).into_string());
        let plain = sample();
        assert_well_formed(&comparison::page(&Comparison::of(&outcome, &plain)).into_string());
    }
}
