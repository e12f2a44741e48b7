//! The source against a node that serves what the test wants.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use engine::chain::{MainHeader, Timestamp};
use engine::source::{NoAnswer, Question};
use serde_json::{Value, json};

use super::*;

const CHAIN: ChainId = ChainId(500);

/// A node's API, as far as it is read.
#[derive(Clone)]
struct Node {
    url: String,
    headers: Arc<Mutex<Vec<MainHeader>>>,
    /// In the place of the right answer.
    instead: Arc<Mutex<Option<(u16, Value)>>>,
}

fn header(height: u64, parent: Hash, salt: u8) -> MainHeader {
    MainHeader {
        version: 1,
        chain_id: CHAIN,
        height: Height(height),
        time: Timestamp::from_millis(1_000 * height),
        parent,
        side_root: Hash([salt; 32]),
        chain_count: 1,
        leaf_count: 1,
        ops_root: Hash::ZERO,
        state_root: Hash::ZERO,
        history_root: Hash::ZERO,
        aelf_root: Hash::ZERO,
    }
}

fn headers(count: u64, salt: u8) -> Vec<MainHeader> {
    let mut headers: Vec<MainHeader> = Vec::new();
    for height in 1..=count {
        let parent = headers.last().map_or(Hash([9; 32]), MainHeader::hash);
        headers.push(header(height, parent, salt));
    }
    headers
}

impl Node {
    fn new(count: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let node = Self { url, headers: Arc::new(Mutex::new(headers(count, 1))), instead: Arc::default() };
        let served = node.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let node = served.clone();
                std::thread::spawn(move || node.serve(stream));
            }
        });
        node
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            while !matches!(line.as_str(), "\r\n" | "") {
                line.clear();
                let _ = reader.read_line(&mut line);
            }
            line.clear();
            let (status, body) = self.instead.lock().unwrap().clone().unwrap_or_else(|| self.answer(&path));
            let body = body.to_string();
            let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n", body.len());
            if reader.get_mut().write_all(&[head.as_bytes(), body.as_bytes()].concat()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, path: &str) -> (u16, Value) {
        let headers = self.headers.lock().unwrap();
        let head = headers.len() as u64;
        if path == "/v1/status" {
            let height = (head > 0).then(|| json!({ "height": head, "hash": "0x" }));
            return (200, json!({ "main_chain": { "chain_id": CHAIN.0 }, "head": height }));
        }
        let number = |name: &str| -> u64 {
            let value = path.split_once(&format!("{name}=")).unwrap().1;
            value.split('&').next().unwrap().parse().unwrap()
        };
        let (from, limit) = (number("from"), number("limit"));
        let some: Vec<_> = headers.iter().skip(from as usize - 1).take(limit as usize).collect();
        let next = from + some.len() as u64;
        (200, json!({ "headers": some, "next": (next <= head).then_some(next), "head": head }))
    }

    fn source(&self) -> MainstemSource {
        let config = MainstemConfig { poll: Duration::ZERO, ..MainstemConfig::new(CHAIN, &self.url) };
        MainstemSource::new(config).unwrap()
    }
}

#[test]
fn main_blocks_become_side_blocks_in_order_and_go_on_where_they_ended() {
    let node = Node::new(600);
    let all = node.headers.lock().unwrap().clone();
    let mut source = node.source();
    source.resume(CHAIN, Height(1), None).unwrap();
    let mut out = Columns::default();
    assert_eq!(source.read(CHAIN, 100, &mut out).unwrap(), Hash([9; 32]), "the parent of block 1");
    while source.read(CHAIN, 1_000, &mut out).is_ok() && out.len() < 600 {}
    for (at, header) in all.iter().enumerate() {
        assert_eq!((out.hashes[at], out.tx_roots[at]), (header.hash(), header.side_root));
        assert_eq!(out.times[at], header.time);
    }
    assert_eq!(source.read(CHAIN, 10, &mut out).unwrap(), all[599].hash(), "nothing new yet");
    assert_eq!(out.len(), 600);
    assert_eq!(source.tip(CHAIN).unwrap(), Some(Height(600)));
    // After a break, from further back.
    source.resume(CHAIN, Height(301), Some(all[299].hash())).unwrap();
    let mut again = Columns::default();
    assert_eq!(source.read(CHAIN, 1, &mut again).unwrap(), all[299].hash());
    assert_eq!(again.hashes, [all[300].hash()]);
}

