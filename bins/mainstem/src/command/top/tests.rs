#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;

use rest::status::{Change, Reason, State};
use rest::{ChainId, Chains, Stats, Status};

use super::data::Sample;
use super::*;

const NOW: u64 = 1_700_000_000_000;

const KEY: &str = "3b6a27bccafe0000000000000000000000000000000000000000000000000000";

const PLAIN: Look = Look { colour: false, unicode: true };

fn chains() -> serde_json::Value {
    let chain = |id: u64, name: &str, state: &str, lag: u64, text: &str| {
        json!({
            "chain_id": id, "chain": format!("c{id}"), "name": name, "first_height": 1, "finality": "single",
            "nodes": [], "received": 830 + lag, "final": 830 + lag, "durable": 830, "evidence": null,
            "status": { "state": state, "reason": "no-data", "text": text, "next": "look at its node", "since": NOW - 61_000 },
            "tip": 830 + lag, "lag_blocks": lag, "lag_seconds": 3.25, "rate": 41.5, "last_block": NOW - 2_000,
            "speaker": KEY, "speaker_address": "10.0.0.7:4000", "speaker_software": "tributary 0.1.0",
        })
    };
    json!({ "chains": [
        chain(1, "alpha", "live", 1, "all that its node has is durable"),
        chain(2, "beta", "stalled", 18, "nothing came for 61 s though its node has 18 more"),
        chain(3, "gamma", "catching-up", 90_000, "blocks come"),
        chain(4, "delta", "disconnected", 5, "none of its nodes is connected"),
    ], "next": null })
}

/// What a node answers, by the shapes that the API is described with.
fn sample() -> Sample {
    let head =
        json!({ "height": 12_345, "hash": format!("0xabcdef01{}", "2".repeat(56)), "time": NOW - 100 });
    let second = |at: u64| json!({ "time": NOW - (60 - at) * 1_000, "side_blocks": at * 1_000, "main_blocks": 10, "p99_ms": 30.0, "waiting": at });
    let stats = json!({
        "time": NOW, "uptime_ms": 90_000_000, "head": head, "side_blocks": 123_456_789,
        "rate": { "side_blocks": 1_234_567.0, "main_blocks": 9.8, "bytes": 92_274_688.0 },
        "latency": { "p50_ms": 12.0, "p99_ms": 31.0, "p999_ms": 44.0, "max_ms": 60.0 },
        "stages": [
            { "name": "ingest", "threads": 1, "busy": 0.45, "queue": 0, "capacity": 64, "unit": "frames", "p50_ms": null, "p99_ms": null },
            { "name": "seal", "threads": 1, "busy": 0.97, "queue": 1_500, "capacity": 65_536, "unit": "side blocks", "p50_ms": 1.2, "p99_ms": 3.4 },
            { "name": "append", "threads": 1, "busy": 0.2, "queue": 1, "capacity": 2, "unit": "main blocks", "p50_ms": 1.0, "p99_ms": 2.0 },
            { "name": "sync", "threads": 1, "busy": 0.3, "queue": 1, "capacity": 3, "unit": "main blocks", "p50_ms": 1.0, "p99_ms": 2.0 },
        ],
        "chains": { "live": 9_990, "stalled": 2, "catching-up": 8, "paused": 0 },
        "sessions": 12, "memory_bytes": 1_073_741_824, "disk": { "used_bytes": 1, "free_bytes": 5_368_709_120_u64 },
        "history": (1..=60).map(second).collect::<Vec<_>>(), "what is new": {},
    });
    let page: Chains = serde_json::from_value(chains()).unwrap();
    let peer = json!({ "session": 4, "key": KEY, "presented": KEY, "frames": 9, "last_frame": null, "window_bytes": 1, "last_refusal": null, "address": "[::ffff:10.0.0.7]:4000", "software": "tributary 0.1.0",
        "since": NOW - 3_700_000, "chains": 4, "speaks_for": 3, "blocks": 1_000, "bytes": 72_000, "behind": 18, "rtt_us": 1_250,
        "memory_bytes": 65_536 });
    let block = |height: u64| {
        let hash = |digit: &str| format!("0x{}", digit.repeat(64));
        json!({ "version": 1, "chain_id": 9, "height": height, "time": NOW - (12_345 - height) * 100, "chain_count": 7,
        "leaf_count": 1_234, "parent": hash("3"), "side_root": hash("1"), "ops_root": hash("4"), "state_root": hash("2"),
        "history_root": hash("5"), "aelf_root": hash("6") })
    };
    Sample {
        status: status(),
        stats: serde_json::from_value(stats).unwrap(),
        chains: Some(page.chains),
        peers: Some(vec![serde_json::from_value(peer).unwrap()]),
        blocks: Some(
            (12_000..=12_345).rev().map(|height| serde_json::from_value(block(height)).unwrap()).collect(),
        ),
        history: None,
    }
}

