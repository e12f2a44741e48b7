//! Proofs of all kinds over HTTP.

use engine::proof::Document;
use serde_json::json;

use super::*;

impl Fixture {
    /// Sends a request with more headers; gives status, headers and the bytes of the body.
    fn raw(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let more: String = headers.iter().flat_map(|header| [header, "\r\n"]).collect();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}content-length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head, answer[end + 4..].to_vec())
    }

    /// The same document in both forms, which must be one.
    fn document(&self, method: &str, path: &str, body: &[u8]) -> Document {
        let (status, head, json) = self.raw(method, path, &[], body);
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&json));
        assert!(head.contains("content-type: application/json"), "{head}");
        let document = Document::parse(&json).unwrap();
        let sign = if path.contains('?') { '&' } else { '?' };
        let accept = "Accept: text/html, application/octet-stream;q=0.5";
        for (path, headers) in
            [(format!("{path}{sign}format=binary"), &[][..]), (path.to_owned(), &[accept][..])]
        {
            let (status, head, bytes) = self.raw(method, &path, headers, body);
            assert_eq!(status, 200, "{path}");
            assert!(head.contains("content-type: application/octet-stream"), "{head}");
            assert_eq!(Document::from_bytes(&bytes).unwrap(), document, "{path}");
        }
        // What is asked for goes before what is accepted.
        let (_, head, _) = self.raw(method, &format!("{path}{sign}format=json"), &[accept], body);
        assert!(head.contains("content-type: application/json"), "{head}");
        document
    }

    fn many(&self, body: &Value) -> Document {
        self.document("POST", "/v1/proofs", body.to_string().as_bytes())
    }

    /// What `POST /v1/verify` says of a document, in both forms alike.
    fn verdict_of(&self, document: &Document) -> Value {
        let json = serde_json::to_vec(document).unwrap();
        let (status, _, of_json) = self.raw("POST", "/v1/verify", &[], &json);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&of_json));
        let binary = ["content-type: application/octet-stream"];
        let (status, _, of_binary) = self.raw("POST", "/v1/verify", &binary, &document.to_bytes());
        assert_eq!((status, &of_binary), (200, &of_json));
        serde_json::from_slice(&of_json).unwrap()
    }
}

#[test]
fn many_blocks_are_proven_at_once_in_both_forms() {
    let node = Fixture::new();
    let head = node.reader.head();
    let blocks = json!([
        { "chain": "tDVV", "height": 39 }, { "chain": CHAIN.0, "height": 1 }, { "chain": "1866392", "height": 2 },
        { "chain": "tDVV", "height": 39 },
    ]);
    for body in [json!({ "blocks": blocks }), json!({ "blocks": blocks, "head": head })] {
        let document = node.many(&body);
        document.verify().unwrap();
        let Document::Blocks(proof) = &document else { panic!("{document:?}") };
        let heights: Vec<u64> = (proof.main_blocks.iter().flat_map(|main| &main.chains))
            .flat_map(|chain| chain.blocks.iter().map(|block| block.height.0))
            .collect();
        assert_eq!(heights, [1, 2, 39]);
        assert_eq!(node.verdict_of(&document)["verified"], true);
        if body.get("head").is_some() {
            assert_eq!(proof.head.unwrap().height, head);
        }
    }
    let (_, head, _) =
        node.raw("POST", "/v1/proofs", &[], json!({ "blocks": blocks }).to_string().as_bytes());
    assert!(!head.contains("immutable"), "{head}");
}