#[test]
fn a_chain_that_went_another_way_is_a_fork() {
    let node = Node::new(10);
    let ours = node.headers.lock().unwrap()[9].hash();
    let theirs = Hash([4; 32]);
    let mut source = node.source();
    let error = source.resume(CHAIN, Height(11), Some(theirs)).unwrap_err();
    let SourceError::Fork { height: Height(10), ours: told, theirs: other, .. } = error else {
        panic!("{error}")
    };
    assert_eq!((told, other), (ours, theirs));
    // While it is read.
    source.resume(CHAIN, Height(11), Some(ours)).unwrap();
    *node.headers.lock().unwrap() = headers(20, 2);
    let error = source.read(CHAIN, 10, &mut Columns::default()).unwrap_err();
    assert!(matches!(error, SourceError::Fork { height: Height(10), .. }), "{error}");
    // A chain that has become shorter may grow again.
    *node.headers.lock().unwrap() = headers(5, 1);
    assert!(matches!(source.resume(CHAIN, Height(11), Some(ours)), Err(SourceError::Later(_))));
}

#[test]
fn headers_that_do_not_follow_each_other_or_are_of_another_chain_are_refused() {
    type Change = fn(&mut Vec<MainHeader>);
    let cases: [(&str, Change); 4] = [
        ("parent", |headers| headers[4].parent = Hash([1; 32])),
        ("height", |headers| _ = headers.remove(4)),
        ("version", |headers| headers[4].version = 2),
        ("main chain", |headers| headers[4].chain_id = ChainId(501)),
    ];
    for (says, change) in cases {
        let node = Node::new(10);
        change(&mut node.headers.lock().unwrap());
        let mut source = node.source();
        source.resume(CHAIN, Height(1), None).unwrap();
        let mut out = Columns::default();
        let error = source.read(CHAIN, 100, &mut out).unwrap_err();
        assert!(matches!(&error, SourceError::Fatal(text) if text.contains(says)), "{says}: {error}");
        assert!(out.is_empty(), "nothing of it is handed on");
    }
}

#[test]
fn what_the_node_refuses_is_told_and_asked_again_unless_it_is_pruned() {
    let node = Node::new(10);
    let mut source = node.source();
    source.resume(CHAIN, Height(1), None).unwrap();
    let problem =
        |kind: &str| json!({ "type": format!("urn:mainstem:problem:{kind}"), "detail": "since so" });
    for (status, kind, lasts) in [(503, "busy", false), (410, "pruned", true), (500, "internal", false)] {
        *node.instead.lock().unwrap() = Some((status, problem(kind)));
        let error = source.read(CHAIN, 100, &mut Columns::default()).unwrap_err();
        assert!(error.to_string().contains("since so"), "{error}");
        assert_eq!(matches!(error, SourceError::Fatal(_)), lasts, "{error}");
    }
    *node.instead.lock().unwrap() = Some((200, json!({ "headers": 5 })));
    assert!(matches!(source.read(CHAIN, 1, &mut Columns::default()), Err(SourceError::Later(_))));
    let ask = |id: &[u8]| source.answers().answer(&Question::Transaction { chain: CHAIN, id: id.to_vec() });
    for (kind, told) in [
        ("unknown-transaction", NoAnswer::Unknown),
        ("not-yet", NoAnswer::NotYet("since so".into())),
        ("unsupported", NoAnswer::Unsupported),
        ("wrong-answer", NoAnswer::Failed("since so".into())),
    ] {
        *node.instead.lock().unwrap() = Some((404, problem(kind)));
        assert_eq!(ask(&[1; 36]), Err(told));
    }
    assert_eq!(ask(&[1; 3]), Err(NoAnswer::Unknown));
    *node.instead.lock().unwrap() = Some((200, json!("no proof")));
    assert!(matches!(ask(&[1; 12]), Err(NoAnswer::Failed(_))));
}

#[test]
fn an_address_that_is_none_is_refused() {
    for url in ["", "127.0.0.1:9480", "ftp://127.0.0.1", "http://", "http://a:b@host", "http://host/?x"] {
        assert!(MainstemSource::new(MainstemConfig::new(CHAIN, url)).is_err(), "{url}");
    }
}