fn status() -> Status {
    let hash = format!("0x{}", "7".repeat(64));
    let main = json!({ "chain_id": 9, "chain": "9", "name": "main net", "genesis_hash": hash });
    let status = json!({
        "version": "0.1.0", "main_chain": main, "head": null, "first_block": 1, "chains": 4, "side_blocks": 0, "node_key": KEY,
        "ingest_addr": "127.0.0.1:9481", "uptime_ms": 90_000_000,
    });
    serde_json::from_value(status).unwrap()
}

fn app(page: Page) -> App {
    let mut app = App::new("http://127.0.0.1:9480".into(), page);
    app.take(Ok(sample()), Instant::now());
    app
}

fn shown(app: &mut App, size: (u16, u16)) -> String {
    frame(app, PLAIN, size, NOW, true).unwrap()
}

fn press(app: &mut App, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            key => KeyCode::Char(key),
        };
        let _ = app.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
}

/// What is in the column of chains, from the top.
fn order(app: &App) -> Vec<u32> {
    app.chains().iter().map(|chain| chain.chain_id.0).collect()
}

#[test]
fn the_overview_of_a_small_terminal_has_all_that_matters() {
    let text = shown(&mut app(Page::Overview), (80, 24));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], " mainstem main net  http://127.0.0.1:9480             up 1 d 1 h   22:13:20 UTC");
    assert_eq!(lines[1], " [1 Overview]  2 Chains   3 Peers   4 Blocks");
    for said in [
        "rate          1.23 M side blocks/s   9.80 main blocks/s   88.0 MiB/s",
        "main head     12,345   0xabcdef01   0 s ago   123,456,789 side blocks",
        "p50 12.0 ms   p99 31.0 ms   p99.9 44.0 ms   max 60.0 ms",
        "seal          ████████████████   97 % busy   1,500 of 65,536 side blocks",
        "bottleneck    seal: busy 97 % of the time, 1,500 side blocks wait for it",
        "machine       12 sessions   memory 1.00 GiB   log 1 B, 5.00 GiB free",
        "chains        10,000: 9,990 live  8 catching-up  2 stalled",
        "side blocks/s, the last 1 min   highest 60.0 k   now 60.0 k",
    ] {
        // The rest of a long line is cut, never what stands first.
        let said: String = said.chars().take(78).collect();
        assert!(text.contains(&said), "{said:?} in\n{text}");
    }
    assert!(lines.last().unwrap().contains("q quit"), "{text}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn a_stage_with_room_is_no_bottleneck() {
    let mut app = app(Page::Overview);
    let stats = &mut app.sample.as_mut().unwrap().stats;
    stats.stages.iter_mut().for_each(|stage| stage.busy = 0.1);
    assert!(shown(&mut app, (100, 30)).contains("none: every stage has room"));
}