#[test]
fn a_list_of_blocks_that_cannot_be_proven_is_refused_with_its_reason() {
    let node = Fixture::new();
    let next = node.reader.head().next();
    let refuse = |body: &Value| {
        let (status, problem) = node.problem("POST", "/v1/proofs", body.to_string().as_bytes());
        let kind = problem["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
        (status, kind)
    };
    let block = json!({ "chain": "tDVV", "height": 3 });
    let with = |name: &str, value: Value| {
        let mut block = block.clone();
        block[name] = value;
        json!({ "blocks": [block] })
    };
    for (body, status, kind) in [
        (json!({ "blocks": [] }), 400, "invalid-parameter"),
        (json!({ "blocks": vec![&block; 1_600], "heads": 1 }), 400, "invalid-body"),
        (json!([block]), 400, "invalid-body"),
        (with("height", 0.into()), 400, "invalid-parameter"),
        (with("height", (1_u64 << 63).into()), 400, "invalid-parameter"),
        (with("height", "3".into()), 400, "invalid-body"),
        (with("chain", "tDV".into()), 400, "invalid-body"),
        (with("chain", (1_u64 << 32).into()), 400, "invalid-body"),
        (with("chain", 8.into()), 404, "unknown-chain"),
        (with("chain", 7.into()), 404, "not-indexed"),
        (with("height", 41.into()), 404, "not-indexed"),
        (with("more", 1.into()), 400, "invalid-body"),
        (json!({ "blocks": [block], "head": next }), 404, "no-such-head"),
        (json!({ "blocks": [block], "head": 0 }), 400, "invalid-parameter"),
    ] {
        assert_eq!(refuse(&body), (status, kind.to_owned()), "{body}");
    }
    // As short as they can be, so that the body is not too long first.
    let blocks = vec!["{\"chain\":1,\"height\":1}"; 2_700].join(",");
    assert_eq!(node.raw("POST", "/v1/proofs", &[], format!("{{\"blocks\":[{blocks}]}}").as_bytes()).0, 404);
    assert_eq!(node.problem("GET", "/v1/proofs", b"").0, 405);
    assert_eq!(node.problem("POST", "/v1/proofs?head=1", b"{}").0, 400);
}

#[test]
fn every_header_is_proven_to_continue_every_earlier_one() {
    let node = Fixture::new();
    let head = node.reader.head().0;
    assert!(head >= 3, "{head}");
    for (from, to) in [(1, 1), (1, 2), (1, head), (2, head), (head - 1, head), (head, head)] {
        let document = node.document("GET", &format!("/v1/consistency?from={from}&to={to}"), b"");
        document.verify().unwrap();
        let Document::Consistency(proof) = &document else { panic!("{document:?}") };
        assert_eq!((proof.from.height, proof.to.height), (Height(from), Height(to)));
        let verdict = node.verdict_of(&document);
        assert_eq!((&verdict["verified"], &verdict["kind"]), (&true.into(), &"consistency".into()));
        assert_eq!(verdict["trusted"]["height"], to);
    }
    let (_, headers, _) = node.raw("GET", &format!("/v1/consistency?from=1&to={head}"), &[], b"");
    assert!(headers.contains("immutable") && headers.contains("vary: accept"), "{headers}");
    for (query, status, field) in [
        ("", 400, "from"),
        ("?from=1", 400, "to"),
        ("?from=2&to=1", 400, "from"),
        ("?from=0&to=1", 400, "from"),
        ("?from=1&to=x", 400, "to"),
        ("?from=1&to=2&head=3", 400, "head"),
        ("?from=1&to=2&format=xml", 400, "format"),
    ] {
        let (got, problem) = node.problem("GET", &format!("/v1/consistency{query}"), b"");
        assert_eq!((got, &problem["field"]), (status, &field.into()), "{query}");
    }
    let (status, problem) = node.problem("GET", &format!("/v1/consistency?from=1&to={}", head + 1), b"");
    assert_eq!((status, &problem["head"]), (404, &head.into()));
    assert_eq!(problem["type"], "urn:mainstem:problem:no-such-block");
}

#[test]
fn a_main_block_has_all_blocks_of_a_chain_or_none() {
    let node = Fixture::new();
    let head = node.reader.head();
    for query in [String::new(), format!("?head={head}")] {
        let whole = node.document("GET", &format!("/v1/blocks/1/chains/tDVV{query}"), b"");
        let Document::Chain(proof) = &whole else { panic!("{whole:?}") };
        assert_eq!((proof.first_height, proof.header.height), (Height(1), Height(1)));
        let listed = node.get("/v1/blocks/1");
        assert_eq!(listed["chains"][0]["count"], proof.blocks.len());
        // One that is registered, and ones that nobody knows, before and after it.
        for chain in ["7", "8", "4294967295"] {
            let none = node.document("GET", &format!("/v1/blocks/1/chains/{chain}{query}"), b"");
            assert!(matches!(none, Document::Absence(_)), "{none:?}");
            assert_eq!(node.verdict_of(&none)["verified"], true);
        }
        assert_eq!(node.verdict_of(&whole)["verified"], true);
    }
    let next = head.next();
    for (path, status, kind) in [
        (format!("/v1/blocks/{next}/chains/tDVV"), 404, "no-such-block"),
        (format!("/v1/blocks/1/chains/tDVV?head={next}"), 404, "no-such-head"),
        (format!("/v1/blocks/{head}/chains/tDVV?head=1"), 404, "no-such-head"),
        ("/v1/blocks/latest/chains/tDVV".into(), 400, "invalid-parameter"),
        ("/v1/blocks/1/chains/tDV".into(), 400, "invalid-parameter"),
    ] {
        let (got, problem) = node.problem("GET", &path, b"");
        assert_eq!(
            (got, &problem["type"]),
            (status, &format!("urn:mainstem:problem:{kind}").into()),
            "{path}"
        );
    }
}

#[test]
fn of_a_pruned_log_the_rest_is_proven_and_the_start_is_gone() {
    let node = Fixture::new();
    let head = node.reader.head();
    let first = Height(3);
    let kept = format!("/v1/consistency?from={first}&to={head}");
    let before = node.document("GET", &kept, b"");
    let led_on = node.document("GET", &format!("/v1/consistency?from=1&to={head}"), b"");
    MemoryStore::reopen(&node.reader).prune(first).unwrap();
    assert_eq!(node.document("GET", &kept, b""), before);
    assert_eq!(node.verdict_of(&led_on)["verified"], true, "it ends in a header that is kept");
    for path in [format!("/v1/consistency?from=2&to={head}"), "/v1/blocks/2/chains/tDVV".into()] {
        let (status, problem) = node.problem("GET", &path, b"");
        assert_eq!((status, &problem["type"]), (410, &"urn:mainstem:problem:pruned".into()), "{path}");
        assert_eq!((&problem["value"], &problem["first_block"]), (&2.into(), &first.0.into()));
    }
    let body = json!({ "blocks": [{ "chain": "tDVV", "height": 1 }, { "chain": "tDVV", "height": 40 }] });
    assert_eq!(node.problem("POST", "/v1/proofs", body.to_string().as_bytes()).0, 410);
}

#[test]
fn a_document_of_any_kind_that_is_changed_or_of_another_chain_is_not_verified() {
    let node = Fixture::new();
    let head = node.reader.head();
    let consistency = node.document("GET", &format!("/v1/consistency?from=1&to={head}"), b"");
    let Document::Consistency(mut wrong) = consistency.clone() else { panic!("{consistency:?}") };
    wrong.consistency.clear();
    wrong.inclusion[0].0[0] ^= 1;
    let verdict = node.verdict_of(&Document::Consistency(wrong));
    assert_eq!((&verdict["verified"], &verdict["header_hash"]), (&false.into(), &Value::Null));
    // Right in itself.
    let Document::Consistency(mut foreign) = node.document("GET", "/v1/consistency?from=1&to=1", b"") else {
        panic!("another kind")
    };
    foreign.from.parent = Hash([1; 32]);
    foreign.to = foreign.from;
    let verdict = node.verdict_of(&Document::Consistency(foreign));
    assert_eq!(verdict["verified"], false);
    assert!(verdict["reason"].as_str().unwrap().contains("on this main chain"), "{verdict}");
}
