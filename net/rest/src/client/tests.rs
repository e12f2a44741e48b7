use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::thread::JoinHandle;

use super::*;
use crate::{Event, Topic};

/// Answers one request with these bytes; gives its head.
fn answering(answer: impl Into<Vec<u8>>) -> (Client, JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = Client::new(&listener.local_addr().unwrap().to_string()).with_token("secret");
    let answer = answer.into();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.windows(4).any(|four| four == b"\r\n\r\n") {
            let mut part = [0; 1024];
            let read = stream.read(&mut part).unwrap();
            assert!(read > 0, "the request ended early");
            head.extend_from_slice(&part[..read]);
        }
        stream.write_all(&answer).unwrap();
        String::from_utf8_lossy(&head).into_owned()
    });
    (client, served)
}

fn http(status: u16, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

#[test]
fn a_problem_is_an_error_with_its_kind_code_and_members() {
    let body = r#"{"type":"urn:mainstem:problem:not-indexed","title":"t","status":404,"detail":"chain tDVV: no",
        "instance":"/v1/x","code":"MS-4005","received":815}"#;
    let (client, served) = answering(http(404, "application/problem+json", body));
    let error = client.proof(ChainId(7), Height(900), None).unwrap_err();
    assert!(error.is_not_indexed() && error.is_not_found());
    assert_eq!((error.code(), error.to_string().as_str()), (Some("MS-4005"), "chain tDVV: no"));
    assert_eq!(error.problem().unwrap().members["received"], 815);
    let head = served.join().unwrap().to_lowercase();
    assert!(head.starts_with("get /v1/proofs/7/900 http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer secret\r\n") && head.contains("octet-stream"), "{head}");
}

#[test]
fn what_is_not_a_node_is_told_from_one_that_is_not_there() {
    let (client, served) = answering(http(404, "text/html", "<html>"));
    assert!(matches!(client.status(), Err(Error::NoNode { status: StatusCode::NOT_FOUND, .. })));
    served.join().unwrap();
    let (client, served) = answering(http(200, "application/json", r#"{"version":1}"#));
    assert!(matches!(client.status(), Err(Error::Unexpected { .. })));
    served.join().unwrap();
    // Nobody listens there any more.
    let error = client.status().unwrap_err();
    assert!(error.to_string().contains("is the node running there?"), "{error}");
}

#[test]
fn a_client_does_not_show_its_token() {
    let client = Client::new("http://node:1/").with_token("secret");
    assert_eq!(client.url(), "http://node:1");
    assert!(!format!("{client:?}").contains("secret"));
}

#[test]
fn events_are_read_as_they_come_and_unknown_ones_are_left_out() {
    let head = |height: u64| {
        let hash = format!("0x{}", "ab".repeat(32));
        format!(
            "id: {height}\r\nevent: head\r\ndata: {{\"height\":{height},\"hash\":\"{hash}\",\r\n\
             data: \"time\":5,\"chain_count\":1,\"leaf_count\":2}}\r\n\r\n"
        )
    };
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n: hello\n\nretry: 1000\n\n{}\
         event: later\ndata: 1\n\n{}event: end\ndata: stopping\n\nid: 9\nevent: head\ndata: never read\n\n",
        head(7),
        head(8)
    );
    let (client, served) = answering(answer);
    let mut events = client.events(&[Topic::Heads, Topic::Chains], Some("6")).unwrap();
    let mut heights = Vec::new();
    for event in &mut events {
        match event.unwrap() {
            Event::Head(head) => heights.push(head.height.0),
            Event::End(why) => assert_eq!(why, "stopping"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((heights, events.last_id()), (vec![7, 8], Some("8")));
    let request = served.join().unwrap();
    assert!(request.starts_with("GET /v1/events?topics=heads,chains "), "{request}");
    assert!(request.contains("last-event-id: 6\r\n"), "{request}");
}

#[test]
fn half_an_event_is_none_and_a_boundless_one_is_refused() {
    let start = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let (client, served) = answering(format!("{start}event: head\ndata: {{"));
    assert!(client.events(&[Topic::Heads], None).unwrap().next().is_none());
    served.join().unwrap();
    let long = format!("{start}event: head\ndata: {}", "x".repeat(2 << 20));
    let (client, served) = answering(long);
    let mut events = client.events(&[Topic::Heads], None).unwrap();
    assert!(matches!(events.next(), Some(Err(Error::Unexpected { .. }))));
    assert!(events.next().is_none());
    drop(events);
    let _ = served.join();
}

#[test]
fn what_stands_in_a_path_is_escaped() {
    assert_eq!(escaped("tDVV-1 /?&=ä"), "tDVV-1%20%2F%3F%26%3D%C3%A4");
    let filter = ChainFilter { state: Some(State::Stalled), reason: None, text: Some("a b".into()) };
    assert_eq!(filter.query(), "&state=stalled&q=a%20b");
}
