//! Proofs that are waited for, answers that are kept, and pages of elsewhere.

use super::*;

#[test]
fn a_proof_that_is_waited_for_comes_as_soon_as_the_block_is_indexed() {
    // Nothing but the wait itself may end it: the server's own limit is far shorter.
    let node = Fixture::with(64, Duration::from_millis(300));
    let next = BLOCKS + 1;
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| node.proof(&format!("/v1/proofs/tDVV/{next}?wait=60s")));
        std::thread::sleep(Duration::from_millis(600));
        assert!(!waits.is_finished(), "there is no such block yet");
        node.grow(1);
        let proof = waits.join().unwrap();
        proof.verify().unwrap();
        assert_eq!(proof.block.height, Height(next));
    });
    // What is there is there at once, also under a main block that comes later.
    assert_eq!(node.proof(&format!("/v1/proofs/tDVV/{next}?wait=60s")).block.height, Height(next));
    let later = node.reader.head().next();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| node.proof(&format!("/v1/proofs/tDVV/1?head={later}&wait=60s")));
        std::thread::sleep(Duration::from_millis(100));
        node.grow(1);
        assert_eq!(waits.join().unwrap().verify().unwrap().trusted.height, later);
    });
}

#[test]
fn when_the_time_is_over_it_is_said_what_is_missing() {
    let node = Fixture::new();
    let (status, problem) = node.problem("GET", "/v1/proofs/tDVV/900?wait=50ms", b"");
    assert_eq!((status, &problem["type"]), (404, &"urn:mainstem:problem:not-indexed".into()));
    assert_eq!((&problem["received"], &problem["waited_ms"]), (&BLOCKS.into(), &50.into()));
    // What will never be is not waited for.
    let (status, problem) = node.problem("GET", "/v1/proofs/7/4?wait=60s", b"");
    assert_eq!((status, &problem["waited_ms"]), (404, &Value::Null), "{problem}");
    assert_eq!(node.problem("GET", "/v1/proofs/8/4?wait=60s", b"").0, 404);
    for wrong in ["61s", "1m", "s", "-1s", "0x1s", "99999999999999999999s", "18446744073709551615s", ""] {
        let (status, problem) = node.problem("GET", &format!("/v1/proofs/tDVV/1?wait={wrong}"), b"");
        assert_eq!((status, &problem["field"]), (400, &"wait".into()), "{wrong}");
    }
}

#[test]
fn only_so_many_wait_and_who_goes_away_makes_room() {
    let node = Fixture::new();
    let path = "GET /v1/proofs/tDVV/900?wait=60s HTTP/1.1";
    let mut waiting: Vec<_> = (0..STREAMS).map(|_| node.open(path)).collect();
    // Until all of them have come as far.
    while node.heads.open() != (STREAMS, STREAMS) {
        std::thread::yield_now();
    }
    let (status, refused) = node.problem("GET", "/v1/proofs/tDVV/900?wait=1ms", b"");
    assert_eq!((status, &refused["type"]), (503, &"urn:mainstem:problem:busy".into()));
    assert!(refused["detail"].as_str().unwrap().contains("api.max_streams"), "{refused}");
    assert_eq!(node.problem("GET", "/v1/events", b"").0, 503, "streams have the same places");
    node.proof("/v1/proofs/tDVV/1?wait=60s");
    waiting.pop();
    while node.problem("GET", "/v1/proofs/tDVV/900?wait=1ms", b"").0 == 503 {
        std::thread::yield_now();
    }
}

#[test]
fn what_the_client_has_already_is_not_sent_again() {
    let node = Fixture::new();
    let tag = |head: &str| {
        head.lines().find_map(|line| line.strip_prefix("etag: ")).map(str::to_owned).unwrap_or_default()
    };
    let mut tags = Vec::new();
    for path in
        ["/v1/proofs/tDVV/1", "/v1/blocks/1", "/v1/headers/1", "/v1/chains/tDVV/blocks/1", "/openapi.json"]
    {
        let (status, head, body) = node.ask("GET", path, b"");
        assert_eq!(status, 200);
        let tag = tag(&head);
        assert!(tag.len() == 34 && !tags.contains(&tag), "{path}: {head}");
        let (status, head, again) = node.get_with(path, &format!("if-none-match: \"x\", {tag}"));
        assert_eq!((status, again.as_str()), (304, ""), "{path}");
        assert!(head.contains(&format!("etag: {tag}")) && !head.contains("content-type"), "{head}");
        let (status, _, other) = node.get_with(path, "if-none-match: \"x\"");
        assert_eq!((status, &other), (200, &body), "{path}");
        tags.push(tag);
    }
    let binary = node.get_with("/v1/proofs/tDVV/1?format=binary", &format!("if-none-match: {}", tags[0]));
    assert_eq!(binary.0, 200, "the other form is another answer");
    for path in ["/v1/blocks/latest", "/v1/status", "/v1/headers/latest"] {
        let (status, head, _) = node.get_with(path, "if-none-match: *");
        assert!(status == 200 && tag(&head).is_empty(), "{path}: {head}");
    }
    assert_eq!(node.get_with("/v1/blocks/900", "if-none-match: *").0, 404);
}

#[test]
fn pages_of_elsewhere_may_ask_only_if_the_operator_names_them() {
    let node = Fixture::new();
    let (status, head, _) = node.get_with("/v1/status", "origin: https://explorer.example");
    assert!(
        status == 200 && head.contains("access-control-allow-origin: https://explorer.example\r\n"),
        "{head}"
    );
    for other in ["https://evil.example", "https://explorer.example.evil", "null", "http://explorer.example"]
    {
        let (status, head, _) = node.get_with("/v1/status", &format!("origin: {other}"));
        assert!(status == 200 && !head.contains("access-control"), "{other}: {head}");
        assert!(head.contains("vary: origin"), "{head}");
    }
    let preflight = |path: &str, origin: &str| {
        let asked =
            format!("OPTIONS {path} HTTP/1.1\r\norigin: {origin}\r\naccess-control-request-method: POST");
        read_answer(node.open(&asked))
    };
    let (status, head, _) = preflight("/rpc", "https://explorer.example");
    assert!(status == 204 && head.contains("access-control-allow-methods: get, head, post"), "{head}");
    assert_eq!(preflight("/rpc", "https://evil.example").0, 405);
    let (status, head, _) = preflight("/v1/admin/chains", "https://explorer.example");
    assert!(status != 204 && !head.contains("access-control-allow-origin"), "{head}");
}

#[test]
fn a_header_is_served_alone_and_the_newest_by_its_name() {
    let node = Fixture::new();
    let block = node.get("/v1/blocks/2");
    let header: rest::Header = serde_json::from_value(node.get("/v1/headers/2")).unwrap();
    assert_eq!(header.hash, header.header.hash());
    assert_eq!(block["hash"], header.hash.to_string());
    let latest: rest::Header = serde_json::from_value(node.get("/v1/headers/latest")).unwrap();
    assert_eq!(latest.header.height, node.reader.head());
    assert_eq!(node.problem("GET", "/v1/headers/900", b"").0, 404);
    assert_eq!(node.problem("GET", "/v1/headers/0", b"").0, 400);
}

#[test]
fn problems_have_a_code_where_there_is_one() {
    let node = Fixture::new();
    let (_, problem) = node.problem("GET", "/v1/chains/9", b"");
    let code = problem["code"].as_str().unwrap();
    assert!(code.starts_with("MS-4") && crate::codes::named(code).is_ok(), "{problem}");
}