#[test]
fn chains_in_trouble_come_first_and_are_found_by_typing() {
    let mut app = app(Page::Chains);
    assert_eq!(order(&app), [2, 4, 3, 1], "trouble first");
    press(&mut app, "s");
    assert_eq!(order(&app), [1, 2, 3, 4], "by id");
    press(&mut app, "s");
    assert_eq!(order(&app), [3, 2, 4, 1], "by lag");
    press(&mut app, "/STALL\n");
    assert_eq!(order(&app), [2]);
    let text = shown(&mut app, (80, 24));
    assert!(text.contains("4 chains   filter /STALL   1 fit"), "{text}");
    assert!(text.contains("c2         beta         stalled"), "{text}");
    assert!(text.contains("\n c2: nothing came for 61 s though its node has 18 more\n"), "{text}");
    press(&mut app, "\x1b");
    assert_eq!(order(&app).len(), 4);
    // A letter that is a key elsewhere goes into the filter.
    press(&mut app, "/q");
    assert_eq!((app.filter.as_str(), app.typing), ("q", true));
}

#[test]
fn a_wide_terminal_says_why_beside_each_chain_and_enter_says_it_in_full() {
    let mut app = app(Page::Chains);
    let text = shown(&mut app, (140, 24));
    assert!(text.contains("nothing came for 61 s though its node has 18 more"), "{text}");
    press(&mut app, "\n");
    assert_eq!(app.why, Some(ChainId(2)));
    let change = Change { time: NOW, state: State::Live, reason: Reason::InStep, text: "it was well".into() };
    app.sample.as_mut().unwrap().history = Some((ChainId(2), vec![change]));
    let text = shown(&mut app, (80, 24));
    for said in [
        "c2 (2) beta",
        "state     stalled   since 1 min 1 s ago",
        "reason    no-data",
        "why       nothing came for 61 s",
        "next      look at its node",
        "durable 830   received 848   at its node 848",
        "10.0.0.7:4000   tributary 0.1.0",
        "22:13:20  live             it was well",
    ] {
        assert!(text.contains(said), "{said:?} in\n{text}");
    }
    press(&mut app, "\x1b");
    assert_eq!(app.why, None);
}

#[test]
fn a_list_scrolls_to_what_is_chosen() {
    let mut app = app(Page::Blocks);
    assert!(
        shown(&mut app, (80, 24))
            .contains("12,345       7       1,234    100 ms  0x11111111  0x22222222  0 s ago")
    );
    press(&mut app, "G");
    let text = shown(&mut app, (80, 24));
    assert!(text.contains("12,000 ") && !text.contains("12,345 "), "{text}");
    press(&mut app, "g");
    assert!(shown(&mut app, (80, 24)).contains("12,345 "));
}

#[test]
fn sessions_get_their_rate_from_two_looks() {
    let mut app = app(Page::Peers);
    let text = shown(&mut app, (80, 24));
    assert!(
        text.contains("3b6a27bc 10.0.0.7:4000         tributary 0...     3/4        -      18  1.2 ms"),
        "{text}"
    );
    let mut later = sample();
    later.peers.as_mut().unwrap()[0].blocks += 5_000;
    let earlier = Instant::now();
    app.take(Ok(sample()), earlier);
    app.take(Ok(later), earlier + Duration::from_secs(2));
    assert!((app.rates[&4] - 2_500.0).abs() < 1e-6);
}

#[test]
fn what_came_last_stays_while_the_node_is_gone() {
    let mut app = app(Page::Overview);
    app.take(Err("connection refused\x1b[2J".into()), Instant::now());
    let text = shown(&mut app, (120, 24));
    assert!(text.contains("NO ANSWER for 0 s, asking again: connection refused?[2J"), "{text}");
    assert!(text.contains("12,345"), "{text}");
    app.take(Ok(sample()), Instant::now());
    assert!(!shown(&mut app, (120, 24)).contains("NO ANSWER"));
}

#[test]
fn the_heading_leaves_out_what_there_is_no_room_for() {
    let (name, named) = (" mainstem main net", " mainstem main net  http://127.0.0.1:9480");
    let (both, up) = ("up 1 d 1 h   22:13:20 UTC", "up 1 d 1 h");
    for (width, left, right) in [(69, named, both), (60, named, up), (50, name, both), (40, name, up)] {
        let text = shown(&mut app(Page::Overview), (width, 24));
        // A column is left free at the end.
        let space = usize::from(width) - 1 - left.len() - right.len();
        assert_eq!(text.lines().next().unwrap(), format!("{left}{}{right}", " ".repeat(space)), "{width}");
    }
}

