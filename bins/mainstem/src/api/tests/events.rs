//! Server-sent events, as they come over a socket.

use std::io::{BufRead as _, BufReader};

use super::*;

/// The lines of a stream, without the head and the lengths of chunks.
struct Listener(BufReader<TcpStream>);

impl Listener {
    fn new(node: &Fixture, query: &str, headers: &str) -> Self {
        let stream = node.open(&format!("GET /v1/events{query} HTTP/1.1{headers}"));
        let mut listener = Self(BufReader::new(stream));
        let status = listener.line().unwrap();
        assert!(status.starts_with("HTTP/1.1 200"), "{status}");
        let head = std::iter::from_fn(|| listener.line()).take_while(|line| !line.is_empty());
        let head = head.collect::<Vec<_>>().join("\n").to_lowercase();
        assert!(head.contains("content-type: text/event-stream") && head.contains("no-store"), "{head}");
        listener
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event: its name, its id and its data; `None` at the stream's clean end.
    fn event(&mut self) -> Option<(String, Option<u64>, Value)> {
        let (mut name, mut id) = (String::new(), None);
        loop {
            let line = self.line()?;
            if let Some(text) = line.strip_prefix("event: ") {
                text.clone_into(&mut name);
            } else if let Some(number) = line.strip_prefix("id: ") {
                id = Some(number.parse().unwrap());
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, id, serde_json::from_str(data).unwrap_or_else(|_| data.into())));
            } else if line == "0" {
                return None;
            }
        }
    }

    fn head(&mut self) -> u64 {
        let (name, id, data) = self.event().unwrap();
        assert_eq!((name.as_str(), data["height"].as_u64()), ("head", id));
        id.unwrap()
    }
}

/// The newest main block, once it was told of: word of a block comes a moment after it is in the log.
fn newest_told(node: &Fixture) -> u64 {
    let newest = node.reader.head();
    let deadline = Instant::now() + Duration::from_secs(20);
    while node.heads.watch().borrow().is_none_or(|head| head.header.height < newest) {
        assert!(Instant::now() < deadline, "nobody tells of main block {newest}");
        std::thread::sleep(Duration::from_millis(2));
    }
    newest.0
}

#[test]
fn a_stream_begins_with_the_newest_main_block_and_leaves_none_out() {
    let node = Fixture::new();
    let mut listener = Listener::new(&node, "?topics=heads", "");
    // The newest that was told of: word of a block comes a moment after it is in the log.
    let (_, _, data) = listener.event().unwrap();
    let newest = data["height"].as_u64().unwrap();
    let block = node.get(&format!("/v1/blocks/{newest}"));
    assert_eq!((&data["hash"], &data["height"]), (&block["hash"], &block["header"]["height"]));
    assert_eq!(data["leaf_count"], block["header"]["leaf_count"]);
    for _ in 0..20 {
        node.grow(1);
    }
    let last = node.reader.head().0;
    for height in newest + 1..=last {
        assert_eq!(listener.head(), height);
    }
}

#[test]
fn who_comes_back_hears_of_what_was_missed() {
    let node = Fixture::new();
    let newest = newest_told(&node);
    let mut listener = Listener::new(&node, "?topics=heads", "\r\nlast-event-id: 2");
    let heights: Vec<_> = (3..=newest).map(|_| listener.head()).collect();
    assert_eq!(heights, (3..=newest).collect::<Vec<_>>());
    // An id of another chain, or of one that was made anew, is ahead of what there is.
    let mut listener = Listener::new(&node, "?topics=heads", "\r\nlast-event-id: 4000000");
    assert_eq!(listener.head(), newest);
    // One of somebody else: a browser that is refused never asks again.
    for id in ["x", "0x2", "-1", "99999999999999999999"] {
        // Another node each time: the places of streams are few, and free again only some time after these have ended.
        let node = Fixture::new();
        let newest = newest_told(&node);
        let mut listener = Listener::new(&node, "?topics=heads", &format!("\r\nlast-event-id: {id}"));
        assert_eq!(listener.head(), newest, "{id}");
    }
}

#[test]
fn figures_come_by_themselves() {
    let node = Fixture::new();
    let mut listener = Listener::new(&node, "?topics=stats", "");
    for _ in 0..2 {
        let (name, _, data) = listener.event().unwrap();
        let stats: rest::Stats = serde_json::from_value(data).unwrap();
        assert_eq!((name.as_str(), stats.history.len()), ("stats", 0));
    }
}

#[test]
fn a_topic_that_is_none_is_refused() {
    let node = Fixture::new();
    for (query, field) in
        [("?topics=heads,blocks", "topics"), ("?topics=", "topics"), ("?topic=heads", "topic")]
    {
        let (status, problem) = node.problem("GET", &format!("/v1/events{query}"), b"");
        assert_eq!((status, &problem["field"]), (400, &field.into()), "{query}");
    }
}

#[test]
fn streams_have_their_own_limit_and_leave_room_for_others() {
    let node = Fixture::new();
    let mut streams: Vec<_> = (0..STREAMS).map(|_| Listener::new(&node, "?topics=heads", "")).collect();
    for stream in &mut streams {
        stream.head();
    }
    let (status, problem) = node.problem("GET", "/v1/events", b"");
    assert_eq!((status, &problem["type"]), (503, &"urn:mainstem:problem:busy".into()));
    node.get("/v1/status");
    // A client that goes away is noticed.
    streams.pop();
    while node.problem("GET", "/v1/events?topics=", b"").0 != 400 {}
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let stream = node.open("GET /v1/events?topics=heads HTTP/1.1");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        if line.contains(" 200 ") {
            break;
        }
        assert!(Instant::now() < deadline, "{line}");
    }
}

#[test]
fn a_server_that_stops_ends_its_streams_in_good_order() {
    let mut node = Fixture::new();
    let mut listener = Listener::new(&node, "?topics=heads", "");
    listener.head();
    let server = node.server.take().unwrap();
    let stops = std::thread::spawn(move || server.stop(Duration::from_secs(20)));
    let (name, _, why) = listener.event().unwrap();
    assert_eq!((name.as_str(), why), ("end", "stopping".into()));
    assert!(listener.event().is_none());
    stops.join().unwrap();
}

#[test]
fn who_reads_nothing_does_not_hold_back_the_node_or_other_listeners() {
    let node = Fixture::new();
    let _still = node.open("GET /v1/events HTTP/1.1");
    let mut listener = Listener::new(&node, "?topics=heads", "");
    listener.head();
    node.grow(200);
    let newest = node.reader.head().0;
    while listener.head() != newest {}
}