#[test]
fn why_there_is_no_answer_is_said_in_a_line_of_its_own_and_its_reason_before_the_url() {
    let mut app = app(Page::Overview);
    let why = "http://127.0.0.1:9480: io: Connection refused; is the node running there?";
    app.take(Err(why.into()), Instant::now());
    let line = |app: &mut App, width| shown(app, (width, 24)).lines().nth(2).unwrap().to_owned();
    assert_eq!(line(&mut app, 120), format!(" NO ANSWER for 0 s, asking again: {why}"));
    let short = " NO ANSWER for 0 s, asking again: io: Connection refused; is the node running there?";
    assert_eq!(line(&mut app, 100), short);
    let cut: String = short.chars().take(58).collect();
    assert_eq!(line(&mut app, 60), format!("{cut}.."));
}

#[test]
fn no_size_of_a_terminal_and_no_look_makes_it_fail() {
    for page in Page::ALL {
        for (width, height) in [(1, 1), (39, 7), (40, 8), (80, 24), (250, 70), (60_000, 1)] {
            if u32::from(width) * u32::from(height) > 65_535 {
                continue;
            }
            let mut app = app(page);
            for keys in ["", "?", "x", "\n"] {
                press(&mut app, keys);
                let ascii = Look { colour: true, unicode: false };
                let text = frame(&mut app, ascii, (width, height), NOW, true).unwrap();
                assert!(text.is_ascii(), "{text}");
            }
        }
    }
}

#[test]
fn ctrl_c_and_q_end_it_and_a_page_is_asked_for_when_it_is_opened() {
    let mut app = app(Page::Overview);
    let key = |code, modifiers| KeyEvent::new(code, modifiers);
    assert_eq!(app.key(key(KeyCode::Char('c'), KeyModifiers::CONTROL)), Action::Quit);
    assert_eq!(app.key(key(KeyCode::Char('q'), KeyModifiers::NONE)), Action::Quit);
    assert_eq!(app.key(key(KeyCode::Char('2'), KeyModifiers::NONE)), Action::Ask);
    assert_eq!(app.wanted(), Wanted { page: Some(Page::Chains), chain: None });
    assert_eq!(app.key(key(KeyCode::Enter, KeyModifiers::NONE)), Action::Ask);
    assert_eq!(app.wanted().chain, Some(ChainId(2)));
}

#[test]
fn a_node_in_its_first_minute_is_shown() {
    let begun = json!({
        "time": NOW, "uptime_ms": 900, "head": null, "side_blocks": 0, "latency": null, "stages": [], "chains": {}, "sessions": 0,
        "rate": { "side_blocks": 0.0, "main_blocks": 0.0, "bytes": 0.0 }, "memory_bytes": 1,
        "disk": { "used_bytes": 0, "free_bytes": 1 },
    });
    let begun: Stats = serde_json::from_value(begun).unwrap();
    for page in Page::ALL {
        let mut app = App::new("http://node".into(), page);
        assert!(shown(&mut app, (80, 24)).contains("asking the node"));
        let sample = Sample {
            status: status(),
            stats: begun.clone(),
            chains: Some(vec![]),
            peers: Some(vec![]),
            blocks: Some(vec![]),
            history: None,
        };
        app.take(Ok(sample), Instant::now());
        press(&mut app, "\n");
        let text = shown(&mut app, (80, 24));
        assert!(page != Page::Overview || text.contains("p50 -   p99 -"), "{text}");
    }
}

#[test]
fn a_member_that_is_named_otherwise_is_an_error_and_no_zero() {
    let mut page = chains();
    let chain = page["chains"][0].as_object_mut().unwrap();
    let durable = chain.remove("durable").unwrap();
    chain.insert("stored".into(), durable);
    assert!(serde_json::from_value::<Chains>(page).is_err());
}
